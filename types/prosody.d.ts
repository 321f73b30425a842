/**
 * Prosody's global `prosody`, its sessions, hosts and events.
 */

type Stanza = import("util.stanza").Stanza;
type Attributes = import("util.stanza").Attributes;
type Roster = import("core.rostermanager").Roster;
type RosterItem = import("core.rostermanager").RosterItem;
type RosterMetadata = import("core.rostermanager").RosterMetadata;

type LogLevel = "debug" | "info" | "warn" | "error";
/** Writes a line to the log; `format` is that of Lua's string.format, where %s takes any value. */
type Log = (this: void, level: LogLevel, format: string, ...values: unknown[]) => void;

/** What a handler answers: true ends the event, nil passes it on to the next handler. */
type Handled = boolean | undefined;

/**
 * Where a stanza comes from: the stream of a client, a component or a server, or,
 * for stanzas that the server itself or an internal component sends, the host.
 */
interface Session {
	/** "c2s", "component", "s2sin", "s2sout", … once authenticated; nil or another after the end. */
	type?: string | undefined;
	/** The host that a client or component authenticated as. */
	host: string;
	/** Node part of a client's JID. */
	username?: string | undefined;
	resource?: string | undefined;
	/** A client's full JID, once it has bound a resource. */
	full_jid?: string | undefined;
	/** True where the client has asked for its roster, and so is pushed changes. */
	interested?: boolean;
	/** The last available presence that a client broadcast, nil while it is not available. */
	presence?: Stanza | undefined;
	/** Where a client sent directed presence to, as keys. */
	directed?: LuaTable<string, true> | undefined;
	roster?: Roster;
	role?: import("core.usermanager").Role | undefined;
	/** Set when the connection has ended. */
	destroyed?: boolean | undefined;
	/** Sends a stanza down the stream. A component's stream takes XML text as well. */
	send: (this: void, stanza: Stanza | string) => boolean | undefined;
	close?: (this: Session, reason?: unknown) => void;
	log?: Log;
}

/** The sessions of one user. */
interface User {
	/** By resource. */
	sessions: LuaTable<string, Session>;
	roster?: Roster;
}

/** @noSelf */
interface Events {
	fire_event(event: string, data?: object): unknown;
	add_handler(event: string, handler: (this: void, data: never) => unknown, priority?: number): void;
	remove_handler(event: string, handler: (this: void, data: never) => unknown): void;
}

/** An active host; it is also the origin of what the server itself sends. */
interface Host extends Session {
	events: Events;
	/** Users with at least one client connected, by name. Virtual hosts only. */
	sessions?: LuaTable<string, User>;
	/** The environments of the modules loaded, by name. */
	modules: LuaTable<string, object>;
	/** The rosters of users without clients that were read last, by bare JID; a util.cache. 0.10 and later. */
	roster_cache?: { get(user: string): Roster | undefined; set(user: string, roster: Roster | undefined): void };
}

/** The environment of mod_component on the host of an external component. */
interface ComponentModule {
	/** Whether a component is connected. */
	connected: boolean;
	/** Its stream, false where none is connected. 0.10 and later. */
	session?: Session | false;
}

/** @noSelf */
interface Prosody {
	/** "0.12.3", say. */
	version: string;
	/** Folders; that of the data is absolute. */
	paths: { data: string };
	hosts: LuaTable<string, Host>;
	events: Events;
	/** Clients of all hosts by full JID. */
	full_sessions: LuaTable<string, Session>;
	/** Users of all hosts with clients connected, by bare JID. */
	bare_sessions: LuaTable<string, User>;
	/**
	 * Routes a stanza that `origin` sends. With `preevents`, as one from a client:
	 * the `pre-…` events of the origin's host are fired first.
	 */
	core_post_stanza(origin: Session, stanza: Stanza, preevents?: boolean): void;
}

declare const prosody: Prosody;

/** "message/bare", "iq-get/host/NAMESPACE:NAME", "pre-presence/full", … */
type StanzaEventName = `${"" | "pre-"}${"message" | "presence" | "iq"}/${string}` | `iq-${"get" | "set" | "result" | "error"}/${string}`;

/** Of every stanza on its way. */
interface StanzaEvent {
	origin: Session;
	stanza: Stanza;
}

/** Of `component-authenticated`, `component-disconnected`, `resource-unbind`. */
interface SessionEvent {
	session: Session;
}

/** Of `delivery/failure` (mod_smacks): a client is gone and has not acknowledged a stanza (XEP-0198). */
interface DeliveryEvent {
	session: Session;
	/** A copy of what was sent. */
	stanza: Stanza;
}

/** Of `user-deleted`: the account is gone, what it stored is still there. */
interface UserEvent {
	username: string;
	host: string;
}

/** Of `roster-item-removed` (0.10 and later): an item is about to be removed. */
interface RosterItemEvent {
	username: string;
	/** The contact's bare JID. */
	jid: string;
	item?: RosterItem;
	/** The client that removes it, or what acts for the user. */
	origin?: Session;
}
