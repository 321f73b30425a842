import * as st from "util.stanza";
import { log_of_module, protect } from "../prosody/protect";
import { is_client_stream } from "../prosody/streams";
import type { AddTimer } from "../prosody/timers";
import { each_connection } from "../entities/entities";
import type { Connection, Entities } from "../entities/entities";
import { is_seen_by_contact } from "./delivery";
import type { Collection, Delivery } from "./delivery";

/** Clients, as keys. */
export type EarlierSessions = LuaTable<Session, true>;

/** Hears the presences of the host's users and tells entities (XEP-0356, 7.1). */
export function create_user_presence(host: string, entities: Entities, add_timer: AddTimer, delivery: Delivery) {
	// Clients that were online before the module listened, and whose probes were answered unheard. The keys are weak.
	let earlier: EarlierSessions | undefined;

	/** Handles the presence that a client broadcasts. */
	function broadcast(event: StanzaEvent): Handled {
		const attr = event.stanza.attr;
		const origin = event.origin;
		// A session that a module made up has no presence. When a client is gone, the server broadcasts the end in its name.
		const is_end = attr.type === "unavailable" && origin.full_jid !== undefined;
		if (attr.to === undefined && (is_end || (attr.type === undefined && is_client_stream(origin)))) {
			delivery.tell_broadcast(origin, event.stanza);
		}
		return undefined;
	}

	/** The available clients of a user. */
	function available_sessions(username: string): Session[] {
		const sessions: Session[] = [];
		const user = prosody.hosts.get(host).sessions!.get(username) as User | undefined;
		if (user) {
			for (const [, session] of pairs(user.sessions)) {
				if (session.presence) {
					sessions.push(session);
				}
			}
		}
		return sessions;
	}

	function is_available(username: string): boolean {
		return available_sessions(username).length > 0;
	}

	/** Notes the clients that are available now as such clients, the first time that it is called. */
	function begin(): void {
		if (!earlier) {
			const sessions = setmetatable(new LuaTable<Session, true>(), { __mode: "k" });
			for (const [username] of pairs(prosody.hosts.get(host).sessions!)) {
				for (const [, session] of ipairs(available_sessions(username))) {
					sessions.set(session, true);
				}
			}
			earlier = sessions;
		}
	}

	/** Whether a user has an available client that probed the user's contacts after `begin`. */
	function probes_contacts(username: string): boolean {
		for (const [, session] of ipairs(available_sessions(username))) {
			if (!earlier || !earlier.has(session)) {
				return true;
			}
		}
		return false;
	}

	/** The state to be restored after a reload: the clients that `begin` noted. */
	function save(): EarlierSessions | undefined {
		return earlier;
	}

	/** Restores that state; nil forgets it, so that `begin` notes clients anew. */
	function restore(saved: EarlierSessions | undefined): void {
		earlier = saved;
	}

	/** Has the server tell an entity the presences of a user's clients, as it does where the entity is subscribed to the user (RFC 6121, 4.3.2). */
	function probe(entity: string, username: string): void {
		const stanza = st.presence({ type: "probe", from: entity, to: username + "@" + host });
		protect(log_of_module, "while a probe was sent to %s", username, () => prosody.core_post_stanza(prosody.hosts.get(host), stanza));
	}

	/** Tells a connection the presences of a user's clients: adds them to its collection, or has the server tell them. */
	function collect(connection: Connection, collection: Collection, username: string): void {
		let is_subscribed = false;
		for (const [, session] of ipairs(available_sessions(username))) {
			if (is_seen_by_contact(session.roster && session.roster.get(connection.entity.jid))) {
				is_subscribed = true;
			} else {
				collection.add(session.full_jid!, delivery.rest_of(session.presence!));
			}
		}
		if (is_subscribed) {
			// The server tells changes, too. If the user blocks the entity, it tells nothing: the entity must not take the user for available.
			probe(connection.entity.jid, username);
		}
	}

	/** Tells a connection that a user is unavailable because its grant does not cover the user any more. */
	function tell_uncovered(connection: Connection, username: string): void {
		if (delivery.may_tell_of(connection, username)) {
			for (const [, session] of ipairs(available_sessions(username))) {
				// An entity that is subscribed to the user goes on to get the presence from the server.
				if (!is_seen_by_contact(session.roster && session.roster.get(connection.entity.jid))) {
					delivery.tell_uncovered(connection, session.full_jid!);
				}
			}
		}
	}

	/** Tells an entity again that a user is available, after the server told it that the user is not. */
	function tell_again(name: string, username: string): void {
		const entity = entities.get(name);
		if (entity) {
			each_connection(entity, (connection) => {
				if (delivery.may_tell_user(connection, username)) {
					for (const [, session] of ipairs(available_sessions(username))) {
						delivery.tell(connection, session.full_jid!, delivery.rest_of(session.presence!));
					}
				}
			});
		}
	}

	/** Handles a change of a user's roster: the server sends `unavailable` to contacts that lose their subscription, which may be entities. */
	function roster_changed(username: string, contact: string, item: RosterItem | undefined, before: RosterItem | undefined): void {
		if (entities.get(contact) && is_seen_by_contact(before) && !is_seen_by_contact(item)) {
			// The server may send it after it has saved the roster.
			add_timer(0, () => {
				tell_again(contact, username);
				return undefined;
			});
		}
	}

	return { broadcast, is_available, begin, probes_contacts, save, restore, collect, tell_uncovered, roster_changed };
}

export type UserPresence = ReturnType<typeof create_user_presence>;
