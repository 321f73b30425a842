-- Lets many users and entities do all they can at one server, in rounds with many acts under way at a time, and holds
-- what came of it against what had to. Everybody comes at the beginning of a chapter and leaves at its end.
--
-- In a round some are restless: they may come and go. What the others get is known exactly.

local acts = require "spec.support.soak.acts";
local presences = require "spec.support.presences";
local roster_acts = require "spec.support.soak.roster_acts";
local socket = require "socket";
local world = require "spec.support.soak.world";

local soak = {};
local pick = world.pick;

local act_list = acts.list;
for name, act in pairs(roster_acts) do
	act_list[name] = act;
end

-- In a chapter
local least_rounds = 3;

-- How often what is done
local weights = {
	message = 30, iq = 15, roster_set = 15, roster_get = 8, presence = 12, contact_presence = 4, user_roster_set = 6,
	subscription = 6, refused_message = 2, refused_iq = 1, refused_roster_set = 1,
};
local lots = {};
for name, weight in pairs(weights) do
	for _ = 1, weight do
		table.insert(lots, name);
	end
end
table.sort(lots);

local function wait(what, condition)
	local deadline = socket.gettime() + 10;
	while true do
		local done, state = condition();
		if done then
			return;
		elseif socket.gettime() > deadline then
			error(("%s did not come: %s"):format(what, tostring(state)), 0);
		end
		socket.sleep(0.002);
	end
end

local function everybody(self)
	local all = {};
	for _, host in ipairs { "capulet.lit", "montague.lit" } do
		for _, user in ipairs(self.users[host]) do
			table.insert(all, user);
		end
	end
	for _, entity in ipairs(self.entities) do
		table.insert(all, entity);
	end
	return all;
end

local function each_stream(self, visit)
	for _, owner in ipairs(everybody(self)) do
		for _, stream in ipairs { table.unpack(owner.streams) } do
			visit(stream, owner);
		end
	end
end

-- Reads what has come so far
local function read(self)
	local count = 0;
	each_stream(self, function (stream)
		count = count + self:receive(stream);
		if stream.closed then
			error(stream.jid .. " lost its connection: " .. tostring(stream.error), 0);
		end
	end);
	return count;
end

-- Lets the server do all that it has been asked to, and reads all that came of it
local function settle(self)
	repeat
		each_stream(self, function (stream)
			stream:sync();
		end);
	until read(self) == 0;
end

-- Waits until the server knows who is there, and has told entities what they may see
local function await_presence(self)
	local names = {};
	each_stream(self, function (stream)
		table.insert(names, stream.jid);
	end);
	table.sort(names);
	local expected = table.concat(names, " ");
	wait("everybody", function ()
		local connected = self:inside "connected";
		return connected and table.concat(connected, " ") == expected, connected and table.concat(connected, " ") or "an entity is being told presences";
	end);
end

-- Tells a grant as grants.describe tells an advertisement
local function describe(grant)
	local parts = {};
	if grant and grant.roster then
		parts[1] = ("roster=%s push=%s"):format(grant.roster, tostring(world.hears_pushes(grant) or false));
	end
	for _, name in ipairs { "message", "presence" } do
		table.insert(parts, grant and grant[name] and name .. "=" .. grant[name] or nil);
	end
	local namespaces = {};
	for namespace, access in pairs(grant and grant.iq or {}) do
		table.insert(namespaces, ("iq(%s)=%s"):format(namespace, access));
	end
	table.sort(namespaces);
	table.insert(parts, namespaces[1] and table.concat(namespaces, " ") or nil);
	return table.concat(parts, " ");
end

-- The presences that an entity has to have heard by now
local function visible(self, entity)
	local seen = {};
	for host, grant in pairs(entity.grants) do
		for from, status in pairs(self.status) do
			local bare, from_host = from:match "^([^/]+@([^/]+))/";
			local hears = from_host == host and world.hears_presences(grant) or from_host ~= host and world.hears_contacts(grant) and bare ~= "romeo@montague.lit";
			if hears and bare ~= entity.jid then
				seen[from] = status;
			end
		end
	end
	return seen;
end

-- What is different between what a stream has heard and what it has to
local function missing_presence(self, stream)
	local seen = visible(self, stream.owner);
	for from, known in pairs(stream.presences) do
		if world.hears_presences(stream.owner.grants[known.host]) and seen[from] ~= known.status then
			return ("%s knows presence %s of %s instead of %s"):format(stream.jid, tostring(known.status), from, tostring(seen[from]));
		end
	end
	for from, status in pairs(seen) do
		if not stream.presences[from] and (self.gateway.streams[1] or not from:find("@irc.lit/", 1, true)) then
			return ("%s does not know presence %d of %s"):format(stream.jid, status, from);
		end
	end
