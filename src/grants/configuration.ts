import { sorted_keys } from "../prosody/keys";
import { grants_anything, no_permissions } from "./permissions";
import type { Access, Coverage, MessagePermission, Permissions, PresencePermission } from "./permissions";
import { did_you_mean, suggest } from "./suggestion";

/** A mistake in the option `privileged_entities`. */
export interface Problem {
	/** The entity in whose entry it is, as the admin wrote it; nil for a mistake in the option as a whole. */
	entity?: string;
	/** What is wrong: an option with its value, as Lua would write it, such as `iq["NAMESPACE"] = "gett"`. */
	setting: string;
	/** What to write instead, as in `expected true or false`. */
	advice: string;
	/** The value that was probably meant; nil where that is not clear. */
	meant?: string | undefined;
	/** For an allowed value: the other option that it needs. */
	needs?: string | undefined;
}

/** What the option `privileged_entities` says. */
export interface Configuration {
	/** By the JID of the entity, a prepared domain or bare JID. */
	grants: LuaTable<string, Permissions>;
	problems: Problem[];
}

/** The other options. The parts of the module share this table, and its fields change when the configuration is read again. */
export interface Options {
	/** `privilege_iq_timeout`: seconds to wait for the answer to an iq. */
	iq_timeout: number;
	/** `privilege_probe_rate`: how many contacts are probed in a second; 0 for none. */
	probe_rate: number;
	/** `privilege_legacy_namespace`: whether to serve urn:xmpp:privilege:1 too. */
	legacy: boolean;
	/** `privilege_log_acts`: whether to log what entities do in users' names. */
	log_acts: boolean;
}

type Choices<T extends string> = Record<T, true>;

/** Adds a problem of one entity. */
type AddProblem = (this: void, option: string, value: unknown, advice: string, meant?: string, needs?: string) => void;

/** A value of the configuration in a form that the admin recognises. */
export function show_value(value: unknown): string {
	if (type(value) === "string") {
		// %q breaks the line where the text has a line break.
		return string.gsub(string.format("%q", value), "\n", "n")[0];
	}
	if (type(value) === "table") {
		const [key, first] = next(value as LuaTable<AnyNotNil, unknown>);
		if (key === 1 && type(first) === "string") {
			const [more] = next(value as LuaTable<AnyNotNil, unknown>, key);
			return string.format("{ %s%s }", show_value(first), more !== undefined ? ", …" : "");
		}
		return "a table";
	}
	return tostring(value);
}

/**
 * Reads the option `privileged_entities`. A mistake grants nothing and is listed as a problem; everything else is granted.
 *
 * @param option its value, of any type
 * @param prepare gives the prepared form of a JID, and nil for what is no JID (util.jid.prep)
 * @param host the host that grants the permissions
 */
