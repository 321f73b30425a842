import { sorted_keys } from "../grants/configuration";
import { describe_permissions } from "../grants/permissions";
import { is_connected } from "../entities/entities";
import type { Entities, Entity } from "../entities/entities";
import { print_table } from "./print_table";

/** The entities of each host that serves some. */
export type EntitiesByHost = LuaTable<string, Entities>;

/** The console of the running server, as its commands see it. */
interface Shell {
	session: { print: (this: void, line: string) => void };
}

interface ShellSection {
	list: (this: Shell, host?: string) => LuaMultiReturn<[boolean | undefined, string]>;
}

const titles = [
	"Host", "Entity", "Connected since", "Messages", "IQs", "Roster gets", "Roster sets", "Pushes", "Presences", "Refused", "Granted",
];

/** When the streams of an entity came, or "no". */
function connected_since(entity: Entity): string {
	const times: string[] = [];
	for (const [, connection] of ipairs(entity.connections)) {
		if (is_connected(connection)) {
			times.push(os.date("%Y-%m-%d %H:%M:%S", connection.since));
		}
	}
	return times.length > 0 ? table.concat(times, ", ") : "no";
}

function entity_row(host: string, entity: Entity): string[] {
	const counts = entity.counts;
	return [
		host, entity.jid, connected_since(entity),
		tostring(counts.messages), tostring(counts.iqs), tostring(counts.roster_gets), tostring(counts.roster_sets),
		tostring(counts.pushes), tostring(counts.presences), tostring(counts.refusals),
		describe_permissions(entity.permissions),
	];
}

/**
 * Brings the console of mod_admin_shell, and that of mod_admin_telnet before 0.12, the command
 * `privilege:list(HOST)`, in Prosody 13 also `privilege list HOST`. Without a host it lists all.
 *
 * The commands that modules of a host may add to the console always want a host, so this goes into its environment.
 */
export function add_shell_command(api: Module, everywhere: EntitiesByHost): void {
	const section: ShellSection = {
		list(host?: string) {
			if (host !== undefined && !everywhere.has(host)) {
				return $multi(undefined, "mod_privilege is not loaded on " + host);
			}
			const rows: string[][] = [];
			for (const [, host_name] of ipairs(sorted_keys(everywhere))) {
				if (host === undefined || host === host_name) {
					const granted = everywhere.get(host_name).all();
					for (const [, entity] of ipairs(sorted_keys(granted))) {
						rows.push(entity_row(host_name, granted.get(entity)));
					}
				}
			}
			print_table(this.session.print, titles, rows);
			return $multi(true, rows.length === 1 ? "1 entity" : tostring(rows.length) + " entities");
		},
	};
	const help = {
		desc: "Entities with privileges (XEP-0356)",
		commands: { list: { desc: "List the privileged entities of a host, or of all", args: [{ name: "host", type: "string" }], module: "privilege" } },
	};
	for (const [, shell] of ipairs(["admin_shell", "admin_telnet"])) {
		const environment = api.shared<LuaTable<string, ShellSection | undefined>>("/*/" + shell + "/env");
		environment.set("privilege", setmetatable(section, { help: help } as never));
	}
}

/** Takes the command away again. */
export function remove_shell_command(api: Module): void {
	for (const [, shell] of ipairs(["admin_shell", "admin_telnet"])) {
		api.shared<LuaTable<string, ShellSection | undefined>>("/*/" + shell + "/env").delete("privilege");
	}
}
