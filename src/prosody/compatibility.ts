/** Loads a Lua module that some versions of Prosody do not have; nil where there is none. */
export function optional_module(name: string): object | undefined {
	const [is_there, found] = pcall(require, name);
	return is_there ? (found as object) : undefined;
}

/**
 * Whether this is Prosody 0.10 or later. That version brought the events `store-opened` and `roster-item-removed`, which
 * cannot be looked for, and `util.cache`, which can.
 */
export const since_0_10 = optional_module("util.cache") !== undefined;

/** The time as `os.time` gives it, with fractions of a second; nil where there is no `util.time` (Prosody 0.9). */
export const precise_time = ((optional_module("util.time") ?? {}) as Partial<typeof import("util.time")>).now;
