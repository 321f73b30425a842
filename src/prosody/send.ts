import * as st from "util.stanza";
import { optional_module } from "./compatibility";

/** `util.xml`, since Prosody 0.10. */
const xml = optional_module("util.xml") as typeof import("util.xml") | undefined;

/** An attribute as XML text, nothing where it has no value. */
export function attribute(name: string, value: string | undefined): string {
	return value !== undefined ? " " + name + "='" + st.xml_escape(value) + "'" : "";
}

/**
 * Sends a stanza on a stream, if that still stands.
 *
 * Prosody 13 ends one whose client does not read when too much waits to be sent: any sending may be the last.
 */
export function send_stanza(session: Session, stanza: Stanza | string): void {
	if (!session.destroyed) {
		session.send(stanza);
	}
}

/**
 * Whether parsers take a stanza that Prosody wrote as XML text. It lets elements of the namespaces through that XML keeps to
 * itself, and writes declarations of them, at which the stream of who reads them ends.
 */
export function is_well_formed(text: string): boolean {
	return (
		string.find(text, "http://www.w3.org/XML/1998/namespace", 1, true)[0] === undefined
		&& string.find(text, "http://www.w3.org/2000/xmlns/", 1, true)[0] === undefined
	);
}

/**
 * Sends a stanza that is XML text.
 *
 * To write text is a fraction of the work of building a stanza only to have it written. A component's
 * stream takes it as it is; a client's goes through filters (XEP-0198 counts there) that want a stanza.
 */
export function send_text(session: Session, text: string): void {
	if (session.type === "component" || !xml) {
		send_stanza(session, text);
		return;
	}
	const stanza = xml.parse(text);
	if (stanza) {
		send_stanza(session, stanza);
	}
}

/** Collects stanzas that are XML text for a session, to write several in one go. */
export function create_batch(session: Session) {
	/** How many stanzas are written in one go. More would save little, and make garbage of texts that are long. */
	const batch_size = 20;

	let texts: string[] = [];
	let count = 0;

	/** Writes what is left. */
	function flush(): void {
		if (count > 0) {
			send_stanza(session, table.concat(texts));
			texts = [];
			count = 0;
		}
	}

	/** Adds a stanza in two parts, which are put together once for all that are written. */
	function add(start: string, rest: string): void {
		if (session.type !== "component") {
			send_text(session, start + rest);
			return;
		}
		texts.push(start);
		texts.push(rest);
		count = count + 1;
		if (count === batch_size) {
			flush();
		}
	}

	return { add: add, flush: flush };
}
