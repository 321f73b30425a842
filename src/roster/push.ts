import * as uuid from "util.uuid";
import { attribute, send_text } from "../prosody/send";
import type { Users } from "../grants/users";
import { is_connected } from "../entities/entities";
import type { Connection, Entities } from "../entities/entities";
import type { Statistics } from "../entities/statistics";
import { push_text } from "./item";

/** Sends roster pushes to entities (XEP-0356, 4.4). This is a listener for `create_change_watch`. */
export function create_roster_push(host: string, entities: Entities, users: Users, statistics: Statistics) {
	function receivers(): Connection[] {
		return entities.receivers("push");
	}

	/** Whether any connected entity receives roster pushes. */
	function is_watching(): boolean {
		return receivers().length > 0;
	}

	/** Pushes an item to all connected entities that receive pushes of this user; nil for an item that was removed. */
	function push(username: string, contact: string, item: RosterItem | undefined, version: number | true | undefined): void {
		// The same for all of them but the 'to' in between
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

	return { is_watching, roster_changed: push };
}
