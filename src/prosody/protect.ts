import * as logger from "util.logger";
import { shown } from "./log_text";

/** The log of the module where no host is known. */
export const log_of_module = logger.init("privilege");

/**
 * Calls a function that runs code of other modules: an error in it is logged, and goes no further.
 *
 * @param when it is called, in words for the log, with %s for `subject`: "while a stanza was sent as %s"
 * @returns what the function returned, nil after an error
 */
export function protect<T>(log: Log, when: string, subject: string, action: (this: void) => T): T | undefined {
	const [ok, result] = xpcall(action, tostring);
	if (!ok) {
		log("error", "Another module failed " + when + ": %s", subject, shown(result));
		return undefined;
	}
	return result;
}
