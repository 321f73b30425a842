/**
 * Prosody's `util.human.io` (0.12 and later): what people read.
 */
declare module "util.human.io" {
	interface Column {
		title: string;
		/** In characters. */
		width: number;
		align?: "right";
	}

	/** Makes a function that formats rows of a table; called without a row it gives the titles. */
	function table(columns: Column[], max_width?: number): (this: void, row?: string[]) => string;
}
