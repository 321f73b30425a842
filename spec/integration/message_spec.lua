-- Messages that entities send on behalf of users and of the host (XEP-0356, section 5).

local fixture = require "spec.support.fixture"
local environment = require "spec.support.environment"
local privileged = require "spec.support.privileged"
local xml = require "spec.support.xml"

local has_smacks = environment.read_file(environment.source_folder .. "/modules/mod_smacks.lua") ~= nil

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = { message = "outgoing" };
		["mercutio@capulet.lit"] = { message = "outgoing" };
	}
VirtualHost "verona.lit"
	privilege_legacy_namespace = false
	privileged_entities = { ["pubsub.capulet.lit"] = { message = "outgoing" } }
]] .. fixture.components("pubsub", "stranger", "gone")

-- What XEP-0356 forwards in its example, with texts, attributes and namespaces of all kinds
local children = [[
	<body>What's in a name? &lt;&amp;&gt;</body><body xml:lang='it'>Che c'è in un nome?</body><thread parent='t0'>t1</thread>
	<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='http://jabber.org/protocol/tune'><item>
		<tune xmlns='http://jabber.org/protocol/tune'><artist>Gerald Finzi</artist><length>255</length></tune>
	</item></items></event>
	<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>What <em>is</em> it?</p></body></html>
	<delay xmlns='urn:xmpp:delay' stamp='2014-11-25T14:34:32Z'/>
]]

