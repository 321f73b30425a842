-- Requests to send messages that are refused (XEP-0356, section 5).

local fixture = require "spec.support.fixture"
local privileged = require "spec.support.privileged"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = { message = "outgoing" };
		["mercutio@capulet.lit"] = { message = "outgoing" };
		["readers.capulet.lit"] = { roster = "get", roster_push = false };
		["nomessages.capulet.lit"] = { message = "none", iq = { ["urn:example"] = "both" } };
	}
VirtualHost "verona.lit"
	privileged_entities = { ["pubsub.capulet.lit"] = { message = "outgoing" } }
]] .. fixture.components("pubsub", "readers", "nomessages", "stranger")

describe("B6 messages are refused:", function()
	local balcony, nurse, mercutio, pubsub, readers, nomessages, stranger

	local streams = fixture.running({
		config = config,
		users = { "juliet@capulet.lit", "nurse@capulet.lit", "mercutio@capulet.lit", "romeo@verona.lit" },
	}, {
		{ "juliet@capulet.lit/balcony", carbons = true },
		"nurse@capulet.lit/kitchen",
		"mercutio@capulet.lit/street",
		"pubsub.capulet.lit",
		"readers.capulet.lit",
		"nomessages.capulet.lit",
		"stranger.capulet.lit",
		"romeo@verona.lit/orchard",
	}, function(_, ...)
		balcony, nurse, mercutio, pubsub, readers, nomessages, stranger = ...
	end)

	local it = privileged.quiet_specs(it, streams)
	local send, to_nurse, expect_refusal = privileged.send, privileged.to_nurse, privileged.expect_refusal

	for _, case in ipairs {
		{ "the user's bare JID with a resource", "juliet@capulet.lit/balcony" },
		{ "the host with a resource", "capulet.lit/x" },
		{ "another virtual host of the same server", "verona.lit" },
		{ "a user of another virtual host", "romeo@verona.lit" },
		{ "the entity itself", "pubsub.capulet.lit" },
		{ "another component", "stranger.capulet.lit" },
		{ "a user at a component", "juliet@stranger.capulet.lit" },
		{ "a remote domain", "montague.lit" },
		{ "a user of a remote domain", "juliet@montague.lit" },
		{ "a user who does not exist", "nobody@capulet.lit" },
		{ "nobody (no 'from')", false },
		{ "the empty JID", "" },
		{ "a malformed JID", "juliet@capulet.lit/" },
		{ "a domain that ends like the host's", "juliet@not-capulet.lit" },
	} do
		it("B6.2 forbids the sender that is " .. case[1], function()
			send(pubsub, to_nurse(case[2]))
			expect_refusal(pubsub, "forbidden", "auth")
		end)
	end

	it("B6.2 a grant of one host opens that host only, and users of another are sent for through theirs", function()
		send(pubsub, to_nurse "romeo@verona.lit", { to = "verona.lit" })
		nurse:expect { from = "romeo@verona.lit", body = "psst" }
		send(pubsub, to_nurse "juliet@capulet.lit", { to = "verona.lit" })
		expect_refusal(pubsub, "forbidden", "auth", "verona.lit")
	end)

	it("B6.2 knows the entity by its stream, whichever address of its own it writes from", function()
		send(pubsub, to_nurse "capulet.lit", { from = "service@pubsub.capulet.lit/x" })
		nurse:expect { from = "capulet.lit", body = "psst" }
		send(pubsub, to_nurse "nobody@capulet.lit", { from = "service@pubsub.capulet.lit/x" })
		privileged.assert_error(pubsub:expect { to = "service@pubsub.capulet.lit/x" }, "forbidden", "auth")
	end)

	local message = "<message xmlns='jabber:client' from='capulet.lit' to='nurse@capulet.lit/kitchen'><body>psst</body></message>"
	local forwarded = "<forwarded xmlns='urn:xmpp:forward:0'>%s</forwarded>"
	local privilege = ("<privilege xmlns='urn:xmpp:privilege:2'>%s</privilege>"):format(forwarded:format(message))
	for name, content in pairs {
		["nothing"] = "",
		["a text"] = "psst",
		["nothing forwarded"] = forwarded:format "",
		["a text forwarded"] = forwarded:format "psst",
		["two forwarded messages"] = forwarded:format(message):rep(2),
		["two messages in one"] = forwarded:format(message:rep(2)),
		["a message without forwarding"] = message,
		["a forwarding of another namespace"] = "<forwarded xmlns='urn:xmpp:forward:1'>" .. message .. "</forwarded>",
		["a message of another namespace"] = forwarded:format(message:gsub("jabber:client", "jabber:server")),
		["a message without a namespace of its own"] = forwarded:format(message:gsub(" xmlns='jabber:client'", "")),
		["a presence"] = forwarded:format "<presence xmlns='jabber:client' from='capulet.lit' to='nurse@capulet.lit/kitchen'/>",
		["an iq"] = forwarded:format [[
			<iq xmlns='jabber:client' type='get' id='x' from='capulet.lit' to='nurse@capulet.lit/kitchen'><ping xmlns='urn:xmpp:ping'/></iq>
		]],
	} do
		it("B6.3 refuses a privilege with " .. name, function()
			send(pubsub, nil, { content = content })
			expect_refusal(pubsub, "bad-request", "modify")
		end)
	end

	it("B6.3 refuses a message with two privileges", function()
		pubsub:send("<message id='outer' from='pubsub.capulet.lit' to='capulet.lit'>" .. privilege:rep(2) .. "</message>")
		expect_refusal(pubsub, "bad-request", "modify")
	end)

	it("B6.3 takes a forwarded message that tells its time, as XEP-0297 has it", function()
		send(pubsub, "<delay xmlns='urn:xmpp:delay' stamp='2014-11-25T14:34:32Z'/>" .. message)
		nurse:expect { from = "capulet.lit", body = "psst" }
	end)

	it("B6.3 refuses a malformed recipient", function()
		send(pubsub, { from = "juliet@capulet.lit", to = "nurse@@capulet.lit", "<body>psst</body>" })
		expect_refusal(pubsub, "jid-malformed", "modify")
	end)

	it("B6.3 forbids everything to an entity without the permission", function()
		for _, stream in ipairs { readers, nomessages } do
			for _, inner in ipairs { to_nurse "juliet@capulet.lit", to_nurse "capulet.lit", to_nurse "romeo@verona.lit" } do
				send(stream, inner)
				expect_refusal(stream, "forbidden", "auth")
			end
			send(stream, nil, { content = "" })
			expect_refusal(stream, "forbidden", "auth")
		end
	end)

	it("B6.3 forbids everything to those who are not listed", function()
		for _, stream in ipairs { stranger, nurse } do
			send(stream, to_nurse "juliet@capulet.lit")
			expect_refusal(stream, "forbidden", "auth")
		end
		send(mercutio, to_nurse "juliet@capulet.lit")
		nurse:expect { from = "juliet@capulet.lit", body = "psst" }
		balcony:expect { name = "message", child = "sent" }
	end)

	it("B6.2 a privileged message in a privileged message gives no privilege", function()
		for _, from in ipairs { "mercutio@capulet.lit", "juliet@capulet.lit", "capulet.lit" } do
			send(pubsub, { from = from, to = "capulet.lit", privilege })
		end
		send(pubsub, { from = "pubsub.capulet.lit", to = "capulet.lit", privilege })
		expect_refusal(pubsub, "forbidden", "auth")
	end)

	it("B2.4 an error is not answered, whatever it carries", function()
		send(pubsub, to_nurse "juliet@capulet.lit", { type = "error" })
		send(readers, to_nurse "juliet@capulet.lit", { type = "error" })
		send(pubsub, nil, { type = "error", content = "" })
	end)
end)
