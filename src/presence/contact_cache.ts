import { keys_of } from "../prosody/keys";
import { create_presence_forms } from "./presence_form";

/** A presence that several viewers of a resource got. */
interface Form {
	/** In the form of `create_presence_forms`, or `lost_form`. */
	text: string;
}

/** A resource of a contact, as it is remembered. */
export interface Remembered {
	/** The presence that came last to any viewer, in the form of `create_presence_forms`. */
	form: string;
	/** When that came, as os.time() returns it. */
	heard_at: number;
	seen_by: Viewers;
	/** The same for the viewers who share it; nil as long as there is only one viewer. */
	current?: Form;
	/** The presence before, which some viewers may still have. */
	previous?: Form;
}

/** The users who see a resource: the name of the only one, or the presences that they got last, by name. */
type Viewers = string | LuaTable<string, Form>;

/** By resource; "" for a presence of the bare JID. */
type Resources = LuaTable<string, Remembered>;

/** How much is remembered of one contact, in bytes: a contact with a server of its own can make up any number of resources. */
const max_kept = 10000;

/** How much memory a resource needs beside its texts, in bytes, roughly. */
const resource_cost = 300;

/** Whether a user sees a resource. */
export function is_seen_by(remembered: Remembered, username: string): boolean {
	const users = remembered.seen_by;
	if (typeof users === "string") {
		return users === username;
	}
	return users.has(username);
}

/** Whether a contact is at a domain, or is the domain itself. */
export function is_at(contact: string, domain: string): boolean {
	return contact === domain || string.sub(contact, -(domain.length + 1)) === "@" + domain;
}

/** What is kept over a reload of the module. */
export interface SavedContacts {
	contacts: LuaTable<string, Resources>;
	users: LuaTable<string, LuaTable<string, true>>;
	crowded: LuaTable<string, true>;
}

/**
 * Remembers the presences of contacts that users of the host see, for entities that connect later. A user who sees a contact
 * is a viewer of it; a resource is forgotten when its last viewer is gone.
 *
 * Contacts are given by their bare JIDs, users by their names.
 */
