import * as jid from "util.jid";
import { attribute } from "../prosody/send";
import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";
import { same_coverage } from "../grants/permissions";
import type { Permissions } from "../grants/permissions";
import type { Users } from "../grants/users";
import { is_connected } from "../entities/entities";
import type { Connection, Entity } from "../entities/entities";
import { is_seen_by, keys_of, presence_of } from "./contact_cache";
import type { ContactCache } from "./contact_cache";
import type { ContactPresence } from "./contacts";
import type { CoveredContacts } from "./covered_contacts";
import { sees_contact } from "./delivery";
import type { Collection, Delivery } from "./delivery";
import { answer_age } from "./probes";
import type { Probes } from "./probes";
import type { UserPresence } from "./users";
import { create_walk, online_usernames } from "./walk";

/** What a connection has heard. */
interface HeardOf {
	/** Full JIDs, and bare ones of contacts. */
	jids: LuaTable<string, true>;
	/** How many catch-ups are under way. */
	runs: number;
}

/**
 * Keeps of whom connections hear while they are being caught up. Of those, a catch-up
 * tells nothing more: what they heard is newer than what it would tell, or the same.
 */
export function create_heard() {
	const by_connection = new LuaTable<Connection, HeardOf>();

	function of(connection: Connection): HeardOf | undefined {
		return by_connection.get(connection);
	}

	/** Begins to keep that for a catch-up. Returns what stands for it. */
	function begin(connection: Connection): HeardOf {
		const heard = of(connection) ?? { jids: new LuaTable<string, true>(), runs: 0 };
		heard.runs = heard.runs + 1;
		by_connection.set(connection, heard);
		return heard;
	}

	/** Whether what `begin` returned still counts. */
	function is_kept(connection: Connection, heard: HeardOf): boolean {
		return of(connection) === heard;
	}

	/** Ends that for a catch-up. */
	function release(connection: Connection, heard: HeardOf): void {
		heard.runs = heard.runs - 1;
		if (heard.runs === 0 && is_kept(connection, heard)) {
			by_connection.delete(connection);
		}
	}

	/** Forgets all that a connection heard: its catch-ups end by that. */
	function forget(connection: Connection): void {
		by_connection.delete(connection);
	}

	/** Forgets whom a connection heard of who is not at a host. */
	function forget_others(connection: Connection, host: string): void {
		const heard = of(connection);
		if (heard) {
			for (const [, from] of ipairs(keys_of(heard.jids))) {
				const [, from_host] = jid.split(from);
				if (from_host !== host) {
					heard.jids.delete(from);
				}
			}
		}
	}

	function note(connection: Connection, from: string): void {
		const heard = of(connection);
		if (heard) {
			heard.jids.set(from, true);
		}
	}

	function has(connection: Connection, from: string): boolean {
		const heard = of(connection);
		return heard !== undefined && heard.jids.has(from);
	}

	/** Whether a connection is being caught up and has not heard of a JID. */
	function is_unaware(connection: Connection, from: string): boolean {
		return of(connection) !== undefined && !has(connection, from);
	}

	return { begin, is_kept, release, forget, forget_others, note, has, is_unaware };
}

/** Does a little; false when nothing is left to do. */
type Step = (this: void) => boolean;

/** The users that a catch-up goes through. */
interface Scope {
	/** Their names, nil for all of the host. */
	usernames: string[] | undefined;
	/** Which of them to tell of. */
	wants: (this: void, username: string) => boolean;
}

/** What catch-ups need. */
interface CatchUpService {
	host: string;
	heard: ReturnType<typeof create_heard>;
	delivery: Delivery;
	coverage: Users;
	users: UserPresence;
	covered_contacts: CoveredContacts;
	contacts: ContactPresence;
	cache: ContactCache;
	probes: Probes;
	add_timer: AddTimer;
}

/**
 * Makes what tells entities who is online, when they come or are granted to see it.
 * It does the work in steps, which return false when they are through.
 */
