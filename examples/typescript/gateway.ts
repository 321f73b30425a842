// A small gateway to another network. It adds one contact of that network, "friend", to a user's roster, bookmarks a
// room, and shows the user's own clients what the user seems to have written to the friend over there. It echoes what the
// user writes to the friend here, where a real gateway would pass it on. It runs until it is interrupted.
//
//     node gateway.js juliet@capulet.lit
//
// Environment variables say the rest: GATEWAY_DOMAIN, GATEWAY_SECRET, and GATEWAY_SERVER, where Prosody listens for
// components.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { component, xml, type Element } from "@xmpp/component";

const user = process.argv[2] ?? "juliet@capulet.lit";
const domain = process.env["GATEWAY_DOMAIN"] ?? "gateway.capulet.lit";
const password = process.env["GATEWAY_SECRET"] ?? "secret";
const service = `xmpp://${process.env["GATEWAY_SERVER"] ?? "127.0.0.1:5347"}`;
const server = user.replace(/^.*@/, "");
const friend = `friend@${domain}`;

const gateway = component({ service, domain, password });

/** The permissions in a privilege element as text: roster both, iq set NAMESPACE. */
function permissions_of(privilege: Element): string[] {
	return privilege
		.getChildren("perm")
		.flatMap((perm) =>
			perm.attrs["access"] === "iq"
				? perm.getChildren("namespace").map(({ attrs }) => `iq ${String(attrs["type"])} ${String(attrs["ns"])}`)
				: [`${String(perm.attrs["access"])} ${String(perm.attrs["type"])}`],
		);
}

/**
 * What the server grants. It says so right behind the handshake, before the library has noted that it is online, and
 * again when the admin changes it.
 */
const permissions = new Promise<string[]>((resolve) => {
	gateway.on("stanza", (stanza: Element) => {
		const privilege = stanza.attrs["from"] === server ? stanza.getChild("privilege", "urn:xmpp:privilege:2") : undefined;
		if (!privilege) return;
		const granted = permissions_of(privilege);
		console.log(`${server} grants: ${granted.join(", ")}`);
		resolve(granted);
	});
});

async function read_roster(): Promise<void> {
	// Without the permission the server would refuse this.
	const roster = await gateway.iqCaller.get(xml("query", "jabber:iq:roster"), user);
	const contacts = roster?.getChildren("item").map((item) => String(item.attrs["jid"])) ?? [];
	console.log(`contacts of ${user}: ${contacts.join(", ")}`);
}

async function add_friend(): Promise<void> {
	// The subscription is there at once: nobody has to be asked.
	await gateway.iqCaller.set(
		xml("query", "jabber:iq:roster", xml("item", { jid: friend, name: "Friend", subscription: "both" }, xml("group", {}, "Gateway"))),
		user,
	);
	console.log(`${friend} is a contact of ${user}`);
}

/** Sends an iq in the user's name that bookmarks a room; it goes to the user's own account. */
async function add_bookmark(): Promise<void> {
	const answer = await gateway.iqCaller.request(
		xml(
			"iq",
			{ type: "set", to: user },
			xml(
				"privileged_iq",
				"urn:xmpp:privilege:2",
				xml(
					"iq",
					{ xmlns: "jabber:client", type: "set", id: randomUUID() },
					xml(
						"pubsub",
						"http://jabber.org/protocol/pubsub",
						xml(
							"publish",
							{ node: "urn:xmpp:bookmarks:1" },
							xml("item", { id: `room@${domain}` }, xml("conference", { xmlns: "urn:xmpp:bookmarks:1", name: "A room over there" })),
						),
					),
				),
			),
		),
	);
	const inner = answer.getChild("privilege")?.getChild("forwarded")?.getChild("iq");
	console.log(`bookmark: ${String(inner?.attrs["type"])}`);
}

/** Sends a message: the user's clients see it as sent (XEP-0280), and the user's archive keeps it (XEP-0313). */
async function send_as_user(to: string, body: string): Promise<void> {
	const id = randomUUID();
	await gateway.send(
		xml(
			"message",
			{ to: server, id },
			xml(
				"privilege",
				"urn:xmpp:privilege:2",
				xml(
					"forwarded",
					"urn:xmpp:forward:0",
					xml("message", { xmlns: "jabber:client", from: user, to, id, type: "chat" }, xml("body", {}, body)),
				),
			),
		),
	);
}

async function receive_message(message: Element): Promise<void> {
	const { from, to, type, id } = message.attrs as Record<string, string | undefined>;
	const body = message.getChildText("body") ?? "";
	if (type === "error") {
		const error = message.getChild("error");
		const why = [error?.getChildElements()[0]?.name, error?.getChildText("text")].filter(Boolean).join(" - ");
		console.error(`${from ?? server} refuses message ${id ?? ""}: ${why}`);
	} else if (to === friend && from === user) {
		// Clients write from their full JIDs. The bare one is the sender of what we sent in the user's name.
		console.log(`${user} wrote over there: ${body}`);
	} else if (to === friend && body !== "") {
		console.log(`${from ?? ""} writes: ${body}`);
		await gateway.send(xml("message", { from: friend, to: from, type: "chat" }, xml("body", {}, `You said: ${body}`)));
	}
}

/** Says what went wrong: the condition of an error, such as forbidden or not-authorized, with the text. */
function report(error: unknown): void {
	console.error(`failed: ${error instanceof Error ? error.message : String(error)}`);
}

gateway.on("error", report);
gateway.on("stanza", (stanza: Element) => {
	if (stanza.is("message")) receive_message(stanza).catch(report);
});
// A change of a roster, whoever made it. What this returns is the answer: true is an empty result, undefined an error. Only
// the server can send from a user's bare JID: believe nobody else.
gateway.iqCallee.set("jabber:iq:roster", "query", ({ stanza }) => {
	const from = String(stanza.attrs["from"]);
	if (from.includes("/") || !from.endsWith(`@${server}`)) return undefined;
	for (const { attrs } of stanza.getChild("query")?.getChildren("item") ?? []) {
		console.log(`roster of ${from}: ${String(attrs["jid"])}, subscription ${String(attrs["subscription"])}`);
	}
	return true;
});
for (const signal of ["SIGINT", "SIGTERM"]) {
	process.once(signal, () => {
		gateway.reconnect.stop();
		gateway.stop().catch(report);
	});
}

try {
	await gateway.start().catch(() => process.exit(1)); // the error has been reported
	const granted = await Promise.race([permissions, sleep(1000, undefined, { ref: false })]);
	if (granted === undefined) throw new Error(`${server} grants nothing to ${domain}, see privileged_entities`);
	await read_roster();
	await add_friend();
	if (granted.includes("iq set http://jabber.org/protocol/pubsub")) await add_bookmark();
	await send_as_user(friend, "Hello from the other side");
} catch (error) {
	report(error);
	process.exit(1);
}
