-- B2.1: a component's stream counts while its host is active and the stream is the one that the host has now.

local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"
local privileged = require "spec.support.privileged"
local rosters = require "spec.support.rosters"

local function config(secret)
	return ([[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = { roster = "both", message = "outgoing", presence = "roster", iq = { ["urn:example"] = "both", ["urn:xmpp:ping"] = "both" } };
	}
Component "pubsub.capulet.lit"
	component_secret = "%s"
	component_conflict_resolve = "kick_old"
]]):format(secret or "secret")
end

local name = "pubsub.capulet.lit"
local nurse_jid = "nurse@capulet.lit/kitchen"
local query = "<query xmlns='urn:example'/>"

describe("B2.1 the stream of a component", function()
	local server, juliet, nurse, old

	setup(function()
		server = prosody.start {
			config = config(),
			users = { "juliet@capulet.lit", "nurse@capulet.lit" },
			rosters = { ["juliet@capulet.lit"] = { ["nurse@capulet.lit"] = { subscription = "both" } } },
		}
		juliet, nurse = server:client "juliet@capulet.lit/balcony", server:client(nurse_jid)
	end)

	teardown(function()
		server:stop()
	end)

	before_each(function()
		old = server:component(name)
		old:expect { name = "presence", from = juliet.jid }
		old:expect { name = "presence", from = nurse.jid }
		server:drain()
	end)

	after_each(function()
		for _, stream in ipairs(server.streams) do
			if stream.kind == "component" and stream.jid == name then
				stream:cut()
			end
		end
		server:reload_config(config())
	end)

	local function hostmanager(action)
		server:eval(("assert(require 'core.hostmanager'.%s %q)"):format(action, name))
	end

	local last = 0

	-- Does all that an entity is told of
	local function make_news()
		last = last + 1
		juliet:send "<presence><show>away</show></presence>":sync()
		nurse:send "<presence><show>dnd</show></presence>":sync()
		assert.is_equal(
			"result",
			juliet:iq { type = "set", ("<query xmlns='jabber:iq:roster'><item jid='friar@contact.lit' name='%d'/></query>"):format(last) }.attr.type
		)
	end

	-- What came over a stream by now, without the answers of the server to pings
	local function came(stream)
		local found = {}
		stream:sync()
		for _, stanza in ipairs(stream:drain()) do
			found[#found + 1] = stanza.name .. " from " .. tostring(stanza.attr.from)
		end
		table.sort(found)
		return found
	end

	local function assert_granted_nothing(stream)
		local before = table.concat((rosters.get(juliet)), " ")
		stream:send(("<iq type='get' id='get' from='%s' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>"):format(name))
		stream:send(
			("<iq type='set' id='set' from='%s' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster'><item jid='x@y.lit'/></query></iq>"):format(
				name
			)
		)
		privileged.send(stream, { from = "juliet@capulet.lit", to = nurse_jid, "<body>forged</body>" })
		privileged.ask(stream, { to = nurse_jid, query })
		stream:sync()
		for _, stanza in ipairs(stream:drain()) do
			assert.is_equal("service-unavailable", grants.outcome(stanza), tostring(stanza))
		end
		nurse:nothing { name = "message" }
		nurse:nothing { name = "iq" }
		assert.is_equal(before, table.concat((rosters.get(juliet)), " "))
	end

	local function assert_served(stream)
		assert.is_same(grants.all "result", grants.attempt(stream, "juliet@capulet.lit"))
		stream:drain()
	end

	it("is told nothing and granted nothing after its host was deactivated", function()
		privileged.ask(old, { to = nurse_jid, query })
		local iq = privileged.asked(nurse)
		hostmanager "deactivate"
		old:drain()
		make_news()
		privileged.answer(nurse, iq)
		assert.is_same({}, came(old))
		assert_granted_nothing(old)
		-- it is not shown as connected
		local connected = server:eval [[
			local served = module:shared "/*/privilege/served_hosts"["capulet.lit"];
			return #served.entities.get("pubsub.capulet.lit").connections;
		]]
		assert.is_equal(0, connected)

		hostmanager "activate"
		make_news()
		assert.is_same({}, came(old))
		assert_granted_nothing(old)
	end)

	for _, secret in ipairs { "secret", "another" } do
		it("is told nothing and granted nothing beside the new one, whose secret is " .. secret, function()
			privileged.ask(old, { to = nurse_jid, query })
			local iq = privileged.asked(nurse)
			hostmanager "deactivate"
			server:reload_config(config(secret))
			hostmanager "activate"
			local new = server:component(name, secret)
			assert.is_same(
				{ "capulet.lit: roster=both push=true message=outgoing presence=roster iq(urn:example)=both iq(urn:xmpp:ping)=both" },
				(grants.told(new))
			)
			new:expect { name = "presence", from = juliet.jid }
			new:expect { name = "presence", from = nurse.jid }
			new:sync():drain()
			old:drain()
			make_news()
			privileged.answer(nurse, iq)
			assert.is_same({ "iq from juliet@capulet.lit", "presence from " .. juliet.jid, "presence from " .. nurse.jid }, came(new))
			assert.is_same({}, came(old))
			assert_granted_nothing(old)
			new:nothing()
			server:reload_config()
			server:reload_module "privilege"
			old:nothing()
			new:sync():drain()
			assert_served(new)
			new:close()
		end)
	end

	it("is told nothing and granted nothing after mod_component was reloaded on its host, until it connects again", function()
		server:reload_module("component", name)
		make_news()
		assert.is_same({}, came(old))
		assert_granted_nothing(old)
		server:reload_module "privilege"
		assert.is_same({}, came(old))
		local new = server:component(name)
		new:expect { name = "presence", from = juliet.jid }
		new:sync():drain()
		assert_served(new)
		assert.is_same({}, came(old))
	end)

	it("counts for the one that took its place", function()
		local new = server:component(name)
		assert.has_error(function()
			old:expect { name = "message" }
		end)
		assert.is_equal("conflict", old.error)
		new:expect { name = "presence", from = juliet.jid }
		new:sync():drain()
		assert_served(new)
	end)
end)
