-- B1.6: the configuration is read again while the server runs.

local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"
local rosters = require "spec.support.rosters"

local all, told, attempt = grants.all, grants.told, grants.attempt

local everything =
	'{ roster = "both", message = "outgoing", presence = "managed_entity", iq = { ["urn:xmpp:ping"] = "get", ["urn:b"] = "set" } }'

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["steward@capulet.lit"] = { message = "outgoing" };
		%s
	}
VirtualHost "montague.lit"
	privileged_entities = { ["other.capulet.lit"] = { message = "outgoing" } }
Component "pubsub.capulet.lit"
	component_secret = "secret"
Component "other.capulet.lit"
	component_secret = "secret"
]]

-- Looks like a user's presence to an entity
local function presence_of(jid, kind)
	return { name = "presence", from = jid, type = kind or false }
end

-- Waits until all have come that an entity gets when it gains the presences of users
local function catch_up(pubsub)
	pubsub:expect(presence_of "juliet@capulet.lit/balcony")
	pubsub:expect(presence_of "steward@capulet.lit/hall")
end

describe("B1.6 living configuration:", function()
	local server, pubsub, other, juliet, steward
	local guests = {}

	-- Connects a client for one spec
	local function guest(jid, options)
		local stream = server:client(jid, options)
		table.insert(guests, stream)
		return stream
	end

	-- Has the server read a configuration that grants this, next to what it always has
	local function grant(entities)
		server:reload_config(config:format(entities or ""))
	end

	setup(function()
		server = prosody.start {
			users = { "juliet@capulet.lit", "nurse@capulet.lit", "steward@capulet.lit", "romeo@montague.lit", "benvolio@montague.lit" },
			rosters = {
				["nurse@capulet.lit"] = { ["romeo@montague.lit"] = { subscription = "to" } },
				["romeo@montague.lit"] = { ["nurse@capulet.lit"] = { subscription = "from" } },
			},
			config = config:format "",
		}
		juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
		steward = server:client "steward@capulet.lit/hall"
		pubsub = server:component "pubsub.capulet.lit"
		other = server:component "other.capulet.lit"
		told(steward)
		told(other)
	end)

	before_each(function()
		grant()
		presences.settle(server) -- who gains presence is told by timers
		for _, stream in ipairs { pubsub, other, juliet, steward } do
			stream:sync():drain()
		end
	end)

	-- Whatever a spec changes: those whose permissions stay are told nothing, nor is anybody else
	after_each(function()
		while guests[1] do
			table.remove(guests):close()
		end
		steward:nothing { name = "message" }
		other:nothing { name = "message" }
		juliet:nothing { name = "message" }
	end)

	teardown(function()
		server:stop()
	end)

	it("B1.6 tells a connected component at once that it was added, and serves it", function()
		assert.is_same(grants.unlisted(), attempt(pubsub, "juliet@capulet.lit"))
		grant('["pubsub.capulet.lit"] = ' .. everything)
		local modern, legacy = told(pubsub)
		assert.is_same({
			"capulet.lit: roster=both push=true message=outgoing presence=managed_entity iq(urn:b)=set iq(urn:xmpp:ping)=get",
		}, modern)
		assert.is_same({ "capulet.lit: roster=both message=outgoing presence=managed_entity" }, legacy)
		assert.is_same(all "result", attempt(pubsub, "juliet@capulet.lit"))
	end)

	it("B1.6 tells a user's available clients at once that the user was added, the others at their initial presence", function()
		local street = guest "benvolio@montague.lit/street"
		local home = guest("benvolio@montague.lit/home", { presence = false })
		grant('["benvolio@montague.lit"] = { roster = "get" }')
		assert.is_same({ "capulet.lit: roster=get push=true" }, (told(street)))
		assert.is_same({}, (told(home)))
		home:send "<presence/>"
		assert.is_same({ "capulet.lit: roster=get push=true" }, (told(home)))
		assert.is_same({}, (told(street)))
		assert.is_equal("result", attempt(street, "juliet@capulet.lit").roster_get)
		grant()
		assert.is_same({ "capulet.lit: roster=none push=false" }, (told(street)))
		assert.is_same({ "capulet.lit: roster=none push=false" }, (told(home)))
		assert.is_same(grants.unlisted(), attempt(street, "juliet@capulet.lit"))
	end)

	it("B1.6 tells an entity nothing when its permissions stay", function()
		grant('["pubsub.capulet.lit"] = ' .. everything)
		catch_up(pubsub)
		told(pubsub)
		grant('["PUBSUB.capulet.lit"] = ' .. everything .. '; ["romeo@montague.lit"] = { roster = "get" }')
		pubsub:nothing()
		assert.is_same(all "result", attempt(pubsub, "juliet@capulet.lit"))
	end)

	it('B1.6 tells an entity what it has now, and "none" for what it lost', function()
		grant('["pubsub.capulet.lit"] = ' .. everything)
		told(pubsub)
		grant '["pubsub.capulet.lit"] = { roster = "get", iq = { ["urn:b"] = "get", ["urn:c"] = "set" } }'
		local modern, legacy = told(pubsub)
		assert.is_same({
			"capulet.lit: roster=get push=true message=none presence=none iq(urn:b)=get iq(urn:c)=set iq(urn:xmpp:ping)=none",
		}, modern)
		assert.is_same({ "capulet.lit: roster=get message=none presence=none" }, legacy)
		assert.is_same(all("forbidden", { roster_get = "result" }), attempt(pubsub, "juliet@capulet.lit"))
	end)

	it("B1.6 tells an entity what it lost when the module is reloaded with the configuration", function()
		local street = guest "benvolio@montague.lit/street"
		grant('["pubsub.capulet.lit"] = ' .. everything .. '; ["benvolio@montague.lit"] = { message = "outgoing" }')
		told(pubsub)
		told(street)
		server:reload_config_and_module(config:format '["pubsub.capulet.lit"] = { roster = "get" }', "privilege")
		local modern, legacy = told(pubsub)
		assert.is_same({
			"capulet.lit: roster=get push=true message=none presence=none iq(urn:b)=none iq(urn:xmpp:ping)=none",
		}, modern)
		assert.is_same({ "capulet.lit: roster=get message=none presence=none" }, legacy)
		assert.is_same({ "capulet.lit: message=none" }, (told(street)))
		server:reload_config_and_module(config:format '["pubsub.capulet.lit"] = {}', "privilege")
		assert.is_same({ "capulet.lit: roster=none push=false" }, (told(pubsub)))
		assert.is_same({}, (told(street)))
		server:reload_module "privilege"
		grant()
		assert.is_same({}, (told(pubsub)))
		told(steward)
	end)

	it("B1.6 does not tell of what was lost earlier", function()
		grant('["pubsub.capulet.lit"] = ' .. everything)
		grant '["pubsub.capulet.lit"] = { roster = "get" }'
		told(pubsub)
		grant '["pubsub.capulet.lit"] = { roster = "both" }'
		local modern, legacy = told(pubsub)
		assert.is_same({ "capulet.lit: roster=both push=true" }, modern)
		assert.is_same({ "capulet.lit: roster=both" }, legacy)
	end)

	it("B1.6 tells an entity that pushes were switched off and on, and does so", function()
		grant '["pubsub.capulet.lit"] = { roster = "get" }'
		told(pubsub)
		grant '["pubsub.capulet.lit"] = { roster = "get", roster_push = false }'
		assert.is_same({ "capulet.lit: roster=get push=false" }, (told(pubsub)))
		assert.is_equal("result", rosters.set(juliet, nil, "<item jid='off@contact.lit'/>"))
		pubsub:nothing()
		grant '["pubsub.capulet.lit"] = { roster = "get" }'
		assert.is_same({ "capulet.lit: roster=get push=true" }, (told(pubsub)))
		assert.is_equal("result", rosters.set(juliet, nil, "<item jid='on@contact.lit'/>"))
		pubsub:expect { name = "iq", type = "set", from = "juliet@capulet.lit" }
	end)

	it("B1.6 tells an entity that was removed altogether so, and stops to serve it", function()
		grant('["pubsub.capulet.lit"] = ' .. everything)
		catch_up(pubsub)
		told(pubsub)
		grant()
		local modern, legacy = told(pubsub)
		assert.is_same({
			"capulet.lit: roster=none push=false message=none presence=none iq(urn:b)=none iq(urn:xmpp:ping)=none",
		}, modern)
		assert.is_same({ "capulet.lit: roster=none message=none presence=none" }, legacy)
		assert.is_same(grants.unlisted(), attempt(pubsub, "juliet@capulet.lit"))
		juliet:send "<presence><show>away</show></presence>"
		assert.is_equal("result", rosters.set(juliet, nil, "<item jid='removed@contact.lit'/>"))
		pubsub:nothing()
	end)

	it("B1.6 tells an entity that is granted nothing any more the same as one that was removed", function()
		grant '["pubsub.capulet.lit"] = { roster = "both", message = "outgoing" }'
		told(pubsub)
		grant '["pubsub.capulet.lit"] = {}'
		assert.is_same({ "capulet.lit: roster=none push=false message=none" }, (told(pubsub)))
		assert.is_same(all "forbidden", attempt(pubsub, "juliet@capulet.lit"))
		grant()
		pubsub:nothing()
		assert.is_same(grants.unlisted(), attempt(pubsub, "juliet@capulet.lit"))
	end)

	it("B1.6 tells an entity once more what it gets back", function()
		grant '["pubsub.capulet.lit"] = { roster = "get" }'
		grant()
		grant '["pubsub.capulet.lit"] = { roster = "get" }'
		assert.is_same({
			"capulet.lit: roster=get push=true",
			"capulet.lit: roster=get push=true",
			"capulet.lit: roster=none push=false",
		}, (told(pubsub)))
		assert.is_equal("result", attempt(pubsub, "juliet@capulet.lit").roster_get)
	end)

	it("B1.6 gives an entity that gained presence the presences of users, and what comes", function()
		grant '["pubsub.capulet.lit"] = { roster = "get" }'
		juliet:send "<presence><status>on the balcony</status></presence>"
		told(pubsub)
		pubsub:nothing()
		grant '["pubsub.capulet.lit"] = { roster = "get", presence = "managed_entity" }'
		local received = pubsub:expect(presence_of "juliet@capulet.lit/balcony")
		assert.is_equal("on the balcony", received:get_child_text "status")
		pubsub:expect(presence_of "steward@capulet.lit/hall")
		assert.is_same({ "capulet.lit: roster=get push=true presence=managed_entity" }, (told(pubsub)))
		pubsub:nothing()
		juliet:send "<presence/>"
		pubsub:expect(presence_of "juliet@capulet.lit/balcony")
	end)

	it("B1.6 does not give an entity that gained the presences of contacts those of users again", function()
		grant '["pubsub.capulet.lit"] = { roster = "get", presence = "managed_entity" }'
		catch_up(pubsub)
		told(pubsub)
		grant '["pubsub.capulet.lit"] = { roster = "get", presence = "roster" }'
		assert.is_same({ "capulet.lit: roster=get push=true presence=roster" }, (told(pubsub)))
		-- those of contacts come last
		guest "romeo@montague.lit/orchard"
		pubsub:expect(presence_of "romeo@montague.lit/orchard")
		pubsub:nothing()
	end)

	-- Whoever has the contact: it was online before, and will not say so again
	for _, state in ipairs { "offline", "online" } do
		it("B1.6 gives an entity that gained the presences of contacts that of a contact of a user who is " .. state, function()
			local nurse = state == "online" and guest("nurse@capulet.lit/kitchen", { roster = true })
			local romeo = guest("romeo@montague.lit/orchard", { presence = "<presence><status>there</status></presence>" })
			if nurse then
				nurse:expect(presence_of "romeo@montague.lit/orchard")
			end
			romeo:sync()
			grant '["pubsub.capulet.lit"] = { roster = "get", presence = "roster" }'
			local received = pubsub:expect(presence_of "romeo@montague.lit/orchard")
			assert.is_equal("there", received:get_child_text "status")
		end)
	end

	it("B1.6 sends no presence any more when that was lost", function()
		grant '["pubsub.capulet.lit"] = { message = "outgoing", presence = "managed_entity" }'
		catch_up(pubsub)
		grant '["pubsub.capulet.lit"] = { message = "outgoing" }'
		told(pubsub)
		juliet:send "<presence/>"
		guest("juliet@capulet.lit/garden"):close()
		pubsub:nothing()
	end)

	it("B1.6 lets each host change on its own", function()
		grant '["other.capulet.lit"] = { roster = "get" }'
		assert.is_same({ "capulet.lit: roster=get push=true" }, (told(other)))
		assert.is_equal("result", attempt(other, "romeo@montague.lit").message)
		grant()
		assert.is_same({ "capulet.lit: roster=none push=false" }, (told(other)))
		assert.is_equal("result", attempt(other, "romeo@montague.lit").message)
	end)

	it("B1.3 logs what is wrong with the new configuration, and lets the rest stand", function()
		local mark = server:mark()
		grant '["pubsub.capulet.lit"] = { roster = "all", message = "outgoing" }, ["no jid@capulet.lit"] = {}'
		assert.is_same({ "capulet.lit: message=outgoing" }, (told(pubsub)))
		assert.is_equal(1, #grants.logged(server:log_since(mark), "error", "pubsub.capulet.lit", "roster", '"all"'))
		assert.is_equal(1, #grants.logged(server:log_since(mark), "error", "no jid@capulet.lit"))
		assert.is_equal(2, #grants.logged(server:log_since(mark), "error"))
	end)

	it("B1.6 tells nothing when the new configuration cannot be read", function()
		grant '["pubsub.capulet.lit"] = { message = "outgoing" }'
		told(pubsub)
		server:reload_config(config:format "this is no configuration")
		pubsub:nothing()
		assert.is_equal("result", attempt(pubsub, "juliet@capulet.lit").message)
	end)

	it("B1.5 follows a host that gets entities of its own, and one that loses them", function()
		local plain = config:gsub("privileged_entities = (%b{})", "", 1)
		local global = 'privileged_entities = { ["pubsub.capulet.lit"] = { message = "outgoing" } }'
		server:reload_config(plain, global)
		assert.is_same({ "capulet.lit: message=outgoing" }, (told(pubsub)))
		server:reload_config(config:format "", global)
		assert.is_same({ "capulet.lit: message=none" }, (told(pubsub)))
		server:reload_config(plain, "")
		pubsub:nothing()
		grant()
		assert.is_same({
			"capulet.lit: message=none",
			"capulet.lit: message=none",
			"capulet.lit: message=outgoing",
			"capulet.lit: message=outgoing",
		}, (told(steward)))
	end)
end)

for _, presence in ipairs { "managed_entity", "roster" } do
	describe("B12.8 users whom a grant does not cover any more, with presence = " .. presence .. ",", function()
		local users_config = [[
VirtualHost "capulet.lit"
	privilege_probe_rate = 0
	privileged_entities = { ["gateway.capulet.lit"] = { users = %s, roster = "get", roster_push = false, presence = "]] .. presence .. [[" } }
Component "gateway.capulet.lit"
	component_secret = "secret"
]]
		local server, gateway, taken
		local online = {}

		-- What the entity believes after all that it was told
		local function believed()
			presences.settle(server)
			for _, description in ipairs(presences.taken(gateway)) do
				table.insert(taken, description)
			end
			return presences.believed(taken)
		end

		setup(function()
			local users = {}
			for i = 1, 10 do
				users[i] = ("u%d@capulet.lit"):format(i)
			end
			server = prosody.start { config = users_config:format '"all"', users = users }
			for i, user in ipairs(users) do
				online[i] = server:client(user .. "/x").jid
			end
			table.sort(online)
		end)

		before_each(function()
			server:reload_config(users_config:format '"all"')
			gateway, taken = server:component "gateway.capulet.lit", {}
			assert.is_same(online, believed())
		end)

		after_each(function()
			gateway:close()
		end)

		teardown(function()
			server:stop()
		end)

		it("are unavailable when the module is reloaded with the configuration", function()
			server:reload_config_and_module(users_config:format '{ "u1" }', "privilege")
			assert.is_same({ "u1@capulet.lit/x" }, believed())
		end)

		it("are unavailable when the module is reloaded, twice, before all of them could be looked up", function()
			server:eval "prosody.spec_fail = { privilege_get = function () require 'socket'.sleep(0.02); end }"
			server:reload_config(users_config:format '"opted-in"')
			server:reload_module "privilege"
			server:reload_module "privilege"
			server:eval "prosody.spec_fail = nil"
			assert.is_same({}, believed())
		end)

		it("are told as unavailable only if they were covered before", function()
			server:reload_config(users_config:format '{ "u1", "u2" }')
			assert.is_same({ "u1@capulet.lit/x", "u2@capulet.lit/x" }, believed())
			taken = {}
			server:reload_config_and_module(users_config:format '{ "u2", "u3" }', "privilege")
			assert.is_same({ "u2@capulet.lit/x", "u3@capulet.lit/x" }, believed())
			table.sort(taken)
			assert.is_same({ "u1@capulet.lit/x unavailable", "u2@capulet.lit/x", "u3@capulet.lit/x" }, taken)
		end)
	end)
end
