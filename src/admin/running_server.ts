import * as st from "util.stanza";
import { optional_module } from "../prosody/compatibility";

/** What a running server says about the module. */
export interface RunningServer {
	/** The path of the file that it would load now; "" for none. */
	finds: string;
	/** Its hosts, with the path and version of the module that is loaded there; "" where none is, or where its version is not known. */
	hosts: LuaTable<string, { path: string; version: string }>;
	/** The bare JIDs of admins, by the option `admins` or by role. */
	admins: LuaTable<string, true>;
}

/**
 * Asks the server that runs with this configuration, by the socket of mod_admin_shell (Prosody 0.12 and later).
 *
 * @param option the value of `admin_socket`
 * @returns nil where no server runs, or where it does not answer in time
 */
export function ask_running_server(option: unknown): RunningServer | undefined {
	// Seconds
	const answer_timeout = 2;

	/**
	 * Lua code for the console of the server. It returns lines with tabs between their fields: the file that the server would
	 * load, each host with the path and the status of the module, and each admin.
	 */
	const server_question = table.concat(
		[
			">(function ()",
			'local code, found = require "util.pluginloader".load_resource "privilege";',
			'local lines = { "finds\\t" .. (code and found or "") };',
			'local get_users = require "core.usermanager".get_users_with_role;',
			"for name, host in pairs(prosody.hosts) do",
			"local loaded = host.modules and host.modules.privilege;",
			"local api = loaded and loaded.module or {};",
			'lines[#lines + 1] = "host\\t" .. name .. "\\t" .. (api.path or "") .. "\\t" .. (api.status_message or "");',
			'for _, role in ipairs { "prosody:admin", "prosody:operator" } do',
			"local ok, users = pcall(get_users, role, name);",
			'for _, user in ipairs(ok and host.type == "local" and users or {}) do',
			'lines[#lines + 1] = "admin\\t" .. user .. "@" .. name;',
			"end",
			"end",
			"end",
			'return table.concat(lines, "\\n");',
			"end)()",
		],
		" ",
	);

	/** Sends a line to the console of the server and gives its answer; nil where there is none in time. */
	function ask_console(path: string, line: string): string | undefined {
		const unix = optional_module("socket.unix");
		const xml_parser = optional_module("util.xml") as typeof import("util.xml") | undefined;
		if (unix === undefined || !xml_parser) {
			return undefined;
		}
		// COMPAT: in some versions of LuaSocket, the module is the function itself.
		const open =
			type(unix) === "function" ? (unix as () => import("socket.unix").UnixSocket) : (unix as typeof import("socket.unix")).stream;
		const connection = open();
		connection.settimeout(answer_timeout, "t");
		let received: string | undefined;
		if (connection.connect(path)[0] !== undefined) {
			connection.send(
				"<stream:stream xmlns='xmpp:prosody.im/admin' xmlns:stream='http://etherx.jabber.org/streams'>"
					+ tostring(st.stanza("repl-input").text(line))
					+ "</stream:stream>",
			);
			const [all, , some] = connection.receive("*a");
			received = all ?? some;
		}
		connection.close();
		const [text] = string.match(received ?? "", "<repl%-result.*</repl%-result>");
		const answer = text !== undefined ? xml_parser.parse(text) : undefined;
		return answer && answer.get_text();
	}

	/** Reads the answer of the console. */
	function read_answer(answer: string): RunningServer | undefined {
		const [finds] = string.match(answer, "^Result: finds\t([^\n]*)");
		if (finds === undefined) {
			return undefined;
		}
		const hosts: RunningServer["hosts"] = new LuaTable();
		for (const [host, path, status] of string.gmatch(answer, "\nhost\t([^\t\n]*)\t([^\t\n]*)\t([^\n]*)")) {
			hosts.set(host!, { path: path!, version: string.match(status!, "version ([^;]+)")[0] ?? "" });
		}
		const admins: RunningServer["admins"] = new LuaTable();
		for (const [admin] of string.gmatch(answer, "\nadmin\t([^\n]*)")) {
			admins.set(admin!, true);
		}
		return { finds: finds, hosts: hosts, admins: admins };
	}

	const name = type(option) === "string" ? (option as string) : "prosody.sock";
	const path = string.sub(name, 1, 1) === "/" ? name : prosody.paths.data + "/" + name;
	const [, answer] = pcall(ask_console, path, server_question);
	return type(answer) === "string" ? read_answer(answer as string) : undefined;
}
