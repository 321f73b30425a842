import * as jid from "util.jid";
import * as st from "util.stanza";
import { attribute, create_batch, is_well_formed, send_text } from "../prosody/send";
import type { Users } from "../grants/users";
import { is_connected } from "../entities/entities";
import type { Connection, Entities } from "../entities/entities";
import type { Statistics } from "../entities/statistics";

/** What each connection was told while it is being caught up, see `create_catch_up`. */
export interface Heard {
	/** Notes that it was told a presence of a JID. */
	note: (this: void, connection: Connection, from: string) => void;
	/** Takes that back. */
	drop: (this: void, connection: Connection, from: string) => void;
	has: (this: void, connection: Connection, from: string) => boolean;
	/** Whether it was not told of that JID, since it is being caught up and was not yet. */
	is_unaware: (this: void, connection: Connection, from: string) => boolean;
}

/** A presence as XML text, from behind its 'to' on. */
export function presence_rest(stanza: Stanza): string {
	const to = stanza.attr.to;
	stanza.attr.to = undefined;
	const text = tostring(stanza);
	stanza.attr.to = to;
	if (!is_well_formed(text)) {
		// Whether the JID is available is told all the same.
		return attribute("from", stanza.attr.from) + attribute("type", stanza.attr.type) + "/>";
	}
	return string.sub(text, "<presence".length + 1);
}

/** Writes the presences of users' clients in that form, and keeps what it wrote as long as the server has the presence. */
export function create_presence_texts() {
	const end_tag = "</presence>";

	/** By stanza, with the number of the children that the stanza had. */
	const kept = setmetatable(new LuaTable<Stanza, { children: number; rest: string }>(), { __mode: "k" });

	/** A kept text with the children that were added to its stanza since; nil where it has to be written anew. */
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

	/** Writes the presence of a client that is available. The server may add children to it later: mod_presence adds the time. */
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

/** Whether a user, or who has such a roster item, sees the presence of the contact that it is for. */
export function sees_contact(item: RosterItem | undefined): boolean {
	return item !== undefined && (item.subscription === "both" || item.subscription === "to");
}

/** Whether the contact that a roster item is for sees the user's presence. */
export function is_seen_by_contact(item: RosterItem | undefined): boolean {
	return item !== undefined && (item.subscription === "both" || item.subscription === "from");
}

/** Decides which connections are told a presence, and tells them. */
export function create_delivery(host: string, entities: Entities, users: Users, heard: Heard, statistics: Statistics) {
	const texts = create_presence_texts();

	/** Whether the grant of a connection's entity covers a user. */
	function covers(connection: Connection, username: string): boolean {
		return users.covers(connection.entity.jid, connection.entity.permissions.users, username);
	}

	/** Whether a privileged user's client gets presences of a JID as that of the user's own contact. */
	function is_own_contact(connection: Connection, contact: string): boolean {
		const roster = connection.session.roster;
		return roster !== undefined && sees_contact(roster.get(contact));
	}

	/** Whether a connection is to be told of users' presences, and a user's is neither its own nor told by the server. */
	function may_tell_of(connection: Connection, username: string): boolean {
		const user = username + "@" + host;
		return (
			is_connected(connection)
			&& connection.entity.permissions.presence !== "none"
			&& connection.entity.jid !== user
			&& !is_own_contact(connection, user)
		);
	}

	/** Whether a connection is to be told of a user's presence, which is there already: as `may_tell_of`, and the grant covers the user. */
	function may_tell_user(connection: Connection, username: string): boolean {
		return may_tell_of(connection, username) && covers(connection, username);
	}

	/** Whether a connection is to be told of a presence that a user's client broadcasts. */
	function may_tell_broadcast(connection: Connection, session: Session): boolean {
		const name = connection.entity.jid;
		if (!is_connected(connection) || name === session.username! + "@" + host || !covers(connection, session.username!)) {
			return false;
		}
		// The server tells those who see the user.
		return !is_seen_by_contact(session.roster && session.roster.get(name));
	}

	/** Whether a connection is to be told of a contact's presence: as `may_tell_user`, for contacts. Who sees the contact is another question. */
	function may_tell_contact(connection: Connection, contact: string): boolean {
		const name = connection.entity.jid;
		const [, contact_host] = jid.split(contact);
		return (
			is_connected(connection)
			&& connection.entity.permissions.presence === "roster"
			&& contact !== name
			&& contact_host !== name
			&& !is_own_contact(connection, contact)
		);
	}

	/** Tells one connection a presence of a JID, of which `rest` is what `presence_rest` has. */
	function tell(connection: Connection, from: string, rest: string): void {
		send_text(connection.session, "<presence" + connection.to + rest);
		statistics.count(connection.entity, "presences");
		heard.note(connection, from);
	}

	/** Tells one connection that a user's client is unavailable, which it may be told of again in the same catch-up, when the grant covers the user again. */
	function tell_uncovered(connection: Connection, from: string): void {
		tell(connection, from, unavailable_rest(from));
		heard.drop(connection, from);
	}

	/** Tells all who are to be told what a user's client broadcasts. */
	function tell_broadcast(session: Session, stanza: Stanza): void {
		const directed = stanza.attr.type === "unavailable" ? session.directed : undefined;
		let rest: string | undefined;
		for (const [, connection] of ipairs(entities.receivers("presence"))) {
			if (may_tell_broadcast(connection, session)) {
				rest = rest ?? (stanza.attr.type === undefined ? texts.rest_of(stanza) : presence_rest(stanza));
				tell(connection, session.full_jid!, rest);
				// The server would tell it once more, but not one that the user has blocked meanwhile: which of both is not known here.
				if (directed) {
					directed.delete(connection.address);
					directed.delete(connection.entity.jid);
				}
			}
		}
	}

	/**
	 * Tells all who are to be told a contact's presence, and whose grant covers all users.
	 *
	 * @param from the contact's bare or full JID
	 * @param stanza the presence, nil for one that is unavailable
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

	/**
	 * Makes what tells one connection many presences that are there already, which takes what `tell` takes.
	 * `add` tells of each JID once, `write` whatever it is given; `flush` sends what is left.
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
		tell,
		tell_uncovered,
		tell_broadcast,
		tell_contact,
		create_collection,
	};
}

export type Delivery = ReturnType<typeof create_delivery>;
export type Collection = ReturnType<Delivery["create_collection"]>;
