-- What has to be so at the end of a round of a soak, and when everybody has left.

local settle = require "spec.support.soak.settle"
local world = require "spec.support.soak.world"

local checks = {}

-- Tells a grant as grants.describe tells an advertisement
local function describe(grant)
	local parts = {}
	if grant and grant.roster then
		parts[1] = ("roster=%s push=%s"):format(grant.roster, tostring(world.hears_pushes(grant) or false))
	end
	for _, name in ipairs { "message", "presence" } do
		table.insert(parts, grant and grant[name] and name .. "=" .. grant[name] or nil)
	end
	local namespaces = {}
	for namespace, access in pairs(grant and grant.iq or {}) do
		table.insert(namespaces, ("iq(%s)=%s"):format(namespace, access))
	end
	table.sort(namespaces)
	table.insert(parts, namespaces[1] and table.concat(namespaces, " ") or nil)
	return table.concat(parts, " ")
end

-- The presences that an entity has to have heard by now
local function visible(self, entity)
	local seen = {}
	for host, grant in pairs(entity.grants) do
		for from, status in pairs(self.status) do
			local bare, from_host = from:match "^([^/]+@([^/]+))/"
			local hears = from_host == host and world.hears_presences(grant)
				or from_host ~= host and world.hears_contacts(grant) and bare ~= "romeo@montague.lit"
			if hears and bare ~= entity.jid then
				seen[from] = status
			end
		end
	end
	return seen
end

-- What is different between what a stream has heard and what it has to
local function missing_presence(self, stream)
	local seen = visible(self, stream.owner)
	for from, known in pairs(stream.presences) do
		if world.hears_presences(stream.owner.grants[known.host]) and seen[from] ~= known.status then
			return ("%s knows presence %s of %s instead of %s"):format(stream.jid, tostring(known.status), from, tostring(seen[from]))
		end
	end
	for from, status in pairs(seen) do
		if not stream.presences[from] and (self.gateway.streams[1] or not from:find("@irc.lit/", 1, true)) then
			return ("%s does not know presence %d of %s"):format(stream.jid, status, from)
		end
	end
end

--- Entities know what they are granted, and see who is there
function checks.entities(self)
	settle.wait("a presence", function()
		settle.all(self)
		local missing
		for _, entity in ipairs(self.entities) do
			for _, stream in ipairs(entity.streams) do
				missing = missing or missing_presence(self, stream)
			end
		end
		return not missing, missing
	end)
	for _, entity in ipairs(self.entities) do
		for _, stream in ipairs(entity.streams) do
			for host, grant in pairs(entity.grants) do
				local told, granted = stream.told[host] or "", describe(grant)
				if told ~= granted then
					error(("%s was told by %s that it has %q instead of %q"):format(stream.jid, host, told, granted), 0)
				end
			end
		end
	end
end

--- Finds out what became of roster sets that nobody was told of
function checks.look_up(self, unknown)
	local stored = {}
	for _, act in ipairs(unknown) do
		local user, contact = nil, nil
		for _, outcome in ipairs(act.explaining) do
			user, contact = outcome.user or user, outcome.contact or contact
		end
		if user then
			stored[user.host] = stored[user.host] or self:inside("rosters", user.host)
			local item = stored[user.host][user.jid:match "^[^@]+"][contact]
			local now, possible = world.line(contact, item), { [world.line(contact, user.roster[contact])] = true }
			for _, outcome in ipairs(act.explaining) do
				possible[outcome.apply and world.line(contact, outcome.item) or ""] = true
			end
			if not possible[now] then
				error(("The roster of %s has %q after %s"):format(user.jid, now, act.kind), 0)
			end
			user.roster[contact] = item
		end
	end
end

local function roster_text(roster)
	local lines = {}
	for contact, item in pairs(roster or {}) do
		table.insert(lines, world.line(contact, item))
	end
	table.sort(lines)
	return table.concat(lines, "\n")
end

--- Rosters are stored as the changes have made them.
function checks.rosters(self)
	for host, users in pairs(self.users) do
		local stored = self:inside("rosters", host)
		for _, user in ipairs(users) do
			local expected, found = roster_text(user.roster), roster_text(stored[user.jid:match "^[^@]+"])
			if expected ~= found then
				error(("The roster of %s is\n%s\ninstead of\n%s"):format(user.jid, found, expected), 0)
			end
		end
	end
end

--- What the server counted has to be what was done and what arrived, and the log has to have all that was done
function checks.counts(self)
	local counted, tallies, logged = self:inside "counts", self.ledger.tallies, 0
	self.ledger.tallies = {}
	for key in pairs(tallies) do
		counted[key] = counted[key] or 0
	end
	for key, count in pairs(counted) do
		local tally, act = tallies[key] or { 0, 0 }, key:match "%S+$"
		local may_be_lost = (act == "presences" or act == "pushes") and self.cut[key:match " (%S+) "]
		if count < tally[1] or count > tally[2] and not may_be_lost then
			error(("The server counted %d %s, and there were %d to %d"):format(count, key, tally[1], tally[2]), 0)
		end
		if act == "messages" or act == "iqs" or act == "roster_sets" then
			logged = logged + count
		end
	end
	local lines = 0
	for line in self.server:take_log():gmatch "[^\n]+" do
		if line:find " as %S+ to %S+, id " or line:find " contact %S+ .* the roster of %S+, id " then
			lines = lines + 1
		end
	end
	if lines ~= logged then
		error(("The log has %d acts, and the server counted %d"):format(lines, logged), 0)
	end
end

-- Tables of the module that hold something when nobody is there: what it is made of, and what the configuration says
local constants = {
	"option_types",
	"metric_help",
	"families",
	"access_choices",
	"message_choices",
	"presence_choices",
	"known_options",
	"coverage_choices",
	"settable_subscriptions",
	"refusals",
	"titles",
	"service",
	"service.options",
	"service.store",
	"store",
	"served_hosts.*",
	"options",
	"measures",
	"unreachable",
	"watched",
	"receivers_by_kind",
	"by_jid",
	"by_jid.*",
	"by_jid.*.permissions",
	"by_jid.*.permissions.iq",
	"by_jid.*.counts",
	"metrics",
	"metrics.*",
	"metrics.permissions",
	"metrics.permissions.iq",
	"metrics.counts",
	-- no more than there are contacts: what was answered in the last hours, what was asked in the last minute (`values`)
	"answered",
	"answered.*",
	"answered_before",
	"answered_before.*",
	"earlier",
	"values",
	"values.*",
	"values.*.others",
	"unanswered",
	"unanswered.*",
	"unanswered.*.others",
	-- by the presences of clients, weakly: as long as Prosody has these
	"kept",
}
local may_hold = {}
for _, path in ipairs(constants) do
	may_hold[path] = true
end

-- What is forgotten later: refusals are counted for a second, probes sent at some rate, and long work is done in slices
local fades = {}
for _, path in ipairs { "suppressed", "suppressed.*", "queued", "queued.*", "works_by_timer" } do
	fades[path] = true
end

--- The module has forgotten all who were there.
-- @param waits whether to wait for what fades, too
function checks.emptiness(self, waits)
	settle.wait("emptiness", function()
		local fading
		for host in pairs(self.users) do
			for path, entries in pairs(self:inside("tables", host)) do
				if entries > 0 and not may_hold[path:match "^kept" or path] and not path:find "^refusals%." then
					fading = ("%s on %s has %d entries"):format(path, host, entries)
					if not fades[path] then
						error("When everybody has left, " .. fading, 0)
					end
				end
			end
		end
		return not fading or not waits, fading
	end)
end

return checks
