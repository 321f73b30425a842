import { printable } from "../prosody/log_text";
import type { Options } from "../grants/configuration";
import type { Entity, Statistic } from "./entities";

/** Counts and logs what entities do. */
export function create_statistics(api: Module, options: Options) {
	/** The descriptions of the metrics. */
	const metric_help: Record<Statistic, string> = {
		messages: "Messages that an entity sent in the name of a user or of the host.",
		iqs: "IQ requests that an entity sent in the name of a user.",
		roster_gets: "Rosters that an entity read.",
		roster_sets: "Roster items that an entity set or removed.",
		pushes: "Roster changes that were pushed to an entity.",
		presences: "Presences of users and contacts that were forwarded to an entity.",
		refusals: "Requests of an entity that were refused.",
	};

	const covered_help = "Users who opted in to an entity or were allowed by the admin.";

	// Prosody 0.12 and later has a metric for each entity, 0.10 and 0.11 have one for the host.
	const families = new LuaTable<Statistic, MetricFamily>();
	// The metrics of each entity, as long as the entity exists.
	const metrics = setmetatable(new LuaTable<Entity, LuaTable<Statistic, Counter>>(), { __mode: "k" });
	const measures = new LuaTable<Statistic, (this: void, more: number) => void>();
	for (const [act, help] of pairs(metric_help)) {
		if (api.metric) {
			families.set(act, api.metric("counter", act, "", help, ["entity"]));
		} else if (api.measure) {
			measures.set(act, api.measure(act, "counter"));
		}
	}

	const covered_family = api.metric && api.metric("gauge", "covered_users", "", covered_help, ["entity"]);

	/** Sets the gauge of covered users, for an entity whose grant is limited to users who opted in. */
	function covered(entity: string, number: number): void {
		if (covered_family) {
			covered_family.with_labels(entity).set(number);
		}
	}

	/** Makes the metrics of an entity, with its counts as their values, so that they exist before there is anything to count. */
	function announce(entity: Entity): void {
		const own = new LuaTable<Statistic, Counter>();
		for (const [act, family] of pairs(families)) {
			const metric = family.with_labels(entity.jid);
			metric.set(entity.counts[act]);
			own.set(act, metric);
		}
		metrics.set(entity, own);
	}

	/** Counts one act of an entity. */
	function count(entity: Entity, act: Statistic): void {
		entity.counts[act] = entity.counts[act] + 1;
		const own = metrics.get(entity) as LuaTable<Statistic, Counter> | undefined;
		const metric = own && (own.get(act) as Counter | undefined);
		const measure = measures.get(act) as ((this: void, more: number) => void) | undefined;
		if (metric) {
			metric.add(1);
		} else if (measure) {
			measure(1);
		}
	}

	/**
	 * Counts something that an entity did in a user's name and logs it: at level info with `privilege_log_acts`, else at debug.
	 *
	 * @param what a format for the log, with %s for the entity and two JIDs: "%s sent a message as %s to %s"
	 * @param id the id of the stanza, as the entity wrote it
	 */
	function record(entity: Entity, act: Statistic, what: string, jid1: string, jid2: string, id: string | undefined): void {
		count(entity, act);
		if (options.log_acts) {
			api.log("info", what + ", id %s", entity.jid, printable(jid1), printable(jid2), printable(id ?? "none"));
		} else {
			api.log("debug", what, entity.jid, printable(jid1), printable(jid2));
		}
	}

	return { announce: announce, count: count, record: record, covered: covered };
}
export type Statistics = ReturnType<typeof create_statistics>;
