-- What a soak wants to know of a running server. This is run inside it, see server:eval.
-- luacheck: read globals module

local st = require "util.stanza"
local modulemanager = require "core.modulemanager"

local soak = {}
prosody.spec_soak = soak

local roster_listeners = module:shared "/*/privilege/roster_listeners"
local served_hosts = module:shared "/*/privilege/served_hosts"
-- One entry for each host, as long as the host is active
local undelivered = module:shared "/*/privilege/undelivered"

-- The counters of all entities that there were, with their names; they go on counting when their entity is none any more
local counters = {}

local function register()
	for host, served in pairs(served_hosts) do
		for jid, entity in pairs(served.entities.all()) do
			counters[entity.counts] = host .. " " .. jid
		end
	end
end
prosody.events.add_handler("config-reloaded", function()
	-- the module reads the configuration in a timer
	module:add_timer(0.01, register)
end, -1000)
register()

--- Gives what was counted since the last time, by "HOST ENTITY ACT".
function soak.counts()
	local found = {}
	for counts, name in pairs(counters) do
		for act, count in pairs(counts) do
			found[name .. " " .. act] = (found[name .. " " .. act] or 0) + count
			counts[act] = 0
		end
	end
	counters = {}
	register()
	return found
end

--- Reloads the module.
function soak.reload(host)
	assert(modulemanager.reload(host, "privilege"))
	register()
end

--- Gives who is connected, sorted, or nil while an entity is being told presences.
function soak.connected()
	local names = {}
	for jid in pairs(prosody.full_sessions) do
		table.insert(names, jid)
	end
	for _, session in pairs(module:shared "/*/component/sessions") do
		if session.type == "component" and session.host ~= "test.control" then
			table.insert(names, session.host)
		end
	end
	for host in pairs(served_hosts) do
		if soak.tables(host).by_connection > 0 then
			return nil
		end
	end
	table.sort(names)
	return names
end

--- Gives the roster of each user of a host as it is stored, without metadata.
function soak.rosters(host)
	local store, found = require "core.storagemanager".open(host, "roster", "keyval"), {}
	for username in store:users() do
		found[username] = store:get(username)
		found[username][false] = nil
	end
	return found
end

--- Lets time pass for what asks os.time, and has the module look at it: by an error for nothing that anybody sent.
local offset, real_time = 0, os.time
function soak.pass(seconds)
	offset = offset + seconds
	os.time = function(...) -- luacheck: ignore 122
		return real_time(...) + ((...) == nil and offset or 0)
	end
	for host in pairs(served_hosts) do
		prosody.core_post_stanza(prosody.hosts[host], st.message({ type = "error", from = host, to = "u1@" .. host }))
	end
end

--- Has many timers run, so that the tables of timers are large each time that memory is looked at; Lua makes them smaller at whim.
function soak.run_timers()
	for _ = 1, 500 do
		module:add_timer(0.01, function() end)
	end
end

--- Gives the memory in use, in KiB, without the rosters that the server keeps in memory: they are now longer, now shorter.
function soak.memory()
	for _, host in pairs(prosody.hosts) do
		host.roster_cache = nil
	end
	collectgarbage()
	collectgarbage()
	return collectgarbage "count"
end

-- What the module knows and does not own
local function foreign_tables(env)
	local foreign = { [_G] = true, [prosody] = true, [env] = true, [env.module] = true }
	for _, shared in ipairs { roster_listeners, served_hosts, undelivered } do
		foreign[shared] = true
	end
	for _, library in pairs(package.loaded) do
		foreign[library] = true
	end
	for _, host in pairs(prosody.hosts) do
		foreign[host], foreign[host.events] = true, true
	end
	return foreign
end

--- Finds all tables that the module's functions reach, and counts their entries that are no functions.
-- @param host where it is loaded
-- @return by path, which is the name of a variable and the fields from there ("*" for those that are no plain words),
-- the entries of the fullest table with that path; those of empty ones are 0
function soak.tables(host)
	-- Sessions that have ended are not among what the module refers to weakly
	collectgarbage()
	collectgarbage()
	local env = modulemanager.get_module(host, "privilege")
	local seen, found, walk = foreign_tables(env), {}, nil
	local source = debug.getinfo(env.module.unload, "S").source

	local function walk_table(value, path)
		local entries = 0
		for k, v in next, value do
			entries = entries + (type(v) == "function" and 0 or 1)
			-- What long work refers to ends with it
			if path ~= "works_by_timer" then
				walk(k, path)
				walk(v, path .. "." .. (type(k) == "string" and k:match "^[%a_]+$" or "*"))
			end
		end
		found[path] = math.max(found[path] or 0, entries)
	end

	function walk(value, path)
		local kind = type(value)
		if kind ~= "table" and kind ~= "function" or seen[value] then
			return
		end
		seen[value] = true
		if kind == "table" then
			walk_table(value, path)
		elseif debug.getinfo(value, "S").source == source then
			for i = 1, math.huge do
				local name, upvalue = debug.getupvalue(value, i)
				if not name then
					break
				end
				-- What is kept for some seconds is bounded, and may be of the server's own (roles).
				if name ~= "newer" and name ~= "older" then
					walk(upvalue, name)
				end
			end
		end
	end

	for _, _, handler in env.module.event_handlers:iter(nil, nil, nil) do
		walk(handler, "handler")
	end
	walk(env.module.save, "save")
	walk(env.module.unload, "unload")
	return found
end
