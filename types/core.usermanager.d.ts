/**
 * Prosody's `core.usermanager`: the accounts of local hosts.
 */
declare module "core.usermanager" {
	/** Whether there is such an account. */
	function user_exists(username: string, host: string): boolean | undefined;
	/** An iterator over the names of all accounts of a host, with its state and start; nil where the authentication cannot list them. */
	function users(
		host: string,
	): LuaMultiReturn<[((this: void, state: unknown, last: unknown) => string | undefined) | undefined, unknown, unknown]>;
	/** What authenticates the users of a host; the name is that of its module without "auth_". */
	function get_provider(host: string): { name?: string };
	/** Whether an account is enabled; nil where the storage failed or the authentication cannot tell. Prosody 13 and later. */
	const user_is_enabled: ((this: void, username: string, host: string) => unknown) | undefined;
	/** The role of a user. Prosody 13 and later. */
	const get_user_role: ((this: void, username: string, host: string) => Role | undefined) | undefined;

	/** What a user may do (Prosody 13 and later). */
	interface Role {
		name: string;
	}
}
