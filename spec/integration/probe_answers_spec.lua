-- B8.4 and B9: what answers the server's probes reaches no client, and for how long it counts.

local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"
local rosters = require "spec.support.rosters"
local socket = require "socket"

local caught_up, settle, taken = presences.caught_up, presences.settle, presences.taken

local grant = '{ roster = "get"; roster_push = false; presence = "roster" }'
local config = ([[
VirtualHost "capulet.lit"
	privilege_probe_rate = 1000
	privileged_entities = {
		["pubsub.capulet.lit"] = GRANT;
		["watcher.capulet.lit"] = GRANT;
		["gateway.capulet.lit"] = GRANT;
		["prince@verona.lit"] = GRANT;
		["juliets.capulet.lit"] = { users = { "juliet" }; roster = "get"; presence = "roster" };
		["nurses.capulet.lit"] = { users = { "nurse" }; roster = "get"; presence = "roster" };
	}
VirtualHost "verona.lit"
Component "pubsub.capulet.lit" component_secret = "secret"
Component "watcher.capulet.lit" component_secret = "secret"
Component "gateway.capulet.lit" component_secret = "secret"
Component "juliets.capulet.lit" component_secret = "secret"
Component "nurses.capulet.lit" component_secret = "secret"
]]):gsub("GRANT", grant)
local both = { subscription = "both" }

-- Lets the specs set the server's clock forward
local start_shift = [[
	local real = os.time;
	prosody.spec_shift = 0;
	os.time = function (t)
		return t and real(t) or real() + prosody.spec_shift;
	end
]]

