import { create_recent } from "../prosody/recent";

/**
 * Keeps bounces of messages that were sent in users' names from the users' clients.
 *
 * Such a bounce comes to the sender's bare JID, as no client of theirs sent the message, and
 * some modules tell clients of it (mod_carbons copies errors). It is told by the user: errors that come
 * to the bare JID of one who sent nothing this way go where they always went, which is nowhere
 * but for such modules, since the server discards them.
 */
export function create_error_filter() {
	/** Seconds for which a user counts as a sender at least. */
	const bounce_span = 300;

	// Bare JIDs. There are no more of them than accounts: none is left out.
	const senders = create_recent<true>(bounce_span, math.huge);

	/** Notes that a message was sent as a user, a bare JID. */
	function sent(user: string): void {
		senders.set(user, true);
	}

	/** Handles messages to bare JIDs. */
	function receive(event: StanzaEvent): Handled {
		const attr = event.stanza.attr;
		if (attr.type !== "error" || attr.to === undefined) {
			return undefined;
		}
		return senders.get(attr.to);
	}

	return { sent: sent, receive: receive };
}
export type ErrorFilter = ReturnType<typeof create_error_filter>;
