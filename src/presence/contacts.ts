import * as jid from "util.jid";
import * as st from "util.stanza";
import { peek_roster } from "../prosody/accounts";
import { since_0_10 } from "../prosody/compatibility";
import type { AddTimer } from "../prosody/timers";
import type { Entities } from "../entities/entities";
import type { ContactCache } from "./contact_cache";
import { full_jid } from "./covered_contacts";
import type { CoveredContacts } from "./covered_contacts";
import { sees_contact } from "./delivery";
import type { Delivery } from "./delivery";
import { create_endings } from "./endings";
import type { Ending } from "./endings";
import type { Probes } from "./probes";

/**
 * Errors that say what cannot be reached: a contact's server by anybody, or the contact. If the latter is no domain, that
 * may only be so for the user who gets the error.
 */
const unreachable: Record<string, "server" | "contact"> = {
	"gone": "contact",
	"item-not-found": "contact",
	"remote-server-not-found": "server",
	"remote-server-timeout": "server",
	"service-unavailable": "contact",
};

/** A presence that a contact sends to a user of the host. */
interface Received {
	stanza: Stanza;
	contact: string;
	/** Of the contact, "" where it has none. */
	resource: string;
	/** Of the user. */
	username: string;
	/** Whether it is sent to where probes come from, which is no client's. */
	is_answer: boolean;
}

