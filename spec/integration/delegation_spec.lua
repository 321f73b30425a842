-- Beside mod_delegation (XEP-0355) of prosody-modules: an external PEP service, such as Libervia PubSub, that is
-- delegated a namespace, and needs privileges to serve it. Each module does its part, whichever is loaded first.

local environment = require "spec.support.environment"
local fixture = require "spec.support.fixture"
local privileged = require "spec.support.privileged"
local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"
local rosters = require "spec.support.rosters"

local xmlns_forward = "urn:xmpp:forward:0"
local juliet, romeo, service = "juliet@capulet.lit", "romeo@capulet.lit", "pubsub.capulet.lit"
local host = "capulet.lit"

local config = [[
VirtualHost "capulet.lit"
	delegations = { ["http://jabber.org/protocol/pubsub"] = { jid = "pubsub.capulet.lit" } }
	privileged_entities = {
		["pubsub.capulet.lit"] = {
			roster = "get"; message = "outgoing"; presence = "roster";
			iq = { ["http://jabber.org/protocol/pubsub"] = "both" };
		};
	}
Component "pubsub.capulet.lit"
	component_secret = "secret"
	modules_enabled = { "delegation" }
]]

local publish =
	[[<pubsub xmlns="http://jabber.org/protocol/pubsub"><publish node="urn:example:tune"><item id="current"/></publish></pubsub>]]
local items = [[<pubsub xmlns="http://jabber.org/protocol/pubsub"><items node="urn:example:tune"/></pubsub>]]

local is_installed = environment.read_file(environment.source_folder .. "/modules/mod_delegation/mod_delegation.lua") ~= nil

local server, component, clients, xmlns_delegation

-- What the service is asked in place of the server: the iq to it, and the one in it
local function delegated()
	local outer = component:expect { name = "iq", type = "set", child = "delegation", xmlns = xmlns_delegation }
	assert.equal(host, outer.attr.from)
	local inner = outer:get_child("delegation", xmlns_delegation):get_child("forwarded", xmlns_forward).tags[1]
	assert.equal("iq", inner.name)
	return outer, inner
end

local function wrapped(inner, attr, content)
	return ("<delegation xmlns='%s'><forwarded xmlns='%s'><iq xmlns='jabber:client' id='%s' to='%s' from='%s' type='%s'>%s</iq></forwarded></delegation>"):format(
		xmlns_delegation,
		xmlns_forward,
		inner.attr.id,
		inner.attr.from,
		juliet,
		attr.type or "result",
		content or ""
	)
end

local function serve(content, attr)
	local outer, inner = delegated()
	privileged.answer(component, outer, wrapped(inner, attr or {}, content))
	return inner
end

local function connect()
	component = server:component(service)
end

-- What the service was told that it may do, by the namespaces; that of Debian 11's mod_delegation is urn:xmpp:delegation:1
local function advertised()
	presences.settle(server)
	local namespaces = {}
	for _, stanza in ipairs(component:sync():drain()) do
		if stanza.name == "message" then
			local content = stanza.tags[1]
			if content.name == "delegation" then
				xmlns_delegation = content.attr.xmlns
			end
			namespaces[content.attr.xmlns] = true
		end
	end
	return namespaces
end

local function has_privileges(namespaces)
	return namespaces["urn:xmpp:privilege:1"] and namespaces["urn:xmpp:privilege:2"] or false
end

local function has_delegation(namespaces)
	return namespaces[xmlns_delegation or ""] or false
end

local function it_serves_delegated_requests()
	clients.juliet:send("<iq type='set' id='publish'>" .. publish .. "</iq>")
	local inner = serve()
	assert.equal("juliet@capulet.lit/balcony", inner.attr.from)
	assert.truthy(inner:get_child("pubsub", "http://jabber.org/protocol/pubsub"))
	assert.equal("result", clients.juliet:expect { name = "iq", id = "publish" }.attr.type)

	clients.romeo:send("<iq type='get' id='items' to='juliet@capulet.lit'>" .. items .. "</iq>")
	assert.equal("romeo@capulet.lit/orchard", serve(items).attr.from)
	local answer = clients.romeo:expect { name = "iq", id = "items" }
	assert.equal("result", answer.attr.type)
	assert.equal(juliet, answer.attr.from)
	assert.truthy(answer:get_child("pubsub", "http://jabber.org/protocol/pubsub"))