end

-- Entities know what they are granted, and see who is there
local function check_entities(self)
	wait("a presence", function ()
		settle(self);
		local missing;
		for _, entity in ipairs(self.entities) do
			for _, stream in ipairs(entity.streams) do
				missing = missing or missing_presence(self, stream);
			end
		end
		return not missing, missing;
	end);
	for _, entity in ipairs(self.entities) do
		for _, stream in ipairs(entity.streams) do
			for host, grant in pairs(entity.grants) do
				local told, granted = stream.told[host] or "", describe(grant);
				if told ~= granted then
					error(("%s was told by %s that it has %q instead of %q"):format(stream.jid, host, told, granted), 0);
				end
			end
		end
	end
end

-- Finds out what became of roster sets that nobody was told of
local function look_up(self, unknown)
	local stored = {};
	for _, act in ipairs(unknown) do
		local user, contact = nil, nil;
		for _, outcome in ipairs(act.explaining) do
			user, contact = outcome.user or user, outcome.contact or contact;
		end
		if user then
			stored[user.host] = stored[user.host] or self:inside("rosters", user.host);
			local item = stored[user.host][user.jid:match "^[^@]+"][contact];
			local now, possible = world.line(contact, item), { [world.line(contact, user.roster[contact])] = true };
			for _, outcome in ipairs(act.explaining) do
				possible[outcome.apply and world.line(contact, outcome.item) or ""] = true;
			end
			if not possible[now] then
				error(("The roster of %s has %q after %s"):format(user.jid, now, act.kind), 0);
			end
			user.roster[contact] = item;
		end
	end
end

local function come(self, owner)
	self:connect(owner);
	if owner == self.gateway then
		self:contact_presences();
	end
end

