import { copy_of, keys_of } from "../prosody/keys";
import { protect } from "../prosody/protect";
import { create_recent } from "../prosody/recent";
import type { AddTimer } from "../prosody/timers";
import type { Coverage } from "./permissions";

/** What the storage has about a user and an entity. */
export interface UserRecord {
	/** "in": the user opted in; "out": the user opted out; "allowed" and "revoked": the admin decided. */
	state: "in" | "out" | "allowed" | "revoked";
	/** The time of the last change, as os.time() gives it. */
	since: number;
	/** For the shell: what the user did to opt in ("registration", "a command", "a message", …), or "the admin". Absent where somebody else wrote the record. */
	by?: string | undefined;
}

/** The records of a user, by the JID of the entity. */
export type UserRecords = LuaTable<string, UserRecord>;

/** Whether the record that the storage has, nil where there is none, may be replaced. */
export type MayReplace = (this: void, before: UserRecord | undefined) => boolean;

/** The state that is kept over a reload of the module. */
export interface SavedUsers {
	/** By user, the records that the storage gave last. */
	known: LuaTable<string, UserRecords | undefined>;
	/** By user, the records of those who opted out that are not saved yet. */
	unsaved: LuaTable<string, UserRecords>;
}

interface UsersService {
	log: Log;
	add_timer: AddTimer;
	/** The module's store, with the records of each user. */
	store: import("core.storagemanager").KeyvalStore<UserRecords>;
}

/**
 * Keeps in Prosody's storage which users opted in to which entities (option `users`). The records of a user go with the
 * account when it is deleted.
 *
 * Where the storage fails, requests of entities are refused. That a user opts out counts all the same, and is saved later.
 */
