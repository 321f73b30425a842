-- Proves that the library which the other specs stand on works, on a Prosody without the module.

local environment = require "spec.support.environment"
local prosody = require "spec.support.prosody"
local xml = require "spec.support.xml"
local socket = require "socket"
local st = require "util.stanza"

local capulet = [[
VirtualHost "capulet.lit"
Component "pubsub.capulet.lit"
	component_secret = "pubsub"
]]

-- Starts a server without the module
local function start(options)
	options = options or {}
	options.config = options.config or capulet
	options.modules = options.modules or {}
	options.users = options.users or { ["juliet@capulet.lit"] = "balcony", "romeo@capulet.lit" }
	return prosody.start(options)
end

local function message(to, body)
	return st.message({ to = to, type = "chat" }):tag("body"):text(body):up()
end

-- Calls a function that has to fail, and returns the text of its error
local function failure(...)
	local ok, err = pcall(...)
	assert.is_false(ok)
	return tostring(err)
end

describe("the specs' support", function()
	teardown(function()
		prosody.kill_all()
	end)

	describe("on one server", function()
		local server, juliet, romeo, pubsub

		setup(function()
			server = start {
				rosters = {
					["juliet@capulet.lit"] = {
						["nurse@capulet.lit"] = { subscription = "both", name = "Nurse", groups = { "Servants", "Friends" } },
					},
				},
			}
			juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
			romeo = server:client "romeo@capulet.lit/orchard"
			pubsub = server:component("pubsub.capulet.lit", "pubsub")
		end)

		teardown(function()
			server:stop()
		end)

		before_each(function()
			for _, stream in ipairs { juliet, romeo, pubsub } do
				stream:sync():drain()
			end
		end)

		it("lets two clients exchange messages", function()
			juliet:send(message("romeo@capulet.lit/orchard", "Art thou not Romeo?"))
			local received = romeo:expect { name = "message", from = "juliet@capulet.lit/balcony", child = "body" }
			xml.assert_same(
				received,
				[[
				<message from='juliet@capulet.lit/balcony' to="romeo@capulet.lit/orchard" type='chat'>
					<body>Art thou not Romeo?</body>
				</message>
			]]
			)
			romeo:send "<message to='juliet@capulet.lit'><body>Neither, fair maid</body></message>"
			juliet:expect { body = "Neither, fair maid", type = false }
		end)

		it("lets a component get messages and queries, and answer them", function()
			juliet:send(message("pubsub.capulet.lit", "hello"))
			local received = pubsub:expect { name = "message", child = "body" }
			assert.is_nil(received.attr.xmlns)
			assert.is_equal("hello", received:get_child_text "body")
			pubsub:send "<message from='pubsub.capulet.lit' to='juliet@capulet.lit/balcony'><body>yes?</body></message>"
			juliet:expect { from = "pubsub.capulet.lit", body = "yes?" }
			local answer = pubsub:iq { type = "get", to = "capulet.lit", "<query xmlns='http://jabber.org/protocol/disco#info'/>" }
			assert.is_equal("result", answer.attr.type)
			answer = pubsub:iq { type = "get", to = "capulet.lit", payload = st.stanza("query", { xmlns = "urn:example:nothing" }) }
			assert.is_equal("error", answer.attr.type)
		end)

		it("writes rosters that Prosody reads", function()
			local item = juliet.roster:get_child("query", "jabber:iq:roster"):get_child "item"
			assert.is_equal("nurse@capulet.lit", item.attr.jid)
			assert.is_equal("both", item.attr.subscription)
			assert.is_equal("Nurse", item.attr.name)
			assert.is_equal(2, #item.tags)
		end)

		it("keeps what was not waited for", function()
			for _, body in ipairs { "1", "2", "3" } do
				juliet:send(message("romeo@capulet.lit/orchard", body))
			end
			romeo:expect { body = "2" }
			romeo:expect(function(stanza)
				return stanza:get_child_text "body" == "1"
			end)
			local rest = romeo:sync():drain()
			assert.is_equal(1, #rest)
			assert.is_equal("3", rest[1]:get_child_text "body")
		end)

		it("tells what did arrive when the expected stanza did not", function()
			juliet:send(message("romeo@capulet.lit/orchard", "something else"))
			local err = failure(romeo.expect, romeo, { name = "iq", id = "x" }, 0.1)
			assert.is_truthy(err:find('name = "iq"', 1, true))
			assert.is_truthy(err:find("something else", 1, true))
		end)

		it("proves that nothing came", function()
			romeo:nothing()
			-- without waiting for any of the two streams
			juliet:send(message("romeo@capulet.lit/orchard", "surprise"))
			romeo:nothing { name = "iq" }
			assert.is_truthy(failure(romeo.nothing, romeo):find("surprise", 1, true))
			assert.is_truthy(failure(romeo.nothing, romeo, { name = "message" }):find("surprise", 1, true))
			romeo:drain()
			romeo:nothing()
			romeo:send(message("pubsub.capulet.lit", "surprise"))
			assert.is_truthy(failure(pubsub.nothing, pubsub):find("surprise", 1, true))
		end)

		it("runs code in the server", function()
			assert.is_equal("capulet.lit", server:eval "return module.host")
			assert.is_equal("pubsub.capulet.lit", server:eval("return module.host", "pubsub.capulet.lit"))
			assert.is_same({ 1, "a\0\r\n\255'", { x = false } }, server:eval [[return { 1, "a\0\r\n\255'", { x = false } }]])
			assert.is_same(
				{ n = 3, [2] = 0.5, [3] = "<x/>" },
				table.pack(server:eval [[
				return nil, 0.5, require "util.stanza".stanza "x";
			]])
			)
			assert.is_true(server:eval "return prosody.full_sessions['juliet@capulet.lit/balcony'] ~= nil")
			assert.is_truthy(failure(server.eval, server, "error 'sad'"):find "sad")
			assert.is_truthy(failure(server.eval, server, "this is no code"):find "eval:1")
			assert.is_truthy(failure(server.eval, server, "return 1", "no.such.host"):find "no.such.host")
		end)

		it("loads, reloads and unloads modules", function()
			server:load_module "time"
			server:reload_module "time"
			assert.is_true(server:eval "return require 'core.modulemanager'.is_loaded('capulet.lit', 'time')")
			server:unload_module("time", "capulet.lit")
			assert.is_false(server:eval "return not not require 'core.modulemanager'.is_loaded('capulet.lit', 'time')")
			assert.has_error(function()
				server:load_module "no_such_module"
			end)
			server:allow_log "no_such_module"
		end)

		it("waits for the log", function()
			local mark = server:mark()
			server:eval "module:log('info', 'a line of the spec: %d', 42)"
			assert.is_truthy(server:wait_log("of the spec: %d+", 1, mark):find "42")
			assert.is_truthy(server:log_since(mark):find "of the spec")
			assert.is_truthy(failure(server.wait_log, server, "no such line", 0.02):find "no such line")
		end)

		it("runs prosodyctl", function()
			local output, status = server:prosodyctl "status"
			assert.is_equal(0, status)
			assert.is_truthy(output:find(tostring(server.pid), 1, true))
			assert.is_not_equal(0, (select(2, server:prosodyctl { "deluser" })))
		end)

		it("makes the storage of rosters fail on demand", function()
			local add = "<query xmlns='jabber:iq:roster'><item jid='%s@capulet.lit'/></query>"
			local read = [[
				local data, err = require "core.storagemanager".open("capulet.lit", "roster", "keyval"):get "juliet";
				return data and data["paris@capulet.lit"] ~= nil, err;
			]]
			server:eval "prosody.spec_fail = { roster_set = true }"
			juliet:iq { type = "set", add:format "paris" }
			assert.is_false((server:eval(read)))
			server:eval "prosody.spec_fail = { roster_get = true }"
			assert.is_same({ n = 2, [2] = "spec failure" }, table.pack(server:eval(read)))
			server:eval "prosody.spec_fail = nil"
			juliet:iq { type = "set", add:format "paris" }
			assert.is_true((server:eval(read)))
		end)

		it("notices the end of a stream", function()
			server:client("romeo@capulet.lit/one"):close()
			romeo:expect { name = "presence", type = "unavailable", from = "romeo@capulet.lit/one" }
			server:client("romeo@capulet.lit/two"):cut()
			romeo:expect { name = "presence", type = "unavailable", from = "romeo@capulet.lit/two" }
			local err = failure(server.component, server, "pubsub.capulet.lit", "wrong")
			assert.is_truthy(err:find "not%-authorized")
			err = failure(server.client, server, "romeo@capulet.lit", { password = "wrong" })
			assert.is_truthy(err:find "not%-authorized")
			local broken = server:client("romeo@capulet.lit/three", { presence = false })
			broken:send "<message><not-well-formed></message>"
			assert.is_truthy(failure(broken.expect, broken, {}):find "not%-well%-formed")
			assert.is_true(broken.closed)
		end)
	end)

	it("reloads the configuration", function()
		local server = start { config = capulet .. "\nVirtualHost 'montague.lit'\nspec_option = 'before'" }
		local read = "return module:get_option_string 'spec_option'"
		assert.is_equal("before", server:eval(read, "montague.lit"))
		server:reload_config(capulet .. "\nVirtualHost 'montague.lit'\nspec_option = 'after'")
		assert.is_equal("after", server:eval(read, "montague.lit"))
		assert.is_nil(server:eval(read))
		server:stop()
	end)

	it("finds errors in the log", function()
		local server = start()
		server:eval [[module:hook("message/bare", function () local nothing; return nothing.at_all; end, 1000)]]
		local juliet = server:client "juliet@capulet.lit/balcony"
		juliet:send(message("romeo@capulet.lit", "boom")):sync()
		local err = failure(server.stop, server)
		assert.is_truthy(err:find "attempt to index")
		assert.is_nil(io.open(server.dir .. "/prosody.log"))

		server = start()
		server:eval [[module:hook("message/bare", function () local nothing; return nothing.at_all; end, 1000)]]
		juliet = server:client "juliet@capulet.lit/balcony"
		juliet:send(message("romeo@capulet.lit", "boom")):sync()
		server:allow_log "attempt to index"
		server:stop()
	end)

	it("reports a server that does not start", function()
		local err = failure(start, { config = "VirtualHost 'capulet.lit' this is no configuration" })
		assert.is_truthy(err:find "did not start")
	end)

	it("starts a server on other ports where one of them was taken meanwhile", function()
		local folder = assert(io.popen("mktemp -d"):read "*l")
		local program = folder .. "/prosody"
		environment.write_file(
			program,
			([[#!/bin/sh
				if [ ! -e %s/tried ]; then
					touch %s/tried
					echo "Failed to open server port 1 on 127.0.0.1, this port is in use by another application" >&2
					exit 1
				fi
				exec %s "$@"
			]]):format(folder, folder, environment.program)
		)
		assert.is_true(os.execute(("chmod +x '%s'"):format(program)))
		local server = start { prosody = program }
		server:client "romeo@capulet.lit/orchard"
		server:stop()
		assert.is_truthy(environment.read_file(folder .. "/tried"))
		os.execute(("rm -r '%s'"):format(folder))
	end)

	it("restarts a server with its data, stopped or killed", function()
		local server = start()
		local juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
		for i, how in ipairs { "stop", "kill" } do
			juliet:iq { type = "set", ("<query xmlns='jabber:iq:roster'><item jid='contact%d@capulet.lit'/></query>"):format(i) }
			if how == "kill" then
				server:kill()
				assert.is_truthy(server:log():find "Welcome" or server:log():find "welcome")
			end
			local pid, port = server.pid, server.c2s_port
			server:restart()
			assert.is_not_equal(pid, server.pid)
			assert.is_equal(port, server.c2s_port)
			juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
			assert.is_equal(i, #juliet.roster:get_child("query", "jabber:iq:roster").tags)
		end
		server:stop()
	end)

	it("works with SQL storage", function()
		local server = start {
			storage = "sql",
			rosters = { ["juliet@capulet.lit"] = { ["nurse@capulet.lit"] = { subscription = "both", groups = { "Servants" } } } },
		}
		local juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
		local item = juliet.roster:get_child("query", "jabber:iq:roster"):get_child "item"
		assert.is_equal("nurse@capulet.lit", item.attr.jid)
		assert.is_equal("Servants", item:get_child_text "group")
		assert.is_equal("sql", server:eval "return (select(2, require 'core.storagemanager'.get_driver('capulet.lit', 'roster')))")
		server:eval "prosody.spec_fail = { roster_get = true }"
		assert.is_same(
			{ n = 2, [2] = "spec failure" },
			table.pack(server:eval [[
			return require "core.storagemanager".open("capulet.lit", "roster", "map"):get("juliet", "nurse@capulet.lit");
		]])
		)
		server:restart()
		server:client "juliet@capulet.lit/balcony"
		server:stop()
	end)

	for name, addresses in pairs {
		["on one address"] = { "127.0.0.1", "127.0.0.1" },
		["on two addresses"] = { "127.0.0.1", "127.0.0.2" },
	} do
		it("lets servers federate " .. name, function()
			local one = start { s2s = true, ip = addresses[1] }
			local two = start {
				s2s = true,
				ip = addresses[2],
				config = "VirtualHost 'montague.lit'",
				users = { "benvolio@montague.lit" },
			}
			local juliet = one:client "juliet@capulet.lit/balcony"
			local benvolio = two:client "benvolio@montague.lit/street"
			juliet:send(message("benvolio@montague.lit/street", "over there"))
			benvolio:expect { from = "juliet@capulet.lit/balcony", body = "over there" }
			benvolio:send(message("juliet@capulet.lit/balcony", "and back"))
			juliet:expect { from = "benvolio@montague.lit/street", body = "and back" }
			juliet:send(message("nobody@elsewhere.lit", "lost"))
			juliet:expect { from = "nobody@elsewhere.lit", type = "error" }
			one:stop()
			two:stop()
		end)
	end

	it("writes many accounts quickly and starts quickly", function()
		local users, rosters = {}, {}
		for i = 1, 10000 do
			local jid = ("user%d@capulet.lit"):format(i)
			users[i] = jid
			rosters[jid] = { ["nurse@capulet.lit"] = { subscription = "both" } }
		end
		local before = socket.gettime()
		local server = start { users = users, rosters = rosters }
		assert.is_true(socket.gettime() - before < 30)
		local last = server:client("user10000@capulet.lit/x", { roster = true })
		assert.is_equal(1, #last.roster.tags[1].tags)
		server:stop()
	end)

	it("leaves nothing behind of a server that nobody stopped", function()
		local script = [[
			local prosody = require "spec.support.prosody";
			local server = prosody.start { config = "VirtualHost 'capulet.lit'", modules = {} };
			print(server.pid, server.dir);
			io.stdout:flush();
			%s
		]]
		local interpreter = "lua" .. _VERSION:match "%d%.%d"
		for _, ending in ipairs { "", "os.exit(1)", "os.execute 'kill -9 $PPID'" } do
			local pipe = io.popen(("exec %s -e '%s' 2>/dev/null"):format(interpreter, script:format(ending):gsub("'", "'\\''")))
			local pid, dir = pipe:read "*l":match "^(%d+)%s+(%S+)"
			pipe:close()
			local deadline = socket.gettime() + 20
			repeat
				socket.sleep(0.01)
				local stat, file = io.open("/proc/" .. pid .. "/stat"), io.open(dir .. "/prosody.cfg.lua")
				local gone = not stat and not file
				if stat then
					stat:close()
				end
				if file then
					file:close()
				end
			until gone or socket.gettime() > deadline
			assert.is_nil(io.open("/proc/" .. pid .. "/stat"))
			assert.is_nil(io.open(dir .. "/prosody.cfg.lua"))
		end
	end)
end)

describe("spec.support.xml", function()
	it("compares by structure", function()
		assert.is_true(xml.same("<a x='1' y='2'><b xmlns='urn:x'><c/></b></a>", "<a y='2' x='1'>\n  <b xmlns='urn:x'>\n<c/></b>\n</a>"))
		assert.is_true(xml.same(st.stanza("a"):tag("b", { xmlns = "urn:x" }):tag("c"):text("t"), "<a><b xmlns='urn:x'><c>t</c></b></a>"))
		assert.is_true(xml.same("<p:b xmlns:p='urn:x'/>", "<b xmlns='urn:x'/>"))
		assert.is_false((xml.same("<a><b/><c/></a>", "<a><c/><b/></a>")))
		assert.is_false((xml.same("<a x='1'/>", "<a/>")))
		assert.is_false((xml.same("<a/>", "<a x='1'/>")))
		assert.is_false((xml.same("<a><b/></a>", "<a><b xmlns='urn:x'/></a>")))
		assert.is_false((xml.same("<a>t </a>", "<a>t</a>")))
		assert.is_false((xml.same("<a><b/></a>", "<a><b/><b/></a>")))
		local err = failure(xml.assert_same, "<a>1</a>", "<a>2</a>")
		assert.is_truthy(err:find("<a>1</a>", 1, true) and err:find("<a>2</a>", 1, true))
	end)

	it("refuses what is not one element", function()
		for _, text in ipairs { "", "text", "<a>", "<a/><b/>", "<a></b>", "<a/></a>", "<a x=1/>" } do
			assert.has_error(function()
				xml.parse(text)
			end)
		end
	end)

	it("presents namespaces as streams do", function()
		local parsed = xml.parse "<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'/></forwarded></message>"
		assert.is_nil(parsed.attr.xmlns)
		assert.is_equal("jabber:client", parsed.tags[1].tags[1].attr.xmlns)
	end)
end)
