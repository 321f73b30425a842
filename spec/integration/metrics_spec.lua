-- B10.2: metrics, as a running server shows them to who asks.

local http = require "socket.http"
local socket = require "socket"
local fixture = require "spec.support.fixture"
local prosody = require "spec.support.prosody"
local acts = require "spec.support.acts"
local presences = require "spec.support.presences"
local console = require "spec.support.console"

local port = prosody.free_port()
local web = ('http_ports = { %d }\nhttp_interfaces = { "127.0.0.1" }\n'):format(port)

local since_0_12 = fixture.specs(console.has_shell, "Prosody 0.12")

-- "capulet.lit gateway.capulet.lit messages" is measured as "capulet.lit messages" where metrics have no labels
local function measured_as(what)
	return console.has_shell and what or (what:gsub(" %S+ ", " "))
end

-- Of which entities each host counts something, "" for all as one
local measured = console.has_shell
		and {
			["capulet.lit"] = { "gateway.capulet.lit ", "watcher.lit ", "romeo@montague.lit " },
			["montague.lit"] = { "gateway.capulet.lit " },
		}
	or { ["capulet.lit"] = { "" }, ["montague.lit"] = { "" } }

local names = { messages = true, iqs = true, roster_gets = true, roster_sets = true, pushes = true, presences = true, refusals = true }

-- What the server shows over HTTP (OpenMetrics)
local function scrape()
	local text, status = http.request(("http://127.0.0.1:%d/metrics"):format(port))
	assert.is_equal(200, status, text)
	local found = {}
	for name, labels, value in text:gmatch "([%w_]+)(%b{}) (%S+)" do
		local act = name:match "mod_privilege_+([%w_]+)_total$"
		if act then
			found[labels:match 'host="([^"]*)"' .. " " .. labels:match 'entity="([^"]*)"' .. " " .. act] = tonumber(value)
		end
	end
	return found
end

-- Before 0.12 there is no such thing, but modules that pass the statistics on, which a timer collects
local function collect(server)
	presences.settle(server)
	local found = {}
	for name, value in pairs((server:eval "return (require 'core.statsmanager'.get_stats())")) do
		local host, act = name:match "^/([^/]+)/mod_privilege/([%w_]+)"
		if host then
			found[host .. " " .. act] = value
		end
	end
	return found
end

describe("B10.2 metrics", function()
	local server, streams, at_first

	local function count()
		return console.has_shell and scrape() or collect(server)
	end

	setup(function()
		server = acts.start {
			global = console.has_shell and 'statistics = "internal"\nstatistics_interval = "manual"\n' .. web
				or 'statistics = "internal"\nstatistics_interval = 0.01\n',
			modules = console.has_shell and { "privilege", "http_openmetrics" } or nil,
		}
		repeat
			at_first = count()
		until next(at_first)
	end)

	teardown(function()
		server:stop()
	end)

	it("B10.2 are there for each host and entity, and zero at first", function()
		local expected = {}
		for name in pairs(names) do
			for host, entities in pairs(measured) do
				for _, entity in ipairs(entities) do
					expected[host .. " " .. entity .. name] = 0
				end
			end
		end
		assert.is_same(expected, at_first)
	end)

	describe("grow when an entity", function()
		setup(function()
			streams = acts.connect(server)
		end)

		for _, act in ipairs(acts.list) do
			it("B10.2 " .. act[1], function()
				local got, expected = acts.counted(streams, act, count, measured_as)
				assert.is_same(expected, got)
			end)
		end

		since_0_12("B10.2 says in sentences what they count, and begins with nothing for an entity that is new", function()
			local text = http.request(("http://127.0.0.1:%d/metrics"):format(port))
			local found = 0
			for name, help in text:gmatch "# HELP prosody_mod_privilege_+([%w_]+) ([^\n]*)" do
				assert.is_true(names[name] or name == "covered_users")
				assert.is_truthy(help:match "^%u[%a ]+%.$", help)
				found = found + 1
			end
			assert.is_equal(8, found)
			acts.message(streams.gateway)
			server:reload_config((server.config:gsub('%["romeo@montague.lit"%]', '["juliet@capulet.lit"] = { message = "outgoing" }; %0')))
			local all = count()
			assert.is_equal(0, all["capulet.lit juliet@capulet.lit messages"])
			assert.is_true(all["capulet.lit gateway.capulet.lit messages"] > 0)
		end)

		since_0_12("B10.2 counts the presences of a catch-up", function()
			local before = count()["capulet.lit watcher.lit presences"]
			streams.watcher:close()
			streams.watcher = server:component "watcher.lit"
			-- Juliet's and the nurse's
			streams.watcher:expect { name = "presence", from = streams.juliet.jid }
			streams.watcher:expect { name = "presence", from = streams.nurse.jid }
			assert.is_equal(before + 2, count()["capulet.lit watcher.lit presences"])
		end)

		it("B10.2 begin anew when the module is reloaded, and grow on", function()
			local name = measured_as "capulet.lit gateway.capulet.lit messages"
			acts.message(streams.gateway)
			assert.is_true(count()[name] > 0)
			server:reload_module "privilege"
			assert.is_equal(0, count()[name])
			acts.message(streams.gateway)
			assert.is_equal(1, count()[name])
		end)
	end)
end)

