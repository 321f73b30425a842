import * as jid from "util.jid";
import * as st from "util.stanza";
import * as uuid from "util.uuid";
import { account_exists } from "../prosody/accounts";
import type { ActAs } from "../prosody/act_as";
import { is_client_stanza, prepared, strip_client_namespace } from "../prosody/client_stanzas";
import { xmlns_client, xmlns_privilege } from "../prosody/namespaces";
import { attribute, send_text } from "../prosody/send";
import type { AddTimer } from "../prosody/timers";
import type { Options } from "../grants/configuration";
import { covers } from "../grants/permissions";
import type { Entities, Entity } from "../entities/entities";
import { answer_error, refusals } from "../entities/refusals";
import type { Refusal, Refuse } from "../entities/refusals";
import type { Statistics } from "../entities/statistics";

/** util.time came with Prosody 0.10. */
const [has_time, time_module] = pcall(require, "util.time");
const now = has_time ? (time_module as typeof import("util.time")).now : os.time;

/** Seconds between two looks at whether answers are overdue. */
const expiry_interval = 1;

/** How many iqs may be under way for one entity. */
const max_under_way = 10000;

/** An iq that was sent for an entity and has no answer yet. */
interface Query {
	/** The id that it was sent with. */
	id: string;
	/** The id that the entity gave it. */
	inner_id: string;
	/** The user in whose name it was sent, a bare JID. */
	user: string;
	/** Whom it was sent to, the only one who may answer. */
	asked: string;
	entity: Entity;
	/** The stream that the answer goes down. */
	session: Session;
	/** Type, id and addresses of the entity's iq. */
	outer: Attributes;
	/** The namespace of what was asked. */
	namespace: string;
	/** When to give up, as now() has it. */
	deadline: number;
	/** The queries before and after it in the order of their deadlines. */
	previous: Query | undefined;
	following: Query | undefined;
}

/** The handlers of iqs in users' names (XEP-0356, section 6). */
export interface IqHandlers {
	/** Handles `iq/bare/urn:xmpp:privilege:2:privileged_iq`. */
	request: (this: void, event: StanzaEvent) => Handled;
	/** Handles such iqs that are addressed to something else than a bare JID. */
	misaddressed: (this: void, event: StanzaEvent) => Handled;
	/** Handles `iq/bare`, of which it takes the answers to what was sent. */
	answer: (this: void, event: StanzaEvent) => Handled;
	/** Forgets what is under way for a stream. */
	forget: (this: void, session: Session) => void;
	/** Gives up all that is under way. */
	give_up: (this: void) => void;
}

/** The inner iq of a privileged one, or why it is refused. */
function encapsulated_iq(stanza: Stanza, session: Session): LuaMultiReturn<[Stanza, undefined] | [undefined, Refusal]> {
	const wrapper = stanza.tags[0]!;
	const iq = wrapper.tags[0];
	if (!iq || wrapper.tags.length !== 1 || !is_client_stanza(iq, "iq", session)) {
		return $multi(undefined, refusals.iq_not_one);
	}
	if (iq.attr.id === undefined) {
		return $multi(undefined, refusals.iq_no_id);
	}
	const payload = iq.tags[0];
	if (!payload || iq.tags.length !== 1 || payload.attr.xmlns === undefined || payload.attr.xmlns === "" || payload.attr.xmlns === xmlns_client) {
		return $multi(undefined, refusals.iq_no_payload);
	}
	if (iq.attr.type !== stanza.attr.type) {
		return $multi(undefined, refusals.iq_type);
	}
	return $multi(iq, undefined);
}

/**
 * @param entities of this host
 * @param find_entity whether another host granted a session something
 */
