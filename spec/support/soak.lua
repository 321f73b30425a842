-- Lets many users and entities do all they can at one server, in rounds with many acts under way at a time, and holds
-- what came of it against what had to. Everybody comes at the beginning of a chapter and leaves at its end.
--
-- In a round some are restless: they may come and go. What the others get is known exactly.

local acts = require "spec.support.soak.acts"
local checks = require "spec.support.soak.checks"
local presences = require "spec.support.presences"
local roster_acts = require "spec.support.soak.roster_acts"
local settle = require "spec.support.soak.settle"
local socket = require "socket"
local world = require "spec.support.soak.world"

local soak = {}
local pick = world.pick

local act_list = acts.list
for name, act in pairs(roster_acts) do
	act_list[name] = act
end

-- In a chapter
local least_rounds = 3

-- How often what is done
local weights = {
	message = 30,
	iq = 15,
	roster_set = 15,
	roster_get = 8,
	presence = 12,
	contact_presence = 4,
	user_roster_set = 6,
	subscription = 6,
	refused_message = 2,
	refused_iq = 1,
	refused_roster_set = 1,
}
local lots = {}
for name, weight in pairs(weights) do
	for _ = 1, weight do
		table.insert(lots, name)
	end
end
table.sort(lots)

local function come(self, owner)
	self:connect(owner)
	if owner == self.gateway then
		self:contact_presences()
	end
end

-- Lets a restless user or entity come or go
local function move(self, owner)
	local stream = owner.streams[1] and pick(owner.streams)
	if stream and (math.random() < 0.5 or #owner.streams == owner.most_streams) then
		self:disconnect(stream, self.cuts and math.random() < 0.6)
	else
		come(self, owner)
	end
end

-- Changes what an entity is granted; where it is a restless one, while it is told what there is to see
local function regrant(self)
	local entity = pick(self.entities)
	if entity.restless then
		move(self, entity)
	end
	self:regrant(entity)
	if math.random() < 0.3 then
		self:regrant(entity)
	end
end

-- One round: a number of acts that are under way at the same time
local function round(self, count)
	self.restless, self.touched = {}, {}
	for _, owner in ipairs(settle.everybody(self)) do
		owner.restless = math.random() < 0.12
		table.insert(self.restless, owner.restless and owner or nil)
	end
	local reload_at = count > 0 and math.random() < 0.5 and math.random(count)
	for i = 1, count do
		act_list[pick(lots)](self)
		if i % 10 == 0 then
			if self.restless[1] then
				move(self, pick(self.restless))
			end
			settle.read(self)
		end
		if i == reload_at then
			-- Not at the end of a chapter: what is left of the old one takes memory for a second
			if math.random() < 0.8 or not self.patient then
				regrant(self)
			else
				self:reload_module()
			end
		end
	end
	settle.all(self)
	settle.await_presence(self)
	checks.entities(self)
	local waiting, unknown = self.ledger:close()
	checks.look_up(self, unknown)
	for _, owner in ipairs(settle.everybody(self)) do
		owner.restless, owner.in_flux = nil, nil
		for host, grant in pairs(owner.grants or {}) do
			owner.before[host] = grant
		end
	end
	self.figures.rounds = self.figures.rounds + 1
	return waiting
end

local function arrive(self)
	for _, owner in ipairs(settle.everybody(self)) do
		for _ = 1, owner.user and math.min(math.random(0, 2), owner.most_streams) or 1 do
			come(self, owner)
		end
	end
	return round(self, 0)
end

-- Components come in a hurry, each before the server has noticed that the one before is gone
local function hurry(self)
	for _, entity in ipairs(self.entities) do
		for _ = 1, entity.user and 0 or 30 do
			self:disconnect(self:connect(entity), true)
		end
	end
	settle.await_presence(self)
end

local function leave(self)
	if not self.gateway.streams[1] then
		come(self, self.gateway)
		checks.entities(self)
	end
	self:contact_presences(true)
	settle.all(self)
	self.ledger:close()
	-- Users first, so that entities hear of it
	for _, is_entity in ipairs { false, true } do
		settle.each_stream(self, function(stream, owner)
			if (owner.grants ~= nil) == is_entity then
				owner.restless = true
				self:disconnect(stream, math.random() < 0.5)
			end
		end)
		settle.await_presence(self)
		settle.all(self)
	end
	hurry(self)
	checks.look_up(self, (select(2, self.ledger:close())))
end

--- Starts the server.
soak.start = world.start

--- Lets everybody come, be busy for a while, and leave; and looks at what is left.
-- @param self what start returned
-- @param seconds how long, beside some rounds that there are in any case
-- @return the memory in KiB
function soak.chapter(self, seconds)
	local deadline = socket.gettime() + seconds
	self.cuts, self.cut = math.random() < 0.5, {}
	local is_hasty = math.random() < 0.5
	arrive(self)
	local waiting
	local rounds = 0
	repeat
		rounds = rounds + 1
		-- Only then iqs are sent that wait for a time-out
		self.patient = rounds < least_rounds or socket.gettime() < deadline
		waiting = round(self, 250)
	until not self.patient and (waiting == 0 or is_hasty)
	leave(self)
	self:inside("pass", 601)
	checks.emptiness(self)
	checks.rosters(self)
	checks.counts(self)
	self:grant_anew()
	-- The module's timers are as long as that; they keep what they need
	presences.settle(self.server, 1.1)
	checks.emptiness(self, true)
	self:inside "run_timers"
	presences.settle(self.server, 0.05)
	return self:inside "memory"
end

return soak
