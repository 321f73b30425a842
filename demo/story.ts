// What a privileged entity can do, step by step. A step that does not do what it says throws.

import { fewer_grants, opted_in_grants, gateway as gateway_account, host } from "./configuration.js";
import type { Element, Peer } from "./peer.js";
import { xml } from "./peer.js";
import type { Server } from "./server.js";
import * as stanzas from "./stanzas.js";

export interface Cast {
	server: Server;
	juliet: Peer;
	romeo: Peer;
	gateway: Peer;
}

/** Tells what a peer asks for, gets, is refused or does. */
export interface Tell {
	asks: (peer: Peer, what: string) => void;
	gets: (peer: Peer, what: string) => void;
	is_refused: (peer: Peer, what: string) => void;
	does: (who: string, what: string) => void;
}

export interface Step {
	title: string;
	play: (cast: Cast, tell: Tell) => Promise<void>;
}

const nurse: stanzas.Contact = { jid: `nurse@${host}`, name: "Nurse", group: "Household", subscription: "none" };
const friar: stanzas.Contact = { jid: stanzas.gateway_contact("laurence"), name: "Friar Laurence", group: "Verona", subscription: "both" };

/** Throws unless a stanza says what it should. */
function check(ok: boolean, expected: string, stanza: Element): void {
	if (!ok) throw new Error(`it should have been ${expected}, and this came instead:\n  ${stanza.toString()}`);
}

function check_result(answer: Element): void {
	check(answer.attrs["type"] === "result", "a result", answer);
}

function tell_privileges(message: Element, expected: string[]): string {
	const privileges = stanzas.privileges_of(message);
	const names = privileges.map(({ permission, namespace }) => `${permission} ${namespace}`.trim());
	check(names.sort().join() === expected.sort().join(), expected.join(", "), message);
	return privileges.map(({ permission, meaning }) => `${permission.padEnd(24)} ${meaning}`).join("\n");
}

/** What users do before the component is there. */
export async function prepare({ juliet, romeo }: Cast): Promise<void> {
	for (const peer of [juliet, romeo]) await peer.connect();
	check_result(await juliet.ask(stanzas.enable_carbons()));
	check_result(await juliet.ask(stanzas.roster_get()));
	check_result(await juliet.ask(stanzas.roster_set(nurse)));
	await juliet.expect("the push of her own change", stanzas.is_roster_push_of(nurse.jid));
	await juliet.send(xml("presence", {}, xml("status", {}, "Staying on the balcony")));
	await juliet.expect("her own presence", stanzas.is_presence_of(juliet.jid));
}

async function is_told_privileges({ gateway }: Cast, tell: Tell): Promise<void> {
	tell.does(gateway.name, `logs in as component ${gateway_account.domain}, and asks for nothing`);
	await gateway.connect();
	const message = await gateway.expect("a message that tells its privileges", stanzas.is_privilege);
	check(message.attrs["from"] === host, `from ${host}`, message);
	tell.gets(
		gateway,
		tell_privileges(message, [
			"roster both",
			"message outgoing",
			"presence managed_entity",
			"iq set http://jabber.org/protocol/pubsub",
			"iq get urn:xmpp:ping",
		]),
	);
	const again = await gateway.expect("the same in the older namespace", stanzas.is_legacy_privilege);
	check(again.attrs["from"] === host, `from ${host}`, again);
	tell.gets(gateway, "the same again in the namespace of XEP-0356 before 0.4, for components that know no other");
}

async function sees_presences({ gateway, juliet, romeo }: Cast, tell: Tell): Promise<void> {
	const before = await gateway.expect("Juliet's presence from before it connected", stanzas.is_presence_of(juliet.jid));
	check(before.getChildText("status") === "Staying on the balcony", "Juliet's presence with her status", before);
	tell.gets(gateway, `Juliet, who came before it: ${stanzas.describe_presence(before)}`);

	tell.does(romeo.name, "comes online, and goes away after that");
	await romeo.send(xml("presence"));
	const initial = await gateway.expect("Romeo's presence", stanzas.is_presence_of(romeo.jid));
	await romeo.send(xml("presence", {}, xml("show", {}, "away"), xml("status", {}, "In the orchard")));
	const away = await gateway.expect("Romeo's presence when it changed", stanzas.is_presence_of(romeo.jid));
	check(away.getChildText("show") === "away", "Romeo's presence, away", away);
	tell.gets(gateway, `Romeo: ${stanzas.describe_presence(initial)}, then ${stanzas.describe_presence(away)}`);
}

