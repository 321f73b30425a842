import * as rostermanager from "core.rostermanager";
import * as storagemanager from "core.storagemanager";
import { account_exists } from "../prosody/accounts";
import { since_0_10 } from "../prosody/compatibility";
import type { AddTimer } from "../prosody/timers";

/** A change that a roster in memory has already, and the storage has not. */
interface Change {
	contact: string;
	/** The item since then. */
	item: RosterItem | undefined;
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
export interface WriteQueue {
	/**
	 * Puts an item into a roster, undefined for none. Calls back when it is saved, or
	 * when that failed and the roster is as it was.
	 *
	 * @param alone whether it is saved at once, whatever came before
	 */
	put: (
		this: void, username: string, roster: Roster, contact: string, item: RosterItem | undefined, alone: boolean,
		done: (this: void, saved: boolean) => void,
	) => void;
	/** Saves and answers at once what waits of a user's, or only if a contact of theirs does. */
	settle: (this: void, username: string, contact?: string) => void;
	/** Saves at once all that waits. */
	flush: (this: void) => undefined;
}

/**
 * A change is saved at once, but those of the same roster that follow it before the server has handled what it
 * read wait, and are saved in one go: a storage of whole rosters reads and writes all of one
 * for each item that is saved, and a gateway may set its whole contact list.
 *
 * While they wait, the roster in memory is ahead of the storage, and nobody has been answered.
 */
export function create_write_queue(host: string, add_timer: AddTimer): WriteQueue {
	/** What was changed last. */
	let current: Changes | undefined;
	let timer_runs = false;

	/** Saves changes as `save_roster` saves one. */
	function save_all(username: string, roster: Roster, list: Change[], metadata: RosterMetadata): boolean | undefined {
		if (!since_0_10) {
			// There are no stores of single items.
			return rostermanager.save_roster(username, host, roster);
		}
		if (list.length === 1) {
			return rostermanager.save_roster(username, host, roster, list[0]!.contact);
		}
		if (!account_exists(username, host)) {
			return false;
		}
		if (metadata.version !== true) {
			metadata.version = (metadata.version ?? 0) + list.length;
		}
		const store = storagemanager.open(host, "roster", "map");
		const keys = new LuaTable<string | false, unknown>();
		keys.set(false, metadata);
		for (const [, change] of ipairs(list)) {
			keys.set(change.contact, (roster.get(change.contact)) ?? store.remove);
		}
		return store.set_keys(username, keys)[0];
	}

	function save(changes: Changes): void {
		const list = changes.list;
		if (list.length === 0) {
			return;
		}
		changes.list = [];
		const metadata = changes.roster.get(false) ?? {};
		const version = metadata.version;
		const saved = save_all(changes.username, changes.roster, list, metadata) === true;
		if (!saved) {
			metadata.version = version as number;
			for (const i of $range(list.length, 1, -1)) {
				const change = list[i - 1]!;
				// Unless somebody else has changed it meanwhile.
				if (changes.roster.get(change.contact) === change.item) {
					changes.roster.set(change.contact, change.old as RosterItem);
					if (metadata.pending) {
						metadata.pending.set(change.contact, change.request);
					}
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
		const changes = current;
		current = undefined;
		if (changes) {
			save(changes);
		}
		return undefined;
	}

	function settle(username: string, contact?: string): void {
		if (!current || current.username !== username) {
			return;
		}
		for (const [, change] of ipairs(current.list)) {
			if (contact === undefined || change.contact === contact) {
				return save(current);
			}
		}
	}

	function begin(changes: Changes): void {
		current = changes;
		if (!timer_runs) {
			timer_runs = true;
			add_timer(0, () => {
				timer_runs = false;
				return flush();
			});
		}
	}

	return {
		put: (username, roster, contact, item, alone, done) => {
			let changes = current;
			const follows = changes !== undefined && changes.roster === roster && !alone;
			if (!changes || !follows) {
				flush();
				changes = { username: username, roster: roster, list: [] };
			}
			const pending = (roster.get(false) ?? {}).pending;
			changes.list.push({ contact: contact, item: item, old: roster.get(contact), request: pending && pending.get(contact), done: done });
			roster.set(contact, item as RosterItem);
			// A contact that is subscribed now asks for nothing more.
			if (pending && item && (item.subscription === "from" || item.subscription === "both")) {
				pending.set(contact, undefined);
			}
			if (!follows || changes.list.length === most_waiting) {
				save(changes);
			}
			if (!follows && !alone) {
				begin(changes);
			}
		},
		settle: settle,
		flush: flush,
	};
}
