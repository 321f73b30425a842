-- Iqs that entities send on behalf of users, and their answers (XEP-0356, section 6).

local fixture = require "spec.support.fixture"
local privileged = require "spec.support.privileged"
local xml = require "spec.support.xml"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = { iq = {
			["urn:example"] = "both"; ["http://jabber.org/protocol/disco#info"] = "get"; ["http://jabber.org/protocol/pubsub"] = "both";
			["vcard-temp"] = "both"; ["jabber:iq:roster"] = "both"; ["jabber:iq:private"] = "both";
		} };
		["mercutio@capulet.lit"] = { iq = { ["urn:example"] = "both" } };
	}
VirtualHost "verona.lit"
]] .. fixture.components("pubsub", "stranger", "gone")

local query = "<query xmlns='urn:example'><part n='1'>of it</part><part xmlns='urn:example:other'/></query>"
local juliet = "juliet@capulet.lit"

describe("B7 iqs", function()
	local server, balcony, nurse, cook, romeo, mercutio, pubsub, stranger

	local streams = fixture.running({
		config = config,
		modules = { "privilege", "vcard", "private" },
		users = {
			"juliet@capulet.lit",
			"nurse@capulet.lit",
			"mercutio@capulet.lit",
			"tybalt@capulet.lit",
			"romeo@verona.lit",
		},
		rosters = { [juliet] = { ["nurse@capulet.lit"] = { subscription = "none", name = "Nurse" } } },
	}, {
		{ "juliet@capulet.lit/balcony", carbons = true },
		"nurse@capulet.lit/kitchen",
		"nurse@capulet.lit/chamber",
		"romeo@verona.lit/orchard",
		"mercutio@capulet.lit/street",
		"pubsub.capulet.lit",
		"stranger.capulet.lit",
		"mercutio@capulet.lit/tavern",
	}, function(...)
		server, balcony, nurse, cook, romeo, mercutio, pubsub, stranger = ...
	end)

	local it = privileged.quiet_specs(it, streams)

	local asked, answer = privileged.asked, privileged.answer

	-- Asks as pubsub.capulet.lit on behalf of juliet@capulet.lit, by default the nurse's client
	local function ask(inner, outer)
		privileged.ask(pubsub, inner or { to = nurse.jid, query }, outer)
	end

	-- Waits for its answer, by default the result of the nurse's client
	local function unwrap(inner, outer)
		inner = inner or {}
		inner.from = inner.from or nurse.jid
		return privileged.expect_answer(pubsub, inner, outer)
	end

	for _, kind in ipairs { "get", "set" } do
		it("B7.1, B7.2 asks a local user's client as the user, and wraps its result: " .. kind, function()
			local raw = privileged.record(nurse)
			ask({ to = nurse.jid, query }, { type = kind })
			local iq = asked(nurse)
			xml.assert_same(iq, ("<iq type='%s' from='%s' to='%s' id='%s'>%s</iq>"):format(kind, juliet, nurse.jid, iq.attr.id, query))
			assert.is_nil(raw():find("jabber:client", 1, true))
			answer(nurse, iq, query)
			privileged.assert_content(unwrap(), query)
		end)
	end

	it("B7.1 keeps a message that the payload carries", function()
		local payload = [[<query xmlns='urn:example'><forwarded xmlns='urn:xmpp:forward:0'>
			<message xmlns='jabber:client' from='romeo@verona.lit'><body>Farewell</body></message>
		</forwarded></query>]]
		ask { to = nurse.jid, payload }
		local iq = asked(nurse)
		privileged.assert_content(iq, payload)
		answer(nurse, iq, payload)
		privileged.assert_content(unwrap(), payload)
	end)

	it("B7.2 wraps the error of a local user's client", function()
		local content = query
			.. [[<error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>
			<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>Not so</text><thing xmlns='urn:example:thing'/></error>]]
		ask()
		answer(nurse, asked(nurse), content, { type = "error" })
		privileged.assert_content(unwrap { type = "error" }, content)
	end)

	it("B7.2 wraps the server's error for a client or an account that is not there", function()
		for _, to in ipairs { "nurse@capulet.lit/gone", "nobody@capulet.lit", "nobody@verona.lit/x" } do
			ask { to = to, query }
			privileged.assert_error(unwrap { type = "error", from = to }, "service-unavailable", "cancel")
		end
	end)

	it("B7.1 asks a component, another virtual host's client and a component that is not connected", function()
		for _, stream in ipairs { stranger, romeo, pubsub } do
			ask { to = stream.jid, query }
			local iq = asked(stream)
			assert.equal(juliet, iq.attr.from)
			privileged.assert_content(iq, query)
			answer(stream, iq, "<done xmlns='urn:example'/>")
			privileged.assert_content(unwrap { from = stream.jid }, "<done xmlns='urn:example'/>")
		end
		ask { to = "gone.capulet.lit", query }
		assert.equal("error", unwrap({ type = "error", from = "gone.capulet.lit" }).attr.type)
	end)

	it("B7.1 asks the host, and another user's account", function()
		local info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
		ask { to = "capulet.lit", info }
		local result = unwrap({ from = "capulet.lit" }):get_child("query", "http://jabber.org/protocol/disco#info")
		assert.truthy(result:get_child "identity")
		ask { to = "Nurse@Capulet.lit", info }
		privileged.assert_error(unwrap { type = "error", from = "nurse@capulet.lit" }, "service-unavailable")
		ask { to = "nurse@capulet.lit", "<vCard xmlns='vcard-temp'/>" }
		privileged.assert_error(unwrap { type = "error", from = "nurse@capulet.lit" }, "item-not-found")
	end)

	for name, to in pairs { ["addressed to it"] = juliet, ["without 'to'"] = false } do
		-- Asks the user's own account, and returns the answer
		local function own(kind, payload, answer_type)
			ask({ to = to, payload }, { type = kind })
			return unwrap { type = answer_type, from = juliet }
		end

		it("B7.1 publishes to the user's own PEP service and reads it, " .. name, function()
			local item = ("<item id='%s'><tune xmlns='http://jabber.org/protocol/tune'><artist>Gerald Finzi</artist></tune></item>"):format(
				(name:gsub("%W", ""))
			)
			local payload = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><%s node='http://jabber.org/protocol/tune'>%s</%s></pubsub>"
			local published =
				own("set", payload:format("publish", item, "publish")):get_child("pubsub", "http://jabber.org/protocol/pubsub")
			assert.truthy(published)
			local items = own("get", payload:format("items", "", "items"))
			privileged.assert_content(items, payload:format("items", item, "items"))
			-- and it is the user's own
			local seen = balcony:iq { type = "get", payload:format("items", "", "items") }
			privileged.assert_content(seen, payload:format("items", item, "items"))
		end)

		it("B7.1 reaches the user's own roster, vcard and private storage, " .. name, function()
			local roster = own("get", "<query xmlns='jabber:iq:roster'/>"):get_child("query", "jabber:iq:roster")
			assert.equal("Nurse", roster.tags[1].attr.name)
			assert.equal(1, #roster.tags)
			local item = "<query xmlns='jabber:iq:roster'><item jid='tybalt@capulet.lit' subscription='%s'/></query>"
			privileged.assert_content(own("set", item:format "none"), "")
			assert.equal(2, #balcony:iq({ type = "get", "<query xmlns='jabber:iq:roster'/>" }).tags[1].tags)
			balcony:drain()
			privileged.assert_content(own("set", item:format "remove"), "")
			balcony:sync():drain()

			local vcard = ("<vCard xmlns='vcard-temp'><FN>Juliet, %s</FN></vCard>"):format((name:gsub("%W", "")))
			privileged.assert_content(own("set", vcard), "")
			privileged.assert_content(own("get", "<vCard xmlns='vcard-temp'/>"), vcard)
			privileged.assert_content(balcony:iq { type = "get", "<vCard xmlns='vcard-temp'/>" }, vcard)

			local notes = "<query xmlns='jabber:iq:private'><notes xmlns='urn:example:notes'>%s</notes></query>"
			privileged.assert_content(own("set", notes:format "mine"), "")
			privileged.assert_content(balcony:iq { type = "get", notes:format "" }, notes:format "mine")
			privileged.assert_error(own("get", query, "error"), "service-unavailable")
		end)
	end

	it("B7.1 asks as a user who is not there", function()
		local user = "tybalt@capulet.lit"
		ask(nil, { to = user })
		local iq = asked(nurse)
		assert.equal(user, iq.attr.from)
		answer(nurse, iq, query)
		privileged.assert_content(unwrap({ to = user }, { from = user }), query)
		local payload = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><%s node='urn:example'>%s</%s></pubsub>"
		local item = "<item id='1'><thing xmlns='urn:example'/></item>"
		ask({ payload:format("publish", item, "publish") }, { to = user, type = "set" })
		unwrap({ from = user, to = user }, { from = user })
		ask({ payload:format("items", "", "items") }, { to = user })
		privileged.assert_content(unwrap({ from = user, to = user }, { from = user }), payload:format("items", item, "items"))
	end)

	it("B7.1 asks the user's own clients", function()
		ask { to = balcony.jid, query }
		answer(balcony, asked(balcony), query)
		privileged.assert_content(unwrap { from = balcony.jid }, query)
	end)

	it("B7.1 is subject to the hooks that the user's own iq is", function()
		local blocking = "<%s xmlns='urn:xmpp:blocking'><item jid='nurse@capulet.lit'/></%s>"
		assert.equal("result", balcony:iq({ type = "set", blocking:format("block", "block") }).attr.type)
		ask()
		privileged.assert_error(unwrap { type = "error" }, "not-acceptable")
		assert.equal("result", balcony:iq({ type = "set", blocking:format("unblock", "unblock") }).attr.type)
		ask()
		answer(nurse, asked(nurse))
		unwrap()
		for _, client in ipairs { balcony, nurse, cook } do
			client:sync():drain()
		end
	end)

	it("B7.1 compares the addresses prepared, and answers the address of the entity that asked", function()
		ask(
			{ from = "JULIET@capulet.lit", to = "Nurse@Capulet.LIT/kitchen", query },
			{ to = "Juliet@Capulet.lit", from = "a@pubsub.capulet.lit/b" }
		)
		answer(nurse, asked(nurse))
		unwrap(nil, { to = "a@pubsub.capulet.lit/b" })
	end)

	it("B7.2 gives back the id as the entity gave it", function()
		for _, id in ipairs { "a'b\"<&>ü", "", (" "):rep(3), ("x"):rep(1019) } do
			ask({ to = nurse.jid, id = id, query }, { id = "outer" .. id })
			answer(nurse, asked(nurse))
			unwrap({ id = id }, { id = "outer" .. id })
		end
	end)

	it("B7.2 keeps any number under way, with equal inner ids too, and answers each with its own answer", function()
		local requests, count = {}, 500
		local payload = "<query xmlns='urn:example' n='%d'/>"
		for i = 1, count do
			requests[i] = privileged.iq({ from = pubsub.jid, to = juliet, id = "outer" .. i }, { to = nurse.jid, payload:format(i) })
		end
		pubsub:send(table.concat(requests))
		local iqs = {}
		for i = 1, count do
			iqs[i] = asked(nurse)
		end
		for i = count, 1, -1 do
			answer(nurse, iqs[i], tostring(iqs[i].tags[1]), { type = i % 7 == 0 and "error" or "result" })
		end
		local seen = {}
		for _ = 1, count do
			local stanza = pubsub:expect { name = "iq" }
			local i = tonumber(stanza.attr.id:match "%d+")
			local inner = { type = i % 7 == 0 and "error" or "result", id = "inner", from = nurse.jid, to = juliet }
			privileged.assert_content(
				privileged.unwrap(stanza, { id = stanza.attr.id, from = juliet, to = pubsub.jid }, inner),
				payload:format(i)
			)
			assert.is_nil(seen[i])
			seen[i] = true
		end
	end)

	it("B7.2 ignores answers from any address but the one that was asked, and those that come twice", function()
		ask()
		local iq = asked(nurse)
		for _, kind in ipairs { "result", "error" } do
			for _, forger in ipairs { cook, balcony, mercutio, romeo, stranger, pubsub } do
				answer(forger, iq, query, { type = kind, from = forger.jid })
			end
			-- the asked client to others: the sender, the host, the entity, a user
			for _, to in ipairs { "capulet.lit", "mercutio@capulet.lit", "nobody@capulet.lit" } do
				answer(nurse, iq, query, { type = kind, to = to })
			end
		end
		pubsub:nothing()
		answer(nurse, iq, query)
		privileged.assert_content(unwrap(), query)
		answer(nurse, iq, query)
		answer(nurse, iq, query, { type = "error" })
	end)

	it("B7.2 ignores what the user's client and others answer in place of the user's account or the host", function()
		server:eval [[
			for _, event in ipairs { "iq/self/urn:example:query", "iq/host/urn:example:query" } do
				module:hook(event, function (event_data)
					if event_data.stanza.tags[1].attr.silent then
						prosody.spec_id = event_data.stanza.attr.id;
						prosody.spec_reply = function ()
							event_data.origin.send(require "util.stanza".reply(event_data.stanza));
						end
						return true;
					end
				end);
			end
		]]
		for _, to in ipairs { juliet, "capulet.lit" } do
			ask { to = to, "<query xmlns='urn:example' silent='yes'/>" }
			pubsub:nothing()
			local id = server:eval "return prosody.spec_id"
			for _, forger in ipairs { balcony, nurse, stranger } do
				answer(forger, { attr = { id = id, from = juliet } }, query, { from = forger.jid })
			end
			pubsub:nothing()
			server:eval "prosody.spec_reply(); prosody.spec_reply()"
			privileged.assert_content(unwrap { from = to }, "")
		end
	end)

	it("B7.1 lets a privileged user's client ask, for any user and for its own, and answers that client alone", function()
		for _, to in ipairs { juliet, "mercutio@capulet.lit", false } do
			local user = to or "mercutio@capulet.lit"
			privileged.ask(mercutio, { to = nurse.jid, query }, { to = to })
			local iq = asked(nurse)
			assert.equal(user, iq.attr.from)
			answer(nurse, iq, query)
			local reply = mercutio:expect { name = "iq", id = "outer" }
			-- what comes from one's own account may say so or not
			reply.attr.from = reply.attr.from or user
			reply = privileged.unwrap(
				reply,
				{ id = "outer", from = user, to = mercutio.jid },
				{ type = "result", id = "inner", from = nurse.jid, to = user }
			)
			privileged.assert_content(reply, query)
		end
	end)
end)
