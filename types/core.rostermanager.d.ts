/**
 * Prosody's `core.rostermanager`: the rosters of local users.
 */
declare module "core.rostermanager" {
	type Subscription = "none" | "to" | "from" | "both";

	/** One contact (RFC 6121, 2.1.2). */
	interface RosterItem {
		name?: string | undefined;
		subscription: Subscription;
		/** "subscribe" while a request of the user's is under way. */
		ask?: string | undefined;
		/** "true" where the user approved a request in advance. */
		approved?: string | undefined;
		/** False for a contact that is not saved. */
		persist?: boolean;
		/** The names of the groups, as keys. */
		groups: LuaTable<string, true>;
	}

	/** What a roster holds beside its items. */
	interface RosterMetadata {
		/** Counts up at each change; true where the storage keeps no versions. */
		version?: number | true;
		/** Set where the roster could not be read from the storage. */
		broken?: string | true | undefined;
		/** Requests of contacts that the user has not answered, by bare JID. */
		pending?: LuaTable<string, unknown>;
	}

	/** Items by bare JID; the key `false` has the metadata. */
	type Roster = LuaTable<string, RosterItem> & LuaTable<false, RosterMetadata | undefined>;

	/**
	 * The roster of a user, online or not, from memory or storage.
	 * An empty one for a user who does not exist; an error beside it where the storage failed.
	 */
	function load_roster(username: string, host: string): LuaMultiReturn<[Roster, string | undefined]>;
	/**
	 * Saves a roster, or of it only the item of `jid` (0.10 and later), and counts its version up.
	 * False or nil where that failed.
	 */
	function save_roster(username: string, host: string, roster: Roster, jid?: string): boolean | undefined;
	/** Tells the user's interested clients of one item (RFC 6121, 2.1.6). */
	function roster_push(username: string, host: string, jid: string): void;
	/** Whether the user approved the contact's request in advance. 0.10 and later. */
	const is_contact_preapproved: ((this: void, username: string, host: string, jid: string) => boolean | undefined) | undefined;
}
