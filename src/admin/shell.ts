import * as jid from "util.jid";
import { account_exists_now } from "../prosody/accounts";
import { optional_module } from "../prosody/compatibility";
import { sorted_keys } from "../prosody/keys";
import { in_slices } from "../prosody/timers";
import { describe_permissions } from "../grants/permissions";
import { did_you_mean, suggest } from "../grants/suggestion";
import type { UserRecord } from "../grants/users";
import { is_connected } from "../entities/entities";
import type { Counts, Entity } from "../entities/entities";
import type { ServedHost, ServedHosts } from "../entities/served_hosts";
import { print_table } from "./print_table";
import { count_of, describe_users } from "./words";

/** The console of the running server, which is `self` in its commands. */
interface Shell {
	session: { print: (this: void, line: string) => void };
}

/** The answer of a command: true and a sentence, or nil and an error. */
type Answer = LuaMultiReturn<[boolean | undefined, string]>;

interface ShellSection {
	list: (this: Shell, host?: string) => Answer;
	users: (this: Shell, host?: string, entity?: string) => Answer;
	allow: (this: Shell, host?: string, entity?: string, user?: string) => Answer;
	revoke: (this: Shell, host?: string, entity?: string, user?: string) => Answer;
}

/** The host and the entity that are named in a command. */
interface Subject {
	host: string;
	served: ServedHost;
	entity: Entity;
}

/**
 * Adds commands to the console of mod_admin_shell, and to that of mod_admin_telnet before 0.12: `privilege:list(HOST)`,
 * `privilege:users(HOST, ENTITY)`, `privilege:allow(HOST, ENTITY, USER)` and `privilege:revoke(HOST, ENTITY, USER)`. In
 * `prosodyctl shell` they read `privilege list HOST` and so on. `list` without a host lists all hosts.
 *
 * They go into the environment of the console, since commands that a host's module adds to it need a host.
 */
