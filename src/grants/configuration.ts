import { sorted_keys } from "../prosody/keys";
import { no_permissions } from "./permissions";
import type { Access, Coverage, MessagePermission, Permissions, PresencePermission } from "./permissions";
import { question, suggest } from "./suggestion";

/** One thing that is wrong with the option `privileged_entities`. */
export interface Problem {
	/** The entity it stands under, as the admin wrote it; nil where it is the option as a whole. */
	entity: string | undefined;
	/** The option, `iq["NAMESPACE"]` for a namespace. */
	option: string;
	/** What stands there, as Lua would write it. */
	value: string;
	/** What may stand there. */
	allowed: string;
	/** What was probably meant, nil where that is not clear. */
	meant: string | undefined;
	/** What the entity needs besides, where the value is one of those allowed. */
	needs?: string | undefined;
}

/** The option `privileged_entities`, read. */
export interface Configuration {
	/** By the entity's JID: a domain or a bare JID, prepared. */
	grants: LuaTable<string, Permissions>;
	problems: Problem[];
}

/** The other options; the parts of the module hold on to them, and they change when the configuration is read again. */
export interface Options {
	/** `privilege_iq_timeout`: seconds to wait for the answer to an iq. */
	iq_timeout: number;
	/** `privilege_probe_rate`: probes of contacts a second, 0 for none. */
	probe_rate: number;
	/** `privilege_legacy_namespace`: whether to serve urn:xmpp:privilege:1 too. */
	legacy: boolean;
	/** `privilege_log_acts`: whether to log what is done in users' names. */
	log_acts: boolean;
}

type Choices<T extends string> = Record<T, true>;
type Prepare = (this: void, jid: string) => string | undefined;
type ProblemSink = (this: void, option: string, value: unknown, allowed: string, meant?: string, needs?: string) => void;

const access_choices: Choices<Access> = { none: true, get: true, set: true, both: true };
const access_allowed = '"none", "get", "set" or "both"';
const message_choices: Choices<MessagePermission> = { none: true, outgoing: true };
const presence_choices: Choices<PresencePermission> = { none: true, managed_entity: true, roster: true };
const known_options: Choices<"roster" | "roster_push" | "message" | "presence" | "iq" | "users"> = {
	roster: true,
	roster_push: true,
	message: true,
	presence: true,
	iq: true,
	users: true,
};
const coverage_choices = { all: true, "opted-in": true };

/** A value of the configuration as the admin would recognise it. */
export function show_value(value: unknown): string {
	if (type(value) === "string") {
		// In one line, also where the value has more.
		return string.gsub(string.format("%q", value), "\n", "n")[0];
	}
	if (type(value) === "table") {
		return "a table";
	}
	return tostring(value);
}

/** `value` if it is one of the choices; else "none", and a problem unless there was no value. */
function choose<T extends string>(choices: Choices<T>, option: string, value: unknown, allowed: string, problem: ProblemSink): T | "none" {
	if (value === undefined) {
		return "none";
	}
	if (type(value) === "string" && (choices[value as T] as true | undefined)) {
		return value as T;
	}
	problem(option, value, allowed, type(value) === "string" ? suggest(value as string, choices) : undefined);
	return "none";
}

function read_iq(option: unknown, problem: ProblemSink): LuaTable<string, Access> {
	const granted = new LuaTable<string, Access>();
	if (option === undefined) {
		return granted;
	}
	if (type(option) !== "table") {
		problem("iq", option, 'a table of namespaces, { ["NAMESPACE"] = "set" }');
		return granted;
	}
	const namespaces = option as LuaTable<AnyNotNil, unknown>;
	for (const [, namespace] of ipairs(sorted_keys(namespaces))) {
		const name = tostring(namespace);
		// A namespace is a URI, and what is not cannot be told in XML.
		if (type(namespace) === "string" && string.find(name, "^[!-~]+$")[0] !== undefined) {
			const access = choose(access_choices, 'iq["' + name + '"]', namespaces.get(name), access_allowed, problem);
			if (access !== "none") {
				granted.set(name, access);
			}
		} else {
			problem("iq", namespaces.get(namespace), 'a namespace as key, { ["NAMESPACE"] = "set" }');
		}
	}
	return granted;
}

