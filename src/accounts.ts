import * as usermanager from "core.usermanager";

/** Seconds for which an account that was found is not looked up again: many storages read a file for it. */
const account_span = 10;

/** What the module asks about accounts of the host. */
export interface Accounts {
	exists: (this: void, username: string) => boolean;
	/** Handles `user-deleted`. */
	deleted: (this: void, event: UserEvent) => Handled;
}

export function create_accounts(host: string): Accounts {
	let found = new LuaTable<string, true>();
	let forget_at = 0;

	return {
		exists: (username) => {
			if (prosody.hosts.get(host).sessions!.has(username)) {
				return true;
			}
			const now = os.time();
			if (now >= forget_at) {
				found = new LuaTable();
				forget_at = now + account_span;
			}
			if (found.has(username)) {
				return true;
			}
			if (usermanager.user_exists(username, host)) {
				found.set(username, true);
				return true;
			}
			return false;
		},
		deleted: (event) => {
			if (event.host === host) {
				found.delete(event.username);
			}
			return undefined;
		},
	};
}
