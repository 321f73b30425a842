import * as storagemanager from "core.storagemanager";
import { read_roster } from "../prosody/accounts";
import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";
import { list_usernames } from "../prosody/usernames";
import type { Entities, Entity } from "./entities";
import type { Opting } from "./opting";

/** What is kept of the host: the entities whose users were looked for, and when. */
type Adopted = LuaTable<string, number>;

interface AdoptionService {
	host: string;
	log: Log;
	add_timer: AddTimer;
	entities: Entities;
	opting: Opting;
}

/**
 * Has those users opt in who use an entity already when its grant is first limited to who opted in: they have the
 * entity in their rosters. That is done once for each entity, so that no later change of a roster, which
 * another entity may make, opts anybody in.
 */
export function create_adoption(service: AdoptionService) {
	const host = service.host;
	const store = storagemanager.open<Adopted>(host, "privilege_entities", "keyval");
	const under_way = new LuaTable<string, true>();

	/** Whether a user has an entity in the roster, and one of them asked the other for something. */
	function uses(username: string, entity: Entity): boolean {
		const roster = read_roster(username, host);
		const item = roster && (roster.get(entity.jid) as RosterItem | undefined);
		return item !== undefined && (item.subscription !== "none" || item.ask !== undefined);
	}

	/** Notes that the users of an entity were looked for. */
	function finish(entity: Entity): void {
		const [adopted, err] = store.get(undefined);
		if (err === undefined) {
			const entities = adopted ?? new LuaTable<string, number>();
			entities.set(entity.jid, os.time());
			store.set(undefined, entities);
		}
	}

	/** Looks for the users of an entity, a few accounts at a time. */
	function adopt(entity: Entity): void {
		const next_username = list_usernames(host);
		if (!next_username) {
			service.log("warn", "The accounts of %s cannot be listed: users who have %s in the roster have to opt in to it", host, entity.jid);
			return finish(entity);
		}
		under_way.set(entity.jid, true);
		let is_listed = true;
		in_slices(
			service.add_timer,
			() => {
				const is_wanted = service.entities.get(entity.jid) === entity && entity.permissions.users === "opted-in";
				if (!is_wanted || !is_listed) {
					return false;
				}
				// A list that fails once fails again: the work ends, and the next `configured` begins it anew.
				is_listed = false;
				const username = next_username();
				if (username === undefined) {
					finish(entity);
					return false;
				}
				is_listed = true;
				if (uses(username, entity)) {
					service.opting.opt_in(entity, username, "having it in the roster");
				}
				return true;
			},
			(goes_on) => {
				if (!goes_on) {
					under_way.delete(entity.jid);
				}
			},
			string.format("the users of %s were looked for on %s", entity.jid, host),
		);
	}

	/** Begins that for the entities for which it was not done. To be called when the configuration was read. */
	function configured(): void {
		const [adopted, err] = store.get(undefined);
		for (const [, entity] of pairs(service.entities.all())) {
			const is_done = adopted !== undefined && adopted.has(entity.jid);
			if (err === undefined && entity.permissions.users === "opted-in" && !is_done && !under_way.has(entity.jid)) {
				adopt(entity);
			}
		}
	}

	return { configured };
}