async function reads_roster({ gateway, juliet }: Cast, tell: Tell): Promise<void> {
	tell.asks(gateway, `${juliet.jid} for her roster`);
	const answer = await gateway.ask(stanzas.roster_get(juliet.jid));
	const items = stanzas.items_of(answer);
	check(JSON.stringify(items) === JSON.stringify([nurse]), "the Nurse, whom Juliet's client has added", answer);
	tell.gets(gateway, items.map(stanzas.describe_contact).join("\n"));
}

async function adds_contact({ gateway, juliet }: Cast, tell: Tell): Promise<void> {
	tell.asks(gateway, `${juliet.jid} to add a contact:\n${stanzas.describe_contact(friar)}`);
	check_result(await gateway.ask(stanzas.roster_set(friar, juliet.jid)));
	tell.gets(gateway, "the answer: done");

	const push = await juliet.expect("a roster push", stanzas.is_roster_push_of(friar.jid));
	check(JSON.stringify(stanzas.items_of(push)) === JSON.stringify([friar]), "a push of the new contact", push);
	tell.gets(juliet, "a roster push, as if she had added the contact herself");

	const copy = await gateway.expect("a roster push", stanzas.is_roster_push_of(friar.jid));
	check(copy.attrs["from"] === juliet.jid, `a push from ${juliet.jid}`, copy);
	tell.gets(gateway, `a roster push too, from ${juliet.jid}: this is how it learns of all changes`);
}

async function learns_of_change({ gateway, juliet }: Cast, tell: Tell): Promise<void> {
	tell.does(juliet.name, 'renames "Nurse" to "Angelica" with her own client');
	check_result(await juliet.ask(stanzas.roster_set({ ...nurse, name: "Angelica" })));
	const push = await gateway.expect("a roster push", stanzas.is_roster_push_of(nurse.jid));
	const [item] = stanzas.items_of(push);
	check(item?.name === "Angelica", "a push of Angelica", push);
	tell.gets(gateway, `a roster push from ${juliet.jid}: ${item ? stanzas.describe_contact(item) : ""}`);
}

async function sends_message({ gateway, juliet, romeo }: Cast, tell: Tell): Promise<void> {
	const body = "My bounty is as boundless as the sea.";
	tell.asks(gateway, `${host} to send a message from ${juliet.jid} to ${romeo.jid}`);
	await gateway.send(stanzas.privileged_message(juliet.jid, romeo.jid, body));

	const message = await romeo.expect("the message", stanzas.is_message);
	check(message.attrs["from"] === juliet.jid && message.getChildText("body") === body, `Juliet's: ${body}`, message);
	check(!message.toString().includes(gateway.jid), "without a trace of the gateway", message);
	tell.gets(romeo, `from ${juliet.jid}: "${body}"\nNothing in it tells of the gateway.`);

	const carbon = await juliet.expect("a carbon of it", (stanza) => stanzas.sent_message(stanza) !== undefined);
	check(stanzas.sent_message(carbon)?.getChildText("body") === body, "a carbon of that message", carbon);
	tell.gets(juliet, "a carbon of it, as if another client of hers had sent it");
}

async function publishes_bookmark({ gateway, juliet }: Cast, tell: Tell): Promise<void> {
	tell.asks(gateway, `${juliet.jid} to publish a bookmark in her name`);
	const answer = await gateway.ask(stanzas.privileged_bookmark(juliet.jid, "ball@rooms.capulet.lit", "The Ball"));
	check(stanzas.inner_answer(answer)?.attrs["type"] === "result", "the result of her account's PEP service, forwarded", answer);
	tell.gets(gateway, "what her account's PEP service answered: done");

	tell.asks(juliet, "her account for her bookmarks");
	const bookmarks = await juliet.ask(stanzas.bookmarks_get());
	const names = stanzas.bookmarks_of(bookmarks);
	check(names.join() === "The Ball <ball@rooms.capulet.lit>", "one bookmark", bookmarks);
	tell.gets(juliet, names.join("\n"));
}

async function asks_in_a_name({ gateway, juliet, romeo }: Cast, tell: Tell): Promise<void> {
	const client = `${romeo.jid}/orchard`;
	tell.asks(gateway, `${juliet.jid} to ping ${client} in her name`);
	const answer = await gateway.ask(stanzas.privileged_ping(juliet.jid, client));
	const ping = await romeo.expect("a ping", stanzas.is_ping);
	check(ping.attrs["from"] === juliet.jid, `a ping from ${juliet.jid}`, ping);
	tell.gets(romeo, `a ping from ${juliet.jid}, and answers it`);

	const inner = stanzas.inner_answer(answer);
	check(inner?.attrs["type"] === "result" && inner.attrs["from"] === client, "the answer of Romeo's client, forwarded", answer);
	tell.gets(gateway, `the answer of ${client}`);
}

