import * as rostermanager from "core.rostermanager";
import { forget_roster, user_role } from "./accounts";
import { protect } from "./protect";

/** Takes the server's answers to a session. */
type Send = (this: void, stanza: Stanza | string) => boolean;

/** Sends stanzas in the name of users of a host, as clients of theirs would. */
export function create_act_as(host: string, log: Log) {
	const when_sent = "while a stanza was sent as %s";

	const metatable = {
		// Few handlers look at the roster, and an offline user's roster has to be loaded for that.
		__index: (session: Session, key: string) => {
			if (key !== "roster") {
				return undefined;
			}
			session.roster = rostermanager.load_roster(session.username!, host)[0];
			return session.roster;
		},
	};

	/** Ends such a session. Nobody has to be told. */
	function close(): void {
		// There is no connection.
	}

	/**
	 * Makes a session that acts for a user. The server's answers go to `send`.
	 *
	 * It has the fields that handlers of stanzas read from a client's session. It is not one of the server's sessions, so it
	 * can never be an entity itself.
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

	// The entries that `put_online` added and `take_offline` has not removed yet, by their (empty) tables of clients.
	const entries = new LuaTable<object, { session: Session; user: User }>();

	const user_metatable = {
		__index: (user: User, key: string) => {
			const entry = entries.get(user.sessions) as { session: Session } | undefined;
			return key === "roster" && entry ? entry.session.roster : undefined;
		},
	};

	const clients_metatable = {
		// If the user logs in meanwhile, the server goes on with the entry.
		__newindex: (clients: LuaTable<string, Session>, resource: string, client: Session) => {
			rawset(clients as never, resource, client as never);
			const entry = entries.get(clients) as { session: Session; user: User } | undefined;
			if (entry) {
				rawset(prosody.bare_sessions as never, entry.session.full_jid!, entry.user as never);
				entries.delete(clients);
			}
		},
	};

	/** Adds an entry without clients for an offline user to the host's sessions. */
	function put_online(session: Session): User {
		const clients = setmetatable(new LuaTable<string, Session>(), clients_metatable as never);
		const user: User = setmetatable({ sessions: clients }, user_metatable as never);
		entries.set(clients, { session: session, user: user });
		rawset(prosody.hosts.get(host).sessions as unknown as Record<string, User>, session.username!, user);
		return user;
	}

	/** Removes that entry again, unless the user has logged in meanwhile. */
	function take_offline(username: string, user: User): void {
		entries.delete(user.sessions);
		const owner = prosody.hosts.get(host) as Host | undefined;
		const users = owner && owner.sessions;
		if (users && users.get(username) === user && next(user.sessions)[0] === undefined) {
			users.delete(username);
		}
	}

	/**
	 * Sends a stanza in a user's name, whether the user is online or not.
	 *
	 * Handlers of clients' stanzas expect the sender in the host's sessions (mod_blocklist), with the roster (save_roster). So an
	 * offline user has an entry without clients there while the stanza is handled. Afterwards nothing of the user stays in
	 * memory, nor does the roster.
	 *
	 * @param send takes the server's answers; it may be called later, too
	 * @returns false if a handler of another module raised an error
	 */
	function send_as(username: string, stanza: Stanza, send: Send): boolean {
		const session = act_as(username, send);
		const is_online = prosody.hosts.get(host).sessions!.has(username);
		const user = is_online ? undefined : put_online(session);
		const done = protect(log, when_sent, session.full_jid!, () => {
			prosody.core_post_stanza(session, stanza, true);
			// mod_register puts a `close` of its own into the session, in which it answers the removal of the account.
			session.close!();
			return true;
		});
		if (user) {
			take_offline(username, user);
			forget_roster(username, host);
		}
		return done === true;
	}

	/** Sends a stanza in the host's name. Returns false if a handler of another module raised an error. */
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
