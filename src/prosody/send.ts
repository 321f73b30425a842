import * as st from "util.stanza";
import { optional_module } from "./compatibility";

/** `util.xml`, since Prosody 0.10. */
const xml = optional_module("util.xml") as typeof import("util.xml") | undefined;

/** An attribute as XML text, with a space before it; an empty text where it has no value. */
export function attribute(name: string, value: string | undefined): string {
	return value !== undefined ? " " + name + "='" + st.xml_escape(value) + "'" : "";
}

/** The key that marks the stanzas that we send, in their `namespaces`: copies keep it there. No prefix has spaces. */
const own_mark = "sent by mod_privilege";

/**
 * Sends a stanza on a stream unless the stream has ended.
 *
 * Any call may end it: Prosody 13 closes the connection of a client that does not read when too much waits to be sent.
 */
export function send_stanza(session: Session, stanza: Stanza | string): void {
	if (!session.destroyed) {
		if (typeof stanza !== "string") {
			stanza.namespaces = stanza.namespaces ?? new LuaTable();
			stanza.namespaces.set(own_mark, "");
		}
		session.send(stanza);
	}
}

/**
 * Handles `delivery/failure` on a host, in which mod_smacks gives up what a client has not acknowledged (XEP-0198). Nothing that
 * we sent goes back to its sender as an error, and none is kept for the user's next client, which is told its own permissions.
 *
 * The handler stays when the module is unloaded, as a client may be gone later.
 *
 * @param handled the events objects that have the handler, as keys: a shared table, the same one each time
 */
export function drop_undelivered_at(events: Events, handled: LuaTable<Events, true>): void {
	if (handled.has(events)) {
		return;
	}

	/** Handles the event. Refers to the shared table, so that this lasts as long as the handler. */
	function drop_undelivered(event: DeliveryEvent): Handled {
		const namespaces = event.stanza.namespaces;
		return namespaces && namespaces.has(own_mark) && handled.has(events) ? true : undefined;
	}

	const set_environment = rawget(_G, "setfenv") as typeof setfenv | undefined;
	if (set_environment) {
		// COMPAT: In Lua 5.1 a function refers to its environment, here that of the module, which would stay in memory.
		set_environment(drop_undelivered, {});
	}
	setmetatable(handled, { __mode: "k" });
	handled.set(events, true);
	// Before mod_smacks, after which no other handler is called.
	events.add_handler("delivery/failure", drop_undelivered, 1);
}

/** Whether a stanza that Prosody wrote as XML text declares a namespace. A text or another attribute may mention it. */
function declares(text: string, namespace: string): boolean {
	if (string.find(text, namespace, 1, true)[0] === undefined) {
		return false;
	}
	const [literal] = string.gsub(namespace, "%.", "%%.");
	return string.find(text, " xmlns[^ =]*='" + literal + "'")[0] !== undefined;
}

/**
 * Whether a stanza that Prosody wrote as XML text is well-formed. Prosody lets elements in the reserved namespaces of XML
 * through and declares these namespaces, and a receiver ends the stream at such a declaration.
 */
export function is_well_formed(text: string): boolean {
	return !declares(text, "http://www.w3.org/XML/1998/namespace") && !declares(text, "http://www.w3.org/2000/xmlns/");
}

/**
 * Sends a stanza that is XML text, which takes a fraction of the time that it takes to build a stanza.
 *
 * The stream of a component takes text. That of a client has filters that want a stanza, such as the counter of XEP-0198.
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

/** Collects stanzas as XML text, to write several to a session in one go; `flush` writes those that are left. */
export function create_batch(session: Session) {
	/** How many stanzas are written in one go. More would save little time and leave long texts to collect as garbage. */
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
