import * as jid from "util.jid";
import * as st from "util.stanza";
import * as uuid from "util.uuid";
import { account_exists } from "../prosody/accounts";
import type { Acting } from "../prosody/act_as";
import { is_client_stanza, prepared, strip_client_namespace } from "../prosody/client_stanzas";
import { xmlns_client, xmlns_privilege } from "../prosody/namespaces";
import { is_well_formed, send_text } from "../prosody/send";
import { authenticated_jid } from "../prosody/streams";
import type { AddTimer } from "../prosody/timers";
import type { Options } from "../grants/configuration";
import type { Authorization } from "../entities/authorization";
import type { Entities } from "../entities/entities";
import { about, answer_error, refusals } from "../entities/refusals";
import type { Refusal, Refusing } from "../entities/refusals";
import type { Statistics } from "../entities/statistics";
import { answer_start, create_pending } from "./pending";
import type { PendingIq } from "./pending";

/** In bytes. Both ids are kept until the answer comes, for up to 10,000 iqs of an entity. */
const max_id_length = 1024;

/** The iq inside of a privileged iq; or nil and why it is refused. */
function encapsulated_iq(stanza: Stanza, session: Session): LuaMultiReturn<[Stanza, undefined] | [undefined, Refusal]> {
	const wrapper = stanza.tags[0]!;
	const iq = wrapper.tags[0];
	if (!iq || wrapper.tags.length !== 1 || !is_client_stanza(iq, "iq", session)) {
		return $multi(undefined, refusals.iq_not_one);
	}
	// The server asks clients for an id, components need not have one.
	if (iq.attr.id === undefined || stanza.attr.id === undefined) {
		return $multi(undefined, refusals.iq_no_id);
	}
	if (iq.attr.id.length > max_id_length || stanza.attr.id.length > max_id_length) {
		return $multi(undefined, refusals.iq_long_id);
	}
	const payload = iq.tags[0];
	if (
		!payload
		|| iq.tags.length !== 1
		|| payload.attr.xmlns === undefined
		|| payload.attr.xmlns === ""
		|| payload.attr.xmlns === xmlns_client
	) {
		return $multi(undefined, refusals.iq_no_payload);
	}
	if (iq.attr.type !== stanza.attr.type) {
		return $multi(undefined, refusals.iq_type);
	}
	return $multi(iq, undefined);
}

/** What the handlers of privileged iqs need. */
interface IqService {
	host: string;
	options: Options;
	entities: Entities;
	is_listed: (this: void, session: Session) => boolean;
	authorization: Authorization;
	acting: Acting;
	refusing: Refusing;
	add_timer: AddTimer;
	statistics: Statistics;
}

/**
 * Makes the handlers of privileged iqs, which are sent in users' names (XEP-0356, section 6).
 *
 * `service.is_listed` tells whether any host of this server lists the JID that a stream authenticated as.
 */
