import { keys_of } from "../prosody/keys";
import { attribute } from "../prosody/send";
import type { Connection, Entities } from "../entities/entities";
import type { ContactCache } from "./contact_cache";
import { presence_rest, unavailable_rest } from "./delivery";
import type { Delivery } from "./delivery";
import { presence_of } from "./presence_form";

/** What a connection was told of a contact's resource. */
interface Told {
	/** The presence, as the cache has it. */
	form: string;
	/** The user who got that. */
	through: string;
	/** The users who see the resource and were covered when that was noted. */
	viewers: LuaTable<string, true>;
}

/** What a connection was told of contacts. */
interface Picture {
	/** By contact and resource. */
	contacts: LuaTable<string, LuaTable<string, Told>>;
	/** The contacts of whom it may have been told more while its grant covered all users, until `end_others` was called with them. */
	others: LuaTable<string, true>;
}

/** Sends a presence of a JID, of which `rest` is what `presence_rest` has. */
type Tell = (this: void, from: string, rest: string) => void;

/** The address of a contact's resource, "" for none. */
export function full_jid(contact: string, resource: string): string {
	return resource !== "" ? contact + "/" + resource : contact;
}

/**
 * Tells the entities whose grant covers some users (option `users`) of contacts: such an entity gets what any of these users gets.
 * What a contact sends to others does not reach it, whoever was told first.
 *
 * Each presence costs the same, however many users see the contact.
 */
