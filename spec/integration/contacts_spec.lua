-- B8.3, and B8.4 where it is about the server's memory: what an entity with the permission "roster"
-- is told of the presences of the users' contacts.

local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"
local xml = require "spec.support.xml"

local taken, caught_up, settle = presences.taken, presences.caught_up, presences.settle

local config = [[
VirtualHost "capulet.lit"
	privilege_probe_rate = 0
	privileged_entities = {
		["pubsub.capulet.lit"] = { roster = "get"; roster_push = false; presence = "roster" };
		["late.capulet.lit"] = { roster = "get"; roster_push = false; presence = "roster" };
		["gateway.capulet.lit"] = { roster = "get"; roster_push = false; presence = "roster" };
		["managed.capulet.lit"] = { presence = "managed_entity" };
		["friar@capulet.lit"] = { roster = "get"; roster_push = false; presence = "roster" };
		["prince@verona.lit"] = { roster = "get"; roster_push = false; presence = "roster" };
	}
VirtualHost "verona.lit"
Component "pubsub.capulet.lit" component_secret = "secret"
Component "late.capulet.lit" component_secret = "secret"
Component "gateway.capulet.lit" component_secret = "secret"
Component "managed.capulet.lit" component_secret = "secret"
]]
local dnd = "<presence><show>dnd</show></presence>"
local unavailable = "<presence type='unavailable'/>"

-- Every contact is on the other server but mercutio, prince and the gateway's
local rosters = {
	["juliet@capulet.lit"] = {
		["benvolio@montague.lit"] = { subscription = "both" },
		["balthasar@montague.lit"] = { subscription = "to" },
		["removed@montague.lit"] = { subscription = "both" },
		["mercutio@verona.lit"] = { subscription = "both" },
		["prince@verona.lit"] = { subscription = "both" },
		["fan@montague.lit"] = { subscription = "from" },
		["noted@montague.lit"] = { subscription = "none" },
		["asked@montague.lit"] = { subscription = "none", ask = "subscribe" },
		["friar@capulet.lit"] = { subscription = "both" },
		["1@gateway.capulet.lit"] = { subscription = "both" },
		["gateway.capulet.lit"] = { subscription = "both" },
	},
	["nurse@capulet.lit"] = {
		["benvolio@montague.lit"] = { subscription = "both" },
		["abram@montague.lit"] = { subscription = "to" },
		["prince@verona.lit"] = { subscription = "both" },
	},
	["friar@capulet.lit"] = {
		["benvolio@montague.lit"] = { subscription = "both" },
		["juliet@capulet.lit"] = { subscription = "both" },
	},
}
local montagues = { "marker", "stranger", "benvolio", "balthasar", "removed", "fan", "noted", "asked", "abram" }

-- What the contacts have in their rosters: those who have them, all with "both"
local function others(host)
	local found = {}
	for user, roster in pairs(rosters) do
		for contact in pairs(roster) do
			if contact:match "@(.*)$" == host and contact ~= "asked@montague.lit" then
				found[contact] = found[contact] or {}
				found[contact][user] = { subscription = "both" }
			end
		end
	end
	return found
end

