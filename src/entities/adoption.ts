import * as storagemanager from "core.storagemanager";
import { read_roster } from "../prosody/accounts";
import { protect } from "../prosody/protect";
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
	// The adoptions since the module was loaded. One that is done has to be saved yet where the storage failed. An entity that
	// loses its grant and gets it back is a new one.
	const progress = setmetatable(new LuaTable<Entity, "under way" | "done">(), { __mode: "k" });

	/** Whether a user has an entity in the roster, with a subscription or a request for one. */
	function has_in_roster(username: string, entity: Entity): boolean {
		const roster = read_roster(username, host);
		const item = roster && (roster.get(entity.jid) as RosterItem | undefined);
		return item !== undefined && (item.subscription !== "none" || item.ask !== undefined);
	}

	/** Reads which entities' users were adopted; nil where that fails. */
	function read_adopted(): Adopted | undefined {
		return protect(service.log, "while the adoptions of %s were looked up", host, () => {
			const [adopted, err] = store.get(undefined);
			if (err !== undefined) {
				service.log("error", "Cannot read whose users were adopted on %s: %s", host, err);
				return undefined;
			}
			return adopted ?? new LuaTable<string, number>();
		});
	}

	/** Ends the adoption of an entity's users and saves that. Where saving fails, the next `configured` tries it again. */
	function finish(entity: Entity): void {
		progress.set(entity, "done");
		const adopted = read_adopted();
		if (!adopted) {
			return;
		}
		adopted.set(entity.jid, os.time());
		protect(service.log, "while the adoptions of %s were saved", host, () => {
			const [ok, err] = store.set(undefined, adopted);
			if (!ok) {
				service.log("error", "Cannot save that the users of %s were adopted: %s", entity.jid, err);
			}
		});
	}

	/** Looks through all accounts of the host, in slices, for the users of an entity. */
	function adopt(entity: Entity): void {
		const next_username = list_usernames(host);
		if (!next_username) {
			service.log("warn", "The accounts of %s cannot be listed: users who have %s in the roster have to opt in to it", host, entity.jid);
			return finish(entity);
		}
		progress.set(entity, "under way");
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
					finish(entity);
					return false;
				}
				may_go_on = true;
				if (has_in_roster(username, entity)) {
					service.opting.adopt(entity, username);
				}
				return true;
			},
			(goes_on) => {
				if (!goes_on && progress.get(entity) === "under way") {
					progress.delete(entity);
				}
			},
			string.format("the users of %s were looked for on %s", entity.jid, host),
		);
	}

	/** Adopts the users of those entities that need it. Has to be called after the configuration was read. */
	function configured(): void {
		const adopted = read_adopted();
		for (const [, entity] of pairs(service.entities.all())) {
			if (adopted && entity.permissions.users === "opted-in" && !adopted.has(entity.jid)) {
				const before = progress.get(entity) as "under way" | "done" | undefined;
				if (before === "done") {
					finish(entity);
				} else if (before === undefined) {
					adopt(entity);
				}
			}
		}
	}

	return { configured };
}
