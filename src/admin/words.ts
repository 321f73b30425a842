import { sorted_keys } from "../prosody/keys";
import type { Coverage } from "../grants/permissions";

/** `1 user`, `2 users`. */
export function count_of(number: number, one: string, more: string): string {
	return tostring(number) + " " + (number === 1 ? one : more);
}

/**
 * Whose accounts a grant covers, in a word: `all`, `opted-in`, `listed: 2`.
 *
 * @param number of those who opted in, where that is known
 */
export function describe_users(users: Coverage, number?: number): string {
	if (users === "all" || users === "opted-in") {
		return number !== undefined ? users + ": " + number : users;
	}
	return "listed: " + sorted_keys(users).length;
}
