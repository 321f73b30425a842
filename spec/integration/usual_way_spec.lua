-- B2.3 and B2.4: what is not privileged goes the server's usual way.

local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"
local privileged = require "spec.support.privileged"
local xml = require "spec.support.xml"
local st = require "util.stanza"

local everything = '{ roster = "both", message = "outgoing", iq = { ["urn:xmpp:ping"] = "both" } }'

local config = ([[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = EVERYTHING;
		["nothing.capulet.lit"] = {};
		["tybalt@capulet.lit"] = EVERYTHING;
	}
VirtualHost "montague.lit"
Component "pubsub.capulet.lit"
	component_secret = "secret"
Component "nothing.capulet.lit"
	component_secret = "secret"
Component "evil.capulet.lit"
	component_secret = "secret"
	validate_from_addresses = false
]]):gsub("EVERYTHING", everything)

local roster = "<query xmlns='jabber:iq:roster'/>"
local roster_item = "<query xmlns='jabber:iq:roster'><item jid='forged@contact.lit'/></query>"
local ping = "<ping xmlns='urn:xmpp:ping'/>"
local nurse, online = "nurse@capulet.lit", "juliet@capulet.lit/balcony"

-- The stanzas that a permission changes nothing about
local usual = {}
for _, to in ipairs { nurse, "juliet@capulet.lit", online, "capulet.lit", "nobody@capulet.lit", "montague.lit", "benvolio@montague.lit" } do
	for _, payload in ipairs {
		"<query xmlns='http://jabber.org/protocol/disco#info'/>",
		"<vCard xmlns='vcard-temp'/>",
		"<x xmlns='urn:example:unknown'/>",
	} do
		usual[#usual + 1] = { "iq", { type = "get", to = to }, payload }
		usual[#usual + 1] = { "iq", { type = "set", to = to }, payload }
	end
	for _, kind in ipairs { false, "chat", "headline", "groupchat" } do
		usual[#usual + 1] = { "message", { type = kind or nil, to = to }, "<body>hello</body>" }
	end
	usual[#usual + 1] = { "presence", { to = to } }
	usual[#usual + 1] = { "presence", { to = to, type = "unavailable" } }
	usual[#usual + 1] = { "presence", { to = to, type = "probe" } }
end
for _, to in ipairs { online, "capulet.lit", "montague.lit", "benvolio@montague.lit" } do
	usual[#usual + 1] = { "iq", { type = "get", to = to }, roster }
	usual[#usual + 1] = { "iq", { type = "set", to = to }, roster_item }
end
for _, xmlns in ipairs { privileged.xmlns, privileged.xmlns_legacy } do
	local privilege = privileged
		.message({ xmlns = xmlns }, { from = nurse, to = online, "<body>forged</body>" })
		:match "<privilege.*</privilege>"
	for _, to in ipairs { nurse, online, "montague.lit", "benvolio@montague.lit" } do
		usual[#usual + 1] = { "message", { to = to }, privilege }
	end
end
-- version 0.3 of the XEP has no iqs
usual[#usual + 1] = {
	"iq",
	{ type = "get", to = nurse },
	("<privileged_iq xmlns='%s'><iq xmlns='jabber:client' type='get' id='inner'>%s</iq></privileged_iq>"):format(
		privileged.xmlns_legacy,
		ping
	),
}

-- The stanzas that take a permission and are other modules', too
local roster_requests = {
	{ "iq", { type = "get", to = nurse }, roster },
	{ "iq", { type = "set", to = nurse }, roster_item },
	{ "iq", { type = "get", to = "nobody@capulet.lit" }, roster },
}

-- Those that are nobody's without one
local meaningless = {}
-- Those that can only be meant for the module
local privileged_ones = {}

for _, xmlns in ipairs { privileged.xmlns, privileged.xmlns_legacy } do
	privileged_ones[#privileged_ones + 1] = {
		"message",
		{ to = "capulet.lit" },
		privileged.message({ xmlns = xmlns }, { from = nurse, to = online, "<body>forged</body>" }):match "<privilege.*</privilege>",
	}
	for _, content in ipairs { "", "<forwarded xmlns='urn:xmpp:forward:1'/>", "<forwarded/>", "<perm access='roster' type='both'/>" } do
		meaningless[#meaningless + 1] =
			{ "message", { to = "capulet.lit" }, ("<privilege xmlns='%s'>%s</privilege>"):format(xmlns, content) }
	end
end
for _, payload in ipairs {
	privileged.iq({}, { to = "capulet.lit", ping }):match "<privileged_iq.*</privileged_iq>",
	("<privileged_iq xmlns='%s'/>"):format(privileged.xmlns),
} do
	for _, to in ipairs { nurse, "juliet@capulet.lit", "capulet.lit", "nobody@capulet.lit" } do
		privileged_ones[#privileged_ones + 1] = { "iq", { type = "get", to = to }, payload }
		privileged_ones[#privileged_ones + 1] = { "iq", { type = "set", to = to }, payload }
	end
	meaningless[#meaningless + 1] = { "iq", { type = "get", to = online }, payload }
end

describe("B2.3 the usual way:", function()
	local server, pubsub, evil, bare, juliet, tybalt, paris, all_streams

	setup(function()
		local contact = { ["a@contact.lit"] = { name = "A" } }
		server = prosody.start {
			users = { "juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit", "paris@capulet.lit", "benvolio@montague.lit" },
			rosters = { ["tybalt@capulet.lit"] = contact, ["paris@capulet.lit"] = contact },
			config = config,
		}
		pubsub, evil = server:component "pubsub.capulet.lit", server:component "evil.capulet.lit"
		bare = server:component "nothing.capulet.lit"
		juliet, tybalt = server:client(online, { roster = true }), server:client "tybalt@capulet.lit/hall"
		paris = server:client "paris@capulet.lit/church"
		all_streams = { pubsub, evil, bare, juliet, tybalt, paris }
	end)

	local function drain()
		for _, stream in ipairs(all_streams) do
			stream:sync():drain()
		end
	end

	before_each(drain)

	teardown(function()
		server:stop()
	end)

	local function write(request, id, from)
		local name, attr = request[1], { id = id, from = from }
		for key, value in pairs(request[2]) do
			attr[key] = value
		end
		return st.stanza(name, attr):top_tag() .. (request[3] or "") .. "</" .. name .. ">"
	end

	-- Sends all, and gives what arrives anywhere because of that
	local function results(stream, requests, from)
		local received = {}
		for i, request in ipairs(requests) do
			stream:send(write(request, "usual-" .. i, from))
		end
		for _, each in ipairs(all_streams) do
			each:sync()
		end
		for _, each in ipairs(all_streams) do
			for _, stanza in ipairs(each:drain()) do
				received[#received + 1] = stanza
			end
		end
		return received
	end

	-- Compares with a server that has not the module
	local function assert_usual(stream, requests, from)
		if stream.kind == "component" then
			from = from or stream.jid
		end
		local with = results(stream, requests, from)
		server:unload_module "privilege"
		drain()
		local without = results(stream, requests, from)
		server:load_module "privilege"
		drain()
		for i, stanza in ipairs(without) do
			xml.assert_same(with[i] or "<nothing/>", stanza)
		end
		assert.is_equal(#without, #with)
		-- what is to be answered at all was
		assert.is_true(#without > #requests / 2)
	end

	it("B2.3 an entity's stanzas that are no privileged ones", function()
		assert_usual(pubsub, usual)
	end)

	it("B2.3 a privileged user's stanzas that are no privileged ones, and those to the own account", function()
		assert_usual(tybalt, usual)
		for _, to in ipairs { false, "tybalt@capulet.lit" } do
			for _, payload in ipairs { roster, "<vCard xmlns='vcard-temp'/>" } do
				assert_usual(tybalt, { { "iq", { type = "get", to = to or nil }, payload } })
			end
		end
	end)

	it("B2.3 the other stanzas of a component that is not listed", function()
		assert_usual(evil, usual)
		assert_usual(evil, roster_requests)
		assert_usual(evil, meaningless)
	end)

	it("B2.3 the other stanzas of a component that is not listed and writes an entity's address", function()
		for _, from in ipairs { "pubsub.capulet.lit", "tybalt@capulet.lit/hall" } do
			assert_usual(evil, usual, from)
			assert_usual(evil, roster_requests, from)
			assert_usual(evil, meaningless, from)
		end
	end)

	it("B2.3 the other stanzas of a user who is not listed", function()
		assert_usual(paris, usual)
		assert_usual(paris, roster_requests)
		assert_usual(paris, meaningless)
		for _, to in ipairs { false, "paris@capulet.lit" } do
			assert_usual(paris, { { "iq", { type = "get", to = to or nil }, roster } })
		end
	end)

	it("B2.3 is the server's, and a listed entity without the needed permission gets forbidden", function()
		assert.is_same(grants.all "forbidden", grants.attempt(bare, nurse))
		juliet:nothing()
	end)

	it(
		"B2.3 forbids who is not listed what can only be meant for the module, each once, in the same way whether or not there is such a user",
		function()
			local function assert_forbidden(stream, from)
				local received = results(stream, privileged_ones, from or stream.kind == "component" and stream.jid or nil)
				assert.is_equal(#privileged_ones, #received)
				local texts = {}
				for i, stanza in ipairs(received) do
					privileged.assert_error(stanza, "forbidden", "auth")
					assert.is_equal("usual-" .. i, stanza.attr.id)
					texts[#texts + 1] = stanza:get_child("error"):get_child_text "text" or stanza:get_child("error").tags[2]:get_text()
				end
				for _, text in ipairs(texts) do
					assert.is_equal(texts[1], text)
				end
			end
			assert_forbidden(evil)
			assert_forbidden(evil, "pubsub.capulet.lit")
			assert_forbidden(paris)
		end
	)

	it("B2.3 the log says who asked and that it is not listed there, at most once a second", function()
		local mark = server:mark()
		local benvolio = server:client "benvolio@montague.lit/street"
		benvolio:sync():drain()
		-- in one piece, so that no second passes for the server between them
		local requests = {}
		for i = 1, 5 do
			requests[i] = tostring(write(privileged_ones[1], "log-" .. i))
		end
		benvolio:send(table.concat(requests)):sync()
		assert.is_equal(5, #benvolio:drain())
		assert.is_equal(1, #grants.logged(server:log_since(mark), "warn", "benvolio@montague.lit", "not listed", "privileged_entities"))
		server:wait_log("warn\t[^\n]*4 more[^\n]*benvolio@montague%.lit", nil, mark)
		benvolio:close()
	end)

	it("B2.4 answers no results and errors, whoever sends them", function()
		local payloads = {}
		for _, requests in ipairs { roster_requests, meaningless, privileged_ones } do
			for _, request in ipairs(requests) do
				payloads[#payloads + 1] = request[3]
			end
		end
		for _, stream in ipairs { pubsub, bare, evil, tybalt } do
			for i, payload in ipairs(payloads) do
				for _, to in ipairs { nurse, "capulet.lit", "nobody@capulet.lit", online } do
					stream:send(write({ "iq", { type = "result", to = to }, payload }, "answer-" .. i, stream.jid))
					stream:send(write({ "iq", { type = "error", to = to }, payload }, "answer-" .. i, stream.jid))
					stream:send(write({ "message", { type = "error", to = to }, payload }, "answer-" .. i, stream.jid))
				end
			end
			-- a client gets what is for it
			juliet:sync()
			local delivered = juliet:drain()
			assert.is_equal(3 * #payloads, #delivered)
			for _, stanza in ipairs(delivered) do
				assert.is_equal(online, stanza.attr.to)
			end
			for _, each in ipairs(all_streams) do
				each:nothing()
			end
		end
	end)
end)