end

local function it_uses_privileges()
	-- A notification comes from the user
	privileged.send(component, {
		from = juliet,
		to = "romeo@capulet.lit/orchard",
		type = "headline",
		"<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:example:tune'/></event>",
	})
	local notification = clients.romeo:expect { name = "message", from = juliet }
	assert.truthy(notification:get_child("event", "http://jabber.org/protocol/pubsub#event"))

	-- Whom to notify: rosters with their changes, and presences
	assert.same({ "romeo@capulet.lit both" }, (rosters.get(component, juliet)))
	rosters.set(clients.juliet, nil, "<item jid='nurse@capulet.lit'/>")
	assert.same({ "juliet@capulet.lit: nurse@capulet.lit none" }, (rosters.pushes(component)))
	rosters.set(clients.juliet, nil, "<item jid='nurse@capulet.lit' subscription='remove'/>")
	assert.same({ "juliet@capulet.lit: nurse@capulet.lit remove" }, (rosters.pushes(component)))
	clients.juliet:send "<presence><show>away</show></presence>"
	assert.same({ "juliet@capulet.lit/balcony away" }, presences.taken(component))
end

-- An iq in the name of a user to her own account is, as one of hers, delegated to the service that asked for it
local function it_answers_its_own_iqs()
	privileged.ask(component, { publish }, { type = "set" })
	local inner = serve("<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:example:tune'/></pubsub>")
	assert.equal(juliet, inner.attr.from)
	local answer = privileged.expect_answer(component, { from = juliet })
	assert.truthy(answer:get_child("pubsub", "http://jabber.org/protocol/pubsub"))

	privileged.ask(component, { items })
	serve("<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>", { type = "error" })
	privileged.assert_error(privileged.expect_answer(component, { from = juliet, type = "error" }), "item-not-found")
	component:nothing()
	clients.juliet:nothing { name = "iq" }
end

local function it_works()
	for _, client in pairs(clients) do
		client:sync():drain()
	end
	it_serves_delegated_requests()
	it_uses_privileges()
	it_answers_its_own_iqs()
end

for _, order in ipairs { { "delegation", "privilege" }, { "privilege", "delegation" } } do
	describe(("mod_%s and then mod_%s"):format(order[1], order[2]), function()
		local with_delegation = fixture.specs(is_installed, "prosody-modules")

		setup(function()
			if not is_installed then
				return
			end
			server = prosody.start {
				config = config,
				modules = {},
				users = { juliet, romeo },
				rosters = {
					[juliet] = { [romeo] = { subscription = "both" } },
					[romeo] = { [juliet] = { subscription = "both" } },
				},
			}
			server:load_module(order[1])
			server:load_module(order[2])
			clients = { juliet = server:client(juliet .. "/balcony"), romeo = server:client(romeo .. "/orchard") }
		end)

		local namespaces
		before_each(function()
			if is_installed then
				connect()
				namespaces = advertised()
			end
		end)

		after_each(function()
			if is_installed then
				component:close()
			end
		end)

		teardown(function()
			if server then
				server:stop()
			end
		end)

		with_delegation("both tell what they grant", function()
			assert.is_true(has_delegation(namespaces))
			assert.is_true(has_privileges(namespaces))
		end)

		with_delegation("both work, together too", it_works)

		with_delegation("both work after a reload of mod_privilege", function()
			server:reload_module "privilege"
			namespaces = advertised()
			assert.is_true(has_privileges(namespaces))
			assert.is_false(has_delegation(namespaces))
			it_works()
		end)

		-- mod_delegation forgets at a reload who is connected
		with_delegation("mod_privilege works after a reload of mod_delegation, and both do when the service comes again", function()
			server:reload_module "delegation"
			assert.same({}, advertised())
			it_uses_privileges()
			assert.equal("error", clients.juliet:iq { type = "set", publish }.attr.type)

			component:close()
			connect()
			namespaces = advertised()
			assert.is_true(has_delegation(namespaces))
			assert.is_true(has_privileges(namespaces))
			it_works()
		end)
	end)
end
