-- Lets the specs look and reach into a running server. Never load it on a real one:
-- it runs whatever the component test.control sends.
--
-- On that component's host the module answers queries; on the VirtualHosts it gives the code
-- that is run there a module object, and makes the storage of rosters fail on demand:
-- prosody.spec_fail = { roster_get = true, roster_set = true }. A function in place of true gets what the storage's
-- method gets, tells whether it is to fail, and may take its time. Lists fail by raising an error, as in mod_storage_sql.

local base64 = require "util.encodings".base64
local envload = require "util.envload".envload
local modulemanager = require "core.modulemanager"
local st = require "util.stanza"

local prosody = prosody
local pack = table.pack or function(...)
	return { n = select("#", ...), ... }
end -- luacheck: ignore 143
local xmlns = "urn:spec:control"

local serialise
local function serialise_table(value, seen)
	if seen[value] then
		error "the result contains itself"
	end
	seen[value] = true
	local parts = {}
	for k, v in pairs(value) do
		parts[#parts + 1] = "[" .. serialise(k, seen) .. "]=" .. serialise(v, seen)
	end
	seen[value] = nil
	return "{" .. table.concat(parts, ",") .. "}"
end

function serialise(value, seen)
	local kind = type(value)
	if kind == "number" then
		if value ~= value then
			return "(0/0)"
		elseif value == math.huge or value == -math.huge then
			return value > 0 and "(1/0)" or "(-1/0)"
		end
		return (math.type and math.type(value) == "integer" and "%d" or "%.17g"):format(value) -- luacheck: ignore 143
	elseif kind == "boolean" or kind == "nil" then
		return tostring(value)
	elseif kind == "table" and not (getmetatable(value) or {}).__tostring then
		return serialise_table(value, seen)
	end
	return ("%q"):format(tostring(value))
end

-- The module object of a host, of this module where that can be had
local function module_of(host)
	if not prosody.hosts[host] then
		error("no host " .. tostring(host) .. " is active", 0)
	end
	local env = modulemanager.get_module(host, "test_control") or assert(modulemanager.load(host, "test_control"))
	return env.module
end

local function run(code, host)
	local chunk = assert(envload(code, "=eval", setmetatable({ module = module_of(host) }, { __index = _G })))
	local results = pack(chunk())
	local parts = {}
	for i = 1, results.n do
		parts[i] = serialise(results[i], {})
	end
	return "return " .. table.concat(parts, ",")
end

if module.host == "test.control" then
	module:hook("iq-set/host/" .. xmlns .. ":eval", function(event)
		local origin, stanza = event.origin, event.stanza
		if origin.type ~= "component" or origin.host ~= module.host then
			origin.send(st.error_reply(stanza, "auth", "forbidden"))
			return true
		end
		local query = stanza:get_child("eval", xmlns)
		local ok, result = xpcall(function()
			return run(base64.decode(query:get_text()), query.attr.host)
		end, function(err)
			-- the traceback matters down to this module only
			return type(err) == "string" and debug.traceback(err, 2):gsub("\n[^\n]*mod_test_control.*$", "") or tostring(err)
		end)
		origin.send(st.reply(stanza):tag(ok and "result" or "failure", { xmlns = xmlns }):text(base64.encode(result)))
		return true
	end)
	return
end

local function fail_on_demand(store, what, ...)
	for _, name in ipairs { ... } do
		local method = store[name]
		if method then
			store[name] = function(...)
				local fail = prosody.spec_fail
				local fails = fail and fail[what]
				if type(fails) == "function" then
					fails = fails(...)
				end
				if fails then
					return nil, "spec failure"
				end
				return method(...)
			end
		end
	end
end

module:hook("store-opened", function(event)
	if event.store_name == "roster" then
		fail_on_demand(event.store, "roster_get", "get", "get_key")
		fail_on_demand(event.store, "roster_set", "set", "set_key", "set_keys")
	elseif event.store_name == "privilege" then
		fail_on_demand(event.store, "privilege_get", "get")
		fail_on_demand(event.store, "privilege_set", "set")
		local list = event.store.users
		if list then
			function event.store.users(...)
				if prosody.spec_fail and prosody.spec_fail.privilege_users then
					error("spec failure", 0)
				end
				return list(...)
			end
		end
	elseif event.store_name == "privilege_entities" then
		fail_on_demand(event.store, "adopted_get", "get")
		fail_on_demand(event.store, "adopted_set", "set")
	end
end, 1000)

-- Names of servers are resolved with a file that has lines of the form "host ip port"
local names_file = module:get_option_string "test_control_names"
if names_file and not prosody.test_control_names then
	prosody.test_control_names = names_file

	local function resolve(name, kind)
		local host = kind == "SRV" and name:match "^_xmpp%-server%._tcp%.(.*)$" or kind == "A" and name
		for line in io.lines(names_file) do
			local found, ip, port = line:match "^(%S+) (%S+) (%d+)$"
			if found == host then
				if kind == "A" then
					return { { a = ip } }
				end
				return { { srv = { target = host, port = tonumber(port), priority = 0, weight = 0 } } }
			end
		end
	end

	local resolver = { _resolver = { settimeout = function() end, closeall = function() end } }
	function resolver:lookup(handler, name, kind) -- luacheck: ignore 212/self
		handler(resolve(name:gsub("%.$", ""), kind and kind:upper() or "A"))
	end
	require "net.adns".resolver = function()
		return resolver
	end
end