describe("presence of the users' contacts", function()
	local capulet, montague, marker, pubsub, juliet

	setup(function()
		local users = { "juliet@capulet.lit", "nurse@capulet.lit", "friar@capulet.lit", "mercutio@verona.lit", "prince@verona.lit" }
		local known = others "verona.lit"
		for user, roster in pairs(rosters) do
			known[user] = roster
		end
		capulet = prosody.start { config = config, users = users, rosters = known, s2s = true }
		local accounts = {}
		for i, name in ipairs(montagues) do
			accounts[i] = name .. "@montague.lit"
		end
		montague = presences.start_montague(accounts, others "montague.lit")
		pubsub = capulet:component "pubsub.capulet.lit"
		juliet = capulet:client "juliet@capulet.lit/balcony"
		marker = montague:client("marker@montague.lit/x", { presence = false })
	end)

	teardown(function()
		capulet:stop()
		montague:stop()
	end)

	-- Waits until the first server has handled all that the second one sent
	local function reach()
		presences.reach(marker)
	end

	-- Takes the presences that an entity was told, after all was handled
	local function told(entity)
		reach()
		return taken(entity)
	end

	local function forge(...)
		presences.forge(montague, ...)
	end

	-- Ends all streams but those that stay for all specs
	local function clear()
		for _, server in ipairs { capulet, montague } do
			local stay = {}
			for _, stream in ipairs(server.streams) do
				if stream == pubsub or stream == juliet or stream == marker then
					table.insert(stay, stream)
				else
					stream:close()
				end
			end
			server.streams = stay
		end
		reach()
		settle(capulet)
		juliet:sync():drain()
		pubsub:sync():drain()
	end

	before_each(clear)

	describe("that changes", function()
		it("B8.3 is told from a remote server as the contact sent it, once though several users have the contact", function()
			local content = "<show>away</show><status>at a ball</status><x xmlns='urn:example'><y xmlns='urn:other' a='&apos;'/></x>"
			local benvolio = montague:client("benvolio@montague.lit/street", { presence = "<presence>" .. content .. "</presence>" })
			xml.assert_same(
				pubsub:expect { name = "presence" },
				"<presence from='benvolio@montague.lit/street' to='pubsub.capulet.lit'>" .. content .. "</presence>"
			)
			benvolio:send(dnd):send(unavailable)
			assert.is_same({ "benvolio@montague.lit/street dnd", "benvolio@montague.lit/street unavailable" }, told(pubsub))
		end)

		it("B8.3 is told from another host of the server", function()
			local mercutio = capulet:client "mercutio@verona.lit/tavern"
			mercutio:send(dnd):sync():cut()
			pubsub:expect { name = "presence", from = "mercutio@verona.lit/tavern", to = "pubsub.capulet.lit", type = "unavailable" }
			assert.is_same({ "mercutio@verona.lit/tavern", "mercutio@verona.lit/tavern dnd" }, taken(pubsub))
		end)

		it("B8.3 is told with subscription to as with both, and while the user is offline", function()
			montague:client("abram@montague.lit/street"):send(unavailable)
			montague:client("balthasar@montague.lit/street"):send(unavailable)
			assert.is_same({
				"abram@montague.lit/street",
				"abram@montague.lit/street unavailable",
				"balthasar@montague.lit/street",
				"balthasar@montague.lit/street unavailable",
			}, told(pubsub))
		end)

		it("B8.3 is told of each resource, also of many, and of each one's end once", function()
			local expected, gone = {}, {}
			for i = 1, 12 do
				expected[i] = ("benvolio@montague.lit/%02d"):format(i)
				gone[i] = expected[i] .. " unavailable"
				forge(expected[i], "juliet@capulet.lit")
				forge(expected[i], "nurse@capulet.lit")
			end
			assert.is_same(expected, told(pubsub))
			for i = 1, 12 do
				forge(expected[i], "juliet@capulet.lit", "unavailable")
				forge(expected[i], "nurse@capulet.lit", "unavailable")
			end
			assert.is_same(gone, told(pubsub))
		end)

		it("B8.3 is told so that none of a contact's resources stays for good, though there are more than are remembered", function()
			-- what ends all, or the resources one by one in this or that order
			local ways = {
				function(i)
					return i
				end,
				function(i)
					return 51 - i
				end,
				function(i)
					return (i * 7) % 50 + 1
				end,
			}
			for _, order in ipairs(ways) do
				for _, error_at in ipairs { 0, 2 } do
					local all = {}
					for i = 1, 50 do
						all[i] = ("benvolio@montague.lit/%02d"):format(i)
						forge(all[i], "juliet@capulet.lit")
					end
					local list = told(pubsub)
					assert.is_same(all, presences.believed(list))
					for i = 1, 50 do
						if error_at ~= 0 and i % error_at == 0 then
							forge(
								all[order(i)],
								"juliet@capulet.lit",
								"error",
								"<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
							)
						else
							forge(all[order(i)], "juliet@capulet.lit", "unavailable")
						end
					end
					for _, description in ipairs(told(pubsub)) do
						table.insert(list, description)
					end
					assert.is_same({}, presences.believed(list))
				end
			end
		end)

		it("B8.3 is told of all resources' end once, where a contact becomes unavailable as a bare JID", function()
			forge("benvolio@montague.lit/a", "juliet@capulet.lit")
			forge("benvolio@montague.lit/b", "juliet@capulet.lit")
			forge("benvolio@montague.lit", "juliet@capulet.lit", "unavailable")
			forge("benvolio@montague.lit", "nurse@capulet.lit", "unavailable")
			forge("benvolio@montague.lit/a", "nurse@capulet.lit", "unavailable")
			assert.is_same({ "benvolio@montague.lit/a", "benvolio@montague.lit/b", "benvolio@montague.lit unavailable" }, told(pubsub))
			-- it is told again when it comes back
			forge("benvolio@montague.lit/a", "juliet@capulet.lit")
			forge("benvolio@montague.lit", "juliet@capulet.lit", "unavailable")
			assert.is_same({ "benvolio@montague.lit/a", "benvolio@montague.lit unavailable" }, told(pubsub))
		end)

		it("B8.3 is told once whether it has a delay or not, and again when it has changed", function()
			local benvolio = montague:client("benvolio@montague.lit/street", { presence = dnd })
			assert.is_same({ "benvolio@montague.lit/street dnd" }, told(pubsub))
			-- the server answers her client's probe with the delayed presence
			local again = capulet:client "juliet@capulet.lit/again"
			again:expect { name = "presence", from = benvolio.jid, child = "delay", xmlns = "urn:xmpp:delay" }
			again:close()
			pubsub:expect { from = "juliet@capulet.lit/again", type = "unavailable" }
			assert.is_same({ "juliet@capulet.lit/again" }, told(pubsub))
			benvolio:send(dnd)
			assert.is_same({}, told(pubsub))
			benvolio:send "<presence/>":send(dnd):send "<presence><show>dnd</show><status>!</status></presence>"
			assert.is_same({
				"benvolio@montague.lit/street",
				"benvolio@montague.lit/street dnd",
				"benvolio@montague.lit/street dnd",
			}, told(pubsub))
		end)

		it("B8.3 is told once also where the server got the delayed one first", function()
			local delay = "<delay xmlns='urn:xmpp:delay' from='montague.lit' stamp='2021-11-06T17:00:00Z'/>"
			forge("benvolio@montague.lit/street", "juliet@capulet.lit/balcony", nil, "<show>dnd</show>" .. delay)
			assert.is_same({ "benvolio@montague.lit/street dnd" }, told(pubsub))
			forge("benvolio@montague.lit/street", "nurse@capulet.lit", nil, "<show>dnd</show>")
			assert.is_same({}, told(pubsub))
			for _, user in ipairs { "juliet@capulet.lit", "nurse@capulet.lit" } do
				forge("benvolio@montague.lit/street", user, "unavailable")
			end
			assert.is_same({ "benvolio@montague.lit/street unavailable" }, told(pubsub))
		end)

		it("B8.3 is told in full where it is long, and once", function()
			local status = ("all the world "):rep(200)
			local benvolio =
				montague:client("benvolio@montague.lit/street", { presence = ("<presence><status>%s</status></presence>"):format(status) })
			reach()
			assert.is_equal(status, pubsub:expect { name = "presence" }:get_child_text "status")
			capulet:client("juliet@capulet.lit/again"):expect { name = "presence", from = benvolio.jid }
			assert.is_same({ "juliet@capulet.lit/again" }, told(pubsub))
			benvolio:send(("<presence><status>%s</status></presence>"):format(status .. "!"))
			assert.is_same({ "benvolio@montague.lit/street" }, told(pubsub))
		end)

		it("B8.3 is not told of strangers, whatever they send", function()
			for _, name in ipairs { "stranger", "fan", "noted", "asked" } do
				local client = montague:client(name .. "@montague.lit/x")
				for _, to in ipairs {
					"juliet@capulet.lit",
					"juliet@capulet.lit/balcony",
					"nurse@capulet.lit",
					"no@capulet.lit",
					"capulet.lit",
				} do
					client:send(("<presence to='%s'/>"):format(to)):send(("<presence to='%s' type='unavailable'/>"):format(to))
				end
				client:send(dnd):send(unavailable)
			end
			forge("montague.lit", "juliet@capulet.lit")
			assert.is_same({}, told(pubsub))
		end)

		it("B11 a stranger's presences do not have the roster of an offline user read each time", function()
			capulet:eval [[
				prosody.hosts[module.host].roster_cache = nil;
				prosody.spec_reads = 0;
				prosody.spec_fail = { roster_get = function () prosody.spec_reads = prosody.spec_reads + 1; end };
			]]
			for _ = 1, 20 do
				forge("stranger@montague.lit/x", "nurse@capulet.lit")
			end
			reach()
			local reads = capulet:eval "prosody.spec_fail = nil; return prosody.spec_reads"
			-- before 0.10, the server remembers no rosters
			assert.is_equal(capulet:eval "return prosody.hosts[module.host].roster_cache == nil" and 20 or 1, reads)
			assert.is_same({}, told(pubsub))
		end)

		it("B8.3 is told when a roster could not be read before and can be now", function()
			capulet:eval [[
				prosody.hosts[module.host].roster_cache = nil;
				prosody.spec_fail = { roster_get = true };
			]]
			forge("abram@montague.lit/x", "nurse@capulet.lit")
			assert.is_same({}, told(pubsub))
			capulet:eval "prosody.spec_fail = nil"
			forge("abram@montague.lit/x", "nurse@capulet.lit")
			assert.is_same({ "abram@montague.lit/x" }, told(pubsub))
			forge("abram@montague.lit/x", "nurse@capulet.lit", "unavailable")
			assert.is_same({ "abram@montague.lit/x unavailable" }, told(pubsub))
		end)

		it("B8.3 is not told of subscription stanzas, probes and errors of contacts", function()
			local abram = montague:client("abram@montague.lit/x", { presence = false })
			for _, kind in ipairs { "error", "probe", "subscribe", "unsubscribe", "bogus" } do
				forge("abram@montague.lit", "nurse@capulet.lit", "", kind)
				forge("abram@montague.lit/x", "nurse@capulet.lit/x", "", kind)
			end
			abram:sync()
			assert.is_same({}, told(pubsub))
		end)

		it("B8.3 is told to an entity that may see it, and to no other", function()
			local managed, late = capulet:component "managed.capulet.lit", capulet:component "late.capulet.lit"
			settle(capulet)
			taken(managed)
			taken(late)
			montague:client "benvolio@montague.lit/street"
			capulet:client "mercutio@verona.lit/tavern"
			assert.is_same({ "benvolio@montague.lit/street", "mercutio@verona.lit/tavern" }, told(late))
			assert.is_same({}, taken(managed))
		end)

		it("B8.3 is told once where the contact is a user of the host", function()
			capulet:client "friar@capulet.lit/cell"
			assert.is_same({ "friar@capulet.lit/cell" }, told(pubsub))
		end)

		it("B8.3 is not echoed to a gateway that its own contacts' presences come from", function()
			local gateway = capulet:component "gateway.capulet.lit"
			settle(capulet)
			gateway:sync():drain()
			gateway:send "<presence from='1@gateway.capulet.lit' to='juliet@capulet.lit'/>"
			gateway:send "<presence from='gateway.capulet.lit' to='juliet@capulet.lit'/>"
			gateway:send "<presence from='1@gateway.capulet.lit/x' to='juliet@capulet.lit'><show>xa</show></presence>"
			gateway:send "<presence from='2@gateway.capulet.lit' to='juliet@capulet.lit'/>"
			for _, from in ipairs { "1@gateway.capulet.lit", "gateway.capulet.lit" } do
				gateway:send(("<presence from='%s' to='juliet@capulet.lit' type='unavailable'/>"):format(from))
			end
			assert.is_same({}, told(gateway))
			assert.is_same({
				"1@gateway.capulet.lit",
				"gateway.capulet.lit",
				"1@gateway.capulet.lit/x xa",
				"1@gateway.capulet.lit unavailable",
				"gateway.capulet.lit unavailable",
			}, taken(pubsub))
		end)

		it("B8.3 is told once to a privileged user: of their own contacts by the server, and not of themselves", function()
			local friar, prince = capulet:client "friar@capulet.lit/cell", capulet:client "prince@verona.lit/palace"
			settle(capulet)
			taken(friar)
			taken(prince)
			montague:client "benvolio@montague.lit/street"
			montague:client "abram@montague.lit/street"
			assert.is_same({ "benvolio@montague.lit/street", "abram@montague.lit/street" }, told(friar))
			assert.is_same({ "benvolio@montague.lit/street", "abram@montague.lit/street" }, taken(prince))
			prince:send(dnd):sync()
			assert.is_same({ "prince@verona.lit/palace dnd" }, taken(prince))
			assert.is_same({ "prince@verona.lit/palace dnd" }, taken(friar))
		end)

		it("B8.5 is not told to an entity that left", function()
			local friar, late = capulet:client "friar@capulet.lit/cell", capulet:component "late.capulet.lit"
			settle(capulet)
			friar:send(unavailable):sync():drain()
			late:cut()
			juliet:sync():drain()
			local benvolio = montague:client "benvolio@montague.lit/street"
			benvolio:send(dnd)
			reach()
			friar:nothing()
			-- what she gets of her contact is all that she gets
			assert.is_same({ "benvolio@montague.lit/street", "benvolio@montague.lit/street dnd" }, taken(juliet))
			benvolio:nothing { type = "error" }
		end)
	end)

	describe("that the server has seen", function()
		local known = {
			"abram@montague.lit/street",
			"benvolio@montague.lit/a away",
			"benvolio@montague.lit/b xa",
			"mercutio@verona.lit/tavern dnd",
			"prince@verona.lit/palace",
		}

		local function connect_contacts()
			montague
				:client("benvolio@montague.lit/a")
				:send "<presence><show>away</show><priority>3</priority><status>a &amp; b</status></presence>"
			montague:client(
				"benvolio@montague.lit/b",
				{ presence = ("<presence><show>xa</show><status>%s</status></presence>"):format(("x"):rep(1000)) }
			)
			montague:client "abram@montague.lit/street"
			montague:client("balthasar@montague.lit/street"):send(unavailable)
			montague:client "stranger@montague.lit/x":send "<presence to='juliet@capulet.lit'/>"
			montague:client "fan@montague.lit/x"
			capulet:client("mercutio@verona.lit/tavern", { presence = dnd })
			capulet:client "prince@verona.lit/palace"
			reach()
			settle(capulet)
		end

		-- The presences of contacts that an entity was told by a catch-up
		local function contacts_told(entity)
			return presences.of_contacts(caught_up(entity))
		end

		it("B8.4 is told when the entity connects, after the permissions, each once", function()
			connect_contacts()
			local late = capulet:component "late.capulet.lit"
			assert.is_equal("message", late:expect {}.name)
			local one = late:expect { name = "presence", from = "benvolio@montague.lit/a" }
			assert.is_nil(one.attr.type)
			xml.assert_same(
				one,
				[[
				<presence from='benvolio@montague.lit/a' to='late.capulet.lit'>
					<show>away</show><priority>3</priority><status>a &amp; b</status>
				</presence>
			]]
			)
			assert.is_same({ known[1], known[3], known[4], known[5] }, contacts_told(late))
			-- and told again to one that connects again
			late:close()
			assert.is_same(known, contacts_told(capulet:component "late.capulet.lit"))
			assert.is_same({}, contacts_told(capulet:component "managed.capulet.lit"))
		end)

		it("B8.4 is told when a privileged user becomes available, each once and none of themselves", function()
			connect_contacts()
			assert.is_same(known, contacts_told(capulet:client "friar@capulet.lit/cell"))
			-- of the user's own clients, the server tells
			assert.is_same(known, contacts_told(capulet:client "prince@verona.lit/cell"))
		end)

		it("B8.4 is told without what was of a contact that was removed meanwhile", function()
			montague:client "removed@montague.lit/x"
			assert.is_same({ "removed@montague.lit/x" }, told(pubsub))
			juliet:iq { type = "set", "<query xmlns='jabber:iq:roster'><item jid='removed@montague.lit' subscription='remove'/></query>" }
			reach()
			assert.is_same({}, contacts_told(capulet:component "late.capulet.lit"))
		end)

		it("B8.4 is still known after the module was reloaded", function()
			connect_contacts()
			pubsub:drain()
			capulet:reload_module "privilege"
			assert.is_same(known, contacts_told(pubsub))
			assert.is_same(known, contacts_told(capulet:component "late.capulet.lit"))
			montague.streams[2]:close()
			assert.is_same({ "benvolio@montague.lit/a unavailable" }, told(pubsub))
		end)

		it("B8.4 is told when the permission comes by a reload of the configuration, and only what is new", function()
			connect_contacts()
			local managed = capulet:component "managed.capulet.lit"
			caught_up(managed)
			local line = '%["managed.capulet.lit"%] = { presence = "managed_entity" }'
			capulet:reload_config((config:gsub(line, '["managed.capulet.lit"] = { roster = "get"; presence = "roster" }')))
			assert.is_same(known, caught_up(managed))
			-- and none when it has gone
			capulet:reload_config(config)
			montague.streams[2]:close()
			reach()
			assert.is_same({}, caught_up(managed))
		end)
	end)
end)