export function create_iq(
	host: string, entities: Entities, find_entity: (this: void, session: Session) => Entity | undefined,
	act_as: ActAs, refuse: Refuse, add_timer: AddTimer, options: Options, statistics: Statistics,
): IqHandlers {
	const queries = new LuaTable<string, Query>();
	const counts = new LuaTable<Entity, number>();
	let first: Query | undefined;
	let last: Query | undefined;
	let timer_runs = false;

	// The ids are not secret: what makes an answer genuine is where it comes from.
	const id_prefix = uuid.generate() + "-";
	let id_count = 0;

	function remove(query: Query): void {
		queries.delete(query.id);
		const left = counts.get(query.entity) - 1;
		if (left > 0) {
			counts.set(query.entity, left);
		} else {
			counts.delete(query.entity);
		}
		if (query.previous) {
			query.previous.following = query.following;
		} else {
			first = query.following;
		}
		if (query.following) {
			query.following.previous = query.previous;
		} else {
			last = query.previous;
		}
	}

	function give_up_until(time: number): void {
		while (first && first.deadline <= time) {
			const query = first;
			remove(query);
			answer_error(query.session, st.iq(query.outer), refusals.iq_timeout);
		}
	}

	function expire(): number | undefined {
		give_up_until(now());
		timer_runs = first !== undefined;
		return timer_runs ? expiry_interval : undefined;
	}

	function add(query: Query): void {
		queries.set(query.id, query);
		counts.set(query.entity, ((counts.get(query.entity) as number | undefined) ?? 0) + 1);
		// The last one, unless the time-out was longer before a reload.
		let previous = last;
		while (previous && previous.deadline > query.deadline) {
			previous = previous.previous;
		}
		query.previous = previous;
		query.following = first;
		if (previous) {
			query.following = previous.following;
			previous.following = query;
		} else {
			first = query;
		}
		if (query.following) {
			query.following.previous = query;
		} else {
			last = query;
		}
		if (!timer_runs) {
			timer_runs = true;
			add_timer(expiry_interval, expire);
		}
	}

	/** Passes an answer on to the entity that it is for (XEP-0356, 6.3); false where it is for none. */
	function deliver(answer: Stanza, user: string): boolean {
		const id = answer.attr.id;
		const query = id !== undefined ? queries.get(id) as Query | undefined : undefined;
		if (!query || query.user !== user || (answer.attr.from ?? user) !== query.asked) {
			return false;
		}
		remove(query);
		const entity = query.entity;
		const session = query.session;
		if (session.destroyed) {
			return true;
		}
		if (!covers(entity.permissions.iq.get(query.namespace), query.outer.type)) {
			// It was taken away meanwhile.
			return refuse(entity, session, st.iq(query.outer), refusals.iq);
		}
		const outer = query.outer;
		const reply: string[] = [
			"<iq type='result'" + attribute("id", outer.id) + attribute("from", outer.to) + attribute("to", outer.from)
			+ "><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client'"
			+ attribute("type", answer.attr.type) + attribute("id", query.inner_id) + attribute("from", query.asked) + attribute("to", user) + ">",
		];
		for (const [, child] of ipairs(answer.tags)) {
			reply.push(tostring(child));
		}
		reply.push("</iq></forwarded></privilege></iq>");
		send_text(session, table.concat(reply));
		return true;
	}

	function is_answer(stanza: Stanza): boolean {
		return stanza.attr.type === "result" || stanza.attr.type === "error";
	}

	/** Takes what handlers in the server answer to the user. */
	function answered_by_server(answer: Stanza | string): boolean {
		const stanza = answer as Stanza;
		return type(answer) === "table" && is_answer(stanza) && stanza.attr.to !== undefined && deliver(stanza, stanza.attr.to);
	}

	function request(event: StanzaEvent): Handled {
		const origin = event.origin;
		const stanza = event.stanza;
		const entity = entities.of(origin);
		if (!entity) {
			const other = find_entity(origin);
			return other && refuse(other, origin, stanza, refusals.iq_other_host);
		}
		const user = stanza.attr.to ?? origin.username! + "@" + host;
		const [username] = jid.split(user);
		if (!account_exists(username!, host)) {
			return refuse(entity, origin, stanza, refusals.no_such_user);
		}
		const [iq, refusal] = encapsulated_iq(stanza, origin);
		if (iq === undefined) {
			return refuse(entity, origin, stanza, refusal);
		}
		const namespace = iq.tags[0]!.attr.xmlns!;
		if (!covers(entity.permissions.iq.get(namespace), iq.attr.type)) {
			return refuse(entity, origin, stanza, refusals.iq);
		}
		if (iq.attr.from !== undefined && jid.prep(iq.attr.from) !== user) {
			return refuse(entity, origin, stanza, refusals.iq_sender);
		}
		const asked = prepared(iq.attr.to ?? user);
		if (asked === undefined) {
			return refuse(entity, origin, stanza, refusals.malformed_recipient);
		}
		if ((counts.get(entity) as number | undefined ?? 0) >= max_under_way) {
			return refuse(entity, origin, stanza, refusals.iq_too_many);
		}

		id_count = id_count + 1;
		const id = id_prefix + tostring(id_count);
		add({
			id: id, inner_id: iq.attr.id!, user: user, asked: asked,
			entity: entity, session: origin, namespace: namespace,
			outer: { type: stanza.attr.type, id: stanza.attr.id, from: stanza.attr.from, to: stanza.attr.to },
			deadline: now() + options.iq_timeout,
			previous: undefined, following: undefined,
		});
		statistics.record(entity, "iqs", "%s sent an iq as %s to %s", user, asked, iq.attr.id);
		strip_client_namespace(iq);
		iq.attr.id = id;
		iq.attr.from = user;
		iq.attr.to = asked;
		prosody.core_post_stanza(act_as(username!, answered_by_server), iq, true);
		return true;
	}

	function misaddressed(event: StanzaEvent): Handled {
		const stanza = event.stanza;
		const payload = stanza.tags[0];
		if (!payload || payload.name !== "privileged_iq" || payload.attr.xmlns !== xmlns_privilege || is_answer(stanza)) {
			return undefined;
		}
		const entity = entities.of(event.origin) ?? find_entity(event.origin);
		return entity && refuse(entity, event.origin, stanza, refusals.iq_not_a_user);
	}

	function take_answer(event: StanzaEvent): Handled {
		const stanza = event.stanza;
		if (!first || !is_answer(stanza)) {
			return undefined;
		}
		// What a client sends to its own account has no 'to' here.
		const user = stanza.attr.to ?? event.origin.username! + "@" + event.origin.host;
		return deliver(stanza, user) || undefined;
	}

	function forget(session: Session): void {
		let query = first;
		while (query) {
			const following = query.following;
			if (query.session === session) {
				remove(query);
			}
			query = following;
		}
	}

	return { request: request, misaddressed: misaddressed, answer: take_answer, forget: forget, give_up: () => {
		give_up_until(math.huge);
	} };
}
