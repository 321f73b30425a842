-- Storage of rosters that fails now and then, that is slow, or that gives way to others until it is done. That it fails once
-- is in roster_get_spec, roster_refusal_spec and roster_push_receivers_spec.

local prosody = require "spec.support.prosody"
local rosters = require "spec.support.rosters"
local presences = require "spec.support.presences"
local privileged = require "spec.support.privileged"
local socket = require "socket"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["gateway.capulet.lit"] = { roster = "both" };
		["watcher.capulet.lit"] = { roster = "get"; presence = "roster" };
		["friar@capulet.lit"] = { roster = "both" };
	}
VirtualHost "montague.lit"
	privilege_iq_timeout = 1
	privileged_entities = { ["gateway.capulet.lit"] = { roster = "get"; iq = { ["urn:xmpp:ping"] = "get" } } }
Component "gateway.capulet.lit"
	component_secret = "secret"
Component "watcher.capulet.lit"
	component_secret = "secret"
]]

local function roster()
	return { ["friend@gateway.capulet.lit"] = { subscription = "both" } }
end

local query = "<query xmlns='jabber:iq:roster'/>"

for _, storage in ipairs { "internal", "sql" } do
	describe("Storage of rosters (" .. storage .. ")", function()
		local server, gateway, watcher, friar, juliet

		setup(function()
			local users, seeds = { "friar@capulet.lit", "romeo@montague.lit" }, {}
			for _, username in ipairs { "juliet", "peter", "nurse", "samson", "gregory", "abram", "potpan", "rosaline", "lucio", "angelica" } do
				table.insert(users, username .. "@capulet.lit")
				seeds[username .. "@capulet.lit"] = roster()
			end
			server = prosody.start { config = config, users = users, rosters = seeds, storage = storage }
			gateway = server:component "gateway.capulet.lit"
			friar = server:client "friar@capulet.lit/cell"
			juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
		end)

		teardown(function()
			server:stop()
		end)

		before_each(function()
			-- none of the rosters of users who are not there is in memory
			server:eval "prosody.hosts[module.host].roster_cache = nil"
			for _, stream in ipairs { gateway, friar, juliet } do
				stream:sync():drain()
			end
		end)

		after_each(function()
			server:eval "prosody.spec_fail = nil"
		end)

		-- Lets a method of the storage do something first, which ends with a return of whether it fails
		local function storage_does(what, code)
			server:eval(
				("prosody.spec_fail = prosody.spec_fail or {}; prosody.spec_fail[%q] = function (username, ...) %s end"):format(what, code)
			)
		end

		-- Takes the answers with the ids "1" to "n", which have to come in order and once each
		local function answers(stream, n)
			local list = {}
			for _, stanza in ipairs(stream:sync():drain()) do
				if tonumber(stanza.attr.id) then
					table.insert(list, stanza)
					assert.is_equal(tostring(#list), stanza.attr.id)
				else
					table.insert(stream.queue, stanza)
				end
			end
			assert.is_equal(n, #list)
			return list
		end

		it("B4.3 B5 that fails now and then has what was answered with a result, and that is pushed, once", function()
			local before = {}
			for _, username in ipairs { "juliet", "peter" } do
				before[username] = rosters.get(gateway, username .. "@capulet.lit")
			end
			storage_does("roster_set", "prosody.spec_count = (prosody.spec_count or 0) + 1; return prosody.spec_count % 3 == 0")
			local n, requests = 60, {}
			for i = 1, n do
				requests[i] = ("<iq type='set' id='%d' from='%s' to='%s@capulet.lit'><query xmlns='jabber:iq:roster'><item jid='c%d@gateway.capulet.lit' name='%d'/></query></iq>"):format(
					i,
					gateway.jid,
					i % 2 == 0 and "juliet" or "peter",
					i % 8,
					i
				)
			end
			-- What comes in one go is saved in one go
			for i = 1, n, 3 do
				gateway:send(table.concat(requests, "", i, i + 2))
				gateway:sync()
			end
			local expected, pushed, own, failed = { juliet = {}, peter = {} }, {}, {}, 0
			for i, answer in ipairs(answers(gateway, n)) do
				local username, contact = i % 2 == 0 and "juliet" or "peter", ("c%d@gateway.capulet.lit"):format(i % 8)
				local outcome = rosters.outcome(answer)
				if outcome == "result" then
					expected[username][contact] = ("%s none name=%d"):format(contact, i)
					table.insert(pushed, ("%s@capulet.lit: %s"):format(username, expected[username][contact]))
					table.insert(own, username == "juliet" and expected[username][contact] or nil)
				else
					assert.is_equal("wait internal-server-error", outcome)
					failed = failed + 1
				end
			end
			assert.is_true(failed > 10 and failed < n - 10)
			table.sort(pushed)
			table.sort(own)
			assert.is_same(pushed, (rosters.pushes(gateway)))
			assert.is_same(own, (rosters.pushes(juliet)))
			server:eval "prosody.spec_fail = nil"
			for username, contacts in pairs(expected) do
				local lines = before[username]
				for _, line in pairs(contacts) do
					table.insert(lines, line)
				end
				table.sort(lines)
				assert.is_same(lines, (rosters.get(gateway, username .. "@capulet.lit")))
				server:eval "prosody.hosts[module.host].roster_cache = nil"
				assert.is_same(lines, (rosters.get(gateway, username .. "@capulet.lit")))
			end
		end)

		it("B4.1 B9 that could not be read is read again by the next who asks, the user among them", function()
			storage_does("roster_get", "return true")
			for _, username in ipairs { "nurse", "samson", "gregory" } do
				local answer = gateway:iq { type = "get", to = username .. "@capulet.lit", query }
				assert.is_equal("wait internal-server-error", rosters.outcome(answer))
			end
			assert.is_equal("wait internal-server-error", rosters.set(gateway, "samson@capulet.lit", "<item jid='x@y'/>"))
			server:eval "prosody.spec_fail = nil"
			assert.is_same({ "friend@gateway.capulet.lit both" }, (rosters.get(gateway, "nurse@capulet.lit")))
			assert.is_equal("result", rosters.set(gateway, "samson@capulet.lit", "<item jid='x@y'/>"))
			local gregory = server:client("gregory@capulet.lit/x", { roster = true })
			assert.is_same({ "friend@gateway.capulet.lit both" }, (rosters.get(gregory)))
			assert.is_equal("result", rosters.set(gregory, nil, "<item jid='x@y'/>"))
			gregory:close()
		end)

		it("B8.4 B9 that could not be read for a catch-up, or a presence that comes, is read again by the user", function()
			storage_does("roster_get", "return true")
			watcher = server:component "watcher.capulet.lit"
			presences.settle(server)
			gateway:send "<presence from='friend@gateway.capulet.lit' to='abram@capulet.lit'/>"
			gateway:sync()
			server:eval "prosody.spec_fail = nil"
			for _, username in ipairs { "abram", "potpan" } do
				local client = server:client(username .. "@capulet.lit/x", { roster = true })
				assert.is_same({ "friend@gateway.capulet.lit both" }, (rosters.get(client)))
				client:close()
			end
			watcher:close()
		end)

		it("B4.1 B4.3 that is slow delays what is asked, and all is answered once and in order", function()
			storage_does("roster_get", "require 'socket'.sleep(0.02)")
			storage_does("roster_set", "require 'socket'.sleep(0.02)")
			local requests, n = {}, 0
			for _, username in ipairs { "rosaline", "lucio", "angelica", "juliet" } do
				local start = ("<iq id='%%d' from='%s' to='%s@capulet.lit' type="):format(gateway.jid, username)
				for _, rest in ipairs {
					"'get'>" .. query,
					"'set'><query xmlns='jabber:iq:roster'><item jid='slow@contact.lit'/></query>",
					"'get'>" .. query,
				} do
					n = n + 1
					requests[n] = start:format(n) .. rest .. "</iq>"
				end
			end
			gateway:send(table.concat(requests))
			for i, answer in ipairs(answers(gateway, n)) do
				assert.is_equal("result", answer.attr.type)
				assert.is_equal(i % 3 == 0, tostring(answer):find("slow@contact.lit", 1, true) ~= nil)
			end
			assert.is_equal(4, #rosters.pushes(gateway))
		end)

		-- which takes more than a second, whatever the storage
		local once = storage == "internal" and it or function() end
		once("B7.3 that is slow may delay an answer beyond the time for it: one error, or the answer", function()
			local romeo = server:client "romeo@montague.lit/orchard"
			gateway:send(
				privileged.iq(
					{ id = "late", from = gateway.jid, to = "romeo@montague.lit" },
					{ to = romeo.jid, "<ping xmlns='urn:xmpp:ping'/>" }
				)
			)
			local iq = privileged.asked(romeo)
			storage_does("roster_get", "require 'socket'.sleep(1.1)")
			gateway:send(("<iq type='get' id='slow' from='%s' to='potpan@capulet.lit'>%s</iq>"):format(gateway.jid, query))
			privileged.answer(romeo, iq)
			gateway:expect { id = "slow", type = "result" }
			gateway:expect { id = "late" }
			romeo:sync()
			presences.settle(server)
			gateway:nothing { id = "late" }
			romeo:close()
		end)

		-- The server runs what clients ask in coroutines, which may wait; not so what components ask.
		describe("that gives way to others", function()
			before_each(function()
				local wait = [[
					local wait, done = require "util.async".waiter();
					module:add_timer(0.03, done);
					prosody.spec_waiting = (prosody.spec_waiting or 0) + 1;
					wait();
					prosody.spec_waiting = prosody.spec_waiting - 1;
					return prosody.spec_wait_fails;
				]]
				server:eval "prosody.spec_waiting, prosody.spec_wait_fails = 0, nil"
				storage_does("roster_get", wait)
				storage_does("roster_set", wait)
			end)

			-- Waits until the storage is being waited for, or until it no longer is
			local function wait_for_storage(is_waited_for)
				local deadline = socket.gettime() + 20
				while (server:eval "return prosody.spec_waiting" > 0) ~= is_waited_for do
					assert.is_true(
						socket.gettime() < deadline,
						is_waited_for and "the storage was not waited for" or "the storage never answered"
					)
				end
			end

			-- That the storage can be asked about while it is being waited for shows that others are served then.
			local function assert_waiting()
				wait_for_storage(true)
			end

			it("B4.1 gives the roster to a privileged user, once", function()
				friar:send(("<iq type='get' id='1' to='nurse@capulet.lit'>%s</iq>"):format(query))
				assert_waiting()
				assert.is_equal("result", friar:expect { id = "1" }.attr.type)
				friar:nothing()
			end)

			it("B4.2 B5 has what a privileged user sets, who is answered once, and each is pushed to once", function()
				for _, username in ipairs { "juliet", "peter" } do
					friar:send(
						("<iq type='set' id='1' to='%s@capulet.lit'><query xmlns='jabber:iq:roster'><item jid='wait@contact.lit' name='%s'/></query></iq>"):format(
							username,
							username
						)
					)
					assert_waiting()
					assert.is_equal("result", rosters.outcome(friar:expect { id = "1" }))
					local push = ("%s@capulet.lit: wait@contact.lit none name=%s"):format(username, username)
					assert.is_same({ push }, (rosters.pushes(friar)))
					assert.is_same({ push }, (rosters.pushes(gateway)))
				end
				assert.is_same({ "wait@contact.lit none name=juliet" }, (rosters.pushes(juliet)))
				server:eval "prosody.spec_fail = nil; prosody.hosts[module.host].roster_cache = nil"
				for _, username in ipairs { "juliet", "peter" } do
					local lines = table.concat((rosters.get(gateway, username .. "@capulet.lit")), "\n")
					assert.is_truthy(lines:find("wait@contact.lit none name=" .. username, 1, true), lines)
				end
			end)

			it("B4.3 is as before where it fails after all", function()
				local before = { rosters.get(juliet) }
				server:eval "prosody.spec_wait_fails = true"
				friar:send "<iq type='set' id='1' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster'><item jid='fails@contact.lit'/></query></iq>"
				assert_waiting()
				assert.is_equal("wait internal-server-error", rosters.outcome(friar:expect { id = "1" }))
				assert.is_same(before, { rosters.get(juliet) })
				for _, stream in ipairs { friar, gateway, juliet } do
					stream:nothing()
				end
			end)

			it("B5 pushes what a user changes in their own roster, once", function()
				assert.is_equal("result", rosters.set(juliet, nil, "<item jid='own@contact.lit'/>"))
				local push = "juliet@capulet.lit: own@contact.lit none"
				assert.is_same({ push }, (rosters.pushes(gateway)))
				assert.is_same({ push }, (rosters.pushes(friar)))
			end)

			it("B4.3 B5 saves and pushes what a privileged user has set who leaves meanwhile", function()
				for i, ending in ipairs { "close", "cut" } do
					local client = server:client "friar@capulet.lit/garden"
					client:send(
						("<iq type='set' id='1' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster'><item jid='left%d@contact.lit'/></query></iq>"):format(
							i
						)
					)
					assert_waiting()
					client[ending](client)
					friar:expect { type = "unavailable", from = "friar@capulet.lit/garden" }
					wait_for_storage(false)
					assert.is_same({ ("left%d@contact.lit none"):format(i) }, (rosters.pushes(juliet)))
				end
				server:eval "prosody.spec_fail = nil"
				local stored = rosters.stored(server, "juliet")
				assert.is_truthy(stored["left1@contact.lit"] and stored["left2@contact.lit"])
			end)
		end)
	end)
end

describe("Storage of who opted in", function()
	local opt_in = "<message to='gateway.capulet.lit'><body>register</body></message>"
	local names = { "juliet", "nurse", "peter", "samson", "gregory", "abram", "potpan" }
	local server, gateway, juliet, nurse, mercutio

	setup(function()
		local options = {
			config = [[
				VirtualHost "capulet.lit"
					privilege_probe_rate = 0
					privileged_entities = { ["gateway.capulet.lit"] = { users = "opted-in", roster = "both", roster_push = false, presence = "roster" } }
				VirtualHost "verona.lit"
				Component "gateway.capulet.lit" component_secret = "secret"
			]],
			users = { "mercutio@verona.lit" },
			rosters = { ["mercutio@verona.lit"] = {} },
		}
		for _, username in ipairs(names) do
			local user = username .. "@capulet.lit"
			table.insert(options.users, user)
			options.rosters[user] = { ["mercutio@verona.lit"] = { subscription = "both" } }
			options.rosters["mercutio@verona.lit"][user] = { subscription = "both" }
		end
		server = prosody.start(options)
		server:allow_log "spec failure"
		-- The module opens its storage again, which can fail from now on
		server:eval ""
		server:reload_module "privilege"
		gateway = server:component "gateway.capulet.lit"
		juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
		nurse = server:client("nurse@capulet.lit/kitchen", { roster = true })
		mercutio = server:client "mercutio@verona.lit/street"
		juliet:send(opt_in):sync()
		nurse:send(opt_in):sync()
	end)

	teardown(function()
		server:stop()
	end)

	local function storage_fails(what)
		server:eval(("prosody.spec_fail = { privilege_%s = true }"):format(what))
	end

	local function recover()
		server:eval "prosody.spec_fail = nil"
	end

	after_each(recover)

	local function is_covered(username)
		return gateway:iq({ type = "get", to = username .. "@capulet.lit", query }).attr.type == "result"
	end

	-- Waits for what comes of itself
	local function wait_until(test)
		local deadline = socket.gettime() + 20
		while not test() do
			assert.is_true(socket.gettime() < deadline, "it never came")
			socket.sleep(0.05)
		end
	end

	-- Lets the storage fail until the module has nothing in memory that it may answer requests with
	local function fail_to_read(username)
		storage_fails "get"
		wait_until(function()
			return not is_covered(username)
		end)
	end

	local function stored_state(username)
		return server:eval(([[
			local records = require "core.storagemanager".open(module.host, "privilege", "keyval"):get(%q);
			return records and records["gateway.capulet.lit"] and records["gateway.capulet.lit"].state;
		]]):format(username))
	end

	it("B8.3 B12.5 that fails leaves no user and no contact available for good", function()
		local all = presences.caught_up(gateway)
		local function believed()
			for _, line in ipairs(presences.caught_up(gateway)) do
				table.insert(all, line)
			end
			return presences.believed(all)
		end
		assert.is_same({ "juliet@capulet.lit/balcony", "mercutio@verona.lit/street", "nurse@capulet.lit/kitchen" }, believed())
		fail_to_read "juliet"
		juliet:iq { type = "set", "<query xmlns='jabber:iq:roster'><item jid='mercutio@verona.lit' subscription='remove'/></query>" }
		nurse:iq { type = "set", "<query xmlns='jabber:iq:roster'><item jid='other@verona.lit'/></query>" }
		assert.is_same({ "juliet@capulet.lit/balcony", "mercutio@verona.lit/street", "nurse@capulet.lit/kitchen" }, believed())
		juliet:close()
		assert.is_same({ "mercutio@verona.lit/street", "nurse@capulet.lit/kitchen" }, believed())
		server:reload_module "privilege"
		nurse:close()
		mercutio:close()
		assert.is_same({}, believed())
	end)

	local ways_out = {
		{ "peter", "ends the subscription", "<presence type='unsubscribe' to='gateway.capulet.lit'/>" },
		{
			"samson",
			"unregisters",
			"<iq type='set' id='out' to='gateway.capulet.lit'><query xmlns='jabber:iq:register'><remove/></query></iq>",
		},
		{
			"gregory",
			"removes the entity from the roster",
			"<iq type='set' id='x'><query xmlns='jabber:iq:roster'><item jid='gateway.capulet.lit' subscription='remove'/></query></iq>",
		},
	}
	for _, way in ipairs(ways_out) do
		for _, method in ipairs { "get", "set" } do
			it(("B12.3 that fails to %s a record lets a user out who %s"):format(method, way[2]), function()
				local username, text = way[1], way[3]
				local client = server:client(username .. "@capulet.lit/x", { roster = true })
				assert.is_equal("result", rosters.set(client, nil, "<item jid='gateway.capulet.lit'/>"))
				client:send(opt_in):sync()
				assert.is_true(is_covered(username))
				presences.caught_up(gateway)
				storage_fails(method)
				client:send(text):sync()
				gateway:send(("<iq type='result' id='out' from='gateway.capulet.lit' to='%s@capulet.lit/x'/>"):format(username))
				assert.is_false(is_covered(username))
				local told = table.concat(presences.caught_up(gateway), "\n")
				assert.is_truthy(told:find(username .. "@capulet.lit/x unavailable", 1, true), told)
				recover()
				assert.is_false(is_covered(username))
				client:send(opt_in):sync()
				assert.is_true(is_covered(username))
				assert.is_equal("in", stored_state(username))
				client:close()
			end)
		end
	end

	it("B12.3 that failed has after a while that a user opted out", function()
		local client = server:client "peter@capulet.lit/x"
		client:send(opt_in):sync()
		local mark = server:mark()
		storage_fails "set"
		client:send(ways_out[1][3]):sync()
		assert.is_equal("in", stored_state "peter")
		recover()
		server:wait_log("It is saved now which entities peter opted out of", nil, mark)
		assert.is_equal("out", stored_state "peter")
		client:close()
	end)

	it("B12.3 that fails lets users out whose module is reloaded before it can be saved", function()
		local clients = {}
		for _, username in ipairs { "abram", "potpan" } do
			clients[username] = server:client(username .. "@capulet.lit/x")
			clients[username]:send(opt_in):sync()
		end
		storage_fails "set"
		clients.abram:send(ways_out[1][3]):sync()
		clients.potpan:send(ways_out[2][3]):sync()
		server:reload_module "privilege"
		assert.is_false(is_covered "abram")
		assert.is_false(is_covered "potpan")
		recover()
		server:reload_module "privilege"
		assert.is_same({ "out", "out" }, { stored_state "abram", stored_state "potpan" })
	end)

	it("B12.3 that fails keeps no record of an account that is deleted meanwhile", function()
		local abram = server:client "abram@capulet.lit/y"
		abram:send(opt_in):sync()
		storage_fails "set"
		abram:send(ways_out[1][3]):sync()
		recover()
		server:eval [[
			assert(require "core.usermanager".delete_user("abram", module.host));
			assert(require "core.usermanager".create_user("abram", "secret", module.host));
		]]
		server:reload_module "privilege"
		assert.is_nil(stored_state "abram")
	end)

	it("B12.2 that fails to read an earlier decision opts nobody in, and what the admin has revoked stays so", function()
		assert.is_true(server:eval [[
			local served = module:shared "/*/privilege/served_hosts"[module.host];
			return served.opting.revoke(served.entities.get "gateway.capulet.lit", "nurse");
		]])
		nurse = server:client "nurse@capulet.lit/kitchen"
		storage_fails "get"
		server:reload_module "privilege"
		nurse:send(opt_in):sync()
		nurse:send(ways_out[1][3]):sync()
		recover()
		server:reload_module "privilege"
		nurse:send(opt_in):sync()
		assert.is_false(is_covered "nurse")
		assert.is_equal("revoked", stored_state "nurse")
	end)
end)
