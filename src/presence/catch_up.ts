import * as jid from "util.jid";
import { create_fifo } from "../prosody/fifo";
import { keys_of } from "../prosody/keys";
import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";
import type { NextName } from "../prosody/usernames";
import { no_permissions, same_coverage } from "../grants/permissions";
import type { Coverage, Permissions } from "../grants/permissions";
import type { Users } from "../grants/users";
import { each_connection, is_connected } from "../entities/entities";
import type { Connection, Entities, Entity, UncoveredUsers } from "../entities/entities";
import type { OtherHosts } from "../entities/served_hosts";
import { is_seen_by } from "./contact_cache";
import type { ContactCache, Remembered } from "./contact_cache";
import type { ContactPresence } from "./contacts";
import { full_jid } from "./covered_contacts";
import type { CoveredContacts } from "./covered_contacts";
import { sees_contact } from "./delivery";
import type { Collection, Delivery } from "./delivery";
import type { Heard, HeardOf } from "./heard";
import { form_rest } from "./presence_form";
import { answer_age } from "./probes";
import type { Probes } from "./probes";
import type { UserPresence } from "./users";
import { create_walk, online_usernames } from "./walk";
import type { Walk } from "./walk";

/** The users whom a connection is to be caught up with. */
interface UserQueue {
	/** Of the catch-up that goes through them. */
	token: HeardOf;
	names: ReturnType<typeof create_fifo<string>>;
	/** The same names, as keys. */
	waiting: LuaTable<string, true>;
}

/** Does a little of the work. Returns false when nothing is left. */
type Step = (this: void) => boolean;

/** Gives the names of some users. */
type Listing = (this: void) => string[];

/** The users that a catch-up goes through. */
interface Scope {
	/** Their names; nil for all users of the host. */
	listing: Listing | undefined;
	/** Whether a catch-up tells of one of them. */
	wants: (this: void, username: string) => boolean;
}

/** The parts that catch-ups need. */
interface CatchUpService {
	host: string;
	entities: Entities;
	heard: Heard;
	delivery: Delivery;
	coverage: Users;
	users: UserPresence;
	covered_contacts: CoveredContacts;
	contacts: ContactPresence;
	cache: ContactCache;
	probes: Probes;
	add_timer: AddTimer;
	other_hosts: OtherHosts;
}

/**
 * Tells entities the presences that are there already, when they connect or when their grants change (XEP-0356, 7). The
 * work is done in steps.
 */
