import * as st from "util.stanza";

/** util.xml came with Prosody 0.10. */
const [has_xml, xml_module] = pcall(require, "util.xml");
const xml = xml_module as typeof import("util.xml");

/** An attribute as XML text, nothing where it has no value. */
export function attribute(name: string, value: string | undefined): string {
	return value !== undefined ? " " + name + "='" + st.xml_escape(value) + "'" : "";
}

/**
 * Sends a stanza that is XML text.
 *
 * To write text is a fraction of the work of building a stanza only to have it written. A component's
 * stream takes it as it is; a client's goes through filters (XEP-0198 counts there) that want a stanza.
 */
export function send_text(session: Session, text: string): void {
	session.send(session.type === "component" || !has_xml ? text : xml.parse(text)!);
}
