import * as st from "util.stanza";
import { printable } from "../prosody/log_text";
import { send_stanza } from "../prosody/send";
import { authenticated_jid } from "../prosody/streams";
import type { AddTimer } from "../prosody/timers";
import type { Entity } from "./entities";
import type { Statistics } from "./statistics";

/** A reason to refuse a request: the stanza error and its text, which also goes to the log. */
export interface Refusal {
	type: import("util.stanza").ErrorType;
	condition: string;
	text: string;
	/** Follows the text: the address or the permission in question. */
	detail?: string;
	/** Whether the recipient of the request follows the text in the error, too, not only in the log. */
	about_recipient?: true;
}

function forbidden(text: string): Refusal {
	return { type: "auth", condition: "forbidden", text: text };
}

function bad_request(text: string): Refusal {
	return { type: "modify", condition: "bad-request", text: text };
}

export const refusals = {
	not_listed: forbidden("This entity is not listed in the host's privileged_entities"),
	no_such_user: { type: "cancel", condition: "item-not-found", text: "There is no such user", about_recipient: true } as Refusal,
	module_failed: { type: "wait", condition: "internal-server-error", text: "Another part of the server failed" } as Refusal,

	not_covered: forbidden("The grant does not cover this user"),
	account_disabled: forbidden("The account is disabled"),

	roster_get: {
		type: "auth",
		condition: "forbidden",
		text: 'Reading rosters needs roster = "get"',
		about_recipient: true,
	} as Refusal,
	roster_set: {
		type: "auth",
		condition: "forbidden",
		text: 'Changing rosters needs roster = "set"',
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

	message: forbidden('Sending messages needs message = "outgoing"'),
	message_not_one: bad_request("A privilege has exactly one forwarded message of namespace jabber:client"),
	message_sender: forbidden("The sender must be this host or the bare JID of one of its users"),
	malformed_recipient: { type: "modify", condition: "jid-malformed", text: "The recipient's address is malformed" } as Refusal,

	iq: forbidden("Iqs of this type and namespace are not granted"),
	iq_not_a_user: forbidden("A privileged iq goes to the bare JID of a user"),
	iq_sender: forbidden("The iq's sender must be the user it is addressed to"),
	iq_not_one: bad_request("A privileged_iq has exactly one iq of namespace jabber:client"),
	iq_no_id: bad_request("The iq has no id"),
	iq_long_id: bad_request("An id is longer than 1024 bytes"),
	iq_no_payload: bad_request("The iq must have exactly one payload, with a namespace"),
	iq_type: bad_request("The two iqs differ in type"),
	iq_timeout: { type: "wait", condition: "remote-server-timeout", text: "There was no answer" } as Refusal,
	iq_bad_answer: { type: "cancel", condition: "internal-server-error", text: "The answer cannot be written as XML" } as Refusal,
	iq_too_many: { type: "wait", condition: "resource-constraint", text: "Too many iqs are under way" } as Refusal,
};

/** A refusal with a detail after its text, which has to be `printable`. */
export function with_detail(refusal: Refusal, detail: string): Refusal {
	return { type: refusal.type, condition: refusal.condition, text: refusal.text, detail: detail };
}

/** A refusal with an address after its text. */
export function about(refusal: Refusal, address: string): Refusal {
	return with_detail(refusal, printable(address));
}

/** The text of the refusal of a request, which names its recipient where nothing else is named and `names_recipient` is true. */
function refusal_text(refusal: Refusal, stanza: Stanza, names_recipient: boolean): string {
	if (refusal.detail !== undefined) {
		return refusal.text + ": " + refusal.detail;
	}
	return names_recipient && stanza.attr.to !== undefined ? refusal.text + ": " + printable(stanza.attr.to) : refusal.text;
}

/** Answers a request with an error unless its stream has ended. */
export function answer_error(session: Session, stanza: Stanza, refusal: Refusal): void {
	send_stanza(
		session,
		st.error_reply(stanza, refusal.type, refusal.condition, refusal_text(refusal, stanza, refusal.about_recipient === true)),
	);
}

/** The refusals that were not logged since the last line of the log. */
interface Suppressed {
	count: number;
	/** The text of the last one. */
	text: string;
}

/**
 * Makes the functions that refuse requests.
 *
 * For each entity and reason, the log gets at most one line in a second. Further refusals are counted, and the next line says how many.
 */
export function create_refusing(log: Log, add_timer: AddTimer, statistics: Statistics) {
	// How many pairs of entity and reason are counted apart, for the memory that they take: any number of users may be refused.
	const max_reasons = 1000;

	const suppressed = new LuaTable<string, Suppressed>();
	let reason_count = 0;

	function log_refusal(requester: string, reason: string, text: string): void {
		let who = requester;
		let key = who + " " + reason;
		if (!suppressed.has(key) && reason_count >= max_reasons) {
			who = "others";
			key = who;
		}
		const before = suppressed.get(key) as Suppressed | undefined;
		if (before) {
			before.count = before.count + 1;
			before.text = text;
			return;
		}
		log("warn", "Refused a request from %s: %s", who, text);
		const since: Suppressed = { count: 0, text: text };
		suppressed.set(key, since);
		reason_count = reason_count + 1;
		add_timer(1, () => {
			if (since.count === 0) {
				suppressed.delete(key);
				reason_count = reason_count - 1;
				return undefined;
			}
			log("warn", "Refused %d more from %s, the last one: %s", since.count, who, since.text);
			since.count = 0;
			return 1;
		});
	}

	/** Refuses a request of an entity: counts that, logs it and answers with an error. Returns true, as handlers of events do. */
	function refuse(entity: Entity, session: Session, stanza: Stanza, refusal: Refusal): true {
		statistics.count(entity, "refusals");
		log_refusal(entity.jid, refusal.text, refusal_text(refusal, stanza, true));
		answer_error(session, stanza, refusal);
		return true;
	}

	/**
	 * Refuses a request of a component or user without an entry in the host's `privileged_entities`. Returns nil where the
	 * stanza came from elsewhere, such as another server: the server then handles it as if the module were not there.
	 */
	function refuse_unlisted(session: Session, stanza: Stanza): true | undefined {
		const requester = authenticated_jid(session);
		if (requester === undefined) {
			return undefined;
		}
		const refusal = about(refusals.not_listed, requester);
		log_refusal(requester, refusal.text, refusal_text(refusal, stanza, true));
		answer_error(session, stanza, refusal);
		return true;
	}

	return { refuse: refuse, refuse_unlisted: refuse_unlisted };
}
export type Refusing = ReturnType<typeof create_refusing>;
export type Refuse = Refusing["refuse"];
