-- Two hosts and their entities, and all that entities do: for the specs of what counts, measures and logs that.

local prosody = require "spec.support.prosody"
local presences = require "spec.support.presences"
local privileged = require "spec.support.privileged"

local acts = {}

local juliet, contact = "juliet@capulet.lit", "friar@verona.lit"

--- The configuration; in the first place there is room for more options of the first host.
acts.config = [[
VirtualHost "capulet.lit"
	%s
	privileged_entities = {
		["gateway.capulet.lit"] = { roster = "both"; roster_push = false; message = "outgoing"; iq = { ["urn:xmpp:ping"] = "get" } };
		["watcher.lit"] = { roster = "get"; presence = "roster" };
		["romeo@montague.lit"] = { message = "outgoing" };
	}
VirtualHost "montague.lit"
	privileged_entities = { ["gateway.capulet.lit"] = { message = "outgoing" } }
Component "gateway.capulet.lit"
	component_secret = "secret"
Component "watcher.lit"
	component_secret = "secret"
]]

--- Starts the server.
-- @param options more options of prosody.start
-- @return the server
function acts.start(options)
	options.config = options.config or acts.config:format ""
	options.users = { juliet, "nurse@montague.lit", "romeo@montague.lit" }
	options.rosters = {
		[juliet] = { ["nurse@montague.lit"] = { subscription = "both" } },
		["nurse@montague.lit"] = { [juliet] = { subscription = "both" } },
	}
	return prosody.start(options)
end

--- Connects everybody but Romeo.
-- @param server the server
-- @return a table of streams: gateway, watcher, juliet, nurse
function acts.connect(server)
	local streams = {
		gateway = server:component "gateway.capulet.lit",
		watcher = server:component "watcher.lit",
		juliet = server:client(juliet .. "/balcony"),
		nurse = server:client "nurse@montague.lit/kitchen",
	}
	presences.settle(server)
	return streams
end

local last_id = 0
local function new_id()
	last_id = last_id + 1
	return "act-" .. last_id
end

--- Sends a message in Juliet's name to Juliet, or what else is told.
-- @param stream the entity's stream
-- @param inner attributes and content of the message
-- @param host the host that is to send it, default Juliet's
function acts.message(stream, inner, host)
	local attr = { from = juliet, to = juliet .. "/balcony", id = new_id() }
	for key, value in pairs(inner or {}) do
		attr[key] = value
	end
	privileged.send(stream, attr, { to = host or "capulet.lit" })
	stream:sync()
end

--- Pings Juliet's server in her name.
-- @param stream the entity's stream
-- @param id the inner iq's id
function acts.iq(stream, id)
	privileged.ask(stream, { id = id, to = "capulet.lit", "<ping xmlns='urn:xmpp:ping'/>" })
	stream:sync()
end

--- Changes Juliet's roster.
-- @param stream the entity's stream
-- @param attr attributes of the item, as XML text
-- @param id the iq's id
function acts.roster_set(stream, attr, id)
	return stream:iq {
		type = "set",
		to = juliet,
		id = id,
		("<query xmlns='jabber:iq:roster'><item jid='%s' %s/></query>"):format(contact, attr or ""),
	}
end

local shows = { "away", "chat", "dnd", "xa" }
local function change_presence(stream)
	table.insert(shows, table.remove(shows, 1))
	stream:send(("<presence><show>%s</show></presence>"):format(shows[1])):sync()
end

--- What entities do: what it is, a function that does it with the streams, and what that counts as,
-- a list of texts of host, entity and act, one for each time.
acts.list = {
	{
		"sends a message",
		function(streams)
			acts.message(streams.gateway)
		end,
		{ "capulet.lit gateway.capulet.lit messages" },
	},
	{
		"sends a message of another host",
		function(streams)
			acts.message(streams.gateway, { from = "romeo@montague.lit" }, "montague.lit")
		end,
		{ "montague.lit gateway.capulet.lit messages" },
	},
	{
		"sends an iq",
		function(streams)
			acts.iq(streams.gateway)
		end,
		{ "capulet.lit gateway.capulet.lit iqs" },
	},
	{
		"gets a roster",
		function(streams)
			streams.watcher:iq { type = "get", to = juliet, "<query xmlns='jabber:iq:roster'/>" }
		end,
		{ "capulet.lit watcher.lit roster_gets" },
	},
	{
		"sets and removes a roster item, which is pushed to another",
		function(streams)
			acts.roster_set(streams.gateway, "name='" .. new_id() .. "'")
			acts.roster_set(streams.gateway, "subscription='remove'")
		end,
		{
			"capulet.lit gateway.capulet.lit roster_sets",
			"capulet.lit gateway.capulet.lit roster_sets",
			"capulet.lit watcher.lit pushes",
			"capulet.lit watcher.lit pushes",
		},
	},
	{
		"is pushed what a user changes",
		function(streams)
			streams.juliet:iq {
				type = "set",
				"<query xmlns='jabber:iq:roster'><item jid='friar@verona.lit' name='" .. new_id() .. "'/></query>",
			}
		end,
		{ "capulet.lit watcher.lit pushes" },
	},
	{
		"gets a user's presence",
		function(streams)
			change_presence(streams.juliet)
		end,
		{ "capulet.lit watcher.lit presences" },
	},
	{
		"gets a contact's presence",
		function(streams)
			change_presence(streams.nurse)
		end,
		{ "capulet.lit watcher.lit presences" },
	},
	{
		"is refused a message",
		function(streams)
			acts.message(streams.gateway, { from = "tybalt@capulet.lit" })
		end,
		{ "capulet.lit gateway.capulet.lit refusals" },
	},
	{
		"is refused an iq",
		function(streams)
			privileged.ask(streams.watcher, { to = "capulet.lit", "<ping xmlns='urn:xmpp:ping'/>" })
		end,
		{ "capulet.lit watcher.lit refusals" },
	},
	{
		"is refused a change of a roster",
		function(streams)
			acts.roster_set(streams.watcher)
		end,
		{ "capulet.lit watcher.lit refusals" },
	},
}

--- Does something twice, and looks at what that is counted as.
-- @param streams what connect has returned
-- @param act one of the list
-- @param count function that returns all counts, by text as in the list
-- @param form function that turns the texts of the list into those of count, default none
-- @return what was counted and what has to be
function acts.counted(streams, act, count, form)
	local before, growth, expected = count(), {}, {}
	for _ = 1, 2 do
		act[2](streams)
		for _, what in ipairs(act[3]) do
			what = form and form(what) or what
			expected[what] = (expected[what] or 0) + 1
		end
	end
	streams.gateway:sync()
	for what, number in pairs(count()) do
		if number ~= before[what] then
			growth[what] = number - (before[what] or 0)
		end
	end
	return growth, expected
end

return acts