describe("a contact whose own host grants the entity presences, too,", function()
	local server, gateway

	setup(function()
		local both = { subscription = "both" }
		server = prosody.start {
			config = [[
				VirtualHost "capulet.lit"
					privileged_entities = { ["gateway.capulet.lit"] = { roster = "get", presence = "roster" } }
				VirtualHost "verona.lit"
					privileged_entities = { ["gateway.capulet.lit"] = { presence = "managed_entity", users = { "mercutio" } } }
				Component "gateway.capulet.lit" component_secret = "secret"
			]],
			users = { "nurse@capulet.lit", "mercutio@verona.lit", "tybalt@verona.lit" },
			rosters = {
				["nurse@capulet.lit"] = { ["mercutio@verona.lit"] = both, ["tybalt@verona.lit"] = both },
				["mercutio@verona.lit"] = { ["nurse@capulet.lit"] = both },
				["tybalt@verona.lit"] = { ["nurse@capulet.lit"] = both },
			},
		}
		gateway = server:component "gateway.capulet.lit"
	end)

	teardown(function()
		server:stop()
	end)

	it("B8.3 is told once, and goes on to be seen when no user has it any more; another user of that host is not", function()
		server:client "mercutio@verona.lit/x"
		server:client "tybalt@verona.lit/x"
		local online = { "mercutio@verona.lit/x", "tybalt@verona.lit/x" }
		assert.is_same(online, presences.caught_up(gateway))
		gateway:close()
		gateway = server:component "gateway.capulet.lit"
		-- the uncovered one comes with a probe's answer
		presences.settle(server, 0.25)
		assert.is_same(online, presences.caught_up(gateway))
		local nurse = server:client("nurse@capulet.lit/x", { presence = false })
		for _, contact in ipairs { "mercutio@verona.lit", "tybalt@verona.lit" } do
			local item = ("<query xmlns='jabber:iq:roster'><item jid='%s' subscription='remove'/></query>"):format(contact)
			assert.is_equal("result", nurse:iq({ type = "set", item }).attr.type)
		end
		assert.is_same({ "tybalt@verona.lit/x unavailable" }, presences.caught_up(gateway))
	end)
end)

