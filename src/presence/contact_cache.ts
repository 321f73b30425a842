import * as hashes from "util.hashes";
import * as st from "util.stanza";

/** The presences of contacts that the host has seen, for entities that connect later. */
export interface ContactCache {
	/**
	 * Notes an available presence.
	 * @returns false where it says nothing new
	 */
	available: (this: void, contact: string, stanza: Stanza) => boolean;
	/**
	 * Notes the end of a presence; one from a bare JID ends all of the contact's.
	 * @returns false where there was none
	 */
	unavailable: (this: void, contact: string, from: string) => boolean;
	/** The presences of a contact by JID, as XML text from the end of their start tag's 'from' on; nil where there are none. */
	of: (this: void, contact: string) => LuaTable<string, string> | undefined;
	/** The contacts of whom there are presences. */
	contacts: (this: void) => string[];
	forget: (this: void, contact: string) => void;
	/** Begins to remember, nil to end that; the users who are online already, whose clients were told their contacts' presences before. */
	begin: (this: void, users: LuaTable<string, unknown> | undefined) => void;
	/** Whether a user was online before anything was remembered. */
	is_earlier_user: (this: void, username: string) => boolean;
	/** Whether a contact was not probed yet; from then on it was. */
	first_probe: (this: void, contact: string) => boolean;
	/** Takes that back, for a probe that was not sent. */
	not_probed: (this: void, contact: string) => void;
	/** All of it, to be restored after a reload. */
	save: (this: void) => SavedContacts;
	restore: (this: void, saved: SavedContacts) => void;
}

/** What is kept over a reload of the module. */
export interface SavedContacts {
	/** Remembered forms of presences, by full JID, by contact. */
	contacts?: LuaTable<string, LuaTable<string, string>>;
	/** The contacts that were probed. */
	probed?: LuaTable<string, true>;
	/** The users who were online before anything was remembered, by name. */
	earlier_users?: LuaTable<string, true>;
}

/** Longer presences are remembered shortened, in bytes: a kibibyte a contact is to do, with the tables' own need. */
const max_length = 600;

/** So many resources of one contact are remembered, lest a contact makes up any number of them. */
const max_resources = 100;

/** A presence as it is remembered: what goes without its addresses, id and time. */
function remembered_form(stanza: Stanza): string {
	const parts: string[] = [];
	let essence = "";
	const lang = stanza.attr["xml:lang"];
	parts.push(lang !== undefined ? " xml:lang='" + st.xml_escape(lang) + "'>" : ">");
	for (const [, child] of ipairs(stanza.tags)) {
		if (child.attr.xmlns !== "urn:xmpp:delay") {
			const text = tostring(child);
			parts.push(text);
			if (essence.length + text.length < 100 && (child.name === "show" || child.name === "priority")) {
				essence = essence + text;
			}
		}
	}
	parts.push("</presence>");
	const whole = table.concat(parts);
	// The hash tells whether a shortened one is the same again.
	return whole.length <= max_length ? whole : hashes.sha1(whole, true) + ">" + essence + "</presence>";
}

/** What of a remembered form goes out. */
export function presence_of(form: string): string {
	return string.sub(form, string.find(form, "[ >]")[0]);
}

function count(resources: LuaTable<string, string>): number {
	let n = 0;
	for (const [_] of pairs(resources)) {
		n = n + 1;
	}
	return n;
}

export function create_contact_cache(): ContactCache {
	let contacts = new LuaTable<string, LuaTable<string, string>>();
	let probed = new LuaTable<string, true>();
	let earlier_users: LuaTable<string, true> | undefined;

	return {
		available: (contact, stanza) => {
			const from = stanza.attr.from!;
			const form = remembered_form(stanza);
			const resources = contacts.get(contact) as LuaTable<string, string> | undefined;
			if (!resources) {
				const known = new LuaTable<string, string>();
				known.set(from, form);
				contacts.set(contact, known);
				return true;
			}
			if (resources.get(from) === form) {
				return false;
			}
			if (resources.has(from) || count(resources) < max_resources) {
				resources.set(from, form);
			}
			return true;
		},
		unavailable: (contact, from) => {
			const resources = contacts.get(contact) as LuaTable<string, string> | undefined;
			if (!resources) {
				return false;
			}
			if (from === contact) {
				contacts.delete(contact);
				return true;
			}
			if (!resources.has(from)) {
				// It may be one too many to be remembered, and was told.
				return count(resources) >= max_resources;
			}
			resources.delete(from);
			if (next(resources)[0] === undefined) {
				contacts.delete(contact);
			}
			return true;
		},
		of: (contact) => contacts.get(contact),
		contacts: () => {
			const names: string[] = [];
			for (const [contact] of pairs(contacts)) {
				names.push(contact);
			}
			return names;
		},
		forget: (contact) => {
			contacts.delete(contact);
		},
		begin: (users) => {
			if (!users) {
				earlier_users = undefined;
				contacts = new LuaTable();
				probed = new LuaTable();
			} else if (!earlier_users) {
				earlier_users = new LuaTable();
				for (const [username] of pairs(users)) {
					earlier_users.set(username, true);
				}
			}
		},
		is_earlier_user: (username) => earlier_users !== undefined && earlier_users.has(username),
		first_probe: (contact) => {
			const first = !probed.has(contact);
			probed.set(contact, true);
			return first;
		},
		not_probed: (contact) => {
			probed.delete(contact);
		},
		save: () => ({ contacts: contacts, probed: probed, earlier_users: earlier_users! }),
		restore: (saved) => {
			contacts = saved.contacts ?? contacts;
			probed = saved.probed ?? probed;
			earlier_users = saved.earlier_users ?? earlier_users;
		},
	};
}
