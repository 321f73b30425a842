-- B3.3, B6.1: a component that was written for the old namespace, with a library of others, works unchanged
-- beside one of the new namespace.

local fixture = require "spec.support.fixture"
local programs = require "spec.support.programs"

describe("a component of urn:xmpp:privilege:1", function()
	local server, romeo, new

	fixture.running({
		config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["old.capulet.lit"] = {
			roster = "get"; message = "outgoing"; presence = "managed_entity"; iq = { ["http://jabber.org/protocol/pubsub"] = "set" };
		};
		["new.capulet.lit"] = { roster = "get"; message = "outgoing"; iq = { ["http://jabber.org/protocol/pubsub"] = "set" } };
	}
]] .. fixture.components("old", "new"),
		users = { "juliet@capulet.lit", "romeo@capulet.lit" },
		rosters = { ["juliet@capulet.lit"] = { ["nurse@capulet.lit"] = { subscription = "both" } } },
	}, { "romeo@capulet.lit/orchard", "new.capulet.lit" }, function(...)
		server, romeo, new = ...
	end)

	local with_node = fixture.specs(programs.has_node, "Node.js with the project's packages")
	with_node("B3.3 B6.1 works unchanged beside one of the new namespace", function()
		local output = programs
			.start(
				"node spec/support/legacy_component.mjs old.capulet.lit secret "
					.. server.component_port
					.. " juliet@capulet.lit romeo@capulet.lit"
			)
			:finish()
		assert.is_equal("message=outgoing presence=managed_entity roster=get\nroster 1\nmessage\n", output)
		assert.is_equal("Of old", romeo:expect { name = "message", from = "juliet@capulet.lit" }:get_child_text "body")

		new:send(
			"<message from='new.capulet.lit' to='capulet.lit'><privilege xmlns='urn:xmpp:privilege:2'>"
				.. "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='juliet@capulet.lit' to='romeo@capulet.lit'>"
				.. "<body>Of late</body></message></forwarded></privilege></message>"
		)
		assert.is_equal("Of late", romeo:expect { name = "message", from = "juliet@capulet.lit" }:get_child_text "body")
	end)
end)
