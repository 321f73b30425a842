-- B10.3: the list of entities in the console of the running server, and the module's status.

local socket = require "socket"
local environment = require "spec.support.environment"
local fixture = require "spec.support.fixture"
local prosody = require "spec.support.prosody"
local acts = require "spec.support.acts"
local grants = require "spec.support.grants"
local console = require "spec.support.console"

local gateway, watcher, romeo = "gateway.capulet.lit", "watcher.lit", "romeo@montague.lit"

-- What the list calls what is counted
local activities = {
	["messages"] = "messages",
	["iqs"] = "iqs",
	["roster gets"] = "roster_gets",
	["roster sets"] = "roster_sets",
	["pushes"] = "pushes",
	["presences"] = "presences",
	["refused"] = "refusals",
}

local function start()
	return acts.start(console.options({}, prosody.free_port()))
end

-- The rows by host and entity, and what stands below them
local function read(output)
	local list, rows, rest = {}, console.read(output)
	for _, row in ipairs(rows) do
		local name = row.Host .. " " .. row.Entity
		assert.is_nil(list[name], "twice: " .. output)
		list[name] = row
	end
	return list, rest[1] or "", output
end

local function list(server, host)
	return read(console.run(server, host and ("privilege:list(%q)"):format(host) or "privilege:list()"))
end

