-- Ways to get more than was granted that no other spec tries: before and without authentication, by addresses that look
-- alike or are spelt in other ways, by what a request holds beside what is granted, and by a server that takes the domain.
--
-- Others are where they belong: who is who in identity_spec, what comes over s2s in federation_spec and iq_federation_spec,
-- wrappers in wrappers and malformed ones in iq_refusals_spec and message_refusals_spec, forged answers in iq_spec, what is
-- taken away while iqs are under way in iq_limits_spec, reserved names in rosters in roster_refusal_spec.

local mime = require "mime"
local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"
local privileged = require "spec.support.privileged"
local rosters = require "spec.support.rosters"
local sha1 = require "util.hashes".sha1
local socket = require "socket"

local all, attempt = grants.all, grants.attempt

local config = ([[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = EVERYTHING;
		["\239\188\167ateway.capulet.lit"] = EVERYTHING;
		["tybalt@capulet.lit"] = EVERYTHING;
	}
VirtualHost "montague.lit"
	privileged_entities = { ["juliet@capulet.lit"] = EVERYTHING }
Component "pubsub.capulet.lit"
	component_secret = "secret"
Component "gateway.capulet.lit"
	component_secret = "secret"
Component "stranger.capulet.lit"
	component_secret = "secret"
	validate_from_addresses = false
]]):gsub("EVERYTHING", grants.everything)

-- A user whose name is a component's domain, and others that are an entity's name but for something
local lookalikes = {
	"pubsub.capulet.lit@capulet.lit",
	"pubsub@capulet.lit",
	"tybalt.@capulet.lit",
	"tyba1t@capulet.lit",
	"tybalt.capulet.lit@capulet.lit",
}

-- The same request of each kind, to be sent by whoever
local function requests(from)
	return table.concat({
		("<iq type='get' id='g' from='%s' to='nurse@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>"):format(from),
		("<iq type='set' id='s' from='%s' to='nurse@capulet.lit'><query xmlns='jabber:iq:roster'><item jid='forged@contact.lit'/></query></iq>"):format(
			from
		),
		privileged.iq(
			{ id = "i", from = from, to = "nurse@capulet.lit" },
			{ to = "juliet@capulet.lit/balcony", "<ping xmlns='urn:xmpp:ping'/>" }
		),
		privileged.message(
			{ id = "m", from = from, to = "capulet.lit" },
			{ from = "nurse@capulet.lit", to = "juliet@capulet.lit/balcony", "<body>forged</body>" }
		),
	})
end