export function create_users(service: UsersService) {
	// Seconds. Changes that other processes make to the storage are noticed within twice this time.
	const cache_span = 2;
	// Seconds after which it is tried again to save what could not be saved.
	const retry_pause = 5;
	const cached = create_recent<UserRecords>(cache_span);
	let known = new LuaTable<string, UserRecords | undefined>();
	let unsaved = new LuaTable<string, UserRecords>();
	let timer_runs = false;

	/** Whether a user is covered who has such a record. */
	function is_covering(found: UserRecord | undefined): boolean {
		return found !== undefined && found.state !== "out" && found.state !== "revoked";
	}

	/** Whether a record is replaced where the user opts out: what the admin has revoked stays revoked. */
	function may_leave(before: UserRecord | undefined): boolean {
		return before === undefined || is_covering(before);
	}

	/** Puts the records of a user in memory, as the storage has them or is to have them. */
	function note(username: string, records: UserRecords): void {
		cached.set(username, records);
		known.set(username, next(records)[0] !== undefined ? records : undefined);
	}

	/** The records of a user as the storage has them, with those of opting out that are not saved yet. Forgets such as are not needed any more. */
	function with_unsaved(username: string, stored: UserRecords): UserRecords {
		const missing = unsaved.get(username) as UserRecords | undefined;
		if (!missing) {
			return stored;
		}
		const records = copy_of(stored);
		for (const [entity, missing_record] of pairs(missing)) {
			if (may_leave(stored.get(entity))) {
				records.set(entity, missing_record);
			} else {
				missing.delete(entity);
			}
		}
		if (next(missing)[0] === undefined) {
			unsaved.delete(username);
		}
		return records;
	}

	/** Reads the records of a user from the storage; nil where that fails. */
	function stored_records(username: string): UserRecords | undefined {
		const stored = protect(service.log, "while the entities of %s were looked for", username, () => {
			const [found, err] = service.store.get(username);
			if (err !== undefined) {
				service.log("error", "Cannot read which entities %s opted in to: %s", username, err);
				return undefined;
			}
			return found ?? new LuaTable<string, UserRecord>();
		});
		if (!stored) {
			return undefined;
		}
		const records = with_unsaved(username, stored);
		note(username, records);
		return records;
	}

	/** Saves the records of a user. False where that failed, and nothing has changed. */
	function save_records(username: string, records: UserRecords): boolean {
		const saved = protect(service.log, "while the entities of %s were saved", username, () => {
			const [ok, err] = service.store.set(username, records);
			if (!ok) {
				service.log("error", "Cannot save which entities %s opted in to: %s", username, err);
			}
			return ok;
		});
		if (!saved) {
			return false;
		}
		unsaved.delete(username);
		note(username, records);
		return true;
	}

	/** The record of a user and an entity, nil where there is none or the user has opted out. */
	function record(entity: string, username: string): UserRecord | undefined {
		const records = cached.get(username) ?? stored_records(username);
		const found = records && (records.get(entity) as UserRecord | undefined);
		return found && found.state !== "out" ? found : undefined;
	}

	/** Whether the grant of an entity covers a user, for all that the entity asks. It does not matter whether that user exists. */
	function covers(entity: string, coverage: Coverage, username: string): boolean {
		if (coverage === "all") {
			return true;
		}
		if (coverage !== "opted-in") {
			return coverage.has(username);
		}
		return is_covering(record(entity, username));
	}

	/**
	 * Whether the grant of an entity covers a user; or did when the storage was read last, where it fails now. For the presences that
	 * the entity is told: if it were not told that a user or contact has gone, they would stay available for it.
	 */
	function covers_as_known(entity: string, coverage: Coverage, username: string): boolean {
		if (coverage !== "opted-in") {
			return covers(entity, coverage, username);
		}
		const records = cached.get(username) ?? stored_records(username) ?? known.get(username);
		const missing = unsaved.get(username) as UserRecords | undefined;
		return is_covering(records && records.get(entity)) && !(missing && missing.has(entity));
	}

	/** Saves the record of a user and an entity. False where the record must not be replaced, nil where the storage failed; then nothing has changed. */
	function keep(entity: string, username: string, new_record: UserRecord, may_replace?: MayReplace): boolean | undefined {
		// The records in memory may be those of an account that another process has deleted.
		const before = stored_records(username);
		if (!before) {
			return undefined;
		}
		if (may_replace && !may_replace(before.get(entity))) {
			return false;
		}
		const records = copy_of(before);
		records.set(entity, new_record);
		return save_records(username, records) ? true : undefined;
	}

	/** Tries to save that a user opted out. Returns whether nothing of the user is left to be saved. */
	function save_unsaved_of(username: string): boolean {
		const records = stored_records(username);
		return records !== undefined && (!unsaved.has(username) || save_records(username, records));
	}

	/** Tries to save who opted out. Has to be called when the module is unloaded. */
	function save_unsaved(): void {
		for (const [, username] of ipairs(keys_of(unsaved))) {
			if (save_unsaved_of(username)) {
				service.log("info", "It is saved now which entities %s opted out of", username);
			}
		}
	}

	/** Sees to it that a timer saves who opted out. */
	function save_later(): void {
		if (!timer_runs) {
			timer_runs = true;
			service.add_timer(retry_pause, () => {
				save_unsaved();
				timer_runs = next(unsaved)[0] !== undefined;
				return timer_runs ? retry_pause : undefined;
			});
		}
	}

	/** Opts a user out, unless the admin has revoked it. It counts at once, and is saved again and again until that succeeds. There is a record then of a user who was not in, too. */
	function leave(entity: string, username: string): void {
		const missing = (unsaved.get(username) as UserRecords | undefined) ?? new LuaTable<string, UserRecord>();
		missing.set(entity, { state: "out", since: os.time() });
		unsaved.set(username, missing);
		cached.forget(username);
		if (!save_unsaved_of(username)) {
			save_later();
		}
	}

	/** Drops what is in memory of a user whose account was made or deleted. */
	function forget(username: string): void {
		cached.forget(username);
		known.delete(username);
		unsaved.delete(username);
	}

	/** The state to be restored after a reload. Who opts out after this call is in it, too. */
	function save(): SavedUsers {
		return { known: known, unsaved: unsaved };
	}

	/** Restores that state. */
	function restore(saved: SavedUsers): void {
		known = saved.known;
		unsaved = saved.unsaved;
		for (const [username] of pairs(unsaved)) {
			cached.forget(username);
			save_later();
		}
	}

	/** The names of all users who have a record about any entity. Raises an error where the storage does. */
	function recorded_usernames(): string[] {
		const names: string[] = [];
		// COMPAT: Prosody 0.9 cannot list them.
		if (service.store.users) {
			// The list is read to its end before anything else is read: in mod_storage_sql, all lists share one statement.
			const [next_user, state, start] = service.store.users();
			if (type(next_user) !== "function") {
				error(tostring(state), 0);
			}
			let username = next_user(state, start);
			while (username !== undefined) {
				names.push(username);
				username = next_user(state, username);
			}
		}
		return names;
	}

	/**
	 * The names of the users whom a grant may cover, for `covers_as_known` to decide; nil where it covers all users of the host.
	 * Those who opted in are as many as is known, where they cannot be listed.
	 */
	function candidates(coverage: Coverage): string[] | undefined {
		if (coverage === "all") {
			return undefined;
		}
		if (coverage === "opted-in") {
			return protect(service.log, "while %s", "the users who opted in were listed", recorded_usernames) ?? keys_of(known);
		}
		return keys_of(coverage);
	}

	/** Whether the records of a user are in memory, as they are after `covers` unless the storage failed. */
	function has_records(username: string): boolean {
		return cached.get(username) !== undefined;
	}

	return { covers, covers_as_known, record, keep, leave, save_unsaved, forget, recorded_usernames, candidates, has_records, save, restore };
}
export type Users = ReturnType<typeof create_users>;
