import * as uuid from "util.uuid";
import type { Acts } from "./acts";
import { is_connected } from "./entities";
import type { Connection, Entities } from "./entities";
import { attribute, send_text } from "./output";
import { is_contact, item_text, read_roster } from "./roster";

type Removal = object;
type Result = LuaMultiReturn<[boolean | undefined, unknown]>;

/** A roster as the storage has it; nil where there is none. */
type StoredRoster = Roster | undefined;

/** What is saved of a roster: items, or what stands for a removed one; metadata under `false`. */
type Keys = LuaTable<string | false, RosterItem | Removal>;

/** Prosody's storage of whole rosters ("keyval"). */
interface KeyvalStore {
	get(username: string): LuaMultiReturn<[StoredRoster, unknown]>;
	set(username: string, roster: StoredRoster): Result;
	/** Of our own: called with what was read, before it is changed. */
	on_read: ((this: void, roster: StoredRoster) => void) | false;
}

/** Prosody's storage of single items of rosters ("map"). */
interface MapStore {
	get(username: string, key: string): LuaMultiReturn<[RosterItem | undefined, unknown]>;
	set(username: string, key: string | false, item: RosterItem | undefined): Result;
	set_keys(username: string, keys: Keys): Result;
	/** The items that users have under a key, by user. 0.12 and later. */
	get_all?(key: string): LuaMultiReturn<[LuaTable<string, RosterItem> | undefined, unknown]>;
	/** Removes what users have under a key. 0.12 and later. */
	delete_all?(key: string): Result;
	/** What stands for a removed item in `set_keys`. */
	remove: Removal;
	/** The store of whole rosters that it is built upon, where the driver has none of its own. */
	keyval_store?: KeyvalStore;
}

/** Of the event `store-opened`. */
export interface StoreEvent {
	store_name: string;
	store_type?: string;
	store: KeyvalStore | MapStore;
}

function same_groups(a: RosterItem, b: RosterItem): boolean {
	for (const [group] of pairs(a.groups)) {
		if (!b.groups.has(group)) {
			return false;
		}
	}
	for (const [group] of pairs(b.groups)) {
		if (!a.groups.has(group)) {
			return false;
		}
	}
	return true;
}

/** Whether a contact's item is the same for a reader of the roster. */
export function same_item(a: RosterItem | undefined, b: RosterItem | undefined): boolean {
	if (!a || !b) {
		return a === b;
	}
	return a.name === b.name && a.subscription === b.subscription && a.ask === b.ask && same_groups(a, b);
}

/** The item that a roster has under a key, nil where there is none or it is no contact's. */
function item_of(roster: StoredRoster, key: string): RosterItem | undefined {
	const item = roster && roster.get(key) as RosterItem | undefined;
	// mod_groups puts contacts into rosters that are not saved.
	return item && is_contact(key, item) && item.persist !== false ? item : undefined;
}

/** The handlers of events that roster changes come with. */
export interface RosterPush {
	store_opened: (this: void, event: StoreEvent) => Handled;
	user_deleted: (this: void, event: UserEvent) => Handled;
}

/**
 * Has roster changes pushed (XEP-0356, 4.4).
 *
 * All changes, whoever makes them, are saved through a store opened for it. What
 * they change is found by comparing with what the storage has, since that is the state
 * that entities were told last.
 */
