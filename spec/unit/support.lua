-- Loads the module that ships, on any Lua from 5.1 on, and gives its parts to the unit specs.
--
-- Stanzas and JIDs are those of the installed Prosody. Its compiled libraries, which are made
-- for one version of Lua only, and its core are replaced.

-- Prosody 13 does not know the name that this had in Lua 5.1.
package.searchers = package.searchers or package.loaders -- luacheck: ignore 143

local environment = require "spec.support.environment"

local support = {}

--- What LuaUnit is to run: a list of pairs of a suite's name and its specs.
support.suites = {}

--- Begins a suite.
-- @param name the suite's name
-- @return a function that adds a spec, taking a sentence and what has to pass
function support.suite(name)
	local suite = {}
	support.suites[#support.suites + 1] = { name, suite }
	return function(sentence, run)
		-- LuaUnit knows specs by this beginning.
		local key = "test " .. sentence
		assert(suite[key] == nil, "there are two of this name: " .. sentence)
		suite[key] = run
	end
end

--- Loads a text whose globals are in a table.
local function load_text(text, name, globals)
	if setfenv then
		return setfenv(assert(loadstring(text, name)), globals)
	end
	return assert(load(text, name, "t", globals))
end

local function same(text)
	return text
end

--- Equal texts have equal hashes, and no others do.
local hashed, hash_count = {}, 0
local function sha1(text, hex)
	assert(hex == true, "only hexadecimal hashes are wanted")
	if not hashed[text] then
		hash_count = hash_count + 1
		hashed[text] = ("%040x"):format(hash_count)
	end
	return hashed[text]
end

--- Prepares as much of a JID as the specs have: folds ASCII letters, refuses spaces.
local function prep(text)
	return not text:find " " and text:lower() or nil
end

local function no_libraries(name)
	error("module '" .. name .. "' not found", 2)
end

--- Makes a `require` that knows the stand-ins, by their names with and without Prosody 13's prefix.
local function requirer(libraries)
	return function(name)
		return libraries[name:gsub("^prosody%.", "")] or no_libraries(name)
	end
end

--- Loads a library of the installed Prosody.
local function load_library(name, libraries)
	local path = environment.source_folder .. "/" .. name:gsub("%.", "/") .. ".lua"
	local text = assert(environment.read_file(path))
	return load_text(text, "@" .. path, setmetatable({ require = requirer(libraries) }, { __index = _G }))()
end

local libraries = {
	["core.configmanager"] = {
		getconfig = function()
			return {}
		end,
	},
	["core.rostermanager"] = {},
	["core.storagemanager"] = {},
	["core.usermanager"] = {},
	["util.encodings"] = {
		utf8 = {
			valid = function()
				return true
			end,
		},
		idna = { to_ascii = prep, to_unicode = same },
		stringprep = { nodeprep = prep, nameprep = prep, resourceprep = same },
	},
	["util.logger"] = {
		init = function()
			return function() end
		end,
	},
	["util.net"] = { pton = function() end },
	["util.hashes"] = { sha1 = sha1 },
	["util.table"] = {
		create = function()
			return {}
		end,
		-- Lua 5.1 and 5.2 have no table.move
		move = function(from, first, last, target, to)
			for i = first, last do
				to[target + i - first] = from[i]
			end
			return to
		end,
	},
	["util.uuid"] = {
		generate = function()
			return "uuid"
		end,
	},
}
libraries["util.stanza"] = load_library("util.stanza", libraries)
libraries["util.jid"] = load_library("util.jid", libraries)

support.st = libraries["util.stanza"]
support.prep = libraries["util.jid"].prep

--- What the specs use of the module.
local parts = {
	"create_statistics",
	"no_counts",
	"read_configuration",
	"describe_problem",
	"describe_empty_entries",
	"suggest",
	"edit_distance",
	"no_permissions",
	"allows",
	"grants_anything",
	"describe_permissions",
	"describe_coverage",
	"same_coverage",
	"same_permissions",
	"privilege_element",
	"xmlns_privilege",
	"xmlns_privilege_legacy",
	"create_contact_cache",
	"presence_of",
	"create_presence_texts",
	"max_kept",
	"item_text",
	"is_contact",
	"roster_version",
	"set_contact",
	"updated_item",
	"same_item",
	"strip_client_namespace",
	"is_client_stanza",
	"encapsulated_iq",
	"forwarded_message",
	"create_recent",
	"create_fifo",
	"create_probes",
	"create_users",
	"create_refusing",
	"refusals",
	"about",
	"in_slices",
	"create_error_filter",
	"create_check",
	"describe_users",
	"module_version",
	"create_covered_count",
}

local path = (arg[0]:match "^(.*)spec/unit/run%.lua$" or "") .. "lua-out/mod_privilege.lua"
local module_text = assert(environment.read_file(path))
for i, name in ipairs(parts) do
	parts[i] = name .. " = " .. name
end
module_text = module_text .. "\nreturn { " .. table.concat(parts, ", ") .. " };\n"

--- Loads the module as Prosody's own commands do: in the global section, serving no host.
-- @param globals what it is to have instead of Lua's own, by name
-- @param more libraries that `require` is to find beside the usual ones, by name
-- @return its parts, by name
function support.load(globals, more)
	local seen = { prosody = { hosts = {} }, require = requirer(setmetatable(more or {}, { __index = libraries })) }
	seen.module = {
		host = "*",
		get_host_type = function()
			return "global"
		end,
	}
	for name, value in pairs(globals or {}) do
		seen[name] = value
	end
	return load_text(module_text, "@" .. path, setmetatable(seen, { __index = _G }))()
end

--- The module's parts, for specs that need nothing special.
support.parts = support.load()

--- An element as text, with the attributes sorted.
function support.text(element)
	if type(element) == "string" then
		return support.st.xml_escape(element)
	end
	local attributes, children = {}, {}
	for name, value in pairs(element.attr) do
		attributes[#attributes + 1] = (" %s='%s'"):format(name, support.st.xml_escape(value))
	end
	table.sort(attributes)
	for _, child in ipairs(element) do
		children[#children + 1] = support.text(child)
	end
	local start = "<" .. element.name .. table.concat(attributes)
	return #children > 0 and start .. ">" .. table.concat(children) .. "</" .. element.name .. ">" or start .. "/>"
end

--- Permissions: none, but for those that are given.
function support.permissions(given)
	local permissions = support.parts.no_permissions()
	for name, value in pairs(given) do
		permissions[name] = value
	end
	return permissions
end

--- Timers that go off when they are told to.
-- @return the function that adds a timer, and the list of the timers, each with `delay`
function support.timers()
	local timers = {}
	local function add_timer(delay, callback)
		timers[#timers + 1] = { delay = delay, callback = callback }
	end
	--- Lets the oldest timer go off; it comes back when its callback says so.
	local function go_off()
		local timer = table.remove(timers, 1)
		local delay = timer.callback()
		if delay ~= nil then
			add_timer(delay, timer.callback)
		end
		return delay
	end
	return add_timer, go_off, timers
end

--- A library util.logger that writes lines such as "warn: Refused a request" into a list.
function support.logger(lines)
	return {
		init = function()
			return function(level, text, ...)
				table.insert(lines, level .. ": " .. text:format(...))
			end
		end,
	}
end

--- The memory in use after all garbage is collected, in KiB.
function support.memory()
	collectgarbage()
	collectgarbage()
	return collectgarbage "count"
end

return support
