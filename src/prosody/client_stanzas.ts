import * as jid from "util.jid";
import { xmlns_client } from "./namespaces";

/**
 * Takes the namespace jabber:client off a stanza and those of its descendants that are in it: inside
 * the server it is the default one and goes without saying. What another element carries keeps it.
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
 * Whether an element is a stanza of that name in the namespace jabber:client,
 * which is left out on the streams of clients.
 */
export function is_client_stanza(element: Stanza | undefined, name: string, session: Session): boolean {
	return (
		element !== undefined
		&& element.name === name
		&& (element.attr.xmlns === xmlns_client || (element.attr.xmlns === undefined && session.type === "c2s"))
	);
}

/** A JID prepared, nil where it is none. What the server has under it is so already. */
export function prepared(address: string): string | undefined {
	if (prosody.bare_sessions.has(address) || prosody.hosts.has(address) || prosody.full_sessions.has(address)) {
		return address;
	}
	return jid.prep(address);
}
