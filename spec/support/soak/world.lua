-- The people of a soak: users and privileged entities of a server, what they are granted, what their rosters have to be,
-- and what becomes of the stanzas that they get.

local environment = require "spec.support.environment"

local ledger = require "spec.support.soak.ledger"
local prosody = require "spec.support.prosody"
local receive = require "spec.support.soak.receive"
local world = { iq_timeout = 1 }
local methods = {}

local echo, ping = receive.xmlns_echo, "urn:xmpp:ping"

-- What entities are granted by turns, false for nothing at all; at first it is the first
local variants = {
	["irc.lit"] = {
		["capulet.lit"] = {
			{ roster = "both", roster_push = false, message = "outgoing", iq = { [echo] = "both", [ping] = "get" } },
			{ roster = "get", roster_push = false, iq = { [echo] = "get" } },
			{ roster = "both", roster_push = false, message = "outgoing" },
		},
	},
	["pubsub.lit"] = {
		["capulet.lit"] = {
			{ roster = "get", message = "outgoing", presence = "managed_entity", iq = { [echo] = "both", [ping] = "both" } },
			{ message = "outgoing", presence = "managed_entity", iq = { [echo] = "get" } },
			{ roster = "both", iq = { [ping] = "get" } },
		},
		["montague.lit"] = { { presence = "managed_entity", message = "outgoing" }, { message = "outgoing" } },
	},
	["rosters.lit"] = { ["capulet.lit"] = { { roster = "both" }, { roster = "set" }, { roster = "both", roster_push = false }, false } },
	["watcher.lit"] = {
		["capulet.lit"] = {
			{ roster = "both", presence = "roster" },
			{ roster = "get", presence = "managed_entity" },
			{ roster = "both" },
			{ presence = "managed_entity" },
			false,
		},
	},
	["messenger.lit"] = {
		["montague.lit"] = { { roster = "both", message = "outgoing", iq = { [echo] = "set" } }, { message = "outgoing" }, false },
	},
	["romeo@montague.lit"] = {
		["capulet.lit"] = {
			{ roster = "both", message = "outgoing", presence = "managed_entity", iq = { [echo] = "both", [ping] = "get" } },
			{ roster = "get", presence = "managed_entity" },
			{ message = "outgoing" },
			false,
		},
	},
}

local user_counts, contact_count, loose_count = { ["capulet.lit"] = 20, ["montague.lit"] = 6 }, 6, 10

