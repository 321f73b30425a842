import * as rostermanager from "core.rostermanager";
import * as usermanager from "core.usermanager";

/** Makes a session that acts for a user of the host; what the server answers it goes to `send`. */
export type ActAs = (this: void, username: string, send: (this: void, stanza: Stanza | string) => boolean) => Session;

/**
 * Makes the function that makes such sessions.
 *
 * They carry what handlers of stanzas read of a client's session. They are not
 * among the server's sessions, and so never an entity themselves.
 */
export function create_act_as(host: string, log: Log): ActAs {
	const metatable = {
		// Few handlers look at the roster, and an offline user's has to be loaded.
		__index: (session: Session, key: string) =>
			key === "roster" ? rostermanager.load_roster(session.username!, host)[0] : undefined,
	};

	function close(this: Session): void {
		this.log!("debug", "There is no connection to close");
	}

	return (username, send) => setmetatable({
		type: "c2s",
		username: username,
		host: host,
		full_jid: username + "@" + host,
		role: usermanager.get_user_role && usermanager.get_user_role(username, host),
		send: send,
		close: close,
		log: log,
	}, metatable as never);
}