export function create_covered_contacts(entities: Entities, cache: ContactCache, delivery: Delivery) {
	const pictures = setmetatable(new LuaTable<Connection, Picture>(), { __mode: "k" });

	function picture_of(connection: Connection): Picture {
		let picture = pictures.get(connection) as Picture | undefined;
		if (!picture) {
			picture = { contacts: new LuaTable(), others: new LuaTable() };
			pictures.set(connection, picture);
		}
		return picture;
	}

	/** What a connection was told of a contact, by resource. */
	function told_of(connection: Connection, contact: string): LuaTable<string, Told> | undefined {
		return picture_of(connection).contacts.get(contact);
	}

	/** Makes what sends to a connection at once. */
	function direct(connection: Connection): Tell {
		return (from, rest) => {
			delivery.tell(connection, from, rest);
		};
	}

	/** Notes that a connection was told what a user got of a resource. */
	function note_told(connection: Connection, contact: string, resource: string, form: string, username: string): void {
		const contacts = picture_of(connection).contacts;
		const resources = (contacts.get(contact) as LuaTable<string, Told> | undefined) ?? new LuaTable<string, Told>();
		const told = (resources.get(resource) as Told | undefined) ?? { form: form, through: username, viewers: new LuaTable<string, true>() };
		told.form = form;
		told.through = username;
		told.viewers.set(username, true);
		resources.set(resource, told);
		contacts.set(contact, resources);
	}

	/** Tells a connection that a resource that it was told of is not available any more. */
	function tell_gone(connection: Connection, contact: string, resource: string, tell: Tell): void {
		const contacts = picture_of(connection).contacts;
		const resources = contacts.get(contact);
		resources.delete(resource);
		if (next(resources)[0] === undefined) {
			contacts.delete(contact);
		}
		if (delivery.may_tell_contact(connection, contact)) {
			const from = full_jid(contact, resource);
			tell(from, unavailable_rest(from));
		}
	}

	/** Takes those off the viewers whom the grant does not cover any more, up to one whom it covers; returns that one. */
	function covered_viewer(connection: Connection, told: Told): string | undefined {
		for (const [username] of pairs(told.viewers)) {
			if (delivery.covers(connection, username)) {
				return username;
			}
			told.viewers.delete(username);
		}
		return undefined;
	}

	/** Tells what follows from a resource's not being shown by a user any more: the end, or what another user got, if that is not the same. */
	function remove_viewer(connection: Connection, contact: string, resource: string, told: Told, username: string, tell: Tell): void {
		told.viewers.delete(username);
		if (told.through !== username && next(told.viewers)[0] !== undefined) {
			return;
		}
		const other = covered_viewer(connection, told);
		const form = other !== undefined ? cache.form_of(contact, resource, other) : undefined;
		if (other === undefined || form === undefined) {
			tell_gone(connection, contact, resource, tell);
			return;
		}
		if (form !== told.form && delivery.may_tell_contact(connection, contact)) {
			const from = full_jid(contact, resource);
			tell(from, attribute("from", from) + presence_of(form));
		}
		note_told(connection, contact, resource, form, other);
	}

	/** Tells a connection an available presence that a user got, if that is another than it was told. */
	function tell_available(connection: Connection, contact: string, resource: string, form: string, username: string, stanza: Stanza): void {
		if (!delivery.covers(connection, username) || !delivery.may_tell_contact(connection, contact)) {
			return;
		}
		const resources = told_of(connection, contact);
		const told = resources && (resources.get(resource) as Told | undefined);
		if (told && told.form === form) {
			told.viewers.set(username, true);
		} else {
			note_told(connection, contact, resource, form, username);
			delivery.tell(connection, stanza.attr.from!, presence_rest(stanza));
		}
	}

	/** Tells a connection which of a contact's resources ended, for all or for a user. */
	function tell_ended(connection: Connection, contact: string, ended: string[], username: string | undefined): void {
		const resources = told_of(connection, contact);
		for (const [, resource] of ipairs(keys_of(resources))) {
			const told = resources!.get(resource);
			const available = cache.of(contact);
			if (!available || !available.has(resource)) {
				tell_gone(connection, contact, resource, direct(connection));
			} else if (username !== undefined && told.viewers.has(username) && cache.form_of(contact, resource, username) === undefined) {
				remove_viewer(connection, contact, resource, told, username, direct(connection));
			}
		}
		if (picture_of(connection).others.has(contact) && delivery.may_tell_contact(connection, contact)) {
			for (const [, resource] of ipairs(ended)) {
				if (!resources || !resources.has(resource)) {
					const from = full_jid(contact, resource);
					delivery.tell(connection, from, unavailable_rest(from));
				}
			}
		}
	}

	/** Tells such entities of an available presence that a user got, and that the cache has by now. */
	function receive_available(contact: string, resource: string, username: string, stanza: Stanza): void {
		const connections = entities.receivers("covered_contacts");
		if (connections.length > 0) {
			const form = cache.form_of(contact, resource, username);
			for (const [, connection] of ipairs(form !== undefined ? connections : [])) {
				tell_available(connection, contact, resource, form!, username, stanza);
			}
		}
	}

	/**
	 * Tells such entities that a user does not see some resources of a contact any more, after the cache has forgotten them.
	 *
	 * @param ended the resources that nobody sees any more
	 * @param username nil where they ended for all users
	 */
	function receive_end(contact: string, ended: string[], username?: string): void {
		for (const [, connection] of ipairs(entities.receivers("covered_contacts"))) {
			tell_ended(connection, contact, ended, username);
		}
	}

	/** Tells a connection what a user whom its grant covers sees of a contact, as far as it was told of none of that. */
	function show(connection: Connection, username: string, contact: string, tell: Tell): void {
		for (const [, resource] of ipairs(keys_of(cache.of(contact)))) {
			const form = cache.form_of(contact, resource, username);
			const resources = told_of(connection, contact);
			const told = resources && (resources.get(resource) as Told | undefined);
			if (form !== undefined && told) {
				told.viewers.set(username, true);
			} else if (form !== undefined) {
				const from = full_jid(contact, resource);
				note_told(connection, contact, resource, form, username);
				tell(from, attribute("from", from) + presence_of(form));
			}
		}
	}

	/** Tells a connection the end of what only a user showed it of a contact, whom its grant does not cover any more. */
	function hide(connection: Connection, username: string, contact: string, tell: Tell): void {
		const resources = told_of(connection, contact);
		for (const [, resource] of ipairs(keys_of(resources))) {
			const told = resources!.get(resource);
			if (told.viewers.has(username)) {
				remove_viewer(connection, contact, resource, told, username, tell);
			}
		}
	}

	/** Begins to tell a connection of covered users' contacts only, after its grant covered all users. To be followed by `keep` and `end_others`. */
	function narrow(connection: Connection): void {
		const others = picture_of(connection).others;
		for (const [, contact] of ipairs(cache.all_contacts())) {
			others.set(contact, true);
		}
	}

	/** Has a connection keep what it was told of a contact whom a covered user sees; tells it what that user got, if that is not the same. */
	function keep(connection: Connection, username: string, contact: string, tell: Tell): void {
		const available = cache.of(contact);
		for (const [, resource] of ipairs(picture_of(connection).others.has(contact) ? keys_of(available) : [])) {
			const form = available!.get(resource).form;
			const resources = told_of(connection, contact);
			if (form === cache.form_of(contact, resource, username) && !(resources && resources.has(resource))) {
				note_told(connection, contact, resource, form, username);
			}
		}
		show(connection, username, contact, tell);
	}

	/** Tells a connection the end of what it was told of a contact while its grant covered all users, and no covered user sees. */
	function end_others(connection: Connection, contact: string, tell: Tell): void {
		picture_of(connection).others.delete(contact);
		const resources = told_of(connection, contact);
		for (const [, resource] of ipairs(keys_of(cache.of(contact)))) {
			if (!(resources && resources.has(resource))) {
				const from = full_jid(contact, resource);
				tell(from, unavailable_rest(from));
			}
		}
	}

	/** Forgets what a connection was told. */
	function forget(connection: Connection): void {
		pictures.delete(connection);
	}

	return { receive_available, receive_end, show, hide, narrow, keep, end_others, forget };
}
export type CoveredContacts = ReturnType<typeof create_covered_contacts>;
