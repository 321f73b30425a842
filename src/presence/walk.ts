import { read_roster } from "../prosody/accounts";
import { keys_of } from "../prosody/keys";
import { list_usernames } from "../prosody/usernames";
import type { NextName } from "../prosody/usernames";
import { sees_contact } from "./delivery";

/** What a walk calls. */
interface Visitor {
	/** Whether to visit a user and the user's contacts. */
	wants: (this: void, username: string) => boolean;
	/** Called with each user and the user's roster, which is nil if it cannot be read. */
	user: (this: void, username: string, roster: Roster | undefined) => void;
	/** Called with each contact whose presence the user sees. */
	contact: (this: void, username: string, contact: string) => void;
}

/** The names of a host's users who have a client connected. */
export function online_usernames(host: string): string[] {
	return keys_of(prosody.hosts.get(host).sessions);
}

/**
 * Visits users of a host and their contacts, step by step.
 *
 * @param usernames the names of the users; nil for all users of the host, those who are online first
 */
export function create_walk(host: string, visitor: Visitor, usernames: string[] | undefined) {
	const online = usernames ?? online_usernames(host);
	const was_online = new LuaTable<string, true>();
	let next_online = 0;
	let accounts: NextName | undefined;
	let is_over = usernames !== undefined;
	// The user who was visited last, and the contacts of that user.
	let username = "";
	let contacts: string[] = [];
	let next_contact = 0;

	/** Visits a user; the next steps visit the user's contacts. */
	function visit(name: string): void {
		username = name;
		contacts = [];
		next_contact = 0;
		const roster = read_roster(name, host);
		if (roster) {
			for (const [contact, item] of pairs(roster as LuaTable<string, RosterItem>)) {
				if (sees_contact(item)) {
					contacts.push(contact);
				}
			}
		}
		visitor.user(name, roster);
	}

	/** Visits the next account. Returns false after the last one. */
	function visit_account(): boolean {
		const next_account = accounts ?? list_usernames(host);
		// If the list fails, the walk is over and not complete.
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

	/** Visits one user or one contact. Returns false when nobody is left. */
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

	/** Whether all accounts were visited, as far as the walk is over: not if they cannot be listed. */
	function is_complete(): boolean {
		return accounts !== undefined;
	}

	return { step, visit, is_complete };
}

export type Walk = ReturnType<typeof create_walk>;
