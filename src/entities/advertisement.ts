import * as st from "util.stanza";
import { xmlns_privilege } from "../prosody/namespaces";
import { grants_anything, iq_namespaces } from "../grants/permissions";
import type { Permissions } from "../grants/permissions";

function add_perm(privilege: Stanza, access: string, permission: string, before: string): void {
	if (permission !== "none" || before !== "none") {
		privilege.tag("perm", { access: access, type: permission }).up();
	}
}

/**
 * The `<privilege/>` that tells an entity its permissions (XEP-0356, 4.2, 5.2, 6.2 and 7.2),
 * nil where there is nothing to tell.
 *
 * @param permissions what it has now
 * @param before what it was told last: lost ones are told as type 'none'
 * @param xmlns of the element; the legacy one tells neither iqs nor pushes
 */
export function privilege_element(permissions: Permissions, before: Permissions, xmlns: string): Stanza | undefined {
	if (!grants_anything(permissions) && !grants_anything(before)) {
		return undefined;
	}
	const modern = xmlns === xmlns_privilege;
	const privilege = st.stanza("privilege", { xmlns: xmlns });

	if (permissions.roster !== "none" || before.roster !== "none") {
		privilege.tag("perm", {
			access: "roster", type: permissions.roster,
			push: modern ? tostring(permissions.push) : undefined,
		}).up();
	}
	add_perm(privilege, "message", permissions.message, before.message);
	if (modern) {
		const namespaces = iq_namespaces(permissions);
		for (const [, namespace] of ipairs(iq_namespaces(before))) {
			if (!permissions.iq.has(namespace)) {
				namespaces.push(namespace);
			}
		}
		table.sort(namespaces);
		if (namespaces.length > 0) {
			privilege.tag("perm", { access: "iq" });
			for (const [, namespace] of ipairs(namespaces)) {
				privilege.tag("namespace", { ns: namespace, type: permissions.iq.get(namespace) ?? "none" }).up();
			}
			privilege.up();
		}
	}
	add_perm(privilege, "presence", permissions.presence, before.presence);
	return privilege.tags.length > 0 ? privilege : undefined;
}