export function create_contact_cache() {
	const forms = create_presence_forms();
	let contacts = new LuaTable<string, Resources>();
	// The contacts that each user sees, by user.
	let users = new LuaTable<string, LuaTable<string, true>>();
	// The contacts that have more resources than are remembered.
	let crowded = new LuaTable<string, true>();

	/** Stands for a presence that is not kept because two newer ones went to other viewers: a contact may send each viewer another one. */
	const lost_form = "?></presence>";

	/** The presence of a resource that a user got last, in the form that `presence_of` takes; nil if the user does not see it. */
	function form_seen_by(remembered: Remembered, username: string): string | undefined {
		const viewers = remembered.seen_by;
		if (typeof viewers === "string") {
			return viewers === username ? remembered.form : undefined;
		}
		const form = viewers.get(username) as Form | undefined;
		return form && form.text;
	}

	/** Notes the presence that a user got last. Other viewers keep what they got. */
	function set_form(remembered: Remembered, username: string, text: string): void {
		let viewers = remembered.seen_by;
		if (viewers !== username) {
			let current = remembered.current ?? { text: remembered.form };
			if (typeof viewers === "string") {
				const only_viewer = viewers;
				viewers = new LuaTable<string, Form>();
				viewers.set(only_viewer, current);
				remembered.seen_by = viewers;
			}
			if (current.text !== text) {
				const before = remembered.previous;
				remembered.previous = current;
				if (before && before.text === text) {
					current = before;
				} else {
					if (before) {
						before.text = lost_form;
					}
					current = { text: text };
				}
			}
			remembered.current = current;
			viewers.set(username, current);
		}
		remembered.form = text;
	}

	/** The resources of a contact; nil if there are none. */
	function of(contact: string): Resources | undefined {
		return contacts.get(contact);
	}

	/** The presence of a contact's resource that a user got last, in the form that `presence_of` takes; nil if the user does not see it. */
	function form_of(contact: string, resource: string, username: string): string | undefined {
		const resources = of(contact);
		const remembered = resources && (resources.get(resource) as Remembered | undefined);
		return remembered && form_seen_by(remembered, username);
	}

	/** The users who see any resource of a contact, as keys. */
	function viewers_of(contact: string): LuaTable<string, true> {
		const names = new LuaTable<string, true>();
		for (const [, remembered] of pairs(of(contact) ?? new LuaTable<string, Remembered>())) {
			if (typeof remembered.seen_by === "string") {
				names.set(remembered.seen_by, true);
			} else {
				for (const [username] of pairs(remembered.seen_by)) {
					names.set(username, true);
				}
			}
		}
		return names;
	}

	/** Whether a user sees any resource of a contact. */
	function sees(username: string, contact: string): boolean {
		const seen = users.get(username) as LuaTable<string, true> | undefined;
		return seen !== undefined && seen.has(contact);
	}

	/** Whether a contact has resources that are not remembered. */
	function is_crowded(contact: string): boolean {
		return crowded.has(contact);
	}

	function note_user(remembered: Remembered, contact: string, username: string, form: string): void {
		set_form(remembered, username, form);
		const seen = (users.get(username) as LuaTable<string, true> | undefined) ?? new LuaTable<string, true>();
		seen.set(contact, true);
		users.set(username, seen);
	}

	/** How much memory the resources of a contact need, in bytes, roughly. */
	function kept_bytes(resources: Resources): number {
		let bytes = 0;
		for (const [resource, remembered] of pairs(resources)) {
			bytes = bytes + resource.length + remembered.form.length + resource_cost;
		}
		return bytes;
	}

	/**
	 * Notes an available presence that a user got.
	 * @returns false if it is the one that came last, to whichever viewer
	 */
	function available(contact: string, resource: string, username: string, stanza: Stanza): boolean {
		const resources = of(contact) ?? new LuaTable<string, Remembered>();
		const before = resources.get(resource) as Remembered | undefined;
		let form = forms.form(stanza);
		if (before && before.form === form) {
			before.heard_at = os.time();
			note_user(before, contact, username, before.form);
			return false;
		}
		const room = max_kept - kept_bytes(resources);
		if (before) {
			if (form.length - before.form.length > room) {
				form = forms.short_form(stanza);
			}
			const is_new = before.form !== form;
			before.heard_at = os.time();
			note_user(before, contact, username, form);
			return is_new;
		}
		if (resource.length + form.length + resource_cost > room) {
			if (of(contact)) {
				crowded.set(contact, true);
			}
			forms.forget();
			return true;
		}
		const remembered: Remembered = { form: form, heard_at: os.time(), seen_by: username };
		resources.set(resource, remembered);
		contacts.set(contact, resources);
		note_user(remembered, contact, username, form);
		return true;
	}

	/** Takes a contact off a user's list if the user does not see any resource of it. */
	function unlist(contact: string, username: string): void {
		const seen = users.get(username) as LuaTable<string, true> | undefined;
		if (!seen) {
			return;
		}
		for (const [, remembered] of pairs(of(contact) ?? new LuaTable<string, Remembered>())) {
			if (is_seen_by(remembered, username)) {
				return;
			}
		}
		seen.delete(contact);
		if (next(seen)[0] === undefined) {
			users.delete(username);
		}
	}

	/** Forgets a resource of a contact. */
	function drop(contact: string, resources: Resources, resource: string): void {
		const names = resources.get(resource).seen_by;
		forms.forget();
		resources.delete(resource);
		if (next(resources)[0] === undefined) {
			contacts.delete(contact);
			crowded.delete(contact);
		}
		if (typeof names === "string") {
			unlist(contact, names);
		} else {
			for (const [username] of pairs(names)) {
				unlist(contact, username);
			}
		}
	}

	/** Takes a user off the viewers of a resource. Returns whether there are others. */
	function hide(remembered: Remembered, username: string): boolean {
		const names = remembered.seen_by;
		if (typeof names === "string") {
			return names !== username;
		}
		names.delete(username);
		return next(names)[0] !== undefined;
	}

	/**
	 * Forgets one resource of a contact, or all where `resource` is nil, if `is_over` returns true for it.
	 * @returns the resources that are forgotten
	 */
	function end_some(contact: string, resource: string | undefined, is_over: (this: void, remembered: Remembered) => boolean): string[] {
		const ended: string[] = [];
		const resources = of(contact);
		if (resources) {
			for (const [, name] of ipairs(resource !== undefined ? [resource] : keys_of(resources))) {
				const remembered = resources.get(name) as Remembered | undefined;
				if (remembered && is_over(remembered)) {
					drop(contact, resources, name);
					ended.push(name);
				}
			}
		}
		return ended;
	}

	/**
	 * Notes that a user does not see a resource of a contact any more, or does not see any where it is nil.
	 * @returns the resources that nobody sees any more
	 */
	function unseen(contact: string, resource: string | undefined, username: string): string[] {
		const ended = end_some(contact, resource, (remembered) => is_seen_by(remembered, username) && !hide(remembered, username));
		unlist(contact, username);
		return ended;
	}

	/**
	 * Notes that a resource of a contact, or all where it is nil, is not available any more, for any viewer.
	 *
	 * @param username nil, or a user who must see the resource
	 * @param before nil, or a time before which its last presence must have come
	 * @returns the resources that were forgotten
	 */
	function gone(contact: string, resource: string | undefined, username: string | undefined, before: number | undefined): string[] {
		return end_some(
			contact,
			resource,
			(remembered) =>
				(username === undefined || is_seen_by(remembered, username)) && (before === undefined || remembered.heard_at < before),
		);
	}

	/** Whether the last presence of any resource of a contact that a user sees came before a time. */
	function is_older(contact: string, username: string, time: number): boolean {
		for (const [, remembered] of pairs(of(contact) ?? new LuaTable<string, Remembered>())) {
			if (remembered.heard_at < time && is_seen_by(remembered, username)) {
				return true;
			}
		}
		return false;
	}

	/** The contacts that a user sees. */
	function contacts_of(username: string): string[] {
		return keys_of(users.get(username));
	}

	/** The contacts at a domain. */
	function contacts_at(domain: string): string[] {
		const list: string[] = [];
		for (const [contact] of pairs(contacts)) {
			if (is_at(contact, domain)) {
				list.push(contact);
			}
		}
		return list;
	}

	/** All contacts that are remembered. */
	function all_contacts(): string[] {
		return keys_of(contacts);
	}

	/** The users who see any contact, as keys. */
	function watchers(): LuaTable<string, true> {
		const names = new LuaTable<string, true>();
		for (const [username] of pairs(users)) {
			names.set(username, true);
		}
		return names;
	}

	function clear(): void {
		forms.forget();
		contacts = new LuaTable();
		users = new LuaTable();
		crowded = new LuaTable();
	}

	/** All that is remembered, to be restored after a reload. */
	function save(): SavedContacts {
		return { contacts: contacts, users: users, crowded: crowded };
	}

	function restore(saved: SavedContacts): void {
		contacts = saved.contacts;
		users = saved.users;
		crowded = saved.crowded;
	}

	return {
		of,
		form_of,
		viewers_of,
		sees,
		is_crowded,
		available,
		unseen,
		gone,
		is_older,
		contacts_of,
		contacts_at,
		all_contacts,
		watchers,
		clear,
		save,
		restore,
	};
}

export type ContactCache = ReturnType<typeof create_contact_cache>;
