-- B10.3: the list of entities in the console of the running server, and the module's status.

local socket = require "socket";
local environment = require "spec.support.environment";
local prosody = require "spec.support.prosody";
local acts = require "spec.support.acts";
local console = require "spec.support.console";

local gateway, watcher, romeo = "gateway.capulet.lit", "watcher.lit", "romeo@montague.lit";

local titles = {
	messages = "Messages"; iqs = "IQs"; roster_gets = "Roster gets"; roster_sets = "Roster sets";
	pushes = "Pushes"; presences = "Presences"; refusals = "Refused";
};

local function start()
	return acts.start(console.options({}, prosody.free_port()));
end

-- The rows by host and entity, and what stands below them
local function read(output)
	local list, rows, rest = {}, console.read(output);
	for _, row in ipairs(rows) do
		local name = row.Host .. " " .. row.Entity;
		assert.is_nil(list[name], "twice: " .. output);
		list[name] = row;
	end
	return list, rest[1] or "", output;
end

local function list(server, host)
	return read(console.run(server, host and ("privilege:list(%q)"):format(host) or "privilege:list()"));
end

local function names(rows)
	local found = {};
	for name in pairs(rows) do
		found[#found + 1] = name;
	end
	table.sort(found);
	return found;
end

local function counts(server)
	local found = {};
	for name, row in pairs((list(server))) do
		for act, title in pairs(titles) do
			found[name .. " " .. act] = tonumber(row[title]);
		end
	end
	return found;
end

local function since(server, name)
	return list(server)[name]["Connected since"];
end

-- The times of a list as os.time() has them
local function parse_times(text)
	local times = {};
	for year, month, day, hour, min, sec in text:gmatch "(%d%d%d%d)-(%d%d)-(%d%d) (%d%d):(%d%d):(%d%d)" do
		times[#times + 1] = os.time { year = year, month = month, day = day, hour = hour, min = min, sec = sec };
	end
	return times;
end

local all = { "capulet.lit " .. gateway, "capulet.lit " .. romeo, "capulet.lit " .. watcher, "montague.lit " .. gateway };

describe("B10.3 the console's privilege:list()", function ()
	local server;

	setup(function ()
		server = start();
	end);

	teardown(function ()
		server:stop();
	end);

	-- Waits until an entity is listed as not connected
	local function wait_disconnected(name)
		local deadline = socket.gettime() + 20;
		while since(server, name) ~= "no" do
			assert.is_true(socket.gettime() < deadline, name .. " stays connected");
			socket.sleep(0.01);
		end
	end

	it("B10.3 lists host, entity and permissions of all hosts, connected or not", function ()
		local rows, result = list(server);
		assert.is_same(all, names(rows));
		assert.is_truthy(result:find "^OK: 4");
		local granted = rows["capulet.lit " .. gateway].Granted;
		for _, text in ipairs { "roster=both", "message=outgoing", "iq(urn:xmpp:ping)=get" } do
			assert.is_truthy(granted:find(text, 1, true), granted);
		end
		assert.is_nil(granted:find "push" or granted:find "presence");
		granted = rows["capulet.lit " .. watcher].Granted;
		for _, text in ipairs { "roster=get", "push", "presence=roster" } do
			assert.is_truthy(granted:find(text, 1, true), granted);
		end
		assert.is_equal("message=outgoing", rows["montague.lit " .. gateway].Granted);
		for _, row in pairs(rows) do
			assert.is_equal("no", row["Connected since"]);
		end
	end);

	it("B10.3 lists one host", function ()
		local rows, result = list(server, "montague.lit");
		assert.is_same({ all[4] }, names(rows));
		assert.is_truthy(result:find "^OK: 1");
		for _, host in ipairs { "verona.lit", gateway } do
			local none, _, output = list(server, host);
			assert.is_same({}, names(none));
			assert.is_truthy(output:find(host, 1, true) and output:find "not loaded", output);
		end
	end);

	it("B10.3 lists who is connected and since when", function ()
		local before = os.time();
		local component = server:component(gateway);
		component:sync();
		local after = os.time();
		while os.time() == after do
			socket.sleep(0.01);
		end
		for _, name in ipairs { all[1], all[4] } do
			local times = parse_times(since(server, name));
			assert.is_equal(1, #times);
			assert.is_true(times[1] >= before and times[1] <= after);
		end
		assert.is_equal("no", since(server, all[2]));
		assert.is_equal("no", since(server, all[3]));
		component:close();
		wait_disconnected(all[1]);
		wait_disconnected(all[4]);
	end);

	it("B10.3 lists since when an entity is connected, whenever the module was loaded", function ()
		local component = server:component(gateway);
		finally(function ()
			component:close();
			wait_disconnected(all[1]);
		end);
		component:sync();
		local time = since(server, all[1]);
		local now = os.time();
		while os.time() == now do
			socket.sleep(0.01);
		end
		server:reload_module "privilege";
		assert.is_equal(time, since(server, all[1]));
	end);

	it("B10.3 lists a user's clients, as long as they are available", function ()
		local street = server:client(romeo .. "/street", { presence = false });
		assert.is_equal("no", since(server, all[2]));
		street:send "<presence/>":expect { name = "presence" };
		local garden = server:client(romeo .. "/garden");
		assert.is_equal(2, #parse_times(since(server, all[2])));
		garden:cut();
		street:expect { name = "presence", type = "unavailable" };
		assert.is_equal(1, #parse_times(since(server, all[2])));
		street:send "<presence type='unavailable'/>":sync();
		assert.is_equal("no", since(server, all[2]));
		street:send "<presence/>":sync();
		assert.is_equal(1, #parse_times(since(server, all[2])));
		street:close();
		wait_disconnected(all[2]);
	end);

	it("B1.6 lists what a new configuration grants", function ()
		local config = server.config;
		server:reload_config((config:gsub('%["romeo@montague.lit"%].-\n', "")));
		assert.is_same({ all[1], all[3], all[4] }, names((list(server))));
		server:reload_config(config);
		assert.is_same(all, names((list(server))));
	end);

	describe("counts what an entity does:", function ()
		local streams;

		setup(function ()
			streams = acts.connect(server);
		end);

		teardown(function ()
			for _, stream in pairs(streams) do
				stream:cut();
			end
		end);

		for _, act in ipairs(acts.list) do
			it("B10.3 it " .. act[1], function ()
				local counted, expected = acts.counted(streams, act, function ()
					return counts(server);
				end);
				assert.is_same(expected, counted);
			end);
		end

		it("B10.3 keeps the counts when the entity leaves and when the configuration is read again", function ()
			local before = counts(server);
			server:reload_config();
			streams.gateway:close();
			wait_disconnected(all[1]);
			streams.gateway = server:component(gateway);
			assert.is_same(before, counts(server));
		end);
	end);

	it("B10.3 lists no host that the module was unloaded from, and goes with the last one", function ()
		server:unload_module("privilege", "capulet.lit");
		assert.is_same({ all[4] }, names((list(server))));
		local none, _, output = list(server, "capulet.lit");
		assert.is_same({}, names(none));
		assert.is_truthy(output:find "not loaded", output);

		server:unload_module("privilege", "montague.lit");
		none, _, output = list(server);
		assert.is_same({}, names(none));
		assert.is_nil(output:find "OK");
		assert.is_nil(output:find "Entity");

		server:load_module("privilege", "montague.lit");
		assert.is_same({ all[4] }, names((list(server))));
		server:load_module("privilege", "capulet.lit");
		assert.is_same(all, names((list(server))));
	end);

	it("B10.3 lists the entities after a reload of the console's own module", function ()
		server:eval(('require "core.modulemanager".reload("*", %q)'):format(console.has_shell and "admin_shell" or "admin_telnet"));
		assert.is_same(all, names((list(server))));
	end);
end);

local since_0_12 = console.specs(console.has_shell, "0.12");
local since_13 = console.specs(console.has_help, "13");

describe("B10.3 prosodyctl shell", function ()
	local server;

	setup(function ()
		server = start();
	end);

	teardown(function ()
		server:stop();
	end);

	-- What the console of the same server says is right, as the specs above show
	local function assert_lists(expected, words)
		local output, status = server:prosodyctl(words);
		assert.is_same(expected, (read(output)));
		assert.is_equal(0, status);
	end

	since_0_12("B10.3 lists all hosts with `privilege list` and one with `privilege list HOST`", function ()
		local component = server:component(gateway);
		assert_lists(list(server), "shell privilege list");
		assert_lists(list(server), { "shell", "privilege:list()" });
		assert_lists(list(server, "montague.lit"), "shell privilege list montague.lit");
		component:close();
	end);

	since_0_12("B10.3 exits with status 1 for a host that the module is not on", function ()
		local output, status = server:prosodyctl "shell privilege list verona.lit";
		assert.is_truthy(output:find("verona.lit", 1, true), output);
		assert.is_equal(1, status);
	end);

	since_13("B10.3 explains the command with `help privilege`", function ()
		local output = server:prosodyctl { "shell", "help privilege" };
		assert.is_truthy(output:find "privilege[ :]list.*host", output);
		assert.is_truthy(console.run(server, "help"):find "\nprivile");
	end);

	describe("module info", function ()
		local function status(host)
			return server:eval([[
				local api = prosody.hosts[module.host].modules.privilege.module;
				return api.status_type .. " " .. api.status_message;
			]], host);
		end

		local function assert_status(type, granted, connected, host)
			local text = status(host);
			local found = { text:match "^(%a+) (%d+)%D+(%d+)" };
			assert.is_same({ type, tostring(granted), tostring(connected) }, found, text);
			assert.is_equal(environment.module_version(), text:match "version ([^;]+)");
			return text;
		end

		local function wait_connected(number)
			local deadline = socket.gettime() + 20;
			while not status():find((" %d connected"):format(number)) and socket.gettime() < deadline do
				socket.sleep(0.01);
			end
			return assert_status("info", 3, number);
		end

		since_0_12("B10.3 has a status that tells how many entities are granted something and connected", function ()
			assert_status("info", 3, 0);
			assert_status("info", 1, 0, "montague.lit");
			local one = server:component(gateway);
			local two = server:component(watcher);
			assert_status("info", 3, 2);
			assert_status("info", 1, 1, "montague.lit");
			local output = server:prosodyctl "shell module info privilege";
			assert.is_truthy(output:find(status():gsub("^info ", ""), 1, true), output);
			two:close();
			wait_connected(1);
			one:cut();
			wait_connected(0);
		end);

		since_0_12("B10.3 counts an entity once, and a user only while a client is available", function ()
			local street, garden = server:client(romeo .. "/street"), server:client(romeo .. "/garden");
			finally(function ()
				street:close();
			end);
			assert_status("info", 3, 1);
			garden:close();
			street:expect { type = "unavailable" };
			assert_status("info", 3, 1);
			street:send "<presence type='unavailable'/>":sync();
			assert_status("info", 3, 0);
			street:send "<presence/>":sync();
			assert_status("info", 3, 1);
		end);

		since_0_12("B10.3 has an error as its status while the configuration has errors, with their number", function ()
			local config = server.config;
			wait_connected(0);
			server:reload_config((config:gsub('presence = "roster"', 'presence = "all"; rosters = "get"', 1)));
			local text = assert_status("error", 3, 0);
			assert.is_truthy(text:find "2 errors", text);
			assert_status("info", 1, 0, "montague.lit");
			server:reload_config(config);
			text = assert_status("info", 3, 0);
			assert.is_nil(text:find "error", text);
		end);
	end);
end);
