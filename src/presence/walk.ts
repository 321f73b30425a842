import { read_roster } from "../prosody/accounts";
import { keys_of } from "../prosody/keys";
import { protect } from "../prosody/protect";
import { list_usernames } from "../prosody/usernames";
import type { NextName } from "../prosody/usernames";
import { sees_contact } from "./delivery";

/** What is done on the way. */
interface Visitor {
	/** Whether to go through a user's contacts. */
	wants: (this: void, username: string) => boolean;
	/** Called with each user, and the roster, nil where it cannot be read. */
	user: (this: void, username: string, roster: Roster | undefined) => void;
	/** Called with each contact whose presence that user sees. */
	contact: (this: void, username: string, contact: string) => void;
}

/** The names of the users of a host who have a client connected. */
export function online_usernames(host: string): string[] {
	return keys_of(prosody.hosts.get(host).sessions);
}

/**
 * Goes through the contacts of users of a host, step by step. A roster that another module fails to load is one that cannot be read.
 *
 * @param usernames of the users; nil for all of the host, those who are online first
 */
export function create_walk(host: string, log: Log, visitor: Visitor, usernames: string[] | undefined) {
	const online = usernames ?? online_usernames(host);
	const was_online = new LuaTable<string, true>();
	let next_online = 0;
	let accounts: NextName | undefined;
	let is_over = usernames !== undefined;
	// The user who was met last, and the contacts of theirs.
	let username = "";
	let contacts: string[] = [];
	let next_contact = 0;

	/** Has the next steps go through the contacts of a user. */
	function visit(name: string): void {
		username = name;
		contacts = [];
		next_contact = 0;
		const roster = protect(log, "while the roster of %s was read", name, () => read_roster(name, host));
		if (roster) {
			for (const [contact, item] of pairs(roster as LuaTable<string, RosterItem>)) {
				if (sees_contact(item)) {
					contacts.push(contact);
				}
			}
		}
		visitor.user(name, roster);
	}

	/** Goes on with the next account; false after the last one. */
	function visit_account(): boolean {
		const next_account = accounts ?? list_usernames(host);
		// If that fails, not all were met, and it is over.
		accounts = undefined;
		is_over = true;
		const name = next_account && next_account();
		accounts = next_account;
		if (name === undefined) {
			return false;
		}
		is_over = false;
		if (!was_online.has(name) && visitor.wants(name)) {
			visit(name);
		}
		return true;
	}

	/** Goes on with one user or one contact; false when it is through. */
	function step(): boolean {
		const contact = contacts[next_contact];
		if (contact !== undefined) {
			next_contact = next_contact + 1;
			visitor.contact(username, contact);
			return true;
		}
		if (next_online < online.length) {
			const name = online[next_online]!;
			next_online = next_online + 1;
			was_online.set(name, true);
			if (visitor.wants(name)) {
				visit(name);
			}
			return true;
		}
		return !is_over && visit_account();
	}

	/** Whether the accounts could be listed; else those who are offline were not met. To be asked when it is through. */
	function is_complete(): boolean {
		return accounts !== undefined;
	}

	return { step, visit, is_complete };
}
