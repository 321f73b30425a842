import * as jid from "util.jid";
import { sorted_keys } from "../prosody/keys";
import { describe_empty_entries, describe_problem, read_configuration, show_value } from "../grants/configuration";
import { allows } from "../grants/permissions";
import type { Coverage, Permissions } from "../grants/permissions";
import { did_you_mean, suggest } from "../grants/suggestion";
import { print_table } from "./print_table";
import type { RunningServer } from "./running_server";
import { count_of, describe_users } from "./words";

type Section = LuaTable<string, unknown>;
/** The sections of a configuration by host; the global section is "*". */
export type Sections = LuaTable<string, Section>;

/** The results of a check. */
export interface Report {
	/** Host, entity, users, roster, pushes, message, presence, iq namespaces. */
	rows: string[][];
	/** Sentences. */
	problems: string[];
	/** Sentences about things that are no mistakes but may be dangerous or surprising. */
	warnings: string[];
}

/** Checks configurations, for `prosodyctl mod_privilege check` and for the log. */
export function create_check() {
	// With iqs of these namespaces, an admin controls the server: commands (XEP-0050), accounts (XEP-0077) and chat rooms (XEP-0045).
	const powerful_namespaces = [
		"http://jabber.org/protocol/commands",
		"jabber:iq:register",
		"http://jabber.org/protocol/muc#admin",
		"http://jabber.org/protocol/muc#owner",
	];

	/** The options, with their types; for a number, its least value. */
	const option_kinds: Record<string, "table" | "boolean" | number> = {
		privileged_entities: "table",
		privilege_iq_timeout: 1,
		privilege_probe_rate: 0,
		privilege_legacy_namespace: "boolean",
		privilege_log_acts: "boolean",
	};

	/** Looks up a key in a table itself. Prosody's tables of options have the global section behind them. */
	function own<V>(from: LuaTable<string, V>, key: string): V | undefined {
		return rawget(from as unknown as Record<string, V>, key);
	}

	function section_name(host: string, section: Section): string {
		if (host === "*") {
			return "global section";
		}
		return string.format('%s "%s"', section.has("component_module") ? "Component" : "VirtualHost", host);
	}

	/** Whether an option, which is a list or a single word, contains a word. */
	function contains(option: unknown, word: string): boolean {
		if (type(option) === "table") {
			for (const [, listed] of pairs(option as LuaTable<AnyNotNil, unknown>)) {
				if (listed === word) {
					return true;
				}
			}
		}
		return option === word;
	}

	/** Whether the module is enabled on the host of a section. */
	function is_enabled(sections: Sections, section: Section): boolean {
		const everywhere = sections.get("*");
		const enabled = contains(own(section, "modules_enabled"), "privilege") || contains(everywhere.get("modules_enabled"), "privilege");
		return enabled && !contains(section.get("modules_disabled"), "privilege");
	}

	/** Says which name in the `modules_enabled` of sections was probably meant to be "privilege"; an empty text where none was. */
	function instead(sections: Sections, names: string[]): string {
		for (const [, name] of ipairs(names)) {
			const enabled = own(own(sections, name)!, "modules_enabled");
			const modules = type(enabled) === "table" ? (enabled as LuaTable<AnyNotNil, unknown>) : undefined;
			for (const [, listed] of pairs(modules ?? new LuaTable<AnyNotNil, unknown>())) {
				const [plain] = string.gsub(tostring(listed), "^mod_", "");
				if (listed !== "privilege" && suggest(plain, { privilege: true }) !== undefined) {
					return ", write it instead of " + show_value(listed);
				}
			}
		}
		return "";
	}

	/** The hosts whose sections pass a test, as keys. */
	function hosts_where(sections: Sections, test: (this: void, section: Section) => boolean): Record<string, true> {
		const found: Record<string, true> = {};
		for (const [host, section] of pairs(sections)) {
			if (host !== "*" && test(section)) {
				found[host] = true;
			}
		}
		return found;
	}

	/** What is wrong with the JID of an entity, given the hosts of the configuration; nil if nothing is. */
	function entity_problem(entity: string, sections: Sections): string | undefined {
		const [node, domain] = jid.split(entity);
		const section = own(sections, domain!);
		if (node !== undefined) {
			if (section && !section.has("component_module")) {
				return undefined;
			}
			const virtual_hosts = hosts_where(sections, (other) => !other.has("component_module"));
			return domain! + " is no VirtualHost of this configuration" + did_you_mean(suggest(domain!, virtual_hosts));
		}
		if (!section) {
			const components = hosts_where(sections, (other) => other.get("component_module") === "component");
			return "there is no such Component in this configuration" + did_you_mean(suggest(domain!, components));
		}
		const component_module = section.get("component_module");
		if (component_module === undefined) {
			return "it is a VirtualHost, an entity is a Component or a user";
		}
		if (component_module !== "component") {
			return "it is part of the server itself, an entity is an external Component";
		}
		return section.get("component_secret") === undefined ? "its Component has no component_secret, so it cannot connect" : undefined;
	}

	function permission_row(host: string, entity: string, permissions: Permissions): string[] {
		const iqs: string[] = [];
		for (const [, namespace] of ipairs(sorted_keys(permissions.iq))) {
			iqs.push(namespace + "=" + permissions.iq.get(namespace));
		}
		return [
			host,
			entity,
			describe_users(permissions.users),
			permissions.roster,
			permissions.push ? "yes" : "no",
			permissions.message,
			permissions.presence,
			iqs.length > 0 ? table.concat(iqs, " ") : "none",
		];
	}

	/** The bare JIDs of the admins of a host: by the option `admins` of the host and the global one, and by their roles where the server is running. */
	function admins_of(host: string, sections: Sections, server: RunningServer | undefined): string[] {
		const admins = new LuaTable<string, true>();
		for (const [, name] of ipairs([host, "*"])) {
			const option = sections.get(name).get("admins");
			if (type(option) === "table") {
				for (const [, listed] of pairs(option as LuaTable<AnyNotNil, unknown>)) {
					const admin = type(listed) === "string" ? jid.prep(listed as string) : undefined;
					if (admin !== undefined) {
						admins.set(admin, true);
					}
				}
			}
		}
		if (server) {
			for (const [admin] of pairs(server.admins)) {
				admins.set(admin, true);
			}
		}
		return sorted_keys(admins);
	}

	/** Whether a grant of a host covers an account, a bare JID, by its configuration. */
	function covers_account(host: string, users: Coverage, account: string): boolean {
		const [username, domain] = jid.split(account);
		return username !== undefined && domain === host && (users === "all" || (users !== "opted-in" && users.has(username)));
	}

	/** Those of the granted permissions that are dangerous where a grant covers an admin's account. */
	function dangerous_permissions(permissions: Permissions): string[] {
		const found: string[] = [];
		if (permissions.message === "outgoing") {
			found.push("message");
		}
		for (const [, namespace] of ipairs(powerful_namespaces)) {
			if (allows(permissions.iq.get(namespace), "set")) {
				found.push(string.format('iq["%s"]', namespace));
			}
		}
		return found;
	}

	/** Warns if an entity can act as an admin. */
	function check_admins(host: string, entity: string, permissions: Permissions, admins: string[], report: Report): void {
		const covered: string[] = [];
		for (const [, admin] of ipairs(admins)) {
			if (admin !== entity && covers_account(host, permissions.users, admin)) {
				covered.push(admin);
			}
		}
		const found = dangerous_permissions(permissions);
		if (covered.length > 0 && found.length > 0) {
			report.warnings.push(
				string.format(
					'VirtualHost "%s": entity "%s" can act as the admin %s by %s.%s',
					host,
					entity,
					table.concat(covered, ", "),
					table.concat(found, ", "),
					permissions.users === "all" ? ' Limit it by users = "opted-in" or a list of users.' : "",
				),
			);
		}
	}

	/** What the value of an option has to be, in words; nil if it is that. Prosody takes numbers and booleans in quotes, too. */
	function expected_value(option: string, value: unknown): string | undefined {
		const kind = option_kinds[option];
		if (typeof kind === "number") {
			const number = tonumber(value);
			return number === undefined || number < kind ? string.format("a number of at least %d", kind) : undefined;
		}
		const text = tostring(value);
		const is_boolean = text === "true" || text === "false" || value === 0 || value === 1;
		return kind === "boolean" && !is_boolean ? "true or false" : undefined;
	}

	function check_options(host: string, section: Section, problems: string[]): void {
		for (const [, option] of ipairs(sorted_keys(section))) {
			const value = section.get(option);
			const expected = expected_value(option, value);
			if (option_kinds[option] === undefined) {
				const meant = suggest(option, option_kinds);
				if (meant !== undefined) {
					problems.push(string.format("%s: there is no option %s%s", section_name(host, section), option, did_you_mean(meant)));
				}
			} else if (expected !== undefined) {
				problems.push(
					string.format("%s: %s = %s is not understood, expected %s", section_name(host, section), option, show_value(value), expected),
				);
			} else if (section.has("component_module") && option !== "privileged_entities") {
				problems.push(string.format("%s: %s does nothing here, it belongs to a VirtualHost", section_name(host, section), option));
			}
		}
	}

	function check_host(host: string, sections: Sections, server: RunningServer | undefined, report: Report): void {
		const section = sections.get(host);
		const own_option = own(section, "privileged_entities");
		let option = own_option;
		if (option === undefined) {
			option = sections.get("*").get("privileged_entities");
		}
		if (option === undefined) {
			return;
		}
		const name = section_name(host, section);
		if (section.has("component_module")) {
			if (own_option !== undefined) {
				report.problems.push(name + ": privileged_entities grants nothing here, it belongs to a VirtualHost");
			}
			return;
		}
		if (!is_enabled(sections, section)) {
			if (own_option !== undefined) {
				report.problems.push(
					name + ': privileged_entities grants nothing, "privilege" is not in modules_enabled' + instead(sections, [host, "*"]),
				);
			}
			return;
		}
		const configuration = read_configuration(option, jid.prep, host);
		for (const [, problem] of ipairs(configuration.problems)) {
			report.problems.push(describe_problem(host, problem));
		}
		for (const [, warning] of ipairs(describe_empty_entries(host, configuration))) {
			report.warnings.push(warning);
		}
		const admins = admins_of(host, sections, server);
		for (const [, entity] of ipairs(sorted_keys(configuration.grants))) {
			const permissions = configuration.grants.get(entity);
			report.rows.push(permission_row(host, entity, permissions));
			check_admins(host, entity, permissions, admins, report);
			const problem = entity_problem(entity, sections);
			if (problem !== undefined) {
				report.problems.push(string.format('%s: entity "%s": %s', name, entity, problem));
			}
		}
	}

	/** The first option of a section that was probably meant to be `privileged_entities`; nil where there is none. */
	function misspelt_option(section: Section): string | undefined {
		for (const [, option] of ipairs(sorted_keys(section))) {
			if (option_kinds[option] === undefined && suggest(option, option_kinds) === "privileged_entities") {
				return option;
			}
		}
		return undefined;
	}

	/** The reason why a virtual host with the module grants nothing, given the configuration. */
	function no_grants_reason(host: string, sections: Sections): string {
		const everywhere = sections.get("*");
		const section = own(sections, host) ?? everywhere;
		if (own(section, "privileged_entities") !== undefined || own(everywhere, "privileged_entities") !== undefined) {
			return "no entry of privileged_entities grants anything";
		}
		for (const [, name] of ipairs([host, "*"])) {
			const named = own(sections, name);
			const misspelt = named && misspelt_option(named);
			if (named && misspelt !== undefined) {
				return string.format("%s has %s%s", section_name(name, named), show_value(misspelt), did_you_mean("privileged_entities"));
			}
		}
		const components = hosts_where(sections, (other) => other.has("component_module") && own(other, "privileged_entities") !== undefined);
		const component = sorted_keys(components as unknown as Sections)[0];
		if (component !== undefined) {
			return string.format(
				"privileged_entities stands in the section of Component %s, it belongs to the VirtualHost's",
				show_value(component),
			);
		}
		return "there is no privileged_entities in its section, nor in the global one";
	}

	/** A sentence for the log about a virtual host that has the module and grants nothing. */
	function explain_no_grants(host: string, sections: Sections): string {
		return string.format('VirtualHost "%s": mod_privilege is enabled and grants nothing: %s', host, no_grants_reason(host, sections));
	}

	/** Checks what a configuration grants. If a server is running, it knows which users are admins by their role. */
	function check_configuration(sections: Sections, server?: RunningServer): Report {
		const report: Report = { rows: [], problems: [], warnings: [] };
		const hosts_with_it = hosts_where(sections, (section) => !section.has("component_module") && is_enabled(sections, section));
		if (own(sections.get("*"), "privileged_entities") !== undefined && next(hosts_with_it)[0] === undefined) {
			report.problems.push(
				'global section: privileged_entities grants nothing, "privilege" is in the modules_enabled of no VirtualHost'
					+ instead(sections, sorted_keys(sections)),
			);
		}
		for (const [, host] of ipairs(sorted_keys(sections))) {
			check_options(host, sections.get(host), report.problems);
			if (host !== "*") {
				check_host(host, sections, server, report);
			}
		}
		return report;
	}

	/** What is wrong if a host has not loaded this file in this version, and the command that helps; nil if nothing is. */
	function check_loaded(loaded: { path: string; version: string }, path: string): LuaMultiReturn<[string | undefined, string]> {
		if (loaded.path === "") {
			return $multi("has not loaded the module", "config reload && prosodyctl shell module load");
		}
		if (loaded.path !== path) {
			return $multi("has loaded " + loaded.path, "module reload");
		}
		if (loaded.version !== module_version) {
			const version = loaded.version !== "" ? "version " + loaded.version : "another version";
			return $multi(string.format("has loaded %s, this is %s", version, module_version), "module reload");
		}
		return $multi(undefined, "");
	}

	/** What is wrong with the module on a host of the running server, and what helps; nil if nothing is. */
	function host_warning(server: RunningServer, host: string, path: string): string | undefined {
		const [problem, command] = check_loaded(server.hosts.get(host), path);
		if (problem === undefined) {
			return undefined;
		}
		// A command would load the file that the server finds.
		return server.finds === path ? string.format("%s. Run: prosodyctl shell %s privilege %s", problem, command, host) : problem + ".";
	}

	/**
	 * Warns where the running server differs from the configuration.
	 *
	 * @param rows the rows of the report
	 * @param path the path of this file
	 * @returns sentences
	 */
	function compare_running(server: RunningServer, sections: Sections, rows: string[][], path: string): string[] {
		const warnings: string[] = [];
		if (server.finds === "") {
			warnings.push(string.format("The running server does not find %s. Restart it if plugin_paths has changed.", path));
		} else if (server.finds !== path) {
			warnings.push(
				string.format(
					"The running server finds %s, not %s. Restart it if plugin_paths has changed, or remove the file that you do not want.",
					server.finds,
					path,
				),
			);
		}
		const compared: Record<string, true | undefined> = {};
		/** Warns of a host, or of the host of an entity, once. */
		function compare(host: string, grants: boolean): void {
			const section = own(sections, host);
			if (!section || compared[host]) {
				return;
			}
			compared[host] = true;
			let warning: string | undefined;
			if (!server.hosts.has(host)) {
				warning = "does not have it. Run: prosodyctl shell config reload && prosodyctl shell host activate " + host;
			} else if (grants) {
				warning = host_warning(server, host, path);
			}
			if (warning !== undefined) {
				warnings.push(string.format("%s: the running server %s", section_name(host, section), warning));
			}
		}
		for (const [, row] of ipairs(rows)) {
			compare(row[0]!, true);
		}
		for (const [, row] of ipairs(rows)) {
			const [, domain] = jid.split(row[1]);
			if (entity_problem(row[1]!, sections) === undefined) {
				compare(domain!, false);
			}
		}
		return warnings;
	}

	/** Prints a report. */
	function print_report(report: Report): void {
		if (report.rows.length > 0) {
			const titles = ["Host", "Entity", "Users", "Roster", "Pushes", "Message", "Presence", "IQ namespaces"];
			print_table(print, titles, report.rows, math.huge);
		} else {
			print("No entity is granted anything.");
		}
		if (report.problems.length > 0) {
			print("");
		} else if (report.rows.length > 0) {
			print("");
			const warned = report.warnings.length > 0 ? ", " + count_of(report.warnings.length, "warning", "warnings") : "";
			print("OK: no problems in " + count_of(report.rows.length, "grant", "grants") + warned);
		}
		for (const [, problem] of ipairs(report.problems)) {
			print(problem);
		}
		for (const [, warning] of ipairs(report.warnings)) {
			print("Warning: " + warning);
		}
	}

	/**
	 * Runs the command `prosodyctl mod_privilege`.
	 *
	 * @param args the arguments after that
	 * @param get_sections gives the configuration
	 * @param path the path of this file
	 * @param ask_server asks the running server, given the option `admin_socket`; nil where no server runs
	 * @returns the exit status: 1 if something is wrong, else 0
	 */
	function run_command(
		args: string[],
		get_sections: (this: void) => Sections,
		path: string,
		ask_server: (this: void, option: unknown) => RunningServer | undefined,
	): number {
		const command = args[0];
		const is_known = command === "check" || command === "version";
		if (is_known && args[1] !== undefined) {
			print(string.format("prosodyctl mod_privilege %s takes no arguments: %s", command, args[1]));
			return 1;
		}
		if (command === "version") {
			print("mod_privilege " + module_version);
			return 0;
		}
		if (command !== "check") {
			print("mod_privilege " + module_version + ": XEP-0356 (Privileged Entity) for Prosody");
			print("");
			print("Usage: prosodyctl mod_privilege check");
			print("       prosodyctl mod_privilege version");
			print("");
			print("  check    shows what the configuration grants to which entities, what is wrong with it, and whether the server runs with it");
			print("  version  shows the version of the module");
			const is_help = command === undefined || command === "help" || command === "--help";
			if (!is_help) {
				print("");
				print("There is no command " + command);
			}
			return is_help ? 0 : 1;
		}
		const sections = get_sections();
		const server = ask_server(sections.get("*").get("admin_socket"));
		const report = check_configuration(sections, server);
		if (server) {
			for (const [, warning] of ipairs(compare_running(server, sections, report.rows, path))) {
				report.warnings.push(warning);
			}
		}
		print_report(report);
		if (!server) {
			print("No running server answered, so only the configuration was checked.");
		}
		return report.problems.length > 0 ? 1 : 0;
	}

	return { explain_no_grants, check_configuration, compare_running, run_command };
}
