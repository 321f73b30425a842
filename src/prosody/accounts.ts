import * as rostermanager from "core.rostermanager";
import * as usermanager from "core.usermanager";

/** Whether there is an account of that name on a host. */
export function account_exists(username: string, host: string): boolean {
	// Who is online needs no look into the storage.
	return prosody.hosts.get(host).sessions!.has(username) || usermanager.user_exists(username, host) === true;
}

/** Reads a user's roster; nil where the storage failed, now or when it was first read. */
export function read_roster(username: string, host: string): Roster | undefined {
	const [roster, err] = rostermanager.load_roster(username, host);
	const metadata = roster.get(false);
	if (err === undefined && (metadata && metadata.broken) === undefined) {
		return roster;
	}
	// The server keeps it as an empty one that cannot be saved, which the user would get who comes online.
	const kept = prosody.hosts.get(host).roster_cache;
	if (kept) {
		kept.set(username + "@" + host, undefined);
	}
	return undefined;
}
