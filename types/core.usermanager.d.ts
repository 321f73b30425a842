/**
 * Prosody's `core.usermanager`: the accounts of local hosts.
 */
declare module "core.usermanager" {
	/** Whether there is such an account. */
	function user_exists(username: string, host: string): boolean | undefined;
	/** The names of all accounts of a host; an iterator, whose state belongs to the authentication module. */
	function users(host: string): LuaIterable<string>;
	/** The role of a user. Prosody 13 and later. */
	const get_user_role: ((this: void, username: string, host: string) => Role | undefined) | undefined;

	/** What a user may do (Prosody 13 and later). */
	interface Role {
		name: string;
	}
}
