import * as jid from "util.jid";
import { account_exists } from "../prosody/accounts";
import type { ActAs } from "../prosody/act_as";
import { is_client_stanza, prepared, strip_client_namespace } from "../prosody/client_stanzas";
import { xmlns_forward, xmlns_privilege, xmlns_privilege_legacy } from "../prosody/namespaces";
import type { Options } from "../grants/configuration";
import type { Entities } from "../entities/entities";
import { refusals } from "../entities/refusals";
import type { Refuse } from "../entities/refusals";
import type { Statistics } from "../entities/statistics";
import type { ErrorFilter } from "./error_filter";

/** The message in `<privilege><forwarded><message/></forwarded></privilege>`, nil unless there is exactly one. */
function forwarded_message(privilege: Stanza, session: Session): Stanza | undefined {
	const forwarded = privilege.tags[0];
	if (!forwarded || privilege.tags.length !== 1 || forwarded.name !== "forwarded" || forwarded.attr.xmlns !== xmlns_forward) {
		return undefined;
	}
	let message: Stanza | undefined;
	for (const [, child] of ipairs(forwarded.tags)) {
		// Beside it there may be a <delay/> (XEP-0297, 3.1).
		if (child.name === "message") {
			if (message || !is_client_stanza(child, "message", session)) {
				return undefined;
			}
			message = child;
		}
	}
	return message;
}

/** Makes the handler of messages to the host that carry one to send (XEP-0356, section 5). */
export function create_message(host: string, options: Options, entities: Entities, act_as: ActAs, refuse: Refuse, statistics: Statistics, error_filter: ErrorFilter) {
	/** What the server answers the sender's client: a bare JID gets no such errors. */
	function discard(): boolean {
		return true;
	}

	/** Sends a message, as if a client of its sender had. */
	function send(message: Stanza, username: string | undefined): void {
		if (username === undefined) {
			prosody.core_post_stanza(prosody.hosts.get(host), message);
		} else {
			prosody.core_post_stanza(act_as(username, discard), message, true);
		}
	}

	/** The first `<privilege/>` in a namespace that is served, and how many there are. */
	function privilege_of(stanza: Stanza): LuaMultiReturn<[Stanza | undefined, number]> {
		let privilege: Stanza | undefined;
		let found = 0;
		for (const [, child] of ipairs(stanza.tags)) {
			const xmlns = child.attr.xmlns;
			if (child.name === "privilege" && (xmlns === xmlns_privilege || (xmlns === xmlns_privilege_legacy && options.legacy))) {
				privilege = privilege ?? child;
				found = found + 1;
			}
		}
		return $multi(privilege, found);
	}

	return (event: StanzaEvent): Handled => {
		const origin = event.origin;
		const stanza = event.stanza;
		const [privilege, privileges] = privilege_of(stanza);
		const entity = privilege && stanza.attr.type !== "error" ? entities.of(origin) : undefined;
		if (!privilege || !entity) {
			return undefined;
		}
		if (entity.permissions.message !== "outgoing") {
			return refuse(entity, origin, stanza, refusals.message);
		}
		const message = privileges === 1 ? forwarded_message(privilege, origin) : undefined;
		if (!message) {
			return refuse(entity, origin, stanza, refusals.message_not_one);
		}
		const [username, sender_host, resource] = jid.split(message.attr.from !== undefined ? prepared(message.attr.from) : undefined);
		if (sender_host !== host || resource !== undefined || (username !== undefined && !account_exists(username, host))) {
			return refuse(entity, origin, stanza, refusals.message_sender);
		}
		message.attr.from = username !== undefined ? username + "@" + host : host;
		if (message.attr.to !== undefined) {
			message.attr.to = prepared(message.attr.to);
			if (message.attr.to === undefined) {
				return refuse(entity, origin, stanza, refusals.malformed_recipient);
			}
		} else if (username === undefined) {
			message.attr.to = host;
		}
		strip_client_namespace(message);
		if (username !== undefined) {
			error_filter.sent(message.attr.from);
		}
		statistics.record(entity, "messages", "%s sent a message as %s to %s", message.attr.from, message.attr.to ?? message.attr.from, message.attr.id);
		send(message, username);
		return true;
	};
}
