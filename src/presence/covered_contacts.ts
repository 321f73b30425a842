import { attribute } from "../prosody/send";
import type { Connection, Entities } from "../entities/entities";
import { presence_of } from "./contact_cache";
import type { ContactCache } from "./contact_cache";
import { presence_rest, unavailable_rest } from "./delivery";
import type { Delivery } from "./delivery";

/** What one connection sees of a contact: the presences as the cache has them, by resource. */
interface View {
	connection: Connection;
	presences: LuaTable<string, string>;
}

/** The address of a contact's resource, "" for none. */
export function full_jid(contact: string, resource: string): string {
	return resource !== "" ? contact + "/" + resource : contact;
}

/**
 * Tells the entities whose grant covers some users (option `users`) of contacts: such an entity sees what any of its users sees.
 * What others see does not reach it, whoever was told first.
 */
export function create_covered_contacts(entities: Entities, cache: ContactCache, delivery: Delivery) {
	/** What a connection sees of a contact now. */
	function presences_for(connection: Connection, contact: string): LuaTable<string, string> {
		const presences = new LuaTable<string, string>();
		const resources = cache.of(contact);
		if (resources && delivery.may_tell_contact(connection, contact)) {
			for (const [resource, remembered] of pairs(resources)) {
				if (delivery.covers_any(connection, remembered.seen_by)) {
					presences.set(resource, remembered.form);
				}
			}
		}
		return presences;
	}

	/** Tells what is different from what a connection saw before; `stanza` is the presence that made it so, if one did. */
	function tell_difference(view: View, contact: string, stanza: Stanza | undefined): void {
		const after = presences_for(view.connection, contact);
		for (const [resource] of pairs(view.presences)) {
			if (!after.has(resource)) {
				delivery.tell_end(view.connection, full_jid(contact, resource));
			}
		}
		for (const [resource, form] of pairs(after)) {
			if (view.presences.get(resource) !== form) {
				const from = full_jid(contact, resource);
				const rest = stanza && stanza.attr.from === from ? presence_rest(stanza) : attribute("from", from) + presence_of(form);
				delivery.tell(view.connection, from, rest);
			}
		}
	}

	/** Calls what changes what the cache has of a contact, and tells what that changes for such entities. */
	function watch<T>(contact: string, stanza: Stanza | undefined, change: (this: void) => T): T {
		const views: View[] = [];
		for (const [, connection] of ipairs(entities.receivers("covered_contacts"))) {
			views.push({ connection: connection, presences: presences_for(connection, contact) });
		}
		const result = change();
		for (const [, view] of ipairs(views)) {
			tell_difference(view, contact, stanza);
		}
		return result;
	}

	/** Tells a connection the end of what only a user showed it, whom its grant does not cover any more. */
	function tell_uncovered(connection: Connection, username: string): void {
		for (const [, contact] of ipairs(cache.contacts_of(username))) {
			const resources = cache.of(contact);
			const presences = new LuaTable<string, string>();
			if (resources && delivery.may_tell_contact(connection, contact)) {
				for (const [resource, remembered] of pairs(resources)) {
					if (cache.is_seen(contact, resource, username)) {
						presences.set(resource, remembered.form);
					}
				}
			}
			for (const [resource] of pairs(presences_for(connection, contact))) {
				presences.delete(resource);
			}
			for (const [resource] of pairs(presences)) {
				const from = full_jid(contact, resource);
				delivery.tell(connection, from, unavailable_rest(from));
			}
		}
	}

	return { watch, tell_uncovered };
}
export type CoveredContacts = ReturnType<typeof create_covered_contacts>;
