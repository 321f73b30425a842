-- What is done in a soak. Each act is a function that gets the world, does something at random, and enters it in the books
-- with what has to come of it; it returns false where it cannot be done now.

local privileged = require "spec.support.privileged"
local receive = require "spec.support.soak.receive"
local world = require "spec.support.soak.world"

local pick, part, clients = world.pick, world.part, world.clients
local ping = "<ping xmlns='urn:xmpp:ping'/>"

local acts = {}

-- Picks an entity that is connected, one of its streams, and one of the hosts that may have granted it something
local function pick_entity(self)
	local entity = pick(self.entities)
	local hosts = {}
	for host in pairs(entity.variants) do
		table.insert(hosts, host)
	end
	table.sort(hosts)
	return entity, entity.streams[1] and pick(entity.streams), pick(hosts)
end

-- Picks a user who is online, or one who is not, of any host or of the one that is told
local function pick_user(self, online, host)
	local user = pick(self.users[host or math.random() < 0.8 and "capulet.lit" or "montague.lit"])
	return (#user.streams > 0) == online and user or nil
end

-- Enters a request of an entity. Its outcomes come of what the entity was granted at any time since it was sent
-- @param granted function that gets the host's grant and gives a list of outcomes; without a grant it is no request of an entity
local function enter(self, id, kind, entity, stream, host, granted, more)
	local act = more or {}
	act.kind, act.by, act.stream, act.host, act.grants = kind, entity, stream, host, { entity.grants[host] }
	act.predict = function()
		local outcomes = {}
		for _, grant in ipairs(act.grants) do
			for _, outcome in ipairs(grant and granted(grant, act) or { act.unlisted }) do
				table.insert(outcomes, outcome)
			end
		end
		if act.lost then
			table.insert(outcomes, { parts = {} })
		end
		return outcomes
	end
	local condition = kind:find "roster" and "service-unavailable" or "forbidden"
	act.unlisted = { parts = { part(entity, "error " .. condition, stream) } }
	self.ledger:enter(id, act)
end

-- The outcome of a request that is refused
local function refused(entity, stream, host, condition)
	return { parts = { part(entity, "error " .. condition, stream) }, counts = { [host .. " " .. entity.jid .. " refusals"] = 1 } }
end

local function covers(access, kind)
	return access == "both" or access == kind
end

local function has_carbons(except)
	return function(stream)
		return stream ~= except and stream.carbons
	end
end

local function append(list, more)
	for _, item in ipairs(more) do
		table.insert(list, item)
	end
	return list
end

-- Whom a message goes to: the address, and what has to arrive of it
local targets = {
	client = function(self)
		local user = pick_user(self, true)
		local stream = user and pick(user.streams)
		if stream then
			return stream.jid, append({ part(user, "message", stream) }, clients(user, "received", has_carbons(stream))), user
		end
	end,
	account = function(self)
		local user = pick_user(self, true)
		if user then
			return user.jid, clients(user, "message"), user
		end
	end,
	offline = function(self)
		local user = pick_user(self, false)
		if user then
			return user.jid, clients(user, "message"), user
		end
	end,
	contact = function(self)
		local stream = self.gateway.streams[1]
		if stream and not self.gateway.restless then
			return "l1@irc.lit", { part(self.gateway, "message", stream) }
		end
	end,
}
local target_kinds = { "client", "client", "account", "offline", "contact" }

--- An entity sends a message in the name of a user, or of the host.
function acts.message(self)
	local entity, stream, host = pick_entity(self)
	local sender = math.random() < 0.9 and pick(self.users[host]) or nil
	local to, parts, recipient = targets[pick(target_kinds)](self)
	if not stream or not to or sender == recipient then
		return false
	end
	if sender then
		append(parts, clients(sender, "sent", has_carbons()))
	end
	local id = self.ledger:new_id()
	enter(self, id, "message", entity, stream, host, function(grant)
		if not grant.message then
			return { refused(entity, stream, host, "forbidden") }
		end
		return { { parts = parts, counts = { [host .. " " .. entity.jid .. " messages"] = 1 } } }
	end, { recipient = recipient })
	privileged.send(
		stream,
		{ id = id, type = "chat", from = sender and sender.jid or host, to = to, "<body>soak</body>" },
		{ id = id, to = host, xmlns = math.random() < 0.2 and privileged.xmlns_legacy or nil }
	)
end

-- Messages that are never sent
local wrong_messages = {
	{ "forbidden", { from = "nobody@capulet.lit", to = "u1@capulet.lit" } },
	{ "forbidden", { from = "someone@irc.lit", to = "u1@capulet.lit" } },
	{ "jid-malformed", { from = "u1@capulet.lit", to = "@" } },
	{ "bad-request", nil },
}

--- An entity sends a message that has to be refused.
function acts.refused_message(self)
	local entity, stream, host = pick_entity(self)
	if not stream or host ~= "capulet.lit" then
		return false
	end
	local id, wrong = self.ledger:new_id(), pick(wrong_messages)
	enter(self, id, "refused message", entity, stream, host, function(grant)
		return { refused(entity, stream, host, grant.message and wrong[1] or "forbidden") }
	end)
	privileged.send(stream, wrong[2] or "", { id = id, to = host })
end

-- Where an iq goes: the address, the payload, the answer, and whose client gets it; no answer for none
local iq_targets = {
	client = function(self, id)
		local user = pick_user(self, true)
		local asked = user and pick(user.streams)
		local mode = pick { "result", "result", "error", self.patient and "none" or "result" }
		local answer = mode == "result" and "answer result" or mode == "error" and "answer not-acceptable" or nil
		if asked then
			return asked.jid, ("<query xmlns='%s' act='%s' mode='%s'/>"):format(receive.xmlns_echo, id, mode), answer, asked
		end
	end,
	host = function()
		return "montague.lit", ping, "answer result"
	end,
	account = function(self)
		local user = pick_user(self, true, "montague.lit")
		return user and user.jid, ping, "answer result"
	end,
	nobody = function(_, id)
		return "u1@capulet.lit/nowhere", ("<query xmlns='%s' act='%s'/>"):format(receive.xmlns_echo, id), "answer service-unavailable"
	end,
}

-- The outcomes of an iq that is sent
local function iq_outcomes(act, entity, stream, asked, answer)
	local requests = act.host .. " " .. entity.jid .. " iqs"
	local outcomes = {}
	local function outcome(key, revoked)
		table.insert(outcomes, {
			parts = { part(entity, key, stream), asked and part(asked.owner, "asked", asked) },
			counts = { [requests] = 1, [act.host .. " " .. entity.jid .. " refusals"] = revoked and 1 or nil },
		})
	end
	if answer then
		outcome(answer)
	end
	if asked and asked.owner.restless then
		outcome "answer service-unavailable"
	end
	-- On a busy machine a client may answer too late
	if act.waits or act.given_up or act.took and act.took > world.iq_timeout then
		outcome "error remote-server-timeout"
	end
	if #act.grants > 1 then
		outcome("error forbidden", true)
	end
	return outcomes
end

--- An entity sends an iq in the name of a user.
function acts.iq(self)
	local entity, stream, host = pick_entity(self)
	local id, user, kind = self.ledger:new_id(), pick(self.users[host]), pick { "get", "set" }
	local to, payload, answer, asked = iq_targets[pick { "client", "client", "client", "host", "account", "nobody" }](self, id)
	if not stream or not to then
		return false
	end
	kind = payload == ping and "get" or kind
	local waits = not answer or asked and asked.owner.restless
	enter(self, id, answer and "iq" or "iq without answer", entity, stream, host, function(grant, act)
		local access = (grant.iq or {})[payload == ping and "urn:xmpp:ping" or receive.xmlns_echo]
		if not covers(access, kind) then
			return { refused(entity, stream, host, "forbidden") }
		end
		return iq_outcomes(act, entity, stream, asked, answer)
	end, { waits = waits and world.iq_timeout + 5 or nil })
	privileged.ask(stream, { id = "same", to = to, payload }, { id = id, to = user.jid, type = kind })
end

-- Iqs that are never sent
local wrong_iqs = {
	{ "item-not-found", "nobody@capulet.lit", { id = "same", to = "capulet.lit", ping } },
	{ "bad-request", "u1@capulet.lit", { id = false, to = "capulet.lit", ping } },
	{ "forbidden", "u1@capulet.lit", { id = "same", from = "u2@capulet.lit", to = "capulet.lit", ping } },
	{ "forbidden", "u1@capulet.lit", { id = "same", to = "capulet.lit", "<query xmlns='jabber:iq:version'/>" } },
}

--- An entity sends an iq that has to be refused.
function acts.refused_iq(self)
	local entity, stream, host = pick_entity(self)
	if not stream or host ~= "capulet.lit" then
		return false
	end
	local id, wrong = self.ledger:new_id(), pick(wrong_iqs)
	enter(self, id, "refused iq", entity, stream, host, function(grant)
		local is_early = wrong[1] == "bad-request"
		return { refused(entity, stream, host, (is_early or (grant.iq or {})["urn:xmpp:ping"]) and wrong[1] or "forbidden") }
	end)
	privileged.ask(stream, wrong[3], { id = id, to = wrong[2], type = "get" })
end

--- A client changes its presence.
function acts.presence(self)
	local user = pick_user(self, true)
	local stream = user and pick(user.streams)
	if not stream then
		return false
	end
	local status = self:new_status()
	self:enter_presence(user, stream.jid, status, stream)
	stream:send(("<presence><status>%d</status></presence>"):format(status))
end

--- A contact of the gateway does.
function acts.contact_presence(self)
	if self.gateway.restless or not self.gateway.streams[1] then
		return false
	end
	self:contact_presence(("f%d@irc.lit"):format(math.random(0, 5)))
end

return { list = acts, enter = enter, refused = refused, covers = covers, pick_entity = pick_entity, append = append }
