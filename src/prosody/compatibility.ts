/**
 * Whether this is Prosody 0.10 or later: it brought util.cache, and with it the events
 * `store-opened` and `roster-item-removed`, which cannot be asked for.
 */
export const since_0_10 = pcall(require, "util.cache")[0];

const [has_time, time_module] = pcall(require, "util.time");

/** The time as os.time() has it, with fractions of seconds; nil where there is no util.time (Prosody 0.9). */
export const precise_time = has_time ? (time_module as typeof import("util.time")).now : undefined;
