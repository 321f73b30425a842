import * as rostermanager from "core.rostermanager";
import { forget_roster, user_role } from "./accounts";
import { protect } from "./protect";

/** Takes what the server answers a session. */
type Send = (this: void, stanza: Stanza | string) => boolean;

/** Sends stanzas as clients of the host's users do. */
export function create_act_as(host: string, log: Log) {
	const when_sent = "while a stanza was sent as %s";

	const metatable = {
		// Few handlers look at the roster, and an offline user's has to be loaded.
		__index: (session: Session, key: string) => {
			if (key !== "roster") {
				return undefined;
			}
			session.roster = rostermanager.load_roster(session.username!, host)[0];
			return session.roster;
		},
	};

	/** Ends such a session, of which nothing has to be told to anybody. */
	function close(): void {
		// There is no connection.
	}

	/**
	 * Makes a session that acts for a user; what the server answers it goes to `send`.
	 *
	 * It carries what handlers of stanzas read of a client's session. It is not
	 * among the server's sessions, and so never an entity itself.
	 */
	function act_as(username: string, send: Send): Session {
		return setmetatable(
			{
				type: "c2s",
				username: username,
				host: host,
				full_jid: username + "@" + host,
				role: user_role(username, host),
				send: send,
				close: close,
				log: log,
			},
			metatable as never,
		);
	}

	// What `put_online` has added and `take_offline` has not removed, by the table of clients, of which there are none.
	const entries = new LuaTable<object, { session: Session; user: User }>();

	const user_metatable = {
		__index: (user: User, key: string) => {
			const entry = entries.get(user.sessions) as { session: Session } | undefined;
			return key === "roster" && entry ? entry.session.roster : undefined;
		},
	};

	const clients_metatable = {
		// Where the user logs in meanwhile, the entry is that of a user who is online.
		__newindex: (clients: LuaTable<string, Session>, resource: string, client: Session) => {
			rawset(clients as never, resource, client as never);
			const entry = entries.get(clients) as { session: Session; user: User } | undefined;
			if (entry) {
				rawset(prosody.bare_sessions as never, entry.session.full_jid!, entry.user as never);
				entries.delete(clients);
			}
		},
	};

	/** Adds an entry without clients for a user who is not online. */
	function put_online(session: Session): User {
		const clients = setmetatable(new LuaTable<string, Session>(), clients_metatable as never);
		const user: User = setmetatable({ sessions: clients }, user_metatable as never);
		entries.set(clients, { session: session, user: user });
		rawset(prosody.hosts.get(host).sessions as unknown as Record<string, User>, session.username!, user);
		return user;
	}

	/** Removes that entry again, unless the user has come meanwhile. */
	function take_offline(username: string, user: User): void {
		entries.delete(user.sessions);
		const owner = prosody.hosts.get(host) as Host | undefined;
		const users = owner && owner.sessions;
		if (!users || users.get(username) !== user) {
			return;
		}
		if (next(user.sessions)[0] === undefined) {
			users.delete(username);
		}
	}

	/**
	 * Sends a stanza as a client of a user does, whether the user is online or not.
	 *
	 * Handlers of what clients send look up the clients of the sender without asking whether there are any
	 * (mod_blocklist), and find the roster there (save_roster): while it is handled, a user who is offline has an entry without
	 * clients. Afterwards nothing of that user is left in memory, not the roster either.
	 *
	 * @param send takes what the server answers; it may be called later, too
	 * @returns false where a handler of another module raised an error
	 */
	function send_as(username: string, stanza: Stanza, send: Send): boolean {
		const session = act_as(username, send);
		const is_online = prosody.hosts.get(host).sessions!.has(username);
		const user = is_online ? undefined : put_online(session);
		const done = protect(log, when_sent, session.full_jid!, () => {
			prosody.core_post_stanza(session, stanza, true);
			// Its end: mod_register answers the removal of an account in a `close` of its own.
			session.close!();
			return true;
		});
		if (user) {
			take_offline(username, user);
			forget_roster(username, host);
		}
		return done === true;
	}

	/** Sends a stanza as the host; false where a handler of another module raised an error. */
	function send_as_host(stanza: Stanza): boolean {
		return (
			protect(log, when_sent, host, () => {
				prosody.core_post_stanza(prosody.hosts.get(host), stanza);
				return true;
			}) === true
		);
	}

	return { act_as: act_as, send_as: send_as, send_as_host: send_as_host };
}
export type Acting = ReturnType<typeof create_act_as>;
export type ActAs = Acting["act_as"];
