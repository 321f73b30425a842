import * as rostermanager from "core.rostermanager";
import * as usermanager from "core.usermanager";

/** Whether there is an account of that name on a host. */
export function account_exists(username: string, host: string): boolean {
	// Who is online needs no look into the storage.
	return prosody.hosts.get(host).sessions!.has(username) || usermanager.user_exists(username, host) === true;
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
	const [roster, err] = rostermanager.load_roster(username, host);
	forget_roster(username, host);
	const metadata = roster.get(false);
	return err === undefined && (metadata && metadata.broken) === undefined ? roster : undefined;
}