export function create_roster_push(host: string, serving: (this: void) => Entities | undefined, acts: Acts): RosterPush {
	/** The connections that are told. A store may outlive the module that wrapped it. */
	function receivers(): Connection[] {
		const entities = serving();
		return entities ? entities.receivers("push") : [];
	}


	function push(username: string, contact: string, item: RosterItem | undefined, version: unknown): void {
		const start = "<iq type='set'" + attribute("id", uuid.generate()) + attribute("from", username + "@" + host);
		const rest = "><query xmlns='jabber:iq:roster'" + attribute("ver", version !== undefined && version !== true ? tostring(version) : undefined)
			+ ">" + item_text(contact, item) + "</query></iq>";
		for (const [, connection] of ipairs(receivers())) {
			if (is_connected(connection)) {
				send_text(connection.session, start + connection.to + rest);
				acts.count(connection.entity, "pushes");
			}
		}
	}

	function push_changes(username: string, before: StoredRoster, after: StoredRoster): void {
		const metadata = after && after.get(false);
		const version = metadata && metadata.version;
		if (before) {
			for (const [contact] of pairs(before as LuaTable<string, RosterItem>)) {
				if (item_of(before, contact) && !item_of(after, contact)) {
					push(username, contact, undefined, version);
				}
			}
		}
		if (after) {
			for (const [contact] of pairs(after as LuaTable<string, RosterItem>)) {
				const item = item_of(after, contact);
				if (item && !same_item(item_of(before, contact), item)) {
					push(username, contact, item, version);
				}
			}
		}
	}

	function is_watched(): boolean {
		return receivers().length > 0;
	}

	/** A store of whole rosters: what is saved is compared with what is there. */
	function wrap_keyval(store: KeyvalStore): KeyvalStore {
		const wrapper: KeyvalStore = {
			on_read: false,
			get(username: string) {
				const [roster, err] = store.get(username);
				if (this.on_read !== false) {
					this.on_read(roster);
				}
				return $multi(roster, err);
			},
			set(username: string, roster: StoredRoster) {
				if (this.on_read !== false || !is_watched()) {
					return store.set(username, roster);
				}
				const [before] = store.get(username);
				const [ok, err] = store.set(username, roster);
				if (ok) {
					push_changes(username, before, roster);
				}
				return $multi(ok, err);
			},
		};
		return setmetatable(wrapper, { __index: store });
	}

	/** A store of single items: of those it saves, the ones that are not what is there. */
	function wrap_map(store: MapStore): MapStore {
		const keyval_store = type(store.keyval_store) === "table" ? store.keyval_store : undefined;

		/** Notes the items of a roster that are about to be saved. */
		function copy_items(keys: Keys, from: StoredRoster, to: Roster): void {
			for (const [key] of pairs(keys)) {
				if (key !== false && from) {
					to.set(key, from.get(key));
				}
			}
		}

		const wrapper = {
			delete_all(key: string) {
				let before: LuaTable<string, RosterItem> | undefined;
				// One that is built upon a store of whole rosters saves through that.
				if (!keyval_store && is_watched() && store.get_all) {
					before = store.get_all(key)[0];
				}
				const [ok, err] = store.delete_all!(key);
				if (ok && before) {
					for (const [username, item] of pairs(before)) {
						if (is_contact(key, item)) {
							push(username, key, undefined, undefined);
						}
					}
				}
				return $multi(ok, err);
			},
			set(username: string, key: string | false, item: RosterItem | undefined) {
				const keys: Keys = new LuaTable();
				keys.set(key, item ?? store.remove);
				return this.set_keys(username, keys);
			},
			set_keys(username: string, keys: Keys) {
				if (!is_watched()) {
					return store.set_keys(username, keys);
				}
				const before = new LuaTable() as unknown as Roster;
				const after = new LuaTable() as unknown as Roster;
				for (const [key, item] of pairs(keys)) {
					if (item !== store.remove) {
						after.set(key as string, item as RosterItem);
					}
					if (key !== false && !keyval_store) {
						before.set(key, store.get(username, key)[0] as RosterItem);
					}
				}
				if (keyval_store) {
					// It reads the roster anyway: look at that.
					keyval_store.on_read = (roster) => {
						copy_items(keys, roster, before);
					};
				}
				const [ok, err] = store.set_keys(username, keys);
				if (keyval_store) {
					keyval_store.on_read = false;
				}
				if (ok) {
					push_changes(username, before, after);
				}
				return $multi(ok, err);
			},
		};
		return setmetatable(wrapper, { __index: store } as never) as unknown as MapStore;
	}

	function store_opened(event: StoreEvent): Handled {
		if (event.store_name === "roster") {
			if (event.store_type === "map") {
				event.store = wrap_map(event.store as MapStore);
			} else if (event.store_type === undefined || event.store_type === "keyval") {
				event.store = wrap_keyval(event.store as KeyvalStore);
			}
		}
		return undefined;
	}

	/** The roster of a deleted user goes without being saved once more. */
	function user_deleted(event: UserEvent): Handled {
		if (event.host === host && is_watched()) {
			push_changes(event.username, read_roster(event.username, host), undefined);
		}
		return undefined;
	}

	return { store_opened: store_opened, user_deleted: user_deleted };
}
