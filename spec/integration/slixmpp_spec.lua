-- The module as seen by a component library that others wrote: slixmpp and its XEP-0356 plugin.

local fixture = require "spec.support.fixture"
local programs = require "spec.support.programs"

describe("slixmpp's XEP-0356 plugin", function()
	local server, juliet, romeo

	fixture.running({
		config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["gateway.capulet.lit"] = {
			roster = "both";
			message = "outgoing";
			iq = { ["http://jabber.org/protocol/pubsub"] = "set" };
		};
	}
]] .. fixture.components "gateway",
		users = { "juliet@capulet.lit", "romeo@capulet.lit" },
		rosters = {
			["juliet@capulet.lit"] = { ["nurse@capulet.lit"] = { subscription = "both", name = "Nurse", groups = { "House" } } },
		},
	}, { { "juliet@capulet.lit/balcony", roster = true }, "romeo@capulet.lit/orchard" }, function(...)
		server, juliet, romeo = ...
	end)

	local with_slixmpp = fixture.specs(programs.has_slixmpp, "slixmpp 1.8, of Debian 12")
	with_slixmpp("B3.1 B4.1 B4.2 B6.1 B7.1 is told its privileges and uses them", function()
		local program = io.popen(
			"/usr/bin/python3 spec/support/slixmpp_component.py gateway.capulet.lit secret "
				.. server.component_port
				.. " juliet@capulet.lit romeo@capulet.lit 2>/dev/null"
		)
		local output = program:read("*a")
		program:close()
		assert.equal("advertised\nroster 1\ncontact\nmessage\nbookmark\n", output)

		local push = juliet:expect { name = "iq", type = "set", child = "query", xmlns = "jabber:iq:roster" }
		local item = push.tags[1].tags[1]
		assert.equal("friend@gateway.capulet.lit", item.attr.jid)
		assert.equal("both", item.attr.subscription)
		assert.equal("Friend", item.attr.name)

		local message = romeo:expect { name = "message", from = "juliet@capulet.lit" }
		assert.equal("Wherefore art thou Romeo?", message:get_child_text("body"))

		local bookmarks = juliet:iq {
			type = "get",
			payload = "<pubsub xmlns='http://jabber.org/protocol/pubsub'>" .. "<items node='urn:xmpp:bookmarks:1'/></pubsub>",
		}
		assert.equal("result", bookmarks.attr.type)
		assert.is_truthy(bookmarks:find("{http://jabber.org/protocol/pubsub}pubsub/items/item/{urn:xmpp:bookmarks:1}conference"))
	end)
end)
