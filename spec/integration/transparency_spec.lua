-- B9: users, contacts and rosters do not show that there is a privileged entity.
--
-- The same is played with the module and without it, and all that everybody's clients get is compared.

local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"
local st = require "util.stanza"

local config = [[
VirtualHost "capulet.lit"
	privilege_probe_rate = 1000
	privileged_entities = {
		["pubsub.capulet.lit"] = {
			roster = "both"; message = "outgoing"; presence = "roster"; iq = { ["urn:xmpp:ping"] = "both"; ["jabber:iq:version"] = "get" };
		};
		["limited.capulet.lit"] = { presence = "managed_entity" };
		["friar@capulet.lit"] = { roster = "get"; presence = "roster" };
		["prince@verona.lit"] = { roster = "get"; presence = "roster" };
	}
VirtualHost "verona.lit"
Component "pubsub.capulet.lit" component_secret = "secret"
Component "limited.capulet.lit" component_secret = "secret"
]]

local both = { subscription = "both" }
local rosters = {
	["juliet@capulet.lit"] = {
		["mercutio@verona.lit"] = both,
		["romeo@capulet.lit"] = { subscription = "to", name = "Romeo", groups = { "Friends" } },
	},
	["romeo@capulet.lit"] = { ["juliet@capulet.lit"] = { subscription = "from" }, ["mercutio@verona.lit"] = both },
	["nurse@capulet.lit"] = { ["tybalt@verona.lit"] = both, ["mercutio@verona.lit"] = both },
	-- the server itself tells this one's presences to the entities
	["peter@capulet.lit"] = { ["pubsub.capulet.lit"] = both, ["prince@verona.lit"] = both },
	["mercutio@verona.lit"] = { ["juliet@capulet.lit"] = both, ["nurse@capulet.lit"] = both, ["romeo@capulet.lit"] = both },
	["tybalt@verona.lit"] = { ["nurse@capulet.lit"] = both },
	["prince@verona.lit"] = { ["peter@capulet.lit"] = both },
}
local users = { "friar@capulet.lit" }
for user in pairs(rosters) do
	users[#users + 1] = user
end

-- Attributes whose values are of chance or of time
local accidental = { id = true, stamp = true }

-- A stanza in a form that is the same for the same stanzas
local function canonical(element)
	if type(element) == "string" then
		return st.xml_escape(element)
	end
	local names, parts = {}, { "<", element.name }
	for name in pairs(element.attr) do
		names[#names + 1] = name
	end
	table.sort(names)
	for _, name in ipairs(names) do
		parts[#parts + 1] = (" %s='%s'"):format(name, accidental[name] and "*" or st.xml_escape(element.attr[name]))
	end
	parts[#parts + 1] = ">"
	local children = {}
	for i, child in ipairs(element) do
		children[i] = canonical(child)
	end
	table.sort(children) -- items of rosters and features come in any order
	return table.concat(parts) .. table.concat(children) .. "</" .. element.name .. ">"
end

-- What the server has saved of all rosters, versions too
local read_rosters = [[
	local load_roster, found = require "core.rostermanager".load_roster, {};
	for _, host in ipairs { "capulet.lit", "verona.lit" } do
		for username in require "core.usermanager".users(host) do
			for key, item in pairs(load_roster(username, host)) do
				local parts = { username, host, tostring(key) };
				for _, name in ipairs { "subscription", "ask", "name", "approved", "version" } do
					table.insert(parts, name .. "=" .. tostring(item[name]));
				end
				for _, name in ipairs { "groups", "pending" } do
					local names = {};
					for value in pairs(item[name] or {}) do
						table.insert(names, value);
					end
					table.sort(names);
					table.insert(parts, name .. "=" .. table.concat(names, ","));
				end
				table.insert(found, table.concat(parts, " "));
			end
		end
	end
	table.sort(found);
	return found;
]]

-- One play, with the clients and components that take part
local function new_play(modules)
	local server = prosody.start { config = config, modules = modules, users = users, rosters = rosters }
	local play = { server = server, cast = {}, entities = {}, record = {} }

	function play.client(name, jid, options)
		play.cast[name] = server:client(jid, options)
	end

	function play.entity(name, stream)
		play.entities[name] = stream
	end

	-- Sends, and lets the server do what it does before anybody else sends something
	function play.send(name, text)
		(play.cast[name] or play.entities[name]):send(text):sync()
	end

	-- Ends a stream; with a connection that is lost what was not read makes a difference to the server, so all is
	function play.leave(name, how)
		local stream = play.cast[name] or play.entities[name]
		stream:sync()
		stream[how](stream)
	end

	-- Has the entities answer what they get in the worst way
	local function answer_with_errors()
		local answered = 0
		for _, stream in pairs(play.entities) do
			for _, stanza in ipairs(stream.closed and {} or stream:sync():drain()) do
				if stanza.name == "iq" and (stanza.attr.type == "set" or stanza.attr.type == "get") then
					stream:send(st.error_reply(stanza, "cancel", "feature-not-implemented"))
					answered = answered + 1
				end
			end
		end
		play.answered = (play.answered or 0) + answered
	end

	-- Ends a scene: notes what everybody got during it
	function play.scene(title)
		presences.settle(server, 0.12)
		answer_with_errors()
		presences.settle(server)
		local seen = {}
		for name, stream in pairs(play.cast) do
			seen[name] = {}
			for i, stanza in ipairs(stream.closed and stream:drain() or stream:sync():drain()) do
				seen[name][i] = canonical(stanza)
			end
			table.sort(seen[name])
		end
		table.insert(play.record, { title = title, seen = seen })
	end

	return play
end

local function item(attributes, group)
	return ("<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item %s>%s</item></query></iq>"):format(
		attributes,
		group and "<group>" .. group .. "</group>" or ""
	)
end

-- What an entity asks for: refused, or without effect on anybody
local requests = {
	"<iq type='get' id='1' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>",
	"<iq type='get' id='2' to='nurse@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>",
	"<iq type='get' id='3' to='nobody@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>",
	"<iq type='set' id='4' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster'><item jid='juliet@capulet.lit'/></query></iq>",
	"<iq type='set' id='5' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster'><item jid='a'/><item jid='b'/></query></iq>",
	"<iq type='set' id='6' to='nurse@capulet.lit'><query xmlns='jabber:iq:roster'><item jid='x@y' subscription='remove'/></query></iq>",
	"<iq type='set' id='7' to='tybalt@verona.lit'><query xmlns='jabber:iq:roster'><item jid='x@y'/></query></iq>",
	[[<message id='8' to='capulet.lit'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>
		<message xmlns='jabber:client' from='tybalt@verona.lit' to='juliet@capulet.lit'><body>no</body></message>
	</forwarded></privilege></message>]],
	[[<message id='9' to='capulet.lit'><privilege xmlns='urn:xmpp:privilege:1'><forwarded xmlns='urn:xmpp:forward:0'/></privilege></message>]],
	[[<iq type='set' id='10' to='juliet@capulet.lit'><privileged_iq xmlns='urn:xmpp:privilege:2'>
		<iq xmlns='jabber:client' type='set' id='x' to='romeo@capulet.lit'><query xmlns='urn:example:not-granted'/></iq>
	</privileged_iq></iq>]],
	[[<iq type='get' id='11' to='juliet@capulet.lit'><privileged_iq xmlns='urn:xmpp:privilege:2'>
		<iq xmlns='jabber:client' type='get' id='x' to='romeo@capulet.lit' from='nurse@capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>
	</privileged_iq></iq>]],
	[[<iq type='get' id='12' to='juliet@capulet.lit'><privileged_iq xmlns='urn:xmpp:privilege:2'>
		<iq xmlns='jabber:client' type='get' id='x' to='verona.lit'><ping xmlns='urn:xmpp:ping'/></iq>
	</privileged_iq></iq>]],
}
-- A set that is refused for want of the permission only
local forbidden_set = "<iq type='set' id='13' to='%s'><query xmlns='jabber:iq:roster'><item jid='x@y.example'/></query></iq>"

-- The whole play
-- @return the scenes with what everybody got, what the rosters are then, and how many queries the entities answered
local function perform(modules)
	local play = new_play(modules)
	local server, client, send, scene = play.server, play.client, play.send, play.scene
	local leave = play.leave

	client("tybalt", "tybalt@verona.lit/x")
	client("mercutio", "mercutio@verona.lit/x")
	scene "contacts come online before any entity"
	play.entity("pubsub", server:component "pubsub.capulet.lit")
	play.entity("limited", server:component "limited.capulet.lit")
	play.entity("prince", server:client "prince@verona.lit/x")
	scene "entities arrive while all users are offline"
	client("juliet", "juliet@capulet.lit/balcony", { roster = true })
	client("hall", "juliet@capulet.lit/hall", { roster = true, carbons = true })
	client("romeo", "romeo@capulet.lit/orchard", { roster = true })
	client("peter", "peter@capulet.lit/x")
	scene "users come online"
	play.entity("friar", server:client("friar@capulet.lit/cell", { roster = true }))
	scene "a privileged user comes online"

	send("juliet", "<presence><show>away</show></presence>")
	send("peter", "<presence><show>away</show></presence>")
	send("mercutio", "<presence><show>dnd</show></presence>")
	send("romeo", "<presence to='tybalt@verona.lit/x'/>")
	send("tybalt", "<presence to='romeo@capulet.lit'/>")
	send("juliet", "<presence to='pubsub.capulet.lit'/>")
	send("juliet", "<presence to='friar@capulet.lit'/>")
	scene "presences change and are directed"

	send("juliet", item("jid='paris@verona.lit' name='Paris'", "Suitors"))
	send("juliet", item("jid='mercutio@verona.lit' name='Mercutio'", "Friends"))
	send("juliet", "<presence type='subscribe' to='tybalt@verona.lit'/>")
	send("romeo", "<presence type='subscribe' to='nurse@capulet.lit'/>")
	scene "rosters change"
	send("tybalt", "<presence type='subscribed' to='juliet@capulet.lit'/>")
	send("mercutio", "<presence type='unsubscribed' to='romeo@capulet.lit'/>")
	send("juliet", item "jid='paris@verona.lit' subscription='remove'")
	send("juliet", item "jid='romeo@capulet.lit' subscription='remove'")
	scene "subscriptions begin and end"

	send("juliet", "<message to='mercutio@verona.lit' type='chat' id='m'><body>hello</body></message>")
	send("mercutio", "<message to='juliet@capulet.lit' type='chat' id='m'><body>hello</body></message>")
	send("mercutio", "<message to='nurse@capulet.lit' type='chat' id='m'><body>are you there?</body></message>")
	send("juliet", "<iq type='get' id='q' to='romeo@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>")
	send("juliet", "<iq type='get' id='q'><query xmlns='jabber:iq:roster'/></iq>")
	send("juliet", "<iq type='get' id='q' to='capulet.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
	send("juliet", "<iq type='get' id='q' to='capulet.lit'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>")
	send("juliet", "<message to='capulet.lit'><privilege xmlns='urn:xmpp:privilege:2'/></message>")
	scene "users and contacts write and ask"

	for _, name in ipairs { "pubsub", "limited" } do
		for _, request in ipairs(requests) do
			send(name, (request:gsub("^(<%w+)", "%1 from='" .. name .. ".capulet.lit'")))
		end
	end
	for _, user in ipairs { "juliet@capulet.lit", "nurse@capulet.lit" } do
		send("limited", (forbidden_set:format(user):gsub("^<iq", "%0 from='limited.capulet.lit'")))
		send("friar", forbidden_set:format(user))
	end
	scene "entities ask for what they may not do"

	leave("pubsub", "cut")
	leave("limited", "close")
	leave("prince", "cut")
	leave("friar", "close")
	send("juliet", "<presence/>")
	send("peter", "<presence/>")
	send("mercutio", "<presence/>")
	send("juliet", item("jid='tybalt@verona.lit' name='Tybalt'"))
	send("tybalt", "<presence type='unavailable'/>")
	scene "entities leave, and all goes on"
	play.entity("pubsub", server:component "pubsub.capulet.lit")
	play.entity("prince", server:client "prince@verona.lit/x")
	scene "entities arrive while users are online"
	leave("juliet", "cut")
	leave("peter", "close")
	leave("mercutio", "cut")
	scene "streams end"
	client("nurse", "nurse@capulet.lit/x", { roster = true })
	client("peter", "peter@capulet.lit/y")
	scene "who was offline comes online"

	local found = server:eval(read_rosters)
	server:stop()
	return play.record, found, play.answered
end

describe("a privileged entity", function()
	local with, without, rosters_with, rosters_without, answered

	setup(function()
		with, rosters_with, answered = perform { "privilege" }
		without, rosters_without = perform {}
	end)

	it("B9 is not shown by any stanza to a user or contact", function()
		local stanzas = 0
		for i, scene in ipairs(without) do
			for name, seen in pairs(scene.seen) do
				stanzas = stanzas + #seen
				assert.is_same(seen, with[i].seen[name], name .. ", when " .. scene.title)
			end
		end
		-- lest everybody was silent
		assert.is_true(stanzas > 60, stanzas .. " stanzas")
		assert.is_true(answered > 10, answered .. " pushes were answered")
	end)

	it("B9 is not shown by any roster", function()
		assert.is_same(rosters_without, rosters_with)
		assert.is_true(#rosters_with > 15)
	end)
end)
