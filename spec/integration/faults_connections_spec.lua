-- Connections that break where it hurts most, and entities that do not read what they are sent.

local environment = require "spec.support.environment"
local console = require "spec.support.console"
local grants = require "spec.support.grants"
local presences = require "spec.support.presences"
local privileged = require "spec.support.privileged"
local prosody = require "spec.support.prosody"
local rosters = require "spec.support.rosters"
local socket = require "socket"

local all, attempt = grants.all, grants.attempt

local config = ([[
VirtualHost "capulet.lit"
	privileged_entities = {
		["gateway.capulet.lit"] = EVERYTHING;
		["double.capulet.lit"] = EVERYTHING;
		["tybalt@capulet.lit"] = EVERYTHING;
	}
Component "double.capulet.lit"
	component_secret = "secret"
	component_conflict_resolve = "kick_old"
Component "gateway.capulet.lit"
	component_secret = "secret"
Component "late.capulet.lit"
	component_secret = "secret"
]]):gsub("EVERYTHING", grants.everything)

local query = "<query xmlns='urn:example'/>"

-- Connects a component again, once the server has noticed that its connection is gone
local function again(server, jid)
	local deadline = socket.gettime() + 20
	while true do
		local ok, stream = pcall(server.component, server, jid)
		if ok then
			return stream
		elseif not tostring(stream):find "conflict" or socket.gettime() > deadline then
			error(stream, 0)
		end
	end
end

-- How many iqs are under way: from the handler of requests as the module has it
local function under_way(server)
	return server:eval [[
		local events = prosody.hosts[module.host].events;
		local request = next(events._event_map["iq/bare/urn:xmpp:privilege:2:privileged_iq"]);
		local found, seen = {}, {};
		local function look(f)
			seen[f] = true;
			for i = 1, math.huge do
				local name, value = debug.getupvalue(f, i);
				if not name then
					break;
				end
				found[name] = found[name] or value;
				if type(value) == "function" and not seen[value] then
					look(value);
				end
			end
		end
		look(request);
		found = { pending = found.pending };
		for _, f in pairs(found.pending) do
			look(f);
		end
		local number, entities = 0, 0;
		for _ in pairs(assert(found.iqs)) do number = number + 1; end
		for _ in pairs(assert(found.counts)) do entities = entities + 1; end
		assert(number > 0 == (entities > 0));
		return number;
	]]
end

