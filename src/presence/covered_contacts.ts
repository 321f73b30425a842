import { keys_of } from "../prosody/keys";
import type { Connection, Entities } from "../entities/entities";
import type { ContactCache } from "./contact_cache";
import { presence_rest, unavailable_rest } from "./delivery";
import type { Delivery } from "./delivery";
import { form_rest } from "./presence_form";

/** A resource of a contact as a connection was told of it. */
interface Told {
	/** The presence, in the form of `create_presence_forms`. */
	form: string;
	/** The user who got it. */
	through: string;
	/** Users who see the resource, as keys. The grant covered them when they were added. */
	viewers: LuaTable<string, true>;
}

/** All contacts that a connection was told of. */
interface Picture {
	/** By contact and resource. */
	contacts: LuaTable<string, LuaTable<string, Told>>;
	/**
	 * Contacts that it may have been told more of, while its grant covered all users or before a reload of the module, until
	 * `end_others` is called for them. By contact: the resources that it was told of; true if these may be any.
	 */
	others: LuaTable<string, LuaTable<string, Told> | true>;
	/** Contacts with more resources than are remembered, if it was told of such resources. By contact: the users who got these, as keys; `anyone` if they may be any. */
	crowded: LuaTable<string, LuaTable<string, true>>;
}

/** What the streams of entities were told of contacts; "all" if their grants covered all users. */
export type Pictures = LuaTable<Session, Picture | "all">;

/** Stands for users who are not known. No user has this name. */
const anyone = "";

/** Sends a presence of a JID. `rest` is its XML text as `presence_rest` returns it. */
type Tell = (this: void, from: string, rest: string) => void;

/** The JID of a contact's resource, which is "" for the bare JID. */
export function full_jid(contact: string, resource: string): string {
	return resource !== "" ? contact + "/" + resource : contact;
}

/**
 * Tells entities whose grant is limited to some users (option `users`) of these users' contacts. Such an entity gets the
 * presences that a covered user gets, and none that a contact sends to others only.
 *
 * A presence costs the same work however many users see the contact.
 */
