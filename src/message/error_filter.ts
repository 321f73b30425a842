import { create_recent } from "../prosody/recent";

/**
 * Keeps the users' clients from seeing bounces of messages that entities sent in the users' names.
 *
 * Such a bounce comes to the user's bare JID. The server discards errors there, but some modules show them to
 * clients before (mod_carbons copies them). Only errors for users in whose names an entity sent something lately are
 * dropped; all others go their usual way.
 */
export function create_error_filter() {
	/** Seconds for which a user counts as a sender, at least. A message comes back when the recipient's client has had its time to resume (XEP-0198). */
	const bounce_span = 24 * 60 * 60;

	// By bare JID. There are no more of them than accounts, so their number needs no limit.
	const senders = create_recent<true>(bounce_span, math.huge);

	/** Notes that a message was sent in a user's name. Takes a bare JID. */
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

	return { sent: sent, receive: receive, save: senders.save, restore: senders.restore };
}
export type ErrorFilter = ReturnType<typeof create_error_filter>;