describe("A connection that breaks", function()
	local here, there, juliet, nurse, gateway, late, remote

	setup(function()
		here = prosody.start {
			s2s = true,
			config = config,
			users = { "juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit" },
			log_level = "info",
		}
		there = prosody.start {
			s2s = true,
			modules = {},
			log_level = "info",
			config = [[
VirtualHost "montague.lit"
Component "remote.montague.lit"
	component_secret = "secret"
]],
		}
		juliet = here:client("juliet@capulet.lit/balcony", { roster = true, carbons = true })
		nurse = here:client "nurse@capulet.lit/kitchen"
		gateway, late, remote =
			here:component "gateway.capulet.lit", here:component "late.capulet.lit", there:component "remote.montague.lit"
	end)

	teardown(function()
		here:stop()
		there:stop()
	end)

	before_each(function()
		for _, stream in ipairs { juliet, nurse, gateway, late } do
			stream:sync():drain()
		end
	end)

	after_each(function()
		for _, stream in ipairs { juliet, nurse, gateway, late } do
			stream:nothing()
		end
		assert.is_equal(0, under_way(here))
	end)

	-- Each would be noticed by juliet's or the nurse's client
	local halves = {
		["an iq to be sent"] = privileged.iq({ id = "i", to = "juliet@capulet.lit" }, { to = "nurse@capulet.lit/kitchen", query }),
		["a message to be sent"] = privileged.message(
			{ id = "m", to = "capulet.lit" },
			{ from = "juliet@capulet.lit", to = "nurse@capulet.lit/kitchen", "<body>hello</body>" }
		),
		["a roster set"] = "<iq type='set' id='s' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster'><item jid='half@contact.lit'/></query></iq>",
		["a roster get"] = "<iq type='get' id='g' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>",
	}

	for name, text in pairs(halves) do
		it("in the middle of " .. name .. " lets nothing of it happen, and the entity has its privileges again", function()
			local of_gateway = text:gsub("^<%w+", "%0 from='gateway.capulet.lit'")
			for cut = 1, 5 do
				gateway:send(of_gateway:sub(1, math.floor(#of_gateway * cut / 5) - 1)):cut()
				gateway = again(here, "gateway.capulet.lit")
				assert.is_same(
					{ "capulet.lit: roster=both push=false message=outgoing iq(urn:example)=both iq(urn:xmpp:ping)=both" },
					(grants.told(gateway))
				)
				local tybalt = here:client "tybalt@capulet.lit/hall"
				tybalt:send(text:sub(1, math.floor(#text * cut / 5) - 1)):cut()
			end
			assert.is_same({}, (rosters.get(gateway, "juliet@capulet.lit")))
			juliet:nothing()
			nurse:nothing()
		end)
	end

	it("lets the entity be served again", function()
		gateway:cut()
		gateway = again(here, "gateway.capulet.lit")
		gateway:sync():drain()
		assert.is_same(all "result", attempt(gateway, "nurse@capulet.lit"))
		for _, stream in ipairs { nurse, gateway } do
			stream:sync():drain()
		end
	end)

	for where, streams in pairs {
		["a component here"] = function()
			return late
		end,
		["a component of another server"] = function()
			return remote
		end,
	} do
		for _, ending in ipairs { "cut", "close" } do
			it(
				("B7.3 (%s) in the middle of 1000 iqs to %s, which answers late, leaves none under way; answers reach nobody wrongly"):format(
					ending,
					where
				),
				function()
					local asked = streams()
					local n, requests = 1000, {}
					for i = 1, n do
						requests[i] = privileged.iq(
							{ id = "outer" .. i, from = gateway.jid, to = "juliet@capulet.lit" },
							{ id = "inner", to = asked.jid, ("<query xmlns='urn:example' n='%d'/>"):format(i) }
						)
					end
					gateway:send(table.concat(requests, "", 1, n / 2))
					-- some are answered in time
					local iqs = {}
					for i = 1, 100 do
						iqs[i] = privileged.asked(asked)
						privileged.answer(asked, iqs[i], tostring(iqs[i].tags[1]))
					end
					for i = 1, 100 do
						local result = privileged.unwrap(
							gateway:expect { id = "outer" .. i },
							{ id = "outer" .. i, from = "juliet@capulet.lit", to = gateway.jid },
							{ id = "inner", type = "result", from = asked.jid, to = "juliet@capulet.lit" }
						)
						assert.is_equal(tostring(i), result.tags[1].attr.n)
					end
					assert.is_true(under_way(here) > 0)
					if ending == "cut" then
						-- the last one comes in half
						gateway:send(table.concat(requests, "", n / 2 + 1):sub(1, -50))
					else
						gateway:send(table.concat(requests, "", n / 2 + 1))
					end
					gateway[ending](gateway)
					gateway = again(here, "gateway.capulet.lit")
					gateway:sync():drain()
					assert.is_equal(0, under_way(here))

					-- new ones, with the same ids, are under way when the old are answered
					for i = 1, 10 do
						gateway:send((requests[i]:gsub(" n='", "%0new")))
					end
					local new = {}
					repeat
						local iq = privileged.asked(asked)
						table.insert(iq.tags[1].attr.n:find "new" and new or iqs, iq)
					until #new == 10
					assert.is_true(#iqs >= n / 2)
					for i = 101, #iqs do
						privileged.answer(asked, iqs[i], tostring(iqs[i].tags[1]), { type = i % 2 == 0 and "error" or "result" })
					end
					for i = 10, 1, -1 do
						privileged.answer(asked, new[i], tostring(new[i].tags[1]))
					end
					for i = 10, 1, -1 do
						local result = privileged.unwrap(
							gateway:expect { name = "iq" },
							{ id = "outer" .. i, from = "juliet@capulet.lit", to = gateway.jid },
							{ id = "inner", type = "result", from = asked.jid, to = "juliet@capulet.lit" }
						)
						assert.is_equal("new" .. i, result.tags[1].attr.n)
					end
					asked:sync()
				end
			)
		end
	end

	it("B7.3 for another of the same component takes the iqs under way with it, whose answers do not reach the other", function()
		local first = here:component "double.capulet.lit"
		for _ = 1, 2 do
			privileged.ask(first, { to = late.jid, query }, { to = "juliet@capulet.lit" })
		end
		local iqs = { privileged.asked(late), privileged.asked(late) }
		local second = here:component "double.capulet.lit"
		assert.is_equal(1, #grants.told(second))
		second:drain()
		privileged.ask(second, { to = late.jid, query }, { to = "juliet@capulet.lit" })
		table.insert(iqs, privileged.asked(late))
		for i = 1, 2 do
			privileged.answer(late, iqs[i])
		end
		late:sync()
		second:nothing()
		privileged.answer(late, iqs[3])
		privileged.expect_answer(second, { from = late.jid })
		assert.has_error(function()
			first:expect { id = "outer" }
		end)
		assert.is_equal("conflict", first.error)
		second:close()
	end)

	it("B7.2 is that of the other server: what it was asked gets one error each, and it is asked again when it is back", function()
		local n = 50
		for i = 1, n do
			privileged.ask(gateway, { to = remote.jid, query }, { id = "outer" .. i, to = "juliet@capulet.lit" })
		end
		for _ = 1, n do
			privileged.asked(remote)
		end
		there:kill()
		repeat
			local connected =
				here:eval "local session = prosody.hosts[module.host].s2sout['montague.lit']; return session and session.type == 's2sout'"
		until not connected
		-- those whose answers were lost with the server are given up in time, others cannot be sent
		for i = n + 1, 2 * n do
			privileged.ask(gateway, { to = remote.jid, query }, { id = "outer" .. i, to = "juliet@capulet.lit" })
		end
		for i = n + 1, 2 * n do
			local answer = privileged.unwrap(
				gateway:expect({ id = "outer" .. i }),
				{ id = "outer" .. i, from = "juliet@capulet.lit", to = gateway.jid },
				{ id = "inner", type = "error", from = remote.jid, to = "juliet@capulet.lit" }
			)
			assert.is_truthy(answer:get_child("error"), tostring(answer))
		end
		assert.is_equal(n, under_way(here))
		here:reload_module "privilege"
		for i = 1, n do
			privileged.assert_error(gateway:expect { id = "outer" .. i }, "remote-server-timeout", "wait")
		end
		gateway:sync():drain()
		there:restart()
		remote = there:component "remote.montague.lit"
		privileged.ask(gateway, { to = remote.jid, query })
		privileged.answer(remote, privileged.asked(remote))
		privileged.expect_answer(gateway, { from = remote.jid })
	end)
end)

describe("An entity that does not read", function()
	local limit = 1000000
	local server, flood, gateway, juliet

	-- Prosody 0.12 has no limit of what waits to be sent
	local epoll = environment.read_file(environment.source_folder .. "/net/server_epoll.lua")
	local has_limit = not console.has_shell or epoll:find("max_send_buffer_size", 1, true) ~= nil

	local large = {}
	for i = 1, 1000 do
		large[("contact%d@verona.lit"):format(i)] =
			{ subscription = "none", name = ("Somebody with the number %d"):format(i), groups = { "Contacts" } }
	end

	local clients = 6

	before_each(function()
		server = prosody.start {
			config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["flood.capulet.lit"] = { roster = "both", presence = "managed_entity", message = "outgoing" };
		["gateway.capulet.lit"] = { roster = "both", roster_push = false, iq = { ["urn:xmpp:ping"] = "get" } };
	}
Component "flood.capulet.lit"
	component_secret = "secret"
Component "gateway.capulet.lit"
	component_secret = "secret"
]],
			global = ("network_settings = { nagle = false, max_send_buffer_size = %d }"):format(limit),
			users = { "juliet@capulet.lit", "nurse@capulet.lit" },
			rosters = { ["juliet@capulet.lit"] = large },
			log_level = "info",
		}
		gateway, juliet = server:component "gateway.capulet.lit", server:client "juliet@capulet.lit/balcony"
		flood = server:component "flood.capulet.lit"
		-- a round trip reads
		table.remove(server.streams)
	end)

	after_each(function()
		server:stop()
	end)

	-- Does something that the entity is sent a part of a MB for until the server has cut its connection, or for a while where it never does
	local function fill(action)
		local before = server:memory()
		for i = 1, has_limit and 100 or 12 do
			action(i)
			gateway:sync()
			if server:log():find("component disconnected: flood", 1, true) then
				break
			end
		end
		local growth = server:memory() - before
		if has_limit then
			server:wait_log "component disconnected: flood"
			assert.is_true(growth < 8000, ("%.0f KiB"):format(growth))
		end
		-- others are served, whatever came of it
		gateway:sync():drain()
		local start = socket.gettime()
		assert.is_true(1000 <= #(rosters.get(gateway, "juliet@capulet.lit")))
		assert.is_equal("result", rosters.set(gateway, "nurse@capulet.lit", "<item jid='x@y'/>"))
		assert.is_true(socket.gettime() - start < 10)
		-- and all that waited goes with the connection
		flood:cut()
		flood = again(server, "flood.capulet.lit")
		assert.is_equal(1, #grants.told(flood))
		assert.is_true(server:memory() - before < 4000)
	end

	it("its answers: the server has no more waiting for it than its limit (0.11, 13), and is there for others", function()
		local get = ("<iq type='get' id='g' from='flood.capulet.lit' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>"):rep(8)
		fill(function()
			flood.conn:send(get)
			socket.sleep(0.01)
		end)
	end)

	it("what it is told: the same holds for presences, roster pushes and permissions", function()
		local streams = {}
		for i = 1, clients do
			streams[i] = server:client(
				"nurse@capulet.lit/" .. i,
				{ presence = ("<presence><status>%s</status></presence>"):format(("x"):rep(60000)) }
			)
		end
		fill(function(i)
			server:reload_module "privilege"
			presences.settle(server, 0.01)
			juliet:send(("<presence><status>%s</status></presence>"):format(("y"):rep(10000)))
			rosters.set(gateway, "juliet@capulet.lit", ("<item jid='x@y' name='%d-%s'/>"):format(i, ("z"):rep(1000)))
			server:reload_config()
		end)
		for _, stream in ipairs(streams) do
			stream:cut()
		end
	end)
end)
