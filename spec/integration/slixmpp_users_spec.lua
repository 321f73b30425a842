-- A grant with users = "opted-in" and a gateway of others' making: slixmpp's own registration (XEP-0077), commands (XEP-0050)
-- and privileges. As slidge does, it uses its privileges while it answers a registration.

local fixture = require "spec.support.fixture"
local programs = require "spec.support.programs"
local prosody = require "spec.support.prosody"
local rosters = require "spec.support.rosters"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = { ["gateway.capulet.lit"] = { users = "opted-in", roster = "both" } }
Component "gateway.capulet.lit"
	component_secret = "secret"
]]

-- How a client registers with the gateway, and what answers that
local registrations = {
	["by XEP-0077"] = {
		stanza = "<iq type='set' id='x' to='gateway.capulet.lit'><query xmlns='jabber:iq:register'><username>juliet</username></query></iq>",
		answer = { name = "iq", type = "result", id = "x" },
	},
	["by a command"] = {
		stanza = "<iq type='set' id='x' to='gateway.capulet.lit'><command xmlns='http://jabber.org/protocol/commands' node='register'/></iq>",
		answer = { name = "iq", type = "result", id = "x", child = "command" },
	},
	["by chat message"] = {
		stanza = "<message type='chat' id='x' to='gateway.capulet.lit'><body>register</body></message>",
		answer = { name = "message", body = "Registered" },
	},
}

describe("a gateway of slixmpp", function()
	local with_slixmpp = fixture.specs(programs.has_slixmpp, "slixmpp 1.8, of Debian 12")

	for way, registration in pairs(registrations) do
		with_slixmpp("B12.2 serves the user who registers " .. way .. " before it answers, and nobody else", function()
			local server = prosody.start { config = config, users = { "juliet@capulet.lit", "romeo@capulet.lit" } }
			local gateway
			finally(function()
				if gateway then
					gateway:stop()
				end
				server:stop()
			end)
			local juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
			local romeo = server:client("romeo@capulet.lit/orchard", { roster = true })
			gateway = programs.start(
				"/usr/bin/python3 -u spec/support/slixmpp_gateway.py gateway.capulet.lit secret "
					.. server.component_port
					.. " romeo@capulet.lit nobody@capulet.lit"
			)
			repeat
				local line = assert(gateway:line(), "the gateway has ended")
			until line == "ready"

			juliet:send(registration.stanza)
			for _, line in ipairs {
				"romeo@capulet.lit get forbidden",
				"romeo@capulet.lit set forbidden",
				"nobody@capulet.lit get forbidden",
				"nobody@capulet.lit set forbidden",
				"juliet@capulet.lit served",
			} do
				assert.is_equal(line, gateway:line())
			end
			-- first the push, then the answer
			local push = juliet:expect()
			assert.is_equal("gateway.capulet.lit both name=Gateway {Gateways}", rosters.line(push.tags[1].tags[1]))
			juliet:expect(registration.answer)
			assert.is_same({ "gateway.capulet.lit both name=Gateway {Gateways}" }, (rosters.get(juliet)))
			assert.is_same({}, (rosters.get(romeo)))
			romeo:nothing()
		end)
	end
end)
