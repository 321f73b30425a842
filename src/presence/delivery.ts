import * as jid from "util.jid";
import * as st from "util.stanza";
import { attribute, create_batch, is_well_formed, send_text } from "../prosody/send";
import type { Users } from "../grants/users";
import { is_connected } from "../entities/entities";
import type { Connection, Entities } from "../entities/entities";
import type { OtherHosts } from "../entities/served_hosts";
import type { Statistics } from "../entities/statistics";
import type { Heard } from "./heard";
import { form_rest } from "./presence_form";

/** The XML text of a presence behind `<presence to='…'`, which goes to all receivers. */
export function presence_rest(stanza: Stanza): string {
	const to = stanza.attr.to;
	stanza.attr.to = undefined;
	const text = tostring(stanza);
	stanza.attr.to = to;
	if (!is_well_formed(text)) {
		// Without the children. That the JID is available, or is not, can be told all the same.
		return attribute("from", stanza.attr.from) + attribute("type", stanza.attr.type) + "/>";
	}
	return string.sub(text, "<presence".length + 1);
}

/** Writes presences of users' clients in that form. Keeps each text as long as the server keeps the stanza. */
export function create_presence_texts() {
	const end_tag = "</presence>";

	/** The texts by stanza, with the number of children that the stanza had. */
	const kept = setmetatable(new LuaTable<Stanza, { children: number; rest: string }>(), { __mode: "k" });

	/** A kept text with the children that were added to the stanza since; nil if it has to be written anew. */
	function extended(stanza: Stanza, rest: string, children: number): string | undefined {
		if (string.sub(rest, -end_tag.length) !== end_tag) {
			return undefined;
		}
		const parts = [string.sub(rest, 1, -end_tag.length - 1)];
		for (const [i, child] of ipairs(stanza as unknown as (Stanza | string)[])) {
			if (i > children) {
				parts.push(typeof child === "string" ? st.xml_escape(child) : tostring(child));
			}
		}
		parts.push(end_tag);
		const text = table.concat(parts);
		return is_well_formed(text) ? text : undefined;
	}

	/** The text of a presence. The server may add children to the stanza between two calls: mod_presence adds the time. */
	function rest_of(stanza: Stanza): string {
		const children = (stanza as unknown as unknown[]).length;
		const before = kept.get(stanza) as { children: number; rest: string } | undefined;
		if (before && before.children === children) {
			return before.rest;
		}
		const longer = before && before.children < children ? extended(stanza, before.rest, before.children) : undefined;
		const rest = longer ?? presence_rest(stanza);
		kept.set(stanza, { children: children, rest: rest });
		return rest;
	}

	return { rest_of };
}

/** An unavailable presence in that form. */
export function unavailable_rest(from: string): string {
	return attribute("from", from) + " type='unavailable'/>";
}

/** Whether a user with such a roster item sees the contact's presence. */
export function sees_contact(item: RosterItem | undefined): boolean {
	return item !== undefined && (item.subscription === "both" || item.subscription === "to");
}

/** Whether the contact of such a roster item sees the user's presence. */
export function is_seen_by_contact(item: RosterItem | undefined): boolean {
	return item !== undefined && (item.subscription === "both" || item.subscription === "from");
}

