import type { Options } from "../grants/configuration";
import type { Entity } from "./entities";

/** What is counted, for each entity and as metrics of the host. */
export type Act = "messages" | "iqs" | "roster_gets" | "roster_sets" | "pushes" | "presences" | "refusals";

/** How often an entity did each, or had it done to it. */
export type Counts = Record<Act, number>;

export function no_counts(): Counts {
	return { messages: 0, iqs: 0, roster_gets: 0, roster_sets: 0, pushes: 0, presences: 0, refusals: 0 };
}

/** Counts what entities do. */
export interface Acts {
	count: (this: void, entity: Entity, act: Act) => void;
	/**
	 * Counts something that was done in a user's name, and logs it: for all to see with `privilege_log_acts`, else for debugging.
	 *
	 * @param what in words, with %s for the entity and two JIDs: "%s sent a message as %s to %s"
	 * @param id of the stanza
	 */
	record: (this: void, entity: Entity, act: Act, what: string, jid1: string, jid2: string, id: string | undefined) => void;
}

export function create_acts(api: Module, options: Options): Acts {
	const measures = new LuaTable<Act, (this: void, more: number) => void>();
	for (const [act] of pairs(no_counts())) {
		// Prosody 0.9 has no metrics.
		if (api.measure) {
			measures.set(act, api.measure(act, "counter"));
		}
	}

	function count(entity: Entity, act: Act): void {
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
