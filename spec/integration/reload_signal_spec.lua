-- B1.6: the configuration is read again by a signal while the server is busy, and nothing is lost of what is sent.

local environment = require "spec.support.environment"
local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"

local reloads, requests = 12, 300

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = { ["gateway.capulet.lit"] = { roster = "both", roster_push = false, message = "MESSAGE" } }
Component "gateway.capulet.lit"
	component_secret = "secret"
]]

describe("B1.6 a reload by a signal", function()
	local server, gateway

	setup(function()
		local roster = {}
		for i = 1, 50 do
			roster[("contact%d@verona.lit"):format(i)] = { subscription = "none", name = "A contact" }
		end
		server = prosody.start {
			config = config:gsub("MESSAGE", "none"),
			users = { "juliet@capulet.lit" },
			rosters = { ["juliet@capulet.lit"] = roster },
			log_level = "info",
		}
		gateway = server:component "gateway.capulet.lit"
		gateway:sync():drain()
	end)

	teardown(function()
		server:stop()
	end)

	it("tells an entity its permissions, and loses no answer, while the server is in the midst of answering it", function()
		local path = server.dir .. "/prosody.cfg.lua"
		for i = 1, reloads do
			local now, before = i % 2 == 1 and "outgoing" or "none", i % 2 == 1 and "none" or "outgoing"
			local text = environment.read_file(path)
			environment.write_file(path, (text:gsub(('message = "%s"'):format(before), ('message = "%s"'):format(now))))
			local texts = {}
			for j = 1, requests do
				texts[j] = ("<iq type='get' id='r%d-%d' from='gateway.capulet.lit' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>"):format(
					i,
					j
				)
			end
			local mark = server:mark()
			gateway:send(table.concat(texts))
			-- the first answer is there, most are not
			gateway:expect { id = ("r%d-1"):format(i), type = "result" }
			server:signal "HUP"
			for j = 2, requests do
				local answer = gateway:expect { name = "iq", id = ("r%d-%d"):format(i, j) }
				assert.is_equal(50, #answer.tags[1].tags)
			end
			server:wait_log("gateway%.capulet%.lit is granted", nil, mark)
			local told = gateway:expect { name = "message", child = "privilege", xmlns = "urn:xmpp:privilege:2" }
			assert.is_equal("roster=both push=false message=" .. now, grants.describe(told.tags[1]))
			gateway:expect { name = "message", child = "privilege", xmlns = "urn:xmpp:privilege:1" }
			gateway:nothing()
		end
	end)
end)