async function loses_privileges({ server, gateway }: Cast, tell: Tell): Promise<void> {
	tell.does("The admin", "leaves roster and presence in the configuration, and reloads it:\n" + fewer_grants.trimEnd());
	await server.reconfigure(fewer_grants);
	const message = await gateway.expect("a message that tells its privileges", stanzas.is_privilege);
	tell.gets(
		gateway,
		tell_privileges(message, [
			"roster get",
			"message none",
			"presence managed_entity",
			"iq none http://jabber.org/protocol/pubsub",
			"iq none urn:xmpp:ping",
		]),
	);
}

function tell_refusal(gateway: Peer, error: Element, tell: Tell): void {
	const text = stanzas.describe_error(error);
	check(text?.startsWith("forbidden: ") === true, "the error forbidden", error);
	tell.is_refused(gateway, `an error, ${text ?? ""}`);
}

/** Asks for a roster, and checks that the answer is a refusal. */
async function is_refused_roster(gateway: Peer, user: Peer, tell: Tell): Promise<void> {
	tell.asks(gateway, `${user.jid} for the roster`);
	const error = await gateway.ask(stanzas.roster_get(user.jid));
	tell_refusal(gateway, error, tell);
}

async function is_limited({ server, gateway, juliet, romeo }: Cast, tell: Tell): Promise<void> {
	tell.does("The admin", 'adds users = "opted-in" to the configuration, and reloads it:\n' + opted_in_grants.trimEnd());
	await server.reconfigure(opted_in_grants);
	for (const user of [juliet, romeo]) {
		const presence = await gateway.expect(`that ${user.name} is gone`, stanzas.is_presence_of(user.jid));
		check(presence.attrs["type"] === "unavailable", "unavailable", presence);
		tell.gets(gateway, `${user.name}: ${stanzas.describe_presence(presence)}`);
	}
	await is_refused_roster(gateway, juliet, tell);
}

async function serves_who_registers({ gateway, juliet, romeo }: Cast, tell: Tell): Promise<void> {
	tell.does(juliet.name, `registers with ${gateway.jid}, with her own client`);
	check_result(await juliet.ask(stanzas.registration(gateway.jid, "juliet")));
	const presence = await gateway.expect("Juliet's presence", stanzas.is_presence_of(juliet.jid));
	const registration = await gateway.expect("Juliet's registration", stanzas.is_registration);
	check(String(registration.attrs["from"]).startsWith(`${juliet.jid}/`), `from ${juliet.jid}`, registration);
	tell.gets(gateway, `Juliet's registration, and her presence: ${stanzas.describe_presence(presence)}`);

	tell.asks(gateway, `${juliet.jid} for the roster`);
	const answer = await gateway.ask(stanzas.roster_get(juliet.jid));
	const items = stanzas.items_of(answer);
	check(items.length === 2, "her two contacts", answer);
	tell.gets(gateway, items.map(stanzas.describe_contact).join("\n"));

	// Romeo has not registered.
	await is_refused_roster(gateway, romeo, tell);
}

async function is_refused({ gateway, juliet, romeo }: Cast, tell: Tell): Promise<void> {
	tell.asks(gateway, `${host} to send a message from ${juliet.jid} to ${romeo.jid}`);
	await gateway.send(stanzas.privileged_message(juliet.jid, romeo.jid, "Good night, good night!"));
	const error = await gateway.expect("an error", (stanza) => stanza.is("message") && stanza.attrs["type"] === "error");
	tell_refusal(gateway, error, tell);

	// What the server has sent to Romeo before it answers his ping has come.
	check_result(await romeo.ask(xml("iq", { type: "get", to: host }, xml("ping", { xmlns: "urn:xmpp:ping" }))));
	if (romeo.has(stanzas.is_message)) throw new Error("Romeo got the message that was refused");
	tell.gets(romeo, "nothing");
}

export const story: Step[] = [
	{ title: "The gateway connects, and the server tells it what it may do", play: is_told_privileges },
	{ title: "It sees who is online, without being in anybody's roster", play: sees_presences },
	{ title: "It reads Juliet's roster", play: reads_roster },
	{ title: "It adds a contact to Juliet's roster", play: adds_contact },
	{ title: "It learns of a change that Juliet makes herself", play: learns_of_change },
	{ title: "It sends a message in Juliet's name", play: sends_message },
	{ title: "It publishes a bookmark in Juliet's account", play: publishes_bookmark },
	{ title: "It asks Romeo's client something in Juliet's name", play: asks_in_a_name },
	{ title: "The admin takes privileges away, and nothing is restarted", play: loses_privileges },
	{ title: "It tries what it may not do any more, and is refused", play: is_refused },
	{ title: "The admin limits it to users who have asked for it, and Juliet has not", play: is_limited },
	{ title: "Juliet registers with it, and it serves her, but not Romeo", play: serves_who_registers },
];
