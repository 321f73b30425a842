-- The books of a soak: what each act has to bring about, and what arrived.
--
-- An act is a table: by (who does it), stream (on which), kind, and predict, a function that returns its possible outcomes. An outcome is
-- a table: parts, a list of what has to arrive, each with its owner (who gets it), key (what it is), stream (which of the
-- owner's it has to come on; nil for any) and broadcast (the owner gets it by a permission); counts, what the server
-- has to count for it; and apply, a function that does to the model what the act did.
-- An owner who is restless may have come or gone meanwhile, and may miss what others may not.

local socket = require "socket"

local ledger = {}
local methods = {}

--- Makes empty books.
function ledger.new()
	return setmetatable(
		{ open = {}, stored = {}, last = 0, kinds = {}, tallies = {}, longest = 0, longest_wait = 0 },
		{ __index = methods }
	)
end

-- Whether something is the message that the server had kept for a user
local function take_stored(self, id, stream, key)
	local stored = self.stored[id]
	if stored and key == "message" and stream.owner == stored.owner then
		self.stored[id] = nil
		self.kinds["message kept for later"] = (self.kinds["message kept for later"] or 0) + 1
		return true
	end
end

--- Makes the id of an act; it has to be in all that comes of it.
function methods:new_id()
	self.last = self.last + 1
	return "a" .. self.last
end

--- Enters an act.
-- @param id its id
-- @param act the act; waits: it may be answered by the server's time-out
function methods:enter(id, act)
	act.id, act.at, act.got = id, socket.gettime(), {}
	self.open[id] = act
	self.kinds[act.kind] = (self.kinds[act.kind] or 0) + 1
	return act
end

--- Enters that something arrived; nothing may arrive twice, or of an act that is over.
-- @param repeats whether this does
function methods:arrived(id, stream, key, repeats)
	local act = self.open[id]
	if not act then
		if repeats or take_stored(self, id, stream, key) then
			return
		end
		error(("%s got %q of act %s, which is over or was never done"):format(stream.jid, key, tostring(id)), 0)
	end
	for _, entry in ipairs(act.got) do
		if entry.stream == stream and entry.key == key then
			if repeats then
				return
			end
			error(("%s got %q of act %s (%s) twice"):format(stream.jid, key, id, act.kind), 0)
		end
	end
	table.insert(act.got, { stream = stream, key = key })
	if stream.owner == act.by and not act.answered then
		act.answered = true
		act.took = socket.gettime() - act.at
		local time = key == "error remote-server-timeout" and "longest_wait" or "longest"
		self[time] = math.max(self[time], act.took)
	end
end

local function may_miss(act, part)
	return part.owner.restless
		or part.stream and part.stream.closed
		or part.broadcast and part.owner.in_flux
		or act.lost and part.owner == act.by
end

-- Whether an outcome explains what arrived: all that has to be is there, and nothing else
local function explains(act, outcome)
	local left = {}
	for i, entry in ipairs(act.got) do
		left[i] = entry
	end
	for _, part in ipairs(outcome.parts) do
		local found = false
		for i = #left, 1, -1 do
			local entry = left[i]
			if entry.key == part.key and (entry.stream == part.stream or not part.stream and entry.stream.owner == part.owner) then
				table.remove(left, i)
				found = true
			end
		end
		if not found and not may_miss(act, part) then
			return false
		end
	end
	return #left == 0
end

local function describe(act, outcomes)
	local lines = { ("Act %s, %s by %s%s:"):format(act.id, act.kind, act.by.jid, act.note and " (" .. act.note .. ")" or "") }
	for _, entry in ipairs(act.got) do
		table.insert(lines, ("  %s got %q"):format(entry.stream.jid, entry.key))
	end
	for i, outcome in ipairs(outcomes) do
		table.insert(lines, "  Outcome " .. i .. " needs")
		for _, part in ipairs(outcome.parts) do
			table.insert(
				lines,
				("    %q at %s%s"):format(part.key, (part.stream or part.owner).jid, may_miss(act, part) and ", or not" or "")
			)
		end
	end
	return table.concat(lines, "\n")
end

-- A message that has not arrived may have been kept by the server until the recipient comes
local function store(self, act, explaining)
	local owner = act.recipient
	if not owner or #owner.streams > 0 and not owner.restless then
		return
	end
	for _, entry in ipairs(act.got) do
		if entry.key == "message" or entry.stream.owner == act.by and entry.key ~= "sent" then
			return
		end
	end
	local sure = #explaining == 1 and explaining[1].counts ~= nil and not owner.restless
	self.stored[act.id] = { owner = owner, sure = sure, arrivals = owner.arrivals }
end

-- Who has come has got what was kept
local function close_stored(self)
	for id, stored in pairs(self.stored) do
		local owner = stored.owner
		if owner.arrivals > stored.arrivals then
			if stored.sure and not owner.restless then
				error(("%s came, and did not get message %s that had been sent before"):format(owner.jid, id), 0)
			end
			self.stored[id] = nil
		end
	end
end

-- Adds to the tallies what the server may have counted: the least and the most of the outcomes that explain what came
function methods:tally(explaining)
	local keys = {}
	for _, outcome in ipairs(explaining) do
		for key in pairs(outcome.counts or {}) do
			keys[key] = true
		end
	end
	for key in pairs(keys) do
		local least, most = math.huge, 0
		for _, outcome in ipairs(explaining) do
			local count = outcome.counts and outcome.counts[key] or 0
			least, most = math.min(least, count), math.max(most, count)
		end
		self:count(key, least, most)
	end
end

--- Adds to what the server has to have counted.
-- @param key what
-- @param least how often at least
-- @param most how often at most, default the same
function methods:count(key, least, most)
	local tally = self.tallies[key] or { 0, 0 }
	self.tallies[key] = { tally[1] + least, tally[2] + (most or least) }
end

--- Closes the acts that are over; an error is raised for one that did not end as it has to.
-- @return the number of those that wait for a time-out, and the list of the acts whose outcome is not known
function methods:close()
	local waiting, unknown = 0, {}
	close_stored(self)
	for id, act in pairs(self.open) do
		local outcomes, explaining = act.predict(act), {}
		for _, outcome in ipairs(outcomes) do
			if explains(act, outcome) then
				table.insert(explaining, outcome)
			end
		end
		if act.waits and not act.answered and not act.lost and socket.gettime() < act.at + act.waits then
			waiting = waiting + 1
		elseif not explaining[1] then
			error(describe(act, outcomes), 0)
		else
			self.open[id] = nil
			self:tally(explaining)
			store(self, act, explaining)
			if #explaining == 1 then
				if explaining[1].apply then
					explaining[1].apply()
				end
			else
				act.explaining = explaining
				table.insert(unknown, act)
			end
		end
	end
	return waiting, unknown
end

return ledger
