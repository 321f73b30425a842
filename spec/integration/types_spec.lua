-- The types of Prosody's API as another project uses them: its module is compiled and does in a server what it says.

local environment = require "spec.support.environment"
local fixture = require "spec.support.fixture"
local programs = require "spec.support.programs"
local prosody = require "spec.support.prosody"

local http = require "socket.http"
local lfs = require "lfs"

describe("a module that is written with types/", function()
	local server, client, port

	local with_node = fixture.specs(programs.has_node, "Node.js with the project's packages")

	setup(function()
		if not programs.has_node then
			return
		end
		os.remove "build/types/mod_hello.lua"
		local _, status =
			programs.start("node node_modules/typescript-to-lua/dist/tstl.js -p spec/types --outDir ../../build/types"):finish()
		assert.equal(0, status)
		port = prosody.free_port()
		server = prosody.start {
			global = ('http_ports = { %d }\nhttp_interfaces = { "127.0.0.1" }\n'):format(port),
			config = [[
VirtualHost "capulet.lit"
	hello_greeting = "Good morrow"
]],
			modules = { "hello" },
			plugin_paths = { lfs.currentdir() .. "/build/types" },
			users = { "juliet@capulet.lit" },
		}
		client = server:client "juliet@capulet.lit/balcony"
	end)

	teardown(function()
		if server then
			server:stop()
		end
	end)

	it("has the configuration that the README shows", function()
		local readme = environment.read_file "types/README.md"
		assert.equal(environment.read_file "spec/types/tsconfig.json", readme:match "```json\n(.-)```")
	end)

	with_node("answers iqs", function()
		for payload, greeting in pairs {
			["<query xmlns='urn:example:hello'/>"] = "Good morrow, juliet",
			["<query xmlns='urn:example:hello'><name>Capulet</name></query>"] = "Good morrow, Capulet",
		} do
			local answer = client:iq { type = "get", to = "capulet.lit", payload }
			assert.equal("result", answer.attr.type)
			assert.equal(greeting, answer:find "{urn:example:hello}query/greeting#")
		end
		assert.truthy(server:wait_log "\tCapulet is greeted$")
	end)

	with_node("is found by service discovery", function()
		local info = client:iq { type = "get", to = "capulet.lit", "<query xmlns='http://jabber.org/protocol/disco#info'/>" }
		assert.truthy(tostring(info):find("urn:example:hello", 1, true))
	end)

	with_node("sends messages", function()
		client:send "<message to='capulet.lit'><body>Good night</body></message>"
		local message = client:expect { name = "message", from = "capulet.lit" }
		assert.equal("Good morrow, you said: Good night", message:get_child_text "body")
	end)

	with_node("has a page", function()
		local body = {}
		local _, status = http.request {
			url = ("http://127.0.0.1:%d/hello"):format(port),
			headers = { host = "capulet.lit" },
			sink = function(chunk)
				table.insert(body, chunk)
				return 1
			end,
		}
		assert.equal(200, status)
		assert.equal("Good morrow", table.concat(body))
	end)
end)
