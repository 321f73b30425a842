import { create_batch, send_text } from "../prosody/send";
import type { Batch } from "../prosody/send";
import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";
import { is_connected } from "../entities/entities";
import type { Connection, Entities } from "../entities/entities";
import type { Statistics } from "../entities/statistics";

/** A presence as XML text with another 'to'. */
function text_with_to(stanza: Stanza, address: string | undefined): string {
	const to = stanza.attr.to;
	stanza.attr.to = address;
	const text = tostring(stanza);
	stanza.attr.to = to;
	return text;
}

/** A presence as XML text, from behind "<presence" on and without its 'to'. */
export function presence_rest(stanza: Stanza): string {
	return string.sub(text_with_to(stanza, undefined), "<presence".length + 1);
}

/** A presence to an entity as XML text, of which `rest` is what `presence_rest` has. */
export function presence_text(connection: Connection, rest: string): string {
	return "<presence" + connection.to + rest;
}

/** Sends an entity such a presence. */
export function send_presence(connection: Connection, rest: string): void {
	send_text(connection.session, presence_text(connection, rest));
}

/** The presences of the host's users (XEP-0356, 7.1). */
export interface UserPresence {
	/** Handles the presence that a client broadcasts. */
	broadcast: (this: void, event: StanzaEvent) => Handled;
	/**
	 * Tells an entity who is online, and then calls back.
	 * @param heard the full JIDs that it has heard of since that began
	 */
	catch_up: (this: void, connection: Connection, heard: LuaTable<string, true>, done: (this: void) => void) => void;
}

export function create_user_presence(host: string, entities: Entities, add_timer: AddTimer, statistics: Statistics): UserPresence {
	/** Whether the server tells an entity of a client's presence by itself. */
	function hears_anyway(connection: Connection, user: string, session: Session, unavailable: boolean): boolean {
		const name = connection.entity.jid;
		if (name === user) {
			return true;
		}
		const item = session.roster && session.roster.get(name) as RosterItem | undefined;
		if (item && (item.subscription === "both" || item.subscription === "from")) {
			return true;
		}
		return unavailable && session.directed !== undefined && (session.directed.has(connection.address) || session.directed.has(name));
	}

	function broadcast(event: StanzaEvent): Handled {
		const stanza = event.stanza;
		const presence_type = stanza.attr.type;
		if (stanza.attr.to !== undefined || (presence_type !== undefined && presence_type !== "unavailable")) {
			return undefined;
		}
		const session = event.origin;
		if (session.full_jid === undefined) {
			return undefined;
		}
		const user = session.username! + "@" + host;
		let rest: string | undefined;
		for (const [, connection] of ipairs(entities.receivers("presence"))) {
			if (is_connected(connection) && !hears_anyway(connection, user, session, presence_type === "unavailable")) {
				rest = rest ?? presence_rest(stanza);
				send_presence(connection, rest);
				statistics.count(connection.entity, "presences");
				if (connection.heard) {
					connection.heard.set(session.full_jid, true);
				}
			}
		}
		return undefined;
	}

	/** Whether a privileged user's client asks for the presences of this user itself. */
	function probes_itself(connection: Connection, username: string): boolean {
		const roster = connection.session.roster;
		const user = username + "@" + host;
		const item = roster && roster.get(user) as RosterItem | undefined;
		return user === connection.entity.jid || (item !== undefined && (item.subscription === "both" || item.subscription === "to"));
	}

	function send_presences_of(connection: Connection, batch: Batch, heard: LuaTable<string, true>, username: string): void {
		const user = prosody.hosts.get(host).sessions!.get(username) as User | undefined;
		if (!user || probes_itself(connection, username)) {
			return;
		}
		for (const [, session] of pairs(user.sessions)) {
			if (session.presence && !heard.has(session.full_jid!)) {
				batch.add(text_with_to(session.presence, connection.address));
				statistics.count(connection.entity, "presences");
			}
		}
	}

	function catch_up(connection: Connection, heard: LuaTable<string, true>, done: (this: void) => void): void {
		const usernames: string[] = [];
		for (const [username] of pairs(prosody.hosts.get(host).sessions!)) {
			usernames.push(username);
		}
		const batch = create_batch(connection.session);
		in_slices(add_timer, usernames, (username) => {
			if (!is_connected(connection) || connection.entity.permissions.presence === "none") {
				return false;
			}
			send_presences_of(connection, batch, heard, username);
			return true;
		}, batch.flush, done);
	}

	return { broadcast: broadcast, catch_up: catch_up };
}
