-- What is done to rosters in a soak; see acts.lua.

local acts = require "spec.support.soak.acts"
local world = require "spec.support.soak.world"

local pick, part, clients = world.pick, world.part, world.clients
local enter, refused, covers, pick_entity = acts.enter, acts.refused, acts.covers, acts.pick_entity

local roster_acts = {}

-- What an item becomes, and how to ask for that; nil for one that is removed
local function new_item(old, id, by_user)
	if math.random() < 0.3 then
		return nil, "subscription='remove'"
	end
	local asked = pick { "none", "to", "from", "both", "", "pending" }
	local item = { name = id, subscription = old and old.subscription or "none", ask = old and old.ask, groups = {} }
	if not by_user and asked ~= "" and asked ~= "pending" then
		item.subscription = asked
	end
	if item.subscription == "to" or item.subscription == "both" then
		item.ask = nil
	end
	local groups = {}
	for i = 1, math.random(0, 2) do
		item.groups["Group " .. i] = true
		groups[i] = "<group>Group " .. i .. "</group>"
	end
	return item, ("name='%s'%s"):format(id, asked ~= "" and (" subscription='%s'"):format(asked) or ""), table.concat(groups)
end

-- The outcome of a change: the answer, if there is one, pushes to all, and what the contact is told
local function changed(self, answer, user, contact, item, told, counts)
	local parts = { answer }
	acts.append(parts, clients(user, "push " .. world.line(contact, item)))
	self:broadcast(parts, user.host, world.hears_pushes, "push " .. world.line(contact, item))
	for _, kind in ipairs(told or {}) do
		table.insert(parts, part(self.gateway, kind, self.gateway.streams[1]))
	end
	return {
		parts = parts,
		counts = counts,
		user = user,
		contact = contact,
		item = item,
		apply = function()
			user.roster[contact] = item
		end,
	}
end

-- What a contact is told when its item is removed
local function farewell(self, old)
	local told = {}
	if not self.gateway.streams[1] and not self.gateway.restless then
		return told
	end
	if old.subscription == "to" or old.subscription == "both" or old.ask then
		table.insert(told, "unsubscribe")
	end
	if old.subscription == "from" or old.subscription == "both" then
		table.insert(told, "unsubscribed")
	end
	return told
end

-- Picks a user and a contact that nobody else changes in this round
local function pick_contact(self, host, id)
	local user = pick(self.users[host])
	local contact = self:touch(user)
	if contact then
		self.touched[user.jid .. " " .. contact] = id
		return user, contact, user.roster[contact]
	end
end

local function query(items)
	return "<query xmlns='jabber:iq:roster'>" .. items .. "</query></iq>"
end

local function set_text(contact, attributes, groups)
	return query(("<item jid='%s' %s>%s</item>"):format(contact, attributes, groups or ""))
end

--- An entity changes a user's roster.
function roster_acts.roster_set(self)
	local entity, stream, host = pick_entity(self)
	local id = self.ledger:new_id()
	local user, contact, old = pick_contact(self, host, id)
	if not stream or not user then
		return false
	end
	local item, attributes, groups = new_item(old, id)
	enter(self, id, item and "roster set" or "roster remove", entity, stream, host, function(grant)
		if not covers(grant.roster, "set") then
			return { refused(entity, stream, host, "forbidden") }
		elseif not item and not old then
			return { refused(entity, stream, host, "item-not-found") }
		end
		return {
			changed(
				self,
				part(entity, "result", stream),
				user,
				contact,
				item,
				not item and farewell(self, old),
				{ [host .. " " .. entity.jid .. " roster_sets"] = 1 }
			),
		}
	end)
	stream:send(("<iq type='set' id='%s' to='%s' from='%s'>%s"):format(id, user.jid, stream.jid, set_text(contact, attributes, groups)))
end

