import * as rostermanager from "core.rostermanager";
import * as usermanager from "core.usermanager";
import { log_of_module, protect } from "./protect";
import { create_recent } from "./recent";

/**
 * Seconds for which an account and its role are remembered at least; twice as long at most. An entity acts for the same
 * user many times in a row, and each lookup may be a request to a directory or a database.
 */
const account_span = 2;
// By bare JID: the commands of the console ask about accounts of all hosts.
const existing = create_recent<true>(account_span);
const roles = create_recent<import("core.usermanager").Role>(account_span);
const enabled_accounts = create_recent<true>(account_span);

/** Whether an account exists on a host. Asks the server anew: to be used before something is saved for the account. One that has a client online exists. */
export function account_exists_now(username: string, host: string): boolean {
	const exists =
		protect(log_of_module, "while the account %s was looked for", username, () => usermanager.user_exists(username, host)) === true;
	if (exists) {
		existing.set(username + "@" + host, true);
	} else {
		existing.forget(username + "@" + host);
	}
	return exists;
}

/** Whether an account exists on a host. An account that another process deletes still exists here for less than five seconds. */
export function account_exists(username: string, host: string): boolean {
	// An account that has a client online exists.
	if (prosody.hosts.get(host).sessions!.has(username) || existing.get(username + "@" + host)) {
		return true;
	}
	return account_exists_now(username, host);
}

/** Whether an admin has disabled an account, which need not exist (Prosody 13 and later). */
export function account_disabled(username: string, host: string): boolean {
	if (!usermanager.user_is_enabled) {
		return false;
	}
	const user = username + "@" + host;
	if (enabled_accounts.get(user)) {
		return false;
	}
	const is_enabled = protect(log_of_module, "while the account %s was looked for", username, () =>
		usermanager.user_is_enabled!(username, host),
	);
	// Not every authentication can tell: only false means disabled. Nil may mean that the storage failed.
	if (is_enabled !== undefined && is_enabled !== false) {
		enabled_accounts.set(user, true);
	}
	return is_enabled === false;
}

/** The role of a user of a host, nil where the server has no roles (Prosody 0.12 and earlier). */
export function user_role(username: string, host: string): import("core.usermanager").Role | undefined {
	const user = username + "@" + host;
	let role = roles.get(user);
	if (!role && usermanager.get_user_role) {
		role = usermanager.get_user_role(username, host);
		if (role) {
			roles.set(user, role);
		}
	}
	return role;
}

/** Forgets what is remembered of an account. To be called when the account is created, deleted, disabled or enabled, or gets another role. */
export function forget_account(username: string, host: string): void {
	existing.forget(username + "@" + host);
	roles.forget(username + "@" + host);
	enabled_accounts.forget(username + "@" + host);
}

/**
 * Drops an offline user's roster from the server's cache. The server itself only does so to make room, not even when the account
 * is deleted: it gives what the cache has to the next client that logs in under that name.
 */
export function forget_roster(username: string, host: string): void {
	const owner = prosody.hosts.get(host) as Host | undefined;
	const cache = owner && owner.roster_cache;
	if (cache) {
		cache.set(username + "@" + host, undefined);
	}
}

/** Whether the server has a roster in memory that it could not read when the user logged in. */
function is_broken(roster: Roster): boolean {
	const metadata = roster.get(false);
	return metadata !== undefined && metadata.broken !== undefined;
}

/**
 * Reads a user's roster: from memory if the user is online, otherwise from the storage. An offline user's roster does not
 * stay in the server's cache.
 *
 * @returns the roster, which is empty if the user does not exist; nil if the storage failed, now or when the user logged in
 */
export function read_roster(username: string, host: string): Roster | undefined {
	forget_roster(username, host);
	const roster = protect(log_of_module, "while the roster of %s was read", username, () => {
		const [loaded, err] = rostermanager.load_roster(username, host);
		return err === undefined ? loaded : undefined;
	});
	forget_roster(username, host);
	return roster && !is_broken(roster) ? roster : undefined;
}

/**
 * Looks at a user's roster as the server does for a probe: an offline user's roster comes from the server's cache and stays
 * there. So this stays cheap when strangers cause it again and again, where `read_roster` would read the storage each time.
 *
 * The cache may have an older roster than the storage if another process changed it or deleted the account. No client gets
 * such a roster: the module drops it when a client logs in and when an account is created or deleted (mod_privilege.ts).
 *
 * @returns the roster, which is empty if the user does not exist; nil if the storage failed, now or when the user logged in
 */
export function peek_roster(username: string, host: string): Roster | undefined {
	const [roster] = rostermanager.load_roster(username, host);
	if (is_broken(roster)) {
		// The next one who asks has the storage read again.
		forget_roster(username, host);
		return undefined;
	}
	return roster;
}