export function add_shell_commands(api: Module, everywhere: ServedHosts): void {
	/** Since Prosody 0.11, `util.async` can tell whether the caller may wait. */
	const async = optional_module("util.async") as typeof import("util.async") | undefined;
	// `prosodyctl` need not load it.
	const timer = optional_module("util.timer") as typeof import("util.timer") | undefined;

	// The console puts "| " before each line, which makes 120 columns.
	const max_width = 118;

	const list_titles = ["Host", "Entity", "Granted", "Users", "Connected since", "Activity"];
	const activities: Array<[keyof Counts, string]> = [
		["messages", "messages"],
		["iqs", "iqs"],
		["roster_gets", "roster gets"],
		["roster_sets", "roster sets"],
		["pushes", "pushes"],
		["presences", "presences"],
		["refusals", "refused"],
	];

	function time_text(time: number): string {
		return os.date("%Y-%m-%d %H:%M:%S", time);
	}

	/** For an entity that is not connected: the reason why it cannot connect; "no" where it can. */
	function absence(entity: Entity): string {
		const [username, domain] = jid.split(entity.jid);
		const host = prosody.hosts.get(domain!) as Host | undefined;
		if (username !== undefined) {
			if (!host || !host.sessions) {
				return "no such host";
			}
			return account_exists_now(username, domain!) ? "no" : "no such user";
		}
		if (!host) {
			return "no such component";
		}
		return host.modules.has("component") ? "no" : "no external component";
	}

	/** The times at which an entity connected, or the reason why it is not connected. */
	function connected_since(entity: Entity): string {
		const times: string[] = [];
		for (const [, connection] of ipairs(entity.connections)) {
			if (is_connected(connection)) {
				times.push(time_text(connection.since));
			}
		}
		return times.length > 0 ? table.concat(times, ", ") : absence(entity);
	}

	/** The counts of an entity: `messages 3, refused 1`. */
	function describe_counts(counts: Counts): string {
		const parts: string[] = [];
		for (const [, activity] of ipairs(activities)) {
			const number = counts[activity[0]];
			if (number > 0) {
				parts.push(activity[1] + " " + number);
			}
		}
		return parts.length > 0 ? table.concat(parts, ", ") : "none";
	}

	/** How a grant began or ceased to cover a user. */
	function describe_record(record: UserRecord): string {
		if (record.state === "in") {
			return "opted in by " + (record.by ?? "something");
		}
		return record.state + " by " + (record.by ?? "the admin");
	}

	/** Calls `step` until it returns false: in slices where the console can wait (Prosody 0.12 and later), else in one go. */
	function work_through(step: (this: void) => boolean): void {
		// Consoles call commands by pcall, within which a coroutine of Lua 5.1 cannot yield.
		if (async && timer && _VERSION !== "Lua 5.1" && async.ready()) {
			const [wait, done] = async.waiter();
			// Not by timers of the module: after a reload of it these do not go off, and the console would wait for ever.
			in_slices(
				timer.add_task,
				step,
				(goes_on) => {
					if (!goes_on) {
						done();
					}
				},
				"users were listed for the console",
			);
			wait();
			return;
		}
		let more = true;
		while (more) {
			more = step();
		}
	}

	/** Prepares the name of a host of a command; nil and an error where the module is not loaded there. */
	function find_host(name: string): LuaMultiReturn<[string | undefined, string]> {
		const host = jid.prep(name) ?? name;
		if (everywhere.has(host)) {
			return $multi(host, "");
		}
		const known = prosody.hosts.get(host) as Host | undefined;
		if (known && !known.sessions) {
			return $multi(undefined, host + " is a Component, HOST is the VirtualHost that grants");
		}
		const meant = known ? undefined : suggest(host, everywhere as unknown as Record<string, unknown>);
		return $multi(undefined, string.format("mod_privilege is not loaded on %s%s", host, did_you_mean(meant)));
	}

	/** Finds the host and the entity of a command; nil and an error where there is none. */
	function find_subject(host: string, name: string): LuaMultiReturn<[Subject | undefined, string]> {
		const [host_name, problem] = find_host(host);
		if (host_name === undefined) {
			return $multi(undefined, problem);
		}
		const served = everywhere.get(host_name);
		const entity_name = jid.prep(name) ?? name;
		const entity = served.entities.get(entity_name);
		if (!entity) {
			const meant = suggest(entity_name, served.entities.all() as unknown as Record<string, unknown>);
			return $multi(undefined, string.format("%s grants nothing to %s%s", host_name, entity_name, did_you_mean(meant)));
		}
		return $multi({ host: host_name, served: served, entity: entity }, "");
	}

	/** The name of a user whom the admin may allow or revoke; nil and an error for any other user. */
	function find_user(subject: Subject, user: string): LuaMultiReturn<[string | undefined, string]> {
		const coverage = subject.entity.permissions.users;
		if (coverage !== "opted-in") {
			return $multi(
				undefined,
				string.format(
					'The grant of %s covers %s. Users can be allowed and revoked where it has users = "opted-in".',
					subject.entity.jid,
					coverage === "all" ? "all users" : "the users in a list",
				),
			);
		}
		const is_jid = string.find(user, "@", 1, true)[0] !== undefined;
		const [username, host, resource] = jid.split(jid.prep(is_jid ? user : user + "@" + subject.host));
		if (username === undefined || host !== subject.host || resource !== undefined) {
			return $multi(undefined, user + " is no user of " + subject.host);
		}
		if (!account_exists_now(username, subject.host)) {
			return $multi(undefined, string.format("There is no user %s@%s", username, subject.host));
		}
		return $multi(username, "");
	}

	/** The commands `allow` and `revoke`. */
	function change(allowed: boolean, host?: string, name?: string, user?: string): Answer {
		if (type(host) !== "string" || type(name) !== "string" || type(user) !== "string") {
			return $multi(undefined, string.format("Usage: privilege %s HOST ENTITY USER", allowed ? "allow" : "revoke"));
		}
		const [subject, problem] = find_subject(host!, name!);
		if (!subject) {
			return $multi(undefined, problem);
		}
		const [username, user_problem] = find_user(subject, user!);
		if (username === undefined) {
			return $multi(undefined, user_problem);
		}
		const entity = subject.entity;
		const record = subject.served.users.record(entity.jid, username);
		const outcome = string.format("%s %s act for %s@%s", entity.jid, allowed ? "may" : "may not", username, subject.host);
		const was_allowed = record && record.state !== "revoked";
		if (was_allowed === allowed) {
			return $multi(true, outcome + " already: " + describe_record(record!));
		}
		const opting = subject.served.opting;
		const change_record = allowed ? opting.allow : opting.revoke;
		if (!change_record(entity, username)) {
			return $multi(undefined, "This could not be saved, see the log");
		}
		return $multi(true, allowed ? outcome : outcome + " until you allow it");
	}

	/** Prints the users who are listed in the configuration; gives their number. */
	function print_listed(subject: Subject, listed: LuaTable<string, true>, print_line: (this: void, line: string) => void): number {
		const rows: string[][] = [];
		for (const [, username] of ipairs(sorted_keys(listed))) {
			rows.push([
				username + "@" + subject.host,
				account_exists_now(username, subject.host) ? "listed in the configuration" : "listed, but no such user",
			]);
		}
		print_table(print_line, ["User", "How"], rows, max_width);
		return rows.length;
	}

	/** Prints the users with a record; gives how many of them are covered and how many are revoked. */
	function print_opted_in(subject: Subject, print_line: (this: void, line: string) => void): LuaMultiReturn<[number, number]> {
		const names = subject.served.users.recorded_usernames();
		table.sort(names);
		const rows: string[][] = [];
		let position = 0;
		let revoked = 0;
		work_through(() => {
			const username = names[position];
			position = position + 1;
			const record = username !== undefined ? subject.served.users.record(subject.entity.jid, username) : undefined;
			if (username !== undefined && record) {
				rows.push([username + "@" + subject.host, time_text(record.since), describe_record(record)]);
				revoked = revoked + (record.state === "revoked" ? 1 : 0);
			}
			return username !== undefined;
		});
		print_table(print_line, ["User", "Since", "How"], rows, max_width);
		return $multi(rows.length - revoked, revoked);
	}

	const section: ShellSection = {
		list(host?: string) {
			let only: string | undefined;
			if (host !== undefined) {
				if (type(host) !== "string") {
					return $multi(undefined, "Usage: privilege list HOST");
				}
				const [host_name, problem] = find_host(host);
				if (host_name === undefined) {
					return $multi(undefined, problem);
				}
				only = host_name;
			}
			const rows: string[][] = [];
			for (const [, host_name] of ipairs(sorted_keys(everywhere))) {
				if (only === undefined || only === host_name) {
					const served = everywhere.get(host_name);
					const granted = served.entities.all();
					for (const [, name] of ipairs(sorted_keys(granted))) {
						const entity = granted.get(name);
						rows.push([
							host_name,
							name,
							describe_permissions(entity.permissions),
							describe_users(entity.permissions.users, served.covered_count.number_of(name)),
							connected_since(entity),
							describe_counts(entity.counts),
						]);
					}
				}
			}
			print_table(this.session.print, list_titles, rows, max_width);
			return $multi(true, count_of(rows.length, "entity", "entities"));
		},
		users(host?: string, entity?: string) {
			if (type(host) !== "string" || type(entity) !== "string") {
				return $multi(undefined, "Usage: privilege users HOST ENTITY");
			}
			const [subject, problem] = find_subject(host!, entity!);
			if (!subject) {
				return $multi(undefined, problem);
			}
			const host_name = subject.host;
			const coverage = subject.entity.permissions.users;
			if (coverage === "all") {
				return $multi(true, "The grant covers all users of " + host_name);
			}
			if (coverage !== "opted-in") {
				return $multi(true, count_of(print_listed(subject, coverage, this.session.print), "user", "users"));
			}
			const [covered, revoked] = print_opted_in(subject, this.session.print);
			const also = revoked > 0 ? string.format(", and %d revoked", revoked) : "";
			return $multi(true, count_of(covered, "user", "users") + also);
		},
		allow(host?: string, entity?: string, user?: string) {
			return change(true, host, entity, user);
		},
		revoke(host?: string, entity?: string, user?: string) {
			return change(false, host, entity, user);
		},
	};

	/** Describes a command for `help privilege` (Prosody 13). */
	function command_help(desc: string, args: string[]): object {
		const described: object[] = [];
		for (const [, arg] of ipairs(args)) {
			described.push({ name: arg, type: "string" });
		}
		return { desc: desc, args: described, module: "privilege" };
	}
	const help = {
		desc: "Entities with privileges (XEP-0356)",
		commands: {
			list: command_help("List the privileged entities of a host, or of all", ["host"]),
			users: command_help("List the users whom the grant of an entity covers", ["host", "entity"]),
			allow: command_help('Let an entity act for a user, where its grant has users = "opted-in"', ["host", "entity", "user"]),
			revoke: command_help("Keep an entity from acting for a user until that is allowed again", ["host", "entity", "user"]),
		},
	};
	for (const [, shell] of ipairs(["admin_shell", "admin_telnet"])) {
		const environment = api.shared<LuaTable<string, ShellSection | undefined>>("/*/" + shell + "/env");
		environment.set("privilege", setmetatable(section, { help: help } as never));
	}
}

/** Removes the commands again. */
export function remove_shell_commands(api: Module): void {
	for (const [, shell] of ipairs(["admin_shell", "admin_telnet"])) {
		api.shared<LuaTable<string, ShellSection | undefined>>("/*/" + shell + "/env").delete("privilege");
	}
}
