-- B2: whom a permission is for, and whom not.

local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"
local privileged = require "spec.support.privileged"

local all, attempt = grants.all, grants.attempt

local everything = '{ roster = "both", message = "outgoing", presence = "managed_entity", iq = { ["urn:xmpp:ping"] = "both" } }'

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = EVERYTHING;
		["steward.capulet.lit"] = { message = "outgoing", iq = { ["jabber:iq:roster"] = "both" } };
		["rooms.capulet.lit"] = EVERYTHING;
		["montague.lit"] = EVERYTHING;
		["Tybalt@Capulet.lit"] = EVERYTHING;
		["romeo@montague.lit"] = EVERYTHING;
	}
VirtualHost "montague.lit"
	privileged_entities = { ["tybalt@capulet.lit"] = EVERYTHING }
VirtualHost "verona.lit"
Component "pubsub.capulet.lit"
	component_secret = "secret"
	validate_from_addresses = false
Component "steward.capulet.lit"
	component_secret = "secret"
Component "evil.capulet.lit"
	component_secret = "secret"
	validate_from_addresses = false
Component "honest.capulet.lit"
	component_secret = "secret"
Component "rooms.capulet.lit" "muc"
]]
config = config:gsub("EVERYTHING", everything)

describe("B2 who is who:", function()
	local server, pubsub, steward, evil, honest, juliet, tybalt, romeo, namesake
	local standing

	setup(function()
		server = prosody.start {
			users = {
				"juliet@capulet.lit",
				"nurse@capulet.lit",
				"tybalt@capulet.lit",
				"romeo@capulet.lit",
				"romeo@montague.lit",
				"tybalt@montague.lit",
				"benvolio@montague.lit",
				"mercutio@verona.lit",
			},
			config = config,
		}
		pubsub, steward = server:component "pubsub.capulet.lit", server:component "steward.capulet.lit"
		evil, honest = server:component "evil.capulet.lit", server:component "honest.capulet.lit"
		juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
		tybalt = server:client "tybalt@capulet.lit/hall"
		romeo = server:client "romeo@montague.lit/orchard"
		namesake = server:client "romeo@capulet.lit/orchard"
		standing = { pubsub, steward, evil, juliet, tybalt, romeo, namesake }
		presences.settle(server) -- some are told presences when they come, which goes by timers
	end)

	before_each(function()
		for _, stream in ipairs(standing) do
			stream:sync():drain()
		end
	end)

	teardown(function()
		server:stop()
	end)

	describe("permission is looked up by what the server authenticated:", function()
		it("B2.1 a component by its own host", function()
			assert.is_same(all "result", attempt(pubsub, "nurse@capulet.lit"))
		end)

		it("B2.1 a component by its own host, whatever user of it it writes on its stanzas", function()
			assert.is_same(all "result", attempt(pubsub, "nurse@capulet.lit", "node@pubsub.capulet.lit/service"))
		end)

		it("B2.1 a component by its own host, whatever other address it writes on its stanzas", function()
			for _, from in ipairs { "evil.capulet.lit", "nurse@capulet.lit", "nobody@elsewhere.lit", "PubSub.Capulet.lit" } do
				assert.is_same(all "result", attempt(pubsub, "nurse@capulet.lit", from))
			end
			evil:nothing()
		end)

		it("B2.1 a user by the account, with each of its clients, and with none that has sent presence", function()
			assert.is_same(all "result", attempt(tybalt, "nurse@capulet.lit"))
			local second = server:client("TYBALT@capulet.lit/street", { presence = false })
			assert.is_same(all "result", attempt(second, "nurse@capulet.lit"))
			second:cut()
		end)

		it("B2.1 a user of another host by the account", function()
			assert.is_same(all "result", attempt(romeo, "nurse@capulet.lit"))
		end)

		it("B2.1 in any letter case of the address that is asked", function()
			local answer = pubsub:iq { type = "get", to = "Nurse@CAPULET.lit", "<query xmlns='jabber:iq:roster'/>" }
			assert.is_equal("result", answer.attr.type)
		end)
	end)

	describe("nothing is granted to", function()
		-- Whoever asks: no entity is told or gets anything of it
		local function assert_unlisted(stream, from)
			assert.is_same(grants.unlisted(), attempt(stream, "nurse@capulet.lit", from))
			pubsub:nothing()
			tybalt:nothing()
		end

		it("B2.1 a component of another name", function()
			assert_unlisted(honest)
		end)

		it("B2.1 a component that writes the entity's address on its stanzas", function()
			for _, from in ipairs {
				"pubsub.capulet.lit",
				"node@pubsub.capulet.lit/service",
				"tybalt@capulet.lit",
				"tybalt@capulet.lit/hall",
				"romeo@montague.lit/orchard",
				"capulet.lit",
				"nurse@capulet.lit",
			} do
				assert_unlisted(evil, from)
			end
		end)

		it("B2.1 a component that writes another address where the server looks at that", function()
			-- it closes the stream
			honest:send "<iq type='get' id='forged' from='pubsub.capulet.lit' to='nurse@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>"
			assert.has_error(function()
				honest:expect { id = "forged" }
			end)
			assert.is_equal("invalid-from", honest.error)
			pubsub:nothing()
			honest = server:component "honest.capulet.lit"
			assert_unlisted(honest)
		end)

		it("B2.1 a user of the same name on another host", function()
			assert_unlisted(namesake)
			local other = server:client("tybalt@montague.lit/street", { presence = false })
			assert_unlisted(other)
			other:cut()
		end)

		it("B2.1 a user who writes another address, be it a privileged user's or a component's", function()
			for _, from in ipairs { "tybalt@capulet.lit/hall", "tybalt@capulet.lit", "pubsub.capulet.lit", "capulet.lit" } do
				assert_unlisted(juliet, from)
			end
		end)

		it("B2.1 another user with a privileged user's resource", function()
			local stream = server:client "nurse@capulet.lit/hall"
			assert.is_same(grants.unlisted(), attempt(stream, "juliet@capulet.lit"))
			stream:cut()
		end)
	end)

	-- The server's own parts: what they send may be somebody else's word that they pass on
	for _, host in ipairs { "rooms.capulet.lit", "capulet.lit", "montague.lit" } do
		for _, from in ipairs { host, "pubsub.capulet.lit", "tybalt@capulet.lit/hall" } do
			it(("B2.1 nothing is granted to the server itself that sends as %s from %s"):format(host, from), function()
				local requests = table.concat({
					"<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
					"<iq type='set' id='2'><query xmlns='jabber:iq:roster'><item jid='forged@contact.lit'/></query></iq>",
					privileged.iq(
						{ id = "3" },
						{ from = "nurse@capulet.lit", to = "juliet@capulet.lit/balcony", "<ping xmlns='urn:xmpp:ping'/>" }
					),
					privileged.message(
						{ id = "4", to = "capulet.lit" },
						{ from = "nurse@capulet.lit", to = "juliet@capulet.lit/balcony", "<body>forged</body>" }
					),
				}, "\n")
				local answers = server:eval(
					([[
					local origin, answers = prosody.hosts[module.host], {};
					local send = origin.send;
					origin.send = function (answer)
						answers[answer.attr.id] = answer.attr.type .. " " .. answer:get_child("error").tags[1].name;
						return true;
					end
					for line in (%q):gmatch "[^\n]+" do
						local stanza = require "util.xml".parse(line);
						stanza.attr.from = %q;
						stanza.attr.to = stanza.attr.to or "nurse@capulet.lit";
						prosody.core_post_stanza(origin, stanza);
					end
					origin.send = send;
					return answers;
				]]):format(requests, from),
					host
				)
				local refused = "error service-unavailable"
				assert.is_same({ ["1"] = refused, ["2"] = refused, ["3"] = refused, ["4"] = refused }, answers)
				for _, stream in ipairs { juliet, pubsub, tybalt } do
					stream:nothing()
				end
			end)
		end
	end

	it("B2.1 nothing is granted to an entity in the name of a privileged user whom it acts for", function()
		local function as_tybalt(to, payload)
			steward:send(
				privileged.iq(
					{ id = "as-tybalt", from = steward.jid, to = "tybalt@capulet.lit" },
					{ from = "tybalt@capulet.lit", to = to, payload }
				)
			)
			local answer = steward:expect { id = "as-tybalt", type = "result" }
			return grants.outcome(
				privileged.unwrap(
					answer,
					{ id = "as-tybalt", from = "tybalt@capulet.lit", to = steward.jid },
					{ type = to and "error" or "result", id = "inner", from = to or "tybalt@capulet.lit", to = "tybalt@capulet.lit" }
				)
			)
		end
		local query = "<query xmlns='jabber:iq:roster'/>"
		assert.is_equal("result", as_tybalt(nil, query))
		assert.is_equal("service-unavailable", as_tybalt("nurse@capulet.lit", query))
		assert.is_equal("service-unavailable", as_tybalt("benvolio@montague.lit", query))
		-- montague.lit grants that to tybalt, who did not ask for it
		local nested = privileged.message({}, { from = "benvolio@montague.lit", to = steward.jid, "<body>forged</body>" })
		steward:send(
			privileged.message(
				{ from = steward.jid, to = "capulet.lit" },
				{ from = "tybalt@capulet.lit", to = "montague.lit", nested:match "<privilege.*</privilege>" }
			)
		)
		steward:nothing()
	end)

	describe("a grant opens the granting host only:", function()
		it("B2.2 no rosters, senders and iqs of users of other hosts, for a component or a user", function()
			for _, entity in ipairs { pubsub, romeo } do
				for _, user in ipairs { "benvolio@montague.lit", "mercutio@verona.lit" } do
					assert.is_same(grants.unlisted(), attempt(entity, user))
				end
			end
		end)

		it("B2.2 no senders of other hosts by way of the granting host", function()
			for i, from in ipairs { "benvolio@montague.lit", "montague.lit", "pubsub.capulet.lit", "rooms.capulet.lit" } do
				local id = "elsewhere-" .. i
				pubsub:send(
					privileged.message(
						{ id = id, from = pubsub.jid, to = "capulet.lit" },
						{ from = from, to = pubsub.jid, "<body>forged</body>" }
					)
				)
				assert.is_equal("forbidden", grants.outcome(pubsub:expect { name = "message", id = id, type = "error" }))
			end
			pubsub:nothing()
		end)

		it("B2.2 no presences of other hosts' users, and no pushes of their rosters", function()
			local benvolio = server:client("benvolio@montague.lit/street", { roster = true })
			benvolio:iq { type = "set", "<query xmlns='jabber:iq:roster'><item jid='other@contact.lit'/></query>" }
			benvolio:close()
			for _, entity in ipairs { pubsub, romeo } do
				entity:nothing()
			end
		end)

		it("B2.2 but each host opens itself", function()
			for _, user in ipairs { "nurse@capulet.lit", "benvolio@montague.lit" } do
				assert.is_same(all "result", attempt(tybalt, user))
			end
		end)
	end)
end)