--- A user changes their own.
function roster_acts.user_roster_set(self)
	local id = self.ledger:new_id()
	local user, contact, old = pick_contact(self, pick { "capulet.lit", "capulet.lit", "montague.lit" }, id)
	local stream = user and user.streams[1]
	if not stream then
		return false
	end
	local item, attributes, groups = new_item(old, id, true)
	self.ledger:enter(id, {
		kind = item and "user's roster set" or "user's roster remove",
		by = user,
		stream = stream,
		predict = function(act)
			local outcomes = { act.lost and { parts = {} } or nil }
			if item or old then
				table.insert(outcomes, changed(self, part(user, "result", stream), user, contact, item, not item and farewell(self, old)))
			else
				table.insert(outcomes, { parts = { part(user, "error item-not-found", stream) } })
			end
			return outcomes
		end,
	})
	stream:send(
		("<iq type='set' id='%s'>%s"):format(
			id,
			set_text(contact, item and attributes:gsub(" subscription='%w+'", "") or attributes, groups)
		)
	)
end

--- A user asks for a subscription to a contact, or the contact grants what was asked for.
function roster_acts.subscription(self)
	local id = self.ledger:new_id()
	local user, contact, old = pick_contact(self, "capulet.lit", id)
	local stream, gateway = user and user.streams[1], self.gateway.streams[1]
	if not stream or not gateway or self.gateway.restless then
		return false
	end
	local item, told = { subscription = "none", groups = {} }, nil
	for key, value in pairs(old or {}) do
		item[key] = value
	end
	if item.ask then
		item.ask, item.subscription = nil, item.subscription == "from" and "both" or "to"
	elseif item.subscription == "none" or item.subscription == "from" then
		item.ask, told = "subscribe", { "subscribe" }
	else
		return false
	end
	self.ledger:enter(id, {
		kind = told and "subscription asked for" or "subscription granted",
		by = told and user or self.gateway,
		stream = told and stream or gateway,
		predict = function(act)
			return { changed(self, nil, user, contact, item, told), act.lost and { parts = {} } or nil }
		end,
	})
	if told then
		stream:send(("<presence type='subscribe' to='%s'/>"):format(contact))
	else
		gateway:send(("<presence type='subscribed' from='%s' to='%s'/>"):format(contact, user.jid))
	end
end

--- An entity asks for a roster.
function roster_acts.roster_get(self)
	local entity, stream, host = pick_entity(self)
	if not stream then
		return false
	end
	local id, user = self.ledger:new_id(), pick(self.users[host])
	enter(self, id, "roster get", entity, stream, host, function(grant)
		if not covers(grant.roster, "get") then
			return { refused(entity, stream, host, "forbidden") }
		end
		return { { parts = { part(entity, "result", stream) }, counts = { [host .. " " .. entity.jid .. " roster_gets"] = 1 } } }
	end)
	stream:send(("<iq type='get' id='%s' to='%s' from='%s'>%s"):format(id, user.jid, stream.jid, query ""))
end

-- Sets that change nothing
local wrong_sets = {
	{ "not-allowed", "u1@capulet.lit", "<item jid='u1@capulet.lit'/>" },
	{ "bad-request", "u1@capulet.lit", "<item jid='l1@irc.lit/x'/>" },
	{ "bad-request", "u1@capulet.lit", "<item jid='l1@irc.lit'/><item jid='l2@irc.lit'/>" },
	{ "item-not-found", "nobody@capulet.lit", "<item jid='l1@irc.lit'/>" },
	{ "item-not-found", "u1@capulet.lit", "<item jid='never@irc.lit' subscription='remove'/>" },
}

--- An entity sends a set that has to be refused.
function roster_acts.refused_roster_set(self)
	local entity, stream, host = pick_entity(self)
	if not stream or host ~= "capulet.lit" then
		return false
	end
	local id, wrong = self.ledger:new_id(), pick(wrong_sets)
	enter(self, id, "refused roster set", entity, stream, host, function(grant)
		return { refused(entity, stream, host, covers(grant.roster, "set") and wrong[1] or "forbidden") }
	end)
	stream:send(("<iq type='set' id='%s' to='%s' from='%s'>%s"):format(id, wrong[2], stream.jid, query(wrong[3])))
end

return roster_acts
