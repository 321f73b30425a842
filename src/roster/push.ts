import * as uuid from "util.uuid";
import { read_roster } from "../prosody/accounts";
import { attribute, send_text } from "../prosody/send";
import { is_connected } from "../entities/entities";
import type { Connection, Entities } from "../entities/entities";
import type { Statistics } from "../entities/statistics";
import { create_change_watch } from "./change_watch";
import type { StoreEvent } from "./change_watch";
import { item_text } from "./item";

/** The handlers of events that roster changes come with (XEP-0356, 4.4). */
export interface RosterPush {
	store_opened: (this: void, event: StoreEvent) => Handled;
	user_deleted: (this: void, event: UserEvent) => Handled;
}

/** @param serving gives the entities that are served now: a store may outlive the module that wrapped it */
export function create_roster_push(host: string, serving: (this: void) => Entities | undefined, statistics: Statistics): RosterPush {
	function receivers(): Connection[] {
		const entities = serving();
		return entities ? entities.receivers("push") : [];
	}

	function is_watched(): boolean {
		return receivers().length > 0;
	}

	function push(username: string, contact: string, item: RosterItem | undefined, version: unknown): void {
		const start = "<iq type='set'" + attribute("id", uuid.generate()) + attribute("from", username + "@" + host);
		const rest = "><query xmlns='jabber:iq:roster'" + attribute("ver", version !== undefined && version !== true ? tostring(version) : undefined)
			+ ">" + item_text(contact, item) + "</query></iq>";
		for (const [, connection] of ipairs(receivers())) {
			if (is_connected(connection)) {
				send_text(connection.session, start + connection.to + rest);
				statistics.count(connection.entity, "pushes");
			}
		}
	}

	const change_watch = create_change_watch(is_watched, push);

	/** The roster of a deleted user goes without being saved once more. */
	function user_deleted(event: UserEvent): Handled {
		if (event.host === host && is_watched()) {
			change_watch.compare(event.username, read_roster(event.username, host), undefined);
		}
		return undefined;
	}

	return { store_opened: change_watch.opened, user_deleted: user_deleted };
}