export function create_catch_up(service: CatchUpService) {
	const host = service.host;
	const cache = service.cache;
	const heard = service.heard;
	const probes = service.probes;
	const delivery = service.delivery;

	/** Adds what a user sees of a contact. */
	function collect_contact(collection: Collection, username: string, contact: string): void {
		const resources = cache.of(contact);
		if (resources) {
			for (const [resource, remembered] of pairs(resources)) {
				if (is_seen_by(remembered, username)) {
					const from = resource !== "" ? contact + "/" + resource : contact;
					collection.add(from, attribute("from", from) + presence_of(remembered.form));
				}
			}
		}
	}

	/** Whether what is known of a contact is not to be relied on, so that it is to be probed in a user's name. */
	function is_uncertain(username: string, contact: string): boolean {
		if (!probes.is_needed(contact)) {
			return false;
		}
		// To clients that were there earlier, some of its presences may have come before the module listened.
		return !cache.of(contact) || service.users.is_available(username) || cache.is_older(contact, username, os.time() - answer_age);
	}

	/** Ends what a user saw of contacts who are in the roster no more, whoever took them out. */
	function compare(username: string, roster: Roster): void {
		for (const [, contact] of ipairs(cache.contacts_of(username))) {
			if (!sees_contact(roster.get(contact))) {
				service.contacts.unseen(username, contact);
			}
		}
	}

	/** Makes the step that tells of the host's users. */
	function create_users_step(connection: Connection, collection: Collection, scope: Scope): Step {
		const usernames = scope.usernames ?? online_usernames(host);
		let position = 0;
		return () => {
			const username = usernames[position];
			if (username === undefined) {
				return false;
			}
			position = position + 1;
			if (scope.wants(username) && delivery.may_tell_user(connection, username)) {
				service.users.collect(collection, username);
			}
			return true;
		};
	}

	/**
	 * Makes the step that tells of contacts, and has those probed of whom nothing is known. Of users who are online,
	 * the clients' own probes tell, and users are online first.
	 */
	function create_contacts_step(connection: Connection, collection: Collection, scope: Scope): Step {
		const is_asked = new LuaTable<string, true>();
		// Who sees something and was not met yet: after all accounts were, these users do not exist.
		const missing = cache.watchers();
		let not_met: string[] | undefined;

		function visit_user(username: string, roster: Roster | undefined): void {
			missing.delete(username);
			if (roster) {
				compare(username, roster);
				return;
			}
			// Until it can be read again, what was true before is.
			for (const [, contact] of ipairs(cache.contacts_of(username))) {
				if (delivery.may_tell_contact(connection, contact)) {
					collect_contact(collection, username, contact);
				}
			}
		}

		function visit_contact(username: string, contact: string): void {
			const [, contact_host] = jid.split(contact);
			if (contact_host === host || !delivery.may_tell_contact(connection, contact)) {
				return;
			}
			collect_contact(collection, username, contact);
			if (service.users.asks_contacts(username)) {
				is_asked.set(contact, true);
			} else if (!is_asked.has(contact) && is_uncertain(username, contact)) {
				probes.request(contact, username);
			}
		}

		const walk = create_walk(host, { wants: scope.wants, user: visit_user, contact: visit_contact }, scope.usernames);
		return () => {
			if (walk.step()) {
				return true;
			}
			if (scope.usernames) {
				return false;
			}
			not_met = not_met ?? keys_of(missing);
			const username = table.remove(not_met);
			if (username === undefined) {
				return false;
			}
			if (walk.is_complete()) {
				service.contacts.forget_user(username);
			} else if (scope.wants(username)) {
				walk.visit(username);
			}
			return true;
		};
	}

	/** Tells a connection the end of what a user showed it, whom its grant does not cover any more. */
	function tell_uncovered(connection: Connection, username: string): void {
		service.users.tell_uncovered(connection, username);
		if (connection.entity.permissions.presence === "roster") {
			service.covered_contacts.tell_uncovered(connection, username);
		}
	}

	/** Makes the step that does so for all whom the grant covered before. */
	function create_uncovered_step(connection: Connection, before: Permissions): Step {
		const name = connection.entity.jid;
		const usernames = service.coverage.candidates(before.users) ?? keys_of(cache.watchers());
		for (const [, username] of ipairs(before.users === "all" ? online_usernames(host) : [])) {
			usernames.push(username);
		}
		return () => {
			const username = table.remove(usernames);
			if (username === undefined) {
				return false;
			}
			if (service.coverage.covers(name, before.users, username) && !delivery.covers(connection, username)) {
				tell_uncovered(connection, username);
			}
			return true;
		};
	}

	/** Takes steps, one kind after the other, until a connection has ended or is to be told nothing any more. */
	function run(connection: Connection, collection: Collection, steps: Step[]): void {
		const token = heard.begin(connection);
		let current = 0;
		in_slices(service.add_timer, () => {
			if (!is_connected(connection)) {
				heard.forget(connection);
			}
			if (!heard.is_kept(connection, token)) {
				return false;
			}
			while (current < steps.length) {
				if (steps[current]!()) {
					return true;
				}
				current = current + 1;
			}
			heard.release(connection, token);
			return false;
		}, collection.flush);
	}

	/** Tells a connection the presences that it may see, and might not with the permissions that it had before; and the end of what it may see no more. */
	function start(connection: Connection, before: Permissions): void {
		const permissions = connection.entity.permissions;
		if (permissions.presence === "none") {
			heard.forget(connection);
			return;
		}
		if (permissions.presence !== "roster") {
			// When it is granted to see contacts again, it begins anew.
			heard.forget_others(connection, host);
		}
		const collection = delivery.create_collection(connection);
		const usernames = service.coverage.candidates(permissions.users);
		const everything: Scope = { usernames: usernames, wants: (username) => delivery.covers(connection, username) };
		const steps: Step[] = [];
		if (before.presence === "none") {
			steps.push(create_users_step(connection, collection, everything));
		} else if (!same_coverage(before.users, permissions.users)) {
			steps.push(create_uncovered_step(connection, before));
			const gained: Scope = {
				usernames: usernames,
				wants: (username) => delivery.covers(connection, username) && !service.coverage.covers(connection.entity.jid, before.users, username),
			};
			steps.push(create_users_step(connection, collection, gained));
			if (permissions.presence === "roster" && before.presence === "roster") {
				steps.push(create_contacts_step(connection, collection, gained));
			}
		}
		if (permissions.presence === "roster" && before.presence !== "roster") {
			steps.push(create_contacts_step(connection, collection, everything));
		}
		if (steps.length > 0) {
			run(connection, collection, steps);
		}
	}

	/** Tells an entity what it may see of a user whom its grant covers from now on. */
	function user_covered(entity: Entity, username: string): void {
		const scope: Scope = { usernames: [username], wants: () => true };
		for (const [, connection] of ipairs(entity.connections)) {
			if (is_connected(connection) && entity.permissions.presence !== "none") {
				const collection = delivery.create_collection(connection);
				const steps = [create_users_step(connection, collection, scope)];
				if (entity.permissions.presence === "roster") {
					steps.push(create_contacts_step(connection, collection, scope));
				}
				run(connection, collection, steps);
			}
		}
	}

	/** Tells an entity the end of what only a user showed it, whom its grant does not cover any more. */
	function user_uncovered(entity: Entity, username: string): void {
		for (const [, connection] of ipairs(entity.connections)) {
			if (entity.permissions.presence !== "none") {
				tell_uncovered(connection, username);
			}
		}
	}

	return { start, user_covered, user_uncovered };
}
