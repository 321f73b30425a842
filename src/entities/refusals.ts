import * as st from "util.stanza";
import { printable } from "../prosody/log_text";
import { send_stanza } from "../prosody/send";
import { authenticated_jid } from "../prosody/streams";
import type { AddTimer } from "../prosody/timers";
import type { Entity } from "./entities";
import type { Statistics } from "./statistics";

/** A way to say no: the error that the entity gets, and the words for it and for the log. */
export interface Refusal {
	type: import("util.stanza").ErrorType;
	condition: string;
	text: string;
	/** What it is about, said after the text. */
	about?: string;
	/** Whether it is about the request's recipient. */
	about_recipient?: true;
}

function forbidden(text: string): Refusal {
	return { type: "auth", condition: "forbidden", text: text };
}

function bad_request(text: string): Refusal {
	return { type: "modify", condition: "bad-request", text: text };
}

export const refusals = {
	not_listed: forbidden("This is not listed in the host's privileged_entities"),
	no_such_user: { type: "cancel", condition: "item-not-found", text: "There is no such user", about_recipient: true } as Refusal,
	module_failed: { type: "wait", condition: "internal-server-error", text: "Another part of the server failed" } as Refusal,

	not_covered: { type: "auth", condition: "forbidden", text: "The grant does not cover this user", about_recipient: true } as Refusal,

	roster_get: {
		type: "auth",
		condition: "forbidden",
		text: 'Reading rosters is not granted, roster = "get"',
		about_recipient: true,
	} as Refusal,
	roster_set: {
		type: "auth",
		condition: "forbidden",
		text: 'Changing rosters is not granted, roster = "set"',
		about_recipient: true,
	} as Refusal,
	roster_not_loaded: { type: "wait", condition: "internal-server-error", text: "Unable to load roster" } as Refusal,
	roster_not_saved: { type: "wait", condition: "internal-server-error", text: "Unable to save roster" } as Refusal,
	roster_not_one_item: bad_request("A roster set has exactly one item"),
	roster_no_jid: bad_request("The item has no JID"),
	roster_bad_jid: { type: "modify", condition: "jid-malformed", text: "The item's JID is malformed" } as Refusal,
	roster_full_jid: bad_request("The item's JID has a resource"),
	roster_own_jid: { type: "cancel", condition: "not-allowed", text: "Users cannot be in their own roster" } as Refusal,
	roster_reserved_jid: { type: "cancel", condition: "not-allowed", text: "The server keeps this name to itself" } as Refusal,
	roster_no_item: { type: "modify", condition: "item-not-found", text: "There is no such item in the roster" } as Refusal,

	message: forbidden('Sending messages is not granted, message = "outgoing"'),
	message_not_one: bad_request("A privilege has exactly one forwarded message of namespace jabber:client"),
	message_sender: forbidden("The sender must be this host or the bare JID of one of its users"),
	malformed_recipient: { type: "modify", condition: "jid-malformed", text: "The recipient's address is malformed" } as Refusal,

	iq: forbidden("Iqs of this type and namespace are not granted"),
	iq_not_a_user: forbidden("A privileged iq goes to the bare JID of a user"),
	iq_sender: forbidden("The iq's sender must be the user it is addressed to"),
	iq_not_one: bad_request("A privileged_iq has exactly one iq of namespace jabber:client"),
	iq_no_id: bad_request("The iq has no id"),
	iq_no_payload: bad_request("The iq has not exactly one payload with a namespace"),
	iq_type: bad_request("The two iqs differ in type"),
	iq_timeout: { type: "wait", condition: "remote-server-timeout", text: "There was no answer" } as Refusal,
	iq_bad_answer: { type: "cancel", condition: "undefined-condition", text: "The answer cannot be written as XML" } as Refusal,
	iq_too_many: { type: "wait", condition: "resource-constraint", text: "Too many iqs are under way" } as Refusal,
};

/** A refusal that says what it is about, in words that can be printable. */
export function saying(refusal: Refusal, subject: string): Refusal {
	return { type: refusal.type, condition: refusal.condition, text: refusal.text, about: subject };
}

/** A refusal that says which address it is about. */
export function about(refusal: Refusal, address: string): Refusal {
	return saying(refusal, printable(address));
}

/** The text of a refusal of a request, for the entity and for the log. */
function refusal_text(refusal: Refusal, stanza: Stanza): string {
	if (refusal.about !== undefined) {
		return refusal.text + ": " + refusal.about;
	}
	return refusal.about_recipient && stanza.attr.to !== undefined ? refusal.text + ": " + printable(stanza.attr.to) : refusal.text;
}

/** Answers a request with an error, if the stream that it came over still stands. */
export function answer_error(session: Session, stanza: Stanza, refusal: Refusal): void {
	send_stanza(session, st.error_reply(stanza, refusal.type, refusal.condition, refusal_text(refusal, stanza)));
}

/** What was left out of the log since the last line. */
interface LeftOut {
	count: number;
	/** The last one's text. */
	text: string;
}

/**
 * Makes the functions that refuse requests.
 *
 * The log gets at most one line a second for an entity and reason; those left out are counted.
 */
export function create_refuse(log: Log, add_timer: AddTimer, statistics: Statistics) {
	/** Of how many entities and reasons the log tells apart what was left out. */
	const max_reasons = 1000;

	const left_out = new LuaTable<string, LeftOut>();
	let reason_count = 0;

	function log_refusal(requester: string, reason: string, text: string): void {
		let who = requester;
		let key = who + " " + reason;
		if (!left_out.has(key) && reason_count >= max_reasons) {
			// Many users can ask for what they are not granted; this takes a limited amount of memory.
			who = "others";
			key = who;
		}
		const before = left_out.get(key) as LeftOut | undefined;
		if (before) {
			before.count = before.count + 1;
			before.text = text;
			return;
		}
		log("warn", "Refused a request of %s: %s", who, text);
		const since: LeftOut = { count: 0, text: text };
		left_out.set(key, since);
		reason_count = reason_count + 1;
		add_timer(1, () => {
			if (since.count === 0) {
				left_out.delete(key);
				reason_count = reason_count - 1;
				return undefined;
			}
			log("warn", "Refused %d more requests of %s, the last one: %s", since.count, who, since.text);
			since.count = 0;
			return 1;
		});
	}

	/** Refuses an entity's request: answers it with an error and logs that. Returns true, for handlers. */
	function refuse(entity: Entity, session: Session, stanza: Stanza, refusal: Refusal): true {
		statistics.count(entity, "refusals");
		log_refusal(entity.jid, refusal.text, refusal_text(refusal, stanza));
		answer_error(session, stanza, refusal);
		return true;
	}

	/**
	 * Refuses what can only be meant for this module from a component or user that the host does not list. Returns
	 * nil where the stanza came from somewhere else, another server for instance: that goes its usual way.
	 */
	function refuse_unlisted(session: Session, stanza: Stanza): true | undefined {
		const requester = authenticated_jid(session);
		if (requester === undefined) {
			return undefined;
		}
		const refusal = about(refusals.not_listed, requester);
		log_refusal(requester, refusal.text, refusal_text(refusal, stanza));
		answer_error(session, stanza, refusal);
		return true;
	}

	return { refuse: refuse, refuse_unlisted: refuse_unlisted };
}
export type Refusing = ReturnType<typeof create_refuse>;
export type Refuse = Refusing["refuse"];
