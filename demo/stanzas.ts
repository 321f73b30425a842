// The stanzas of the story: those that are sent, and what those that come say in plain words.

import { gateway, host } from "./configuration.js";
import { xml, type Element } from "./peer.js";

const xmlns_privilege = "urn:xmpp:privilege:2";
const xmlns_forward = "urn:xmpp:forward:0";
const xmlns_roster = "jabber:iq:roster";
const xmlns_register = "jabber:iq:register";
const xmlns_carbons = "urn:xmpp:carbons:2";
const xmlns_pubsub = "http://jabber.org/protocol/pubsub";
const bookmarks_node = "urn:xmpp:bookmarks:1";

export interface Contact {
	jid: string;
	name: string;
	group: string;
	subscription?: string;
}

export const roster_get = (to?: string): Element => xml("iq", { type: "get", to }, xml("query", { xmlns: xmlns_roster }));

export const roster_set = ({ jid, name, group, subscription }: Contact, to?: string): Element =>
	xml("iq", { type: "set", to }, xml("query", { xmlns: xmlns_roster }, xml("item", { jid, name, subscription }, xml("group", {}, group))));

/** A registration with a gateway (XEP-0077). */
export const registration = (to: string, username: string): Element =>
	xml("iq", { type: "set", to }, xml("query", { xmlns: xmlns_register }, xml("username", {}, username)));

export const enable_carbons = (): Element => xml("iq", { type: "set" }, xml("enable", { xmlns: xmlns_carbons }));

/** A message that the server is asked to send in a user's name (XEP-0356, 5.3). */
export const privileged_message = (from: string, to: string, body: string): Element =>
	xml(
		"message",
		{ to: host, id: "privileged-message" },
		xml(
			"privilege",
			{ xmlns: xmlns_privilege },
			xml(
				"forwarded",
				{ xmlns: xmlns_forward },
				xml("message", { xmlns: "jabber:client", type: "chat", id: "forwarded-message", from, to }, xml("body", {}, body)),
			),
		),
	);

/** An iq that the server is asked to send in a user's name (XEP-0356, 6.3). */
const privileged_iq = (type: string, user: string, to: string | undefined, payload: Element): Element =>
	xml(
		"iq",
		{ type, to: user },
		xml("privileged_iq", { xmlns: xmlns_privilege }, xml("iq", { xmlns: "jabber:client", type, id: "encapsulated-iq", to }, payload)),
	);

export const privileged_ping = (user: string, to: string): Element =>
	privileged_iq("get", user, to, xml("ping", { xmlns: "urn:xmpp:ping" }));

export const privileged_bookmark = (user: string, room: string, name: string): Element =>
	privileged_iq(
		"set",
		user,
		undefined,
		xml(
			"pubsub",
			{ xmlns: xmlns_pubsub },
			xml("publish", { node: bookmarks_node }, xml("item", { id: room }, xml("conference", { xmlns: bookmarks_node, name }))),
		),
	);

export const bookmarks_get = (): Element =>
	xml("iq", { type: "get" }, xml("pubsub", { xmlns: xmlns_pubsub }, xml("items", { node: bookmarks_node })));

// ---- What comes

export const is_privilege = (stanza: Element): boolean =>
	stanza.is("message") && stanza.getChild("privilege", xmlns_privilege) !== undefined;

export const is_legacy_privilege = (stanza: Element): boolean =>
	stanza.is("message") && stanza.getChild("privilege", "urn:xmpp:privilege:1") !== undefined;

export const is_presence_of =
	(jid: string) =>
	(stanza: Element): boolean =>
		stanza.is("presence") && String(stanza.attrs["from"]).startsWith(`${jid}/`);

export const is_roster_push_of =
	(contact: string) =>
	(stanza: Element): boolean =>
		stanza.is("iq") && stanza.attrs["type"] === "set" && items_of(stanza).some(({ jid }) => jid === contact);

export const is_message = (stanza: Element): boolean => stanza.is("message") && stanza.getChild("body") !== undefined;