local function pick(list)
	return list[math.random(#list)]
end
world.pick, world.line = pick, receive.line

local function keys(from)
	local list = {}
	for key in pairs(from) do
		table.insert(list, key)
	end
	table.sort(list)
	return list
end

local function serialise(permissions)
	local parts = {}
	for _, name in ipairs(keys(permissions)) do
		local value = permissions[name]
		table.insert(
			parts,
			("[%q] = %s"):format(
				name,
				type(value) == "table" and serialise(value) or type(value) == "string" and ("%q"):format(value) or tostring(value)
			)
		)
	end
	return "{ " .. table.concat(parts, "; ") .. " }"
end

local function config(self)
	local lines = {}
	for _, host in ipairs { "capulet.lit", "montague.lit" } do
		table.insert(lines, ("VirtualHost %q\n\tprivileged_entities = {"):format(host))
		for _, entity in ipairs(self.entities) do
			if entity.grants[host] then
				table.insert(lines, ("\t\t[%q] = %s;"):format(entity.jid, serialise(entity.grants[host])))
			end
		end
		table.insert(lines, "\t}")
	end
	for _, entity in ipairs(self.entities) do
		if not entity.user then
			table.insert(lines, ('Component %q\n\tcomponent_secret = "secret"'):format(entity.jid))
		end
	end
	return table.concat(lines, "\n") .. "\n"
end

-- Users have contacts that no act changes: some of the gateway's, and users of each other's host
local function add_users(self)
	for host, count in pairs(user_counts) do
		self.users[host] = {}
		for i = 1, count do
			local jid = "u" .. i .. "@" .. host
			-- Contacts of the other host's users have one client: before an entity is first told of contacts, the module
			-- does not ask for the other resources of one of whom it has heard something
			self.users[host][i] = {
				jid = jid,
				host = host,
				most_streams = host == "capulet.lit" and 3 or 1,
				streams = {},
				arrivals = 0,
				roster = {},
				fixed = {},
				user = true,
			}
		end
	end
	local others = self.users["montague.lit"]
	for i, user in ipairs(self.users["capulet.lit"]) do
		local other = others[i % #others + 1]
		for _, contact in ipairs { "f" .. i % contact_count .. "@irc.lit", "f" .. (i + 1) % contact_count .. "@irc.lit", other.jid } do
			user.fixed[contact] = true
		end
		other.fixed[user.jid] = true
	end
end

local function add_entities(self)
	for _, jid in ipairs(keys(variants)) do
		local entity = {
			jid = jid,
			host = jid:match "@(.*)",
			user = jid:find("@", 1, true) ~= nil,
			most_streams = jid:find("@", 1, true) and 3 or 1,
			streams = {},
			arrivals = 0,
			grants = {},
			before = {},
			variants = variants[jid],
		}
		table.insert(self.entities, entity)
		self.gateway = jid == "irc.lit" and entity or self.gateway
	end
end

local function grant_first(self)
	for _, entity in ipairs(self.entities) do
		for host, list in pairs(entity.variants) do
			entity.grants[host], entity.before[host] = list[1], list[1]
		end
	end
end

--- Starts the server, with nobody connected.
-- @return the world
function world.start()
	local self = setmetatable({
		ledger = ledger.new(),
		users = {},
		entities = {},
		touched = {},
		cut = {},
		status = {},
		last_status = 0,
		figures = {
			connections = 0,
			presences = 0,
			probes = 0,
			reloads = 0,
			module_reloads = 0,
			rounds = 0,
		},
	}, { __index = methods })
	add_users(self)
	add_entities(self)
	local accounts, all_rosters = { "romeo@montague.lit" }, {}
	for _, users in pairs(self.users) do
		for _, user in ipairs(users) do
			table.insert(accounts, user.jid)
			all_rosters[user.jid] = {}
			for contact in pairs(user.fixed) do
				all_rosters[user.jid][contact] = { subscription = "both" }
				user.roster[contact] = { subscription = "both", groups = {} }
			end
		end
	end
	grant_first(self)
	self.server = prosody.start {
		config = config(self),
		users = accounts,
		rosters = all_rosters,
		log_level = "info",
		global = (
			"privilege_iq_timeout = %d; privilege_probe_rate = 1000; privilege_log_acts = true; component_conflict_resolve = 'kick_old'; "
			-- else the server keeps what is left of each client for a while
			.. "c2s_timeout = 'never'; c2s_close_timeout = 0.1"
		):format(world.iq_timeout),
	}
	self.server:eval(environment.read_file "spec/support/soak/inside.lua")
	return self
end

--- Runs a function of inside.lua.
function methods:inside(name, ...)
	local arguments = {}
	for i, argument in ipairs { ... } do
		arguments[i] = type(argument) == "string" and ("%q"):format(argument) or tostring(argument)
	end
	return self.server:eval(("return prosody.spec_soak.%s(%s)"):format(name, table.concat(arguments, ", ")))
end

--- Grants an entity something else, and has the server read that.
function methods:regrant(entity)
	local host = pick(keys(entity.variants))
	entity.grants[host] = pick(entity.variants[host])
	entity.in_flux = true
	self.server:reload_config(config(self))
	self.figures.reloads = self.figures.reloads + 1
	for _, act in pairs(self.ledger.open) do
		if act.by == entity and act.host == host then
			table.insert(act.grants, entity.grants[host])
		end
	end
end

--- Grants all entities what they were granted at first.
function methods:grant_anew()
	grant_first(self)
	self.server:reload_config(config(self))
	self.figures.reloads = self.figures.reloads + 1
end

--- Reloads the module; the iqs that are under way are answered by that.
function methods:reload_module()
	self:inside("reload", pick(keys(self.users)))
	self.figures.module_reloads = self.figures.module_reloads + 1
	for _, act in pairs(self.ledger.open) do
		act.given_up = true
	end
end

--- Makes a part of an outcome: what an owner has to get, on a stream of theirs.
function world.part(owner, key, stream)
	return { owner = owner, key = key, stream = not owner.restless and stream or nil }
end

--- Makes the parts for those of a user's clients that pass a test.
function world.clients(owner, key, test)
	if owner.restless then
		return { world.part(owner, key) }
	end
	local parts = {}
	for _, stream in ipairs(owner.streams) do
		if not test or test(stream) then
			table.insert(parts, world.part(owner, key, stream))
		end
	end
	return parts
end

--- Whether a permission lets an entity hear of roster changes.
function world.hears_pushes(grant)
	return grant and (grant.roster == "get" or grant.roster == "both") and grant.roster_push ~= false
end

function world.hears_presences(grant)
	return grant and grant.presence ~= nil
end

function world.hears_contacts(grant)
	return grant and grant.presence == "roster"
end

--- Makes the parts for all entities that a host grants what it takes to get something.
-- @param parts the list to add to
function methods:broadcast(parts, host, test, key)
	for _, entity in ipairs(self.entities) do
		local before, after = test(entity.before[host]), test(entity.grants[host])
		-- One whose grant is changed may have had it for a moment
		if before or after or entity.in_flux and entity.variants[host] then
			local streams = (entity.restless or entity.in_flux) and { false } or entity.streams
			for _, stream in ipairs(streams) do
				table.insert(parts, { owner = entity, key = key, stream = stream or nil, broadcast = true })
			end
		end
	end
	return parts
end

--- Picks a contact of a user that nobody has changed in this round.
function methods:touch(user)
	for _ = 1, 10 do
		local contact = "l" .. math.random(loose_count) .. "@irc.lit"
		if not self.touched[user.jid .. " " .. contact] then
			return contact
		end
	end
end

--- Writes the presence of a contact of the gateway, which is unavailable where there is none.
function methods:contact_stanza(contact, to)
	local status = self.status[contact .. "/irc"]
	return ("<presence %s from='%s/irc' to='%s'><status>%d</status></presence>"):format(
		status and "" or "type='unavailable'",
		contact,
		to,
		status or 0
	)
end

--- Has a contact of the gateway tell all users who have it something new of its presence.
function methods:contact_presence(contact, unavailable)
	self:enter_presence(self.gateway, contact .. "/irc", not unavailable and self:new_status() or nil, self.gateway.streams[1])
	for _, user in ipairs(self.users["capulet.lit"]) do
		if user.fixed[contact] then
			self.gateway.streams[1]:send(self:contact_stanza(contact, user.jid))
		end
	end
end

--- Lets each contact of the gateway do so.
function methods:contact_presences(unavailable)
	for i = 0, contact_count - 1 do
		self:contact_presence("f" .. i .. "@irc.lit", unavailable)
	end
end

local last_resource = 0

--- Makes the number of a presence, which stands in its status.
function methods:new_status()
	self.last_status = self.last_status + 1
	return self.last_status
end

--- Connects a client of a user, or a component.
function methods:connect(owner)
	local stream
	local carbons = math.random() < 0.5
	if owner.user then
		last_resource = last_resource + 1
		local full, status = owner.jid .. "/r" .. last_resource, self:new_status()
		self:enter_presence(owner, full, status)
		stream = self.server:client(full, {
			roster = true,
			carbons = carbons,
			presence = ("<presence><status>%d</status></presence>"):format(status),
		})
	else
		stream = self.server:component(owner.jid)
	end
	stream.owner, stream.carbons, stream.told, stream.presences = owner, carbons, {}, {}
	table.insert(owner.streams, stream)
	owner.arrivals = owner.arrivals + 1
	self.figures.connections = self.figures.connections + 1
	return stream
end

--- Enters a presence that a user or a contact of the gateway is about to broadcast.
-- @param by the user, or the gateway
-- @param full the full JID
-- @param number what stands in its status, nil for an unavailable one
-- @param stream the client's stream, which may be cut before the server reads it
function methods:enter_presence(by, full, number, stream)
	self.status[full] = number
	self.ledger:enter(number and "p" .. number or "u" .. full, {
		kind = number and "presence" or "unavailable",
		by = by,
		stream = stream,
		predict = function(act)
			local parts = {}
			if by == self.gateway or by.host == "montague.lit" and by.fixed then
				self:broadcast(parts, "capulet.lit", world.hears_contacts, "presence")
			end
			if by ~= self.gateway then
				self:broadcast(parts, by.host, world.hears_presences, "presence")
			end
			return { { parts = parts }, act.lost and { parts = {} } or nil }
		end,
	})
end

--- Takes what a stream got.
function methods:receive(stream)
	local stanzas = stream:drain()
	for _, stanza in ipairs(stanzas) do
		receive.stanza(self, stream, stanza)
	end
	return #stanzas
end

--- Ends a stream.
-- @param cut whether without a word
function methods:disconnect(stream, cut)
	local owner = stream.owner
	for i, other in ipairs(owner.streams) do
		if other == stream then
			table.remove(owner.streams, i)
		end
	end
	if owner.user then
		self:enter_presence(owner, stream.jid)
	elseif owner == self.gateway then
		-- Its contacts are gone with it
		for i = 0, contact_count - 1 do
			self.status["f" .. i .. "@irc.lit/irc"] = nil
		end
	end
	if cut then
		self.cut[owner.jid] = true
		stream:cut()
	else
		stream:close()
	end
	self:receive(stream)
	for _, act in pairs(self.ledger.open) do
		act.lost = act.lost or act.stream == stream
	end
	for i, other in ipairs(self.server.streams) do
		if other == stream then
			table.remove(self.server.streams, i)
		end
	end
end

return world
