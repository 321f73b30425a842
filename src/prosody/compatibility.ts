/**
 * Whether this is Prosody 0.10 or later: it brought util.cache, and with it the events
 * `store-opened` and `roster-item-removed`, which cannot be asked for.
 */
export const since_0_10 = pcall(require, "util.cache")[0];
