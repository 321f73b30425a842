import * as jid from "util.jid";
import * as st from "util.stanza";
import * as uuid from "util.uuid";
import { account_exists, forget_roster, read_roster } from "../prosody/accounts";
import type { ActAs } from "../prosody/act_as";
import { since_0_10 } from "../prosody/compatibility";
import { xmlns_roster } from "../prosody/namespaces";
import { protect } from "../prosody/protect";
import { attribute, send_stanza, send_text } from "../prosody/send";
import type { Authorization } from "../entities/authorization";
import type { Entities, Entity } from "../entities/entities";
import { refusals } from "../entities/refusals";
import type { Refusal, Refuse } from "../entities/refusals";
import type { Statistics } from "../entities/statistics";
import type { ChangeWatch } from "./change_watch";
import { is_contact, item_text, push_text, roster_version, same_item } from "./item";
import type { WriteQueue } from "./write_queue";

/** The contact in a roster set, or the refusal of the set. */
function set_contact(query: Stanza, owner: string): LuaMultiReturn<[string, undefined] | [undefined, Refusal]> {
	const element = query.tags[0];
	if (!element || query.tags.length !== 1 || element.name !== "item" || element.attr.xmlns !== xmlns_roster) {
		return $multi(undefined, refusals.roster_not_one_item);
	}
	if (element.attr.jid === undefined) {
		return $multi(undefined, refusals.roster_no_jid);
	}
	const contact = jid.prep(element.attr.jid);
	if (contact === undefined) {
		return $multi(undefined, refusals.roster_bad_jid);
	}
	if (string.find(contact, "/", 1, true)[0] !== undefined) {
		return $multi(undefined, refusals.roster_full_jid);
	}
	if (contact === owner) {
		return $multi(undefined, refusals.roster_own_jid);
	}
	if (contact === "pending") {
		// Old rosters have metadata under this key.
		return $multi(undefined, refusals.roster_reserved_jid);
	}
	return $multi(contact, undefined);
}

interface RosterService {
	host: string;
	log: Log;
	entities: Entities;
	act_as: ActAs;
	refuse: Refuse;
	statistics: Statistics;
	authorization: Authorization;
	change_watch: ChangeWatch;
	write_queue: WriteQueue;
}

/** Handles the roster requests of entities (XEP-0356, section 4). */
export function create_roster_requests(service: RosterService) {
	const host = service.host;
	const refuse = service.refuse;

	/**
	 * The entity that requests the roster of somebody else; nil for all other requests. A request for one's own roster has
	 * no 'to' here.
	 */
	function requester(event: StanzaEvent): Entity | undefined {
		return event.stanza.attr.to !== undefined ? service.entities.of(event.origin) : undefined;
	}

	/** Handles `iq-get/bare/jabber:iq:roster:query` (XEP-0356, 4.2). */
	function get(event: StanzaEvent): Handled {
		const entity = requester(event);
		if (!entity) {
			return undefined;
		}
		const origin = event.origin;
		const stanza = event.stanza;
		const [username] = jid.split(stanza.attr.to);
		const not_allowed = service.authorization.roster_get_refusal(entity, username!);
		if (not_allowed) {
			return refuse(entity, origin, stanza, not_allowed);
		}
		if (!account_exists(username!, host)) {
			return refuse(entity, origin, stanza, refusals.no_such_user);
		}
		const roster = read_roster(username!, host);
		if (!roster) {
			return refuse(entity, origin, stanza, refusals.roster_not_loaded);
		}
		service.statistics.count(entity, "roster_gets");
		const version = roster_version(roster);
		if (version !== undefined && stanza.tags[0]!.attr.ver === version) {
			send_stanza(origin, st.reply(stanza));
			return true;
		}
		const reply: string[] = [
			string.format(
				"<iq type='result'%s%s%s><query xmlns='jabber:iq:roster'%s>",
				attribute("id", stanza.attr.id),
				attribute("from", stanza.attr.to),
				attribute("to", stanza.attr.from),
				attribute("ver", version),
			),
		];
		for (const [contact, item] of pairs(roster as LuaTable<string, RosterItem>)) {
			if (is_contact(contact, item)) {
				reply.push(item_text(contact, item));
			}
		}
		reply.push("</query></iq>");
		send_text(origin, table.concat(reply));
		return true;
	}

	/** Ends the subscriptions between a user and a removed contact (RFC 6121, 2.5.2). */
	function end_subscriptions(username: string, contact: string, item: RosterItem): void {
		const session = service.act_as(username, () => true);
		if (since_0_10) {
			prosody.hosts.get(host).events.fire_event("roster-item-removed", {
				username: username,
				jid: contact,
				item: item,
				origin: session,
				roster: session.roster,
			});
			return;
		}
		// COMPAT: Prosody 0.9 has no such event.
		if (item.subscription === "both" || item.subscription === "from") {
			prosody.core_post_stanza(session, st.presence({ type: "unsubscribed", from: session.full_jid, to: contact }));
		}
		if (item.subscription === "both" || item.subscription === "to" || item.ask !== undefined) {
			prosody.core_post_stanza(session, st.presence({ type: "unsubscribe", from: session.full_jid, to: contact }));
		}
	}

	/** Pushes an item to the interested clients of the user (RFC 6121, 2.1.6). */
	function push_to_clients(username: string, contact: string, item: RosterItem | undefined, version: number | true | undefined): void {
		const user = prosody.hosts.get(host).sessions!.get(username) as User | undefined;
		if (user) {
			const text = "<iq" + push_text(uuid.generate(), contact, item, version);
			for (const [, session] of pairs(user.sessions)) {
				if (session.interested) {
					send_text(session, text);
				}
			}
		}
	}

	/** Handles `iq-set/bare/jabber:iq:roster:query` (XEP-0356, 4.3). */
	function set(event: StanzaEvent): Handled {
		const entity = requester(event);
		if (!entity) {
			return undefined;
		}
		const origin = event.origin;
		const stanza = event.stanza;
		const user = stanza.attr.to!;
		const [username] = jid.split(user);
		const not_allowed = service.authorization.roster_set_refusal(entity, username!);
		if (not_allowed) {
			return refuse(entity, origin, stanza, not_allowed);
		}
		const [contact, refusal] = set_contact(stanza.tags[0]!, user);
		if (contact === undefined) {
			return refuse(entity, origin, stanza, account_exists(username!, host) ? refusal : refusals.no_such_user);
		}

		/** Answers the set, then tells the others. An error in one of them does not keep the rest from being told. */
		function saved(old: RosterItem | undefined, item: RosterItem | undefined, version: number | true | undefined): void {
			const what = item ? "%s set contact %s in the roster of %s" : "%s removed contact %s from the roster of %s";
			service.statistics.record(entity!, "roster_sets", what, contact!, user, stanza.attr.id);
			send_stanza(origin, st.reply(stanza));
			if (!item && old) {
				protect(service.log, "while a contact of %s was removed", user, () => end_subscriptions(username!, contact!, old));
				forget_roster(username!, host);
			}
			protect(service.log, "while the roster of %s was pushed", user, () => push_to_clients(username!, contact!, item, version));
			if (!same_item(old, item)) {
				protect(service.log, "while the roster of %s was pushed", user, () =>
					service.change_watch.changed(username!, contact!, item, version, old),
				);
			}
		}

		function refused(reason: Refusal): void {
			refuse(entity!, origin, stanza, reason);
		}

		service.write_queue.add({
			session: origin,
			username: username!,
			contact: contact,
			element: stanza.tags[0]!.tags[0]!,
			saved: saved,
			refused: refused,
		});
		return true;
	}

	return { get, set };
}
