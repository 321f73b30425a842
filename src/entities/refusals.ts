import * as st from "util.stanza";
import { send_stanza } from "../prosody/send";
import type { AddTimer } from "../prosody/timers";
import type { Entity } from "./entities";
import type { Statistics } from "./statistics";

/** A way to say no: the error that the entity gets, and the words for it and for the log. */
export interface Refusal {
	type: import("util.stanza").ErrorType;
	condition: string;
	text: string;
}

function forbidden(text: string): Refusal {
	return { type: "auth", condition: "forbidden", text: text };
}

function bad_request(text: string): Refusal {
	return { type: "modify", condition: "bad-request", text: text };
}

export const refusals = {
	no_such_user: { type: "cancel", condition: "item-not-found", text: "There is no such user" } as Refusal,

	not_covered: forbidden("The grant does not cover this user"),

	roster_get: forbidden("Reading rosters is not granted"),
	roster_set: forbidden("Changing rosters is not granted"),
	roster_not_loaded: { type: "wait", condition: "internal-server-error", text: "Unable to load roster" } as Refusal,
	roster_not_saved: { type: "wait", condition: "internal-server-error", text: "Unable to save roster" } as Refusal,
	roster_not_one_item: bad_request("A roster set has exactly one item"),
	roster_no_jid: bad_request("The item has no JID"),
	roster_bad_jid: { type: "modify", condition: "jid-malformed", text: "The item's JID is malformed" } as Refusal,
	roster_full_jid: bad_request("The item's JID has a resource"),
	roster_own_jid: { type: "cancel", condition: "not-allowed", text: "Users cannot be in their own roster" } as Refusal,
	roster_reserved_jid: { type: "cancel", condition: "not-allowed", text: "The server keeps this name to itself" } as Refusal,
	roster_no_item: { type: "modify", condition: "item-not-found", text: "There is no such item in the roster" } as Refusal,

	message: forbidden("Sending messages is not granted"),
	message_not_one: bad_request("A privilege has exactly one forwarded message of namespace jabber:client"),
	message_sender: forbidden("The sender must be this host or the bare JID of one of its users"),
	malformed_recipient: { type: "modify", condition: "jid-malformed", text: "The recipient's address is malformed" } as Refusal,

	iq: forbidden("Iqs of this type and namespace are not granted"),
	iq_other_host: forbidden("Iqs in the name of this host's users are not granted"),
	iq_not_a_user: forbidden("A privileged iq goes to the bare JID of a user"),
	iq_sender: forbidden("The iq's sender must be the user it is addressed to"),
	iq_not_one: bad_request("A privileged_iq has exactly one iq of namespace jabber:client"),
	iq_no_id: bad_request("The iq has no id"),
	iq_no_payload: bad_request("The iq has not exactly one payload with a namespace"),
	iq_type: bad_request("The two iqs differ in type"),
	iq_timeout: { type: "wait", condition: "remote-server-timeout", text: "There was no answer" } as Refusal,
	iq_too_many: { type: "wait", condition: "resource-constraint", text: "Too many iqs are under way" } as Refusal,
};

/** Answers a request with an error, if the stream that it came over still stands. */
export function answer_error(session: Session, stanza: Stanza, refusal: Refusal): void {
	send_stanza(session, st.error_reply(stanza, refusal.type, refusal.condition, refusal.text));
}

/** Refuses a request: answers it with an error and logs that. Returns true, for handlers. */
export type Refuse = (this: void, entity: Entity, session: Session, stanza: Stanza, refusal: Refusal) => true;

/**
 * Makes the function that refuses.
 *
 * The log gets at most one line a second for an entity and reason; those left out are counted.
 */
export function create_refuse(log: Log, add_timer: AddTimer, statistics: Statistics): Refuse {
	// How many were left out since the last line, by entity and reason.
	const left_out = new LuaTable<string, number>();

	function log_refusal(entity: Entity, reason: string): void {
		const key = entity.jid + " " + reason;
		const before = left_out.get(key) as number | undefined;
		if (before !== undefined) {
			left_out.set(key, before + 1);
			return;
		}
		log("warn", "Refused a request of %s: %s", entity.jid, reason);
		left_out.set(key, 0);
		add_timer(1, () => {
			const more = left_out.get(key);
			if (more === 0) {
				left_out.delete(key);
				return undefined;
			}
			log("warn", "Refused %d more requests of %s: %s", more, entity.jid, reason);
			left_out.set(key, 0);
			return 1;
		});
	}

	return (entity, session, stanza, refusal) => {
		statistics.count(entity, "refusals");
		log_refusal(entity, refusal.text);
		answer_error(session, stanza, refusal);
		return true;
	};
}
