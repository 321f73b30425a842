import * as jid from "util.jid";
import { xmlns_client } from "./namespaces";

/**
 * Takes the namespace jabber:client off a stanza and off its descendants. Inside the server, stanzas have no
 * namespace of their own. Below an element of another namespace, such as a forwarded message, it stays.
 */
export function strip_client_namespace(element: Stanza): void {
	if (element.attr.xmlns === xmlns_client) {
		element.attr.xmlns = undefined;
		for (const [, child] of ipairs(element.tags)) {
			strip_client_namespace(child);
		}
	}
}

/**
 * Whether an element is a stanza of that name in the namespace jabber:client. On the stream of a client this is the
 * default namespace, and Prosody leaves it out.
 */
export function is_client_stanza(element: Stanza | undefined, name: string, session: Session): boolean {
	return (
		element !== undefined
		&& element.name === name
		&& (element.attr.xmlns === xmlns_client || (element.attr.xmlns === undefined && session.type === "c2s"))
	);
}

/** The prepared form of an address, nil where it is no JID. */
export function prepared(address: string): string | undefined {
	// What the server knows by this address is prepared already.
	if (prosody.bare_sessions.has(address) || prosody.hosts.has(address) || prosody.full_sessions.has(address)) {
		return address;
	}
	return jid.prep(address);
}
