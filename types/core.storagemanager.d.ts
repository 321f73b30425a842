/**
 * Prosody's `core.storagemanager`: the stores that modules keep data in.
 */
declare module "core.storagemanager" {
	/** A store of single values under keys, for each user. */
	interface MapStore {
		/** Saves several values of a user's; nil and an error where that failed. 0.10 and later. */
		set_keys(username: string, values: LuaTable<string | false, unknown>): LuaMultiReturn<[boolean | undefined, unknown]>;
		/** What stands for a value to be removed in `set_keys`. */
		remove: object;
		/** The store of whole rosters that it is built upon, where the driver has none of its own. */
		keyval_store?: KeyvalStore;
	}

	/** A store of one value for each user. */
	interface KeyvalStore<V = unknown> {
		/** A user's value, that of the host for no user; nil where there is none, nil and an error where that failed. */
		get(username: string | undefined): LuaMultiReturn<[V | undefined, unknown]>;
		/** Saves a user's value; nil and an error where that failed. */
		set(username: string | undefined, value: V | undefined): LuaMultiReturn<[boolean | undefined, unknown]>;
		/** An iterator over the users who have a value. 0.10 and later. */
		users?(): LuaMultiReturn<[(this: void, state: unknown, last: unknown) => string | undefined, unknown, unknown]>;
	}

	/** Opens a store of a host. */
	function open(host: string, store: string, type: "map"): MapStore;
	function open<V = unknown>(host: string, store: string, type: "keyval"): KeyvalStore<V>;

	/** The driver of a host's store, and its name: "internal", "sql", … */
	function get_driver(host: string, store: string): LuaMultiReturn<[object, string]>;
}
