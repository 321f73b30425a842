-- Requests to send iqs that are refused (XEP-0356, section 6).

local fixture = require "spec.support.fixture"
local privileged = require "spec.support.privileged"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = { iq = {
			["urn:example:both"] = "both"; ["urn:example:get"] = "get"; ["urn:example:set"] = "set"; ["urn:example:none"] = "none";
			["urn:xmpp:privilege:2"] = "both"; ["jabber:client"] = "both";
		} };
		["mercutio@capulet.lit"] = { iq = { ["urn:example:both"] = "both" } };
		["talkers.capulet.lit"] = { message = "outgoing" };
	}
VirtualHost "verona.lit"
	privileged_entities = { ["veronese.capulet.lit"] = { iq = { ["urn:example:both"] = "both" } } }
VirtualHost "mantua.lit"
]] .. fixture.components("pubsub", "talkers", "veronese", "stranger")

describe("B7.4 iqs are refused:", function()
	local juliet, nurse, mercutio, pubsub, talkers, veronese, stranger

	local streams = fixture.running({
		config = config,
		users = { "juliet@capulet.lit", "nurse@capulet.lit", "mercutio@capulet.lit", "romeo@verona.lit", "apothecary@mantua.lit" },
	}, {
		"juliet@capulet.lit/balcony",
		"nurse@capulet.lit/kitchen",
		"mercutio@capulet.lit/street",
		"pubsub.capulet.lit",
		"talkers.capulet.lit",
		"veronese.capulet.lit",
		"stranger.capulet.lit",
		"romeo@verona.lit/orchard",
	}, function(_, ...)
		juliet, nurse, mercutio, pubsub, talkers, veronese, stranger = ...
	end)

	local it = privileged.quiet_specs(it, streams)
	local ask, expect_refusal = privileged.ask, privileged.expect_refusal

	-- An inner iq that comes to the nurse if it is sent, by default with a namespace that is granted
	local function to_nurse(name, attr)
		local inner = { to = "nurse@capulet.lit/kitchen", ("<query xmlns='urn:example:%s'/>"):format(name or "both") }
		for key, value in pairs(attr or {}) do
			inner[key] = value
		end
		return inner
	end

	-- Waits at the nurse's client for an iq and lets it be answered
	local function assert_sent(entity, user)
		local iq = privileged.asked(nurse)
		assert.equal(user or privileged.user, iq.attr.from)
		privileged.answer(nurse, iq)
		entity:expect { name = "iq", type = "result", id = "outer" }
	end

	for _, kind in ipairs { "get", "set" } do
		for _, access in ipairs { "both", "get", "set", "none", "unheard-of" } do
			if access == "both" or access == kind then
				it(("sends a %s of a namespace granted for %s"):format(kind, access), function()
					ask(pubsub, to_nurse(access), { type = kind })
					assert_sent(pubsub)
				end)
			else
				it(("forbids a %s of a namespace granted for %s"):format(kind, access), function()
					ask(pubsub, to_nurse(access), { type = kind })
					expect_refusal(pubsub, "forbidden", "auth")
				end)
			end
		end
	end

	it("forbids everything to an entity with other permissions only", function()
		ask(talkers, to_nurse())
		expect_refusal(talkers, "forbidden", "auth")
	end)

	it("forbids on behalf of users of another host, whether that grants something to others or nothing", function()
		ask(pubsub, to_nurse(), { to = "romeo@verona.lit" })
		expect_refusal(pubsub, "forbidden", "auth", "romeo@verona.lit")
		ask(pubsub, to_nurse(), { to = "apothecary@mantua.lit" })
		expect_refusal(pubsub, "forbidden", "auth", "apothecary@mantua.lit")
		ask(mercutio, to_nurse(), { to = "romeo@verona.lit" })
		expect_refusal(mercutio, "forbidden", "auth", "romeo@verona.lit")
		ask(veronese, to_nurse())
		expect_refusal(veronese, "forbidden", "auth")
		ask(veronese, to_nurse(), { to = "romeo@verona.lit" })
		assert_sent(veronese, "romeo@verona.lit")
	end)

	it("forbids on behalf of who is no user's bare JID: the host, and the full JIDs of clients there and not there", function()
		for _, to in ipairs {
			"capulet.lit",
			"verona.lit",
			"mantua.lit",
			"juliet@capulet.lit/balcony",
			"juliet@capulet.lit/gone",
			"nobody@capulet.lit/x",
			"romeo@verona.lit/orchard",
			"apothecary@mantua.lit/gone",
		} do
			ask(pubsub, to_nurse(), { to = to })
			expect_refusal(pubsub, "forbidden", "auth", to)
			ask(pubsub, to_nurse(), { to = to, type = "set" })
			expect_refusal(pubsub, "forbidden", "auth", to)
		end
		ask(mercutio, to_nurse(), { to = "juliet@capulet.lit/balcony" })
		expect_refusal(mercutio, "forbidden", "auth", "juliet@capulet.lit/balcony")
	end)

	it("finds no user who does not exist", function()
		ask(pubsub, to_nurse(), { to = "nobody@capulet.lit" })
		expect_refusal(pubsub, "item-not-found", "cancel", "nobody@capulet.lit")
	end)

	for name, from in pairs {
		["the user's full JID"] = "juliet@capulet.lit/balcony",
		["another user"] = "nurse@capulet.lit",
		["the host"] = "capulet.lit",
		["the entity"] = "pubsub.capulet.lit",
		["a remote user"] = "juliet@montague.lit",
		["no JID"] = "juliet@@capulet.lit",
		["empty"] = "",
	} do
		it("forbids an inner 'from' that is " .. name, function()
			ask(pubsub, to_nurse("both", { from = from }))
			expect_refusal(pubsub, "forbidden", "auth")
		end)
	end

	it("takes an inner 'from' that is the user's bare JID", function()
		ask(pubsub, to_nurse("both", { from = "juliet@capulet.lit" }))
		assert_sent(pubsub)
	end)

	local iq = "<iq xmlns='jabber:client' type='get' id='inner' to='nurse@capulet.lit/kitchen'><query xmlns='urn:example:both'/></iq>"
	for name, content in pairs {
		["nothing"] = "",
		["a text"] = "psst",
		["a payload alone"] = "<query xmlns='urn:example:both'/>",
		["two iqs"] = iq:rep(2),
		["something beside the iq"] = iq .. "<query xmlns='urn:example:both'/>",
		["a message"] = "<message xmlns='jabber:client' to='nurse@capulet.lit/kitchen'><query xmlns='urn:example:both'/></message>",
		["an iq of another namespace"] = iq:gsub("jabber:client", "jabber:server"),
		["an iq without a namespace of its own"] = iq:gsub(" xmlns='jabber:client'", ""),
		["an iq without an id"] = iq:gsub(" id='inner'", ""),
		["an iq without a payload"] = iq:gsub("<query.->", ""),
		["a text as the payload"] = iq:gsub("<query.->", "psst"),
		["two payloads"] = iq:gsub("(<query.->)", "%1%1"),
		["a payload without a namespace of its own"] = iq:gsub(" xmlns='urn:example:both'", ""),
		["a payload without a namespace"] = iq:gsub("urn:example:both", ""),
		["an iq of the other type"] = iq:gsub("'get'", "'set'"),
		["an iq without a type"] = iq:gsub(" type='get'", ""),
		["a result"] = iq:gsub("'get'", "'result'"),
		["an error"] = iq:gsub("'get'", "'error'"),
		["an iq of no known type"] = iq:gsub("'get'", "'fetch'"),
	} do
		it("takes for malformed: " .. name, function()
			ask(pubsub, nil, { content = content })
			expect_refusal(pubsub, "bad-request", "modify")
		end)
	end

	it("takes for malformed: an id of more than 1024 bytes, inside or outside", function()
		local long = ("x"):rep(1025)
		ask(pubsub, to_nurse("get", { id = long }))
		expect_refusal(pubsub, "bad-request", "modify")
		ask(pubsub, to_nurse "get", { id = long })
		local answer = pubsub:expect { name = "iq", type = "error", id = long }
		assert.is_truthy(answer:get_child("error"):get_child("bad-request", "urn:ietf:params:xml:ns:xmpp-stanzas"))
	end)

	it("takes for malformed: no id outside", function()
		local wrapper =
			"<iq type='get' from='pubsub.capulet.lit' to='juliet@capulet.lit'><privileged_iq xmlns='urn:xmpp:privilege:2'>%s</privileged_iq></iq>"
		for _, content in ipairs { iq, "" } do
			pubsub:send(wrapper:format(content))
			local answer = pubsub:expect { name = "iq", id = false }
			privileged.assert_error(answer, "bad-request", "modify")
			assert.equal("juliet@capulet.lit", answer.attr.from)
		end
	end)

	it("finds the recipient's address malformed", function()
		ask(pubsub, to_nurse("both", { to = "nurse@@capulet.lit" }))
		expect_refusal(pubsub, "jid-malformed", "modify")
	end)

	it("forbids everything to those who are not listed", function()
		for _, stream in ipairs { stranger, nurse } do
			for _, to in ipairs { "juliet@capulet.lit", "nobody@capulet.lit", "capulet.lit" } do
				ask(stream, to_nurse(), { to = to })
				expect_refusal(stream, "forbidden", "auth", to)
			end
		end
	end)

	it("leaves the old namespace to the server's default", function()
		ask(pubsub, to_nurse(), { xmlns = privileged.xmlns_legacy })
		expect_refusal(pubsub, "service-unavailable", "cancel")
	end)

	it("lets who is not listed send the element to a client, as any other", function()
		ask(stranger, to_nurse(), { to = juliet.jid })
		local received = privileged.asked(juliet)
		assert.equal("stranger.capulet.lit", received.attr.from)
		privileged.answer(juliet, received)
		stranger:expect { name = "iq", type = "result", id = "outer", from = juliet.jid }
	end)

	it("gives no privilege to a privileged iq in a privileged iq", function()
		local nested = "<privileged_iq xmlns='urn:xmpp:privilege:2'>" .. iq .. "</privileged_iq>"
		for _, user in ipairs { "mercutio@capulet.lit", "juliet@capulet.lit" } do
			for _, to in ipairs { "juliet@capulet.lit", "mercutio@capulet.lit", "capulet.lit", "juliet@capulet.lit/gone" } do
				ask(pubsub, { to = to, nested }, { to = user })
				local answer = privileged.expect_answer(pubsub, { type = "error", from = to, to = user }, { from = user })
				privileged.assert_error(answer, "service-unavailable")
			end
		end
	end)

	it("gives no privilege to a privileged message in a privileged iq, or the other way round", function()
		local message = [[<privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>
			<message xmlns='jabber:client' from='capulet.lit' to='nurse@capulet.lit/kitchen'><body>psst</body></message>
		</forwarded></privilege>]]
		ask(pubsub, { to = "capulet.lit", message }, { to = "mercutio@capulet.lit" })
		local answer = privileged.expect_answer(
			pubsub,
			{ type = "error", from = "capulet.lit", to = "mercutio@capulet.lit" },
			{ from = "mercutio@capulet.lit" }
		)
		privileged.assert_error(answer, "service-unavailable")
		privileged.send(talkers, {
			from = "mercutio@capulet.lit",
			to = "capulet.lit",
			"<privileged_iq xmlns='urn:xmpp:privilege:2'>" .. iq .. "</privileged_iq>",
		})
	end)

	it("B2.4 an answer is not answered, whatever it carries", function()
		for _, kind in ipairs { "result", "error" } do
			for _, to in ipairs { "juliet@capulet.lit", "capulet.lit", "nobody@capulet.lit", "juliet@capulet.lit/gone" } do
				ask(pubsub, to_nurse("both", { type = "get" }), { to = to, type = kind })
				ask(talkers, to_nurse(), { to = to, type = kind })
			end
		end
	end)
end)
