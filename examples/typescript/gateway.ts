// A gateway to another network, in small. It puts one contact of that network, "friend", into a user's roster, and
// shows the user's own clients what the user is taken to have written to the friend over there. What is written to
// the friend here is echoed, where a real gateway would pass it on. It runs until it is interrupted.
//
//     node gateway.js juliet@capulet.lit
//
// The environment tells the rest: GATEWAY_DOMAIN, GATEWAY_SECRET, and where Prosody listens for components, GATEWAY_SERVER.

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

/** What the server grants. It says so right after the handshake, before the library has noted that it is online. */
const privileges = new Promise<string>((resolve) => {
	gateway.on("stanza", (stanza: Element) => {
		const privilege = stanza.attrs["from"] === server ? stanza.getChild("privilege", "urn:xmpp:privilege:2") : undefined;
		if (privilege) resolve(privilege.getChildren("perm").map(({ attrs }) => `${String(attrs["access"])} ${String(attrs["type"] ?? "")}`.trim()).join(", "));
	});
});

async function read_roster(): Promise<void> {
	// To the user: without privileges the server would refuse this.
	const roster = await gateway.iqCaller.get(xml("query", "jabber:iq:roster"), user);
	const contacts = roster?.getChildren("item").map((item) => String(item.attrs["jid"])) ?? [];
	console.log(`contacts of ${user}: ${contacts.join(", ")}`);
}

async function add_friend(): Promise<void> {
	// With privileges the subscription can be set ready, nobody has to be asked.
	await gateway.iqCaller.set(
		xml("query", "jabber:iq:roster", xml("item", { jid: friend, name: "Friend", subscription: "both" }, xml("group", {}, "Gateway"))), user);
	console.log(`${friend} is a contact of ${user}`);
}

/** The user's clients see it as sent (XEP-0280), and it is in the user's archive (XEP-0313). */
async function send_as_user(to: string, body: string): Promise<void> {
	const id = randomUUID();
	await gateway.send(xml("message", { to: server, id },
		xml("privilege", "urn:xmpp:privilege:2",
			xml("forwarded", "urn:xmpp:forward:0",
				xml("message", { xmlns: "jabber:client", from: user, to, id, type: "chat" }, xml("body", {}, body))))));
}

async function receive_message(message: Element): Promise<void> {
	const { from, to, type, id } = message.attrs as Record<string, string | undefined>;
	const body = message.getChildText("body") ?? "";
	if (type === "error") {
		console.error(`${from ?? server} refuses message ${id ?? ""}: ${String(message.getChild("error")?.getChildElements()[0]?.name)}`);
	} else if (to === friend && from === user) {
		// Clients write from their full JIDs. From the bare one it is what we sent in the user's name.
		console.log(`${user} wrote over there: ${body}`);
	} else if (to === friend && body !== "") {
		console.log(`${from ?? ""} writes: ${body}`);
		await gateway.send(xml("message", { from: friend, to: from, type: "chat" }, xml("body", {}, `You said: ${body}`)));
	}
}

function report(error: unknown): void {
	console.error(`failed: ${error instanceof Error ? error.message : String(error)}`);
}

gateway.on("error", report);
gateway.on("stanza", (stanza: Element) => { if (stanza.is("message")) receive_message(stanza).catch(report); });
// Whenever a roster changes, whoever changed it, the server tells. What this returns is the answer: an empty result,
// or without one an error. Only the server can send from a user's bare JID, so nobody else is believed.
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
	const granted = await Promise.race([privileges, sleep(1000, undefined, { ref: false })]);
	if (granted === undefined) throw new Error(`${server} grants nothing to ${domain}, see privileged_entities`);
	console.log(`${server} grants: ${granted}`);
	await read_roster();
	await add_friend();
	await send_as_user(friend, "Hello from the other side");
} catch (error) {
	// An error of the server's is told by its condition, such as "forbidden".
	report(error);
	process.exit(1);
}
