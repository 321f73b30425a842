// Plays through what mod_privilege does, against a real Prosody: `make demo`, with the stanzas `make demo VERBOSE=1`.

import { address, grants, juliet, romeo } from "./configuration.js";
import { create_client, create_gateway } from "./peer.js";
import { free_port } from "./ports.js";
import { start_server } from "./server.js";
import { prepare, story, type Cast, type Tell } from "./story.js";
import { bold, cyan, faint, green, print, print_indented, print_line, print_stanza, print_title, red } from "./terminal.js";

const tell: Tell = {
	asks: (peer, what) => {
		print_line("asks", peer.name, what);
	},
	gets: (peer, what) => {
		print_line("gets", peer.name, what);
	},
	is_refused: (peer, what) => {
		print_line("is refused", peer.name, what);
	},
	does: (who, what) => {
		print_line("does", who, what);
	},
};

function describe(error: unknown): string {
	return error instanceof Error ? error.message : String(error);
}

async function play(cast: Cast): Promise<void> {
	for (const [index, step] of story.entries()) {
		print_title(index + 1, step.title);
		try {
			await step.play(cast, tell);
		} catch (error) {
			throw new Error(`Step ${index + 1} failed (${step.title}):\n${describe(error)}`, { cause: error });
		}
	}
}

async function demo(): Promise<void> {
	const started = Date.now();
	const ports = { clients: await free_port(), components: await free_port() };
	const server = await start_server(ports, grants);
	const cast: Cast = {
		server,
		juliet: create_client("Juliet", juliet, "balcony", ports, print_stanza),
		romeo: create_client("Romeo", romeo, "orchard", ports, print_stanza),
		gateway: create_gateway(ports, print_stanza),
	};
	try {
		print();
		print(bold(`mod_privilege on Prosody ${server.version}, ports ${ports.clients} and ${ports.components} of ${address}`));
		print();
		print(`${cyan(cast.gateway.jid)} is an external component. The admin has granted it privileges:`);
		print();
		print_indented(grants, faint);
		print();
		print(
			`${cyan(cast.juliet.jid)} and ${cyan(cast.romeo.jid)} are users. They log in. Juliet adds the Nurse to her roster and goes online.`,
		);
		await prepare(cast);
		await play(cast);
		for (const peer of [cast.gateway, cast.juliet, cast.romeo]) await peer.disconnect();
		await server.stop();
	} catch (error) {
		throw new Error([describe(error), "", "The server's warnings and errors:", ...server.complaints()].join("\n"), { cause: error });
	}
	print();
	print(green(`All ${story.length} steps did what they say, in ${((Date.now() - started) / 1000).toFixed(1)} s.`));
}

try {
	await demo();
} catch (error) {
	print();
	print(red(describe(error)));
	process.exit(1);
}
