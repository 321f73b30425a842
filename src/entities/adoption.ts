import * as storagemanager from "core.storagemanager";
import { read_roster } from "../prosody/accounts";
import { protect } from "../prosody/protect";
import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";
import { list_usernames } from "../prosody/usernames";
import type { NextName } from "../prosody/usernames";
import type { Entities, Entity } from "./entities";
import type { Opting } from "./opting";

/** What the storage has about the host: by the JID of the entity, the time at which its users were adopted, as os.time() gives it. */
type Adopted = LuaTable<string, number>;

/** How far an adoption is: a search is under way; users whose storage failed wait for another one; it is done. */
type Progress = "under way" | "waiting" | "done";

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
	// Where the storage fails, users are looked at again after so many seconds, so many times. Not for longer: entities may change
	// rosters meanwhile.
	const retry_pause = 5;
	const max_retries = 12;

	const host = service.host;
	const store = storagemanager.open<Adopted>(host, "privilege_entities", "keyval");
	// The adoptions since the module was loaded. One that is done has to be saved yet where the storage failed. An entity that
	// loses its grant and gets it back is a new one.
	const progress = setmetatable(new LuaTable<Entity, Progress>(), { __mode: "k" });

	/** Whether an entity is still one that users opt in to. */
	function is_wanted(entity: Entity): boolean {
		return service.entities.get(entity.jid) === entity && entity.permissions.users === "opted-in";
	}

	/** Opts a user in who has an entity in the roster, with a subscription or a request for one. False where the storage failed. */
	function adopt_user(entity: Entity, username: string): boolean {
		const roster = read_roster(username, host);
		const item = roster && (roster.get(entity.jid) as RosterItem | undefined);
		if (item && (item.subscription !== "none" || item.ask !== undefined)) {
			return service.opting.adopt(entity, username);
		}
		return roster !== undefined;
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

	/** Says which users are not opted in because the storage failed. */
	function report(entity: Entity, usernames: string[]): void {
		const max_names = 10;
		table.sort(usernames);
		service.log(
			"error",
			"Cannot read whether %d users of %s have %s in the roster, they have to opt in to it: %s%s",
			usernames.length,
			host,
			entity.jid,
			table.concat(usernames, ", ", 1, math.min(max_names, usernames.length)),
			usernames.length > max_names ? " and others" : "",
		);
	}

	/** Looks through users, in slices, for those of an entity. Where the storage fails for some, it looks at them again in a while, so many times. */
	function search(entity: Entity, retries: number, next_username: NextName): void {
		const failed: string[] = [];
		let may_go_on = true;

		/** Looks through the users again for whom the storage failed. */
		function search_again(): undefined {
			let position = 0;
			search(entity, retries - 1, () => {
				position = position + 1;
				return failed[position - 1];
			});
			return undefined;
		}

		/** Ends the adoption, or begins to wait. */
		function end_search(): void {
			if (failed.length > 0 && retries > 0) {
				progress.set(entity, "waiting");
				service.add_timer(retry_pause, search_again);
				return;
			}
			if (failed.length > 0) {
				report(entity, failed);
			}
			finish(entity);
		}

		progress.set(entity, "under way");
		in_slices(
			service.add_timer,
			() => {
				if (!is_wanted(entity) || !may_go_on) {
					return false;
				}
				// Where the list raises an error, the work ends here, and the next `configured` begins it anew.
				may_go_on = false;
				const username = next_username();
				if (username === undefined) {
					end_search();
					return false;
				}
				may_go_on = true;
				if (!adopt_user(entity, username)) {
					failed.push(username);
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

	/** Looks through all accounts of the host for the users of an entity. */
	function adopt(entity: Entity): void {
		const next_username = list_usernames(host);
		if (!next_username) {
			service.log("warn", "The accounts of %s cannot be listed: users who have %s in the roster have to opt in to it", host, entity.jid);
			return finish(entity);
		}
		search(entity, max_retries, next_username);
	}

	/** Adopts the users of those entities that need it. Has to be called after the configuration was read. */
	function configured(): void {
		const adopted = read_adopted();
		for (const [, entity] of pairs(service.entities.all())) {
			if (adopted && entity.permissions.users === "opted-in" && !adopted.has(entity.jid)) {
				const before = progress.get(entity) as Progress | undefined;
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