export function read_configuration(option: unknown, prepare: (this: void, jid: string) => string | undefined, host: string): Configuration {
	const access_choices: Choices<Access> = { none: true, get: true, set: true, both: true };
	const access_allowed = '"none", "get", "set" or "both"';
	const message_choices: Choices<MessagePermission> = { none: true, outgoing: true };
	const presence_choices: Choices<PresencePermission> = { none: true, managed_entity: true, roster: true };
	const users_choices = { all: true, "opted-in": true };
	const known_options: Record<string, true | undefined> = {
		roster: true,
		roster_push: true,
		message: true,
		presence: true,
		iq: true,
		users: true,
	};

	/** Gives `value` if it is one of the choices, else "none"; adds a problem unless it is nil. */
	function choose<T extends string>(
		choices: Choices<T>,
		name: string,
		value: unknown,
		allowed: string,
		add_problem: AddProblem,
	): T | "none" {
		if (value === undefined) {
			return "none";
		}
		if (type(value) === "string" && (choices[value as T] as true | undefined)) {
			return value as T;
		}
		add_problem(name, value, "expected " + allowed, type(value) === "string" ? suggest(value as string, choices) : undefined);
		return "none";
	}

	/** Reads the option `iq`, into the access by namespace. */
	function read_iq(value: unknown, add_problem: AddProblem): LuaTable<string, Access> {
		const granted = new LuaTable<string, Access>();
		if (value === undefined) {
			return granted;
		}
		if (type(value) !== "table") {
			add_problem("iq", value, 'expected a table of namespaces, { ["NAMESPACE"] = "set" }');
			return granted;
		}
		const namespaces = value as LuaTable<AnyNotNil, unknown>;
		for (const [, key] of ipairs(sorted_keys(namespaces))) {
			const namespace = tostring(key);
			// A namespace is a URI. Other characters might not even be allowed in XML.
			if (type(key) === "string" && string.find(namespace, "^[!-~]+$")[0] !== undefined) {
				const name = string.format('iq["%s"]', namespace);
				const access = choose(access_choices, name, namespaces.get(namespace), access_allowed, add_problem);
				if (access !== "none") {
					granted.set(namespace, access);
				}
			} else {
				add_problem("iq", namespaces.get(key), 'expected a namespace as key, { ["NAMESPACE"] = "set" }');
			}
		}
		return granted;
	}

	/** Reads the option `users`. One that is not understood covers nobody. */
	function read_users(value: unknown, add_problem: AddProblem): Coverage {
		if (value === undefined || value === "all") {
			return "all";
		}
		if (value === "opted-in") {
			return value;
		}
		const listed = new LuaTable<string, true>();
		if (type(value) !== "table") {
			add_problem("users", value, 'expected "all", "opted-in" or a list of users', suggest(tostring(value), users_choices));
			return listed;
		}
		const list = value as LuaTable<AnyNotNil, unknown>;
		for (const [, key] of ipairs(sorted_keys(list))) {
			const user = list.get(key);
			const name = type(key) === "number" && type(user) === "string" ? (user as string) : "";
			const prepared_jid = prepare(string.find(name, "@", 1, true)[0] !== undefined ? name : name + "@" + host);
			const [username, user_host] = string.match(prepared_jid ?? "", "^([^@/]+)@([^@/]+)$");
			if (users_choices[name as "all"] as true | undefined) {
				add_problem("users", list, string.format("write users = %s, or the user with the host", show_value(name)));
			} else if (username !== undefined && user_host === host) {
				listed.set(username, true);
			} else if (type(key) === "number") {
				add_problem("users", user, string.format('expected users of %s, { "NAME", "NAME@%s" }', host, host));
			} else {
				const shown = tostring(key);
				add_problem("users", list, string.format('write { "%s" } instead of { %s = %s }', shown, shown, show_value(user)));
			}
		}
		return listed;
	}

	/** Reads what the entry of an entity grants. */
	function read_permissions(entry: LuaTable<AnyNotNil, unknown>, add_problem: AddProblem): Permissions {
		const permissions = no_permissions();
		permissions.users = read_users(entry.get("users"), add_problem);
		permissions.roster = choose(access_choices, "roster", entry.get("roster"), access_allowed, add_problem);
		permissions.message = choose(message_choices, "message", entry.get("message"), '"none" or "outgoing"', add_problem);
		permissions.presence = choose(presence_choices, "presence", entry.get("presence"), '"none", "managed_entity" or "roster"', add_problem);
		permissions.iq = read_iq(entry.get("iq"), add_problem);

		const readable = permissions.roster === "get" || permissions.roster === "both";
		// XEP-0356, 7.4: the server must reject this.
		if (permissions.presence === "roster" && !readable) {
			add_problem("presence", "roster", 'expected "none" or "managed_entity"', undefined, 'roster = "get" or "both"');
			permissions.presence = "none";
		}

		const push = entry.get("roster_push");
		permissions.push = readable;
		if (push !== undefined) {
			permissions.push = push === true && readable;
			if (type(push) !== "boolean") {
				add_problem("roster_push", push, "expected true or false");
			} else if (push === true && !readable) {
				add_problem("roster_push", push, "expected false", undefined, 'roster = "get" or "both"');
			}
		}

		for (const [, key] of ipairs(sorted_keys(entry))) {
			const name = tostring(key);
			if (type(key) !== "string" || known_options[name] === undefined) {
				add_problem(
					name,
					entry.get(key),
					"the options are roster, roster_push, message, presence, iq and users",
					suggest(name, known_options),
				);
			}
		}
		return permissions;
	}

	const grants = new LuaTable<string, Permissions>();
	const problems: Problem[] = [];

	/** The prepared JID of an entity, a domain or a bare JID; nil where a value is none. */
	function entity_jid(value: unknown): string | undefined {
		const entity_name = type(value) === "string" ? prepare(value as string) : undefined;
		return entity_name !== undefined && string.find(entity_name, "/", 1, true)[0] === undefined ? entity_name : undefined;
	}

	/** Reads the entry of one entity. */
	function read_entry(key: AnyNotNil, value: unknown): void {
		const entity = entity_jid(key);
		const shown_key = show_value(key);
		if (type(key) === "number" && entity_jid(value) !== undefined) {
			const shown = show_value(value);
			problems.push({
				setting: string.format("privileged_entities = { %s }", shown),
				advice: string.format("write [%s] = { … }", shown),
			});
		} else if (entity === undefined) {
			problems.push({ setting: "the key " + shown_key + " of privileged_entities", advice: "expected a domain or a bare JID" });
		} else if (grants.has(entity)) {
			problems.push({
				setting: "the key " + shown_key + " of privileged_entities",
				advice: "expected each entity once; " + entity + " stands there in another spelling",
			});
		} else if (type(value) !== "table") {
			problems.push({
				setting: string.format("privileged_entities = { [%s] = %s }", shown_key, show_value(value)),
				advice: "expected a table of permissions for the entity",
			});
		} else {
			const add_problem: AddProblem = (option_name, wrong, advice, meant, needs) => {
				problems.push({
					entity: tostring(key),
					setting: option_name + " = " + show_value(wrong),
					advice: advice,
					meant: meant,
					needs: needs,
				});
			};
			grants.set(entity, read_permissions(value as LuaTable<AnyNotNil, unknown>, add_problem));
		}
	}

	if (type(option) === "table") {
		const entries = option as LuaTable<AnyNotNil, unknown>;
		for (const [, key] of ipairs(sorted_keys(entries))) {
			read_entry(key, entries.get(key));
		}
	} else if (option !== undefined) {
		problems.push({
			setting: "privileged_entities = " + show_value(option),
			advice: 'expected a table of entities, { ["JID"] = { … } }',
		});
	}
	return { grants: grants, problems: problems };
}

/** A problem as a sentence for the log. */
export function describe_problem(host: string, problem: Problem): string {
	const entity = problem.entity !== undefined ? string.format(' entity "%s":', problem.entity) : "";
	const setting = string.format('VirtualHost "%s":%s %s', host, entity, problem.setting);
	if (problem.needs !== undefined) {
		return setting + " needs " + problem.needs;
	}
	return string.format("%s grants nothing, %s%s", setting, problem.advice, did_you_mean(problem.meant));
}

/** Sentences about those entries that grant nothing although no problem was found in them. */
export function describe_empty_entries(host: string, configuration: Configuration): string[] {
	const has_problem: Record<string, true | undefined> = {};
	for (const [, problem] of ipairs(configuration.problems)) {
		if (problem.entity !== undefined) {
			has_problem[string.lower(problem.entity)] = true;
		}
	}
	const sentences: string[] = [];
	for (const [, entity] of ipairs(sorted_keys(configuration.grants))) {
		if (!has_problem[entity] && !grants_anything(configuration.grants.get(entity))) {
			sentences.push(
				string.format('VirtualHost "%s": entity "%s": the entry grants nothing. Values need quotes: roster = "both"', host, entity),
			);
		}
	}
	return sentences;
}
