-- B10.2: metrics, as a running server shows them to who asks.

local http = require "socket.http";
local socket = require "socket";
local prosody = require "spec.support.prosody";
local acts = require "spec.support.acts";
local presences = require "spec.support.presences";
local console = require "spec.support.console";

local port = prosody.free_port();
local web = ('http_ports = { %d }\nhttp_interfaces = { "127.0.0.1" }\n'):format(port);

local since_0_12 = console.specs(console.has_shell, "0.12");

-- "capulet.lit gateway.capulet.lit messages" is measured as "capulet.lit messages" where metrics have no labels
local function measured_as(what)
	return console.has_shell and what or (what:gsub(" %S+ ", " "));
end

-- Of which entities each host counts something, "" for all as one
local measured = console.has_shell and {
	["capulet.lit"] = { "gateway.capulet.lit ", "watcher.lit ", "romeo@montague.lit " }; ["montague.lit"] = { "gateway.capulet.lit " };
} or { ["capulet.lit"] = { "" }, ["montague.lit"] = { "" } };

local names = { messages = true, iqs = true, roster_gets = true, roster_sets = true, pushes = true, presences = true, refusals = true };

-- What the server shows over HTTP (OpenMetrics)
local function scrape()
	local text, status = http.request(("http://127.0.0.1:%d/metrics"):format(port));
	assert.is_equal(200, status, text);
	local found = {};
	for name, labels, value in text:gmatch "([%w_]+)(%b{}) (%S+)" do
		local act = name:match "mod_privilege_+([%w_]+)_total$";
		if act then
			found[labels:match 'host="([^"]*)"' .. " " .. labels:match 'entity="([^"]*)"' .. " " .. act] = tonumber(value);
		end
	end
	return found;
end

-- Before 0.12 there is no such thing, but modules that pass the statistics on
local function collect(server)
	local found = {};
	for name, value in pairs((server:eval "return (require 'core.statsmanager'.get_stats())")) do
		local host, act = name:match "^/([^/]+)/mod_privilege/([%w_]+)";
		if host then
			found[host .. " " .. act] = value;
		end
	end
	return found;
end

describe("B10.2 metrics", function ()
	local server, streams, at_first;

	local function count()
		return console.has_shell and scrape() or collect(server);
	end

	setup(function ()
		server = acts.start {
			global = console.has_shell and 'statistics = "internal"\nstatistics_interval = "manual"\n' .. web
				or 'statistics = "internal"\nstatistics_interval = 0.01\n';
			modules = console.has_shell and { "privilege", "http_openmetrics" } or nil;
		};
		repeat
			at_first = count();
		until next(at_first);
	end);

	teardown(function ()
		server:stop();
	end);

	it("B10.2 are there for each host and entity, and zero at first", function ()
		local expected = {};
		for name in pairs(names) do
			for host, entities in pairs(measured) do
				for _, entity in ipairs(entities) do
					expected[host .. " " .. entity .. name] = 0;
				end
			end
		end
		assert.is_same(expected, at_first);
	end);

	describe("grow when an entity", function ()
		setup(function ()
			streams = acts.connect(server);
		end);

		for _, act in ipairs(acts.list) do
			it("B10.2 " .. act[1], function ()
				local got, expected = acts.counted(streams, act, function ()
					if not console.has_shell then
						-- collected by a timer
						socket.sleep(0.05);
					end
					return count();
				end, measured_as);
				assert.is_same(expected, got);
			end);
		end

		since_0_12("B10.2 says in sentences what they count, and begins with nothing for an entity that is new", function ()
			local text = http.request(("http://127.0.0.1:%d/metrics"):format(port));
			local found = 0;
			for name, help in text:gmatch "# HELP prosody_mod_privilege_+([%w_]+) ([^\n]*)" do
				assert.is_true(names[name]);
				assert.is_truthy(help:match "^%u[%a ]+%.$", help);
				found = found + 1;
			end
			assert.is_equal(7, found);
			server:reload_config((server.config:gsub('%["romeo@montague.lit"%]', '["juliet@capulet.lit"] = { message = "outgoing" }; %0')));
			local all = count();
			assert.is_equal(0, all["capulet.lit juliet@capulet.lit messages"]);
			assert.is_true(all["capulet.lit gateway.capulet.lit messages"] > 0);
		end);

		since_0_12("B10.2 counts the presences of a catch-up", function ()
			local before = count()["capulet.lit watcher.lit presences"];
			streams.watcher:close();
			streams.watcher = server:component "watcher.lit";
			-- Juliet's and the nurse's
			streams.watcher:expect { name = "presence", from = streams.juliet.jid };
			streams.watcher:expect { name = "presence", from = streams.nurse.jid };
			assert.is_equal(before + 2, count()["capulet.lit watcher.lit presences"]);
		end);

		it("B10.2 begin anew when the module is reloaded, and grow on", function ()
			server:reload_module "privilege";
			presences.settle(server); -- the entities are told presences again, which counts
			acts.message(streams.gateway);
			socket.sleep(console.has_shell and 0 or 0.05);
			local before = count()[measured_as "capulet.lit gateway.capulet.lit messages"];
			acts.message(streams.gateway);
			socket.sleep(console.has_shell and 0 or 0.05);
			assert.is_equal(before + 1, count()[measured_as "capulet.lit gateway.capulet.lit messages"]);
		end);
	end);
end);

describe("B10.2 without statistics", function ()
	local server, streams;

	setup(function ()
		server = acts.start { global = web, modules = console.has_shell and { "privilege", "http_openmetrics" } or nil };
		streams = acts.connect(server);
	end);

	teardown(function ()
		server:stop();
	end);

	it("B10.2 entities are served as ever", function ()
		for _, act in ipairs(acts.list) do
			act[2](streams);
		end
		streams.juliet:expect { name = "message", from = "juliet@capulet.lit" };
		streams.gateway:expect { name = "iq", type = "result", id = "outer" };
		streams.watcher:expect { name = "iq", type = "set", from = "juliet@capulet.lit" };
		streams.watcher:expect { name = "iq", type = "error", id = "outer" };
		streams.watcher:expect { name = "presence", from = streams.nurse.jid };
	end);

	since_0_12("B10.2 there is nothing to see", function ()
		local _, status = http.request(("http://127.0.0.1:%d/metrics"):format(port));
		assert.is_equal(404, status);
	end);
end);