export function create_catch_up(service: CatchUpService) {
	const host = service.host;
	const cache = service.cache;
	const heard = service.heard;
	const probes = service.probes;
	const delivery = service.delivery;
	const user_queues = setmetatable(new LuaTable<Connection, UserQueue>(), { __mode: "k" });

	/** Adds the presences of a contact that a user sees. */
	function collect_contact(connection: Connection, collection: Collection, username: string, contact: string): void {
		if (connection.entity.permissions.users !== "all") {
			service.covered_contacts.show(connection, username, contact, collection.write);
			return;
		}
		const resources = cache.of(contact);
		if (resources) {
			for (const [resource, remembered] of pairs(resources)) {
				if (is_seen_by(remembered, username)) {
					const from = full_jid(contact, resource);
					collection.add(from, form_rest(from, remembered.form));
				}
			}
		}
	}

	/** Whether a contact has to be probed in a user's name because what a connection may know of it may be incomplete or old. */
	function is_uncertain(connection: Connection, username: string, contact: string): boolean {
		// What only uncovered users see counts for nothing.
		const is_limited = connection.entity.permissions.users !== "all";
		const is_known = (is_limited && cache.sees(username, contact)) || (!is_limited && cache.of(contact) !== undefined);
		// A client that was online before the module was loaded may have got presences of which the module knows nothing.
		if (is_known && !service.users.is_available(username) && !cache.is_older(contact, username, os.time() - answer_age)) {
			return false;
		}
		return probes.is_needed(contact, username, (name) => delivery.covers(connection, name));
	}

	/** Ends the presences of contacts that a user does not have in the roster any more, whoever removed them. */
	function compare(username: string, roster: Roster): void {
		for (const [, contact] of ipairs(cache.contacts_of(username))) {
			if (!sees_contact(roster.get(contact))) {
				service.contacts.unseen(username, contact);
			}
		}
	}

	/** Makes the listing of the users whom a grant may cover; nil where it covers all users of the host. They are read when they are first asked for, and once. */
	function create_listing(users: Coverage): Listing | undefined {
		let usernames: string[] | undefined;
		if (users === "all") {
			return undefined;
		}
		return () => {
			usernames = usernames ?? service.coverage.candidates(users)!;
			return usernames;
		};
	}

	/** Makes the function that gives the names of a listing one by one; where it is nil, those of the users who are online. */
	function create_names(listing: Listing | undefined): NextName {
		let usernames: string[] | undefined;
		let position = 0;
		return () => {
			usernames = usernames ?? (listing ? listing() : online_usernames(host));
			position = position + 1;
			return usernames[position - 1];
		};
	}

	/** Makes the step that tells a connection of the host's users. */
	function create_users_step(connection: Connection, collection: Collection, scope: Scope): Step {
		const next_name = create_names(scope.listing);
		return () => {
			const username = next_name();
			if (username === undefined) {
				return false;
			}
			if (scope.wants(username) && delivery.may_tell_user(connection, username)) {
				service.users.collect(connection, collection, username);
			}
			return true;
		};
	}

	/**
	 * Makes the step that tells a connection of contacts, and has unknown ones probed. Contacts of users who are online are
	 * not probed, as the users' clients do that; these users come first.
	 */
	function create_contacts_step(connection: Connection, collection: Collection, scope: Scope): Step {
		const is_probed = new LuaTable<string, true>();
		// The users who see contacts and were not visited yet. Those who are left after all accounts do not exist.
		let missing = new LuaTable<string, true>();
		let not_met: string[] | undefined;
		let walk: Walk | undefined;

		function visit_user(username: string, roster: Roster | undefined): void {
			missing.delete(username);
			if (roster) {
				compare(username, roster);
				return;
			}
			// The roster cannot be read: what is known of it still holds.
			for (const [, contact] of ipairs(cache.contacts_of(username))) {
				if (delivery.may_tell_contact(connection, contact)) {
					collect_contact(connection, collection, username, contact);
				}
			}
		}

		function visit_contact(username: string, contact: string): void {
			const [, contact_host] = jid.split(contact);
			// The user may have opted out since the roster was read.
			if (contact_host === host || !delivery.may_tell_contact(connection, contact) || !scope.wants(username)) {
				return;
			}
			collect_contact(connection, collection, username, contact);
			if (service.users.probes_contacts(username)) {
				is_probed.set(contact, true);
			} else if (!is_probed.has(contact) && is_uncertain(connection, username, contact)) {
				probes.request(contact, username);
			}
		}

		return () => {
			if (!walk) {
				// Not before: after a reload of the module, the cache is restored later than the configuration takes effect.
				missing = scope.listing ? missing : cache.watchers();
				walk = create_walk(host, { wants: scope.wants, user: visit_user, contact: visit_contact }, scope.listing && scope.listing());
			}
			if (walk.step()) {
				return true;
			}
			if (scope.listing) {
				return false;
			}
			not_met = not_met ?? keys_of(missing);
			const username = table.remove(not_met);
			if (username === undefined) {
				return false;
			}
			// Users who are not wanted were not visited either.
			if (scope.wants(username)) {
				if (walk.is_complete()) {
					service.contacts.forget_user(username);
				} else {
					walk.visit(username);
				}
			}
			return true;
		};
	}

	/** Makes the step that visits the contacts that some users see, as long as each user is wanted. */
	function create_seen_step(listing: Listing, wants: Scope["wants"], visit: (this: void, username: string, contact: string) => void): Step {
		const next_name = create_names(listing);
		let username = "";
		let contacts: string[] = [];
		return () => {
			const contact = table.remove(contacts);
			if (contact !== undefined) {
				if (wants(username)) {
					visit(username, contact);
				}
				return true;
			}
			const name = next_name();
			if (name === undefined) {
				return false;
			}
			username = name;
			contacts = wants(name) ? cache.contacts_of(name) : [];
			return true;
		};
	}

	/** Makes the step that ends, for a connection, the contacts that it sees through some users whom its grant does not cover any more. */
	function create_hide_step(connection: Connection, collection: Collection, listing: Listing): Step {
		return create_seen_step(
			listing,
			(username) => !delivery.covers(connection, username),
			(username, contact) => {
				service.covered_contacts.hide(connection, username, contact, collection.write);
			},
		);
	}

	/**
	 * Makes the step that ends, for a connection, the users whom its grant covered before and does not cover any more. The
	 * connection keeps that coverage until all have ended, as the module may be reloaded meanwhile.
	 */
	function create_uncovered_step(connection: Connection, before: Coverage, listing: Listing | undefined): Step {
		const name = connection.entity.jid;
		const next_name = create_names(listing);
		const users: UncoveredUsers = { coverage: before, done: new LuaTable() };
		connection.ending.set(users, true);
		return () => {
			const username = next_name();
			if (username === undefined) {
				connection.ending.delete(users);
				return false;
			}
			users.done.set(username, true);
			if (service.coverage.covers_as_known(name, before, username) && !delivery.covers(connection, username)) {
				service.users.tell_uncovered(connection, username);
				service.other_hosts.show_elsewhere(name, username);
			}
			return true;
		};
	}

	/** Makes the steps that end, for a connection, the users whom its grant covered before a reload of the module and does not cover any more. */
	function create_reload_steps(connection: Connection, told: Permissions): Step[] {
		const unfinished = connection.ending;
		connection.ending = new LuaTable();
		const steps: Step[] = [];
		for (const [users] of pairs(unfinished)) {
			steps.push(create_uncovered_step(connection, users.coverage, create_listing(users.coverage)));
		}
		if (told.presence !== "none" && !same_coverage(told.users, connection.entity.permissions.users)) {
			steps.push(create_uncovered_step(connection, told.users, create_listing(told.users)));
		}
		return steps;
	}

	/** Makes the step that ends, for a connection, what it was told of contacts before and that no user sees whom its grant covers now. To come when it was told all that such users see. */
	function create_others_step(connection: Connection, collection: Collection): Step {
		let contacts: string[] | undefined;
		return () => {
			contacts = contacts ?? service.covered_contacts.others_of(connection);
			const contact = table.remove(contacts);
			if (contact === undefined) {
				return false;
			}
			if (connection.entity.permissions.users !== "all") {
				service.covered_contacts.end_others(connection, contact, collection.write);
			}
			return true;
		};
	}

	/** Makes the steps that end, for a connection, the contacts that no user sees whom its grant covers now. */
	function create_narrow_steps(
		connection: Connection,
		collection: Collection,
		listing_before: Listing | undefined,
		listing: Listing | undefined,
	): Step[] {
		const covered_contacts = service.covered_contacts;
		if (!listing) {
			return [];
		}
		if (listing_before) {
			return [create_hide_step(connection, collection, listing_before)];
		}
		covered_contacts.narrow(connection);
		const keep_step = create_seen_step(
			listing,
			(username) => delivery.covers(connection, username),
			(username, contact) => {
				if (delivery.may_tell_contact(connection, contact)) {
					covered_contacts.keep(connection, username, contact, collection.write);
				}
			},
		);
		return [keep_step, create_others_step(connection, collection)];
	}

	/** Runs steps one after the other, until the connection ends or its catch-ups are ended. Returns the token of this catch-up. */
	function run(connection: Connection, collection: Collection, steps: Step[]): HeardOf {
		const token = heard.begin(connection);
		let current = 0;
		in_slices(
			service.add_timer,
			() => {
				if (!is_connected(connection)) {
					heard.forget(connection);
				}
				if (!heard.is_kept(connection, token)) {
					return false;
				}
				const step = steps[current];
				if (!step) {
					heard.release(connection, token);
					return false;
				}
				if (!step()) {
					current = current + 1;
				}
				return true;
			},
			collection.flush,
			connection.address + " was told presences",
		);
		return token;
	}

	/**
	 * Tells a connection the presences that it may see now and might not see before, and ends those that it may not see any more.
	 *
	 * @param told the permissions that it was told before
	 * @param is_restored whether it was told them before a reload of the module; then it is told all presences again
	 */
	function start(connection: Connection, told: Permissions, is_restored: boolean): void {
		const permissions = connection.entity.permissions;
		const before = is_restored ? no_permissions() : told;
		if (permissions.presence !== "roster" || permissions.users === "all" || before.presence !== "roster") {
			service.covered_contacts.forget(connection);
		}
		if (permissions.presence === "none") {
			heard.forget(connection);
			connection.ending = new LuaTable();
			if (told.presence !== "none") {
				service.other_hosts.show_elsewhere(connection.entity.jid, undefined);
			}
			return;
		}
		if (permissions.presence !== "roster") {
			// If it is granted to see contacts again, that catch-up tells of all of them.
			heard.forget_others(connection, host);
		}
		const collection = delivery.create_collection(connection);
		const listing = create_listing(permissions.users);
		const everything: Scope = { listing: listing, wants: (username) => delivery.covers(connection, username) };
		const steps = is_restored ? create_reload_steps(connection, told) : [];
		if (before.presence === "none") {
			steps.push(create_users_step(connection, collection, everything));
		} else if (!same_coverage(before.users, permissions.users)) {
			const listing_before = create_listing(before.users);
			steps.push(create_uncovered_step(connection, before.users, listing_before));
			const gained: Scope = {
				listing: listing,
				wants: (username) =>
					delivery.covers(connection, username) && !service.coverage.covers_as_known(connection.entity.jid, before.users, username),
			};
			steps.push(create_users_step(connection, collection, gained));
			if (permissions.presence === "roster" && before.presence === "roster") {
				for (const [, step] of ipairs(create_narrow_steps(connection, collection, listing_before, listing))) {
					steps.push(step);
				}
				steps.push(create_contacts_step(connection, collection, gained));
			}
		}
		if (permissions.presence === "roster" && before.presence !== "roster") {
			steps.push(create_contacts_step(connection, collection, everything));
			steps.push(create_others_step(connection, collection));
		}
		if (steps.length > 0) {
			run(connection, collection, steps);
			if (before.presence === "roster") {
				heard.note_earlier(connection);
			}
		}
	}

	/** Makes the steps that tell a connection what it may see of a user and the user's contacts; or that end it, if its grant does not cover the user. */
	function create_user_steps(connection: Connection, collection: Collection, username: string): Step[] {
		const listing: Listing = () => [username];
		const scope: Scope = { listing: listing, wants: (name) => delivery.covers(connection, name) };
		const is_covered = scope.wants(username);
		const steps = is_covered ? [create_users_step(connection, collection, scope)] : [];
		if (connection.entity.permissions.presence === "roster") {
			steps.push(is_covered ? create_contacts_step(connection, collection, scope) : create_hide_step(connection, collection, listing));
		}
		return steps;
	}

	/** Begins to catch a connection up with users, one after the other, as long as some are in the queue that it returns. */
	function begin_user_queue(connection: Connection): UserQueue {
		const names = create_fifo<string>();
		const waiting = new LuaTable<string, true>();
		const collection = delivery.create_collection(connection);
		let steps: Step[] = [];
		const token = run(connection, collection, [
			() => {
				const step = steps[0];
				if (step) {
					if (!step()) {
						table.remove(steps, 1);
					}
					return true;
				}
				const username = names.pop();
				if (username === undefined) {
					user_queues.delete(connection);
					return false;
				}
				waiting.delete(username);
				steps = create_user_steps(connection, collection, username);
				return true;
			},
		]);
		const queue: UserQueue = { token: token, names: names, waiting: waiting };
		user_queues.set(connection, queue);
		return queue;
	}

	/**
	 * Catches a connection up with a user who opted in or out. However many do at the same time, and however often one of
	 * them does, one catch-up at a time has its share of the server's time.
	 */
	function catch_up_user(connection: Connection, username: string): void {
		let queue = user_queues.get(connection) as UserQueue | undefined;
		if (!queue || !heard.is_kept(connection, queue.token)) {
			queue = begin_user_queue(connection);
		}
		if (!queue.waiting.has(username)) {
			queue.waiting.set(username, true);
			queue.names.push(username);
		}
	}

	/** Tells an entity what it may see of a user whom its grant covers from now on, and of the user's contacts. */
	function user_covered(entity: Entity, username: string): void {
		each_connection(entity, (connection) => {
			if (entity.permissions.presence !== "none") {
				catch_up_user(connection, username);
			}
		});
	}

	/** Ends, for an entity, a user whom its grant does not cover any more, and the contacts that it saw through that user. */
	function user_uncovered(entity: Entity, username: string): void {
		each_connection(entity, (connection) => {
			if (entity.permissions.presence !== "none") {
				// At once: a user who went offline during the catch-up would stay online for the entity.
				service.users.tell_uncovered(connection, username);
				catch_up_user(connection, username);
			}
		});
		service.other_hosts.show_elsewhere(entity.jid, username);
	}

	/** Tells a connection a contact as the users see it whom its grant covers, whatever it was told before. */
	function show_again(connection: Connection, contact: string): void {
		if (!delivery.may_tell_contact(connection, contact)) {
			return;
		}
		if (connection.entity.permissions.users !== "all") {
			service.covered_contacts.show_again(connection, contact);
			return;
		}
		for (const [resource, remembered] of pairs(cache.of(contact) ?? new LuaTable<string, Remembered>())) {
			const from = full_jid(contact, resource);
			delivery.tell(connection, from, form_rest(from, remembered.form));
		}
	}

	/** Makes the step that tells a connection again of contacts. */
	function create_again_step(connection: Connection, contacts: string[]): Step {
		return () => {
			const contact = table.remove(contacts);
			if (contact === undefined) {
				return false;
			}
			show_again(connection, contact);
			return true;
		};
	}

	/**
	 * Tells an entity again of a user of another host, nil for all of them, as far as users of this host have them as contacts. To be
	 * called when that host does not tell the entity of them any more, and may have told it that they are unavailable.
	 */
	function show_users_of(entity: string, user_host: string, username: string | undefined): void {
		const found = service.entities.get(entity);
		if (!found || found.permissions.presence !== "roster") {
			return;
		}
		each_connection(found, (connection) => {
			if (username !== undefined) {
				show_again(connection, username + "@" + user_host);
			} else {
				const collection = delivery.create_collection(connection);
				run(connection, collection, [create_again_step(connection, cache.contacts_at(user_host))]);
				heard.note_earlier(connection);
			}
		});
	}

	return { start, user_covered, user_uncovered, show_users_of };
}
