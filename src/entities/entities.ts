import { attribute } from "../prosody/send";
import { authenticated_jid } from "../prosody/streams";
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

/** Connections by what they are told of. */
interface Receivers {
	/** presences of the host's users */
	presence: Connection[];
	/** presences of contacts, of all users */
	contacts: Connection[];
	/** presences of contacts, of the users whom the grant covers */
	covered_contacts: Connection[];
	/** roster changes */
	push: Connection[];
}

/** Whether the entity is still there: its stream counts and, for a user, the client is available. */
export function is_connected(connection: Connection): boolean {
	const session = connection.session;
	if (session.type === "component") {
		return authenticated_jid(session) !== undefined;
	}
	return session.type === "c2s" && session.presence !== undefined;
}

/** Who was granted something on this host, and who of them is connected. */
export function create_entities() {
	let by_jid = new LuaTable<string, Entity>();
	let has_opt_ins = false;
	let receivers_by_kind: Receivers | undefined;

	/** The entity of a JID, nil where it is granted nothing. */
	function get(name: string): Entity | undefined {
		return by_jid.get(name);
	}

	/** The entity that authenticated on a stream, nil where it is none. */
	function of(session: Session): Entity | undefined {
		const name = authenticated_jid(session);
		return name !== undefined ? by_jid.get(name) : undefined;
	}

	/** All entities by their JIDs. */
	function all(): LuaTable<string, Entity> {
		return by_jid;
	}

	/** Whether users can opt in to any entity. */
	function takes_opt_ins(): boolean {
		return has_opt_ins;
	}

	/** Replaces what is granted, by JID. Connections stay where the entity does; returns the entities that are none any more. */
	function grant(grants: LuaTable<string, Permissions>): Entity[] {
		const granted = new LuaTable<string, Entity>();
		has_opt_ins = false;
		for (const [name, permissions] of pairs(grants)) {
			const entity = (by_jid.get(name) as Entity | undefined) ?? {
				jid: name,
				permissions: permissions,
				connections: [],
				counts: no_counts(),
			};
			entity.permissions = permissions;
			has_opt_ins = has_opt_ins || permissions.users === "opted-in";
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
		receivers_by_kind = undefined;
		return gone;
	}

	/** Takes the connections that pass a test out of an entity's list. */
	function remove_connections(entity: Entity, test: (this: void, connection: Connection) => boolean): void {
		const connections = entity.connections;
		for (const i of $range(connections.length, 1, -1)) {
			if (test(connections[i - 1]!)) {
				table.remove(connections, i);
				receivers_by_kind = undefined;
			}
		}
	}

	/** Forgets a stream. */
	function disconnect(session: Session): void {
		for (const [, entity] of pairs(by_jid)) {
			remove_connections(entity, (connection) => connection.session === session);
		}
	}

	/** Notes a stream of an entity, which takes the place of those that do not count any more. */
	function connect(entity: Entity, session: Session): Connection {
		remove_connections(entity, (connection) => connection.session === session || !is_connected(connection));
		const address = session.full_jid ?? session.host;
		const connection: Connection = {
			entity: entity,
			session: session,
			address: address,
			to: attribute("to", address),
			advertised: new LuaTable(),
			since: os.time(),
		};
		entity.connections.push(connection);
		receivers_by_kind = undefined;
		return connection;
	}

	function sort_receivers(): Receivers {
		const sorted: Receivers = { presence: [], contacts: [], covered_contacts: [], push: [] };
		for (const [, entity] of pairs(by_jid)) {
			for (const [, connection] of ipairs(entity.connections)) {
				if (entity.permissions.presence !== "none") {
					sorted.presence.push(connection);
				}
				if (entity.permissions.presence === "roster" && entity.permissions.users === "all") {
					sorted.contacts.push(connection);
				} else if (entity.permissions.presence === "roster") {
					sorted.covered_contacts.push(connection);
				}
				if (entity.permissions.push) {
					sorted.push.push(connection);
				}
			}
		}
		return sorted;
	}

	/** The connections that are told of something by their permissions; the list is kept until one of them changes. */
	function receivers(kind: keyof Receivers): Connection[] {
		receivers_by_kind = receivers_by_kind ?? sort_receivers();
		return receivers_by_kind[kind];
	}

	/** When the streams came, as os.time() has it, for `restore_since` after a reload of the module. */
	function connected_since(): LuaTable<Session, number> {
		const since = new LuaTable<Session, number>();
		for (const [, entity] of pairs(by_jid)) {
			for (const [, connection] of ipairs(entity.connections)) {
				since.set(connection.session, connection.since);
			}
		}
		return since;
	}

	/** Takes over when the streams came. */
	function restore_since(since: LuaTable<Session, number>): void {
		for (const [, entity] of pairs(by_jid)) {
			for (const [, connection] of ipairs(entity.connections)) {
				connection.since = since.get(connection.session) ?? connection.since;
			}
		}
	}

	return {
		get: get,
		of: of,
		all: all,
		takes_opt_ins: takes_opt_ins,
		grant: grant,
		connect: connect,
		disconnect: disconnect,
		receivers: receivers,
		connected_since: connected_since,
		restore_since: restore_since,
	};
}
export type Entities = ReturnType<typeof create_entities>;