export const is_registration = (stanza: Element): boolean => stanza.is("iq") && stanza.getChild("query", xmlns_register) !== undefined;

export const is_ping = (stanza: Element): boolean => stanza.is("iq") && stanza.getChild("ping", "urn:xmpp:ping") !== undefined;

/** The message in a carbon that says that it was sent (XEP-0280). */
export const sent_message = (stanza: Element): Element | undefined =>
	stanza.getChild("sent", xmlns_carbons)?.getChild("forwarded", xmlns_forward)?.getChild("message");

/** The answer to an iq that the server sent in a user's name. */
export const inner_answer = (answer: Element): Element | undefined =>
	answer.getChild("privilege", xmlns_privilege)?.getChild("forwarded", xmlns_forward)?.getChild("iq");

export function items_of(iq: Element): Contact[] {
	const items = iq.getChild("query", xmlns_roster)?.getChildren("item") ?? [];
	return items.map((item) => ({
		jid: String(item.attrs["jid"]),
		name: String(item.attrs["name"] ?? ""),
		group: item.getChildText("group") ?? "",
		subscription: String(item.attrs["subscription"]),
	}));
}

export const describe_contact = ({ jid, name, group, subscription }: Contact): string =>
	`"${name}" <${jid}> in "${group}", subscription ${subscription ?? "none"}`;

export const bookmarks_of = (answer: Element): string[] =>
	(answer.getChild("pubsub", xmlns_pubsub)?.getChild("items")?.getChildren("item") ?? []).map(
		(item) => `${String(item.getChild("conference")?.attrs["name"])} <${String(item.attrs["id"])}>`,
	);

/** The condition and the text of an error, undefined where there is none. */
export function describe_error(stanza: Element): string | undefined {
	const error = stanza.getChild("error");
	if (!error) return undefined;
	const condition = error.getChildElements().find(({ name }) => name !== "text")?.name ?? "error";
	return `${condition}: ${error.getChildText("text") ?? "(no text)"}`;
}

const meanings: Record<string, string> = {
	"roster get": "it may read all users' rosters",
	"roster set": "it may change all users' rosters",
	"roster both": "it may read and change all users' rosters",
	"message outgoing": "it may send messages in all users' names",
	"presence managed_entity": "it sees all users' presences",
	"presence roster": "it sees all users' and their contacts' presences",
	"iq get": "it may ask in all users' names",
	"iq set": "it may request changes in all users' names",
	"iq both": "it may ask and request changes in all users' names",
};

export interface Privilege {
	/** Such as "roster both". */
	permission: string;
	/** Of iqs. */
	namespace: string;
	meaning: string;
}

/** The permissions in a `<privilege/>`, and what they mean. */
export function privileges_of(message: Element): Privilege[] {
	const privilege_of = (access: string, element: Element, namespace: string, more: string): Privilege => {
		const type = String(element.attrs["type"]);
		const permission = `${access} ${type}`;
		const meaning = type === "none" ? "no more" : (meanings[permission] ?? "");
		return { permission, namespace, meaning: `${meaning}${more}` };
	};
	const perms = message.getChild("privilege", xmlns_privilege)?.getChildren("perm") ?? [];
	return perms.flatMap((perm) => {
		const access = String(perm.attrs["access"]);
		if (access !== "iq") return privilege_of(access, perm, "", perm.attrs["push"] === "true" ? ", and is told of changes" : "");
		return perm.getChildren("namespace").map((element) => {
			const namespace = String(element.attrs["ns"]);
			return privilege_of(access, element, namespace, `: ${namespace}`);
		});
	});
}

/** A presence in words. */
export function describe_presence(presence: Element): string {
	if (presence.attrs["type"] === "unavailable") return "gone";
	const status = presence.getChildText("status");
	return `${presence.getChildText("show") ?? "available"}${status === null ? "" : ` ("${status}")`}`;
}

export const gateway_contact = (username: string): string => `${username}@${gateway.domain}`;
