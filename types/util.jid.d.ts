/**
 * Prosody's `util.jid`: addresses (RFC 7622).
 */
declare module "util.jid" {
	/** Node, domain and resource as they stand; domain is nil where the text is no JID. */
	function split(jid: string | undefined): LuaMultiReturn<[string | undefined, string | undefined, string | undefined]>;
	/** Node, domain and resource, prepared (case folded and normalised); nil where the text is no JID. */
	function prepped_split(jid: string | undefined): LuaMultiReturn<[string | undefined, string | undefined, string | undefined]>;
	/** The part before the `@`. 0.10 and later, as the next two. */
	function node(jid: string | undefined): string | undefined;
	function host(jid: string | undefined): string | undefined;
	function resource(jid: string | undefined): string | undefined;
	/** The JID without its resource. */
	function bare(jid: string): string | undefined;
	/** The JID prepared, nil where the text is no JID. */
	function prep(this: void, jid: string): string | undefined;
	/** A JID of its parts. */
	function join(node: string | undefined, host: string, resource?: string): string;
}
