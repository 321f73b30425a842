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

/** The changes of a user's roster, in the order in which they were made. */
interface Changes {
	username: string;
	roster: Roster;
	list: Change[];
}

/** Saves changes of rosters. */
export interface RosterSaves {
	/**
	 * Puts an item into a roster, undefined for none. Calls back soon: when it is saved, or
	 * when that failed and the roster is as it was.
	 */
	put: (
		this: void, username: string, roster: Roster, contact: string, item: RosterItem | undefined,
		done: (this: void, saved: boolean) => void,
	) => void;
	/** Saves at once what there is of a user's, or of a contact of theirs. */
	settle: (this: void, username: string, contact?: string) => void;
	/** Saves at once all that there is. */
	flush: (this: void) => undefined;
}

/**
 * A storage that has whole rosters only reads and writes all of one for each item that is saved. What
 * comes in one go, a gateway's whole contact list perhaps, is therefore saved in one go, and answered then.
 *
 * Until then, which is before the server reads on, the roster in memory is ahead of the storage.
 */
export function create_roster_saves(host: string, add_timer: AddTimer): RosterSaves {
	let waiting: Changes[] = [];
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
		const metadata = changes.roster.get(false) ?? {};
		const version = metadata.version;
		const saved = save_all(changes, metadata) === true;
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
		const all = waiting;
		waiting = [];
		by_user = new LuaTable();
		for (const [, changes] of ipairs(all)) {
			save(changes);
		}
		return undefined;
	}

	function settle(username: string, contact?: string): void {
		const changes = by_user.get(username) as Changes | undefined;
		if (!changes) {
			return;
		}
		for (const [, change] of ipairs(changes.list)) {
			if (contact === undefined || change.contact === contact) {
				return flush();
			}
		}
	}

	return {
		put: (username, roster, contact, item, done) => {
			const pending = (roster.get(false) ?? {}).pending;
			let changes = by_user.get(username) as Changes | undefined;
			if (changes && changes.roster !== roster) {
				flush();
				changes = undefined;
			}
			if (!changes) {
				changes = { username: username, roster: roster, list: [] };
				by_user.set(username, changes);
				waiting.push(changes);
				if (waiting.length === 1) {
					add_timer(0, flush);
				}
			}
			changes.list.push({ contact: contact, old: roster.get(contact), request: pending && pending.get(contact), done: done });
			roster.set(contact, item as RosterItem);
			// A contact that is subscribed now asks for nothing more.
			if (pending && item && (item.subscription === "from" || item.subscription === "both")) {
				pending.set(contact, undefined);
			}
		},
		settle: settle,
		flush: flush,
	};
}
