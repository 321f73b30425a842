import type { AddTimer } from "../prosody/timers";
import type { Connection, Entities } from "../entities/entities";
import { is_seen_by_contact } from "./delivery";
import type { Collection, Delivery } from "./delivery";

/** Clients, as keys. */
export type EarlierSessions = LuaTable<Session, true>;

/** The presences of the host's users (XEP-0356, 7.1). */
export function create_user_presence(host: string, entities: Entities, add_timer: AddTimer, delivery: Delivery) {
	// Clients whose probes were answered before the module listened; those that are gone go by themselves.
	let earlier: EarlierSessions | undefined;

	/** Handles the presence that a client broadcasts. */
	function broadcast(event: StanzaEvent): Handled {
		const attr = event.stanza.attr;
		if (attr.to === undefined && (attr.type === undefined || attr.type === "unavailable") && event.origin.full_jid !== undefined) {
			delivery.tell_broadcast(event.origin, event.stanza);
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

	/** Begins to take the clients that are available now for such whose probes were answered unheard; see `asks_contacts`. */
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

	/** Whether a user has an available client that has probed the user's contacts since `begin`. */
	function asks_contacts(username: string): boolean {
		for (const [, session] of ipairs(available_sessions(username))) {
			if (!earlier || !earlier.has(session)) {
				return true;
			}
		}
		return false;
	}

	/** What is to be restored after a reload of the module: the clients that were there earlier. */
	function save(): EarlierSessions | undefined {
		return earlier;
	}

	/** Restores that; nil ends what `begin` began. */
	function restore(saved: EarlierSessions | undefined): void {
		earlier = saved;
	}

	/** Adds the presences of a user's clients to what an entity is told when it comes. */
	function collect(collection: Collection, username: string): void {
		for (const [, session] of ipairs(available_sessions(username))) {
			collection.add(session.full_jid!, delivery.rest_of(session.presence!));
		}
	}

	/** Tells a connection that a user is unavailable, as the grant does not cover that user any more. */
	function tell_uncovered(connection: Connection, username: string): void {
		if (delivery.may_tell_of(connection, username)) {
			for (const [, session] of ipairs(available_sessions(username))) {
				// Whom the user lets see it, the server goes on to tell.
				if (!is_seen_by_contact(session.roster && session.roster.get(connection.entity.jid))) {
					delivery.tell_uncovered(connection, session.full_jid!);
				}
			}
		}
	}

	/** Tells an entity that a user is available, after the server has told it the opposite. */
	function tell_again(name: string, username: string): void {
		const entity = entities.get(name);
		for (const [, connection] of ipairs(entity ? entity.connections : [])) {
			if (delivery.may_tell_user(connection, username)) {
				for (const [, session] of ipairs(available_sessions(username))) {
					delivery.tell(connection, session.full_jid!, delivery.rest_of(session.presence!));
				}
			}
		}
	}

	/** Handles a change of a user's roster: to contacts that do not see the user any more, the server sends `unavailable`. */
	function roster_changed(username: string, contact: string, item: RosterItem | undefined, before: RosterItem | undefined): void {
		if (entities.get(contact) && is_seen_by_contact(before) && !is_seen_by_contact(item)) {
			// The server may do so after it has saved the roster.
			add_timer(0, () => {
				tell_again(contact, username);
				return undefined;
			});
		}
	}

	return { broadcast, is_available, begin, asks_contacts, save, restore, collect, tell_uncovered, roster_changed };
}

export type UserPresence = ReturnType<typeof create_user_presence>;