/** Decides which connections are told a presence, and tells them. */
export function create_delivery(
	host: string,
	entities: Entities,
	users: Users,
	heard: Heard,
	statistics: Statistics,
	other_hosts: OtherHosts,
) {
	const texts = create_presence_texts();

	/** Whether the grant of a connection's entity covers a user, as far as that is known. */
	function covers(connection: Connection, username: string): boolean {
		return users.covers_as_known(connection.entity.jid, connection.entity.permissions.users, username);
	}

	/** Whether a connection was told of a user whom its entity's grant does not cover any more, and was not told yet that the user is unavailable. */
	function waits_for_end(connection: Connection, username: string): boolean {
		for (const [ending] of pairs(connection.ending)) {
			if (!ending.done.has(username) && users.covers_as_known(connection.entity.jid, ending.coverage, username)) {
				return true;
			}
		}
		return false;
	}

	/** Whether a connection is a client whose user has a JID as a contact, so that the server sends it these presences anyway. */
	function is_own_contact(connection: Connection, contact: string): boolean {
		const roster = connection.session.roster;
		return roster !== undefined && sees_contact(roster.get(contact));
	}

	/** Whether a connection gets the presence of a user if its grant covers the user: not its own one, and none that the server sends it anyway. */
	function may_tell_of(connection: Connection, username: string): boolean {
		const user = username + "@" + host;
		return (
			is_connected(connection)
			&& connection.entity.permissions.presence !== "none"
			&& connection.entity.jid !== user
			&& !is_own_contact(connection, user)
		);
	}

	/** Whether a connection gets the presence of a user who is there already. */
	function may_tell_user(connection: Connection, username: string): boolean {
		return may_tell_of(connection, username) && covers(connection, username);
	}

	/** Whether a connection gets the presence that a user's client broadcasts. */
	function may_tell_broadcast(connection: Connection, session: Session, is_unavailable: boolean): boolean {
		const name = connection.entity.jid;
		const username = session.username!;
		if (!is_connected(connection) || name === username + "@" + host) {
			return false;
		}
		if (!covers(connection, username) && !(is_unavailable && waits_for_end(connection, username))) {
			return false;
		}
		// The server itself sends it to those who are subscribed to the user.
		return !is_seen_by_contact(session.roster && session.roster.get(name));
	}

	/** Whether a connection gets presences of a contact, if a user sees the contact whom its grant covers. */
	function may_tell_contact(connection: Connection, contact: string): boolean {
		const name = connection.entity.jid;
		const [node, contact_host] = jid.split(contact);
		return (
			is_connected(connection)
			&& connection.entity.permissions.presence === "roster"
			&& contact !== name
			&& contact_host !== name
			&& !is_own_contact(connection, contact)
			&& !(node !== undefined && other_hosts.is_told_elsewhere(name, node, contact_host!))
		);
	}

	/** Whether any connection gets what a contact sends to the second of two users, and not what it sends to the first one. */
	function shows_more(username: string, other: string): boolean {
		for (const [, connection] of ipairs(entities.receivers("covered_contacts"))) {
			if (covers(connection, other) && !covers(connection, username)) {
				return true;
			}
		}
		return false;
	}

	/** Tells a connection a presence of a JID. `rest` is its XML text as `presence_rest` returns it. */
	function tell(connection: Connection, from: string, rest: string): void {
		send_text(connection.session, "<presence" + connection.to + rest);
		statistics.count(connection.entity, "presences");
		heard.note(connection, from);
	}

	/** Tells a connection that a user's client is unavailable. The same catch-up may tell of that client again, if the grant covers the user again. */
	function tell_uncovered(connection: Connection, from: string): void {
		tell(connection, from, unavailable_rest(from));
		heard.drop(connection, from);
	}

	/** Tells all connections that get it the presence that a user's client broadcasts. */
	function tell_broadcast(session: Session, stanza: Stanza): void {
		const is_unavailable = stanza.attr.type === "unavailable";
		const directed = is_unavailable ? session.directed : undefined;
		let rest: string | undefined;
		for (const [, connection] of ipairs(entities.receivers("presence"))) {
			if (may_tell_broadcast(connection, session, is_unavailable)) {
				rest = rest ?? texts.rest_of(stanza);
				tell(connection, session.full_jid!, rest);
				// The server would send this to the addresses that the client directed presence to, except to those that the user has blocked since. So it is told here.
				if (directed) {
					directed.delete(connection.address);
					directed.delete(connection.entity.jid);
				}
			}
		}
	}

	/**
	 * Tells all connections that get it a contact's presence, as far as their grants cover all users.
	 *
	 * @param from the contact's bare or full JID
	 * @param stanza the presence; nil for an unavailable one
	 */
	function tell_contact(contact: string, from: string, stanza: Stanza | undefined): void {
		let rest: string | undefined;
		for (const [, connection] of ipairs(entities.receivers("contacts"))) {
			if (may_tell_contact(connection, contact) && (stanza !== undefined || !heard.is_unaware(connection, from))) {
				rest = rest ?? (stanza ? presence_rest(stanza) : unavailable_rest(from));
				tell(connection, from, rest);
			}
		}
	}

	/** Tells these connections a contact's presence again, as it is remembered. */
	function tell_contact_again(contact: string, from: string, form: string): void {
		for (const [, connection] of ipairs(entities.receivers("contacts"))) {
			if (may_tell_contact(connection, contact)) {
				tell(connection, from, form_rest(from, form));
			}
		}
	}

	/**
	 * Collects presences that are there already for one connection, which gets several at a time. `add` and `write` take what
	 * `tell` takes; `add` skips JIDs that the connection was told of. `flush` sends those that are left.
	 */
	function create_collection(connection: Connection) {
		const batch = create_batch(connection.session);
		const start = "<presence" + connection.to;

		function write(from: string, rest: string): void {
			batch.add(start, rest);
			statistics.count(connection.entity, "presences");
			heard.note(connection, from);
		}

		function add(from: string, rest: string): void {
			if (!heard.has(connection, from)) {
				write(from, rest);
			}
		}

		return { add, write, flush: batch.flush };
	}

	return {
		rest_of: texts.rest_of,
		covers,
		may_tell_of,
		may_tell_user,
		may_tell_contact,
		shows_more,
		tell,
		tell_uncovered,
		tell_broadcast,
		tell_contact,
		tell_contact_again,
		create_collection,
	};
}

export type Delivery = ReturnType<typeof create_delivery>;
export type Collection = ReturnType<Delivery["create_collection"]>;
