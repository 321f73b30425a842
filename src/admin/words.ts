import { keys_of } from "../prosody/keys";
import type { Coverage } from "../grants/permissions";

/** `1 user`, `2 users`. */
export function count_of(number: number, one: string, more: string): string {
	return tostring(number) + " " + (number === 1 ? one : more);
}

/**
 * The users whom a grant covers, for a table: `all`, `opted-in`, `opted-in: 7`, `listed: 2`.
 *
 * @param number how many users opted in; nil where that is not known
 */
export function describe_users(users: Coverage, number?: number): string {
	if (users === "all" || users === "opted-in") {
		return number !== undefined ? users + ": " + number : users;
	}
	return "listed: " + keys_of(users).length;
}
