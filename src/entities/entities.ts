import { attribute } from "../prosody/send";
import { authenticated_jid } from "../prosody/streams";
import { grants_anything, no_permissions } from "../grants/permissions";
import type { Coverage, Permissions } from "../grants/permissions";

/** What is counted of each entity. */
export type Statistic = "messages" | "iqs" | "roster_gets" | "roster_sets" | "pushes" | "presences" | "refusals";

/** The counts of one entity. */
export type Counts = Record<Statistic, number>;

function no_counts(): Counts {
	return { messages: 0, iqs: 0, roster_gets: 0, roster_sets: 0, pushes: 0, presences: 0, refusals: 0 };
}

/** An entity that is granted nothing yet. */
function new_entity(name: string): Entity {
	return { jid: name, permissions: no_permissions(), connections: [], counts: no_counts() };
}

/** The users whom a grant covered before and who are ended, for a connection, if it does not cover them any more. */
export interface UncoveredUsers {
	coverage: Coverage;
	/** The names of those who had their turn, as keys. */
	done: LuaTable<string, true>;
}

/** A stream of an entity. */
export interface Connection {
	entity: Entity;
	session: Session;
	/** The address of the entity on it: the domain of a component, the full JID of a user. */
	address: string;
	/** The attribute 'to' with this address, as XML text. */
	to: string;
	/** The permissions that the entity was told last, by namespace. */
	advertised: LuaTable<string, Permissions>;
	/** Whether it has to be told its permissions again, as the module was reloaded. */
	is_restored: boolean;
	/** The users who are being ended for it, as keys. */
	ending: LuaTable<UncoveredUsers, true>;
	/** When the entity connected, as os.time() gives it. */
	since: number;
}

/** A component or user with an entry in the host's `privileged_entities`. */
export interface Entity {
	/** A domain or a bare JID, prepared. */
	jid: string;
	permissions: Permissions;
	connections: Connection[];
	/** Counted since the module was loaded or the entity got its entry. */
	counts: Counts;
}

/** The connections that get presences and roster pushes. */
interface Receivers {
	/** Of the host's users. */
	presence: Connection[];
	/** Of contacts of all users. */
	contacts: Connection[];
	/** Of contacts of the users whom the grant covers. */
	covered_contacts: Connection[];
	/** Roster pushes. */
	push: Connection[];
}

/** What stays of a connection when the module is reloaded. */
type SavedConnection = Pick<Connection, "advertised" | "ending" | "since">;

/** What the streams of entities were told, and when they connected, to be restored after a reload. */
export type SavedConnections = LuaTable<Session, SavedConnection>;

/** Whether an entity is still there: its stream counts (see `authenticated_jid`); for a user, the client is available. */
export function is_connected(connection: Connection): boolean {
	const session = connection.session;
	if (session.type === "component") {
		return authenticated_jid(session) !== undefined;
	}
	return session.type === "c2s" && session.presence !== undefined;
}

/**
 * Calls a function with each connection of an entity that is still there. From the last one to the first, since sending may end a
 * connection, which is then removed from the list.
 */
export function each_connection(entity: Entity, visit: (this: void, connection: Connection) => void): void {
	for (const i of $range(entity.connections.length, 1, -1)) {
		const connection = entity.connections[i - 1];
		if (connection && is_connected(connection)) {
			visit(connection);
		}
	}
}

/** Holds the entities of a host: their permissions, their connections and their counts. */
export function create_entities() {
	let by_jid = new LuaTable<string, Entity>();
	let has_opt_ins = false;
	let receivers_by_kind: Receivers | undefined;

	/** The entity with a JID, nil where there is none. */
	function get(name: string): Entity | undefined {
		return by_jid.get(name);
	}

	/** The entity that authenticated on a stream, nil where that is no entity of this host. */
	function of(session: Session): Entity | undefined {
		const name = authenticated_jid(session);
		return name !== undefined ? by_jid.get(name) : undefined;
	}

	/** All entities by JID. */
	function all(): LuaTable<string, Entity> {
		return by_jid;
	}

	/** Whether users can opt in to any entity. */
	function takes_opt_ins(): boolean {
		return has_opt_ins;
	}

	/** Replaces all grants, which come by JID. Entities that stay keep their connections. Returns those that have no grant any more. */
	function grant(grants: LuaTable<string, Permissions>): Entity[] {
		const granted = new LuaTable<string, Entity>();
		has_opt_ins = false;
		for (const [name, permissions] of pairs(grants)) {
			const entity = (by_jid.get(name) as Entity | undefined) ?? new_entity(name);
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

	/** Removes those connections of an entity that pass a test. */
	function remove_connections(entity: Entity, test: (this: void, connection: Connection) => boolean): void {
		const connections = entity.connections;
		for (const i of $range(connections.length, 1, -1)) {
			if (test(connections[i - 1]!)) {
				table.remove(connections, i);
				receivers_by_kind = undefined;
			}
		}
	}

	/** Removes the connection that belongs to a stream. */
	function disconnect(session: Session): void {
		for (const [, entity] of pairs(by_jid)) {
			remove_connections(entity, (connection) => connection.session === session);
		}
	}

	/** Adds a stream of an entity, and removes connections that do not count any more. */
	function connect(entity: Entity, session: Session): Connection {
		remove_connections(entity, (connection) => connection.session === session || !is_connected(connection));
		const address = session.full_jid ?? session.host;
		const connection: Connection = {
			entity: entity,
			session: session,
			address: address,
			to: attribute("to", address),
			advertised: new LuaTable(),
			is_restored: false,
			ending: new LuaTable(),
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

	/** The connections that get presences or pushes of a kind. The list is cached until a connection or a permission changes. */
	function receivers(kind: keyof Receivers): Connection[] {
		receivers_by_kind = receivers_by_kind ?? sort_receivers();
		return receivers_by_kind[kind];
	}

	/** The state of the connections, for `restore` after a reload of the module. */
	function save(): SavedConnections {
		const saved: SavedConnections = new LuaTable();
		for (const [, entity] of pairs(by_jid)) {
			for (const [, connection] of ipairs(entity.connections)) {
				saved.set(connection.session, {
					advertised: connection.advertised,
					ending: connection.ending,
					since: connection.since,
				});
			}
		}
		return saved;
	}

	/** Takes over what `save` gave, where no entity is there yet. These are granted nothing until `grant` is called. */
	function restore(saved: SavedConnections): void {
		for (const [session, before] of pairs(saved)) {
			const name = authenticated_jid(session);
			if (name !== undefined) {
				const entity = (by_jid.get(name) as Entity | undefined) ?? new_entity(name);
				by_jid.set(name, entity);
				const connection = connect(entity, session);
				connection.advertised = before.advertised;
				connection.ending = before.ending;
				connection.since = before.since;
				connection.is_restored = true;
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
		save: save,
		restore: restore,
	};
}
export type Entities = ReturnType<typeof create_entities>;

/** How many entities there are and how many of them are connected, for the status of the module. */
export function describe_entities(entities: Entities): string {
	let granted = 0;
	let connected = 0;
	for (const [, entity] of pairs(entities.all())) {
		granted = granted + (grants_anything(entity.permissions) ? 1 : 0);
		connected = connected + (entity.connections.length > 0 ? 1 : 0);
	}
	return string.format("%d granted, %d connected", granted, connected);
}