/** Whose accounts are covered; nobody's where that is not understood. */
function read_users(option: unknown, host: string, prepare: Prepare, problem: ProblemSink): Coverage {
	if (option === undefined || option === "all") {
		return "all";
	}
	if (option === "opted-in") {
		return option;
	}
	const listed = new LuaTable<string, true>();
	if (type(option) !== "table") {
		const meant = suggest(tostring(option), coverage_choices);
		problem("users", option, '"all", "opted-in" or a list of users', meant);
		return listed;
	}
	const list = option as LuaTable<AnyNotNil, unknown>;
	for (const [, key] of ipairs(sorted_keys(list))) {
		const value = list.get(key);
		const name = type(key) === "number" && type(value) === "string" ? (value as string) : "";
		const user = prepare(string.find(name, "@", 1, true)[0] !== undefined ? name : name + "@" + host);
		const [username, user_host] = string.match(user ?? "", "^([^@/]+)@([^@/]+)$");
		if (username !== undefined && user_host === host) {
			listed.set(username, true);
		} else {
			problem("users", value, string.format('users of %s, { "NAME", "NAME@%s" }', host, host));
		}
	}
	return listed;
}

function read_permissions(option: LuaTable<AnyNotNil, unknown>, host: string, prepare: Prepare, problem: ProblemSink): Permissions {
	const permissions = no_permissions();
	permissions.users = read_users(option.get("users"), host, prepare, problem);
	permissions.roster = choose(access_choices, "roster", option.get("roster"), access_allowed, problem);
	permissions.message = choose(message_choices, "message", option.get("message"), '"none" or "outgoing"', problem);
	permissions.presence = choose(presence_choices, "presence", option.get("presence"), '"none", "managed_entity" or "roster"', problem);
	permissions.iq = read_iq(option.get("iq"), problem);

	const readable = permissions.roster === "get" || permissions.roster === "both";
	// XEP-0356, 7.4: the server must reject it.
	if (permissions.presence === "roster" && !readable) {
		problem("presence", "roster", '"none" or "managed_entity"', undefined, 'roster = "get" or "both"');
		permissions.presence = "none";
	}

	const push = option.get("roster_push");
	permissions.push = readable;
	if (push !== undefined) {
		permissions.push = push === true && readable;
		if (type(push) !== "boolean") {
			problem("roster_push", push, "true or false");
		} else if (push === true && !readable) {
			problem("roster_push", push, "false", undefined, 'roster = "get" or "both"');
		}
	}

	for (const [, key] of ipairs(sorted_keys(option))) {
		const name = tostring(key);
		const known = known_options as Record<string, true | undefined>;
		if (type(key) !== "string" || known[name] === undefined) {
			problem(name, option.get(key), "roster, roster_push, message, presence, iq or users as option", suggest(name, known));
		}
	}
	return permissions;
}

/**
 * Reads `privileged_entities`.
 *
 * Whatever is wrong with it grants nothing and is listed as a problem; the rest stands.
 * @param option what the configuration has, of any type
 * @param prepare gives the prepared form of a JID, nil where it is none (util.jid.prep)
 * @param host that grants
 */
export function read_configuration(option: unknown, prepare: Prepare, host: string): Configuration {
	const configuration: Configuration = { grants: new LuaTable(), problems: [] };
	const problems = configuration.problems;
	if (option === undefined) {
		return configuration;
	}
	if (type(option) !== "table") {
		problems.push({
			entity: undefined,
			option: "privileged_entities",
			value: show_value(option),
			allowed: 'a table of entities, { ["JID"] = { … } }',
			meant: undefined,
		});
		return configuration;
	}

	const entities = option as LuaTable<AnyNotNil, unknown>;
	for (const [, key] of ipairs(sorted_keys(entities))) {
		const name = tostring(key);
		const problem: ProblemSink = (option_name, value, allowed, meant, needs) => {
			problems.push({ entity: name, option: option_name, value: show_value(value), allowed: allowed, meant: meant, needs: needs });
		};
		const value = entities.get(key);
		const entity = type(key) === "string" ? prepare(name) : undefined;
		if (entity === undefined || string.find(entity, "/", 1, true)[0] !== undefined) {
			problem("privileged_entities", key, "a domain or a bare JID as key");
		} else if (configuration.grants.has(entity)) {
			problem("privileged_entities", key, "each entity once; " + entity + " stands there in another spelling");
		} else if (type(value) !== "table") {
			problem("privileged_entities", value, "a table of permissions for the entity");
		} else {
			configuration.grants.set(entity, read_permissions(value as LuaTable<AnyNotNil, unknown>, host, prepare, problem));
		}
	}
	return configuration;
}

/** A problem as a sentence for the log. */
export function describe_problem(host: string, problem: Problem): string {
	const entity = problem.entity !== undefined ? string.format(' entity "%s":', problem.entity) : "";
	const setting = string.format('VirtualHost "%s":%s %s = %s', host, entity, problem.option, problem.value);
	if (problem.needs !== undefined) {
		return setting + " needs " + problem.needs;
	}
	return string.format("%s grants nothing, allowed is %s%s", setting, problem.allowed, question(problem.meant));
}