-- All that a server says to a header and some text (or a function that gets the stream's id and makes it) on a new connection
local function converse(server, port, header, text)
	local connection = assert(socket.connect(server.ip, port))
	connection:settimeout(2)
	assert(connection:send(header))
	local parts = {}
	local function read(pattern)
		repeat
			local data, err, partial = connection:receive(1)
			parts[#parts + 1] = data or partial
		until err or pattern and table.concat(parts):find(pattern)
		return table.concat(parts)
	end
	local id = read "<stream:stream[^>]*>":match "<stream:stream[^>]* id=['\"]([^'\"]*)"
	connection:send((type(text) == "function" and text(id) or text) .. "</stream:stream>")
	local said = read()
	connection:close()
	-- so it has seen everything
	assert.is_truthy(said:find("</stream:stream>", 1, true), said)
	return said
end

local function component_header(to)
	return ("<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='%s'>"):format(to)
end

describe("Privileges are not got", function()
	local server, pubsub, gateway, stranger, juliet, nurse, tybalt

	setup(function()
		local users = { "juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit", "benvolio@montague.lit" }
		for _, jid in ipairs(lookalikes) do
			table.insert(users, jid)
		end
		server = prosody.start { config = config, users = users }
		pubsub, gateway, stranger =
			server:component "pubsub.capulet.lit", server:component "gateway.capulet.lit", server:component "stranger.capulet.lit"
		juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
		nurse, tybalt = server:client("nurse@capulet.lit/kitchen", { roster = true }), server:client "tybalt@capulet.lit/hall"
	end)

	teardown(function()
		server:stop()
	end)

	local it = privileged.quiet_specs(it, function()
		return { pubsub, gateway, stranger, juliet, nurse, tybalt }
	end)

	local function assert_nothing_changed()
		assert.is_nil(table.concat((rosters.get(nurse)), " "):find("forged", 1, true))
	end

	it("B2.1 by a stream that is not authenticated: a component's with no handshake, a wrong one, or one for another domain", function()
		local text = requests "pubsub.capulet.lit"
		for _, handshake in ipairs {
			function()
				return ""
			end,
			function()
				return "<handshake>wrong</handshake>"
			end,
			function()
				return "<handshake/>"
			end,
			function(id)
				return ("<handshake>%s</handshake>"):format(sha1(id .. "other secret", true))
			end,
		} do
			local said = converse(server, server.component_port, component_header "pubsub.capulet.lit", function(id)
				return handshake(id) .. text .. text
			end)
			assert.is_nil(said:find "<item" or said:find "type='result'" or said:find "privilege", said)
		end
		-- the name of a virtual host, and one that is not configured at all
		for _, domain in ipairs {
			"capulet.lit",
			"montague.lit",
			"pubsub.montague.lit",
			"capulet.lit.",
			"nurse@capulet.lit",
			"tybalt@capulet.lit",
		} do
			local said = converse(server, server.component_port, component_header(domain), function(id)
				return ("<handshake>%s</handshake>"):format(sha1((id or "") .. "secret", true)) .. text
			end)
			assert.is_truthy(said:find "host%-unknown", said)
		end
		assert_nothing_changed()
	end)

	it("B2.1 by a second stream of a component's name, be its handshake good, while the first stands", function()
		local said = converse(server, server.component_port, component_header "pubsub.capulet.lit", function(id)
			return ("<handshake>%s</handshake>"):format(sha1(id .. "secret", true)) .. requests "pubsub.capulet.lit"
		end)
		assert.is_truthy(said:find "conflict", said)
		assert.is_nil(said:find "<item" or said:find "urn:xmpp:privilege", said)
		assert_nothing_changed()
	end)

	it("B2.1 by a privileged user's stream that is not authenticated, or not bound to a resource", function()
		local header =
			"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='capulet.lit' version='1.0'>"
		local text = requests "tybalt@capulet.lit"
		local auth = ("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>"):format((mime.b64 "\0tybalt\0wrong"))
		for _, before in ipairs { "", auth } do
			local said = converse(server, server.c2s_port, header, before .. text)
			assert.is_nil(said:find "<item" or said:find "type='result'" or said:find "urn:xmpp:privilege", said)
		end
		auth = ("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>"):format((mime.b64 "\0tybalt\0secret"))
		local said = converse(server, server.c2s_port, header, auth .. header .. text)
		assert.is_truthy(said:find "<success", said)
		assert.is_nil(said:find "<item" or said:find "type='result'" or said:find "urn:xmpp:privilege", said)
		assert_nothing_changed()
	end)

	it("B2.1 by users whose names resemble a component's domain or an entity's name, or whose resource does", function()
		table.insert(lookalikes, "tyba1t@capulet.lit/pubsub.capulet.lit")
		table.insert(lookalikes, "tyba1t@capulet.lit/tybalt@capulet.lit")
		for _, jid in ipairs(lookalikes) do
			local stream = server:client(jid, { roster = true })
			assert.is_same({}, (grants.told(stream)))
			stream:drain()
			assert.is_same(grants.unlisted(), attempt(stream, "nurse@capulet.lit"))
			stream:close()
		end
		for _, stream in ipairs { juliet, nurse } do
			stream:sync():drain()
		end
		assert_nothing_changed()
	end)

	it("B2.1 by addresses of an entity in another spelling, which a component that may write any address sends from", function()
		for _, from in ipairs {
			"PUBSUB.capulet.lit",
			"pubsub.capulet.lit.",
			"pubsub\226\128\139.capulet.lit",
			"\239\189\144ubsub.capulet.lit",
			"TYBALT@capulet.lit/hall",
		} do
			assert.is_same(grants.unlisted(), attempt(stranger, "nurse@capulet.lit", from))
		end
		assert_nothing_changed()
	end)

	it("B1.1 by anybody but whom an unprepared key of the configuration is for", function()
		-- its first letter is a wide one
		assert.is_same(all "result", attempt(gateway, "nurse@capulet.lit"))
		nurse:sync():drain()
	end)

	-- { address as the entity writes it, the user's as the server sends it or nil where it is refused }
	local spellings = {
		{ "NURSE@capulet.lit", "nurse@capulet.lit" },
		{ "nurse@CAPULET.LIT", "nurse@capulet.lit" },
		{ "\239\189\142urse@capulet.lit", "nurse@capulet.lit" }, -- a wide n
		{ "nur\194\173se@capulet.lit", "nurse@capulet.lit" }, -- a soft hyphen, which is left out
		{ "nurse@capulet.l\226\132\185t", "nurse@capulet.lit" }, -- an information source for an i
		{ "nurse@montague.lit" },
		{ "nurse@capulet.lit/kitchen" },
		{ "nurse@capulet.lit/" },
		{ "nurse @capulet.lit" },
		{ "nurs\208\181@capulet.lit" }, -- a Cyrillic e, another name
		{ "nurse@capulet.lit@montague.lit" },
		{ "nurse@montague.lit@capulet.lit" },
		{ "/nurse@capulet.lit" },
		{ "nurse&#xA;@capulet.lit" },
		{ "nurse@.capulet.lit" },
	}

	it("B6.2 for senders of messages but in spellings that are a user's, and these go out prepared", function()
		for _, spelling in ipairs(spellings) do
			local from = spelling[1]:gsub("&#xA;", "\n")
			privileged.send(pubsub, { from = from, to = "Juliet@capulet.lit/balcony", id = "spelt", "<body>psst</body>" })
			if spelling[2] then
				local received = juliet:expect { name = "message", body = "psst" }
				assert.is_equal(spelling[2], received.attr.from, spelling[1])
				assert.is_equal(juliet.jid, received.attr.to)
			else
				privileged.expect_refusal(pubsub, "forbidden", "auth")
			end
		end
	end)

	it("B7.4 for senders of iqs but in spellings that are the user's, and these go out prepared", function()
		for _, spelling in ipairs(spellings) do
			local from = spelling[1]:gsub("&#xA;", "\n")
			privileged.ask(
				pubsub,
				{ from = from, to = "JULIET@capulet.lit/balcony", "<query xmlns='urn:example'/>" },
				{ to = "nurse@capulet.lit" }
			)
			if spelling[2] then
				local received = privileged.asked(juliet)
				assert.is_equal(spelling[2], received.attr.from, spelling[1])
				privileged.answer(juliet, received)
				privileged.expect_answer(pubsub, { from = juliet.jid, to = spelling[2] }, { from = spelling[2] })
			else
				privileged.expect_refusal(pubsub, "forbidden", "auth", "nurse@capulet.lit")
			end
		end
	end)

	it("B4.4 for a roster's own user in any spelling of the item, nor for two items that are one contact", function()
		for _, spelling in ipairs(spellings) do
			if spelling[2] then
				assert.is_equal(
					"cancel not-allowed",
					rosters.set(pubsub, "nurse@capulet.lit", ("<item jid='%s' subscription='both'/>"):format(spelling[1]))
				)
			end
		end
		for _, jid in ipairs { "\239\188\173ercutio@verona.lit", "mer\194\173cutio@VERONA.lit", "mercutio@verona.lit" } do
			assert.is_equal("result", rosters.set(pubsub, "nurse@capulet.lit", ("<item jid='%s'/>"):format(jid)))
		end
		nurse:sync():drain()
		local list = table.concat((rosters.get(nurse)), "\n")
		assert.is_equal(1, select(2, list:gsub("verona%.lit", "")), list)
		assert.is_truthy(list:find("mercutio@verona.lit", 1, true))
	end)

	-- What stands as the payload, and whether it is of the namespace that is granted
	for name, case in pairs {
		["a prefix, where only the default namespace is granted"] = { "<e:query xmlns:e='urn:other' xmlns='urn:example'/>", false },
		["a prefix for the granted namespace"] = { "<e:query xmlns:e='urn:example' xmlns='urn:other'/>", true },
		["a namespace that begins like the granted one"] = { "<query xmlns='urn:example:other'/>", false },
		["the granted namespace in other letters"] = { "<query xmlns='URN:example'/>", false },
		["the granted namespace and a blank"] = { "<query xmlns='urn:example '/>", false },
		["an attribute that names the granted namespace"] = { "<query xmlns='urn:other' e:xmlns='urn:example' xmlns:e='urn:e'/>", false },
		["another payload after the granted one"] = { "<query xmlns='urn:example'/><query xmlns='urn:other'/>", nil },
		["another payload before the granted one"] = { "<query xmlns='urn:other'/><query xmlns='urn:example'/>", nil },
		["two granted payloads"] = { "<query xmlns='urn:example'/><ping xmlns='urn:xmpp:ping'/>", nil },
	} do
		it("B7.4 for an iq with " .. name, function()
			privileged.ask(pubsub, { to = juliet.jid, case[1] }, { to = "nurse@capulet.lit", type = "set" })
			if case[2] then
				local received = privileged.asked(juliet)
				assert.is_equal("urn:example", received.tags[1].attr.xmlns)
				privileged.answer(juliet, received)
				privileged.expect_answer(pubsub, { from = juliet.jid, to = "nurse@capulet.lit" }, { from = "nurse@capulet.lit" })
			else
				privileged.expect_refusal(pubsub, case[2] == nil and "bad-request" or "forbidden", nil, "nurse@capulet.lit")
			end
		end)
	end

	it(
		"B6.1 with an inner message of type error, which is what it would be from the user's client: delivered, and answered by nobody",
		function()
			for _, from in ipairs { "nurse@capulet.lit", "capulet.lit" } do
				privileged.send(pubsub, { from = from, to = juliet.jid, type = "error", id = "e", "<error type='cancel'/>" })
				local received = juliet:expect { name = "message" }
				assert.is_same({ from, "error" }, { received.attr.from, received.attr.type })
				-- nor does it come back, be there nobody
				for _, to in ipairs { "nobody@capulet.lit", "juliet@capulet.lit/gone", "capulet.lit", "stranger.capulet.lit/x" } do
					privileged.send(pubsub, { from = from, to = to, type = "error", id = "e", "<error type='cancel'/>" })
				end
				stranger:expect { name = "message", type = "error", from = from }
			end
		end
	)
end)

describe("A server that takes the domain of a virtual host of ours", function()
	local ours, rogue, juliet, benvolio, false_juliet, false_pubsub

	setup(function()
		ours = prosody.start {
			s2s = true,
			users = { "juliet@capulet.lit", "abram@montague.lit", "benvolio@montague.lit" },
			config = config,
		}
		juliet, benvolio = ours:client "juliet@capulet.lit/balcony", ours:client "benvolio@montague.lit/street"
		-- It is the last one started, so that names lead to it: also our server asks it whether it is who it says
		rogue = prosody.start {
			s2s = true,
			ip = "127.0.0.2",
			modules = {},
			users = { "juliet@capulet.lit" },
			config = [[
VirtualHost "capulet.lit"
Component "pubsub.capulet.lit"
	component_secret = "secret"
]],
		}
		false_juliet, false_pubsub = rogue:client "juliet@capulet.lit/balcony", rogue:component "pubsub.capulet.lit"
	end)

	teardown(function()
		ours:stop()
		rogue:stop()
	end)

	it("B2.1 gets nothing for a privileged user's or a component's name: Prosody does not let it in", function()
		assert.is_same(
			{ "montague.lit: roster=both push=false message=outgoing iq(urn:example)=both iq(urn:xmpp:ping)=both" },
			(grants.told(juliet))
		)
		juliet:drain()
		for _, stream in ipairs { false_juliet, false_pubsub } do
			stream:send(
				(requests(stream.jid):gsub("nurse@capulet.lit", "abram@montague.lit"):gsub("to='capulet.lit'", "to='montague.lit'"))
			)
			for _, id in ipairs { "g", "s", "i", "m" } do
				stream:expect { id = id, type = "error" }
			end
		end
		assert.is_same({}, (rosters.get(juliet, "abram@montague.lit")))
		juliet:nothing()
		benvolio:nothing()
	end)
end)
