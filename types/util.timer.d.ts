/**
 * Prosody's `util.timer`: timers that belong to no module, so that they go off when the module is gone, too.
 */
declare module "util.timer" {
	/** Calls `callback` after `delay` seconds, and again after as many seconds as it returns. */
	function add_task(delay: number, callback: (this: void) => number | undefined): void;
}
