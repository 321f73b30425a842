-- What entities send on behalf of users to other servers, and what comes back from there.

local privileged = require "spec.support.privileged"
local prosody = require "spec.support.prosody"

local capulet = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = {
			message = "outgoing";
			iq = { ["urn:example"] = "both"; ["urn:xmpp:ping"] = "get"; ["http://jabber.org/protocol/pubsub"] = "both" };
		};
		["benvolio@montague.lit"] = { roster = "both"; message = "outgoing"; iq = { ["urn:example"] = "both" } };
		["service.montague.lit"] = { roster = "both"; message = "outgoing"; iq = { ["urn:example"] = "both" } };
	}
Component "pubsub.capulet.lit"
	component_secret = "secret"
]]
local montague = [[
VirtualHost "montague.lit"
Component "service.montague.lit"
	component_secret = "secret"
Component "gone.montague.lit"
	component_secret = "secret"
]]

local query = "<query xmlns='urn:example'><part>of it</part><part xmlns='urn:example:other'/></query>"

describe("with another server,", function()
	local here, there, juliet, phone, nurse, pubsub, benvolio, page, service

	setup(function()
		here = prosody.start { s2s = true, config = capulet, users = { "juliet@capulet.lit", "nurse@capulet.lit" } }
		there = prosody.start { s2s = true, config = montague, modules = {}, users = { "benvolio@montague.lit" } }
		juliet = here:client("juliet@capulet.lit/balcony", { carbons = true })
		phone = here:client("juliet@capulet.lit/phone", { carbons = true, presence = "<presence><priority>-1</priority></presence>" })
		nurse = here:client "nurse@capulet.lit/kitchen"
		pubsub = here:component "pubsub.capulet.lit"
		benvolio = there:client "benvolio@montague.lit/street"
		page = there:client("benvolio@montague.lit/page", { presence = "<presence><priority>-1</priority></presence>" })
		service = there:component "service.montague.lit"
	end)

	teardown(function()
		here:stop()
		there:stop()
	end)

	local it = privileged.quiet_specs(it, function()
		return { juliet, phone, nurse, pubsub, benvolio, page, service }
	end)
	local asked, answer, expect_answer = privileged.asked, privileged.answer, privileged.expect_answer

	local function send(inner)
		privileged.send(pubsub, inner)
	end

	local function ask(inner, outer)
		privileged.ask(pubsub, inner, outer)
	end

	-- Makes a round trip to the other server and back: what was sent there before has been handled, and what that made has come back
	local function settle()
		nurse:send "<message to='benvolio@montague.lit/street'><subject>settle</subject></message>"
		benvolio:expect { name = "message", child = "subject" }
		for _, stream in ipairs { benvolio, page, service } do
			stream:sync()
			local to = "nurse@capulet.lit/kitchen"
			stream:send(
				("<message %s to='%s'><subject>settled</subject></message>"):format(
					stream == service and "from='service.montague.lit'" or "",
					to
				)
			)
			nurse:expect { name = "message", child = "subject" }
		end
	end

	it("B6.1 a message reaches clients, accounts and components there, with carbons to the sender's clients", function()
		local children = "<body>Good morrow</body><event xmlns='urn:example'><forwarded xmlns='urn:xmpp:forward:0'>"
			.. "<message xmlns='jabber:client' to='a@b'><body>x</body></message></forwarded></event><thing><part/></thing>"
		for _, to in ipairs { "benvolio@montague.lit/street", "Benvolio@montague.LIT", "service.montague.lit", "x@service.montague.lit" } do
			send { from = privileged.user, to = to, type = "chat", id = "m1", children }
			local received = (to:find "service" and service or benvolio):expect { name = "message" }
			assert.same(
				{ from = privileged.user, to = to:lower(), type = "chat", id = "m1" },
				{ from = received.attr.from, to = received.attr.to, type = received.attr.type, id = received.attr.id }
			)
			privileged.assert_content(received, children)
			for _, client in ipairs { juliet, phone } do
				local carbon = client:expect { name = "message", child = "sent" }
				carbon = carbon:find "{urn:xmpp:carbons:2}sent/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
				assert.equal(to:lower(), carbon.attr.to)
				privileged.assert_content(carbon, children)
			end
		end
		send { from = "capulet.lit", to = "benvolio@montague.lit/street", id = "m2", "<body>from the host</body>" }
		benvolio:expect { from = "capulet.lit", id = "m2", body = "from the host" }
	end)

	it("B6.1 what cannot be delivered there bounces to nobody here", function()
		for _, from in ipairs { privileged.user, "capulet.lit" } do
			for _, to in ipairs { "nobody@montague.lit", "nobody@montague.lit/x", "gone.montague.lit", "nobody@elsewhere.lit" } do
				send { from = from, to = to, id = "event", "<event xmlns='urn:example'/>" }
			end
		end
		-- an iq to the server that is not to be reached gets its error after the messages did
		ask { to = "nobody@elsewhere.lit", query }
		expect_answer(pubsub, { type = "error", from = "nobody@elsewhere.lit" })
		settle()
	end)

	for _, kind in ipairs { "get", "set" } do
		it(("B7.1, B7.2 a client and a component there get a %s as from the user, and their answers come back"):format(kind), function()
			for _, stream in ipairs { benvolio, page, service } do
				ask({ to = stream.jid, query }, { type = kind })
				local iq = asked(stream)
				assert.equal(kind, iq.attr.type)
				assert.equal(privileged.user, iq.attr.from)
				assert.equal(stream.jid, iq.attr.to)
				privileged.assert_content(iq, query)
				answer(stream, iq, query)
				privileged.assert_content(expect_answer(pubsub, { from = stream.jid }), query)

				local content = query .. "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
				ask({ to = stream.jid, query }, { type = kind })
				answer(stream, asked(stream), content, { type = "error" })
				privileged.assert_content(expect_answer(pubsub, { type = "error", from = stream.jid }), content)
			end
		end)
	end

	it("B7.1, B7.2 the other server and an account there answer", function()
		ask { to = "montague.lit", "<ping xmlns='urn:xmpp:ping'/>" }
		privileged.assert_content(expect_answer(pubsub, { from = "montague.lit" }), "")
		ask { to = "benvolio@montague.lit", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:example'/></pubsub>" }
		expect_answer(pubsub, { type = "error", from = "benvolio@montague.lit" })
		ask { to = "benvolio@montague.lit/gone", query }
		privileged.assert_error(expect_answer(pubsub, { type = "error", from = "benvolio@montague.lit/gone" }), "service-unavailable")
	end)

	it("B7.2 a server that cannot be reached is an error like any other", function()
		for _ = 1, 2 do
			ask({ to = "elsewhere.lit", query }, { type = "set" })
			local refusal = expect_answer(pubsub, { type = "error", from = "elsewhere.lit" })
			privileged.assert_error(refusal, "remote-server-not-found")
		end
	end)

	it("B7.2 equal inner ids there are no problem", function()
		local iqs, count = {}, 100
		for i = 1, count do
			ask({ to = benvolio.jid, ("<query xmlns='urn:example' n='%d'/>"):format(i) }, { id = "outer" .. i })
		end
		for i = 1, count do
			iqs[i] = asked(benvolio)
		end
		for i = count, 1, -1 do
			answer(benvolio, iqs[i], tostring(iqs[i].tags[1]))
		end
		for i = 1, count do
			local result = privileged.unwrap(
				pubsub:expect { id = "outer" .. i },
				{ id = "outer" .. i, from = privileged.user, to = pubsub.jid },
				{ type = "result", id = "inner", from = benvolio.jid, to = privileged.user }
			)
			assert.equal(tostring(i), result.tags[1].attr.n)
		end
	end)

	it("B7.2 answers count from the address that was asked only, here or there", function()
		local forged = "<query xmlns='urn:example' forged='yes'/>"
		for _, stream in ipairs { benvolio, service, nurse } do
			ask { to = stream.jid, query }
			local iq = asked(stream)
			for _, forger in ipairs { page, benvolio, service, nurse, juliet } do
				if forger ~= stream then
					answer(forger, iq, forged)
					answer(forger, iq, forged, { type = "error" })
				end
			end
			if stream == service then
				answer(service, iq, forged, { from = "x@service.montague.lit" })
			end
			answer(stream, iq, forged, { to = "nurse@capulet.lit" })
			settle()
			pubsub:nothing()
			answer(stream, iq, query)
			privileged.assert_content(expect_answer(pubsub, { from = stream.jid }), query)
			answer(stream, iq, query)
			settle()
		end
	end)

	it("B2.1 nobody who comes over s2s is an entity, listed or not", function()
		local inner = { from = privileged.user, to = "nurse@capulet.lit/kitchen", "<body>psst</body>" }
		for _, stream in ipairs { benvolio, service } do
			privileged.send(stream, inner, { to = "capulet.lit" })
			privileged.expect_refusal(stream, "service-unavailable", "cancel", "capulet.lit")
			for _, to in ipairs { privileged.user, "capulet.lit", "juliet@capulet.lit/gone" } do
				privileged.ask(stream, { to = "nurse@capulet.lit/kitchen", query }, { to = to })
				privileged.expect_refusal(stream, "service-unavailable", "cancel", to)
			end
		end
	end)
end)
