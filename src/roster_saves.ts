import * as rostermanager from "core.rostermanager";
import * as storagemanager from "core.storagemanager";
import { account_exists } from "./accounts";
import { since_0_10 } from "./compatibility";
import type { AddTimer } from "./slices";

/** A change that a roster in memory has already, and the storage has not. */
interface Change {
	contact: string;
	/** The item before it. */
	old: RosterItem | undefined;
	/** The contact's request that waited for an answer before it. */
	request: unknown;
	done: (this: void, saved: boolean) => void;
}

/** How many changes of a roster wait at most. */
const most_waiting = 100;

/** What waits of a user's roster, in the order in which it was changed. */
interface Changes {
	username: string;
	roster: Roster;
	list: Change[];
}

/** Saves changes of rosters. */
export interface RosterSaves {
	/**
	 * Puts an item into a roster, undefined for none. Calls back when it is saved, or
	 * when that failed and the roster is as it was.
	 */
	put: (
		this: void, username: string, roster: Roster, contact: string, item: RosterItem | undefined,
		done: (this: void, saved: boolean) => void,
	) => void;
	/** Saves and answers at once what waits of a user's, or only if a contact of theirs does. */
	settle: (this: void, username: string, contact?: string) => void;
	/** Saves at once all that waits. */
	flush: (this: void) => undefined;
}

/**
 * A change is saved at once, but those that follow it before the server has handled what it read
 * wait, and are saved in one go: a storage of whole rosters reads and writes all of one
 * for each item that is saved, and a gateway may set its whole contact list.
 *
 * While they wait, the roster in memory is ahead of the storage, and nobody has been answered.
 */
export function create_roster_saves(host: string, add_timer: AddTimer): RosterSaves {
	let recent: Changes[] = [];
	let by_user = new LuaTable<string, Changes>();

	/** Saves the changes as `save_roster` saves one. */
	function save_all(changes: Changes, metadata: RosterMetadata): boolean | undefined {
		if (!since_0_10) {
			// There are no stores of single items.
			return rostermanager.save_roster(changes.username, host, changes.roster);
		}
		if (changes.list.length === 1) {
			return rostermanager.save_roster(changes.username, host, changes.roster, changes.list[0]!.contact);
		}
		if (!account_exists(changes.username, host)) {
			return false;
		}
		if (metadata.version !== true) {
			metadata.version = (metadata.version ?? 0) + changes.list.length;
		}
		const store = storagemanager.open(host, "roster", "map");
		const keys = new LuaTable<string | false, unknown>();
		keys.set(false, metadata);
		for (const [, change] of ipairs(changes.list)) {
			keys.set(change.contact, (changes.roster.get(change.contact)) ?? store.remove);
		}
		return store.set_keys(changes.username, keys)[0];
	}

	function save(changes: Changes): void {
		const list = changes.list;
		if (list.length === 0) {
			return;
		}
		const metadata = changes.roster.get(false) ?? {};
		const version = metadata.version;
		const saved = save_all(changes, metadata) === true;
		changes.list = [];
		if (!saved) {
			metadata.version = version as number;
			for (const i of $range(list.length, 1, -1)) {
				const change = list[i - 1]!;
				changes.roster.set(change.contact, change.old as RosterItem);
				if (metadata.pending) {
					metadata.pending.set(change.contact, change.request);
				}
			}
		}
		for (const [i, change] of ipairs(list)) {
			if (saved && type(version) === "number") {
				// What a client is told of each has a version of its own.
				metadata.version = (version as number) + i;
			}
			change.done(saved);
		}
	}

	function flush(): undefined {
		const all = recent;
		recent = [];
		by_user = new LuaTable();
		for (const [, changes] of ipairs(all)) {
			save(changes);
		}
		return undefined;
	}

	function settle(username: string, contact?: string): void {
		const changes = by_user.get(username) as Changes | undefined;
		for (const [, change] of ipairs(changes ? changes.list : [])) {
			if (contact === undefined || change.contact === contact) {
				return save(changes!);
			}
		}
	}

	/** Where the changes of a user's roster are noted. */
	function changes_of(username: string, roster: Roster): Changes {
		const known = by_user.get(username) as Changes | undefined;
		if (known && known.roster === roster) {
			return known;
		}
		if (known) {
			save(known);
		}
		const changes: Changes = { username: username, roster: roster, list: [] };
		by_user.set(username, changes);
		recent.push(changes);
		if (recent.length === 1) {
			add_timer(0, flush);
		}
		return changes;
	}

	return {
		put: (username, roster, contact, item, done) => {
			const is_first = !by_user.has(username);
			const changes = changes_of(username, roster);
			const pending = (roster.get(false) ?? {}).pending;
			changes.list.push({ contact: contact, old: roster.get(contact), request: pending && pending.get(contact), done: done });
			roster.set(contact, item as RosterItem);
			// A contact that is subscribed now asks for nothing more.
			if (pending && item && (item.subscription === "from" || item.subscription === "both")) {
				pending.set(contact, undefined);
			}
			if (is_first || changes.list.length === most_waiting) {
				save(changes);
			}
		},
		settle: settle,
		flush: flush,
	};
}
