import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";
import type { Users } from "../grants/users";
import type { Entities, Entity } from "./entities";

interface CoveredCountService {
	add_timer: AddTimer;
	entities: Entities;
	users: Users;
	/** Called with an entity's JID and the number, when that is known or changes. */
	counted: (this: void, entity: string, number: number) => void;
}

/** The users whom the grant of one entity covers. */
interface Count {
	names: LuaTable<string, true>;
	number: number;
	/** Whether all that the storage has are in it. */
	complete: boolean;
}

/** Counts the users whom each grant covers that is limited to those who opted in. */
export function create_covered_count(service: CoveredCountService) {
	const counts = new LuaTable<string, Count>();

	/** How many users the grant of an entity covers; nil where that is not counted, or not yet. */
	function number_of(entity: string): number | undefined {
		const count = counts.get(entity) as Count | undefined;
		return count && count.complete ? count.number : undefined;
	}

	/** Notes whether a grant covers a user. */
	function note(entity: string, count: Count, username: string, is_covered: boolean): void {
		const was_covered = count.names.has(username);
		if (was_covered !== is_covered) {
			count.names.set(username, (is_covered ? true : undefined) as true);
			count.number = count.number + (is_covered ? 1 : -1);
			if (count.complete) {
				service.counted(entity, count.number);
			}
		}
	}

	/** Notes that a grant covers a user from now on, or does not any more. */
	function changed(entity: Entity, username: string, is_covered: boolean): void {
		const count = counts.get(entity.jid) as Count | undefined;
		if (count) {
			note(entity.jid, count, username, is_covered);
		}
	}

	/** Takes out a user whose account is gone. */
	function forget(username: string): void {
		for (const [entity, count] of pairs(counts)) {
			note(entity, count, username, false);
		}
	}

	/** Ends the counts of several entities. Those that failed are dropped: the next `configured` begins them anew. */
	function finish(begun: LuaTable<string, Count>, is_complete: boolean): void {
		for (const [entity, count] of pairs(begun)) {
			// Its grant may not be limited to those who opted in any more.
			if (counts.get(entity) === count) {
				if (is_complete) {
					count.complete = true;
					service.counted(entity, count.number);
				} else {
					counts.delete(entity);
				}
			}
		}
	}

	/** Goes through the storage for the counts of several entities, in slices. */
	function count_all(begun: LuaTable<string, Count>): void {
		let is_listed = false;
		let names: string[] | undefined;
		let position = 0;
		in_slices(
			service.add_timer,
			() => {
				if (!is_listed) {
					// Not again where that fails
					is_listed = true;
					names = service.users.candidates("opted-in");
				}
				const username = names && names[position];
				position = position + 1;
				if (username !== undefined) {
					for (const [entity, count] of pairs(begun)) {
						note(entity, count, username, service.users.covers(entity, "opted-in", username));
					}
				}
				return username !== undefined;
			},
			(goes_on) => {
				if (!goes_on) {
					finish(begun, names !== undefined);
				}
			},
			"the users who opted in were counted",
		);
	}

	/** Counts for the entities that are limited to those who opted in since the configuration was read last. */
	function configured(): void {
		const begun = new LuaTable<string, Count>();
		const granted = service.entities.all();
		for (const [name, entity] of pairs(granted)) {
			if (entity.permissions.users === "opted-in" && !counts.has(name)) {
				begun.set(name, { names: new LuaTable(), number: 0, complete: false });
			}
		}
		const gone: string[] = [];
		for (const [name] of pairs(counts)) {
			const entity = granted.get(name) as Entity | undefined;
			if (!entity || entity.permissions.users !== "opted-in") {
				gone.push(name);
			}
		}
		for (const [, name] of ipairs(gone)) {
			counts.delete(name);
			service.counted(name, 0);
		}
		if (next(begun)[0] !== undefined) {
			for (const [name, count] of pairs(begun)) {
				counts.set(name, count);
			}
			count_all(begun);
		}
	}

	return { number_of, changed, forget, configured };
}
export type CoveredCount = ReturnType<typeof create_covered_count>;
