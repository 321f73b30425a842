import { shown } from "../prosody/log_text";
import type { Options } from "../grants/configuration";
import { no_counts } from "./entities";
import type { Entity, Statistic } from "./entities";

/** Counts what entities do, and logs it. */
export function create_statistics(api: Module, options: Options) {
	const measures = new LuaTable<Statistic, (this: void, more: number) => void>();
	for (const [act] of pairs(no_counts())) {
		// Prosody 0.9 has no metrics.
		if (api.measure) {
			measures.set(act, api.measure(act, "counter"));
		}
	}

	/** Counts what an entity did, or had done to it. */
	function count(entity: Entity, act: Statistic): void {
		entity.counts[act] = entity.counts[act] + 1;
		const measure = measures.get(act) as ((this: void, more: number) => void) | undefined;
		if (measure) {
			measure(1);
		}
	}

	/**
	 * Counts something that was done in a user's name, and logs it: for all to see with `privilege_log_acts`, else for debugging.
	 *
	 * @param what in words, with %s for the entity and two JIDs: "%s sent a message as %s to %s"
	 * @param id of the stanza, as the entity wrote it
	 */
	function record(entity: Entity, act: Statistic, what: string, jid1: string, jid2: string, id: string | undefined): void {
		count(entity, act);
		if (options.log_acts) {
			api.log("info", what + ", id %s", entity.jid, shown(jid1), shown(jid2), shown(id ?? "none"));
		} else {
			api.log("debug", what, entity.jid, shown(jid1), shown(jid2));
		}
	}

	return { count: count, record: record };
}
export type Statistics = ReturnType<typeof create_statistics>;
