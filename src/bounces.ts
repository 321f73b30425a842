/** Seconds for which a sent message is remembered at least. */
const bounce_span = 300;

/**
 * Keeps bounces of messages that were sent in users' names from the users' clients.
 *
 * Such a bounce comes to the sender's bare JID, as no client of theirs sent the message, and
 * some modules tell clients of it (mod_carbons copies errors).
 */
export interface Bounces {
	/** Notes a message. */
	sent: (this: void, message: Stanza) => void;
	/** Handles messages to bare JIDs. */
	receive: (this: void, event: StanzaEvent) => Handled;
}

function key_of(user: string, recipient: string | undefined, id: string | undefined): string {
	return user + "\n" + (recipient ?? user) + "\n" + (id ?? "");
}

export function create_bounces(): Bounces {
	let recent = new LuaTable<string, true>();
	let earlier = recent;
	let turn_at = 0;

	/** Forgets the older half when it is time. */
	function turn(): void {
		const now = os.time();
		if (now >= turn_at) {
			earlier = now >= turn_at + bounce_span ? new LuaTable() : recent;
			recent = new LuaTable();
			turn_at = now + bounce_span;
		}
	}

	return {
		sent: (message) => {
			turn();
			recent.set(key_of(message.attr.from!, message.attr.to, message.attr.id), true);
		},
		receive: (event) => {
			const attr = event.stanza.attr;
			if (attr.type !== "error" || attr.to === undefined || attr.from === undefined) {
				return undefined;
			}
			turn();
			const key = key_of(attr.to, attr.from, attr.id);
			return recent.has(key) || earlier.has(key) ? true : undefined;
		},
	};
}
