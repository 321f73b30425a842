/**
 * Prosody's `util.hashes`.
 */
declare module "util.hashes" {
	/** The SHA-1 of a text, as 20 bytes or as 40 hexadecimal digits. */
	function sha1(text: string, hex?: boolean): string;
}