describe("answers to probes", function()
	local server, pubsub, gateway

	setup(function()
		server = prosody.start {
			config = config,
			users = { "juliet@capulet.lit", "nurse@capulet.lit", "prince@verona.lit" },
			rosters = {
				["juliet@capulet.lit"] = { ["a@gateway.capulet.lit"] = both, ["b@gateway.capulet.lit"] = { subscription = "to" } },
				["nurse@capulet.lit"] = { ["a@gateway.capulet.lit"] = both, ["prince@verona.lit"] = both },
				["prince@verona.lit"] = { ["nurse@capulet.lit"] = both },
			},
		}
		server:eval(start_shift)
	end)

	teardown(function()
		server:stop()
	end)

	-- Each spec begins with a module that knows nothing
	before_each(function()
		for _, stream in ipairs(server.streams) do
			stream:close()
		end
		server.streams = {}
		server:eval "prosody.spec_shift = 0"
		server:unload_module "privilege"
		server:load_module "privilege"
		gateway = server:component "gateway.capulet.lit"
		settle(server)
		gateway:sync():drain()
	end)

	-- Waits for the probes that the gateway gets
	-- @return the sorted list of "CONTACT by USER", and the probes
	local function probed(count)
		local list, stanzas, deadline = {}, {}, socket.gettime() + 20
		repeat
			for _, stanza in ipairs(gateway:sync():drain()) do
				if stanza.attr.type == "probe" then
					table.insert(list, stanza.attr.to .. " by " .. stanza.attr.from:match "^[^/]*")
					assert.is_truthy(stanza.attr.from:find "/%x+$", stanza.attr.from)
					table.insert(stanzas, stanza)
				end
			end
		until #list >= count or socket.gettime() > deadline
		table.sort(list)
		return list, stanzas
	end

	local function answer(probe, kind, resource, content)
		gateway
			:send(
				("<presence from='%s%s' to='%s' %s>%s</presence>"):format(
					probe.attr.to,
					resource or "",
					probe.attr.from,
					kind and ("type='%s'"):format(kind) or "",
					content or ""
				)
			)
			:sync()
	end

	local function connect()
		pubsub = server:component "pubsub.capulet.lit"
	end

	-- Has the entity connect once more
	-- @return how many probes that makes
	local function probes_at_connection(count)
		pubsub:close()
		connect()
		settle(server, 0.25)
		return #probed(count or 0)
	end

	-- Has the entity connect, and answers its probes; none is sent at the next connection
	local function connect_and_answer()
		connect()
		local _, list = probed(2)
		for _, probe in ipairs(list) do
			answer(probe, "unavailable")
		end
		assert.is_equal(0, probes_at_connection())
	end

	local function state()
		return rosters.state(server, "juliet", "nurse").memory
	end

	it("B9 of each kind reach no client and change no roster", function()
		connect()
		local _, list = probed(2)
		assert.is_equal(2, #list)
		local juliet = server:client "juliet@capulet.lit/balcony"
		local nurse = server:client "nurse@capulet.lit/x"
		for _, stream in ipairs { juliet, nurse, gateway } do
			stream:sync():drain()
		end
		local before = state()
		for _, probe in ipairs(list) do
			answer(probe, nil, "/x")
			answer(probe, "unavailable", "/x")
			answer(probe, "error", nil, "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")
			answer(probe, "unsubscribed")
		end
		for _, client in ipairs { juliet, nurse } do
			client:nothing()
		end
		assert.is_same(before, state())
	end)

	it("B9 of type unsubscribed to the bare JID do what they would do without the module: the contact says that it has ended", function()
		connect()
		probed(2)
		local juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
		juliet:sync():drain()
		gateway:send("<presence type='unsubscribed' from='a@gateway.capulet.lit' to='juliet@capulet.lit'/>"):sync()
		juliet:expect { name = "presence", from = "a@gateway.capulet.lit", type = "unsubscribed" }
		local push = juliet:expect { name = "iq", type = "set" }
		assert.is_equal("from", push.tags[1].tags[1].attr.subscription)
		-- of an offline user, too
		gateway:send("<presence type='unsubscribed' from='a@gateway.capulet.lit' to='nurse@capulet.lit'/>"):sync()
		assert.is_equal(
			"from",
			server:eval [[
			return require "core.rostermanager".load_roster("nurse", "capulet.lit")["a@gateway.capulet.lit"].subscription;
		]]
		)
		server:eval [[
			local rostermanager = require "core.rostermanager";
			for _, username in ipairs { "juliet", "nurse" } do
				local roster = rostermanager.load_roster(username, "capulet.lit");
				roster["a@gateway.capulet.lit"].subscription = "both";
				assert(rostermanager.save_roster(username, "capulet.lit", roster, "a@gateway.capulet.lit"));
			end
		]]
	end)

	it("B8.4 count for an hour", function()
		connect_and_answer()
		server:eval "prosody.spec_shift = 3500"
		assert.is_equal(0, probes_at_connection())
		server:eval "prosody.spec_shift = 3700"
		assert.is_equal(2, probes_at_connection(2))
	end)

	it("B8.4 are asked for again where what is remembered is an hour old, and tell of what has gone unheard", function()
		connect()
		probed(2)
		gateway:send "<presence from='a@gateway.capulet.lit/x' to='juliet@capulet.lit'/>"
		gateway:send "<presence from='a@gateway.capulet.lit/x' to='nurse@capulet.lit'/>"
		gateway:sync()
		pubsub:expect { name = "presence", from = "a@gateway.capulet.lit/x", type = false }
		server:eval "prosody.spec_shift = 3700"
		pubsub:close()
		connect()
		pubsub:expect { name = "presence", from = "a@gateway.capulet.lit/x", type = false }
		local found, list = probed(2)
		for _, probe in ipairs(list) do
			if probe.attr.to == "a@gateway.capulet.lit" then
				answer(probe, "unavailable")
			end
		end
		assert.is_equal(2, #found)
		pubsub:expect { name = "presence", from = "a@gateway.capulet.lit", type = "unavailable" }
		settle(server)
		pubsub:nothing { name = "presence", from = "a@gateway.capulet.lit/x" }
		pubsub:close()
		connect()
		assert.is_same({}, caught_up(pubsub))
	end)

	it("B8.4 that name some clients of a contact end the others after a minute", function()
		connect()
		probed(2)
		for _, resource in ipairs { "x", "y" } do
			gateway:send(("<presence from='a@gateway.capulet.lit/%s' to='juliet@capulet.lit'/>"):format(resource)):sync()
		end
		server:eval "prosody.spec_shift = 3700"
		pubsub:close()
		connect()
		local _, list = probed(2)
		for _, probe in ipairs(list) do
			if probe.attr.to == "a@gateway.capulet.lit" then
				assert.is_equal("juliet@capulet.lit", probe.attr.from:match "^[^/]*")
				answer(probe, nil, "/x")
			end
		end
		settle(server)
		pubsub:sync():drain()
		-- the module waits for them by a timer; after a reload it looks at the clock
		server:eval "prosody.spec_shift = 3700 + 61"
		server:reload_module "privilege"
		pubsub:expect({ name = "presence", from = "a@gateway.capulet.lit/y", type = "unavailable" })
		pubsub:nothing { name = "presence", from = "a@gateway.capulet.lit/x", type = "unavailable" }
		pubsub:close()
		connect()
		assert.is_same({ "a@gateway.capulet.lit/x" }, caught_up(pubsub))
	end)

	it("B8.4 that are errors are asked for again by the next catch-up", function()
		connect()
		for _ = 1, 3 do
			local _, list = probed(2)
			assert.is_equal(2, #list)
			for _, probe in ipairs(list) do
				answer(
					probe,
					"error",
					nil,
					"<error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
				)
			end
			pubsub:close()
			connect()
		end
	end)

	local cannot_reach = "<error type='cancel'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"

	-- Finds the probe of the contact whom both users have
	-- @return it, and the user in whose name it was not sent
	local function shared_of(list)
		for _, probe in ipairs(list) do
			if probe.attr.to == "a@gateway.capulet.lit" then
				return probe, probe.attr.from:find "^juliet@" and "nurse" or "juliet"
			end
		end
	end

	-- Has a user block the contact, until the spec ends, with a client that is never available
	local function block(username)
		local client = server:client(username .. "@capulet.lit/block", { presence = false })
		local item = "<block xmlns='urn:xmpp:blocking'><item jid='a@gateway.capulet.lit'/></block>"
		assert.is_equal("result", client:iq({ type = "set", item }).attr.type)
		finally(function()
			client:iq { type = "set", "<unblock xmlns='urn:xmpp:blocking'/>" }
		end)
	end

	for what, refuse in pairs {
		["say that the subscription has ended"] = function(probe)
			answer(probe, "unsubscribed")
		end,
		["are an error of the contact"] = function(probe)
			answer(probe, "error", nil, cannot_reach:format "item-not-found")
		end,
		["a user has blocked"] = function(probe)
			block(probe.attr.from:match "^[^@]*")
			answer(probe, nil, "/x")
		end,
		["do not come, as Prosody sends none where it does not know the subscription,"] = function()
			server:eval "prosody.spec_shift = 6"
		end,
	} do
		it("B8.4 that " .. what .. " say nothing of other users: another one is asked at once", function()
			connect()
			local _, list = probed(2)
			local refused, other = shared_of(list)
			refuse(refused)
			local found, more = probed(1)
			assert.is_same({ "a@gateway.capulet.lit by " .. other .. "@capulet.lit" }, found)
			pubsub:nothing { name = "presence", from = "a@gateway.capulet.lit/x" }
			answer(more[1], nil, "/x")
			pubsub:expect { name = "presence", from = "a@gateway.capulet.lit/x", type = false }
			settle(server, 0.25)
			assert.is_same({}, (probed(0)))
		end)
	end

	it("B8.4 that no user gets are not asked for again in the same name for half an hour", function()
		connect()
		local _, list = probed(2)
		for _ = 1, 2 do
			answer((shared_of(list)), "unsubscribed")
			_, list = probed(list[2] and 1 or 0)
		end
		assert.is_same({}, list)
		server:eval "prosody.spec_shift = 6"
		pubsub:close()
		connect()
		settle(server, 0.25)
		assert.is_same({ "b@gateway.capulet.lit by juliet@capulet.lit" }, (probed(1)))
		server:eval "prosody.spec_shift = 3700"
		pubsub:close()
		connect()
		assert.is_equal(2, #probed(2))
	end)

	it("B8.4 that say that the contact's server is gone are not asked for in another user's name", function()
		connect()
		local _, list = probed(2)
		answer((shared_of(list)), "error", nil, cannot_reach:format "remote-server-not-found")
		settle(server, 0.25)
		assert.is_same({}, (probed(0)))
	end)

	it("B8.3 that a user gets none of because the user has blocked the contact end nothing for others", function()
		connect()
		probed(2)
		for _, username in ipairs { "juliet", "nurse" } do
			gateway:send(("<presence from='a@gateway.capulet.lit/x' to='%s@capulet.lit'/>"):format(username)):sync()
		end
		pubsub:expect { name = "presence", from = "a@gateway.capulet.lit/x" }
		server:eval "prosody.spec_shift = 3700"
		pubsub:close()
		connect()
		local _, list = probed(2)
		local probe, other = shared_of(list)
		block(probe.attr.from:match "^[^@]*")
		answer(probe, nil, "/x")
		-- the other one is asked, and the contact does not answer
		assert.is_same({ "a@gateway.capulet.lit by " .. other .. "@capulet.lit" }, (probed(1)))
		gateway:send(("<presence from='a@gateway.capulet.lit/x' to='%s@capulet.lit'/>"):format(other)):sync()
		settle(server)
		pubsub:nothing { name = "presence", type = "unavailable" }
		-- the module waits for the end of probes by a timer; after a reload it looks at the clock, a second later
		server:eval "prosody.spec_shift = 3700 + 61"
		server:reload_module "privilege"
		settle(server, 1.2)
		pubsub:nothing { name = "presence", type = "unavailable" }
		gateway:send(("<presence from='a@gateway.capulet.lit/x' to='%s@capulet.lit' type='unavailable'/>"):format(other)):sync()
		pubsub:expect { name = "presence", from = "a@gateway.capulet.lit/x", type = "unavailable" }
	end)

	it("B12.5 to one user do not count for an entity whose grant covers another one only", function()
		connect()
		local juliets, nurses = server:component "juliets.capulet.lit", server:component "nurses.capulet.lit"
		local _, list = probed(2)
		local first, other = shared_of(list)
		answer(first, nil, "/x")
		pubsub:expect { name = "presence", from = "a@gateway.capulet.lit/x" }
		local covered, uncovered = juliets, nurses
		if other == "juliet" then
			covered, uncovered = nurses, juliets
		end
		covered:expect { name = "presence", from = "a@gateway.capulet.lit/x" }
		local found, more = probed(1)
		assert.is_same({ "a@gateway.capulet.lit by " .. other .. "@capulet.lit" }, found)
		assert.is_same({}, taken(uncovered))
		answer(more[1], nil, "/x")
		uncovered:expect { name = "presence", from = "a@gateway.capulet.lit/x" }
		-- nobody is asked again, at the next connection neither
		for _, entity in ipairs { pubsub, juliets, nurses } do
			entity:close()
		end
		server:eval "prosody.spec_shift = 6"
		list = {}
		for i, name in ipairs { "pubsub", "juliets", "nurses" } do
			local entity = server:component(name .. ".capulet.lit")
			settle(server, 0.25)
			list[i] = caught_up(entity)
			entity:close()
		end
		local online = { "a@gateway.capulet.lit/x" }
		assert.is_same({ online, online, online }, list)
	end)

	it("B12.5 to an uncovered user are not waited for: a covered one is asked when the entity connects later", function()
		connect()
		local _, list = probed(2)
		local first, other = shared_of(list)
		answer(first, nil, "/x")
		pubsub:expect { name = "presence", from = "a@gateway.capulet.lit/x" }
		server:eval "prosody.spec_shift = 6"
		local late = server:component(other .. "s.capulet.lit")
		local found, more = probed(1)
		assert.is_truthy(table.concat(found, " "):find("a@gateway.capulet.lit by " .. other .. "@capulet.lit", 1, true))
		assert.is_same({}, taken(late))
		answer((shared_of(more)), nil, "/x")
		late:expect { name = "presence", from = "a@gateway.capulet.lit/x" }
	end)

	it("B8.4 of a component that was not connected yet are asked for again", function()
		gateway:close()
		connect()
		settle(server, 0.25)
		gateway = server:component "gateway.capulet.lit"
		assert.is_equal(2, probes_at_connection(2))
	end)

	it("B8.4 do not count any more when the component has disconnected", function()
		connect_and_answer()
		gateway:close()
		settle(server)
		gateway = server:component "gateway.capulet.lit"
		assert.is_equal(2, probes_at_connection(2))
	end)

	it("B8.4 that do not come are asked for again, and once by two entities that connect together", function()
		connect()
		local watcher = server:component "watcher.capulet.lit"
		settle(server, 0.3)
		assert.is_equal(2, #probed(2))
		assert.is_equal(0, probes_at_connection())
		server:eval "prosody.spec_shift = 6"
		assert.is_equal(2, probes_at_connection(2))
		watcher:close()
	end)

	it("B8.4 are never asked of an entity's own contacts and users", function()
		gateway:close()
		gateway = server:component "gateway.capulet.lit"
		settle(server, 0.25)
		assert.is_same({}, (probed(0)))
		server:eval(
			[[
			prosody.spec_probes = 0;
			module:hook("presence/bare", function (event)
				prosody.spec_probes = prosody.spec_probes + (event.stanza.attr.type == "probe" and event.origin.type == "local" and 1 or 0);
			end, 1000);
		]],
			"verona.lit"
		)
		local prince = server:client "prince@verona.lit/x"
		settle(server, 0.25)
		assert.is_equal(0, server:eval "return prosody.spec_probes")
		prince:close()
	end)

	-- What an entity is told of contacts at its next connection
	local function told_at_connection()
		local watcher = server:component "watcher.capulet.lit"
		local list = caught_up(watcher)
		watcher:close()
		return list
	end

	it("B8.4 what is remembered is told, and nothing forgotten, where accounts cannot be listed or a roster cannot be read", function()
		gateway:send "<presence from='a@gateway.capulet.lit/x' to='nurse@capulet.lit'/>"
		gateway:send "<presence from='b@gateway.capulet.lit/x' to='juliet@capulet.lit'/>"
		gateway:sync()
		local everybody = { "a@gateway.capulet.lit/x", "b@gateway.capulet.lit/x" }
		assert.is_same(everybody, told_at_connection())
		-- an authentication that has no list of its users
		server:eval [[
			local provider = prosody.hosts[module.host].users;
			prosody.spec_users = provider.users;
			provider.users = function () end;
		]]
		assert.is_same(everybody, told_at_connection())
		connect()
		assert.is_same(everybody, caught_up(pubsub))
		server:reload_module "privilege"
		assert.is_same(everybody, caught_up(pubsub))
		pubsub:close()
		-- one that fails to make it
		server:eval [[prosody.hosts[module.host].users.users = function () error "no list"; end]]
		assert.is_same(everybody, told_at_connection())
		server:eval [[prosody.hosts[module.host].users.users = prosody.spec_users;]]
		assert.is_same(everybody, told_at_connection())
		server:eval [[
			prosody.hosts[module.host].roster_cache = nil;
			prosody.spec_fail = { roster_get = function (_, username) return username == "nurse"; end };
		]]
		assert.is_same(everybody, told_at_connection())
		server:eval "prosody.spec_fail = nil; prosody.hosts[module.host].roster_cache = nil"
		assert.is_same(everybody, told_at_connection())
		-- and what becomes of them is told
		connect()
		caught_up(pubsub)
		for contact, user in pairs { a = "nurse", b = "juliet" } do
			gateway
				:send(("<presence type='unavailable' from='%s@gateway.capulet.lit/x' to='%s@capulet.lit'/>"):format(contact, user))
				:sync()
		end
		local list = taken(pubsub)
		table.sort(list)
		assert.is_same({ "a@gateway.capulet.lit/x unavailable", "b@gateway.capulet.lit/x unavailable" }, list)
	end)
end)
