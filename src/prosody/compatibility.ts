/** A Lua module that is not there in every version of Prosody, nil where it is not. */
export function optional_module(name: string): object | undefined {
	const [is_there, found] = pcall(require, name);
	return is_there ? (found as object) : undefined;
}

/**
 * Whether this is Prosody 0.10 or later: it brought util.cache, and with it the events
 * `store-opened` and `roster-item-removed`, which cannot be asked for.
 */
export const since_0_10 = optional_module("util.cache") !== undefined;

/** The time as os.time() has it, with fractions of seconds; nil where there is no `util.time` (Prosody 0.9). */
export const precise_time = ((optional_module("util.time") ?? {}) as Partial<typeof import("util.time")>).now;