/** The presences of contacts (XEP-0356, 7.4). */
export function create_contact_presence(
	host: string,
	entities: Entities,
	cache: ContactCache,
	probes: Probes,
	add_timer: AddTimer,
	delivery: Delivery,
	covered: CoveredContacts,
) {
	/** Whether an entity is granted to see contacts. */
	function is_wanted(): boolean {
		for (const [, entity] of pairs(entities.all())) {
			if (entity.permissions.presence === "roster") {
				return true;
			}
		}
		return false;
	}

	/** What a presence says of a contact and a user; nil where it does not come from a contact elsewhere, or nobody wants it. */
	function received(stanza: Stanza): Received | undefined {
		const from = stanza.attr.from;
		const to = stanza.attr.to;
		if (from === undefined || to === undefined || !is_wanted()) {
			return undefined;
		}
		const [node, contact_host, resource] = jid.split(from);
		if (contact_host === undefined || contact_host === host) {
			return undefined;
		}
		const [username, , user_resource] = jid.split(to);
		return {
			stanza: stanza,
			contact: jid.join(node, contact_host),
			resource: resource ?? "",
			username: username!,
			is_answer: !prosody.full_sessions.has(to) && probes.is_own_resource(username!, user_resource),
		};
	}

	/** Whether a user has a contact in the roster and sees its presence. */
	function has_contact(username: string, contact: string): boolean {
		// Before 0.10, changes of rosters cannot be heard of.
		if (since_0_10 && cache.sees(username, contact)) {
			return true;
		}
		const roster = peek_roster(username, host);
		return roster !== undefined && sees_contact(roster.get(contact));
	}

	/** Tells that those resources of a contact are not available any more that are not remembered, when the last one ended that is. */
	function tell_rest(contact: string, is_crowded: boolean): void {
		if (is_crowded && !cache.of(contact)) {
			// Which of them a connection was told is not known either.
			delivery.tell_contact(contact, contact, st.presence({ type: "unavailable", from: contact }));
		}
	}

	/**
	 * Tells that resources of a contact are not available any more.
	 *
	 * @param is_crowded whether it had more than are remembered
	 */
	function tell_end(contact: string, resources: string[], is_crowded: boolean): void {
		for (const [, resource] of ipairs(resources)) {
			delivery.tell_contact(contact, full_jid(contact, resource), undefined);
		}
		tell_rest(contact, is_crowded);
	}

	/** Forgets what is known of a contact; of what only one user saw and came before a time where these are given. Returns the resources. */
	function gone(contact: string, username: string | undefined, before: number | undefined): string[] {
		const ended = cache.gone(contact, undefined, username, before);
		covered.receive_end(contact, ended);
		return ended;
	}

	/** Tells what follows from a user's not seeing a contact any more. */
	function unseen(username: string, contact: string): void {
		const is_crowded = cache.is_crowded(contact);
		const ended = cache.unseen(contact, undefined, username);
		covered.receive_end(contact, ended, username);
		tell_end(contact, ended, is_crowded);
	}

	/** Ends all of a contact, or what a user sees of it. */
	function end_contact(ending: Ending): void {
		if (ending.viewer !== "") {
			unseen(ending.viewer, ending.contact);
		} else {
			const is_crowded = cache.is_crowded(ending.contact);
			tell_end(ending.contact, gone(ending.contact, undefined, undefined), is_crowded);
		}
	}

	const endings = create_endings(add_timer, end_contact);

	/** Handles an available presence that a user gets. */
	function receive_available(event: StanzaEvent): Handled {
		const presence = event.stanza.attr.type === undefined ? received(event.stanza) : undefined;
		if (!presence) {
			return undefined;
		}
		const contact = presence.contact;
		const username = presence.username;
		endings.settle(contact, username);
		if (has_contact(username, contact)) {
			probes.answer(contact, username, false);
			const is_new = cache.available(contact, presence.resource, username, event.stanza);
			covered.receive_available(contact, presence.resource, username, event.stanza);
			if (is_new) {
				delivery.tell_contact(contact, event.stanza.attr.from!, event.stanza);
			}
		}
		return presence.is_answer ? true : undefined;
	}

	/** Forgets what an error ends. Returns the resources that nobody sees now. */
	function forget_failed(presence: Received): string[] {
		const contact = presence.contact;
		const resource = presence.resource !== "" ? presence.resource : undefined;
		const [, condition] = presence.stanza.get_error();
		const what = condition !== undefined ? unreachable[condition] : undefined;
		if (what !== undefined) {
			probes.forget_answer(contact);
			const [node] = jid.split(contact);
			if (what === "server" || node === undefined) {
				return cache.gone(contact, resource, undefined, undefined);
			}
		}
		return cache.unseen(contact, resource, presence.username);
	}

	/** Forgets what an unavailable presence ends. Returns the resources that nobody sees now. */
	function forget_unavailable(presence: Received): string[] {
		const resource = presence.resource !== "" ? presence.resource : undefined;
		if (presence.is_answer) {
			// A user who is to stop seeing it is told, so that it ended unheard for all who saw it as this one did.
			return cache.gone(presence.contact, resource, presence.username, undefined);
		}
		return cache.unseen(presence.contact, resource, presence.username);
	}

	/** Tells what an unavailable presence or an error ends. */
	function receive_ending(presence: Received): void {
		const contact = presence.contact;
		const resource = presence.resource;
		const is_error = presence.stanza.attr.type === "error";
		const resources = cache.of(contact);
		const is_crowded = cache.is_crowded(contact);
		// It may be one too many to be remembered, and was told.
		const may_be_told = is_crowded && resource !== "" && !resources!.has(resource) && has_contact(presence.username, contact);
		const ended = is_error ? forget_failed(presence) : forget_unavailable(presence);
		covered.receive_end(contact, ended, presence.username);
		const is_whole = resource === "" && ended.length > 0 && !cache.of(contact);
		if (!is_error && (is_whole || may_be_told || (ended.length === 1 && ended[0] === resource))) {
			delivery.tell_contact(contact, presence.stanza.attr.from!, presence.stanza);
			if (!is_whole && ended.length > 0) {
				tell_rest(contact, is_crowded);
			}
		} else if (may_be_told) {
			tell_end(contact, [resource], false);
		} else {
			tell_end(contact, ended, is_crowded);
		}
	}

	/**
	 * Handles a presence that ends others, before anything keeps it from the user: a contact that is blocked may leave as well.
	 *
	 * What comes to the address of a probe ends here: neither a client nor a roster gets it. What comes to the user's bare
	 * JID goes on, also `unsubscribed`, as which servers answer a probe that they do not allow. It says that the contact has
	 * ended the subscription, which is so whoever asks: the next client that the user comes online with would get the same answer.
	 */
	function receive_end(event: StanzaEvent): Handled {
		const presence_type = event.stanza.attr.type;
		if (presence_type !== "unavailable" && presence_type !== "error" && presence_type !== "unsubscribed") {
			return undefined;
		}
		const presence = received(event.stanza);
		if (!presence) {
			return undefined;
		}
		const contact = presence.contact;
		const username = presence.username;
		probes.answer(contact, username, presence_type === "error");
		if (presence_type !== "unsubscribed") {
			receive_ending(presence);
		} else if (presence.is_answer) {
			unseen(username, contact);
		}
		return presence.is_answer ? true : undefined;
	}

	/** Handles a change of a user's roster. */
	function roster_changed(username: string, contact: string, item: RosterItem | undefined): void {
		if (!sees_contact(item)) {
			probes.cancel(contact, username);
			// The roster of an account that is deleted goes contact by contact.
			if (!endings.is_waiting(contact, username)) {
				unseen(username, contact);
			}
		}
	}

	/** Tells what follows from a user's not being there any more. */
	function forget_user(username: string): void {
		endings.add(cache.contacts_of(username), username);
	}

	/** Handles the end of an account, of this host or another. Before anything hears of what becomes of its roster. */
	function user_deleted(event: UserEvent): Handled {
		if (event.host === host) {
			probes.forget_user(event.username);
			forget_user(event.username);
		} else {
			end_contact({ contact: event.username + "@" + event.host, viewer: "" });
		}
		return undefined;
	}

	/** Handles the end of a domain on this server: a component that has disconnected, a host that is deactivated. */
	function domain_gone(domain: string): void {
		if (domain !== host) {
			probes.forget_answers_at(domain);
			endings.add(cache.contacts_at(domain), "");
		}
	}

	/** Handles the end of a probe: what the user still is to see came again after it. */
	function probe_ended(contact: string, username: string, sent_at: number): void {
		const is_crowded = cache.is_crowded(contact);
		tell_end(contact, gone(contact, username, sent_at), is_crowded);
	}

	return {
		is_wanted,
		receive_available,
		receive_end,
		roster_changed,
		unseen,
		forget_user,
		user_deleted,
		domain_gone,
		probe_ended,
		finish_endings: endings.finish_all,
	};
}

export type ContactPresence = ReturnType<typeof create_contact_presence>;
