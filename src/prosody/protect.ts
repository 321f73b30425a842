import { shown } from "./log_text";

/**
 * Calls a function that runs code of other modules: an error in it is logged, and goes no further.
 *
 * @param when it is called, in words for the log: "while a stanza was sent as juliet@capulet.lit"
 * @returns what the function returned, nil after an error
 */
export function protect<T>(log: Log, when: string, action: (this: void) => T): T | undefined {
	const [, result] = xpcall(action, (problem) => {
		log("error", "Another module failed %s: %s", when, shown(tostring(problem)));
		return undefined;
	});
	return result;
}