describe("B6 messages", function()
	local server, balcony, chamber, phone, nurse, romeo, mercutio, drunk, pubsub, stranger

	local streams = fixture.running({
		config = config,
		modules = { "privilege", "mam", has_smacks and "smacks" or nil },
		users = {
			"juliet@capulet.lit",
			"nurse@capulet.lit",
			"mercutio@capulet.lit",
			"tybalt@capulet.lit",
			"romeo@verona.lit",
		},
	}, {
		{ "juliet@capulet.lit/balcony", carbons = true },
		{ "juliet@capulet.lit/chamber", carbons = true },
		{ "juliet@capulet.lit/phone", presence = "<presence><priority>-1</priority></presence>" },
		"nurse@capulet.lit/kitchen",
		"romeo@verona.lit/orchard",
		"mercutio@capulet.lit/street",
		{ "mercutio@capulet.lit/tavern", carbons = true },
		"pubsub.capulet.lit",
		"stranger.capulet.lit",
	}, function(...)
		server, balcony, chamber, phone, nurse, romeo, mercutio, drunk, pubsub, stranger = ...
	end)

	local it = privileged.quiet_specs(it, streams)

	-- Sends a message as an entity, by default as pubsub.capulet.lit
	local function send(inner, outer, stream)
		privileged.send(stream or pubsub, inner, outer)
	end

	local function carbon(client, direction, inner)
		return ([[
			<message from='juliet@capulet.lit' to='%s' type='chat'><%s xmlns='urn:xmpp:carbons:2'>
				<forwarded xmlns='urn:xmpp:forward:0'>%s</forwarded>
			</%s></message>
		]]):format(client.jid, direction, inner, direction)
	end

	-- Asserts that a stream gets exactly this message; what an archive calls it does not count
	local function expect_message(stream, expected)
		local received = tostring(stream:expect { name = "message" }):gsub("<stanza%-id[^>]*/>", "")
		xml.assert_same(received, expected)
	end

	local function expect_sent_carbons(inner)
		for _, client in ipairs { balcony, chamber } do
			expect_message(client, carbon(client, "sent", inner))
		end
	end

	for name, xmlns in pairs { ["urn:xmpp:privilege:2"] = privileged.xmlns, ["urn:xmpp:privilege:1"] = privileged.xmlns_legacy } do
		it("B6.1 sends to a local user's client, with carbons to all the sender's clients that have them on, asked in " .. name, function()
			local attr =
				{ from = "juliet@capulet.lit", to = "nurse@capulet.lit/kitchen", type = "chat", id = "m1", "<body>Is he gone?</body>" }
			send(attr, { xmlns = xmlns })
			expect_sent_carbons(privileged.inner(attr))
			expect_message(nurse, privileged.inner(attr))
		end)
	end

	it("B6.1 keeps the id and all children", function()
		local attr = { from = "juliet@capulet.lit", to = "nurse@capulet.lit/kitchen", type = "headline", id = "a'b\"<&>ü", children }
		send(attr)
		expect_message(nurse, privileged.inner(attr))
		attr.id = false
		send(attr)
		assert.is_nil(nurse:expect({ name = "message" }).attr.id)
	end)

	it("B6.1 keeps a message that the message carries", function()
		local attr = {
			from = "juliet@capulet.lit",
			to = "nurse@capulet.lit/kitchen",
			type = "headline",
			id = "m2",
			[[
			<result xmlns='urn:xmpp:mam:2' id='r1'><forwarded xmlns='urn:xmpp:forward:0'>
				<delay xmlns='urn:xmpp:delay' stamp='2014-11-25T14:34:32Z'/>
				<message xmlns='jabber:client' from='romeo@verona.lit/orchard' type='chat'><body>Farewell</body></message>
			</forwarded></result>
		]],
		}
		send(attr)
		expect_message(nurse, privileged.inner(attr))
	end)

	it("B6.1 leaves no jabber:client namespaces, on the wire or in the server", function()
		local raw = privileged.record(nurse)
		server:eval [[
			prosody.spec_elements = {};
			local function look(element, seen)
				seen[#seen + 1] = element.name .. "=" .. tostring(element.attr.xmlns);
				for _, child in ipairs(element.tags) do
					look(child, seen);
				end
				return seen;
			end
			for _, event in ipairs { "pre-message/full", "message/full" } do
				module:hook(event, function (event_data)
					table.insert(prosody.spec_elements, table.concat(look(event_data.stanza, {}), " "));
				end, 1000);
			end
		]]
		send {
			from = "juliet@capulet.lit",
			to = "nurse@capulet.lit/kitchen",
			type = "headline",
			[[
			<subject>s</subject><body>b</body><x xmlns='jabber:x:data'><field><value>v</value></field></x><thing><part/></thing>
		]],
		}
		nurse:expect { name = "message" }
		local seen = "message=nil subject=nil body=nil x=jabber:x:data field=jabber:x:data value=jabber:x:data thing=nil part=nil"
		assert.same({ seen, seen }, server:eval "return prosody.spec_elements")
		assert.is_nil(raw():find("jabber:client", 1, true))
		assert.truthy(raw():find("<thing><part/></thing>", 1, true))
	end)

	local with_smacks = fixture.specs(has_smacks, "Prosody 0.12")
	with_smacks("B6.1 reaches a client with stream management, counted as one stanza", function()
		local client = server:client("tybalt@capulet.lit/sword", { presence = false })
		client:send("<enable xmlns='urn:xmpp:sm:3'/>"):expect { name = "enabled" }
		send { from = "juliet@capulet.lit", to = client.jid, type = "headline", id = "m3", children }
		expect_message(
			client,
			privileged.inner {
				from = "juliet@capulet.lit",
				to = client.jid,
				type = "headline",
				id = "m3",
				children,
			}
		)
		client:expect { name = "r" }
		client:send "<a xmlns='urn:xmpp:sm:3' h='1'/>"
		client:nothing { name = "message" }
		assert.is_false(client.closed)
		client:close()
	end)

	it("B6.1 sends to a local bare JID", function()
		local attr = { from = "juliet@capulet.lit", to = "nurse@capulet.lit", id = "m4", "<body>Come</body>" }
		send(attr)
		for _, client in ipairs { balcony, chamber } do
			client:expect { name = "message", child = "sent", xmlns = "urn:xmpp:carbons:2", from = "juliet@capulet.lit" }
		end
		expect_message(nurse, privileged.inner(attr))
	end)

	it("B6.1 sends to another virtual host, to a component and to the entity itself", function()
		for _, stream in ipairs { romeo, stranger, pubsub } do
			local attr = { from = "juliet@capulet.lit", to = stream.jid, type = "headline", id = "m5", children }
			send(attr)
			expect_message(stream, privileged.inner(attr))
		end
	end)

	it("B6.1 sends without 'to' to the sender's own account", function()
		send { from = "juliet@capulet.lit", id = "m6", "<body>Note</body>" }
		for _, client in ipairs { balcony, chamber } do
			local received = client:expect { name = "message", body = "Note", from = "juliet@capulet.lit", id = "m6" }
			assert.truthy(received.attr.to == nil or received.attr.to == "juliet@capulet.lit")
		end
		-- carbons of a message to oneself are as the server makes them
		for _, client in ipairs { balcony, chamber } do
			for _, left in ipairs(client:sync():drain()) do
				assert.truthy(left:get_child(nil, "urn:xmpp:carbons:2"), tostring(left))
			end
		end
	end)

	it("B6.1 sends the same way what is addressed to the sender's own account", function()
		send { from = "juliet@capulet.lit", to = "juliet@capulet.lit/phone", type = "headline", id = "m7", "<body>Note</body>" }
		phone:expect { name = "message", body = "Note", from = "juliet@capulet.lit", id = "m7" }
	end)

	-- Gives the bodies of what a client's account sent with the id "kept", as its archive has them
	local function archived(client)
		assert.equal("result", client:iq({ type = "set", "<query xmlns='urn:xmpp:mam:2'/>" }).attr.type)
		local bodies = {}
		for _, stanza in ipairs(client:drain()) do
			local message = stanza:find "{urn:xmpp:mam:2}result/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
			if message.attr.id == "kept" and message.attr.from == client.jid:match "[^/]*" then
				table.insert(bodies, message:get_child_text "body")
			end
		end
		return bodies
	end

	it("B6.1 keeps the message in its sender's archive, also while the sender is not there", function()
		for _, from in ipairs { "juliet@capulet.lit", "tybalt@capulet.lit" } do
			local bodies = {}
			for i, to in ipairs { "nurse@capulet.lit", "nurse@capulet.lit/kitchen", "x@stranger.capulet.lit", "romeo@verona.lit/orchard" } do
				bodies[i] = ("from %s to %s"):format(from, to)
				send { from = from, to = to, type = "chat", id = "kept", "<body>" .. bodies[i] .. "</body>" }
			end
			nurse:expect { body = bodies[1] }
			nurse:expect { body = bodies[2] }
			stranger:expect { body = bodies[3] }
			romeo:expect { body = bodies[4] }
			balcony:sync():drain()
			chamber:sync():drain()
			local reader = from:find "juliet" and phone or server:client("tybalt@capulet.lit/sword", { presence = false })
			assert.same(bodies, archived(reader))
		end
	end)

	it("B6.1 is subject to the hooks that a client's message is", function()
		server:eval [[
			prosody.spec_hooked = {};
			for _, name in ipairs { "bare", "full", "host" } do
				module:hook("pre-message/" .. name, function (event)
					local origin, attr = event.origin, event.stanza.attr;
					if attr.id == "hooked" then
						table.insert(prosody.spec_hooked, table.concat({ name, origin.type, origin.username, origin.host, attr.from }, " "));
						return true;
					end
				end, 1000);
			end
		]]
		for _, to in ipairs { "nurse@capulet.lit", "nurse@capulet.lit/kitchen", "stranger.capulet.lit" } do
			send { from = "juliet@capulet.lit", to = to, id = "hooked", "<body>withheld</body>" }
		end
		send { from = "juliet@capulet.lit", id = "hooked", "<body>withheld</body>" }
		pubsub:sync()
		local sender = " c2s juliet capulet.lit juliet@capulet.lit"
		assert.same({ "bare" .. sender, "full" .. sender, "host" .. sender, "bare" .. sender }, server:eval "return prosody.spec_hooked")
	end)

	it("B6.1 does not reach whom the sender has blocked", function()
		local blocking = "<%s xmlns='urn:xmpp:blocking'><item jid='nurse@capulet.lit'/></%s>"
		assert.equal("result", balcony:iq({ type = "set", blocking:format("block", "block") }).attr.type)
		for _, to in ipairs { "nurse@capulet.lit", "nurse@capulet.lit/kitchen" } do
			send { from = "juliet@capulet.lit", to = to, type = "chat", "<body>blocked</body>" }
		end
		nurse:nothing()
		assert.equal("result", balcony:iq({ type = "set", blocking:format("unblock", "unblock") }).attr.type)
		for _, client in ipairs { balcony, chamber, phone, nurse } do
			client:sync():drain()
		end
	end)

	it("B6.2 sends for the host itself", function()
		for _, to in ipairs { "juliet@capulet.lit/phone", "romeo@verona.lit/orchard", "stranger.capulet.lit" } do
			local attr = { from = "capulet.lit", to = to, type = "headline", id = "m8", children }
			send(attr)
			local stream = to:find "^juliet" and phone or to:find "^romeo" and romeo or stranger
			expect_message(stream, privileged.inner(attr))
		end
		send { from = "capulet.lit", id = "m9", "<body>to the host</body>" }
		send { from = "capulet.lit", to = "capulet.lit", id = "m9", "<body>to the host</body>" }
	end)

	it("B6.2 compares the sender prepared", function()
		send { from = "Nurse@CAPULET.lit", to = "Juliet@capulet.LIT/phone", type = "headline", "<body>here</body>" }
		phone:expect { name = "message", from = "nurse@capulet.lit", to = "juliet@capulet.lit/phone", body = "here" }
		send { from = "CAPULET.lit", to = "juliet@capulet.lit/phone", type = "headline", "<body>here</body>" }
		phone:expect { name = "message", from = "capulet.lit", body = "here" }
	end)

	it("B6.1 does not serve the old namespace where it is switched off: the server's default answers", function()
		send(privileged.to_nurse "romeo@verona.lit", { to = "verona.lit", xmlns = privileged.xmlns_legacy })
		privileged.expect_refusal(pubsub, "service-unavailable", "cancel", "verona.lit")
		send(privileged.to_nurse "romeo@verona.lit", { to = "verona.lit" })
		nurse:expect { from = "romeo@verona.lit", body = "psst" }
	end)

	it("B6.1 does not take messages with other content, or to other addresses, for its own", function()
		pubsub:send "<message id='outer' from='pubsub.capulet.lit' to='capulet.lit'><body>hello</body></message>"
		privileged.expect_refusal(pubsub, "service-unavailable", "cancel")
		send(privileged.to_nurse "juliet@capulet.lit", { to = "mercutio@capulet.lit/street" })
		mercutio:expect { name = "message", child = "privilege", from = "pubsub.capulet.lit" }
	end)

	it("B6.1 lets a privileged user's client send, and tells that client alone of a refusal", function()
		send(
			{ from = "nurse@capulet.lit", to = "juliet@capulet.lit/phone", type = "headline", id = "m10", "<body>Madam!</body>" },
			{},
			mercutio
		)
		expect_message(
			phone,
			"<message from='nurse@capulet.lit' to='juliet@capulet.lit/phone' type='headline' id='m10'><body>Madam!</body></message>"
		)
		send(privileged.to_nurse "nobody@capulet.lit", {}, mercutio)
		privileged.expect_refusal(mercutio, "forbidden", "auth")
		send(nil, { content = "" }, drunk)
		privileged.expect_refusal(drunk, "bad-request", "modify")
	end)

	it("B6.1 a message that cannot be delivered bounces to nobody", function()
		for _, from in ipairs { "juliet@capulet.lit", "mercutio@capulet.lit", "capulet.lit" } do
			for _, to in ipairs { "nobody@capulet.lit", "nobody@capulet.lit/x", "nobody@verona.lit", "gone.capulet.lit", "capulet.lit" } do
				send { from = from, to = to, id = "bounce", "<body>lost</body>" }
			end
		end
		-- the senders' clients get the carbons of what was sent
		for client, sender in pairs { [balcony] = "juliet", [chamber] = "juliet", [drunk] = "mercutio" } do
			for _, stanza in ipairs(client:sync():drain()) do
				local inner = stanza:find "{urn:xmpp:carbons:2}sent/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
				assert.truthy(inner, tostring(stanza))
				assert.equal(sender .. "@capulet.lit", inner.attr.from)
				assert.is_nil(inner.attr.type)
			end
		end
	end)

	it("B9 a message that bounces after a reload of the module bounces to nobody", function()
		-- mod_carbons copies errors to those clients that do not have the highest priority
		chamber:send "<presence><priority>5</priority></presence>":sync()
		send { from = "juliet@capulet.lit", to = "x@stranger.capulet.lit", id = "late-bounce", type = "chat", "<body>lost</body>" }
		stranger:expect { name = "message", id = "late-bounce" }
		balcony:expect { name = "message" }
		chamber:expect { name = "message" }
		server:reload_module "privilege"
		stranger
			:send([[
			<message type='error' id='late-bounce' from='x@stranger.capulet.lit' to='juliet@capulet.lit'><body>lost</body>
				<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
		]])
			:sync()
		balcony:nothing { name = "message" }
		chamber:nothing { name = "message" }
		chamber:send "<presence/>":sync()
		for _, stream in ipairs(streams()) do
			stream:sync():drain() -- presences, and permissions that are told again
		end
	end)
end)
