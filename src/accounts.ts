import * as usermanager from "core.usermanager";

/** Whether there is an account of that name on a host. */
export function account_exists(username: string, host: string): boolean {
	// Who is online needs no look into the storage.
	return prosody.hosts.get(host).sessions!.has(username) || usermanager.user_exists(username, host) === true;
}
