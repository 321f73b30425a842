import * as jid from "util.jid";
import { create_recent } from "../prosody/recent";
import { is_client_stream } from "../prosody/streams";
import type { AddTimer } from "../prosody/timers";
import type { MayReplace, Users } from "../grants/users";
import type { Entities, Entity } from "./entities";

/** A request of a user to unregister that the entity has not answered. */
interface Unregistering {
	entity: Entity;
	username: string;
	/** The id of the iq. */
	id: string;
	/** When the user is opted out without an answer, as os.time() gives it. */
	deadline: number;
}

interface OptingService {
	host: string;
	log: Log;
	add_timer: AddTimer;
	entities: Entities;
	users: Users;
	/** Is called with an entity and a user whom its grant covers from now on. */
	covered: (this: void, entity: Entity, username: string) => void;
	/** Is called with an entity and a user whom its grant does not cover any more. */
	uncovered: (this: void, entity: Entity, username: string) => void;
}

/**
 * Lets users opt in to entities whose grants are limited to those who opted in, and opt out again.
 *
 * Only stanzas that a client sends to the entity on its own stream count. Whatever an entity sends, also in a user's name, does
 * not come over the stream of a client of that user.
 */
export function create_opting(service: OptingService) {
	// Seconds after which a user who unregisters is opted out although the entity has not answered.
	const unregister_timeout = 60;
	// So many changes of a user are logged at level info in about so many seconds: users should not be able to fill the log.
	const max_logged_changes = 10;
	const change_span = 60;

	const host = service.host;
	const users = service.users;
	// The last request to unregister of each user that the entity has not answered, by `user_key`.
	const unregistering = new LuaTable<string, Unregistering>();
	let timer_runs = false;
	// How often users opted in and out lately, by `user_key`.
	const change_counts = create_recent<number>(change_span);

	function user_key(entity: string, username: string): string {
		return entity + " " + username;
	}

	/** Counts that a user opted in or out, and gives the level at which to log that. */
	function log_level(entity: Entity, username: string): "info" | "debug" {
		const key = user_key(entity.jid, username);
		const count = (change_counts.get(key) ?? 0) + 1;
		change_counts.set(key, count);
		return count <= max_logged_changes ? "info" : "debug";
	}

	/** Saves that a user is in, unless there is a record that must not be replaced. False where the storage failed. */
	function enter(entity: Entity, username: string, by: string, may_replace: MayReplace): boolean {
		const kept = users.keep(entity.jid, username, { state: "in", since: os.time(), by: by }, may_replace);
		if (kept) {
			service.log(log_level(entity, username), "%s@%s opted in to %s by %s", username, host, entity.jid, by);
			service.covered(entity, username);
		}
		return kept !== undefined;
	}

	/** Opts a user in, unless that has happened already or the admin has revoked it. */
	function opt_in(entity: Entity, username: string, by: string): void {
		if (!users.record(entity.jid, username)) {
			enter(entity, username, by, (before) => before === undefined || before.state === "out");
		}
	}

	/** Opts a user in who has the entity in the roster, unless the user or the admin has decided before. False where the storage failed. */
	function adopt(entity: Entity, username: string): boolean {
		return (
			unregistering.has(user_key(entity.jid, username))
			|| enter(entity, username, "having it in the roster", (before) => before === undefined)
		);
	}

	/** Opts a user out; what the admin has revoked stays revoked. There is a record then of users who were not in, too: they are not adopted. */
	function opt_out(entity: Entity, username: string, by: string): void {
		const was_covered = users.covers_as_known(entity.jid, "opted-in", username);
		users.leave(entity.jid, username);
		if (was_covered) {
			service.log(log_level(entity, username), "%s@%s opted out of %s by %s", username, host, entity.jid, by);
			service.uncovered(entity, username);
		}
	}

	/** Lets an entity act for a user, by command of the admin; false where that could not be saved. */
	function allow(entity: Entity, username: string): boolean {
		unregistering.delete(user_key(entity.jid, username));
		if (!users.keep(entity.jid, username, { state: "allowed", since: os.time(), by: "the admin" })) {
			return false;
		}
		service.log("info", "The admin allowed %s to act for %s@%s", entity.jid, username, host);
		service.covered(entity, username);
		return true;
	}

	/** Keeps an entity from acting for a user until the admin allows it; false where that could not be saved. */
	function revoke(entity: Entity, username: string): boolean {
		const was_covered = users.covers_as_known(entity.jid, entity.permissions.users, username);
		if (!users.keep(entity.jid, username, { state: "revoked", since: os.time(), by: "the admin" })) {
			return false;
		}
		service.log("info", "The admin forbade %s to act for %s@%s", entity.jid, username, host);
		if (was_covered) {
			service.uncovered(entity, username);
		}
		return true;
	}

	/** The entity with an address, nil where there is none that users can opt in to. */
	function entity_of(to: string): Entity | undefined {
		const entity = service.entities.get(jid.bare(to)!);
		return entity && entity.permissions.users === "opted-in" ? entity : undefined;
	}

	/**
	 * The entity to which a client sends a stanza; nil where users cannot opt in to it, or where the stanza did not come over the
	 * client's own stream. Stanzas that the server repeats there, such as an unanswered request for a subscription, are from the bare JID.
	 */
	function opt_in_entity(session: Session, stanza: Stanza): Entity | undefined {
		const to = stanza.attr.to;
		if (!service.entities.takes_opt_ins() || to === undefined || !is_client_stream(session) || stanza.attr.from !== session.full_jid) {
			return undefined;
		}
		return entity_of(to);
	}

	/** Opts a user out if the request to unregister still waits. */
	function finish_unregistering(entity: Entity, username: string): void {
		const key = user_key(entity.jid, username);
		if (unregistering.has(key)) {
			unregistering.delete(key);
			opt_out(entity, username, "unregistering");
		}
	}

	/** Carries out the requests to unregister whose deadlines have passed at a time. */
	function finish_until(time: number): void {
		for (const [, request] of pairs(unregistering)) {
			if (request.deadline <= time) {
				finish_unregistering(request.entity, request.username);
			}
		}
	}

	/** Drops the requests to unregister of a user whose account was made or deleted. */
	function forget(username: string): void {
		for (const [key, request] of pairs(unregistering)) {
			if (request.username === username) {
				unregistering.delete(key);
			}
		}
	}

	/** Carries out all requests to unregister that wait. Has to be called when the module is unloaded, since it misses the answers. */
	function finish_all(): void {
		finish_until(math.huge);
	}

	/** Is called by a timer, every second while requests to unregister wait. */
	function finish_overdue(): number | undefined {
		finish_until(os.time());
		timer_runs = next(unregistering)[0] !== undefined;
		return timer_runs ? 1 : undefined;
	}

	/** Begins to opt a user out. It ends with the entity's answer, so that the entity can clean up the user's roster before. */
	function unregister(entity: Entity, username: string, id: string): void {
		const deadline = os.time() + unregister_timeout;
		unregistering.set(user_key(entity.jid, username), { entity: entity, username: username, id: id, deadline: deadline });
		if (!timer_runs) {
			timer_runs = true;
			service.add_timer(1, finish_overdue);
		}
	}

	/** Opts a user in who registers, also while a request to unregister waits. Nothing else that clients send ends such a request. */
	function register(entity: Entity, username: string): void {
		unregistering.delete(user_key(entity.jid, username));
		opt_in(entity, username, "registration");
	}

	function is_registration(payload: Stanza): boolean {
		return payload.name === "query" && payload.attr.xmlns === "jabber:iq:register";
	}

	/** Handles `pre-iq/host`, `pre-iq/bare` and `pre-iq/full`: requests to unregister (XEP-0077). */
	function leaving_iq(event: StanzaEvent): Handled {
		const stanza = event.stanza;
		const payload = stanza.tags[0];
		if (stanza.attr.type === "set" && payload && is_registration(payload) && payload.get_child("remove")) {
			const entity = opt_in_entity(event.origin, stanza);
			if (entity) {
				unregister(entity, event.origin.username!, stanza.attr.id ?? "");
			}
		}
		return undefined;
	}

	/** Handles `pre-iq/host`, `pre-iq/bare` and `pre-iq/full`: registrations (XEP-0077) and commands (XEP-0050). */
	function joining_iq(event: StanzaEvent): Handled {
		const stanza = event.stanza;
		const payload = stanza.tags[0];
		const entity = stanza.attr.type === "set" && payload ? opt_in_entity(event.origin, stanza) : undefined;
		if (entity && payload) {
			const username = event.origin.username!;
			if (is_registration(payload) && !payload.get_child("remove")) {
				register(entity, username);
			} else if (payload.name === "command" && payload.attr.xmlns === "http://jabber.org/protocol/commands") {
				opt_in(entity, username, "a command");
			}
		}
		return undefined;
	}

	/** Handles `iq/full`: answers of entities to requests to unregister. */
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
	function joining_message(event: StanzaEvent): Handled {
		const stanza = event.stanza;
		const entity = stanza.attr.type !== "error" ? opt_in_entity(event.origin, stanza) : undefined;
		if (entity && stanza.get_child("body")) {
			opt_in(entity, event.origin.username!, "a message");
		}
		return undefined;
	}

	/** Handles `pre-presence/host`, `pre-presence/bare` and `pre-presence/full`: ends of subscriptions (RFC 6121, 3). */
	function leaving_presence(event: StanzaEvent): Handled {
		const presence_type = event.stanza.attr.type;
		if (presence_type === "unsubscribe" || presence_type === "unsubscribed") {
			const entity = opt_in_entity(event.origin, event.stanza);
			if (entity) {
				opt_out(entity, event.origin.username!, "ending a subscription");
			}
		}
		return undefined;
	}

	/** Handles the same events: subscriptions. */
	function joining_presence(event: StanzaEvent): Handled {
		const presence_type = event.stanza.attr.type;
		if (presence_type === "subscribe" || presence_type === "subscribed") {
			const entity = opt_in_entity(event.origin, event.stanza);
			if (entity) {
				opt_in(entity, event.origin.username!, "a subscription");
			}
		}
		return undefined;
	}

	/** Handles `roster-item-removed`: a client of the user removes the entity from the roster. */
	function roster_item_removed(event: RosterItemEvent): Handled {
		const entity = event.origin && is_client_stream(event.origin) ? entity_of(event.jid) : undefined;
		if (entity) {
			// COMPAT: in Prosody 0.11, the username of the event is that of the contact.
			opt_out(entity, event.origin!.username!, "removing it from the roster");
		}
		return undefined;
	}

	return {
		leaving_iq,
		joining_iq,
		entity_answer,
		joining_message,
		leaving_presence,
		joining_presence,
		roster_item_removed,
		adopt,
		forget,
		finish_all,
		allow,
		revoke,
	};
}
export type Opting = ReturnType<typeof create_opting>;
