/** Seconds for which a sent message is remembered at least. */
const bounce_span = 300;

/**
 * Keeps bounces of messages that were sent in users' names from the users' clients.
 *
 * Such a bounce comes to the sender's bare JID, as no client of theirs sent the message, and
 * some modules tell clients of it (mod_carbons copies errors). It is told by the message's id; the
 * server discards errors to bare JIDs anyway.
 */
export interface Bounces {
	/** Notes a message. */
	sent: (this: void, message: Stanza) => void;
	/** Handles messages to bare JIDs. */
	receive: (this: void, event: StanzaEvent) => Handled;
}

/** By id, "" for none: whose message it was, true where several users' had the same. */
type Senders = LuaTable<string, string | true>;

function is_sender(senders: Senders, id: string, user: string): boolean {
	const sender = senders.get(id) as string | true | undefined;
	return sender === true || sender === user;
}

export function create_bounces(): Bounces {
	let recent: Senders = new LuaTable();
	let earlier: Senders = recent;
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
			const id = message.attr.id ?? "";
			const user = message.attr.from!;
			recent.set(id, !recent.has(id) || recent.get(id) === user ? user : true);
		},
		receive: (event) => {
			const attr = event.stanza.attr;
			if (attr.type !== "error" || attr.to === undefined) {
				return undefined;
			}
			turn();
			const id = attr.id ?? "";
			return is_sender(recent, id, attr.to) || is_sender(earlier, id, attr.to) || undefined;
		},
	};
}
