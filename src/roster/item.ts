import * as st from "util.stanza";
import { attribute } from "../prosody/send";

/** A contact as `<item/>` in XML text (RFC 6121, 2.1.2); a nil item as one that was removed. */
export function item_text(contact: string, item: RosterItem | undefined): string {
	const start = "<item" + attribute("jid", contact);
	if (!item) {
		return start + " subscription='remove'/>";
	}
	const text = start + attribute("subscription", item.subscription) + attribute("ask", item.ask) + attribute("name", item.name);
	if (next(item.groups)[0] === undefined) {
		return text + "/>";
	}
	let groups = "";
	for (const [group] of pairs(item.groups)) {
		groups = groups + "<group>" + st.xml_escape(group) + "</group>";
	}
	return text + ">" + groups + "</item>";
}

/** Whether what a roster has under a key is a contact: metadata is under `false`, that of old data under "pending". */
export function is_contact(key: string | false, item: RosterItem | undefined): boolean {
	return key !== false && item !== undefined && type(item.subscription) === "string";
}

/** The version of a roster as clients know it (RFC 6121, 2.6), nil where its storage keeps none. */
export function roster_version(roster: Roster): string | undefined {
	const metadata = roster.get(false);
	// Not the 1 of mod_roster, which is also that of the first change.
	const version = (metadata && metadata.version) ?? 0;
	return version !== true ? tostring(version) : undefined;
}

function same_groups(a: RosterItem, b: RosterItem): boolean {
	for (const [group] of pairs(a.groups)) {
		if (!b.groups.has(group)) {
			return false;
		}
	}
	for (const [group] of pairs(b.groups)) {
		if (!a.groups.has(group)) {
			return false;
		}
	}
	return true;
}

/** Whether a contact's item is the same for a reader of the roster. */
export function same_item(a: RosterItem | undefined, b: RosterItem | undefined): boolean {
	if (!a || !b) {
		return a === b;
	}
	return a.name === b.name && a.subscription === b.subscription && a.ask === b.ask && same_groups(a, b);
}
