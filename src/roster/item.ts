import * as rostermanager from "core.rostermanager";
import * as st from "util.stanza";
import { same_keys } from "../prosody/keys";
import { attribute } from "../prosody/send";

/**
 * Whether the server shows pre-approved contacts in roster answers and pushes (RFC 6121, 3.4).
 * COMPAT: since Prosody 13.0.7; what shows them has the attribute's name in it.
 */
const [is_lua, push_code] = pcall(string.dump, rostermanager.roster_push);
export const shows_approved = is_lua && string.find(push_code, "approved", 1, true)[0] !== undefined;

/** A contact as `<item/>` in XML text (RFC 6121, 2.1.2); a nil item as one that was removed. */
export function item_text(contact: string, item: RosterItem | undefined): string {
	const start = "<item" + attribute("jid", contact);
	if (!item) {
		return start + " subscription='remove'/>";
	}
	const text =
		start
		+ attribute("subscription", item.subscription)
		+ attribute("ask", item.ask)
		+ attribute("name", item.name)
		+ attribute("approved", shows_approved ? item.approved : undefined);
	if (next(item.groups)[0] === undefined) {
		return text + "/>";
	}
	let groups = "";
	for (const [group] of pairs(item.groups)) {
		groups = groups + "<group>" + st.xml_escape(group) + "</group>";
	}
	return text + ">" + groups + "</item>";
}

/**
 * A roster push of one item as XML text without its addresses: what follows `<iq` and the attributes of the address.
 *
 * @param version of the roster; nil or true where its storage keeps none
 */
export function push_text(id: string, contact: string, item: RosterItem | undefined, version: number | true | undefined): string {
	const ver = version !== undefined && version !== true ? tostring(version) : undefined;
	return string.format(
		" type='set'%s><query xmlns='jabber:iq:roster'%s>%s</query></iq>",
		attribute("id", id),
		attribute("ver", ver),
		item_text(contact, item),
	);
}

/** Whether what a roster has under a key is a contact: metadata is under `false`, that of old data under "pending". */
export function is_contact(key: string | false, item: RosterItem | undefined): boolean {
	return key !== false && item !== undefined && type(item.subscription) === "string";
}

/** The version of a roster as clients know it (RFC 6121, 2.6), nil where its storage keeps none. */
export function roster_version(roster: Roster): string | undefined {
	const metadata = roster.get(false);
	const version = metadata && metadata.version;
	if (version === true) {
		return undefined;
	}
	if (version === undefined) {
		// Where there are contacts, mod_groups has taken the version away. An empty roster was never saved: it does not
		// get the 1 that mod_roster gives clients for it, and that the server's own first change has.
		for (const [contact, item] of pairs(roster as LuaTable<string, RosterItem>)) {
			if (is_contact(contact, item)) {
				return undefined;
			}
		}
		return "0";
	}
	return tostring(version);
}

/** The item that a roster set makes of what was there: name and groups are replaced, the rest stays unless it is said. */
export function updated_item(element: Stanza, old: RosterItem | undefined): RosterItem {
	const asked = element.attr.subscription;
	const item: RosterItem = { subscription: "none", groups: new LuaTable() };
	if (old) {
		item.subscription = old.subscription;
		item.ask = old.ask;
		item.approved = old.approved;
	}
	if (asked === "none" || asked === "to" || asked === "from" || asked === "both") {
		item.subscription = asked;
	}
	if (item.subscription === "to" || item.subscription === "both") {
		// What was asked for is there.
		item.ask = undefined;
	}
	if (element.attr.name !== "") {
		item.name = element.attr.name;
	}
	for (const [, child] of ipairs(element.tags)) {
		const group = child.get_text();
		if (child.name === "group" && group !== undefined && group !== "") {
			item.groups.set(group, true);
		}
	}
	return item;
}

/** Whether a contact's item is the same for a reader of the roster. */
export function same_item(a: RosterItem | undefined, b: RosterItem | undefined): boolean {
	if (!a || !b) {
		return a === b;
	}
	return (
		a.name === b.name
		&& a.subscription === b.subscription
		&& a.ask === b.ask
		&& (!shows_approved || a.approved === b.approved)
		&& same_keys(a.groups, b.groups)
	);
}
