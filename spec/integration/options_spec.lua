-- B1.8: the options next to privileged_entities, and their like in B1.3.

local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"
local privileged = require "spec.support.privileged"

local attempt, outcome = grants.attempt, grants.outcome

-- For all hosts
local entities = [[
	privileged_entities = { ["pubsub.lit"] = { roster = "get", message = "outgoing", presence = "roster", iq = { ["urn:xmpp:ping"] = "both" } } }
]]
local granted = "roster=get push=true message=outgoing presence=roster iq(urn:xmpp:ping)=both"
local granted_legacy = "roster=get message=outgoing presence=roster"

-- Writes virtual hosts with their options, and the components
local function write_config(hosts)
	local lines, users = {}, {}
	for host, options in pairs(hosts) do
		lines[#lines + 1] = ("VirtualHost %q\n\t%s"):format(host, options)
		users[#users + 1] = "user@" .. host
	end
	table.insert(lines, 'Component "pubsub.lit"\n\tcomponent_secret = "secret"\nComponent "silent.lit"\n\tcomponent_secret = "secret"\n')
	return table.concat(lines, "\n"), users
end

-- Pings what does not answer, as the user of a host; returns what to expect
local asked = 0
local function ask(pubsub, host)
	local user = "user@" .. host
	asked = asked + 1
	local id = "ask-" .. asked
	pubsub:send(
		privileged.iq({ id = id, from = pubsub.jid, to = user }, { from = user, to = "silent.lit", "<ping xmlns='urn:xmpp:ping'/>" })
	)
	return { name = "iq", id = id }
end

-- Sets the clock that the module goes by, has it look at it, and waits until it has done what it does in timers then
local function set_clock(server, host, seconds)
	server:eval(
		([[
		prosody.test_clock = %d;
		local timers = module.environment.spec_timers;
		module.environment.spec_timers = {}; -- for those that begin now
		for _, callback in ipairs(timers) do
			callback();
		end
	]]):format(seconds),
		host
	)
	presences.settle(server)
end

-- Shows that an iq is given up after so many seconds and not before
local function assert_timeout(server, pubsub, host, seconds)
	server:eval [[
		local time = require "util.time";
		if not prosody.test_clock then
			local now = time.now;
			time.now = function () return now() + prosody.test_clock; end
		end
		prosody.test_clock = 0;
	]]
	server:reload_module("privilege", host)
	pubsub:sync()
	server:eval(
		[[
		local api = require "core.modulemanager".get_module(module.host, "privilege").module;
		local add_timer = api.add_timer;
		module.environment.spec_timers = {};
		function api:add_timer(delay, callback)
			local is_over;
			local function go_off()
				local pause = not is_over and callback() or nil;
				is_over = not pause;
				return pause;
			end
			table.insert(module.environment.spec_timers, go_off);
			return add_timer(self, delay, go_off);
		end
	]],
		host
	)
	local answer = ask(pubsub, host)
	pubsub:sync()
	set_clock(server, host, seconds - 5)
	pubsub:nothing(answer)
	set_clock(server, host, seconds)
	assert.is_equal("remote-server-timeout", outcome(pubsub:expect(answer)))
	set_clock(server, host, 0)
end

-- The hosts that use the legacy namespace
local function legacy_hosts(legacy)
	local found = {}
	for i, text in ipairs(legacy) do
		found[i] = text:gsub(": " .. granted_legacy .. "$", "")
	end
	return found
end

local function holds(list, text)
	for _, item in ipairs(list) do
		if item == text then
			return true
		end
	end
	return false
end

describe("B1.8 options of hosts:", function()
	local server, pubsub, modern, legacy

	local hosts = {
		["default.lit"] = "",
		["legacy-off.lit"] = "privilege_legacy_namespace = false",
		["legacy-on.lit"] = "privilege_legacy_namespace = true",
		["short.lit"] = "privilege_iq_timeout = 1",
		["long.lit"] = "privilege_iq_timeout = 300",
		["contacts.lit"] = "privileged_entities = {}",
	}
	-- What the option is for works with it, or as if it was not there
	local wrong =
		{ ["wrong1.lit"] = "privilege_iq_timeout", ["wrong2.lit"] = "privilege_legacy_namespace", ["wrong3.lit"] = "privilege_probe_rate" }
	for host, option in pairs(wrong) do
		hosts[host] = option .. ' = "soon"'
		hosts["list-" .. host] = option .. " = {}"
	end

	-- A contact of the host's user
	local function contact_of(host)
		return ("%s@contacts.lit"):format(host:match "^[^.]+")
	end

	setup(function()
		local config, users = write_config(hosts)
		local rosters = {}
		for host in pairs(hosts) do
			table.insert(users, contact_of(host))
			rosters["user@" .. host] = { [contact_of(host)] = { subscription = "to" } }
			rosters[contact_of(host)] = { ["user@" .. host] = { subscription = "from" } }
		end
		server = prosody.start { config = config, users = users, rosters = rosters, global = entities, modules = {} }
		for host in pairs(wrong) do
			server:client(contact_of(host) .. "/x"):sync()
			server:client(contact_of("list-" .. host) .. "/x"):sync()
		end
		-- now, so that it has to ask for their presences
		for host in pairs(hosts) do
			server:eval(("require 'core.modulemanager'.load(%q, 'privilege')"):format(host))
		end
		pubsub = server:component "pubsub.lit"
		server:component "silent.lit"
		modern, legacy = grants.told(pubsub)
		legacy = legacy_hosts(legacy)
	end)

	teardown(function()
		server:stop()
	end)

	it("B1.8 serves the legacy namespace by default", function()
		assert.is_true(holds(legacy, "default.lit"))
		assert.is_true(holds(legacy, "legacy-on.lit"))
		assert.is_same("result", attempt(pubsub, "user@default.lit").legacy_message)
	end)

	it("B1.8 does not serve the legacy namespace on a host that has it off", function()
		assert.is_true(holds(modern, "legacy-off.lit: " .. granted))
		assert.is_false(holds(legacy, "legacy-off.lit"))
		local outcomes = attempt(pubsub, "user@legacy-off.lit")
		assert.is_equal("result", outcomes.message)
		assert.is_equal("service-unavailable", outcomes.legacy_message)
	end)

	it("B1.8 waits for the answer to an iq as long as it is told", function()
		local short, long, default = ask(pubsub, "short.lit"), ask(pubsub, "long.lit"), ask(pubsub, "default.lit")
		assert.is_equal("remote-server-timeout", outcome(pubsub:expect(short)))
		pubsub:nothing(long)
		pubsub:nothing(default)
	end)

	for host, seconds in pairs { ["default.lit"] = 120, ["long.lit"] = 300 } do
		it(("B1.8 waits %d seconds on %s"):format(seconds, host), function()
			assert_timeout(server, pubsub, host, seconds)
		end)
	end

	for host, option in pairs(wrong) do
		it("B1.3 logs a text as " .. option .. ", and is not stopped by it", function()
			assert.is_truthy(server:log():find(host .. ":privilege\terror\t[^\n]*" .. option))
		end)

		for _, name in ipairs { host, "list-" .. host } do
			it(("B1.3 is not stopped by %s on %s"):format(hosts[name], name), function()
				assert.is_true(holds(modern, name .. ": " .. granted))
				local outcomes = attempt(pubsub, "user@" .. name)
				for _, request in ipairs { "roster_get", "message", "iq" } do
					assert.is_equal("result", outcomes[request])
				end
				pubsub:expect { name = "presence", from = contact_of(name) .. "/x" }
			end)
		end
	end
end)

describe("B1.8 options of the global section:", function()
	local server, pubsub
	local config, users =
		write_config { ["plain.lit"] = "", ["own.lit"] = "privilege_legacy_namespace = true\n\tprivilege_iq_timeout = 60" }
	local global = entities .. "privilege_legacy_namespace = false\nprivilege_iq_timeout = 200"

	local function own(options)
		return (write_config { ["plain.lit"] = "", ["own.lit"] = options })
	end

	setup(function()
		server = prosody.start { config = config, users = users, global = global }
		server:component "silent.lit"
	end)

	before_each(function()
		server:reload_config(config, global)
		pubsub = server:component "pubsub.lit"
	end)

	after_each(function()
		pubsub:close()
	end)

	teardown(function()
		server:stop()
	end)

	it("B1.8 serves the legacy namespace where the host says so", function()
		local modern, legacy = grants.told(pubsub)
		assert.is_same({ "own.lit: " .. granted, "plain.lit: " .. granted }, modern)
		assert.is_same({ "own.lit: " .. granted_legacy }, legacy)
		assert.is_equal("result", attempt(pubsub, "user@own.lit").legacy_message)
		assert.is_equal("service-unavailable", attempt(pubsub, "user@plain.lit").legacy_message)
	end)

	it("B1.8 waits for the answer to an iq as long as it is told, if the host does not say otherwise", function()
		assert_timeout(server, pubsub, "plain.lit", 200)
		assert_timeout(server, pubsub, "own.lit", 60)
	end)

	it("B1.6 reads the options again, and tells of the legacy namespace", function()
		grants.told(pubsub)
		server:reload_config(nil, entities .. "privilege_legacy_namespace = true\nprivilege_iq_timeout = 400")
		assert.is_same({ {}, { "plain.lit: " .. granted_legacy } }, { grants.told(pubsub) })
		assert.is_equal("result", attempt(pubsub, "user@plain.lit").legacy_message)
		server:reload_config(own "privilege_legacy_namespace = false\n\tprivilege_iq_timeout = 300")
		assert.is_same({ {}, { "own.lit: roster=none message=none presence=none" } }, { grants.told(pubsub) })
		assert.is_equal("service-unavailable", attempt(pubsub, "user@own.lit").legacy_message)
		assert_timeout(server, pubsub, "plain.lit", 400)
		assert_timeout(server, pubsub, "own.lit", 300)
	end)

	it("B1.6 waits no longer than it is told now while iqs are under way for which it waits longer", function()
		server:reload_config(own "privilege_iq_timeout = 300")
		server:reload_module("privilege", "own.lit")
		ask(pubsub, "own.lit")
		pubsub:sync()
		server:reload_config(own "privilege_iq_timeout = 1")
		assert.is_equal("remote-server-timeout", outcome(pubsub:expect(ask(pubsub, "own.lit"))))
	end)
end)
