import * as usermanager from "core.usermanager";
import * as jid from "util.jid";
import * as st from "util.stanza";
import * as uuid from "util.uuid";
import { read_roster } from "../prosody/accounts";
import { attribute, create_batch } from "../prosody/send";
import type { Batch } from "../prosody/send";
import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";
import type { Options } from "../grants/configuration";
import { is_connected } from "../entities/entities";
import type { Connection, Entities } from "../entities/entities";
import type { Statistics } from "../entities/statistics";
import { presence_of } from "./contact_cache";
import type { ContactCache } from "./contact_cache";
import { presence_rest, presence_text, send_presence } from "./users";

/** Seconds between two batches of probes. */
const probe_pause = 0.1;

/** The presences of contacts (XEP-0356, 7.4). */
export interface ContactPresence {
	/** Handles a presence that a contact sends to a user. */
	receive: (this: void, event: StanzaEvent) => Handled;
	/** Tells an entity which contacts are online, and probes those of whom nothing is known. */
	catch_up: (this: void, connection: Connection, heard: LuaTable<string, true>, done: (this: void) => void) => void;
	/** Begins to remember when an entity may see contacts, and forgets all when none may any more. */
	configured: (this: void) => void;
	/** Gives up the probes that are to be sent yet; a later catch-up sends them. */
	give_up_probes: (this: void) => void;
}

function sees_contact(item: RosterItem | undefined): boolean {
	return item !== undefined && (item.subscription === "both" || item.subscription === "to");
}

