import * as storagemanager from "core.storagemanager";
import { read_roster } from "../prosody/accounts";
import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";
import { list_usernames } from "../prosody/usernames";
import type { Entities, Entity } from "./entities";
import type { Opting } from "./opting";

/** What the storage has about the host: by the JID of the entity, the time at which its users were adopted, as os.time() gives it. */
type Adopted = LuaTable<string, number>;

interface AdoptionService {
	host: string;
	log: Log;
	add_timer: AddTimer;
	entities: Entities;
	opting: Opting;
}

/**
 * Adopts the users of an entity the first time that its grant is limited to users who opted in: those who have the entity
 * in their rosters are opted in. This happens once for each entity. Later changes of rosters, which other entities may make,
 * opt nobody in.
 */
export function create_adoption(service: AdoptionService) {
	const host = service.host;
	const store = storagemanager.open<Adopted>(host, "privilege_entities", "keyval");
	const under_way = new LuaTable<string, true>();

	/** Whether a user has an entity in the roster, with a subscription or a request for one. */
	function has_in_roster(username: string, entity: Entity): boolean {
		const roster = read_roster(username, host);
		const item = roster && (roster.get(entity.jid) as RosterItem | undefined);
		return item !== undefined && (item.subscription !== "none" || item.ask !== undefined);
	}

	/** Saves that the users of an entity were adopted. */
	function save_adopted(entity: Entity): void {
		const [adopted, err] = store.get(undefined);
		if (err === undefined) {
			const entities = adopted ?? new LuaTable<string, number>();
			entities.set(entity.jid, os.time());
			store.set(undefined, entities);
		}
	}

	/** Looks through all accounts of the host, in slices, for the users of an entity. */
	function adopt(entity: Entity): void {
		const next_username = list_usernames(host);
		if (!next_username) {
			service.log("warn", "The accounts of %s cannot be listed: users who have %s in the roster have to opt in to it", host, entity.jid);
			return save_adopted(entity);
		}
		under_way.set(entity.jid, true);
		let may_go_on = true;
		in_slices(
			service.add_timer,
			() => {
				const is_wanted = service.entities.get(entity.jid) === entity && entity.permissions.users === "opted-in";
				if (!is_wanted || !may_go_on) {
					return false;
				}
				// Where the list raises an error, the work ends here, and the next `configured` begins it anew.
				may_go_on = false;
				const username = next_username();
				if (username === undefined) {
					save_adopted(entity);
					return false;
				}
				may_go_on = true;
				if (has_in_roster(username, entity)) {
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

	/** Adopts the users of those entities that need it. Has to be called after the configuration was read. */
	function configured(): void {
		const [adopted, err] = store.get(undefined);
		for (const [, entity] of pairs(service.entities.all())) {
			const was_adopted = adopted !== undefined && adopted.has(entity.jid);
			if (err === undefined && entity.permissions.users === "opted-in" && !was_adopted && !under_way.has(entity.jid)) {
				adopt(entity);
			}
		}
	}

	return { configured };
}
