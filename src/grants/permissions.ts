/** What may be done with rosters, or with iqs of one namespace. */
export type Access = "none" | "get" | "set" | "both";
export type MessagePermission = "none" | "outgoing";
export type PresencePermission = "none" | "managed_entity" | "roster";

/** What one entity is granted on one host (XEP-0356, 4.1, 5.1, 6.1 and 7.1). */
export interface Permissions {
	roster: Access;
	/** Whether roster changes are pushed; never without read access. */
	push: boolean;
	message: MessagePermission;
	presence: PresencePermission;
	/** By namespace; those granted nothing are not in it. */
	iq: LuaTable<string, Access>;
}

export function no_permissions(): Permissions {
	return { roster: "none", push: false, message: "none", presence: "none", iq: new LuaTable() };
}

/** Whether an access covers an iq of type "get" or "set". */
export function covers(access: Access | undefined, iq_type: string | undefined): boolean {
	return access !== undefined && (access === iq_type || (access === "both" && (iq_type === "get" || iq_type === "set")));
}

export function grants_anything(permissions: Permissions): boolean {
	return permissions.roster !== "none"
		|| permissions.message !== "none"
		|| permissions.presence !== "none"
		|| next(permissions.iq)[0] !== undefined;
}

/** The granted iq namespaces, sorted. */
export function iq_namespaces(permissions: Permissions): string[] {
	const namespaces: string[] = [];
	for (const [namespace] of pairs(permissions.iq)) {
		namespaces.push(namespace);
	}
	table.sort(namespaces);
	return namespaces;
}

/** The permissions as one line for the log: `roster=both push message=outgoing iq(urn:example)=set`. */
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
	for (const [, namespace] of ipairs(iq_namespaces(permissions))) {
		parts.push("iq(" + namespace + ")=" + permissions.iq.get(namespace));
	}
	return parts.length > 0 ? table.concat(parts, " ") : "nothing";
}

/** Whether two permissions say the same; compared as they are described, which leaves nothing out. */
export function same_permissions(a: Permissions, b: Permissions): boolean {
	return describe_permissions(a) === describe_permissions(b);
}
