import * as jid from "util.jid";
import * as st from "util.stanza";
import { peek_roster } from "../prosody/accounts";
import { since_0_10 } from "../prosody/compatibility";
import { keys_of } from "../prosody/keys";
import type { AddTimer } from "../prosody/timers";
import type { Entities } from "../entities/entities";
import type { ContactCache } from "./contact_cache";
import { full_jid } from "./covered_contacts";
import type { CoveredContacts } from "./covered_contacts";
import { sees_contact } from "./delivery";
import type { Delivery } from "./delivery";
import { create_endings } from "./endings";
import type { Ending } from "./endings";
import type { ProbeOutcome, Probes } from "./probes";

/**
 * Errors that say what cannot be reached: the contact's server, which is so for all users; or the contact, which may be so
 * for the user who gets the error only, unless the contact is a domain.
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
	/** The contact's resource, "" if it has none. */
	resource: string;
	/** The name of the user. */
	username: string;
	/** Whether it is sent to the full JID that this module's probes come from. */
	is_answer: boolean;
}

/** What hearing the presences of contacts needs. */
interface ContactService {
	host: string;
	entities: Entities;
	cache: ContactCache;
	probes: Probes;
	add_timer: AddTimer;
	delivery: Delivery;
	covered_contacts: CoveredContacts;
}

