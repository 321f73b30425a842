import * as rostermanager from "core.rostermanager";
import * as st from "util.stanza";
import { same_keys } from "../prosody/keys";
import { attribute } from "../prosody/send";

/**
 * Whether the server itself shows pre-approved contacts in roster answers and pushes (RFC 6121, 3.4).
 * COMPAT: Prosody does since 13.0.7; its function for roster pushes then has the name of the attribute in its code.
 */
const [is_lua, push_code] = pcall(string.dump, rostermanager.roster_push);
const shows_approved = is_lua && string.find(push_code, "approved", 1, true)[0] !== undefined;

/** The `<item/>` of a contact as XML text (RFC 6121, 2.1.2). A nil item stands for a contact that was removed. */
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
 * A roster push of one item as XML text, without its beginning: `<iq` and the attributes 'from' and 'to' go before it.
 *
 * @param version the version of the roster; nil or true where its storage keeps none
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

/** Whether a roster has a contact under a key. Metadata is under the key `false`, and in old rosters under "pending". */
export function is_contact(key: string | false, item: RosterItem | undefined): boolean {
	return key !== false && item !== undefined && type(item.subscription) === "string";
}

/** The version of a roster as clients get it (RFC 6121, 2.6); nil where its storage keeps none. */
export function roster_version(roster: Roster): string | undefined {
	const metadata = roster.get(false);
	const version = metadata && metadata.version;
	if (version === true) {
		return undefined;
	}
	if (version === undefined) {
		// If there are contacts, mod_groups has removed the version. Otherwise the roster was never saved. mod_roster gives
		// clients the version 1 then, but the first change that the server itself saves has that version, too.
		for (const [contact, item] of pairs(roster as LuaTable<string, RosterItem>)) {
			if (is_contact(contact, item)) {
				return undefined;
			}
		}
		return "0";
	}
	return tostring(version);
}

/**
 * The item of a contact after a roster set. Name and groups are replaced; the subscription and the rest stay as they were
 * unless the set has them.
 */
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
		// The contact has granted what `ask` asks for.
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

/** Whether two items look the same to a reader of the roster. */
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
