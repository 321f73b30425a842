/**
 * Prosody's `util.time` (0.10 and later).
 */
declare module "util.time" {
	/** Seconds since 1970, with fractions. */
	function now(): number;
}
