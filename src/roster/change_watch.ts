import { is_contact, same_item } from "./item";

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

/** Both in one ("keyval+"). Prosody 13 and later. */
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

/** Of the event `store-opened`. */
export interface StoreEvent {
	store_name: string;
	store_type?: string;
	store: KeyvalStore | MapStore | CombinedStore;
}

/**
 * Tells of an item that was saved, nil where it was removed; `version` is that of the roster,
 * `before` the item that was there, nil where there was none.
 */
export type Changed = (
	this: void,
	username: string,
	contact: string,
	item: RosterItem | undefined,
	version: number | true | undefined,
	before: RosterItem | undefined,
) => void;

/** What hears of changes. */
export interface RosterListener {
	/** Whether it wants to now: as long as nobody does, nothing is compared. */
	is_watching: (this: void) => boolean;
	roster_changed: Changed;
}

/**
 * Hears of changes of rosters by the storage that they are saved to.
 *
 * All changes, whoever makes them, are saved through a store opened for it. What
 * they change is found by comparing with what the storage has, since that is the state
 * that was told last.
 *
 * @param listeners gives those that are there now, nil for none: a store may outlive the module that wrapped it
 */
export function create_change_watch(listeners: (this: void) => RosterListener[] | undefined) {
	// What is being saved by those who tell of its changes themselves.
	const own_data = new LuaTable<object, true>();

	/** Whether anything hears of changes. */
	function is_watched(): boolean {
		for (const [, listener] of ipairs(listeners() ?? [])) {
			if (listener.is_watching()) {
				return true;
			}
		}
		return false;
	}

	/** Tells of an item that was saved. */
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

	/** Whether a change of what is saved has to be found by comparing. */
	function is_heard(data: object | undefined): boolean {
		return is_watched() && !(data !== undefined && own_data.has(data));
	}

	/** Saves data, a whole roster or a table of items, without hearing of it: who knows what it changes tells of that. */
	function unheard<T>(data: object, save: (this: void) => T): T {
		own_data.set(data, true);
		const [ok, result] = pcall(save);
		own_data.delete(data);
		if (!ok) {
			error(result, 0);
		}
		return result;
	}

	/** The item that a roster has under a key, nil where there is none or it is no contact's. */
	function item_of(roster: StoredRoster, key: string): RosterItem | undefined {
		const item = roster && (roster.get(key) as RosterItem | undefined);
		// mod_groups puts contacts into rosters that are not saved.
		return item && is_contact(key, item) && item.persist !== false ? item : undefined;
	}

	/** Tells what is different between two states of a roster. */
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
			// Who has not heard of all of them yet does not have that version.
			const earlier = i < contacts.length && type(version) === "number";
			changed(username, contact, item_of(after, contact), earlier ? (version as number) - 1 : version, item_of(before, contact));
		}
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
				if (this.on_read !== false || !is_heard(roster)) {
					return store.set(username, roster);
				}
				const [before] = store.get(username);
				const [ok, err] = store.set(username, roster);
				if (ok) {
					compare(username, before, roster);
				}
				return $multi(ok, err);
			},
		};
		return setmetatable(wrapper, { __index: store });
	}

	/** Tells those of some saved items that are not what was there. */
	function compare_keys(username: string, before: Roster, keys: Keys, removed: Removal): void {
		const after = new LuaTable() as unknown as Roster;
		for (const [key, item] of pairs(keys)) {
			if (item !== removed) {
				after.set(key as string, item as RosterItem);
			}
		}
		compare(username, before, after);
	}

	/** Tells that a contact was removed from all rosters that had it. */
	function tell_removals(contact: string, before: LuaTable<string, RosterItem> | undefined): void {
		if (before) {
			for (const [username, item] of pairs(before)) {
				if (is_contact(contact, item)) {
					changed(username, contact, undefined, undefined, item);
				}
			}
		}
	}

	function single_key(key: string | false, item: RosterItem | undefined, removed: Removal): Keys {
		const keys: Keys = new LuaTable();
		keys.set(key, item ?? removed);
		return keys;
	}

	/** A store of single items: those that are saved are compared with what is there. */
	function wrap_map(store: MapStore): MapStore {
		const keyval_store = type(store.keyval_store) === "table" ? store.keyval_store : undefined;
		const wrapper = {
			set(username: string, key: string | false, item: RosterItem | undefined) {
				return this.set_keys(username, single_key(key, item, store.remove));
			},
			set_keys(username: string, keys: Keys) {
				if (!is_heard(keys)) {
					return store.set_keys(username, keys);
				}
				const before = new LuaTable() as unknown as Roster;
				if (keyval_store) {
					// It reads the roster anyway: look at that.
					keyval_store.on_read = (roster) => {
						for (const [key] of pairs(keys)) {
							if (key !== false && roster) {
								before.set(key, roster.get(key));
							}
						}
					};
				} else {
					for (const [key] of pairs(keys)) {
						if (key !== false) {
							before.set(key, store.get(username, key)[0] as RosterItem);
						}
					}
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
		// One that is built upon a store of whole rosters saves through that.
		if (store.delete_all && !keyval_store) {
			wrapper.delete_all = function (this: MapStore, key: string) {
				let before: LuaTable<string, RosterItem> | undefined;
				if (is_watched()) {
					before = store.get_all!(key)[0];
				}
				const [ok, err] = store.delete_all!(key);
				if (ok) {
					tell_removals(key, before);
				}
				return $multi(ok, err);
			};
		}
		return setmetatable(wrapper, { __index: store });
	}

	/** A store of both. */
	function wrap_combined(store: CombinedStore): CombinedStore {
		const wrapper = {
			set(username: string, roster: StoredRoster) {
				if (!is_heard(roster)) {
					return store.set(username, roster);
				}
				const [before] = store.get(username);
				const [ok, err] = store.set(username, roster);
				if (ok) {
					compare(username, before, roster);
				}
				return $multi(ok, err);
			},
			set_key(username: string, key: string | false, item: RosterItem | undefined) {
				return this.set_keys(username, single_key(key, item, store.remove));
			},
			set_keys(username: string, keys: Keys) {
				if (!is_heard(keys)) {
					return store.set_keys(username, keys);
				}
				const before = new LuaTable() as unknown as Roster;
				for (const [key] of pairs(keys)) {
					if (key !== false) {
						before.set(key, store.get_key(username, key)[0] as RosterItem);
					}
				}
				const [ok, err] = store.set_keys(username, keys);
				if (ok) {
					compare_keys(username, before, keys, store.remove);
				}
				return $multi(ok, err);
			},
			delete_key_from_all(key: string) {
				let before: LuaTable<string, RosterItem> | undefined;
				if (is_watched()) {
					before = store.get_key_from_all(key)[0];
				}
				const [ok, err] = store.delete_key_from_all(key);
				if (ok) {
					tell_removals(key, before);
				}
				return $multi(ok, err);
			},
		} as CombinedStore;
		return setmetatable(wrapper, { __index: store });
	}

	/** Handles `store-opened`: puts a store in its place that hears of what is saved. */
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

	return { opened, compare, is_watched, changed, unheard };
}
export type ChangeWatch = ReturnType<typeof create_change_watch>;
