import * as rostermanager from "core.rostermanager";
import * as jid from "util.jid";
import * as st from "util.stanza";
import { account_exists, read_roster } from "../prosody/accounts";
import type { ActAs } from "../prosody/act_as";
import { since_0_10 } from "../prosody/compatibility";
import { xmlns_roster } from "../prosody/namespaces";
import { attribute, send_stanza, send_text } from "../prosody/send";
import { covers } from "../grants/permissions";
import type { Entities, Entity } from "../entities/entities";
import { refusals } from "../entities/refusals";
import type { Refusal, Refuse } from "../entities/refusals";
import type { Statistics } from "../entities/statistics";
import { is_contact, item_text, roster_version } from "./item";
import type { WriteQueue } from "./write_queue";

type Subscription = RosterItem["subscription"];

const settable_subscriptions: Record<string, true | undefined> = { none: true, to: true, from: true, both: true };

/** The contact that a roster set is about, or why it is refused. */
function set_contact(query: Stanza, owner: string): LuaMultiReturn<[string, undefined] | [undefined, Refusal]> {
	const element = query.tags[0];
	if (!element || query.tags.length !== 1 || element.name !== "item" || element.attr.xmlns !== xmlns_roster) {
		return $multi(undefined, refusals.roster_not_one_item);
	}
	if (element.attr.jid === undefined) {
		return $multi(undefined, refusals.roster_no_jid);
	}
	const contact = jid.prep(element.attr.jid);
	if (contact === undefined || string.find(contact, "/", 1, true)[0] !== undefined) {
		return $multi(undefined, refusals.roster_bad_jid);
	}
	if (contact === owner) {
		return $multi(undefined, refusals.roster_own_jid);
	}
	if (contact === "pending") {
		// Old rosters have their metadata under this name.
		return $multi(undefined, refusals.roster_reserved_jid);
	}
	return $multi(contact, undefined);
}

/** The item that a set makes of what was there: name and groups are replaced, the rest stays unless it is said. */
function updated_item(element: Stanza, old: RosterItem | undefined): RosterItem {
	const asked = element.attr.subscription;
	const item: RosterItem = { subscription: "none", groups: new LuaTable() };
	if (old) {
		item.subscription = old.subscription;
		item.ask = old.ask;
		item.approved = old.approved;
	}
	if (asked !== undefined && settable_subscriptions[asked]) {
		item.subscription = asked as Subscription;
	}
	if (item.subscription === "to" || item.subscription === "both") {
		// What was asked for is there.
		item.ask = undefined;
	}
	if (element.attr.name !== "") {
		item.name = element.attr.name;
	}
	for (const [, child] of ipairs(element.tags)) {
		const group = child.get_text();
		if (child.name === "group" && group !== undefined && group !== "") {
			item.groups.set(group, true);
		}
	}
	return item;
}

/** The handlers of roster requests (XEP-0356, section 4). */
export interface RosterHandlers {
	get: (this: void, event: StanzaEvent) => Handled;
	set: (this: void, event: StanzaEvent) => Handled;
}

export function create_roster(host: string, entities: Entities, write_queue: WriteQueue, act_as: ActAs, refuse: Refuse, statistics: Statistics): RosterHandlers {
	/**
	 * The entity that asks for somebody else's roster. Requests for one's own have no
	 * 'to' here, and those of others are not this module's.
	 */
	function requester(event: StanzaEvent): Entity | undefined {
		return event.stanza.attr.to !== undefined ? entities.of(event.origin) : undefined;
	}

	function get(event: StanzaEvent): Handled {
		const entity = requester(event);
		if (!entity) {
			return undefined;
		}
		const origin = event.origin;
		const stanza = event.stanza;
		if (!covers(entity.permissions.roster, "get")) {
			return refuse(entity, origin, stanza, refusals.roster_get);
		}
		const [username] = jid.split(stanza.attr.to);
		if (!account_exists(username!, host)) {
			return refuse(entity, origin, stanza, refusals.no_such_user);
		}
		write_queue.settle(username!);
		const roster = read_roster(username!, host);
		if (!roster) {
			return refuse(entity, origin, stanza, refusals.roster_not_loaded);
		}
		statistics.count(entity, "roster_gets");
		const version = roster_version(roster);
		if (version !== undefined && stanza.tags[0]!.attr.ver === version) {
			send_stanza(origin, st.reply(stanza));
			return true;
		}
		const reply: string[] = [
			"<iq type='result'" + attribute("id", stanza.attr.id) + attribute("from", stanza.attr.to) + attribute("to", stanza.attr.from)
			+ "><query xmlns='jabber:iq:roster'" + attribute("ver", version) + ">",
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

	/** Tells the contact of a removed item that the subscriptions have ended (RFC 6121, 2.5.2). */
	function end_subscriptions(username: string, roster: Roster, contact: string, item: RosterItem): void {
		const session = act_as(username, () => true);
		if (since_0_10) {
			prosody.hosts.get(host).events.fire_event("roster-item-removed", {
				username: username, jid: contact, item: item, origin: session, roster: roster,
			});
			return;
		}
		// Before, there is no such event.
		if (item.subscription === "both" || item.subscription === "from") {
			prosody.core_post_stanza(session, st.presence({ type: "unsubscribed", from: session.full_jid, to: contact }));
		}
		if (item.subscription === "both" || item.subscription === "to" || item.ask !== undefined) {
			prosody.core_post_stanza(session, st.presence({ type: "unsubscribe", from: session.full_jid, to: contact }));
		}
	}

	function set(event: StanzaEvent): Handled {
		const entity = requester(event);
		if (!entity) {
			return undefined;
		}
		const origin = event.origin;
		const stanza = event.stanza;
		if (!covers(entity.permissions.roster, "set")) {
			return refuse(entity, origin, stanza, refusals.roster_set);
		}
		const [username] = jid.split(stanza.attr.to);
		if (!account_exists(username!, host)) {
			return refuse(entity, origin, stanza, refusals.no_such_user);
		}
		const [contact, refusal] = set_contact(stanza.tags[0]!, stanza.attr.to!);
		// All that waits is answered before a refusal.
		write_queue.settle(username!, contact);
		if (contact === undefined) {
			return refuse(entity, origin, stanza, refusal);
		}
		const roster = read_roster(username!, host);
		if (!roster) {
			return refuse(entity, origin, stanza, refusals.roster_not_loaded);
		}
		const element = stanza.tags[0]!.tags[0]!;
		const old = roster.get(contact) as RosterItem | undefined;
		const removal = element.attr.subscription === "remove";
		if (removal && !old) {
			write_queue.settle(username!);
			return refuse(entity, origin, stanza, refusals.roster_no_item);
		}
		// A client's handlers may wait for the storage, what runs later may not.
		const alone = origin.type === "c2s";
		write_queue.put(username!, roster, contact, removal ? undefined : updated_item(element, old), alone, (saved) => {
			if (!saved) {
				refuse(entity, origin, stanza, refusals.roster_not_saved);
				return;
			}
			if (removal && old) {
				end_subscriptions(username!, roster, contact, old);
			}
			statistics.record(entity, "roster_sets", removal ? "%s removed contact %s from the roster of %s" : "%s set contact %s in the roster of %s", contact, stanza.attr.to!, stanza.attr.id);
			send_stanza(origin, st.reply(stanza));
			rostermanager.roster_push(username!, host, contact);
		});
		return true;
	}

	return { get: get, set: set };
}
