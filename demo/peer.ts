// Whoever speaks XMPP in the demo: users' clients and the component. Each keeps what it got until it is asked for.

import { client, xml } from "@xmpp/client";
import { component, type Component } from "@xmpp/component";
import { address, gateway, host, type Account, type Ports } from "./configuration.js";

export { xml };
export type Element = ReturnType<typeof xml>;

/** Is told of each stanza that goes out ("->") or comes in ("<-"). */
export type Listener = (peer: string, direction: "->" | "<-", stanza: Element) => void;

export interface Peer {
	name: string;
	jid: string;
	connect: () => Promise<void>;
	disconnect: () => Promise<void>;
	send: (stanza: Element) => Promise<void>;
	/** Sends an iq and gives the answer. */
	ask: (iq: Element) => Promise<Element>;
	/** Waits for a stanza; `what` it is, is for the error when there is none. */
	expect: (what: string, test: (stanza: Element) => boolean) => Promise<Element>;
	/** Whether such a stanza has come, and was not expected. */
	has: (test: (stanza: Element) => boolean) => boolean;
}

const expect_timeout = 5_000;

function create_peer(entity: Component, name: string, jid: string, listener: Listener): Peer {
	let received: Element[] = [];
	let waiting: { test: (stanza: Element) => boolean; take: (stanza: Element) => void }[] = [];
	let last_id = 0;

	function receive(stanza: Element): void {
		const waiter = waiting.find(({ test }) => test(stanza));
		if (waiter) {
			waiting = waiting.filter((other) => other !== waiter);
			waiter.take(stanza);
		} else {
			received.push(stanza);
		}
	}

	function expect(what: string, test: (stanza: Element) => boolean): Promise<Element> {
		const found = received.find(test);
		if (found) {
			received = received.filter((stanza) => stanza !== found);
			return Promise.resolve(found);
		}
		return new Promise((resolve, reject) => {
			const timer = setTimeout(() => {
				const instead = received.map((stanza) => `\n  ${stanza.toString()}`).join("");
				reject(new Error(`${name} should have got ${what}, ${instead === "" ? "and nothing came" : `and this came instead:${instead}`}`));
			}, expect_timeout);
			waiting.push({
				test,
				take: (stanza) => {
					clearTimeout(timer);
					resolve(stanza);
				},
			});
		});
	}

	entity.reconnect.stop();
	entity.on("error", (error: Error) => {
		receive(xml("error", {}, error.message));
	});
	entity.on("send", (element: Element) => {
		if (["iq", "message", "presence"].includes(element.name)) listener(name, "->", element);
	});
	entity.on("stanza", (stanza: Element) => {
		listener(name, "<-", stanza);
		receive(stanza);
	});
	// Roster pushes and registrations are answered with a result.
	for (const namespace of ["jabber:iq:roster", "jabber:iq:register"]) entity.iqCallee.set(namespace, "query", () => true);

	return {
		name,
		jid,
		expect,
		has: (test) => received.some(test),
		async connect() {
			await entity.start();
		},
		async disconnect() {
			await entity.stop();
		},
		async send(stanza) {
			await entity.send(stanza);
		},
		async ask(iq) {
			last_id = last_id + 1;
			const id = `${name.toLowerCase()}-${last_id}`;
			iq.attrs["id"] = id;
			await entity.send(iq);
			return expect(
				`an answer to ${iq.toString()}`,
				(stanza) => stanza.is("iq") && stanza.attrs["id"] === id && ["result", "error"].includes(String(stanza.attrs["type"])),
			);
		},
	};
}

export function create_client(name: string, { username, password }: Account, resource: string, ports: Ports, listener: Listener): Peer {
	const entity = client({ service: `xmpp://${address}:${ports.clients}`, domain: host, username, password, resource });
	return create_peer(entity, name, `${username}@${host}`, listener);
}

export function create_gateway(ports: Ports, listener: Listener): Peer {
	const entity = component({ service: `xmpp://${address}:${ports.components}`, domain: gateway.domain, password: gateway.secret });
	return create_peer(entity, "Gateway", gateway.domain, listener);
}
