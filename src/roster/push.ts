import * as uuid from "util.uuid";
import { attribute, send_text } from "../prosody/send";
import type { Users } from "../grants/users";
import { is_connected } from "../entities/entities";
import type { Connection, Entities } from "../entities/entities";
import type { Statistics } from "../entities/statistics";
import { push_text } from "./item";

/**
 * Pushes roster changes to entities (XEP-0356, 4.4).
 *
 * @param serving gives the entities that are served now: a store may outlive the module that wrapped it
 */
export function create_roster_push(host: string, serving: (this: void) => Entities | undefined, users: Users, statistics: Statistics) {
	function receivers(): Connection[] {
		const entities = serving();
		return entities ? entities.receivers("push") : [];
	}

	/** Whether any connected entity receives roster pushes. */
	function has_receivers(): boolean {
		return receivers().length > 0;
	}

	/** Pushes an item, nil for one that was removed, to all connected entities that receive pushes. */
	function push(username: string, contact: string, item: RosterItem | undefined, version: number | true | undefined): void {
		let start: string | undefined;
		let rest = "";
		for (const [, connection] of ipairs(receivers())) {
			const entity = connection.entity;
			if (is_connected(connection) && users.covers(entity.jid, entity.permissions.users, username)) {
				if (start === undefined) {
					start = "<iq" + attribute("from", username + "@" + host);
					rest = push_text(uuid.generate(), contact, item, version);
				}
				send_text(connection.session, start + connection.to + rest);
				statistics.count(entity, "pushes");
			}
		}
	}

	return { has_receivers, push };
}
