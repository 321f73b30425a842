import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";
import type { Users } from "../grants/users";
import type { Entities, Entity } from "./entities";

interface CoveredCountService {
	add_timer: AddTimer;
	entities: Entities;
	users: Users;
	/** Is called with the JID of an entity and the number of its users, when that is known and whenever it changes. */
	counted: (this: void, entity: string, number: number) => void;
}

/** The users whom the grant of one entity covers, as far as they were counted. */
interface Count {
	names: LuaTable<string, true>;
	number: number;
	/** Whether all users in the storage were counted. */
	complete: boolean;
}

/** For each grant that is limited to users who opted in, counts the users whom it covers. */
export function create_covered_count(service: CoveredCountService) {
	const counts = new LuaTable<string, Count>();

	/** How many users the grant of an entity covers; nil where they are not counted, or not to the end yet. */
	function number_of(entity: string): number | undefined {
		const count = counts.get(entity) as Count | undefined;
		return count && count.complete ? count.number : undefined;
	}

	/** Adds a user to a count or removes it, unless that has happened already. */
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

	/** Has to be called when the grant of an entity begins or ceases to cover a user. */
	function changed(entity: Entity, username: string, is_covered: boolean): void {
		const count = counts.get(entity.jid) as Count | undefined;
		if (count) {
			note(entity.jid, count, username, is_covered);
		}
	}

	/** Removes a user from all counts, since the account was deleted. */
	function forget(username: string): void {
		for (const [entity, count] of pairs(counts)) {
			note(entity, count, username, false);
		}
	}

	/** Completes the counts of several entities, or drops them if the storage failed, for the next `configured` to begin anew. */
	function finish(begun: LuaTable<string, Count>, is_complete: boolean): void {
		for (const [entity, count] of pairs(begun)) {
			// The grant may have changed meanwhile.
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

	/** Counts the users of several entities in the storage, in slices. */
	function count_all(begun: LuaTable<string, Count>): void {
		let is_listed = false;
		let names: string[] | undefined;
		let position = 0;
		let has_failed = false;
		in_slices(
			service.add_timer,
			() => {
				if (!is_listed) {
					// Before the list is read: where that raises an error, it is not read again.
					is_listed = true;
					names = service.users.recorded_usernames();
				}
				const username = names && names[position];
				position = position + 1;
				if (username !== undefined) {
					for (const [entity, count] of pairs(begun)) {
						note(entity, count, username, service.users.covers(entity, "opted-in", username));
					}
					has_failed = has_failed || !service.users.has_records(username);
				}
				return username !== undefined;
			},
			(goes_on) => {
				if (!goes_on) {
					finish(begun, names !== undefined && !has_failed);
				}
			},
			"the users who opted in were counted",
		);
	}

	/** Begins the counts of grants that are limited to users who opted in, and drops the counts of others. Has to be called after the configuration was read. */
	function configured(): void {
		const begun = new LuaTable<string, Count>();
		const granted = service.entities.all();
		for (const [name, entity] of pairs(granted)) {
			if (entity.permissions.users === "opted-in" && !counts.has(name)) {
				const count: Count = { names: new LuaTable(), number: 0, complete: false };
				begun.set(name, count);
				counts.set(name, count);
			}
		}
		for (const [name] of pairs(counts)) {
			const entity = granted.get(name) as Entity | undefined;
			if (!entity || entity.permissions.users !== "opted-in") {
				counts.delete(name);
				service.counted(name, 0);
			}
		}
		if (next(begun)[0] !== undefined) {
			count_all(begun);
		}
	}

	return { number_of, changed, forget, configured };
}
export type CoveredCount = ReturnType<typeof create_covered_count>;
