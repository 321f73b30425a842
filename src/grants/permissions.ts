import { same_keys, sorted_keys } from "../prosody/keys";

/** What an entity may do with rosters, or with iqs of one namespace. */
export type Access = "none" | "get" | "set" | "both";
export type MessagePermission = "none" | "outgoing";
export type PresencePermission = "none" | "managed_entity" | "roster";

/** The users whom a grant covers: all users of the host, those who opted in, or those whose names are keys of a table. */
export type Coverage = "all" | "opted-in" | LuaTable<string, true>;

/** The permissions of one entity on one host (XEP-0356, 4.1, 5.1, 6.1 and 7.1). */
export interface Permissions {
	roster: Access;
	/** Whether the entity gets roster pushes; never without read access to rosters. */
	push: boolean;
	message: MessagePermission;
	presence: PresencePermission;
	/** By namespace, without those that are granted nothing. */
	iq: LuaTable<string, Access>;
	users: Coverage;
}

export function no_permissions(): Permissions {
	return { roster: "none", push: false, message: "none", presence: "none", iq: new LuaTable(), users: "all" };
}

/** Whether an access allows an iq of type "get" or "set"; it allows no iq of another type. */
export function allows(access: Access | undefined, iq_type: string | undefined): boolean {
	return access !== undefined && (access === iq_type || (access === "both" && (iq_type === "get" || iq_type === "set")));
}

export function grants_anything(permissions: Permissions): boolean {
	return (
		permissions.roster !== "none"
		|| permissions.message !== "none"
		|| permissions.presence !== "none"
		|| next(permissions.iq)[0] !== undefined
	);
}

/** Whether the grants of a host, by entity, grant anything to anybody. */
export function grants_any_entity(grants: LuaTable<string, Permissions>): boolean {
	for (const [, permissions] of pairs(grants)) {
		if (grants_anything(permissions)) {
			return true;
		}
	}
	return false;
}

/** The users whom a grant covers, for the log: `all`, `opted-in`, their names (`juliet nurse`) or `nobody`. */
export function describe_coverage(users: Coverage): string {
	if (users === "all" || users === "opted-in") {
		return users;
	}
	const names = sorted_keys(users);
	return names.length > 0 ? table.concat(names, " ") : "nobody";
}

/** Whether two grants cover the same users by their configuration. */
export function same_coverage(a: Coverage, b: Coverage): boolean {
	if (typeof a === "string" || typeof b === "string") {
		return a === b;
	}
	return same_keys(a, b);
}

/** The permissions of an entity, without its users, for the log: `roster=both roster_push message=outgoing iq(urn:example)=set`. */
export function describe_permissions(permissions: Permissions): string {
	const parts: string[] = [];
	if (permissions.roster !== "none") {
		parts.push("roster=" + permissions.roster);
	}
	if (permissions.push) {
		parts.push("roster_push");
	}
	if (permissions.message !== "none") {
		parts.push("message=" + permissions.message);
	}
	if (permissions.presence !== "none") {
		parts.push("presence=" + permissions.presence);
	}
	for (const [, namespace] of ipairs(sorted_keys(permissions.iq))) {
		parts.push(string.format("iq(%s)=%s", namespace, permissions.iq.get(namespace)));
	}
	return parts.length > 0 ? table.concat(parts, " ") : "nothing";
}

/** Whether two permissions are the same for the entity. It is not told which users they cover, so that may differ. */
export function same_permissions(a: Permissions, b: Permissions): boolean {
	// The description has everything else in it.
	return describe_permissions(a) === describe_permissions(b);
}
