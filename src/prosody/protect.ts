/**
 * Calls a function that runs code of other modules: an error in it is logged with its traceback, and goes no further.
 *
 * @returns what the function returned, nil after an error
 */
export function protect<T>(log: Log, action: (this: void) => T): T | undefined {
	const [ok, result] = xpcall(action, debug.traceback);
	if (!ok) {
		log("error", "Another module raised an error: %s", result);
		return undefined;
	}
	return result;
}