-- Lets a restless user or entity come or go
local function move(self, owner)
	local stream = owner.streams[1] and pick(owner.streams);
	if stream and (math.random() < 0.5 or #owner.streams == (owner.user and 3 or 1)) then
		self:disconnect(stream, self.cuts and math.random() < 0.6);
	else
		come(self, owner);
	end
end

-- Changes what an entity is granted; where it is a restless one, while it is told what there is to see
local function regrant(self)
	local entity = pick(self.entities);
	if entity.restless then
		move(self, entity);
	end
	self:regrant(entity);
	if math.random() < 0.3 then
		self:regrant(entity);
	end
end

-- One round: a number of acts that are under way at the same time
local function round(self, count)
	self.restless, self.touched = {}, {};
	for _, owner in ipairs(everybody(self)) do
		owner.restless = math.random() < 0.12;
		table.insert(self.restless, owner.restless and owner or nil);
	end
	local reload_at = count > 0 and math.random() < 0.5 and math.random(count);
	for i = 1, count do
		act_list[pick(lots)](self);
		if i % 10 == 0 then
			if self.restless[1] then
				move(self, pick(self.restless));
			end
			read(self);
		end
		if i == reload_at then
			-- Not at the end of a chapter: what is left of the old one takes memory for a second
			if math.random() < 0.8 or not self.patient then
				regrant(self);
			else
				self:reload_module();
			end
		end
	end
	settle(self);
	await_presence(self);
	check_entities(self);
	local waiting, unknown = self.ledger:close();
	look_up(self, unknown);
	for _, owner in ipairs(everybody(self)) do
		owner.restless, owner.in_flux = nil, nil;
		for host, grant in pairs(owner.grants or {}) do
			owner.before[host] = grant;
		end
	end
	self.figures.rounds = self.figures.rounds + 1;
	return waiting;
end

local function roster_text(roster)
	local lines = {};
	for contact, item in pairs(roster or {}) do
		table.insert(lines, world.line(contact, item));
	end
	table.sort(lines);
	return table.concat(lines, "\n");
end

local function check_rosters(self)
	for host, users in pairs(self.users) do
		local stored = self:inside("rosters", host);
		for _, user in ipairs(users) do
			local expected, found = roster_text(user.roster), roster_text(stored[user.jid:match "^[^@]+"]);
			if expected ~= found then
				error(("The roster of %s is\n%s\ninstead of\n%s"):format(user.jid, found, expected), 0);
			end
		end
	end
end

-- What the server counted has to be what was done and what arrived, and the log has to have all that was done
local function check_counts(self)
	local counted, tallies, logged = self:inside "counts", self.ledger.tallies, 0;
	self.ledger.tallies = {};
	for key in pairs(tallies) do
		counted[key] = counted[key] or 0;
	end
	for key, count in pairs(counted) do
		local tally, act = tallies[key] or { 0, 0 }, key:match "%S+$";
		local may_be_lost = (act == "presences" or act == "pushes") and self.cut[key:match " (%S+) "];
		if count < tally[1] or count > tally[2] and not may_be_lost then
			error(("The server counted %d %s, and there were %d to %d"):format(count, key, tally[1], tally[2]), 0);
		end
		if act == "messages" or act == "iqs" or act == "roster_sets" then
			logged = logged + count;
		end
	end
	local lines = 0;
	for line in self.server:take_log():gmatch "[^\n]+" do
		if line:find " as %S+ to %S+, id " or line:find " contact %S+ .* the roster of %S+, id " then
			lines = lines + 1;
		end
	end
	if lines ~= logged then
		error(("The log has %d acts, and the server counted %d"):format(lines, logged), 0);
	end
end

local function arrive(self)
	for _, owner in ipairs(everybody(self)) do
		for _ = 1, owner.user and math.random(0, 2) or 1 do
			come(self, owner);
		end
	end
	return round(self, 0);
end

-- Components come in a hurry, each before the server has noticed that the one before is gone
local function hurry(self)
	for _, entity in ipairs(self.entities) do
		for _ = 1, entity.user and 0 or 30 do
			self:disconnect(self:connect(entity), true);
		end
	end
	await_presence(self);
end

local function leave(self)
	if not self.gateway.streams[1] then
		come(self, self.gateway);
		check_entities(self);
	end
	self:contact_presences(true);
	settle(self);
	self.ledger:close();
	-- Users first, so that entities hear of it
	for _, is_entity in ipairs { false, true } do
		each_stream(self, function (stream, owner)
			if (owner.grants ~= nil) == is_entity then
				owner.restless = true;
				self:disconnect(stream, math.random() < 0.5);
			end
		end);
		await_presence(self);
		settle(self);
	end
	hurry(self);
	look_up(self, (select(2, self.ledger:close())));
end

--- Starts the server.
soak.start = world.start;

-- Tables of the module that hold something when nobody is there: what it is made of, and what the configuration says
local constants = {
	"access_choices", "message_choices", "presence_choices", "known_options", "settable_subscriptions", "refusals", "titles";
	"options", "measures", "watched", "receivers", "by_jid", "by_jid.*", "by_jid.*.permissions", "by_jid.*.permissions.iq", "by_jid.*.counts";
	-- no more than there are contacts and users: who was probed, and who was online when an entity was first to see contacts
	"probed", "earlier_users";
};
local may_hold = {};
for _, path in ipairs(constants) do
	may_hold[path] = true;
end

-- What is forgotten later: refusals are counted for a second, probes sent at some rate
local fades = { left_out = true, to_probe = true, ["to_probe.*"] = true };

-- The module has forgotten all who were there
local function check_emptiness(self)
	wait("emptiness", function ()
		local fading;
		for host in pairs(self.users) do
			for path, entries in pairs(self:inside("tables", host)) do
				if entries > 0 and not may_hold[path] and not path:find "^refusals%." then
					fading = ("%s on %s has %d entries"):format(path, host, entries);
					if not fades[path] then
						error("When everybody has left, " .. fading, 0);
					end
				end
			end
		end
		return not fading, fading;
	end);
end

--- Lets everybody come, be busy for a while, and leave; and looks at what is left.
-- @param self what start returned
-- @param seconds how long, beside some rounds that there are in any case
-- @return the memory in KiB
function soak.chapter(self, seconds)
	local deadline = socket.gettime() + seconds;
	self.cuts, self.cut = math.random() < 0.5, {};
	local is_hasty = math.random() < 0.5;
	arrive(self);
	local waiting;
	local rounds = 0;
	repeat
		rounds = rounds + 1;
		-- Only then iqs are sent that wait for a time-out
		self.patient = rounds < least_rounds or socket.gettime() < deadline;
		waiting = round(self, 250);
	until not self.patient and (waiting == 0 or is_hasty);
	leave(self);
	check_rosters(self);
	check_counts(self);
	self:grant_anew();
	self:inside("pass", 601);
	-- The module's timers are as long as that; they keep what they need
	presences.settle(self.server, 1.1);
	check_emptiness(self);
	self:inside "run_timers";
	presences.settle(self.server, 0.05);
	return self:inside "memory";
end

return soak;