export function create_contact_presence(
	host: string, entities: Entities, contact_cache: ContactCache,
	add_timer: AddTimer, options: Options, statistics: Statistics,
): ContactPresence {
	// Pairs of contact and the JID in whose name it is probed.
	let to_probe: Array<[string, string]> = [];
	let next_probe = 0;

	function is_wanted(): boolean {
		for (const [, entity] of pairs(entities.all())) {
			if (entity.permissions.presence === "roster") {
				return true;
			}
		}
		return false;
	}

	/** Whether a contact's presence is of an entity itself or reaches a privileged user as their own contact. */
	function hears_anyway(connection: Connection, contact: string, contact_host: string | undefined): boolean {
		const entity = connection.entity;
		const roster = connection.session.roster;
		return contact === entity.jid || contact_host === entity.jid
			|| (roster !== undefined && sees_contact(roster.get(contact)));
	}

	/** Whether a user has a contact in their roster and sees its presence. */
	function is_contact_of(user: string, contact: string): boolean {
		const [username] = jid.split(user);
		const roster = read_roster(username!, host);
		return roster !== undefined && sees_contact(roster.get(contact));
	}

	function receive(event: StanzaEvent): Handled {
		const stanza = event.stanza;
		const from = stanza.attr.from;
		const to = stanza.attr.to;
		const presence_type = stanza.attr.type;
		if (to === undefined || from === undefined || (presence_type !== undefined && presence_type !== "unavailable") || !is_wanted()) {
			return undefined;
		}
		const [contact_node, contact_host] = jid.split(from);
		if (contact_host === undefined || contact_host === host) {
			return undefined;
		}
		const contact = jid.join(contact_node, contact_host);
		if (!is_contact_of(jid.bare(to)!, contact)) {
			return undefined;
		}
		if (presence_type === undefined) {
			if (!contact_cache.available(contact, stanza)) {
				return undefined;
			}
		} else if (!contact_cache.unavailable(contact, from)) {
			return undefined;
		}
		let rest: string | undefined;
		for (const [, connection] of ipairs(entities.receivers("contacts"))) {
			if (is_connected(connection) && !hears_anyway(connection, contact, contact_host)) {
				rest = rest ?? presence_rest(stanza);
				send_presence(connection, rest);
				statistics.count(connection.entity, "presences");
				if (connection.heard) {
					connection.heard.set(from, true);
				}
			}
		}
		return undefined;
	}

	function send_remembered(connection: Connection, batch: Batch, heard: LuaTable<string, true>, contact: string, presences: LuaTable<string, string>): void {
		const [, contact_host] = jid.split(contact);
		if (hears_anyway(connection, contact, contact_host)) {
			return;
		}
		for (const [from, form] of pairs(presences)) {
			if (!heard.has(from)) {
				statistics.count(connection.entity, "presences");
				batch.add(presence_text(connection, attribute("from", from) + presence_of(form)));
			}
		}
	}

	/** Whether a user has an available client, which has probed the user's contacts. */
	function is_available(username: string): boolean {
		const user = prosody.hosts.get(host).sessions!.get(username) as User | undefined;
		if (user) {
			for (const [, session] of pairs(user.sessions)) {
				if (session.presence) {
					return true;
				}
			}
		}
		return false;
	}

	function give_up_probes(): void {
		while (next_probe < to_probe.length) {
			contact_cache.not_probed(to_probe[next_probe]![0]);
			next_probe = next_probe + 1;
		}
		to_probe = [];
		next_probe = 0;
	}

	function send_probes(): number | undefined {
		const rate = options.probe_rate;
		if (rate <= 0) {
			give_up_probes();
		}
		let budget = math.max(1, math.floor(rate * probe_pause));
		while (budget > 0 && next_probe < to_probe.length) {
			const probe = to_probe[next_probe]!;
			next_probe = next_probe + 1;
			budget = budget - 1;
			// Who has come online meanwhile has a client that probes.
			const [username, , resource] = jid.split(probe[1]);
			if (resource !== undefined || !is_available(username!)) {
				prosody.core_post_stanza(prosody.hosts.get(host), st.presence({ type: "probe", from: probe[1], to: probe[0] }));
			}
		}
		if (next_probe < to_probe.length) {
			return math.max(probe_pause, 1 / rate);
		}
		to_probe = [];
		next_probe = 0;
		return undefined;
	}

	function queue_probe(contact: string, from: string): void {
		if (options.probe_rate <= 0 || !contact_cache.first_probe(contact)) {
			return;
		}
		to_probe.push([contact, from]);
		if (to_probe.length === 1) {
			add_timer(probe_pause, send_probes);
		}
	}

	/** The users of the host, those online first: most of their contacts need no probe, as their clients' own have told. */
	function users_online_first(): string[] {
		const usernames: string[] = [];
		const online = prosody.hosts.get(host).sessions!;
		for (const [username] of pairs(online)) {
			usernames.push(username);
		}
		const [next_user, state, start] = usermanager.users(host);
		let username = next_user && next_user(state, start);
		while (next_user && username !== undefined) {
			if (!online.has(username)) {
				usernames.push(username);
			}
			username = next_user(state, username);
		}
		return usernames;
	}

	function catch_up(connection: Connection, heard: LuaTable<string, true>, done: (this: void) => void): void {
		const seen = new LuaTable<string, true>();
		const known = contact_cache.contacts();
		const batch = create_batch(connection.session);

		function contacts_of(username: string): void {
			const user = username + "@" + host;
			let probe_from: string | undefined = user;
			let was_before = false;
			if (is_available(username)) {
				// Where that was before we listened, an answer to a resource that is not there tells us and no client.
				was_before = contact_cache.is_earlier_user(username);
				probe_from = was_before ? user + "/" + uuid.generate() : undefined;
			}
			const roster = read_roster(username, host);
			if (!roster) {
				return;
			}
			for (const [contact, item] of pairs(roster as LuaTable<string, RosterItem>)) {
				if (sees_contact(item) && !seen.has(contact)) {
					seen.set(contact, true);
					const [, contact_host] = jid.split(contact);
					const presences = contact_cache.of(contact);
					if (presences) {
						send_remembered(connection, batch, heard, contact, presences);
					}
					// What was heard since then need not be all.
					if ((!presences || was_before) && probe_from !== undefined && contact_host !== host) {
						queue_probe(contact, probe_from);
					}
				}
			}
		}

		in_slices(add_timer, users_online_first(), (username) => {
			if (!is_connected(connection) || connection.entity.permissions.presence !== "roster") {
				done();
				return false;
			}
			contacts_of(username);
			return true;
		}, batch.flush, () => {
			for (const [, contact] of ipairs(known)) {
				if (!seen.has(contact)) {
					contact_cache.forget(contact);
				}
			}
			done();
		});
	}

	function configured(): void {
		contact_cache.begin(is_wanted() ? prosody.hosts.get(host).sessions! as LuaTable<string, unknown> : undefined);
	}

	return { receive: receive, catch_up: catch_up, configured: configured, give_up_probes: give_up_probes };
}