export function create_covered_contacts(entities: Entities, cache: ContactCache, delivery: Delivery) {
	const pictures = setmetatable(new LuaTable<Connection, Picture>(), { __mode: "k" });

	function begin_picture(connection: Connection): Picture {
		const picture: Picture = { contacts: new LuaTable(), others: new LuaTable(), crowded: new LuaTable() };
		pictures.set(connection, picture);
		return picture;
	}

	function picture_of(connection: Connection): Picture {
		return pictures.get(connection) ?? begin_picture(connection);
	}

	/** The resources of a contact that a connection was told of. */
	function told_of(connection: Connection, contact: string): LuaTable<string, Told> | undefined {
		return picture_of(connection).contacts.get(contact);
	}

	/** Makes a function that sends presences to a connection at once. */
	function direct(connection: Connection): Tell {
		return (from, rest) => {
			delivery.tell(connection, from, rest);
		};
	}

	/** Whether a resource is one of those that `end_others` would end. It is none any more, unless these may be any. */
	function take_other(connection: Connection, contact: string, resource: string): boolean {
		const others = picture_of(connection).others.get(contact) as LuaTable<string, Told> | true | undefined;
		if (others === undefined || others === true) {
			return others === true;
		}
		const is_other = others.has(resource);
		others.delete(resource);
		return is_other;
	}

	/** Puts a resource into a connection's picture. */
	function put_told(connection: Connection, contact: string, resource: string, told: Told): void {
		const contacts = picture_of(connection).contacts;
		const resources = (contacts.get(contact) as LuaTable<string, Told> | undefined) ?? new LuaTable<string, Told>();
		take_other(connection, contact, resource);
		resources.set(resource, told);
		contacts.set(contact, resources);
	}

	/** Notes that a connection was told the presence of a resource that a user got. */
	function note_told(connection: Connection, contact: string, resource: string, form: string, username: string): void {
		const resources = told_of(connection, contact);
		const before = resources && (resources.get(resource) as Told | undefined);
		const told = before ?? { form: form, through: username, viewers: new LuaTable<string, true>() };
		told.form = form;
		told.through = username;
		told.viewers.set(username, true);
		if (!before) {
			put_told(connection, contact, resource, told);
		}
	}

	/** Tells a connection that a resource is not available, if it may see the contact. */
	function tell_unavailable(connection: Connection, contact: string, resource: string, tell: Tell): void {
		if (delivery.may_tell_contact(connection, contact)) {
			const from = full_jid(contact, resource);
			tell(from, unavailable_rest(from));
		}
	}

	/** Whether a connection was told of resources of a contact that are not remembered, as a user got them. */
	function was_told_rest(connection: Connection, contact: string, username: string): boolean {
		const users = picture_of(connection).crowded.get(contact) as LuaTable<string, true> | undefined;
		return users !== undefined && (users.has(username) || users.has(anyone));
	}

	/**
	 * Tells a connection that the resources of a contact that are not remembered are unavailable, if it was told of any. As
	 * they are not known, the presence of the bare JID has to stand for them. It ends all, so the others are told again.
	 */
	function end_rest(connection: Connection, contact: string, tell: Tell): void {
		const picture = picture_of(connection);
		if (!picture.crowded.has(contact)) {
			return;
		}
		picture.crowded.delete(contact);
		picture.others.delete(contact);
		tell_unavailable(connection, contact, "", tell);
		for (const [resource, told] of pairs(told_of(connection, contact) ?? new LuaTable<string, Told>())) {
			if (delivery.may_tell_contact(connection, contact)) {
				const from = full_jid(contact, resource);
				tell(from, form_rest(from, told.form));
			}
		}
	}

	/** Tells a connection that a resource is not available any more. */
	function tell_gone(connection: Connection, contact: string, resource: string, tell: Tell): void {
		const contacts = picture_of(connection).contacts;
		const resources = contacts.get(contact);
		resources.delete(resource);
		tell_unavailable(connection, contact, resource, tell);
		if (next(resources)[0] === undefined) {
			contacts.delete(contact);
			end_rest(connection, contact, tell);
		}
	}

	/** A viewer whom the grant covers, nil if there is none. Those who are not covered any more are taken off the viewers on the way. */
	function covered_viewer(connection: Connection, told: Told): string | undefined {
		for (const [username] of pairs(told.viewers)) {
			if (delivery.covers(connection, username)) {
				return username;
			}
			told.viewers.delete(username);
		}
		return undefined;
	}

	/** Tells a connection the presence that a covered viewer of a resource got, if it differs from what it was told, or the end if there is no such viewer. */
	function tell_of_viewer(connection: Connection, contact: string, resource: string, told: Told, tell: Tell): void {
		const other = covered_viewer(connection, told);
		const form = other !== undefined ? cache.form_of(contact, resource, other) : undefined;
		if (other === undefined || form === undefined) {
			tell_gone(connection, contact, resource, tell);
			return;
		}
		if (form !== told.form && delivery.may_tell_contact(connection, contact)) {
			const from = full_jid(contact, resource);
			tell(from, form_rest(from, form));
		}
		note_told(connection, contact, resource, form, other);
	}

	/** Takes a user off the viewers of a resource. Tells the connection the presence of another covered viewer, if it differs, or the end if there is none. */
	function remove_viewer(connection: Connection, contact: string, resource: string, told: Told, username: string, tell: Tell): void {
		told.viewers.delete(username);
		if (told.through === username || next(told.viewers)[0] === undefined) {
			tell_of_viewer(connection, contact, resource, told, tell);
		}
	}

	/** Tells a connection an available presence that a user got, unless it was told the same one before. */
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

	/** Tells a connection an available presence that a user got, of a resource that is not remembered. */
	function tell_crowded(connection: Connection, contact: string, username: string, stanza: Stanza): void {
		if (delivery.covers(connection, username) && delivery.may_tell_contact(connection, contact)) {
			const crowded = picture_of(connection).crowded;
			const users = (crowded.get(contact) as LuaTable<string, true> | undefined) ?? new LuaTable<string, true>();
			users.set(username, true);
			crowded.set(contact, users);
			delivery.tell(connection, stanza.attr.from!, presence_rest(stanza));
		}
	}

	/** Tells a connection which resources of a contact ended, for all users or for one. */
	function tell_ended(connection: Connection, contact: string, ended: string[], username: string | undefined): void {
		const resources = told_of(connection, contact);
		for (const [, resource] of ipairs(ended)) {
			if (take_other(connection, contact, resource) && !(resources && resources.has(resource))) {
				tell_unavailable(connection, contact, resource, direct(connection));
			}
		}
		for (const [, resource] of ipairs(keys_of(resources))) {
			const told = resources!.get(resource);
			const available = cache.of(contact);
			if (!available || !available.has(resource)) {
				tell_gone(connection, contact, resource, direct(connection));
			} else if (username !== undefined && told.viewers.has(username) && cache.form_of(contact, resource, username) === undefined) {
				remove_viewer(connection, contact, resource, told, username, direct(connection));
			}
		}
		if (!cache.of(contact)) {
			end_rest(connection, contact, direct(connection));
		}
	}

	/** Tells such entities of an available presence that a user got. To be called when the cache has it. */
	function receive_available(contact: string, resource: string, username: string, stanza: Stanza): void {
		const connections = entities.receivers("covered_contacts");
		const form = connections.length > 0 ? cache.form_of(contact, resource, username) : undefined;
		for (const [, connection] of ipairs(connections)) {
			if (form !== undefined) {
				tell_available(connection, contact, resource, form, username, stanza);
			} else {
				tell_crowded(connection, contact, username, stanza);
			}
		}
	}

	/**
	 * Tells such entities that resources of a contact ended for a user, or for all. To be called when the cache has forgotten them.
	 *
	 * @param ended the resources that nobody sees any more
	 * @param username nil if they ended for all users
	 */
	function receive_end(contact: string, ended: string[], username?: string): void {
		for (const [, connection] of ipairs(entities.receivers("covered_contacts"))) {
			tell_ended(connection, contact, ended, username);
		}
	}

	/** Tells such entities that a resource that is not remembered ended for a user. */
	function receive_rest_end(contact: string, resource: string, username: string): void {
		for (const [, connection] of ipairs(entities.receivers("covered_contacts"))) {
			if (was_told_rest(connection, contact, username)) {
				tell_unavailable(connection, contact, resource, direct(connection));
			}
		}
	}

	/** Tells such entities that a user does not see a contact any more. `ended` is as in `receive_end`. */
	function receive_unseen(contact: string, ended: string[], username: string): void {
		receive_end(contact, ended, username);
		for (const [, connection] of ipairs(entities.receivers("covered_contacts"))) {
			if (was_told_rest(connection, contact, username)) {
				end_rest(connection, contact, direct(connection));
			}
		}
	}

	/** Tells a connection the resources of a contact that a covered user sees and that it was not told of, or whose presence came to this user while the grant did not cover the user. */
	function show(connection: Connection, username: string, contact: string, tell: Tell): void {
		for (const [, resource] of ipairs(keys_of(cache.of(contact)))) {
			const form = cache.form_of(contact, resource, username);
			const resources = told_of(connection, contact);
			const told = resources && (resources.get(resource) as Told | undefined);
			if (form !== undefined && told && (told.form === form || told.through !== username)) {
				told.viewers.set(username, true);
			} else if (form !== undefined) {
				const from = full_jid(contact, resource);
				note_told(connection, contact, resource, form, username);
				tell(from, form_rest(from, form));
			}
		}
	}

	/** Tells a connection the resources of a contact that covered users see, whatever it was told of them before. */
	function show_again(connection: Connection, contact: string): void {
		picture_of(connection).contacts.delete(contact);
		for (const [username] of pairs(cache.viewers_of(contact))) {
			if (delivery.covers(connection, username)) {
				show(connection, username, contact, direct(connection));
			}
		}
	}

	/** Ends, for a connection, the resources of a contact that it sees only through a user whom its grant does not cover any more. */
	function hide(connection: Connection, username: string, contact: string, tell: Tell): void {
		const resources = told_of(connection, contact);
		for (const [, resource] of ipairs(keys_of(resources))) {
			const told = resources!.get(resource);
			if (told.viewers.has(username)) {
				remove_viewer(connection, contact, resource, told, username, tell);
			}
		}
		if (was_told_rest(connection, contact, username)) {
			end_rest(connection, contact, tell);
		}
	}

	/** Begins to limit a connection to the contacts of covered users, after its grant covered all users. To be followed by `keep` and `end_others`. */
	function narrow(connection: Connection): void {
		const picture = begin_picture(connection);
		for (const [, contact] of ipairs(cache.all_contacts())) {
			picture.others.set(contact, true);
			if (cache.is_crowded(contact)) {
				const users = new LuaTable<string, true>();
				users.set(anyone, true);
				picture.crowded.set(contact, users);
			}
		}
	}

	/** Keeps for a connection what it was told of a contact that a covered user sees, and tells it the presences that this user got, where they differ. */
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

	/** The contacts for which `end_others` has to be called. */
	function others_of(connection: Connection): string[] {
		const picture = picture_of(connection);
		const contacts = keys_of(picture.others);
		for (const [contact] of pairs(picture.crowded)) {
			if (!picture.others.has(contact)) {
				contacts.push(contact);
			}
		}
		return contacts;
	}

	/** Ends, for a connection, the resources of a contact that it was told of before `narrow` or `restore` and that no covered user sees. */
	function end_others(connection: Connection, contact: string, tell: Tell): void {
		const picture = picture_of(connection);
		const others = picture.others.get(contact) as LuaTable<string, Told> | true | undefined;
		const resources = told_of(connection, contact);
		picture.others.delete(contact);
		if (others === true) {
			for (const [, resource] of ipairs(keys_of(cache.of(contact)))) {
				if (!(resources && resources.has(resource))) {
					tell_unavailable(connection, contact, resource, tell);
				}
			}
		} else if (others !== undefined) {
			// A user may see them of whom the catch-up did not know: if those who opted in could not be listed.
			for (const [resource, told] of pairs(others)) {
				put_told(connection, contact, resource, told);
				tell_of_viewer(connection, contact, resource, told, tell);
			}
		}
		for (const [username] of pairs(picture.crowded.get(contact) ?? new LuaTable<string, true>())) {
			if (!delivery.covers(connection, username)) {
				end_rest(connection, contact, tell);
				return;
			}
		}
	}

	/** Forgets all that a connection was told. */
	function forget(connection: Connection): void {
		pictures.delete(connection);
	}

	/** What all entities were told that see contacts, to be restored after a reload. */
	function save(): Pictures {
		const saved: Pictures = new LuaTable();
		for (const [, connection] of ipairs(entities.receivers("contacts"))) {
			saved.set(connection.session, "all");
		}
		for (const [, connection] of ipairs(entities.receivers("covered_contacts"))) {
			saved.set(connection.session, picture_of(connection));
		}
		return saved;
	}

	/** Takes over what a connection was told before a reload. To be followed by `show` and `end_others`: grants may differ, and what was under way was lost. */
	function restore_picture(connection: Connection, saved: Picture): void {
		const picture = begin_picture(connection);
		picture.others = saved.others;
		picture.crowded = saved.crowded;
		for (const [contact, resources] of pairs(saved.contacts)) {
			const before = saved.others.get(contact);
			if (before === undefined) {
				saved.others.set(contact, resources);
			} else if (before !== true) {
				for (const [resource, told] of pairs(resources)) {
					before.set(resource, told);
				}
			}
		}
	}

	/** Takes over what `save` gave. Returns the connections that were told of contacts before. */
	function restore(saved: Pictures): Connection[] {
		const connections: Connection[] = [];
		for (const [, connection] of ipairs(entities.receivers("contacts"))) {
			if (saved.has(connection.session)) {
				connections.push(connection);
			}
		}
		for (const [, connection] of ipairs(entities.receivers("covered_contacts"))) {
			const picture = saved.get(connection.session) as Picture | "all" | undefined;
			if (picture === "all") {
				narrow(connection);
			} else if (picture !== undefined) {
				restore_picture(connection, picture);
			}
			if (picture !== undefined) {
				connections.push(connection);
			}
		}
		return connections;
	}

	return {
		receive_available,
		receive_end,
		receive_rest_end,
		receive_unseen,
		show,
		show_again,
		hide,
		narrow,
		keep,
		others_of,
		end_others,
		forget,
		save,
		restore,
	};
}
export type CoveredContacts = ReturnType<typeof create_covered_contacts>;
