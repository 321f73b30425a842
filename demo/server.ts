// Runs a Prosody of its own: on loopback, in a temporary folder, and without a trace when it has ended.

import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { address, configuration, host, juliet, romeo, type Ports } from "./configuration.js";

const module_folder = fileURLToPath(new URL("../../lua-out", import.meta.url));
const start_timeout = 10_000;
const idle_timeout = 1_000;
const stop_timeout = 3_000;

export interface Server {
	pid: number;
	/** Prosody's version, as its log has it. */
	version: string;
	ports: Ports;
	config_file: string;
	log_file: string;
	/** Ends with the server. */
	ended: Promise<void>;
	/** Has the server read a configuration with this section for the host. */
	reconfigure: (virtual_host: string) => Promise<void>;
	/** What went wrong, as far as the server knows. */
	complaints: () => string[];
	stop: () => Promise<void>;
}

function read(file: string): string {
	try {
		return readFileSync(file, "utf8");
	} catch {
		return "";
	}
}

function is_listening(port: number): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect({ host: address, port });
		socket.on("connect", () => {
			socket.destroy();
			resolve(true);
		});
		socket.on("error", () => {
			resolve(false);
		});
	});
}

/**
 * Waits until a process waits.
 *
 * Prosody before 13 acts on a signal in the midst of whatever it does, and what it was about to send may not go out then.
 */
async function until_idle(pid: number): Promise<void> {
	const deadline = Date.now() + idle_timeout;
	for (let quiet = 0; quiet < 5 && Date.now() < deadline;) {
		await sleep(10);
		quiet = / [DR] /.test(read(`/proc/${pid}/stat`)) ? 0 : quiet + 1;
	}
}

async function add_accounts(config_file: string): Promise<void> {
	for (const { username, password } of [juliet, romeo]) {
		await promisify(execFile)("prosodyctl", ["--config", config_file, "register", username, host, password]);
	}
}

/** Makes a folder that is gone when this process is. */
function make_folder(): string {
	const folder = mkdtempSync(join(tmpdir(), "mod_privilege-"));
	process.on("exit", () => {
		rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 10 });
	});
	return folder;
}

// Without this, a signal would end the process before it has cleaned up.
for (const [signal, number] of [
	["SIGHUP", 1],
	["SIGINT", 2],
	["SIGTERM", 15],
] as const) {
	process.on(signal, () => {
		process.exit(128 + number);
	});
}

export async function start_server(ports: Ports, virtual_host: string): Promise<Server> {
	const folder = make_folder();
	const config_file = join(folder, "prosody.cfg.lua");
	const log_file = join(folder, "prosody.log");
	const output_file = join(folder, "output");
	const write_config = (section: string) => {
		writeFileSync(config_file, configuration(folder, module_folder, ports, section));
	};
	const complaints = () => {
		const lines = read(log_file)
			.split("\n")
			.filter((line) => /\t(warn|error)\t/.test(line));
		return [...lines, ...read(output_file).split("\n")].filter((line) => line !== "").slice(-20);
	};

	mkdirSync(join(folder, "data"));
	write_config(virtual_host);
	await add_accounts(config_file);

	// In a group of its own, so that Ctrl-C is for this process to deal with.
	const output = openSync(output_file, "a");
	const child = spawn("prosody", ["-F", "--config", config_file], { detached: true, stdio: ["ignore", output, output] });
	const has_ended = () => child.exitCode !== null || child.signalCode !== null;
	process.prependListener("exit", () => {
		if (!has_ended()) child.kill("SIGKILL");
	});
	const ended = new Promise<void>((resolve, reject) => {
		child.on("error", reject);
		child.on("exit", () => {
			resolve();
		});
	});

	const deadline = Date.now() + start_timeout;
	while (!((await is_listening(ports.clients)) && (await is_listening(ports.components)))) {
		if (has_ended() || Date.now() > deadline) throw new Error(["Prosody did not start:", ...complaints()].join("\n"));
		await Promise.race([sleep(20), ended]);
	}
	const { pid } = child;
	if (pid === undefined) throw new Error("Prosody did not start");

	return {
		pid,
		version: /version (.*)/.exec(read(log_file))?.[1] ?? "of an unknown version",
		ports,
		config_file,
		log_file,
		ended,
		complaints,
		async reconfigure(section) {
			write_config(section);
			await until_idle(pid);
			child.kill("SIGHUP");
		},
		async stop() {
			await until_idle(pid);
			child.kill("SIGTERM");
			await Promise.race([ended, sleep(stop_timeout, undefined, { ref: false })]);
			if (!has_ended()) child.kill("SIGKILL");
			await ended;
			rmSync(folder, { recursive: true, force: true });
		},
	};
}
