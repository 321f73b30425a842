import { keys_of } from "../prosody/keys";
import { create_recent } from "../prosody/recent";
import type { Coverage } from "./permissions";

/** What is kept of a user and an entity. */
export interface UserRecord {
	/** "in": opted in; "allowed" and "revoked": by the admin. */
	state: "in" | "allowed" | "revoked";
	/** Since when, as os.time() has it. */
	since: number;
	/** What the user did to opt in: "registration", "command", "message", "subscription", "roster". */
	by?: string | undefined;
}

/** What is kept of a user, by the entity's JID. */
export type UserRecords = LuaTable<string, UserRecord>;

interface UsersService {
	log: Log;
	/** The module's store, with the records of each user. */
	store: import("core.storagemanager").KeyvalStore<UserRecords>;
}

/** Who opted in to which entity (option `users`), kept in Prosody's storage: it goes with the account when that is deleted. */
export function create_users(service: UsersService) {
	/** Seconds that a user's records are kept in memory at least; twice as long at most, so that a change from outside is seen soon. */
	const record_span = 2;

	const known = create_recent<UserRecords>(record_span);

	/** What the storage has of a user, by the entity's JID; nil where it fails. */
	function stored_records(username: string): UserRecords | undefined {
		const [stored, err] = service.store.get(username);
		if (err !== undefined) {
			service.log("error", "Cannot read what entities %s opted in to: %s", username, err);
			return undefined;
		}
		const records = stored ?? new LuaTable<string, UserRecord>();
		known.set(username, records);
		return records;
	}

	/** What is kept of a user and an entity, nil for nothing. */
	function record(entity: string, username: string): UserRecord | undefined {
		const records = known.get(username) ?? stored_records(username);
		return records && records.get(entity);
	}

	/** Whether a grant of an entity covers a user, who need not exist. */
	function covers(entity: string, coverage: Coverage, username: string): boolean {
		if (coverage === "all") {
			return true;
		}
		if (coverage !== "opted-in") {
			return coverage.has(username);
		}
		const kept = record(entity, username);
		return kept !== undefined && kept.state !== "revoked";
	}

	/** Keeps a record of a user and an entity, nil for none; false where it could not be saved, and is as before. */
	function keep(entity: string, username: string, kept: UserRecord | undefined): boolean {
		// Not what is in memory: it may be of an account that was deleted by another process.
		const before = stored_records(username);
		if (!before) {
			return false;
		}
		const records: UserRecords = new LuaTable();
		for (const [other, other_kept] of pairs(before)) {
			records.set(other, other_kept);
		}
		records.set(entity, kept as UserRecord);
		// An empty one removes what is stored.
		const [ok, err] = service.store.set(username, records);
		if (!ok) {
			service.log("error", "Cannot save whether %s opted in to %s: %s", username, entity, err);
			return false;
		}
		known.set(username, records);
		return true;
	}

	/** Forgets what is in memory of a user whose account is new or gone. */
	function forget(username: string): void {
		known.forget(username);
	}

	/** The names of all users of whom something is kept, of any entity. */
	function usernames(): string[] {
		const names: string[] = [];
		// COMPAT: Prosody 0.9 cannot list them.
		if (service.store.users) {
			// Read to the end before anything else is: SQL's list is one statement that all share.
			const [next_user, state, start] = service.store.users();
			let username = next_user(state, start);
			while (username !== undefined) {
				names.push(username);
				username = next_user(state, username);
			}
		}
		return names;
	}

	/** The names of those whom a grant may cover, to be gone through with `covers`; nil for all of the host. */
	function candidates(coverage: Coverage): string[] | undefined {
		if (coverage === "all") {
			return undefined;
		}
		if (coverage === "opted-in") {
			return usernames();
		}
		return keys_of(coverage);
	}

	return { covers, record, keep, forget, candidates };
}
export type Users = ReturnType<typeof create_users>;
