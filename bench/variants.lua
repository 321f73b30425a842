-- The servers that are compared: without a module ("native"), with this one ("module"), with that of prosody-modules ("community"),
-- and with this one in a configuration that covers all users ("all").

local lfs = require "lfs"
local prosody = require "spec.support.prosody"

local variants = {}

local community_folder = "/usr/lib/prosody/modules/mod_privilege"

--- The name of each variant's virtual host; servers that federate need different ones.
variants.hosts = { native = "verona1.lit", module = "verona2.lit", community = "verona3.lit", all = "verona4.lit" }
local our_folder = lfs.currentdir() .. "/lua-out"
local plugin_paths = { native = {}, module = { our_folder }, community = { community_folder }, all = { our_folder } }

local function configuration(variant, work)
	local host = variants.hosts[variant]
	local lines = { ("VirtualHost %q"):format(host), "privileged_entities = {" }
	local components = { table.unpack(work.components or {}) }
	local entities = type(work.entities) == "function" and work.entities(variant) or work.entities
	for name, permissions in pairs(entities) do
		table.insert(lines, ("[%q] = { %s };"):format(name .. "." .. host, permissions))
		table.insert(components, name)
	end
	table.insert(lines, "}")
	for _, name in ipairs(components) do
		table.insert(lines, ('Component %q\n\tcomponent_secret = "secret"'):format(name .. "." .. host))
		if variant ~= "native" then
			table.insert(lines, '\tmodules_enabled = { "privilege" }')
		end
	end
	return table.concat(lines, "\n")
end

-- The keys of a table with the host behind them
local function at_host(host, from)
	local result = {}
	for name, value in pairs(from or {}) do
		if type(name) == "number" then
			result[name] = value .. "@" .. host
		else
			result[name .. "@" .. host] = value
		end
	end
	return result
end

--- Starts a server for a work.
-- @param variant the variant's name
-- @param work table: entities, components as [name] = text of their permissions, or a function that gets the variant's name and gives that;
-- components, a list of names of others; users, a list of names;
-- rosters, function that gets the host and gives [name] = roster; s2s and storage, see prosody.start
-- @return the server
function variants.start(variant, work)
	local host = variants.hosts[variant]
	if variant == "community" and not lfs.attributes(community_folder .. "/mod_privilege.lua") then
		error(community_folder .. " is not there; it is of Debian's package prosody-modules", 0)
	end
	return prosody.start {
		config = configuration(variant, work),
		modules = variant == "native" and {} or { "privilege" },
		plugin_paths = plugin_paths[variant],
		users = at_host(host, work.users),
		rosters = at_host(host, work.rosters and work.rosters(host)),
		log_level = "info",
		s2s = work.s2s,
		storage = work.storage,
	}
end

return variants
