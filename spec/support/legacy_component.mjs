// A component that knows only urn:xmpp:privilege:1, as Debian 11's Libervia PubSub does: a perm without a type
// is an error to it. It reads a user's roster and sends a message in the user's name, and prints a line for each.
//
// node legacy_component.mjs JID SECRET PORT USER RECIPIENT

import { component, xml } from "@xmpp/component";

const [jid, password, port, user, recipient] = process.argv.slice(2);
const host = user.split("@")[1];
const namespace = "urn:xmpp:privilege:1";
const gateway = component({ service: `xmpp://127.0.0.1:${port}`, domain: jid, password });

// The privileges come with the handshake, before the library has noted that it is online.
const online = new Promise((resolve) => {
	gateway.on("online", resolve);
});

function fail(error) {
	console.log(`failed: ${error instanceof Error ? error.message : String(error)}`);
	process.exit(1);
}

async function use_privileges(privilege) {
	const permissions = new Map();
	for (const perm of privilege.getChildren("perm")) {
		if (!perm.attrs.type) throw new Error(`a perm has no type: ${perm}`);
		permissions.set(perm.attrs.access, perm.attrs.type);
	}
	console.log(
		[...permissions]
			.sort()
			.map((pair) => pair.join("="))
			.join(" "),
	);
	await online;
	await gateway.send(xml("iq", { type: "get", to: user, id: "roster-1" }, xml("query", "jabber:iq:roster")));
}

async function use_roster(roster) {
	console.log(`roster ${roster.getChild("query").getChildren("item").length}`);
	await gateway.send(
		xml(
			"message",
			{ to: host },
			xml(
				"privilege",
				namespace,
				xml(
					"forwarded",
					"urn:xmpp:forward:0",
					xml("message", { xmlns: "jabber:client", from: user, to: recipient, type: "chat" }, xml("body", {}, "Of old")),
				),
			),
		),
	);
	console.log("message");
	await gateway.stop();
}

gateway.on("error", fail);
gateway.on("stanza", (stanza) => {
	const privilege = stanza.is("message") && stanza.getChild("privilege", namespace);
	if (privilege) use_privileges(privilege).catch(fail);
	if (stanza.is("iq") && stanza.attrs.id === "roster-1") use_roster(stanza).catch(fail);
});
setTimeout(() => {
	fail("nothing was advertised");
}, 10000).unref();
gateway.start().catch(fail);
