/**
 * Prosody's `core.configmanager`: the configuration file.
 */
declare module "core.configmanager" {
	/** The options of each host as they stand in its section; the key "*" has the global section. */
	function getconfig(): LuaTable<string, LuaTable<string, unknown>>;
}