export function create_iq(service: IqService) {
	/** How many iqs of one entity may wait for their answers. */
	const max_pending = 10000;

	const refuse = service.refusing.refuse;

	/** Answers an entity that its iq got no answer in time. */
	function expired(pending_iq: PendingIq): void {
		if (authenticated_jid(pending_iq.session) !== undefined) {
			answer_error(pending_iq.session, st.iq(pending_iq.outer), about(refusals.iq_timeout, pending_iq.addressee));
		}
	}

	const pending = create_pending(service.add_timer, expired);

	// The ids need not be secret: an answer also has to come from the JID that the iq was sent to.
	const id_prefix = uuid.generate() + "-";
	let id_count = 0;

	/** Passes an answer on to the entity that waits for it (XEP-0356, 6.3). Returns false if none does. */
	function deliver(answer: Stanza, user: string): boolean {
		const pending_iq = pending.take(answer.attr.id, user, answer.attr.from ?? user);
		if (!pending_iq) {
			return false;
		}
		const entity = pending_iq.entity;
		const session = pending_iq.session;
		if (authenticated_jid(session) === undefined) {
			return true;
		}
		const [username] = jid.split(user);
		const refusal = service.authorization.iq_answer_refusal(entity, username!, pending_iq.outer.type!, pending_iq.namespace);
		if (refusal && account_exists(username!, service.host)) {
			// The permission was taken away meanwhile. If the account is gone, the iq itself may have removed it: that is no reason to refuse.
			return refuse(entity, session, st.iq(pending_iq.outer), refusal);
		}
		const reply: string[] = [answer_start(pending_iq, answer.attr.type)];
		for (const [, child] of ipairs(answer.tags)) {
			reply.push(tostring(child));
		}
		reply.push("</iq></forwarded></privilege></iq>");
		const text = table.concat(reply);
		if (!is_well_formed(text)) {
			return refuse(entity, session, st.iq(pending_iq.outer), refusals.iq_bad_answer);
		}
		send_text(session, text);
		return true;
	}

	function is_answer(stanza: Stanza): boolean {
		return stanza.attr.type === "result" || stanza.attr.type === "error";
	}

	/** Takes the answers of handlers in this server, which go to the session that acts for the user. */
	function answered_by_server(answer: Stanza | string): boolean {
		const stanza = answer as Stanza;
		return type(answer) === "table" && is_answer(stanza) && stanza.attr.to !== undefined && deliver(stanza, stanza.attr.to);
	}

	/** Handles `iq/bare/urn:xmpp:privilege:2:privileged_iq`. */
	function request(event: StanzaEvent): Handled {
		const origin = event.origin;
		const stanza = event.stanza;
		const entity = service.entities.of(origin);
		if (!entity) {
			return service.refusing.refuse_unlisted(origin, stanza);
		}
		const user = stanza.attr.to ?? origin.username! + "@" + service.host;
		const [iq, malformed] = encapsulated_iq(stanza, origin);
		if (iq === undefined) {
			return refuse(entity, origin, stanza, malformed);
		}
		const namespace = iq.tags[0]!.attr.xmlns!;
		const [username] = jid.split(user);
		const refusal = service.authorization.iq_refusal(entity, username!, iq.attr.type!, namespace);
		if (refusal) {
			return refuse(entity, origin, stanza, refusal);
		}
		if (!account_exists(username!, service.host)) {
			return refuse(entity, origin, stanza, about(refusals.no_such_user, user));
		}
		if (iq.attr.from !== undefined && jid.prep(iq.attr.from) !== user) {
			return refuse(entity, origin, stanza, about(refusals.iq_sender, iq.attr.from));
		}
		const addressee = prepared(iq.attr.to ?? user);
		if (addressee === undefined) {
			return refuse(entity, origin, stanza, about(refusals.malformed_recipient, iq.attr.to!));
		}
		if (pending.count(entity) >= max_pending) {
			return refuse(entity, origin, stanza, refusals.iq_too_many);
		}

		id_count = id_count + 1;
		const id = id_prefix + tostring(id_count);
		pending.add(
			{
				id: id,
				inner_id: iq.attr.id!,
				user: user,
				addressee: addressee,
				entity: entity,
				session: origin,
				namespace: namespace,
				outer: { type: stanza.attr.type, id: stanza.attr.id, from: stanza.attr.from, to: stanza.attr.to },
			},
			service.options.iq_timeout,
		);
		service.statistics.record(entity, "iqs", "%s sent an iq as %s to %s", user, addressee, iq.attr.id);
		strip_client_namespace(iq);
		iq.attr.id = id;
		iq.attr.from = user;
		iq.attr.to = addressee;
		if (!service.acting.send_as(username!, iq, answered_by_server) && pending.take(id, user, addressee)) {
			return refuse(entity, origin, stanza, refusals.module_failed);
		}
		return true;
	}

	function is_privileged_iq(stanza: Stanza): boolean {
		const payload = stanza.tags[0];
		return payload !== undefined && payload.name === "privileged_iq" && payload.attr.xmlns === xmlns_privilege && !is_answer(stanza);
	}

	/** Handles privileged iqs to the host, `iq/host/urn:xmpp:privilege:2:privileged_iq`: they are refused. */
	function to_host(event: StanzaEvent): Handled {
		const entity = service.entities.of(event.origin);
		if (!entity) {
			return service.refusing.refuse_unlisted(event.origin, event.stanza);
		}
		return refuse(entity, event.origin, event.stanza, refusals.iq_not_a_user);
	}

	/**
	 * Handles `iq/full`: an entity's privileged iq to a client is refused, since no client understands it. Such an iq of
	 * anybody else goes to the client like every other stanza.
	 */
	function to_client(event: StanzaEvent): Handled {
		if (!is_privileged_iq(event.stanza) || !service.is_listed(event.origin)) {
			return undefined;
		}
		return to_host(event);
	}

	/** Handles `iq/bare`: takes the answers to the iqs that were sent in users' names. */
	function take_answer(event: StanzaEvent): Handled {
		const stanza = event.stanza;
		if (!is_answer(stanza)) {
			return undefined;
		}
		const username = event.origin.username;
		// Where a client answers its own account, the stanza has no 'to' here. Nor has the error in which mod_smacks returns a roster push: its origin is the host.
		const user = stanza.attr.to ?? (username !== undefined ? username + "@" + event.origin.host : undefined);
		return (user !== undefined && deliver(stanza, user)) || undefined;
	}

	return {
		request: request,
		to_host: to_host,
		to_client: to_client,
		answer: take_answer,
		/** Forgets the iqs of a stream. */
		forget: pending.forget,
		/** Gives up all iqs. */
		give_up: pending.give_up,
	};
}
