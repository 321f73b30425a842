import * as jid from "util.jid";
import { keys_of } from "../prosody/keys";
import type { Connection } from "../entities/entities";

/** What a connection was told since its catch-ups began. */
export interface HeardOf {
	/** The JIDs whose presences it was told, as keys: full ones, and bare ones of contacts. */
	jids: LuaTable<string, true>;
	/** Whether it was told of other contacts before. */
	has_earlier: boolean;
	/** How many catch-ups are running. */
	runs: number;
}

/**
 * Keeps the JIDs whose presences connections are told while they are being caught up. A catch-up skips these: what the
 * connection was told is the same presence or a newer one.
 */
export function create_heard() {
	const by_connection = new LuaTable<Connection, HeardOf>();

	/** What a connection was told since its catch-ups began; nil if none is running. */
	function of(connection: Connection): HeardOf | undefined {
		return by_connection.get(connection);
	}

	/** Begins to keep them for a catch-up. Returns a token for `is_kept` and `release`. */
	function begin(connection: Connection): HeardOf {
		const heard = of(connection) ?? { jids: new LuaTable<string, true>(), has_earlier: false, runs: 0 };
		heard.runs = heard.runs + 1;
		by_connection.set(connection, heard);
		return heard;
	}

	/** Whether the catch-up that got a token may go on. */
	function is_kept(connection: Connection, heard: HeardOf): boolean {
		return of(connection) === heard;
	}

	/** Ends a catch-up. */
	function release(connection: Connection, heard: HeardOf): void {
		heard.runs = heard.runs - 1;
		if (heard.runs === 0 && is_kept(connection, heard)) {
			by_connection.delete(connection);
		}
	}

	/** Forgets all that a connection was told, which ends its catch-ups. */
	function forget(connection: Connection): void {
		by_connection.delete(connection);
	}

	/** Forgets the JIDs of a connection that are not of a host. */
	function forget_others(connection: Connection, host: string): void {
		const heard = of(connection);
		if (heard) {
			for (const [, from] of ipairs(keys_of(heard.jids))) {
				const [, from_host] = jid.split(from);
				if (from_host !== host) {
					heard.jids.delete(from);
				}
			}
		}
	}

	/** Notes that a connection was told of a JID, if it is being caught up. */
	function note(connection: Connection, from: string): void {
		const heard = of(connection);
		if (heard) {
			heard.jids.set(from, true);
		}
	}

	/** Forgets that a connection was told of a JID. */
	function drop(connection: Connection, from: string): void {
		const heard = of(connection);
		if (heard) {
			heard.jids.delete(from);
		}
	}

	/** Whether a connection is being caught up and was told of a JID meanwhile. */
	function has(connection: Connection, from: string): boolean {
		const heard = of(connection);
		return heard !== undefined && heard.jids.has(from);
	}

	/** Notes that a connection was told of contacts before its catch-ups began, if any is running. */
	function note_earlier(connection: Connection): void {
		const heard = of(connection);
		if (heard) {
			heard.has_earlier = true;
		}
	}

	/** Whether a connection is being caught up for the first time and was not told of a contact's JID yet. */
	function is_unaware(connection: Connection, from: string): boolean {
		const heard = of(connection);
		return heard !== undefined && !heard.has_earlier && !heard.jids.has(from);
	}

	return { begin, is_kept, release, forget, forget_others, note, drop, has, note_earlier, is_unaware };
}
export type Heard = ReturnType<typeof create_heard>;
