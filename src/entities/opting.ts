import * as jid from "util.jid";
import { create_recent } from "../prosody/recent";
import type { AddTimer } from "../prosody/timers";
import type { Users } from "../grants/users";
import type { Entities, Entity } from "./entities";

/** A request to unregister that waits for the entity's answer. */
interface Unregistering {
	entity: Entity;
	username: string;
	/** Of the iq. */
	id: string;
	/** When it is over, as os.time() has it. */
	deadline: number;
}

interface OptingService {
	host: string;
	log: Log;
	add_timer: AddTimer;
	entities: Entities;
	users: Users;
	/** Called with an entity and a user whom its grant covers from now on. */
	covered: (this: void, entity: Entity, username: string) => void;
	/** Called with an entity and a user whom its grant does not cover any more. */
	uncovered: (this: void, entity: Entity, username: string) => void;
}

/**
 * Lets users opt in to entities whose grant covers who opted in, and out.
 *
 * What counts is what a client sends to the entity on its own stream. Nothing that an entity does, and nothing that is done in a
 * user's name, comes over one.
 */
export function create_opting(service: OptingService) {
	/** Seconds until who unregisters is out at the latest, whether or not the entity has answered. */
	const unregister_span = 60;
	/** Seconds for which it is counted how often a user opts in and out, at least, and how often the log tells. */
	const turn_span = 60;
	const max_logged_turns = 10;

	const host = service.host;
	const users = service.users;
	// The last requests to unregister that the entity has not answered, by entity and user.
	const unregistering = new LuaTable<string, Unregistering>();
	let timer_runs = false;
	// How often users opted in and out lately, by entity and user: the log is not theirs to fill.
	const turns = create_recent<number>(turn_span);

	function user_key(entity: string, username: string): string {
		return entity + " " + username;
	}

	/** The level to log at that a user opted in or out: it is for debugging only where that happens all the time. */
	function log_level(entity: Entity, username: string): "info" | "debug" {
		const key = user_key(entity.jid, username);
		const count = (turns.get(key) ?? 0) + 1;
		turns.set(key, count);
		return count <= max_logged_turns ? "info" : "debug";
	}

	/** Notes that a user opted in, if that is new; not if the admin revoked it. */
	function opt_in(entity: Entity, username: string, by: string): void {
		unregistering.delete(user_key(entity.jid, username));
		if (!users.record(entity.jid, username) && users.keep(entity.jid, username, { state: "in", since: os.time(), by: by })) {
			service.log(log_level(entity, username), "%s@%s opted in to %s by %s", username, host, entity.jid, by);
			service.covered(entity, username);
		}
	}

	/** Notes that a user opted out. */
	function opt_out(entity: Entity, username: string, by: string): void {
		const record = users.record(entity.jid, username);
		if (record && record.state !== "revoked" && users.keep(entity.jid, username, undefined)) {
			service.log(log_level(entity, username), "%s@%s opted out of %s by %s", username, host, entity.jid, by);
			service.uncovered(entity, username);
		}
	}

	/** Notes that the admin lets an entity act for a user; false where that could not be saved. */
	function allow(entity: Entity, username: string): boolean {
		unregistering.delete(user_key(entity.jid, username));
		if (!users.keep(entity.jid, username, { state: "allowed", since: os.time(), by: "the admin" })) {
			return false;
		}
		service.log("info", "The admin allowed %s to act for %s@%s", entity.jid, username, host);
		service.covered(entity, username);
		return true;
	}

	/** Notes that an entity may not act for a user until the admin allows it; false where that could not be saved. */
	function revoke(entity: Entity, username: string): boolean {
		const was_covered = users.covers(entity.jid, entity.permissions.users, username);
		if (!users.keep(entity.jid, username, { state: "revoked", since: os.time(), by: "the admin" })) {
			return false;
		}
		service.log("info", "The admin forbade %s to act for %s@%s", entity.jid, username, host);
		if (was_covered) {
			service.uncovered(entity, username);
		}
		return true;
	}

	/** Whether a session is a client's own stream, and not one that a module made up. */
	function is_own_stream(session: Session): boolean {
		return session.type === "c2s" && session.full_jid !== undefined && prosody.full_sessions.get(session.full_jid) === session;
	}

	/** The entity of an address, if users can opt in to it. */
	function entity_of(to: string): Entity | undefined {
		const entity = service.entities.get(jid.bare(to)!);
		return entity && entity.permissions.users === "opted-in" ? entity : undefined;
	}

	/**
	 * The entity that a client's stanza is for, if users can opt in to it; nil where the stanza did not come over a
	 * client's own stream. What the server repeats there, such as a request for a subscription that was not answered, comes from the bare JID.
	 */
	function opt_in_entity(session: Session, stanza: Stanza): Entity | undefined {
		const to = stanza.attr.to;
		if (!service.entities.takes_opt_ins() || to === undefined || !is_own_stream(session) || stanza.attr.from !== session.full_jid) {
			return undefined;
		}
		return entity_of(to);
	}

	/** Opts a user out if they are still unregistering. */
	function finish_unregistering(entity: Entity, username: string): void {
		const key = user_key(entity.jid, username);
		if (unregistering.has(key)) {
			unregistering.delete(key);
			opt_out(entity, username, "unregistering");
		}
	}

	/** Opts those out whose requests to unregister have waited for so long. */
	function finish_until(time: number): void {
		for (const [, request] of pairs(unregistering)) {
			if (request.deadline <= time) {
				finish_unregistering(request.entity, request.username);
			}
		}
	}

	/** Opts all out who are still unregistering: the module goes, and would not hear of the answers. */
	function finish_all(): void {
		finish_until(math.huge);
	}

	/** Goes on to look for old requests as long as there are any. */
	function finish_old(): number | undefined {
		finish_until(os.time());
		timer_runs = next(unregistering)[0] !== undefined;
		return timer_runs ? 1 : undefined;
	}

	/** The user is out when the entity has answered, so that it can tidy up the roster before. */
	function unregister(entity: Entity, username: string, id: string): void {
		const deadline = os.time() + unregister_span;
		unregistering.set(user_key(entity.jid, username), { entity: entity, username: username, id: id, deadline: deadline });
		if (!timer_runs) {
			timer_runs = true;
			service.add_timer(1, finish_old);
		}
	}

	/** Handles `pre-iq/host`, `pre-iq/bare` and `pre-iq/full`: registrations (XEP-0077) and commands (XEP-0050). */
	function client_iq(event: StanzaEvent): Handled {
		const stanza = event.stanza;
		const payload = stanza.tags[0];
		const entity = stanza.attr.type === "set" && payload ? opt_in_entity(event.origin, stanza) : undefined;
		if (entity && payload) {
			const username = event.origin.username!;
			if (payload.name === "query" && payload.attr.xmlns === "jabber:iq:register") {
				if (payload.get_child("remove")) {
					unregister(entity, username, stanza.attr.id ?? "");
				} else {
					opt_in(entity, username, "registration");
				}
			} else if (payload.name === "command" && payload.attr.xmlns === "http://jabber.org/protocol/commands") {
				opt_in(entity, username, "a command");
			}
		}
		return undefined;
	}

	/** Handles `iq/full`: the entity's answer to a request to unregister. */
	function entity_answer(event: StanzaEvent): Handled {
		const attr = event.stanza.attr;
		if (next(unregistering)[0] === undefined || (attr.type !== "result" && attr.type !== "error") || attr.from === undefined) {
			return undefined;
		}
		const entity = service.entities.get(jid.bare(attr.from)!);
		const [username] = jid.split(attr.to);
		if (entity && username !== undefined) {
			const request = unregistering.get(user_key(entity.jid, username)) as Unregistering | undefined;
			if (request && request.id === attr.id) {
				finish_unregistering(entity, username);
			}
		}
		return undefined;
	}

	/** Handles `pre-message/host`, `pre-message/bare` and `pre-message/full`: messages with a body. */
	function client_message(event: StanzaEvent): Handled {
		const stanza = event.stanza;
		const entity = stanza.attr.type !== "error" ? opt_in_entity(event.origin, stanza) : undefined;
		if (entity && stanza.get_child("body")) {
			opt_in(entity, event.origin.username!, "a message");
		}
		return undefined;
	}

	/** Handles `pre-presence/host`, `pre-presence/bare` and `pre-presence/full`: subscriptions (RFC 6121, 3). */
	function client_presence(event: StanzaEvent): Handled {
		const presence_type = event.stanza.attr.type;
		if (presence_type === undefined || presence_type === "unavailable") {
			return undefined;
		}
		const entity = opt_in_entity(event.origin, event.stanza);
		if (entity) {
			if (presence_type === "subscribe" || presence_type === "subscribed") {
				opt_in(entity, event.origin.username!, "a subscription");
			} else if (presence_type === "unsubscribe" || presence_type === "unsubscribed") {
				opt_out(entity, event.origin.username!, "ending a subscription");
			}
		}
		return undefined;
	}

	/** Handles `roster-item-removed`: the user's own client takes the entity out of the roster. */
	function roster_item_removed(event: RosterItemEvent): Handled {
		const entity = event.origin && is_own_stream(event.origin) ? entity_of(event.jid) : undefined;
		if (entity) {
			// COMPAT: the event's own username is the contact's with Prosody 0.11.
			opt_out(entity, event.origin!.username!, "removing it from the roster");
		}
		return undefined;
	}

	return { client_iq, entity_answer, client_message, client_presence, roster_item_removed, opt_in, finish_all, allow, revoke };
}
export type Opting = ReturnType<typeof create_opting>;
