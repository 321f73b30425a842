import * as logger from "util.logger";
import { printable } from "./log_text";

/** The log for functions that do not get the log of a host. */
export const log_of_module = logger.init("privilege");

/**
 * Calls a function that runs code of other modules, such as a storage. An error in it is logged and goes no further.
 *
 * @param when says when the function is called, for the log, with %s for `subject`: "while a stanza was sent as %s"
 * @returns what the function returned; nil after an error
 */
export function protect<T>(log: Log, when: string, subject: string, action: (this: void) => T): T | undefined {
	const [ok, result] = xpcall(action, tostring);
	if (!ok) {
		log("error", "Another module failed " + when + ": %s", subject, printable(result));
		return undefined;
	}
	return result;
}
