import * as rostermanager from "core.rostermanager";
import * as usermanager from "core.usermanager";
import { log_of_module, protect } from "./protect";
import { create_recent } from "./recent";

/**
 * Seconds for which it is remembered at least that there is an account and what its role is, twice as long at most: an
 * entity that acts for a user does so many times in a row, and each look may be a request to a directory or a database.
 */
const account_span = 2;
const existing = create_recent<true>(account_span);
const roles = create_recent<import("core.usermanager").Role>(account_span);

/** Whether there is an account of that name on a host, by a look at the storage: nothing may be left there of an account that is gone. */
export function account_exists_now(username: string, host: string): boolean {
	const exists =
		protect(log_of_module, "while the account %s was looked for", username, () => usermanager.user_exists(username, host)) === true;
	if (exists) {
		existing.set(username, true);
	} else {
		existing.forget(username);
	}
	return exists;
}

/** Whether there is an account of that name on a host. One that vanishes unheard, deleted by another process, counts for less than five seconds. */
export function account_exists(username: string, host: string): boolean {
	// Who is online needs no look into the storage.
	if (prosody.hosts.get(host).sessions!.has(username) || existing.get(username)) {
		return true;
	}
	return account_exists_now(username, host);
}

/** The role of a user of a host, nil where the server has none (Prosody 0.12 and earlier). */
export function user_role(username: string, host: string): import("core.usermanager").Role | undefined {
	let role = roles.get(username);
	if (!role && usermanager.get_user_role) {
		role = usermanager.get_user_role(username, host);
		if (role) {
			roles.set(username, role);
		}
	}
	return role;
}

/** Drops what is remembered of an account that is new or gone, or has another role. */
export function forget_account(username: string): void {
	existing.forget(username);
	roles.forget(username);
}

/**
 * Drops an offline user's roster from the server's cache, from which the server gives it to the next client
 * that logs in under that name: it never drops one itself, not even that of a deleted account.
 */
export function forget_roster(username: string, host: string): void {
	const owner = prosody.hosts.get(host) as Host | undefined;
	const cache = owner && owner.roster_cache;
	if (cache) {
		cache.set(username + "@" + host, undefined);
	}
}

/**
 * Reads a user's roster: what the server has in memory of a user who is online, what the storage has
 * of one who is not. Of the latter nothing is left in the server's cache.
 *
 * @returns the roster, an empty one for a user who does not exist; nil where the storage failed, now or when the user logged in
 */
export function read_roster(username: string, host: string): Roster | undefined {
	forget_roster(username, host);
	const roster = protect(log_of_module, "while the roster of %s was read", username, () => {
		const [loaded, err] = rostermanager.load_roster(username, host);
		return err === undefined ? loaded : undefined;
	});
	forget_roster(username, host);
	const metadata = roster && roster.get(false);
	return metadata && metadata.broken !== undefined ? undefined : roster;
}

/**
 * Looks at a user's roster, as the server does for a probe: of a user who is offline, it may be what the server's cache has, and
 * it stays there. That costs little, however often it is done and whoever has it done, where `read_roster` reads the storage.
 *
 * A roster in the cache may be older than what other processes have stored, and stays when they delete the account. No client gets
 * such a roster: this module drops it when one logs in, and when an account is made or deleted on this server (mod_privilege.ts).
 *
 * @returns the roster, an empty one for a user who does not exist; nil where the storage failed, now or when the user logged in
 */
export function peek_roster(username: string, host: string): Roster | undefined {
	const [roster] = rostermanager.load_roster(username, host);
	const metadata = roster.get(false);
	if (metadata && metadata.broken !== undefined) {
		// What could not be read is to be read anew.
		forget_roster(username, host);
		return undefined;
	}
	return roster;
}
