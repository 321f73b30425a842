-- Behaviour 8 and 11: XML that Prosody lets through and parsers refuse reaches no entity.

local fixture = require "spec.support.fixture"
local presences = require "spec.support.presences"
local privileged = require "spec.support.privileged"

local config = [[
VirtualHost "capulet.lit"
	privilege_probe_rate = 0
	privileged_entities = {
		["gateway.capulet.lit"] = { roster = "get", presence = "roster", iq = { ["urn:example"] = "get" } };
		["friar@capulet.lit"] = { roster = "get", presence = "roster" };
	}
]] .. fixture.components("gateway")

describe("a presence with an element of a namespace that XML keeps to itself", function()
	local server, gateway, friar, nurse

	fixture.running({ config = config, users = { "mallory@capulet.lit", "friar@capulet.lit", "nurse@capulet.lit" } }, {
		"gateway.capulet.lit",
		"friar@capulet.lit/cell",
		"nurse@capulet.lit/kitchen",
	}, function(started, ...)
		server = started
		gateway, friar, nurse = ...
	end)

	it("B8.1 is told without it, at once and in a catch-up, and ends no stream", function()
		server:drain()
		local mallory = server:client "mallory@capulet.lit/x"
		mallory:send "<presence><show>away</show><xml:foo/></presence>"
		-- The server sends it back to the client, which must not read it: its stream would end.
		mallory.dirty = false
		for _, stream in ipairs { gateway, friar } do
			stream:expect { name = "presence", from = "mallory@capulet.lit/x" }
			stream:expect { name = "presence", from = "mallory@capulet.lit/x" }
			stream:sync()
		end
		gateway:close()
		gateway = server:component "gateway.capulet.lit"
		presences.settle(server)
		gateway:expect { name = "presence", from = "mallory@capulet.lit/x" }
		gateway:sync()
		mallory:cut()
		gateway:expect { name = "presence", from = "mallory@capulet.lit/x", type = "unavailable" }
	end)

	it("B7.2 in an answer to a privileged iq is an error to the entity", function()
		server:drain()
		gateway:send(
			privileged.iq({ id = "q", from = gateway.jid, to = "friar@capulet.lit" }, { to = nurse.jid, "<query xmlns='urn:example'/>" })
		)
		local query = nurse:expect { name = "iq", type = "get" }
		nurse:send(
			("<iq type='result' id='%s' to='friar@capulet.lit'><query xmlns='urn:example'><xml:foo/></query></iq>"):format(query.attr.id)
		)
		local answer = gateway:expect { name = "iq", id = "q" }
		assert.is_equal("error", answer.attr.type)
		gateway:sync()
	end)

	it("B7.2 B8.1 is not one that merely names such a namespace", function()
		server:drain()
		for _, text in ipairs {
			"about http://www.w3.org/XML/1998/namespace",
			"about xmlns='http://www.w3.org/2000/xmlns/'",
			"<a xmlns='urn:example' about='http://www.w3.org/2000/xmlns/'/>",
			"<a xmlns='http://www.w3.org/XML/1998/namespaces'/>",
		} do
			nurse:send(("<presence><show>away</show><status>%s</status></presence>"):format(text))
			local presence = gateway:expect { name = "presence", from = nurse.jid }
			assert.is_equal("away", presence:get_child_text "show")
			assert.is_truthy(presence:get_child "status")
			gateway:send(
				privileged.iq(
					{ id = "q", from = gateway.jid, to = "friar@capulet.lit" },
					{ to = nurse.jid, "<query xmlns='urn:example'/>" }
				)
			)
			local query = nurse:expect { name = "iq", type = "get" }
			nurse:send(
				("<iq type='result' id='%s' to='friar@capulet.lit'><query xmlns='urn:example'>%s</query></iq>"):format(query.attr.id, text)
			)
			assert.is_equal("result", gateway:expect({ name = "iq", id = "q" }).attr.type)
		end
	end)
end)
