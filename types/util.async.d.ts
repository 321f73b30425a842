/**
 * Prosody's `util.async` (0.10 and later): code that waits.
 */
declare module "util.async" {
	/** Whether the caller may wait. 0.11 and later. */
	function ready(): boolean;
	/** A function that waits until the other one is called. */
	function waiter(): LuaMultiReturn<[wait: (this: void) => void, done: (this: void) => void]>;
}
