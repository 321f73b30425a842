import { is_contact, same_item } from "./item";

type Removal = object;
type Result = LuaMultiReturn<[boolean | undefined, unknown]>;

/** A roster as the storage has it; nil where there is none. */
type StoredRoster = Roster | undefined;

/** What is saved of a roster: items by contact, with a mark in place of a removed one, and metadata under `false`. */
type Keys = LuaTable<string | false, RosterItem | Removal>;

/** Prosody's storage of whole rosters ("keyval"). */
interface KeyvalStore {
	get(username: string): LuaMultiReturn<[StoredRoster, unknown]>;
	set(username: string, roster: StoredRoster): Result;
	/** Our own: is called with each roster that is read, before it is changed. */
	on_read: ((this: void, roster: StoredRoster) => void) | false;
}

/** Prosody's storage of single items of rosters ("map"). */
interface MapStore {
	get(username: string, key: string): LuaMultiReturn<[RosterItem | undefined, unknown]>;
	set(username: string, key: string | false, item: RosterItem | undefined): Result;
	set_keys(username: string, keys: Keys): Result;
	/** The items of all users under a key, by username. 0.12 and later. */
	get_all?(key: string): LuaMultiReturn<[LuaTable<string, RosterItem> | undefined, unknown]>;
	/** Removes the items of all users under a key. 0.12 and later. */
	delete_all?(key: string): Result;
	/** The mark for a removed item in `set_keys`. */
	remove: Removal;
	/** The store of whole rosters beneath it, where the driver has no store of single items. */
	keyval_store?: KeyvalStore;
}

/** Prosody's storage with both interfaces ("keyval+"). Prosody 13 and later. */
interface CombinedStore {
	get(username: string): LuaMultiReturn<[StoredRoster, unknown]>;
	set(username: string, roster: StoredRoster): Result;
	get_key(username: string, key: string): LuaMultiReturn<[RosterItem | undefined, unknown]>;
	set_key(username: string, key: string | false, item: RosterItem | undefined): Result;
	set_keys(username: string, keys: Keys): Result;
	get_key_from_all(key: string): LuaMultiReturn<[LuaTable<string, RosterItem> | undefined, unknown]>;
	delete_key_from_all(key: string): Result;
	remove: Removal;
}

/** The event `store-opened`. */
export interface StoreEvent {
	store_name: string;
	store_type?: string;
	store: KeyvalStore | MapStore | CombinedStore;
}

/**
 * Is called when an item was saved. `item` is nil if the contact was removed, and `before` is nil if it was added; `version`
 * is that of the roster.
 */
export type Changed = (
	this: void,
	username: string,
	contact: string,
	item: RosterItem | undefined,
	version: number | true | undefined,
	before: RosterItem | undefined,
) => void;

/** Gets the changes of rosters. */
export interface RosterListener {
	/** Whether it needs changes now. Nothing is compared while no listener does. */
	is_watching: (this: void) => boolean;
	roster_changed: Changed;
}

/**
 * Watches rosters for changes, by wrapping the stores through which they are saved.
 *
 * All changes are saved through such a store, whoever makes them. The difference is found by comparing what is saved with what
 * the storage had before, since that is the state of which listeners know.
 *
 * @param listeners gives the present listeners, nil for none: a store may outlive the module that wrapped it
 */