describe("B10.2 without statistics", function()
	local server, streams

	setup(function()
		server = acts.start { global = web, modules = console.has_shell and { "privilege", "http_openmetrics" } or nil }
		streams = acts.connect(server)
	end)

	teardown(function()
		server:stop()
	end)

	it("B10.2 entities are served as ever", function()
		for _, act in ipairs(acts.list) do
			act[2](streams)
		end
		streams.juliet:expect { name = "message", from = "juliet@capulet.lit" }
		streams.gateway:expect { name = "iq", type = "result", id = "outer" }
		streams.watcher:expect { name = "iq", type = "set", from = "juliet@capulet.lit" }
		streams.watcher:expect { name = "iq", type = "error", id = "outer" }
		streams.watcher:expect { name = "presence", from = streams.nurse.jid }
	end)

	since_0_12("B10.2 there is nothing to see", function()
		local _, status = http.request(("http://127.0.0.1:%d/metrics"):format(port))
		assert.is_equal(404, status)
	end)
end)

describe("B12.6 the metric of users covered", function()
	local server, juliet
	local config = [[
		VirtualHost "capulet.lit"
			privileged_entities = {
				["gateway.capulet.lit"] = { users = "opted-in"; message = "outgoing" };
				["other.capulet.lit"] = { users = "opted-in"; message = "outgoing" };
				["all.capulet.lit"] = { message = "outgoing" };
				["listed.capulet.lit"] = { users = { "juliet" }; message = "outgoing" };
			}
		Component "gateway.capulet.lit" component_secret = "secret"
		Component "other.capulet.lit" component_secret = "secret"
	]]

	-- Counts by entity
	local function covered()
		local text, status = http.request(("http://127.0.0.1:%d/metrics"):format(port))
		assert.is_equal(200, status, text)
		local found = {}
		for labels, value in text:gmatch "\nprosody_mod_privilege__covered_users(%b{}) (%S+)" do
			assert.is_equal("capulet.lit", labels:match 'host="([^"]*)"')
			found[labels:match 'entity="([^"]*)"'] = tonumber(value)
		end
		return found
	end

	-- Waits until the users are counted, which takes some moments
	local function assert_covered(expected)
		local deadline = socket.gettime() + 20
		local found
		repeat
			found = covered()
			local is_equal = true
			for entity, number in pairs(expected) do
				is_equal = is_equal and found[entity] == number
			end
		until is_equal or socket.gettime() > deadline
		assert.is_same(expected, found)
	end

	local function write(to, text)
		juliet:send(text:format(to)):sync()
	end
	local opt_in, opt_out = "<message to='%s'><body>register</body></message>", "<presence type='unsubscribe' to='%s'/>"

	before_each(function()
		server = prosody.start {
			config = config,
			modules = { "privilege", "http_openmetrics" },
			global = 'statistics = "internal"\nstatistics_interval = "manual"\n' .. web,
			users = { "juliet@capulet.lit" },
		}
		juliet = server:client "juliet@capulet.lit/balcony"
	end)

	after_each(function()
		server:stop()
	end)

	since_0_12("B12.6 is there for each entity whose grant is limited to those who opted in, and follows them", function()
		assert_covered { ["gateway.capulet.lit"] = 0, ["other.capulet.lit"] = 0 }
		write("gateway.capulet.lit", opt_in)
		assert.is_same({ ["gateway.capulet.lit"] = 1, ["other.capulet.lit"] = 0 }, covered())
		write("gateway.capulet.lit", opt_in)
		write("other.capulet.lit", opt_in)
		assert.is_same({ ["gateway.capulet.lit"] = 1, ["other.capulet.lit"] = 1 }, covered())
		write("gateway.capulet.lit", opt_out)
		assert.is_same({ ["gateway.capulet.lit"] = 0, ["other.capulet.lit"] = 1 }, covered())
	end)

	since_0_12("B12.6 is right after a reload of the module and of the configuration, and a restart", function()
		local expected = { ["gateway.capulet.lit"] = 0, ["other.capulet.lit"] = 1 }
		write("other.capulet.lit", opt_in)
		server:reload_module "privilege"
		assert_covered(expected)
		server:reload_config((config:gsub('%["gateway.capulet.lit"%] = { users = "opted%-in";', '["gateway.capulet.lit"] = {')))
		write("gateway.capulet.lit", opt_in)
		assert_covered(expected)
		server:reload_config(config)
		write("gateway.capulet.lit", opt_in)
		assert_covered { ["gateway.capulet.lit"] = 1, ["other.capulet.lit"] = 1 }
		server:restart()
		assert_covered { ["gateway.capulet.lit"] = 1, ["other.capulet.lit"] = 1 }
	end)

	since_0_12("B12.6 leaves out a user whose account is deleted", function()
		write("gateway.capulet.lit", opt_in)
		assert_covered { ["gateway.capulet.lit"] = 1, ["other.capulet.lit"] = 0 }
		server:eval 'assert(require "core.usermanager".delete_user("juliet", "capulet.lit"))'
		assert_covered { ["gateway.capulet.lit"] = 0, ["other.capulet.lit"] = 0 }
	end)
end)
