import type { Options } from "../grants/configuration";
import { no_counts } from "./entities";
import type { Entity, Statistic } from "./entities";

/** Counts what entities do. */
export interface Statistics {
	count: (this: void, entity: Entity, act: Statistic) => void;
	/**
	 * Counts something that was done in a user's name, and logs it: for all to see with `privilege_log_acts`, else for debugging.
	 *
	 * @param what in words, with %s for the entity and two JIDs: "%s sent a message as %s to %s"
	 * @param id of the stanza
	 */
	record: (this: void, entity: Entity, act: Statistic, what: string, jid1: string, jid2: string, id: string | undefined) => void;
}

export function create_statistics(api: Module, options: Options): Statistics {
	const measures = new LuaTable<Statistic, (this: void, more: number) => void>();
	for (const [act] of pairs(no_counts())) {
		// Prosody 0.9 has no metrics.
		if (api.measure) {
			measures.set(act, api.measure(act, "counter"));
		}
	}

	function count(entity: Entity, act: Statistic): void {
		entity.counts[act] = entity.counts[act] + 1;
		const measure = measures.get(act) as ((this: void, more: number) => void) | undefined;
		if (measure) {
			measure(1);
		}
	}

	return {
		count: count,
		record: (entity, act, what, jid1, jid2, id) => {
			count(entity, act);
			if (options.log_acts) {
				// The id is the entity's own: it must not make up lines.
				const [shown_id] = string.gsub(id ?? "none", "%c", "?");
				api.log("info", what + ", id %s", entity.jid, jid1, jid2, shown_id);
			} else {
				api.log("debug", what, entity.jid, jid1, jid2);
			}
		},
	};
}
