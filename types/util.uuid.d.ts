/**
 * Prosody's `util.uuid`: unguessable identifiers.
 */
declare module "util.uuid" {
	/** A new random UUID. */
	function generate(): string;
}
