import { keys_of } from "../prosody/keys";
import { protect } from "../prosody/protect";
import { create_recent } from "../prosody/recent";
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

interface UsersService {
	log: Log;
	/** The module's store, with the records of each user. */
	store: import("core.storagemanager").KeyvalStore<UserRecords>;
}

/**
 * Keeps in Prosody's storage which users opted in to which entities (option `users`). The records of a user go with the
 * account when it is deleted.
 */
export function create_users(service: UsersService) {
	// Seconds. Changes that other processes make to the storage are noticed within twice this time.
	const cache_span = 2;
	const cached = create_recent<UserRecords>(cache_span);

	/** Reads the records of a user from the storage; nil where that fails. */
	function stored_records(username: string): UserRecords | undefined {
		const records = protect(service.log, "while the entities of %s were looked for", username, () => {
			const [stored, err] = service.store.get(username);
			if (err !== undefined) {
				service.log("error", "Cannot read which entities %s opted in to: %s", username, err);
				return undefined;
			}
			return stored ?? new LuaTable<string, UserRecord>();
		});
		if (records) {
			cached.set(username, records);
		}
		return records;
	}

	/** The record of a user and an entity, nil where there is none or the user has opted out. */
	function record(entity: string, username: string): UserRecord | undefined {
		const records = cached.get(username) ?? stored_records(username);
		const found = records && (records.get(entity) as UserRecord | undefined);
		return found && found.state !== "out" ? found : undefined;
	}

	/** Whether the grant of an entity covers a user. It does not matter whether that user exists. */
	function covers(entity: string, coverage: Coverage, username: string): boolean {
		if (coverage === "all") {
			return true;
		}
		if (coverage !== "opted-in") {
			return coverage.has(username);
		}
		const found = record(entity, username);
		return found !== undefined && found.state !== "revoked";
	}

	/** Saves the record of a user and an entity. False where that failed or the record must not be replaced, and nothing has changed. */
	function keep(entity: string, username: string, new_record: UserRecord, may_replace?: MayReplace): boolean {
		// The records in memory may be those of an account that another process has deleted.
		const before = stored_records(username);
		if (!before || (may_replace && !may_replace(before.get(entity)))) {
			return false;
		}
		const records: UserRecords = new LuaTable();
		for (const [other, other_record] of pairs(before)) {
			records.set(other, other_record);
		}
		records.set(entity, new_record);
		const saved = protect(service.log, "while the entities of %s were saved", username, () => {
			const [ok, err] = service.store.set(username, records);
			if (!ok) {
				service.log("error", "Cannot save whether %s opted in to %s: %s", username, entity, err);
			}
			return ok;
		});
		if (!saved) {
			return false;
		}
		cached.set(username, records);
		return true;
	}

	/** Drops the records in memory of a user whose account was made or deleted. */
	function forget(username: string): void {
		cached.forget(username);
	}

	/** The names of all users who have a record about any entity. */
	function recorded_usernames(): string[] {
		const names: string[] = [];
		// COMPAT: Prosody 0.9 cannot list them.
		if (service.store.users) {
			// The list is read to its end before anything else is read: in mod_storage_sql, all lists share one statement.
			const [next_user, state, start] = service.store.users();
			let username = next_user(state, start);
			while (username !== undefined) {
				names.push(username);
				username = next_user(state, username);
			}
		}
		return names;
	}

	/** The names of the users whom a grant may cover, for `covers` to decide; nil where it covers all users of the host. */
	function candidates(coverage: Coverage): string[] | undefined {
		if (coverage === "all") {
			return undefined;
		}
		if (coverage === "opted-in") {
			return recorded_usernames();
		}
		return keys_of(coverage);
	}

	return { covers, record, keep, forget, candidates };
}
export type Users = ReturnType<typeof create_users>;
