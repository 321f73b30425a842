import * as jid from "util.jid";
import { account_exists } from "../prosody/accounts";
import type { Acting } from "../prosody/act_as";
import { is_client_stanza, prepared, strip_client_namespace } from "../prosody/client_stanzas";
import { xmlns_forward, xmlns_privilege, xmlns_privilege_legacy } from "../prosody/namespaces";
import type { Options } from "../grants/configuration";
import type { Authorization } from "../entities/authorization";
import type { Entities } from "../entities/entities";
import { about, refusals } from "../entities/refusals";
import type { Refusing } from "../entities/refusals";
import type { Statistics } from "../entities/statistics";
import type { ErrorFilter } from "./error_filter";

/** The message in `<privilege><forwarded><message/></forwarded></privilege>`; nil unless there is exactly one. */
function forwarded_message(privilege: Stanza, session: Session): Stanza | undefined {
	const forwarded = privilege.tags[0];
	if (!forwarded || privilege.tags.length !== 1 || forwarded.name !== "forwarded" || forwarded.attr.xmlns !== xmlns_forward) {
		return undefined;
	}
	let message: Stanza | undefined;
	for (const [, child] of ipairs(forwarded.tags)) {
		// There may be a <delay/> beside it (XEP-0297, 3.1).
		if (child.name === "message") {
			if (message || !is_client_stanza(child, "message", session)) {
				return undefined;
			}
			message = child;
		}
	}
	return message;
}

/** What the handler of privileged messages needs. */
interface MessageService {
	host: string;
	options: Options;
	entities: Entities;
	authorization: Authorization;
	acting: Acting;
	refusing: Refusing;
	statistics: Statistics;
	error_filter: ErrorFilter;
}

/** Makes the handler of privileged messages: messages to the host that carry another one to be sent (XEP-0356, section 5). */
export function create_message(service: MessageService) {
	const host = service.host;
	const acting = service.acting;
	const refuse = service.refusing.refuse;

	/** Drops what the server answers the sender: an error that a client would get does not go to a bare JID. */
	function discard(): boolean {
		return true;
	}

	/** Sends a message in a user's name, or in the host's where `username` is nil. Returns false if that failed. */
	function send(message: Stanza, username: string | undefined): boolean {
		if (username === undefined) {
			return acting.send_as_host(message);
		}
		return acting.send_as(username, message, discard);
	}

	/** The first `<privilege/>` in a namespace that the module serves, and the number of them. */
	function privilege_of(stanza: Stanza): LuaMultiReturn<[Stanza | undefined, number]> {
		let privilege: Stanza | undefined;
		let found = 0;
		for (const [, child] of ipairs(stanza.tags)) {
			const xmlns = child.attr.xmlns;
			if (child.name === "privilege" && (xmlns === xmlns_privilege || (xmlns === xmlns_privilege_legacy && service.options.legacy))) {
				privilege = privilege ?? child;
				found = found + 1;
			}
		}
		return $multi(privilege, found);
	}

	/** Handles `message/host`. */
	function receive(event: StanzaEvent): Handled {
		const origin = event.origin;
		const stanza = event.stanza;
		const [privilege, privileges] = privilege_of(stanza);
		if (!privilege || stanza.attr.type === "error") {
			return undefined;
		}
		const entity = service.entities.of(origin);
		if (!entity) {
			return privilege.get_child("forwarded", xmlns_forward) && service.refusing.refuse_unlisted(origin, stanza);
		}
		const message = privileges === 1 ? forwarded_message(privilege, origin) : undefined;
		const sender = message && message.attr.from;
		const [username, sender_host, resource] = jid.split(sender !== undefined ? prepared(sender) : undefined);
		const refusal = service.authorization.message_refusal(entity, sender, sender_host === host ? username : undefined);
		if (refusal) {
			return refuse(entity, origin, stanza, refusal);
		}
		if (!message) {
			return refuse(entity, origin, stanza, refusals.message_not_one);
		}
		if (sender_host !== host || resource !== undefined || (username !== undefined && !account_exists(username, host))) {
			return refuse(entity, origin, stanza, about(refusals.message_sender, sender ?? "there is none"));
		}
		message.attr.from = username !== undefined ? username + "@" + host : host;
		const recipient = message.attr.to;
		if (recipient !== undefined) {
			message.attr.to = prepared(recipient);
			if (message.attr.to === undefined) {
				return refuse(entity, origin, stanza, about(refusals.malformed_recipient, recipient));
			}
		} else if (username === undefined) {
			message.attr.to = host;
		}
		strip_client_namespace(message);
		if (username !== undefined) {
			service.error_filter.sent(message.attr.from);
		}
		service.statistics.record(
			entity,
			"messages",
			"%s sent a message as %s to %s",
			message.attr.from,
			message.attr.to ?? message.attr.from,
			message.attr.id,
		);
		if (!send(message, username)) {
			return refuse(entity, origin, stanza, refusals.module_failed);
		}
		return true;
	}

	return receive;
}
