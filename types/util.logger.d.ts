/**
 * Prosody's `util.logger`.
 */
declare module "util.logger" {
	/** Makes a function that logs under a name. */
	function init(name: string): Log;
}
