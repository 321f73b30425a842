import type { Users } from "../grants/users";
import type { CoveredCount } from "./covered_count";
import type { Entities } from "./entities";
import type { Opting } from "./opting";

/** The parts of a host with the module that other hosts and the console need. */
export interface ServedHost {
	entities: Entities;
	users: Users;
	opting: Opting;
	covered_count: CoveredCount;
	/** Tells an entity again of a user of another host, nil for all of them, as far as this host's users have them as contacts. */
	show_users_of: (this: void, entity: string, user_host: string, username: string | undefined) => void;
}

/** The hosts with the module, by name. All of them share this table. */
export type ServedHosts = LuaTable<string, ServedHost>;

/** Makes the functions by which one host asks the others. */
export function create_other_hosts(host: string, served_hosts: ServedHosts) {
	/** Whether any host of this server lists the JID that a stream authenticated as. */
	function is_listed(session: Session): boolean {
		for (const [, served] of pairs(served_hosts)) {
			if (served.entities.of(session)) {
				return true;
			}
		}
		return false;
	}

	/** Whether another host of this server tells an entity the presence of a user of its own. */
	function is_told_elsewhere(entity: string, username: string, user_host: string): boolean {
		if (user_host === host || !served_hosts.has(user_host)) {
			return false;
		}
		const other = served_hosts.get(user_host);
		const granted = other.entities.get(entity);
		return (
			granted !== undefined
			&& granted.permissions.presence !== "none"
			&& other.users.covers_as_known(entity, granted.permissions.users, username)
		);
	}

	/** Has other hosts tell an entity again of a user of this host, nil for all of them, whom users there have as a contact. */
	function show_elsewhere(entity: string, username: string | undefined): void {
		for (const [other_host, served] of pairs(served_hosts)) {
			if (other_host !== host) {
				served.show_users_of(entity, host, username);
			}
		}
	}

	return { is_listed, is_told_elsewhere, show_elsewhere };
}
export type OtherHosts = ReturnType<typeof create_other_hosts>;