local function names(rows)
	local found = {}
	for name in pairs(rows) do
		found[#found + 1] = name
	end
	table.sort(found)
	return found
end

local function counts(server)
	local found = {}
	for name, row in pairs((list(server))) do
		for _, act in pairs(activities) do
			found[name .. " " .. act] = 0
		end
		for activity, number in row.Activity:gmatch "(%l[%l ]-) (%d+)" do
			assert.is_true(number ~= "0")
			found[name .. " " .. activities[activity]] = tonumber(number)
		end
	end
	return found
end

local function since(server, name)
	return list(server)[name]["Connected since"]
end

-- Waits until an entity is listed as not connected
local function wait_disconnected(server, name)
	local deadline = socket.gettime() + 20
	while since(server, name) ~= "no" do
		assert.is_true(socket.gettime() < deadline, name .. " stays connected")
		socket.sleep(0.01)
	end
end

-- The times of a list as os.time() has them
local function parse_times(text)
	local times = {}
	for year, month, day, hour, min, sec in text:gmatch "(%d%d%d%d)-(%d%d)-(%d%d) (%d%d):(%d%d):(%d%d)" do
		times[#times + 1] = os.time { year = year, month = month, day = day, hour = hour, min = min, sec = sec }
	end
	return times
end

local all = { "capulet.lit " .. gateway, "capulet.lit " .. romeo, "capulet.lit " .. watcher, "montague.lit " .. gateway }

describe("B10.3 the console's privilege:list()", function()
	local server

	setup(function()
		server = start()
	end)

	teardown(function()
		server:stop()
	end)

	it("B10.3 lists host, entity and permissions of all hosts, connected or not", function()
		local rows, result = list(server)
		assert.is_same(all, names(rows))
		assert.is_truthy(result:find "^OK: 4")
		local granted = rows["capulet.lit " .. gateway].Granted
		for _, text in ipairs { "roster=both", "message=outgoing", "iq(urn:xmpp:ping)=get" } do
			assert.is_truthy(granted:find(text, 1, true), granted)
		end
		assert.is_nil(granted:find "push" or granted:find "presence")
		granted = rows["capulet.lit " .. watcher].Granted
		for _, text in ipairs { "roster=get", "push", "presence=roster" } do
			assert.is_truthy(granted:find(text, 1, true), granted)
		end
		assert.is_equal("message=outgoing", rows["montague.lit " .. gateway].Granted)
		for _, row in pairs(rows) do
			assert.is_equal("no", row["Connected since"])
			assert.is_equal("none", row.Activity)
			assert.is_equal("all", row.Users)
		end
	end)

	it("B10.3 lists one host", function()
		for _, host in ipairs { "montague.lit", "Montague.lit" } do
			local rows, result = list(server, host)
			assert.is_same({ all[4] }, names(rows))
			assert.is_truthy(result:find "^OK: 1")
		end
		for host, answer in pairs {
			["verona.lit"] = "mod_privilege is not loaded on verona.lit",
			["montagu.lit"] = 'mod_privilege is not loaded on montagu.lit (did you mean "montague.lit"?)',
			[gateway] = gateway .. " is a Component, HOST is the VirtualHost that grants",
		} do
			local none, _, output = list(server, host)
			assert.is_same({}, names(none))
			assert.is_truthy(output:find(answer .. "\n", 1, true), output)
		end
		assert.is_truthy(console.run(server, "privilege:list({})"):find("Usage: privilege list HOST", 1, true))
	end)

	it("B10.3 lists who is connected and since when", function()
		local before = os.time()
		local component = server:component(gateway)
		component:sync()
		local after = os.time()
		while os.time() == after do
			socket.sleep(0.01)
		end
		for _, name in ipairs { all[1], all[4] } do
			local times = parse_times(since(server, name))
			assert.is_equal(1, #times)
			assert.is_true(times[1] >= before and times[1] <= after)
		end
		assert.is_equal("no", since(server, all[2]))
		assert.is_equal("no", since(server, all[3]))
		component:close()
		wait_disconnected(server, all[1])
		wait_disconnected(server, all[4])
	end)

	it("B10.3 lists since when an entity is connected, whenever the module was loaded", function()
		local component = server:component(gateway)
		finally(function()
			component:close()
			wait_disconnected(server, all[1])
		end)
		component:sync()
		local time = since(server, all[1])
		local now = os.time()
		while os.time() == now do
			socket.sleep(0.01)
		end
		server:reload_module "privilege"
		assert.is_equal(time, since(server, all[1]))
	end)

	it("B10.3 lists a user's clients, as long as they are available", function()
		local street = server:client(romeo .. "/street", { presence = false })
		assert.is_equal("no", since(server, all[2]))
		street:send "<presence/>":expect { name = "presence" }
		local garden = server:client(romeo .. "/garden")
		assert.is_equal(2, #parse_times(since(server, all[2])))
		garden:cut()
		street:expect { name = "presence", type = "unavailable" }
		assert.is_equal(1, #parse_times(since(server, all[2])))
		street:send "<presence type='unavailable'/>":sync()
		assert.is_equal("no", since(server, all[2]))
		street:send "<presence/>":sync()
		assert.is_equal(1, #parse_times(since(server, all[2])))
		street:close()
		wait_disconnected(server, all[2])
	end)

	it("B1.6 lists what a new configuration grants", function()
		local config = server.config
		server:reload_config((config:gsub('%["romeo@montague.lit"%].-\n', "")))
		assert.is_same({ all[1], all[3], all[4] }, names((list(server))))
		server:reload_config(config)
		assert.is_same(all, names((list(server))))
	end)

	it("B10.3 lists no host that the module was unloaded from, and goes with the last one", function()
		server:unload_module("privilege", "capulet.lit")
		assert.is_same({ all[4] }, names((list(server))))
		local none, _, output = list(server, "capulet.lit")
		assert.is_same({}, names(none))
		assert.is_truthy(output:find "not loaded", output)

		server:unload_module("privilege", "montague.lit")
		none, _, output = list(server)
		assert.is_same({}, names(none))
		assert.is_nil(output:find "OK")
		assert.is_nil(output:find "Entity")

		server:load_module("privilege", "montague.lit")
		assert.is_same({ all[4] }, names((list(server))))
		server:load_module("privilege", "capulet.lit")
		assert.is_same(all, names((list(server))))
	end)

	it("B10.3 lists the entities after a reload of the console's own module", function()
		server:eval(('require "core.modulemanager".reload("*", %q)'):format(console.has_shell and "admin_shell" or "admin_telnet"))
		assert.is_same(all, names((list(server))))
	end)
end)

describe("B10.3 the console's privilege:list() counts what an entity does:", function()
	local server, streams

	setup(function()
		server = start()
		streams = acts.connect(server)
	end)

	teardown(function()
		server:stop()
	end)

	for _, act in ipairs(acts.list) do
		it("B10.3 it " .. act[1], function()
			local counted, expected = acts.counted(streams, act, function()
				return counts(server)
			end)
			assert.is_same(expected, counted)
		end)
	end

	it("B10.3 keeps the counts when the entity leaves and when the configuration is read again", function()
		acts.message(streams.gateway)
		local before = counts(server)
		server:reload_config()
		streams.gateway:close()
		wait_disconnected(server, all[1])
		streams.gateway = server:component(gateway)
		assert.is_same(before, counts(server))
	end)
end)

local since_0_12 = fixture.specs(console.has_shell, "Prosody 0.12")

describe("B10.3 the console's list", function()
	local server

	setup(function()
		server = prosody.start(console.options({
			users = { "juliet@capulet.lit" },
			config = [[
				VirtualHost "capulet.lit"
					privileged_entities = {
						["telegram.example.org"] = { users = "opted-in"; roster = "both"; message = "outgoing"; iq = {
							["http://jabber.org/protocol/pubsub"] = "both"; ["http://jabber.org/protocol/pubsub#owner"] = "set";
						} };
						["gatway.capulet.lit"] = { message = "outgoing" };
						["rooms.capulet.lit"] = { message = "outgoing" };
						["capulet.lit"] = { message = "outgoing" };
						["juliet@capulet.lit"] = { users = { "juliet" }; message = "outgoing" };
						["romeo@capulet.lit"] = { message = "outgoing" };
						["romeo@montague.lit"] = { message = "outgoing" };
					}
				Component "telegram.example.org" component_secret = "secret"
				Component "rooms.capulet.lit" "muc"
			]],
		}, prosody.free_port()))
	end)

	teardown(function()
		server:stop()
	end)

	it("B10.3 marks the entities that cannot connect, with the reason", function()
		local found = {}
		for name, row in pairs((list(server))) do
			found[name:gsub("^capulet.lit ", "")] = row["Connected since"]
		end
		assert.is_same({
			["telegram.example.org"] = "no",
			["juliet@capulet.lit"] = "no",
			["gatway.capulet.lit"] = "no such component",
			["rooms.capulet.lit"] = "no external component",
			["capulet.lit"] = "no external component",
			["romeo@capulet.lit"] = "no such user",
			["romeo@montague.lit"] = "no such host",
		}, found)
	end)

	it("B12.6 tells whose accounts each grant covers", function()
		local rows = list(server)
		assert.is_equal("opted-in: 0", rows["capulet.lit telegram.example.org"].Users)
		assert.is_equal("listed: 1", rows["capulet.lit juliet@capulet.lit"].Users)
		assert.is_equal("all", rows["capulet.lit gatway.capulet.lit"].Users)
	end)

	since_0_12("B10.3 fits into 120 columns, and leaves nothing out", function()
		local telegram = server:component "telegram.example.org"
		for _ = 1, 3 do
			telegram:iq { type = "get", to = "juliet@capulet.lit", "<query xmlns='jabber:iq:roster'/>" }
		end
		for _, line in ipairs { "shell privilege list", { "shell", 'privilege:list("capulet.lit")' } } do
			local output = server:prosodyctl(line)
			for text in output:gmatch "[^\n]+" do
				assert.is_true(#text <= 118, output)
			end
			local row = read(output)["capulet.lit telegram.example.org"]
			assert.is_equal(
				"roster=bothroster_pushmessage=outgoingiq(http://jabber.org/protocol/pubsub)=bothiq(http://jabber.org/protocol/pubsub#owner)=set",
				(row.Granted:gsub(" ", ""))
			)
			assert.is_equal("refused 3", row.Activity)
			assert.is_equal(1, #parse_times(row["Connected since"]))
		end
		telegram:close()
		wait_disconnected(server, "capulet.lit telegram.example.org")
	end)
end)

describe("B12.6 the console's users, allow and revoke", function()
	local server, component, juliet
	local entity, user = "gateway.capulet.lit", "juliet@capulet.lit"

	setup(function()
		server = prosody.start(console.options({
			users = { user, "nurse@capulet.lit", "peter@capulet.lit", "romeo@montague.lit" },
			config = [[
				VirtualHost "capulet.lit"
					privileged_entities = {
						["gateway.capulet.lit"] = { users = "opted-in"; roster = "both"; message = "outgoing"; presence = "managed_entity";
							iq = { ["urn:xmpp:ping"] = "get" } };
						["listed.capulet.lit"] = { users = { "nurse"; "tybalt" }; message = "outgoing" };
						["all.capulet.lit"] = { message = "outgoing" };
					}
				VirtualHost "montague.lit"
					modules_disabled = { "privilege" }
				Component "gateway.capulet.lit" component_secret = "secret"
				Component "listed.capulet.lit" component_secret = "secret"
				Component "all.capulet.lit" component_secret = "secret"
			]],
		}, prosody.free_port()))
		component = server:component(entity)
		juliet = server:client(user .. "/balcony")
	end)

	teardown(function()
		server:stop()
	end)

	-- At first nobody has opted in, and nothing is known of that in memory
	before_each(function()
		server:eval [[
			local store, names = require "core.storagemanager".open(module.host, "privilege", "keyval"), {};
			for name in store:users() do
				table.insert(names, name);
			end
			for _, name in ipairs(names) do
				assert(store:set(name, nil));
			end
		]]
		server:reload_module "privilege"
		server:drain()
	end)

	-- Runs a command with its arguments: what it said, and whether that was an error
	local function run(command, ...)
		local arguments = {}
		for i, argument in ipairs { ... } do
			arguments[i] = ("%q"):format(argument)
		end
		local output = console.run(server, ("privilege:%s(%s)"):format(command, table.concat(arguments, ", ")))
		return output, output:find "^Error: " ~= nil or output:find "^Command completed with a problem" ~= nil
	end

	local function assert_done(text, command, ...)
		local output, is_error = run(command, ...)
		assert.is_equal("OK: " .. text .. "\n", output)
		assert.is_false(is_error)
	end

	local function assert_refused(text, command, ...)
		local output, is_error = run(command, ...)
		assert.is_truthy(output:find(text, 1, true), output)
		assert.is_true(is_error, output)
	end

	-- The users of the entity by name, and how many there are in words
	local function users(output)
		local found, rows, rest = {}, console.read(output or run("users", "capulet.lit", entity), "User")
		for _, row in ipairs(rows) do
			assert.is_equal(1, #parse_times(row.Since))
			assert.is_true(math.abs(parse_times(row.Since)[1] - os.time()) < 600)
			found[row.User] = row.How
		end
		return found, rest[1]
	end

	local function attempts(name)
		local outcomes = grants.attempt(component, name)
		server:drain()
		return outcomes
	end

	local function opt_in()
		juliet:send("<message to='" .. entity .. "'><body>register</body></message>"):sync()
	end

	local function opt_out()
		juliet:send("<presence type='unsubscribe' to='" .. entity .. "'/>"):sync()
	end

	local function assert_allowed()
		assert_done(entity .. " may act for " .. user, "allow", "capulet.lit", entity, user)
	end

	local function assert_nurse_revoked()
		assert_done(entity .. " may not act for nurse@capulet.lit until you allow it", "revoke", "capulet.lit", entity, "nurse")
	end

	local function have_many_opt_in()
		server:eval [[
			local store = require "core.storagemanager".open(module.host, "privilege", "keyval");
			for i = 1, 500 do
				assert(store:set(("user%04d"):format(i), { ["gateway.capulet.lit"] = { state = "in", since = os.time(), by = "registration" } }));
			end
		]]
	end

	since_0_12("B12.6 list all where the module is reloaded meanwhile", function()
		have_many_opt_in()
		server:eval [[
			local now, reads = require "util.time".now, 0;
			prosody.spec_fail = { privilege_get = function ()
				reads = reads + 1;
				if reads == 10 then
					module:add_timer(0, function ()
						prosody.spec_reloaded = assert(require "core.modulemanager".reload(module.host, "privilege")) and reads;
					end);
				end
				local till = now() + 0.001;
				while now() < till do
				end
			end };
		]]
		local _, count = users()
		assert.is_true(server:eval "return prosody.spec_reloaded" < 500)
		server:eval "prosody.spec_fail = nil"
		assert.is_equal("OK: 500 users", count)
	end)

	it("B12.6 list nobody at first", function()
		local found, count = users()
		assert.is_same({}, found)
		assert.is_equal("OK: 0 users", count)
	end)

	it("B12.6 allow a user who has not opted in, at once", function()
		local mark = server:mark()
		assert_done(entity .. " may act for " .. user, "allow", "capulet.lit", entity, "Juliet")
		component:expect { name = "presence", from = juliet.jid }
		assert.is_same(grants.all "result", attempts(user))
		assert.is_same(grants.all "forbidden", attempts "nurse@capulet.lit")
		assert.is_same({ [user] = "allowed by the admin" }, (users()))
		assert.is_same(
			{ "The admin allowed gateway.capulet.lit to act for juliet@capulet.lit" },
			grants.logged(server:log_since(mark), "info", "The admin")
		)
		assert_done(entity .. " may act for " .. user .. " already: allowed by the admin", "allow", "capulet.lit", entity, user)
		assert.is_equal("opted-in: 1", list(server)["capulet.lit " .. entity].Users)
	end)

	it("B12.6 revoke a user at once, who does not come back without being allowed", function()
		assert_allowed()
		component:expect { name = "presence", from = juliet.jid }
		local mark = server:mark()
		assert_done(
			entity .. " may not act for " .. user .. " until you allow it",
			"revoke",
			"Capulet.lit",
			"Gateway.capulet.lit",
			"JULIET@capulet.lit"
		)
		component:expect { name = "presence", from = juliet.jid, type = "unavailable" }
		assert.is_same(grants.all "forbidden", attempts(user))
		opt_in()
		server:reload_module "privilege"
		opt_in()
		server:drain()
		assert.is_same(grants.all "forbidden", attempts(user))
		local found, count = users()
		assert.is_same({ [user] = "revoked by the admin" }, found)
		assert.is_equal("OK: 0 users, and 1 revoked", count)
		assert.is_same(
			{ "The admin forbade gateway.capulet.lit to act for juliet@capulet.lit" },
			grants.logged(server:log_since(mark), "info", "The admin")
		)
		assert_done(entity .. " may not act for " .. user .. " already: revoked by the admin", "revoke", "capulet.lit", entity, user)
		-- nor by opting out
		opt_out()
		opt_in()
		assert.is_same(grants.all "forbidden", attempts(user))

		assert_allowed()
		assert.is_same(grants.all "result", attempts(user))
	end)

	it("B12.6 keep a user from opting in who never did", function()
		assert_nurse_revoked()
		local nurse = server:client "nurse@capulet.lit/kitchen"
		nurse:send("<message to='" .. entity .. "'><body>register</body></message>"):sync()
		assert.is_same(grants.all "forbidden", attempts "nurse@capulet.lit")
		nurse:close()
	end)

	it("B12.6 list how users came to it, and leave those who opted in to themselves", function()
		assert_nurse_revoked()
		opt_in()
		opt_out()
		assert.is_nil(users()[user])
		opt_in()
		local found, count = users()
		assert.is_same({ [user] = "opted in by a message", ["nurse@capulet.lit"] = "revoked by the admin" }, found)
		assert.is_equal("OK: 1 user, and 1 revoked", count)
		assert_done(entity .. " may act for " .. user .. " already: opted in by a message", "allow", "capulet.lit", entity, user)
	end)

	it("B12.6 say so of grants that cover all users or listed ones", function()
		assert_done("The grant covers all users of capulet.lit", "users", "capulet.lit", "all.capulet.lit")
		local rows, rest = console.read(run("users", "capulet.lit", "listed.capulet.lit"), "User")
		assert.is_same({
			{ User = "nurse@capulet.lit", How = "listed in the configuration" },
			{ User = "tybalt@capulet.lit", How = "listed, but no such user" },
		}, rows)
		assert.is_equal("OK: 2 users", rest[1])
		for name, what in pairs { all = "all users", listed = "the users in a list" } do
			local text = ('The grant of %s.capulet.lit covers %s. Users can be allowed and revoked where it has users = "opted-in".'):format(
				name,
				what
			)
			for _, command in ipairs { "allow", "revoke" } do
				assert_refused(text, command, "capulet.lit", name .. ".capulet.lit", "nurse")
			end
		end
	end)

	it("B12.6 refuse hosts, entities and users that there are not, and change nothing", function()
		opt_in()
		assert_nurse_revoked()
		local before = users()
		for _, command in ipairs { "users", "allow", "revoke" } do
			for _, host in ipairs { "verona.lit", "montague.lit", "" } do
				assert_refused("mod_privilege is not loaded on " .. host, command, host, entity, user)
			end
			assert_refused(
				'capulet.lit grants nothing to gatewy.capulet.lit (did you mean "gateway.capulet.lit"?)',
				command,
				"capulet.lit",
				"gatewy.capulet.lit",
				user
			)
			assert_refused("capulet.lit grants nothing to " .. user, command, "capulet.lit", user, user)
			assert_refused("Usage: privilege " .. command .. " HOST ENTITY", command, "capulet.lit")
			assert_refused("Usage: privilege " .. command .. " HOST ENTITY", command)
			assert_refused(entity .. " is a Component, HOST is the VirtualHost that grants", command, entity, "capulet.lit", user)
		end
		for _, command in ipairs { "allow", "revoke" } do
			assert_refused("Usage: privilege " .. command .. " HOST ENTITY USER", command, "capulet.lit", entity)
			assert_refused("Usage: privilege " .. command .. " HOST ENTITY USER", command, entity, "juliet")
			assert_refused("There is no user tybalt@capulet.lit", command, "capulet.lit", entity, "tybalt")
			for _, name in ipairs { "romeo@montague.lit", "juliet@capulet.lit/balcony", "", "@", "ju liet", "capulet.lit@", "juliet@" } do
				assert_refused(name .. " is no user of capulet.lit", command, "capulet.lit", entity, name)
			end
		end
		assert.is_same(before, (users()))
	end)

	since_0_12("B12.6 are commands of prosodyctl shell", function()
		opt_in()
		for _, case in ipairs {
			{ "privilege users capulet.lit gateway.capulet.lit", "OK: 1 user" },
			{ "privilege allow capulet.lit gateway.capulet.lit peter", "OK: gateway.capulet.lit may act for peter@capulet.lit" },
			{ [['privilege:users("capulet.lit", "gateway.capulet.lit")']], "OK: 2 users" },
			{
				[['privilege:revoke("capulet.lit", "gateway.capulet.lit", "peter")']],
				"OK: gateway.capulet.lit may not act for peter@capulet.lit",
			},
			{ "privilege users capulet.lit gateway.capulet.lit", "OK: 1 user, and 1 revoked" },
		} do
			local output, status = server:prosodyctl("shell " .. case[1])
			assert.is_truthy(output:find(case[2], 1, true), output)
			assert.is_equal(0, status)
		end
		local output, status = server:prosodyctl "shell privilege allow capulet.lit gateway.capulet.lit tybalt"
		assert.is_truthy(output:find("There is no user tybalt@capulet.lit", 1, true), output)
		assert.is_equal(1, status)
	end)

	it("B12.6 say so where it cannot be saved, and nothing changes", function()
		opt_in()
		server:eval "prosody.spec_fail = { privilege_set = true }"
		assert_refused("This could not be saved, see the log", "revoke", "capulet.lit", entity, user)
		assert.is_equal("result", attempts(user).iq)
		server:eval "prosody.spec_fail = nil"
		assert_done(entity .. " may not act for " .. user .. " until you allow it", "revoke", "capulet.lit", entity, user)
	end)

	it("B12.6 list many users, sorted", function()
		have_many_opt_in()
		local rows, rest = console.read(run("users", "capulet.lit", entity), "User")
		assert.is_equal("OK: 500 users", rest[1])
		local previous = ""
		for _, row in ipairs(rows) do
			assert.is_true(previous < row.User)
			previous = row.User
		end
	end)

	since_0_12("B12.6 do not keep the server busy where the storage is slow", function()
		have_many_opt_in()
		server:eval [[
			local now = require "util.time".now;
			local store = getmetatable(require "core.storagemanager".open(module.host, "privilege", "keyval")).__index;
			local get, reads, before = store.get, 0, 0;
			prosody.spec_most, prosody.spec_end = 0, false;
			function store.get(...)
				reads = reads + 1;
				local till = now() + 0.002;
				while now() < till do
				end
				return get(...);
			end
			module:add_timer(0.001, function ()
				prosody.spec_most = math.max(prosody.spec_most, reads - before);
				before = reads;
				if prosody.spec_end then
					store.get = get;
					return nil;
				end
				return 0.001;
			end);
		]]
		server:reload_module "privilege" -- forgets what it has in memory
		local _, rest = console.read(run("users", "capulet.lit", entity), "User")
		assert.is_equal("OK: 500 users", rest[1])
		local most = server:eval "prosody.spec_end = true; return prosody.spec_most"
		-- which take 50 ms, all of them a second
		assert.is_true(most <= 25, most .. " users were read in one go")
	end)
end)

describe("B12.6 the console's commands, where two hosts have users of the same name", function()
	it("B12.6 allow those who exist, and nobody else", function()
		local section = [[
			VirtualHost "%s"
				privileged_entities = { ["gateway.capulet.lit"] = { users = "opted-in"; message = "outgoing" } };
		]]
		local server = prosody.start(console.options({
			users = { "juliet@capulet.lit", "romeo@montague.lit" },
			config = section:format "capulet.lit" .. section:format "montague.lit",
		}, prosody.free_port()))
		local users = { ["capulet.lit"] = "juliet", ["montague.lit"] = "romeo" }
		for _ = 1, 2 do
			for host in pairs(users) do
				for owner, name in pairs(users) do
					local output = console.run(server, ("privilege:allow(%q, 'gateway.capulet.lit', %q)"):format(host, name))
					local text = owner == host and "may act for " .. name .. "@" .. host or "There is no user " .. name .. "@" .. host
					assert.is_truthy(output:find(text, 1, true), output)
				end
			end
		end
		server:stop()
	end)
end)

local since_13 = fixture.specs(console.has_help, "Prosody 13")

describe("B10.3 prosodyctl shell", function()
	local server

	setup(function()
		server = start()
	end)

	teardown(function()
		server:stop()
	end)

	-- What the console of the same server says is right, as the specs above show
	local function assert_lists(expected, words)
		local output, status = server:prosodyctl(words)
		assert.is_same(expected, (read(output)))
		assert.is_equal(0, status)
	end

	since_0_12("B10.3 lists all hosts with `privilege list` and one with `privilege list HOST`", function()
		local component = server:component(gateway)
		assert_lists(list(server), "shell privilege list")
		assert_lists(list(server), { "shell", "privilege:list()" })
		assert_lists(list(server, "montague.lit"), "shell privilege list montague.lit")
		component:close()
		wait_disconnected(server, all[1])
	end)

	since_0_12("B10.3 exits with status 1 for a host that the module is not on", function()
		local output, status = server:prosodyctl "shell privilege list verona.lit"
		assert.is_truthy(output:find("verona.lit", 1, true), output)
		assert.is_equal(1, status)
	end)

	since_13("B10.3 explains the command with `help privilege`", function()
		local output = server:prosodyctl { "shell", "help privilege" }
		assert.is_truthy(output:find "privilege[ :]list.*host", output)
		assert.is_truthy(output:find "privilege[ :]users.*host.*entity", output)
		assert.is_truthy(output:find "privilege[ :]allow.*host.*entity.*user", output)
		assert.is_truthy(output:find "privilege[ :]revoke.*host.*entity.*user", output)
		assert.is_truthy(console.run(server, "help"):find "\nprivile")
	end)

	describe("module info", function()
		local function status(host)
			return server:eval(
				[[
				local api = prosody.hosts[module.host].modules.privilege.module;
				return api.status_type .. " " .. api.status_message;
			]],
				host
			)
		end

		local function assert_status(type, granted, connected, host)
			local text = status(host)
			local found = { text:match "^(%a+) (%d+)%D+(%d+)" }
			assert.is_same({ type, tostring(granted), tostring(connected) }, found, text)
			assert.is_equal(environment.module_version(), text:match "version ([^;]+)")
			return text
		end

		local function wait_connected(number)
			local deadline = socket.gettime() + 20
			while not status():find((" %d connected"):format(number)) and socket.gettime() < deadline do
				socket.sleep(0.01)
			end
			return assert_status("info", 3, number)
		end

		before_each(function()
			wait_connected(0)
		end)

		since_0_12("B10.3 has a status that tells how many entities are granted something and connected", function()
			assert_status("info", 3, 0)
			assert_status("info", 1, 0, "montague.lit")
			local one = server:component(gateway)
			local two = server:component(watcher)
			assert_status("info", 3, 2)
			assert_status("info", 1, 1, "montague.lit")
			local output = server:prosodyctl "shell module info privilege"
			assert.is_truthy(output:find(status():gsub("^info ", ""), 1, true), output)
			two:close()
			wait_connected(1)
			one:cut()
			wait_connected(0)
		end)

		since_0_12("B10.3 counts an entity once, and a user only while a client is available", function()
			local street, garden = server:client(romeo .. "/street"), server:client(romeo .. "/garden")
			finally(function()
				street:close()
			end)
			assert_status("info", 3, 1)
			garden:close()
			street:expect { type = "unavailable" }
			assert_status("info", 3, 1)
			street:send "<presence type='unavailable'/>":sync()
			assert_status("info", 3, 0)
			street:send "<presence/>":sync()
			assert_status("info", 3, 1)
		end)

		since_0_12("B10.3 has an error as its status while the configuration has errors, with their number", function()
			local config = server.config
			server:reload_config((config:gsub('presence = "roster"', 'presence = "all"; rosters = "get"', 1)))
			local text = assert_status("error", 3, 0)
			assert.is_truthy(text:find "2 errors", text)
			assert_status("info", 1, 0, "montague.lit")
			server:reload_config(config)
			text = assert_status("info", 3, 0)
			assert.is_nil(text:find "error", text)
		end)
	end)
end)