/** Hears the presences of users' contacts and tells entities (XEP-0356, 7.4). */
export function create_contact_presence(service: ContactService) {
	const host = service.host;
	const cache = service.cache;
	const probes = service.probes;
	const delivery = service.delivery;
	const covered = service.covered_contacts;

	/** Whether any entity is granted to see contacts. */
	function is_wanted(): boolean {
		for (const [, entity] of pairs(service.entities.all())) {
			if (entity.permissions.presence === "roster") {
				return true;
			}
		}
		return false;
	}

	/** The contact and the user of a presence; nil if it comes from a user of this host, or if no entity is granted to see contacts. */
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

	/** Whether a user is subscribed to the presence of a contact. */
	function has_contact(username: string, contact: string): boolean {
		// COMPAT: with Prosody 0.9 the cache does not hear of roster changes.
		if (since_0_10 && cache.sees(username, contact)) {
			return true;
		}
		const roster = peek_roster(username, host);
		return roster !== undefined && sees_contact(roster.get(contact));
	}

	/** Tells that the resources of a contact that are not remembered are unavailable. As they are not known, the presence of the bare JID has to stand for them, which ends all. */
	function tell_rest_gone(contact: string): void {
		delivery.tell_contact(contact, contact, st.presence({ type: "unavailable", from: contact }));
	}

	/** Tells that a contact with more resources than are remembered is unavailable, after the last remembered one has ended. */
	function tell_rest(contact: string, is_crowded: boolean): void {
		if (is_crowded && !cache.of(contact)) {
			tell_rest_gone(contact);
		}
	}

	/**
	 * Tells that resources of a contact are not available any more.
	 *
	 * @param is_crowded whether the contact had more resources than are remembered
	 */
	function tell_end(contact: string, resources: string[], is_crowded: boolean): void {
		for (const [, resource] of ipairs(resources)) {
			delivery.tell_contact(contact, full_jid(contact, resource), undefined);
		}
		tell_rest(contact, is_crowded);
	}

	/** Forgets the resources of a contact; where these are given, only those that a user sees and that came before a time. Returns them. */
	function gone(contact: string, username: string | undefined, before: number | undefined): string[] {
		const ended = cache.gone(contact, undefined, username, before);
		covered.receive_end(contact, ended);
		return ended;
	}

	/** Ends a contact for a user who does not see it any more, and for entities if nobody else does. */
	function unseen(username: string, contact: string): void {
		const is_crowded = cache.is_crowded(contact);
		const did_see = cache.sees(username, contact);
		const ended = cache.unseen(contact, undefined, username);
		covered.receive_unseen(contact, ended, username);
		tell_end(contact, ended, is_crowded);
		const left = cache.of(contact);
		if (is_crowded && did_see && left) {
			// Nobody else may see those that are not remembered.
			tell_rest_gone(contact);
			for (const [resource, remembered] of pairs(left)) {
				delivery.tell_contact_again(contact, full_jid(contact, resource), remembered.form);
			}
		}
	}

	/** Ends a contact for all users, or for one. */
	function end_contact(ending: Ending): void {
		if (ending.viewer !== "") {
			unseen(ending.viewer, ending.contact);
		} else {
			const is_crowded = cache.is_crowded(ending.contact);
			tell_end(ending.contact, gone(ending.contact, undefined, undefined), is_crowded);
		}
	}

	const endings = create_endings(service.add_timer, end_contact);

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
			probes.answer(contact, username, "presence");
			const is_new = cache.available(contact, presence.resource, username, event.stanza);
			covered.receive_available(contact, presence.resource, username, event.stanza);
			if (is_new) {
				delivery.tell_contact(contact, event.stanza.attr.from!, event.stanza);
			}
		}
		return presence.is_answer ? true : undefined;
	}

	/**
	 * Notes an answer to a probe that another module drops before `receive_available` gets it, as mod_blocklist does where the user
	 * has blocked the contact: this user does not see it, others may.
	 */
	function receive_dropped(event: StanzaEvent): Handled {
		const attr = event.stanza.attr;
		const presence =
			attr.type === undefined && attr.to !== undefined && !prosody.full_sessions.has(attr.to) ? received(event.stanza) : undefined;
		if (presence && presence.is_answer && probes.is_unanswered(presence.contact, presence.username)) {
			service.add_timer(0, () => {
				// The probe waits no more where `receive_available` got the answer.
				if (probes.is_unanswered(presence.contact, presence.username)) {
					probes.answer(presence.contact, presence.username, "refusal");
					unseen(presence.username, presence.contact);
				}
				return undefined;
			});
		}
		return undefined;
	}

	/** What an error says that came as the answer to a probe. */
	function outcome_of_error(stanza: Stanza, contact: string): ProbeOutcome {
		const [, condition] = stanza.get_error();
		const [node] = jid.split(contact);
		return condition !== undefined && unreachable[condition] !== "server" && node !== undefined ? "error" : "unreachable";
	}

	/** Forgets the resources that an error ends. Returns those that nobody sees any more. */
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

	/** Forgets the resources that an unavailable presence ends. Returns those that nobody sees any more. */
	function forget_unavailable(presence: Received): string[] {
		const resource = presence.resource !== "" ? presence.resource : undefined;
		if (presence.is_answer) {
			// If only this user lost sight of it, the server would have been told. So it ended unheard for all viewers.
			return cache.gone(presence.contact, resource, presence.username, undefined);
		}
		return cache.unseen(presence.contact, resource, presence.username);
	}

	/** Whether an error returns a presence that a user's client broadcast: one client of the contact did not acknowledge it (XEP-0198) and is gone, which says nothing of others. */
	function is_unacknowledged(presence: Received): boolean {
		const [, condition] = presence.stanza.get_error();
		return condition === "recipient-unavailable" && presence.resource === "" && !presence.is_answer;
	}

	/** Handles an unavailable presence or an error, and tells which resources end by it. */
	function receive_ending(presence: Received): void {
		const contact = presence.contact;
		const resource = presence.resource;
		const is_error = presence.stanza.attr.type === "error";
		const resources = cache.of(contact);
		const is_crowded = cache.is_crowded(contact);
		// The resource may be one of those that are not remembered, and entities may have been told of it.
		const may_be_told = is_crowded && resource !== "" && !resources!.has(resource) && has_contact(presence.username, contact);
		const ended = is_error ? forget_failed(presence) : forget_unavailable(presence);
		covered.receive_end(contact, ended, presence.username);
		if (may_be_told) {
			covered.receive_rest_end(contact, resource, presence.username);
		}
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
	 * Handles presences that end others: unavailable ones, errors and `unsubscribed`. Comes before mod_blocklist, as a contact
	 * that the user has blocked can become unavailable, too.
	 *
	 * What is sent to the full JID of a probe stops here, so that no client and no roster gets it. What is sent to the user's
	 * bare JID goes on. So does `unsubscribed`, with which servers refuse probes: it says that the contact has ended the
	 * subscription, and the user's next client would get the same answer to its own probe.
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
		if (presence_type === "error") {
			if (is_unacknowledged(presence)) {
				return undefined;
			}
			probes.answer(contact, username, outcome_of_error(event.stanza, contact));
		} else {
			probes.answer(contact, username, presence_type === "unavailable" ? "presence" : "refusal");
		}
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
			// When an account is deleted this comes for each of its contacts, which end in slices then.
			if (!endings.is_waiting(contact, username)) {
				unseen(username, contact);
			}
		}
	}

	/** Ends all contacts of a user, in slices. */
	function forget_user(username: string): void {
		endings.add(cache.contacts_of(username), username);
	}

	/** Handles the end of an account, of this host or another one, before its roster is deleted. */
	function user_deleted(event: UserEvent): Handled {
		if (event.host === host) {
			probes.forget_user(event.username);
			forget_user(event.username);
		} else {
			end_contact({ contact: event.username + "@" + event.host, viewer: "" });
		}
		return undefined;
	}

	/** Handles the end of a domain on this server: a component that disconnected, or a host that was deactivated. */
	function domain_gone(domain: string): void {
		if (domain !== host) {
			probes.forget_answers_at(domain);
			endings.add(cache.contacts_at(domain), "");
		}
	}

	/** Forgets, for a user, the resources of a contact that came before a time. Returns those that nobody sees any more. */
	function unseen_before(contact: string, username: string, time: number): string[] {
		const resources = cache.of(contact);
		const ended: string[] = [];
		for (const [, resource] of ipairs(keys_of(resources))) {
			if (resources!.get(resource).heard_at < time && cache.unseen(contact, resource, username).length > 0) {
				ended.push(resource);
			}
		}
		covered.receive_end(contact, ended, username);
		return ended;
	}

	/**
	 * Handles the end of a probe: resources whose presences did not come again after it are not available any more, for all users
	 * or for the one in whose name it was sent.
	 */
	function probe_ended(contact: string, username: string, sent_at: number, is_for_all: boolean): void {
		const is_crowded = cache.is_crowded(contact);
		const ended = is_for_all ? gone(contact, username, sent_at) : unseen_before(contact, username, sent_at);
		tell_end(contact, ended, is_crowded);
	}

	return {
		is_wanted,
		receive_available,
		receive_dropped,
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
