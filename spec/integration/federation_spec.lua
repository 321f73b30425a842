-- B2.1: what comes from another server is never privileged, whoever is listed.

local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"
local privileged = require "spec.support.privileged"

local attempt, all, told = grants.attempt, grants.all, grants.told

local everything = '{ roster = "both", message = "outgoing", presence = "managed_entity", iq = { ["urn:xmpp:ping"] = "both" } }'

describe("B2.1 federation:", function()
	local one, two, juliet, pubsub, benvolio, romeo

	setup(function()
		one = prosody.start {
			s2s = true,
			users = { "juliet@capulet.lit" },
			config = [[
VirtualHost "capulet.lit"
Component "pubsub.capulet.lit"
	component_secret = "secret"
	validate_from_addresses = false
]],
		}
		two = prosody.start {
			s2s = true,
			users = { "benvolio@montague.lit", "abram@montague.lit", "romeo@montague.lit" },
			config = ([[
VirtualHost "montague.lit"
	privileged_entities = {
		["juliet@capulet.lit"] = EVERYTHING;
		["pubsub.capulet.lit"] = EVERYTHING;
		["capulet.lit"] = EVERYTHING;
		["romeo@montague.lit"] = EVERYTHING;
	}
]]):gsub("EVERYTHING", everything),
		}
		juliet = one:client "juliet@capulet.lit/balcony"
		pubsub = one:component "pubsub.capulet.lit"
		benvolio = two:client("benvolio@montague.lit/street", { roster = true })
		romeo = two:client "romeo@montague.lit/orchard"
	end)

	before_each(function()
		for _, stream in ipairs { juliet, pubsub, benvolio, romeo } do
			stream:sync():drain()
		end
	end)

	teardown(function()
		one:stop()
		two:stop()
	end)

	-- Has something go from the one server to the other behind whatever else there is on the way
	local function assert_nothing_came()
		for _, stream in ipairs { juliet, pubsub } do
			benvolio:send(("<message to='%s'><body>last</body></message>"):format(stream.jid))
			stream:expect { name = "message", body = "last" }
			stream:nothing()
		end
	end

	it("B2.1 serves the same entity when it is a local one", function()
		romeo:close()
		romeo = two:client "romeo@montague.lit/orchard"
		assert.is_same({
			"montague.lit: roster=both push=true message=outgoing presence=managed_entity iq(urn:xmpp:ping)=both",
		}, (told(romeo)))
		assert.is_same(all "result", attempt(romeo, "abram@montague.lit"))
	end)

	it("B2.1 grants nothing to a listed user of another server", function()
		assert.is_same(all "service-unavailable", attempt(juliet, "abram@montague.lit"))
		assert_nothing_came()
	end)

	it("B2.1 grants nothing to a listed component of another server", function()
		assert.is_same(all "service-unavailable", attempt(pubsub, "abram@montague.lit"))
		assert_nothing_came()
	end)

	it("B2.1 grants nothing to another server's host or user in whose name a component of it sends", function()
		for _, from in ipairs { "capulet.lit", "juliet@capulet.lit/balcony" } do
			local function send(kind, id, payload)
				pubsub:send(("<iq type='%s' id='%s' from='%s' to='abram@montague.lit'>%s</iq>"):format(kind, id, from, payload))
			end
			send("get", "get", "<query xmlns='jabber:iq:roster'/>")
			send("set", "set", "<query xmlns='jabber:iq:roster'><item jid='forged@contact.lit'/></query>")
			pubsub:send(
				privileged.iq(
					{ id = "iq", from = from, to = "abram@montague.lit" },
					{ from = "abram@montague.lit", to = benvolio.jid, "<ping xmlns='urn:xmpp:ping'/>" }
				)
			)
			pubsub:send(
				privileged.message(
					{ id = "message", from = from, to = "montague.lit" },
					{ from = "abram@montague.lit", to = benvolio.jid, "<body>forged</body>" }
				)
			)
		end
		for _, id in ipairs { "get", "set", "iq", "message" } do
			assert.is_equal("service-unavailable", grants.outcome(juliet:expect { id = id }))
		end
		assert_nothing_came()
		benvolio:nothing()
		local answer = romeo:iq { type = "get", to = "abram@montague.lit", "<query xmlns='jabber:iq:roster'/>" }
		assert.is_nil(tostring(answer):find "forged")
	end)

	it("B2.1 tells a listed entity of another server nothing, of permissions, presences and rosters", function()
		assert_nothing_came()
		juliet:send "<presence to='benvolio@montague.lit/street'/>"
		benvolio:expect { name = "presence", from = juliet.jid }
		benvolio:send "<presence><show>away</show></presence>"
		benvolio:iq { type = "set", "<query xmlns='jabber:iq:roster'><item jid='a@contact.lit'/></query>" }
		two:reload_module "privilege"
		assert_nothing_came()
	end)
end)
