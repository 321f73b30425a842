-- Iqs of entities that get no answer, that are too many, or whose entity leaves or loses its permission meanwhile.

local fixture = require "spec.support.fixture"
local privileged = require "spec.support.privileged"
local socket = require "socket"

-- The configuration with these permissions of pubsub.capulet.lit
local function config(grant)
	local text = ([[
		VirtualHost "capulet.lit"
			privileged_entities = {
				["flood.capulet.lit"] = { iq = { ["urn:example"] = "both" } };
				["mercutio@capulet.lit"] = { iq = { ["urn:example"] = "both" } };
				%s
			}
		VirtualHost "verona.lit"
			privilege_iq_timeout = 1
			privileged_entities = { ["flood.capulet.lit"] = { iq = { ["urn:example"] = "both" } } }
	]]):format(grant)
	return text .. fixture.components("pubsub", "flood")
end

local granted = '["pubsub.capulet.lit"] = { iq = { ["urn:example"] = "both" } }'
local query = "<query xmlns='urn:example'><secret xmlns='urn:example'/></query>"

describe("B7.3 iqs under way", function()
	local server, balcony, nurse, romeo, mercutio, pubsub, flood

	fixture.running({
		config = config(granted),
		users = { "juliet@capulet.lit", "nurse@capulet.lit", "mercutio@capulet.lit", "tybalt@capulet.lit", "romeo@verona.lit" },
		log_level = "info",
	}, {
		{ "juliet@capulet.lit/balcony", carbons = true },
		"nurse@capulet.lit/kitchen",
		"romeo@verona.lit/orchard",
		"mercutio@capulet.lit/street",
		"pubsub.capulet.lit",
		"flood.capulet.lit",
	}, function(...)
		server, balcony, nurse, romeo, mercutio, pubsub, flood = ...
	end)

	local it = privileged.quiet_specs(it, function()
		return { balcony, nurse, romeo, mercutio, pubsub, flood }
	end)
	local ask, asked, answer = privileged.ask, privileged.asked, privileged.answer
	local expect_answer, expect_refusal = privileged.expect_answer, privileged.expect_refusal

	-- Asserts that an entity's iq is sent and answered
	local function assert_served(entity)
		ask(entity, { to = nurse.jid, query })
		answer(nurse, asked(nurse), query)
		privileged.assert_content(expect_answer(entity, { from = nurse.jid }), query)
	end

	it("are given up after privilege_iq_timeout, neither earlier nor much later, with one error each; late answers reach nobody", function()
		-- an iq that is answered in time is not given up later
		ask(flood, { to = romeo.jid, query }, { to = "romeo@verona.lit" })
		answer(romeo, asked(romeo), query)
		expect_answer(flood, { from = romeo.jid, to = "romeo@verona.lit" }, { from = "romeo@verona.lit" })

		local count, sent, took, done = 12, {}, {}, 0
		local start = socket.gettime()
		while done < count and socket.gettime() < start + 30 do
			if #sent < count and socket.gettime() >= start + #sent * 0.1 then
				ask(flood, { to = romeo.jid, query }, { to = "romeo@verona.lit", id = "outer" .. #sent + 1 })
				table.insert(sent, socket.gettime())
			end
			for _, stanza in ipairs(flood:drain()) do
				local i = tonumber(stanza.attr.id:match "%d+")
				privileged.assert_error(stanza, "remote-server-timeout", "wait")
				assert.equal("romeo@verona.lit", stanza.attr.from)
				assert.is_nil(took[i], "two errors")
				took[i] = socket.gettime() - sent[i]
				done = done + 1
			end
			socket.sleep(0.005)
		end
		assert.equal(count, done)
		-- the late answers come while another iq is under way, which gets its own
		ask(flood, { to = romeo.jid, query }, { to = "romeo@verona.lit" })
		for i = 1, count do
			answer(romeo, asked(romeo), query)
			assert.truthy(took[i] > 0.95, ("given up after %.2f s"):format(took[i]))
			assert.truthy(took[i] < 8, ("given up after %.2f s"):format(took[i]))
		end
		flood:nothing()
		answer(romeo, asked(romeo), query)
		expect_answer(flood, { from = romeo.jid, to = "romeo@verona.lit" }, { from = "romeo@verona.lit" })
	end)

	it("may be 10 000 for an entity, and are dropped when it leaves", function()
		-- this client never answers, and is not even read from
		local tybalt = server:client("tybalt@capulet.lit/sword", { presence = false })
		local request = privileged.iq({ from = flood.jid, to = privileged.user, id = "many" }, { to = tybalt.jid, query })
		for _ = 1, 9 do
			flood:send(request:rep(1000)):sync()
		end
		flood:send(request:rep(998))
		for _ = 1, 2 do
			ask(flood, { to = nurse.jid, query })
		end
		local one, another = asked(nurse), asked(nurse)
		flood:nothing()
		for _ = 1, 2 do
			ask(flood, { to = nurse.jid, query })
			expect_refusal(flood, "resource-constraint", "wait")
		end
		-- other entities are not affected
		assert_served(pubsub)
		-- an answer makes room for one more
		answer(nurse, one, query)
		expect_answer(flood, { from = nurse.jid })
		assert_served(flood)
		flood:send(request)
		ask(flood, { to = nurse.jid, query })
		expect_refusal(flood, "resource-constraint", "wait")

		flood:close()
		flood = server:component "flood.capulet.lit"
		flood:sync():drain()
		assert_served(flood)
		answer(nurse, another, query)
		flood:nothing()
		tybalt:cut()
	end)

	it("are given up once each when many are due at the same time, and others are served meanwhile", function()
		local silent = server:client("tybalt@capulet.lit/dagger", { presence = false })
		local texts, seen = {}, {}
		for i = 1, 3000 do
			texts[i] = privileged.iq({ from = flood.jid, to = "romeo@verona.lit", id = "due" .. i }, { to = silent.jid, query })
		end
		flood:send(table.concat(texts)):sync()
		-- The most processor time that the server takes while its timers have to wait
		server:eval [[
			local last;
			prosody.spec_longest, prosody.spec_watched = 0, true;
			module:add_timer(0.001, function ()
				local now = os.clock();
				prosody.spec_longest, last = math.max(prosody.spec_longest, now - (last or now)), now;
				return prosody.spec_watched and 0.001 or nil;
			end);
		]]
		local deadline, count = socket.gettime() + 60, 0
		while count < 3000 and socket.gettime() < deadline do
			nurse:sync()
			for _, stanza in ipairs(flood:drain()) do
				privileged.assert_error(stanza, "remote-server-timeout", "wait")
				assert.is_nil(seen[stanza.attr.id], "two errors")
				seen[stanza.attr.id] = true
				count = count + 1
			end
		end
		assert.equal(3000, count)
		local longest = server:eval "prosody.spec_watched = false; return prosody.spec_longest"
		assert.is_true(longest < 0.1, ("others waited %.3f s"):format(longest))
		silent:cut()
	end)

	it("are dropped when the stream of a component breaks", function()
		ask(pubsub, { to = nurse.jid, query })
		local iq = asked(nurse)
		pubsub:cut()
		repeat
			local ok, again = pcall(server.component, server, "pubsub.capulet.lit")
		until ok and again or not tostring(again):find "conflict"
		pubsub = server.streams[#server.streams]
		pubsub:sync():drain()
		answer(nurse, iq, query)
	end)

	it("are dropped when a privileged user's client leaves", function()
		for _, ending in ipairs { "close", "cut" } do
			local client = server:client "mercutio@capulet.lit/duel"
			ask(client, { to = nurse.jid, query })
			local iq = asked(nurse)
			client[ending](client)
			mercutio:expect { type = "unavailable", from = "mercutio@capulet.lit/duel" }
			client = server:client "mercutio@capulet.lit/duel"
			answer(nurse, iq, query)
			client:nothing { name = "iq" }
			client:close()
		end
		mercutio:nothing { name = "iq" }
		mercutio:drain()
	end)

	for name, less in pairs {
		["the namespace's"] = '["pubsub.capulet.lit"] = { message = "outgoing" }',
		["the type's"] = '["pubsub.capulet.lit"] = { iq = { ["urn:example"] = "set" } }',
		["every"] = "",
	} do
		it(("are answered with one forbidden where %s permission is taken away meanwhile"):format(name), function()
			ask(pubsub, { to = nurse.jid, query })
			local iq = asked(nurse)
			server:reload_config(config(less))
			pubsub:sync():drain()
			answer(nurse, iq, query)
			answer(nurse, iq, query)
			local refusal = expect_refusal(pubsub, "forbidden", "auth")
			assert.is_nil(tostring(refusal):find("secret", 1, true))
			pubsub:nothing()
			server:reload_config(config(granted))
			pubsub:sync():drain()
			assert_served(pubsub)
		end)
	end
end)
