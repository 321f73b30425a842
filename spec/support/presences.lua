-- What the specs of presence have in common: reading what a stream got, waiting for catch-ups, and contacts on another server.

local prosody = require "spec.support.prosody"
local socket = require "socket"

local presences = {}

--- Waits until the server has run all that was due in a while: catch-ups, which go by timers.
-- A round trip shows nothing of these. Takes that long, or as long as the server needs to look at its timers twenty times.
-- @param server the server
-- @param seconds default 0.05
function presences.settle(server, seconds)
	server:eval(([[
		local gettime = require "socket".gettime;
		local deadline, looks = gettime() + %g, 0;
		prosody.spec_settled = false;
		module:add_timer(0.0025, function ()
			looks = looks + 1;
			if looks < 20 or gettime() < deadline then
				return 0.0025;
			end
			prosody.spec_settled = true;
		end);
	]]):format(seconds or 0.05))
	local deadline = socket.gettime() + 30
	repeat
		socket.sleep(0.005)
		if socket.gettime() > deadline then
			error("The server's timers do not run", 2)
		end
	until server:eval "return prosody.spec_settled"
end

--- Describes a presence: "FROM", then "TYPE" and "SHOW" where it has them, and "to TO"
-- where that is not the stream's own address (a client's bare JID counts as its own, and no address does).
function presences.describe(stream, stanza)
	local parts = { stanza.attr.from or "nobody" }
	parts[#parts + 1] = stanza.attr.type
	parts[#parts + 1] = stanza:get_child_text "show"
	local to = stanza.attr.to
	local is_own = to == stream.jid or stream.kind == "client" and (to == nil or to == stream.jid:match "^[^/]+")
	if not is_own then
		parts[#parts + 1] = "to " .. tostring(to)
	end
	return table.concat(parts, " ")
end

--- Takes the presences that a stream got, after a round trip.
-- @param stream the stream; its other stanzas are lost
-- @return the list of their descriptions, in the order they came
function presences.taken(stream)
	local list = {}
	for _, stanza in ipairs(stream:sync():drain()) do
		if stanza.name == "presence" then
			table.insert(list, presences.describe(stream, stanza))
		end
	end
	return list
end

--- Takes the presences that a stream got, sorted, after a catch-up had its time.
-- @param stream the stream; its other stanzas are lost
-- @return the sorted list of their descriptions
function presences.caught_up(stream)
	presences.settle(stream.server)
	local list = presences.taken(stream)
	table.sort(list)
	return list
end

--- Takes presences as an entity does: the unavailable presence of a bare JID ends all resources.
-- @param list descriptions of presences, in the order they came
-- @return the sorted list of the JIDs that are available after them, with "SHOW" where they have it
function presences.believed(list)
	local available = {}
	for _, description in ipairs(list) do
		local from, rest = description:match "^(%S+)(.*)$"
		-- What is about a subscription says nothing of who is available
		if not rest:find "subscribed?$" then
			available[from] = rest ~= " unavailable" and description or nil
		end
		if rest == " unavailable" and not from:find("/", 1, true) then
			for name in pairs(available) do
				if name:sub(1, #from + 1) == from .. "/" then
					available[name] = nil
				end
			end
		end
	end
	local descriptions = {}
	for _, description in pairs(available) do
		table.insert(descriptions, description)
	end
	table.sort(descriptions)
	return descriptions
end

--- Leaves out the presences of users.
-- @param list descriptions of presences
-- @return those that are not of capulet.lit, in the same order
function presences.of_contacts(list)
	local found = {}
	for _, description in ipairs(list) do
		if not description:find("@capulet.lit", 1, true) then
			table.insert(found, description)
		end
	end
	return found
end

--- Starts the server of contacts, montague.lit. It federates, and does not have the module.
-- @param users its accounts
-- @param rosters its rosters, see prosody.start
-- @return the server
function presences.start_montague(users, rosters)
	return prosody.start {
		config = "VirtualHost 'montague.lit'",
		modules = {},
		users = users,
		rosters = rosters,
		ip = "127.0.0.2",
		s2s = true,
	}
end

--- Waits until a server has handled all that the clients of another one have sent.
-- @param client a client of that other server
-- @param host a host of the first one, default "capulet.lit"
function presences.reach(client, host)
	local answer = client:sync():iq { type = "get", to = host or "capulet.lit", "<ping xmlns='urn:xmpp:ping'/>" }
	assert(answer.attr.type == "result", tostring(answer))
end

--- Sends a presence from a made up address of montague.lit.
-- @param montague its server
-- @param from the address
-- @param to the recipient's
-- @param kind the presence's type, nil for one that is available
-- @param content XML text, default none
function presences.forge(montague, from, to, kind, content)
	montague:eval(([[
		local stanza = require "util.xml".parse(%q);
		stanza.attr.from, stanza.attr.to, stanza.attr.type = %q, %q, %s;
		prosody.core_post_stanza(prosody.hosts["montague.lit"], stanza);
	]]):format("<presence>" .. (content or "") .. "</presence>", from, to, kind and ("%q"):format(kind) or "nil"))
end

--- Lua text that slows the reading of rosters down, until prosody.spec_fail is nil. It has the most that are read before
-- anything else can be done in prosody.spec_most: counted, as that takes longer on a busy machine.
presences.slow_rosters = [[
	local before = 0;
	prosody.spec_reads, prosody.spec_most = 0, 0;
	prosody.spec_fail = { roster_get = function ()
		prosody.spec_reads = prosody.spec_reads + 1;
		require "socket".sleep(0.01);
	end };
	module:add_timer(0.001, function ()
		prosody.spec_most = math.max(prosody.spec_most, prosody.spec_reads - before);
		before = prosody.spec_reads;
		return prosody.spec_fail and 0.001 or nil;
	end);
]]

return presences