describe("a contact who is seen by a user, and whose own host ends what it granted the entity,", function()
	local server, gateway, mercutio, list

	local function config_of(capulet, verona)
		return ([[
VirtualHost "capulet.lit"
	privilege_probe_rate = 0
	privileged_entities = { ["gateway.capulet.lit"] = { roster = "get", roster_push = false, presence = "roster", users = %s } }
VirtualHost "verona.lit"
	privilege_probe_rate = 0
	privileged_entities = { ["gateway.capulet.lit"] = { %s } }
Component "gateway.capulet.lit" component_secret = "secret"
]]):format(capulet, verona)
	end

	-- What the entity believes of mercutio
	local function believed()
		settle(server)
		for _, description in ipairs(taken(gateway)) do
			if description:find "^mercutio@verona.lit/" then
				table.insert(list, description)
			end
		end
		return presences.believed(list)
	end

	local function start(capulet, verona)
		local both = { subscription = "both" }
		server = prosody.start {
			config = config_of(capulet, verona),
			users = { "juliet@capulet.lit", "mercutio@verona.lit" },
			rosters = {
				["juliet@capulet.lit"] = { ["mercutio@verona.lit"] = both },
				["mercutio@verona.lit"] = { ["juliet@capulet.lit"] = both },
			},
		}
		list = {}
		gateway = server:component "gateway.capulet.lit"
		server:client "juliet@capulet.lit/balcony"
		mercutio = server:client "mercutio@verona.lit/street"
	end

	after_each(function()
		server:stop()
	end)

	local available, opted_in = { "mercutio@verona.lit/street" }, [[presence = "managed_entity", users = "opted-in"]]

	for _, users in ipairs { '"all"', '{ "juliet" }' } do
		it("B8.3 stays available when he opts out, and ends when he leaves, users = " .. users, function()
			start(users, opted_in)
			for _ = 1, 2 do
				mercutio:send "<message to='gateway.capulet.lit'><body>hi</body></message>"
				mercutio:sync()
				assert.is_same(available, believed())
				mercutio:send "<presence type='unsubscribe' to='gateway.capulet.lit'/>"
				mercutio:sync()
				assert.is_same(available, believed())
			end
			mercutio:send(dnd):sync()
			assert.is_same({ "mercutio@verona.lit/street dnd" }, believed())
			mercutio:close()
			assert.is_same({}, believed())
		end)

		for name, verona in pairs {
			["the users that it covers"] = 'users = {}, presence = "managed_entity"',
			["the permission"] = "",
			["the module"] = false,
		} do
			it("B8.3 stays available without " .. name .. ", and ends when he leaves, users = " .. users, function()
				start(users, 'presence = "managed_entity"')
				assert.is_same(available, believed())
				if verona then
					server:reload_config(config_of(users, verona))
				else
					server:eval [[require "core.modulemanager".unload("verona.lit", "privilege")]]
				end
				assert.is_same(available, believed())
				mercutio:close()
				assert.is_same({}, believed())
			end)
		end
	end
end)