export function create_change_watch(listeners: (this: void) => RosterListener[] | undefined) {
	// Data that is being saved by `save_without_comparing`.
	const not_compared = new LuaTable<object, true>();

	/** Whether any listener needs changes now. */
	function is_watched(): boolean {
		for (const [, listener] of ipairs(listeners() ?? [])) {
			if (listener.is_watching()) {
				return true;
			}
		}
		return false;
	}

	/** Tells the listeners that an item was saved. */
	function changed(
		username: string,
		contact: string,
		item: RosterItem | undefined,
		version: number | true | undefined,
		before: RosterItem | undefined,
	): void {
		for (const [, listener] of ipairs(listeners() ?? [])) {
			if (listener.is_watching()) {
				listener.roster_changed(username, contact, item, version, before);
			}
		}
	}

	/** Whether changes in data that is being saved have to be found by comparing. */
	function is_compared(data: object | undefined): boolean {
		return is_watched() && !(data !== undefined && not_compared.has(data));
	}

	/** Saves data, a whole roster or a table of items, for callers that know the changes and call `changed` themselves. */
	function save_without_comparing<T>(data: object, save: (this: void) => T): T {
		not_compared.set(data, true);
		const [ok, result] = pcall(save);
		not_compared.delete(data);
		if (!ok) {
			error(result, 0);
		}
		return result;
	}

	/** The item that is saved in a roster under a key; nil where there is none, or where it is not that of a contact. */
	function item_of(roster: StoredRoster, key: string): RosterItem | undefined {
		const item = roster && (roster.get(key) as RosterItem | undefined);
		// mod_groups adds contacts to rosters in memory that are not saved.
		return item && is_contact(key, item) && item.persist !== false ? item : undefined;
	}

	/** Tells the listeners the differences between two states of a roster. */
	function compare(username: string, before: StoredRoster, after: StoredRoster): void {
		const contacts: string[] = [];
		if (before) {
			for (const [contact] of pairs(before as LuaTable<string, RosterItem>)) {
				if (item_of(before, contact) && !item_of(after, contact)) {
					contacts.push(contact);
				}
			}
		}
		if (after) {
			for (const [contact] of pairs(after as LuaTable<string, RosterItem>)) {
				const item = item_of(after, contact);
				if (item && !same_item(item_of(before, contact), item)) {
					contacts.push(contact);
				}
			}
		}
		const metadata = after && after.get(false);
		const version = metadata && metadata.version;
		for (const [i, contact] of ipairs(contacts)) {
			// Only the last change comes with the new version: a reader who has missed it must not have that version.
			const is_earlier = i < contacts.length && type(version) === "number";
			changed(username, contact, item_of(after, contact), is_earlier ? (version as number) - 1 : version, item_of(before, contact));
		}
	}

	/** Saves a whole roster in a store, and tells the listeners what has changed. */
	function save_whole(store: KeyvalStore | CombinedStore, username: string, roster: StoredRoster): Result {
		if (!is_compared(roster)) {
			return store.set(username, roster);
		}
		const [before] = store.get(username);
		const [ok, err] = store.set(username, roster);
		if (ok) {
			compare(username, before, roster);
		}
		return $multi(ok, err);
	}

	/** Wraps a store of whole rosters. */
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
				if (this.on_read !== false) {
					return store.set(username, roster);
				}
				return save_whole(store, username, roster);
			},
		};
		return setmetatable(wrapper, { __index: store });
	}

	/** The items under the keys of what is to be saved, as `get` gives them. */
	function items_under(keys: Keys, get: (this: void, key: string) => RosterItem | undefined): Roster {
		const items = new LuaTable() as unknown as Roster;
		for (const [key] of pairs(keys)) {
			if (key !== false) {
				items.set(key, get(key) as RosterItem);
			}
		}
		return items;
	}

	/** Tells the listeners which of some items that were saved have changed. */
	function compare_keys(username: string, before: Roster, keys: Keys, removed: Removal): void {
		const after = new LuaTable() as unknown as Roster;
		for (const [key, item] of pairs(keys)) {
			if (item !== removed) {
				after.set(key as string, item as RosterItem);
			}
		}
		compare(username, before, after);
	}

	/** Removes a contact from all rosters, and tells the listeners. `get_all` gives the items of the contact, by username. */
	function remove_from_all(
		contact: string,
		get_all: (this: void) => LuaTable<string, RosterItem> | undefined,
		remove: (this: void) => Result,
	): Result {
		const before = is_watched() ? get_all() : undefined;
		const [ok, err] = remove();
		if (ok && before) {
			for (const [username, item] of pairs(before)) {
				if (is_contact(contact, item)) {
					changed(username, contact, undefined, undefined, item);
				}
			}
		}
		return $multi(ok, err);
	}

	function single_key(key: string | false, item: RosterItem | undefined, removed: Removal): Keys {
		const keys: Keys = new LuaTable();
		keys.set(key, item ?? removed);
		return keys;
	}

	/** Wraps a store of single items. */
	function wrap_map(store: MapStore): MapStore {
		const keyval_store = type(store.keyval_store) === "table" ? store.keyval_store : undefined;
		const wrapper = {
			set(username: string, key: string | false, item: RosterItem | undefined) {
				return this.set_keys(username, single_key(key, item, store.remove));
			},
			set_keys(username: string, keys: Keys) {
				if (!is_compared(keys)) {
					return store.set_keys(username, keys);
				}
				let before = new LuaTable() as unknown as Roster;
				if (keyval_store) {
					// The store reads the whole roster anyway, so this need not be done twice.
					keyval_store.on_read = (roster) => {
						before = items_under(keys, (key) => roster && roster.get(key));
					};
				} else {
					before = items_under(keys, (key) => store.get(username, key)[0]);
				}
				const [ok, err] = store.set_keys(username, keys);
				if (keyval_store) {
					keyval_store.on_read = false;
				}
				if (ok) {
					compare_keys(username, before, keys, store.remove);
				}
				return $multi(ok, err);
			},
		} as MapStore;
		// A store of whole rosters beneath it is wrapped itself.
		if (store.delete_all && !keyval_store) {
			wrapper.delete_all = function (this: MapStore, key: string) {
				return remove_from_all(
					key,
					() => store.get_all!(key)[0],
					() => store.delete_all!(key),
				);
			};
		}
		return setmetatable(wrapper, { __index: store });
	}

	/** Wraps a store with both interfaces. */
	function wrap_combined(store: CombinedStore): CombinedStore {
		const wrapper = {
			set(username: string, roster: StoredRoster) {
				return save_whole(store, username, roster);
			},
			set_key(username: string, key: string | false, item: RosterItem | undefined) {
				return this.set_keys(username, single_key(key, item, store.remove));
			},
			set_keys(username: string, keys: Keys) {
				if (!is_compared(keys)) {
					return store.set_keys(username, keys);
				}
				const before = items_under(keys, (key) => store.get_key(username, key)[0]);
				const [ok, err] = store.set_keys(username, keys);
				if (ok) {
					compare_keys(username, before, keys, store.remove);
				}
				return $multi(ok, err);
			},
			delete_key_from_all(key: string) {
				return remove_from_all(
					key,
					() => store.get_key_from_all(key)[0],
					() => store.delete_key_from_all(key),
				);
			},
		} as CombinedStore;
		return setmetatable(wrapper, { __index: store });
	}

	/** Handles `store-opened`: wraps the store if it is one of rosters. */
	function opened(event: StoreEvent): Handled {
		if (event.store_name === "roster") {
			if (event.store_type === "map") {
				event.store = wrap_map(event.store as MapStore);
			} else if (event.store_type === "keyval+") {
				event.store = wrap_combined(event.store as CombinedStore);
			} else if (event.store_type === undefined || event.store_type === "keyval") {
				event.store = wrap_keyval(event.store as KeyvalStore);
			}
		}
		return undefined;
	}

	return { opened, compare, is_watched, changed, save_without_comparing };
}
export type ChangeWatch = ReturnType<typeof create_change_watch>;
