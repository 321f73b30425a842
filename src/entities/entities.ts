import { attribute } from "../prosody/send";
import { no_permissions } from "../grants/permissions";
import type { Permissions } from "../grants/permissions";

/** What is counted, for each entity and as metrics of the host. */
export type Statistic = "messages" | "iqs" | "roster_gets" | "roster_sets" | "pushes" | "presences" | "refusals";

/** How often an entity did each, or had it done to it. */
export type Counts = Record<Statistic, number>;

export function no_counts(): Counts {
	return { messages: 0, iqs: 0, roster_gets: 0, roster_sets: 0, pushes: 0, presences: 0, refusals: 0 };
}

/** A stream of an entity, which was told its permissions. */
export interface Connection {
	entity: Entity;
	session: Session;
	/** Where it is told things: the component's domain, the user's full JID. */
	address: string;
	/** That as the attribute 'to', in XML text. */
	to: string;
	/** What it was told last, by namespace. */
	advertised: LuaTable<string, Permissions>;
	/** While it is told who is online: the full JIDs that it has heard of meanwhile. */
	heard: LuaTable<string, true> | undefined;
	/** When it came, as os.time() has it. */
	since: number;
}

/** Somebody who was granted something on this host. */
export interface Entity {
	/** A domain or a bare JID, prepared. */
	jid: string;
	permissions: Permissions;
	connections: Connection[];
	/** What it did since it was granted something. */
	counts: Counts;
}

/** Who was granted something on this host, and who of them is connected. */
export interface Entities {
	/** The entity that authenticated on a session, nil where it is none. */
	of: (this: void, session: Session) => Entity | undefined;
	/** The entity of a JID. */
	get: (this: void, jid: string) => Entity | undefined;
	all: (this: void) => LuaTable<string, Entity>;
	/** Replaces what is granted. Connections stay where the entity does; the gone entities are returned. */
	grant: (this: void, grants: LuaTable<string, Permissions>) => Entity[];
	/** Notes a stream of an entity. */
	connect: (this: void, entity: Entity, session: Session) => Connection;
	/** Forgets a stream. */
	disconnect: (this: void, session: Session) => void;
	/** When the streams came, to be restored after a reload. */
	connected_since: (this: void) => LuaTable<Session, number>;
	restore_since: (this: void, since: LuaTable<Session, number>) => void;
	/** The connections whose entities' permissions pass the test; kept until something changes. */
	receivers: (this: void, of: keyof Receivers) => Connection[];
}

/** Connections by what they are told of. */
interface Receivers {
	/** presences of the host's users */
	presence: Connection[];
	/** presences of contacts */
	contacts: Connection[];
	/** roster changes */
	push: Connection[];
}

/** Whether the entity is still there: its stream stands and, for a user, the client is available. */
export function is_connected(connection: Connection): boolean {
	const session = connection.session;
	return session.type === "component" || (session.type === "c2s" && session.presence !== undefined);
}

export function create_entities(): Entities {
	let by_jid = new LuaTable<string, Entity>();
	let receivers: Receivers | undefined;

	/**
	 * A stream counts for what the server authenticated it as: an external component's
	 * own host, a bound client's own account. The addresses in stanzas play no part, nor do
	 * other servers' streams, internal components (their session is the host itself) and
	 * sessions made up by modules.
	 */
	function of(session: Session): Entity | undefined {
		if (session.type === "component") {
			const host = prosody.hosts.get(session.host) as Host | undefined;
			return host && host !== session ? by_jid.get(session.host) : undefined;
		}
		if (session.type === "c2s" && session.full_jid !== undefined && prosody.full_sessions.get(session.full_jid) === session) {
			return by_jid.get(session.username! + "@" + session.host);
		}
		return undefined;
	}

	function grant(grants: LuaTable<string, Permissions>): Entity[] {
		const granted = new LuaTable<string, Entity>();
		for (const [name, permissions] of pairs(grants)) {
			const entity = (by_jid.get(name) as Entity | undefined) ?? { jid: name, permissions: permissions, connections: [], counts: no_counts() };
			entity.permissions = permissions;
			granted.set(name, entity);
		}
		const gone: Entity[] = [];
		for (const [name, entity] of pairs(by_jid)) {
			if (!granted.has(name)) {
				entity.permissions = no_permissions();
				gone.push(entity);
			}
		}
		by_jid = granted;
		receivers = undefined;
		return gone;
	}

	function disconnect(session: Session): void {
		for (const [, entity] of pairs(by_jid)) {
			const connections = entity.connections;
			for (const i of $range(connections.length, 1, -1)) {
				if (connections[i - 1]!.session === session) {
					table.remove(connections, i);
					receivers = undefined;
				}
			}
		}
	}

	function connect(entity: Entity, session: Session): Connection {
		disconnect(session);
		const address = session.full_jid ?? session.host;
		const connection: Connection = {
			entity: entity,
			session: session,
			address: address,
			to: attribute("to", address),
			advertised: new LuaTable(),
			heard: undefined,
			since: os.time(),
		};
		entity.connections.push(connection);
		receivers = undefined;
		return connection;
	}

	function sort_receivers(): Receivers {
		const sorted: Receivers = { presence: [], contacts: [], push: [] };
		for (const [, entity] of pairs(by_jid)) {
			for (const [, connection] of ipairs(entity.connections)) {
				if (entity.permissions.presence !== "none") {
					sorted.presence.push(connection);
				}
				if (entity.permissions.presence === "roster") {
					sorted.contacts.push(connection);
				}
				if (entity.permissions.push) {
					sorted.push.push(connection);
				}
			}
		}
		return sorted;
	}

	return {
		of: of,
		get: (name) => by_jid.get(name),
		all: () => by_jid,
		grant: grant,
		connect: connect,
		disconnect: disconnect,
		connected_since: () => {
			const since = new LuaTable<Session, number>();
			for (const [, entity] of pairs(by_jid)) {
				for (const [, connection] of ipairs(entity.connections)) {
					since.set(connection.session, connection.since);
				}
			}
			return since;
		},
		restore_since: (since) => {
			for (const [, entity] of pairs(by_jid)) {
				for (const [, connection] of ipairs(entity.connections)) {
					connection.since = (since.get(connection.session)) ?? connection.since;
				}
			}
		},
		receivers: (kind) => {
			receivers = receivers ?? sort_receivers();
			return receivers[kind];
		},
	};
}
