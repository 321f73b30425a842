import * as st from "util.stanza";
import * as uuid from "util.uuid";
import { keys_of } from "../prosody/keys";
import { xmlns_privilege, xmlns_privilege_legacy } from "../prosody/namespaces";
import { send_stanza } from "../prosody/send";
import type { Options } from "../grants/configuration";
import {
	describe_coverage,
	describe_permissions,
	grants_anything,
	no_permissions,
	same_coverage,
	same_permissions,
} from "../grants/permissions";
import type { Permissions } from "../grants/permissions";
import { each_connection } from "./entities";
import type { Connection, Entity } from "./entities";

/**
 * The `<privilege/>` that tells an entity its permissions (XEP-0356, 4.2, 5.2, 6.2 and 7.2); nil where there is nothing
 * to tell.
 *
 * @param permissions the permissions that it has now
 * @param before those that it was told last; the ones that it has lost are told with the type 'none'
 * @param xmlns the namespace of the element; in the legacy one there are neither iqs nor pushes
 */
export function privilege_element(permissions: Permissions, before: Permissions, xmlns: string): Stanza | undefined {
	if (!grants_anything(permissions) && !grants_anything(before)) {
		return undefined;
	}
	const is_current = xmlns === xmlns_privilege;
	const privilege = st.stanza("privilege", { xmlns: xmlns });

	/** Adds a `<perm/>` unless the permission is 'none' and was 'none' before. */
	function add_perm(access: string, permission: string, permission_before: string, push?: string): void {
		if (permission !== "none" || permission_before !== "none") {
			privilege.tag("perm", { access: access, type: permission, push: push });
			privilege.up();
		}
	}

	add_perm("roster", permissions.roster, before.roster, is_current ? tostring(permissions.push) : undefined);
	add_perm("message", permissions.message, before.message);
	if (is_current) {
		const namespaces = keys_of(permissions.iq);
		for (const [namespace] of pairs(before.iq)) {
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
	add_perm("presence", permissions.presence, before.presence);
	return privilege.tags.length > 0 ? privilege : undefined;
}

interface AdvertisementService {
	host: string;
	log: Log;
	options: Options;
	changed: (this: void, connection: Connection, before: Permissions, is_restored: boolean) => void;
}

/**
 * Tells entities their permissions (XEP-0356, 4.2, 5.2, 6.2 and 7.2), in both namespaces.
 *
 * When the permissions of a connection have changed, `service.changed` is called with it and the permissions before; also
 * when they are told again after a reload of the module, with true.
 */
export function create_advertisement(service: AdvertisementService) {
	/** Tells an entity its permissions in a namespace unless it knows them and need not be told again; returns the permissions that it was told before. */
	function advertise_in(connection: Connection, xmlns: string, permissions: Permissions): Permissions {
		const before = connection.advertised.get(xmlns) ?? no_permissions();
		const is_known = !connection.is_restored && same_permissions(permissions, before);
		const privilege = is_known ? undefined : privilege_element(permissions, before, xmlns);
		connection.advertised.set(xmlns, permissions);
		if (privilege) {
			const attributes = { from: service.host, to: connection.address, id: uuid.generate() };
			send_stanza(connection.session, st.message(attributes).add_child(privilege));
		}
		return before;
	}

	/** Tells an entity its permissions on one of its connections, as far as they have changed. */
	function advertise(connection: Connection): void {
		const permissions = connection.entity.permissions;
		const before = advertise_in(connection, xmlns_privilege, permissions);
		advertise_in(connection, xmlns_privilege_legacy, service.options.legacy ? permissions : no_permissions());
		const is_restored = connection.is_restored && (grants_anything(permissions) || grants_anything(before));
		connection.is_restored = false;
		if (is_restored || !same_permissions(permissions, before) || !same_coverage(permissions.users, before.users)) {
			service.log(
				"info",
				"%s is granted %s%s",
				connection.address,
				describe_permissions(permissions),
				grants_anything(permissions) ? ", users: " + describe_coverage(permissions.users) : "",
			);
			service.changed(connection, before, is_restored);
		}
	}

	/** Tells an entity its permissions on all its connections. */
	function advertise_to(entity: Entity): void {
		each_connection(entity, advertise);
	}

	return { advertise: advertise, advertise_to: advertise_to };
}
