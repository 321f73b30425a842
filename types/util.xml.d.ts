/**
 * Prosody's `util.xml` (0.10 and later).
 */
declare module "util.xml" {
	/** The element that an XML text is, nil where it is not well-formed. */
	function parse(xml: string): import("util.stanza").Stanza | undefined;
}
