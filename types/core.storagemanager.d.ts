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
	interface KeyvalStore {
		/** Saves a user's value; nil and an error where that failed. */
		set(username: string, value: unknown): LuaMultiReturn<[boolean | undefined, unknown]>;
	}

	/** Opens a store of a host. */
	function open(host: string, store: string, type: "map"): MapStore;
	function open(host: string, store: string, type: "keyval"): KeyvalStore;
}
