-- B8.1, B8.2 and B8.5: what an entity with the permission "managed_entity" is told of the users' presences.

local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"
local xml = require "spec.support.xml"

local taken, caught_up, settle = presences.taken, presences.caught_up, presences.settle

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		%s
		["other.capulet.lit"] = { roster = "get"; message = "outgoing"; roster_push = false };
		["friar@capulet.lit"] = { presence = "managed_entity" };
		["prince@verona.lit"] = { presence = "managed_entity" };
	}
VirtualHost "verona.lit"
Component "pubsub.capulet.lit"
	component_secret = "secret"
	component_conflict_resolve = "kick_old"
Component "late.capulet.lit"
	component_secret = "secret"
Component "other.capulet.lit"
	component_secret = "secret"
Component "gateway.capulet.lit"
	component_secret = "secret"
]]
local granted = [[
	["pubsub.capulet.lit"] = { presence = "managed_entity" };
	["late.capulet.lit"] = { presence = "managed_entity" };
]]
local away = "<presence><show>away</show></presence>"

-- Runs a function with one client or component more, and ends its stream
local function with(stream, run)
	run(stream)
	stream:close()
end

describe("presence of a host's users", function()
	local server, pubsub

	setup(function()
		server = prosody.start {
			config = config:format(granted),
			modules = { "privilege", "legacyauth" },
			users = {
				"juliet@capulet.lit",
				"nurse@capulet.lit",
				"peter@capulet.lit",
				"friar@capulet.lit",
				"friend@capulet.lit",
				"tybalt@capulet.lit",
				"paris@capulet.lit",
				"prince@verona.lit",
				"escalus@verona.lit",
			},
			rosters = {
				["nurse@capulet.lit"] = {
					["pubsub.capulet.lit"] = { subscription = "both" },
					["friar@capulet.lit"] = { subscription = "both" },
					["prince@verona.lit"] = { subscription = "from" },
				},
				["peter@capulet.lit"] = { ["pubsub.capulet.lit"] = { subscription = "from" } },
				["friar@capulet.lit"] = { ["nurse@capulet.lit"] = { subscription = "both" } },
				["prince@verona.lit"] = { ["nurse@capulet.lit"] = { subscription = "to" } },
				["tybalt@capulet.lit"] = { ["pubsub.capulet.lit"] = { subscription = "to" } },
				["paris@capulet.lit"] = { ["friend@capulet.lit"] = { subscription = "both" } },
				["friend@capulet.lit"] = { ["paris@capulet.lit"] = { subscription = "both" } },
			},
		}
		pubsub = server:component "pubsub.capulet.lit"
		pubsub:expect { name = "message", child = "privilege", xmlns = "urn:xmpp:privilege:2" }
	end)

	teardown(function()
		server:stop()
	end)

	before_each(function()
		for _, stream in ipairs(server.streams) do
			if stream ~= pubsub then
				stream:cut()
			end
		end
		server.streams = { pubsub }
		repeat
		until server:eval "return next(prosody.full_sessions) == nil"
		caught_up(pubsub)
	end)

	describe("that changes", function()
		it("B8.1 tells nothing that another module drops, nor what no client of the server broadcasts", function()
			server:eval [[
				-- like mod_firewall
				prosody.spec_dropped = true;
				module:hook("presence/bare", function (event)
					return prosody.spec_dropped and event.origin.type == "c2s" and event.stanza.attr.to == nil or nil;
				end, 0.1);
			]]
			local juliet = server:client("juliet@capulet.lit/balcony", { presence = false })
			juliet:send "<presence/>":sync()
			assert.is_same({}, caught_up(pubsub))
			server:eval "prosody.spec_dropped = nil"
			-- like mod_rest
			server:eval [[
				pcall(prosody.core_process_stanza, {
					type = "c2s", username = "nurse", host = "capulet.lit", full_jid = "nurse@capulet.lit/made-up", resource = "made-up",
					log = module._log, send = function () end,
				}, require "util.stanza".presence());
			]]
			assert.is_same({}, caught_up(pubsub))
			juliet:send "<presence/>":sync()
			assert.is_same({ "juliet@capulet.lit/balcony" }, caught_up(pubsub))
		end)

		it("B8.1 tells initial, changed and unavailable presence as the user sent it, addressed to the entity", function()
			local steps = {
				"<priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='x' ver='y'/>",
				"<show>away</show><status>at the &lt;ball&gt; &amp; dancing</status>",
				"<show>away</show><status xml:lang='it'>a letto</status><x xmlns='urn:example'><y xmlns='urn:other' a='&apos;'/></x>",
			}
			local juliet = server:client("juliet@capulet.lit/balcony", { presence = "<presence id='p'>" .. steps[1] .. "</presence>" })
			for i = 2, #steps do
				juliet:send("<presence id='p'>" .. steps[i] .. "</presence>")
			end
			juliet:send "<presence type='unavailable' id='p'><status>asleep</status></presence>"
			for _, step in ipairs(steps) do
				xml.assert_same(
					pubsub:expect { name = "presence" },
					"<presence from='juliet@capulet.lit/balcony' to='pubsub.capulet.lit' id='p'>" .. step .. "</presence>"
				)
			end
			xml.assert_same(
				pubsub:expect { name = "presence" },
				[[
				<presence type='unavailable' from='juliet@capulet.lit/balcony' to='pubsub.capulet.lit' id='p'><status>asleep</status></presence>
			]]
			)
			juliet:close()
			pubsub:nothing()
		end)

		it("B8.1 tells that a user is unavailable after the stream ended or the connection was lost", function()
			for _, how in ipairs { "close", "cut" } do
				local juliet = server:client "juliet@capulet.lit/balcony"
				pubsub:expect { name = "presence", from = "juliet@capulet.lit/balcony", type = false }
				juliet[how](juliet)
				pubsub:expect { name = "presence", from = "juliet@capulet.lit/balcony", to = "pubsub.capulet.lit", type = "unavailable" }
				pubsub:nothing()
			end
		end)

		it("B8.1 tells of each resource, also of one with negative priority and of clients of before XMPP 1.0", function()
			local one = server:client "juliet@capulet.lit/one"
			server:client("juliet@capulet.lit/two", { presence = "<presence><priority>-1</priority></presence>" })
			server:client("juliet@capulet.lit/old", { legacy = true }):send(away):close()
			one:send(away)
			assert.is_same({
				"juliet@capulet.lit/one",
				"juliet@capulet.lit/two",
				"juliet@capulet.lit/old",
				"juliet@capulet.lit/old away",
				"juliet@capulet.lit/old unavailable",
				"juliet@capulet.lit/one away",
			}, taken(pubsub))
		end)

		it("B8.1 tells nothing of a client that is not available", function()
			local juliet = server:client("juliet@capulet.lit/balcony", { presence = false })
			juliet:sync():close()
			pubsub:nothing()
		end)

		it("B8.1 tells no subscription stanza, probe, error or presence of another type", function()
			local paris, friend = server:client "paris@capulet.lit/x", server:client "friend@capulet.lit/x"
			taken(pubsub)
			for _, kind in ipairs { "unsubscribe", "unsubscribed", "subscribe", "subscribed", "probe", "error" } do
				paris:send(("<presence type='%s' to='friend@capulet.lit'/>"):format(kind)):sync()
				friend:send(("<presence type='%s' to='paris@capulet.lit'/>"):format(kind)):sync()
				paris:send(("<presence type='%s'/>"):format(kind)):sync()
				paris:send(("<presence type='%s' to='escalus@verona.lit'/>"):format(kind)):sync()
			end
			paris:send("<presence type='bogus'/>"):sync()
			pubsub:nothing()
		end)

		it("B8.1 tells no directed presence to others, and what is directed to the entity once", function()
			local juliet = server:client "juliet@capulet.lit/balcony"
			server:client "escalus@verona.lit/x"
			taken(pubsub)
			for _, kind in ipairs { "", "type='unavailable'" } do
				for _, to in ipairs { "escalus@verona.lit/x", "escalus@verona.lit", "nurse@capulet.lit", "capulet.lit", "other.capulet.lit" } do
					juliet:send(("<presence to='%s' %s/>"):format(to, kind))
				end
			end
			juliet:sync()
			pubsub:nothing()
			juliet:send("<presence to='pubsub.capulet.lit'/>"):sync()
			juliet:send(away):sync()
			juliet:send("<presence type='unavailable'/>"):sync()
			assert.is_same({
				"juliet@capulet.lit/balcony",
				"juliet@capulet.lit/balcony away",
				"juliet@capulet.lit/balcony unavailable",
			}, taken(pubsub))
		end)

		it("B8.1 tells that a user is unavailable who directed presence to the entity and then blocked it, once", function()
			local friar = server:client "friar@capulet.lit/cell"
			for _, to in ipairs { "pubsub.capulet.lit", "friar@capulet.lit/cell", "friar@capulet.lit" } do
				local entity = to:find "pubsub" and pubsub or friar
				for _, cut in ipairs { true, false } do
					local juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
					juliet:send(("<presence to='%s'/>"):format(to)):sync()
					juliet:iq { type = "set", ("<block xmlns='urn:xmpp:blocking'><item jid='%s'/></block>"):format(to:match "^[^/]*") }
					caught_up(entity)
					if cut then
						juliet:cut()
						repeat
						until server:eval "return prosody.full_sessions['juliet@capulet.lit/balcony'] == nil"
					else
						juliet:send("<presence type='unavailable'/>"):sync()
					end
					assert.is_same({ "juliet@capulet.lit/balcony unavailable" }, caught_up(entity))
					if not cut then
						juliet:close()
					end
					juliet = server:client "juliet@capulet.lit/unblocks"
					juliet:iq { type = "set", "<unblock xmlns='urn:xmpp:blocking'/>" }
					juliet:close()
				end
			end
			friar:close()
		end)

		it("B8.1 tells an entity in the user's roster of each presence once", function()
			for _, user in ipairs { "nurse@capulet.lit/x", "peter@capulet.lit/x", "tybalt@capulet.lit/x" } do
				server:client(user):send(away):send("<presence type='unavailable'/>"):sync():close()
				server:client(user):cut()
				repeat
				until server:eval "return next(prosody.full_sessions) == nil"
				local list = {}
				for _, presence in ipairs(taken(pubsub)) do
					-- the server probes the entity for a user who is subscribed to it
					if not presence:find " probe$" then
						table.insert(list, presence)
					end
				end
				assert.is_same({ user, user .. " away", user .. " unavailable", user, user .. " unavailable" }, list)
			end
		end)

		it("B8.1 tells only of this host's users", function()
			local escalus = server:client "escalus@verona.lit/x"
			escalus:send(away):sync():close()
			local gateway = server:component "gateway.capulet.lit"
			gateway:send("<presence from='contact@gateway.capulet.lit' to='juliet@capulet.lit'/>"):sync()
			pubsub:nothing()
			gateway:close()
		end)

		it("B8.1 tells an entity without the permission nothing", function()
			with(server:component "other.capulet.lit", function(other)
				other:expect { name = "message", child = "privilege", xmlns = "urn:xmpp:privilege:2" }
				local juliet = server:client "juliet@capulet.lit/balcony"
				juliet:send(away):sync():cut()
				pubsub:expect { type = "unavailable" }
				other:nothing { name = "presence" }
			end)
		end)

		it("B8.1 tells each client of a privileged user, of this host or another, once and not of their own", function()
			for _, entity in ipairs { "friar@capulet.lit", "prince@verona.lit" } do
				local one, two = server:client(entity .. "/one"), server:client(entity .. "/two")
				caught_up(one)
				caught_up(two)
				-- nurse has both in the roster, so that the server tells them
				for _, user in ipairs { "juliet@capulet.lit/x", "nurse@capulet.lit/x" } do
					local client = server:client(user)
					client:send(away):sync():close()
					local expected = { user, user .. " away", user .. " unavailable" }
					assert.is_same(expected, taken(one))
					assert.is_same(expected, taken(two))
				end
				one:send(away):sync()
				assert.is_same({ entity .. "/one away" }, taken(one))
				assert.is_same({ entity .. "/one away" }, taken(two))
				two:send "<presence type='unavailable'/>"
				assert.is_same({ entity .. "/two unavailable" }, taken(one))
				one:cut()
				two:cut()
				repeat
				until server:eval "return next(prosody.full_sessions) == nil"
			end
		end)

		it("B8.1 tells a privileged user once of presence that was directed to them", function()
			for _, to in ipairs { "friar@capulet.lit/cell", "friar@capulet.lit" } do
				local friar, juliet = server:client "friar@capulet.lit/cell", server:client "juliet@capulet.lit/balcony"
				caught_up(friar)
				juliet:send(("<presence to='%s'/>"):format(to)):sync()
				assert.is_same({ "juliet@capulet.lit/balcony" }, taken(friar))
				juliet:send("<presence type='unavailable'/>"):sync()
				assert.is_same({ "juliet@capulet.lit/balcony unavailable" }, taken(friar))
				friar:close()
				juliet:close()
			end
		end)
	end)

	describe("that the server hides from an entity that is taken out of a roster", function()
		local rosters = require "spec.support.rosters"

		-- Prosody 0.11 takes the contact for the user when an item is removed
		local names_the_contact
		setup(function()
			names_the_contact = server:eval "return prosody.version":find "^0%.11" ~= nil
		end)

		-- What an entity was told of a user, without what is about the subscription
		local function told(stream, user)
			settle(server)
			local list = {}
			for _, description in ipairs(taken(stream)) do
				if description:find("^" .. user) and not description:find " unsubscribed?$" and not description:find " probe$" then
					table.insert(list, description)
				end
			end
			return list
		end

		-- Puts an entity into a user's roster
		local function subscribed(username, entity, subscription)
			server:eval(([[
				local rostermanager = require "core.rostermanager";
				local roster = rostermanager.load_roster(%q, module.host);
				roster[%q] = { subscription = %q, groups = {} };
				assert(rostermanager.save_roster(%q, module.host, roster, %q));
			]]):format(username, entity, subscription, username, entity))
		end

		local endings = {
			["removes it"] = function(client, entity)
				assert.is_equal("result", rosters.set(client, nil, ("<item jid='%s' subscription='remove'/>"):format(entity)))
			end,
			["cancels its subscription"] = function(client, entity)
				client:send(("<presence type='unsubscribed' to='%s'/>"):format(entity)):sync()
			end,
		}
		for name, ending in pairs(endings) do
			it("B8.6 is told once more when the user " .. name, function()
				for subscription in pairs { both = true, from = true } do
					local friar = server:client "friar@capulet.lit/cell"
					local paris = server:client "paris@capulet.lit/x"
					local gone = server:client "paris@capulet.lit/gone"
					paris:send(away):sync()
					local entities = { ["pubsub.capulet.lit"] = pubsub }
					if not (name == "removes it" and names_the_contact) then
						entities["friar@capulet.lit"] = friar
					end
					for entity, stream in pairs(entities) do
						subscribed("paris", entity, subscription)
						told(stream, "paris")
						ending(paris, entity)
						local list = told(stream, "paris")
						local last = {}
						for _, description in ipairs(list) do
							last[description:match "^%S+"] = description
						end
						assert.is_equal("paris@capulet.lit/x away", last[paris.jid])
						assert.is_equal("paris@capulet.lit/gone", last[gone.jid])
						-- where the user did not see the entity, the server says nothing but "unsubscribed" when the item is removed
						local is_silent = name == "removes it" and (subscription == "from" or names_the_contact)
						assert.is_equal(is_silent and 2 or 4, #list)
						paris:send("<presence/>"):sync()
						assert.is_same({ "paris@capulet.lit/x" }, told(stream, "paris"))
						paris:send(away):sync()
						rosters.set(paris, nil, ("<item jid='%s' subscription='remove'/>"):format(entity))
					end
					for _, client in ipairs { paris, gone, friar } do
						client:close()
					end
				end
			end)
		end

		it("B8.6 is gone when the user blocks it, also after the next connection, until the user does not", function()
			local function set_blocked(client, action)
				client:iq { type = "set", ("<%s xmlns='urn:xmpp:blocking'><item jid='late.capulet.lit'/></%s>"):format(action, action) }
			end
			local paris = server:client "paris@capulet.lit/x"
			subscribed("paris", "late.capulet.lit", "both")
			local function is_seen(expected)
				with(server:component "late.capulet.lit", function(late)
					assert.is_same(expected and { "paris@capulet.lit/x" } or {}, told(late, "paris"))
					paris:send(away):sync()
					assert.is_same(expected and { "paris@capulet.lit/x away" } or {}, told(late, "paris"))
					paris:send("<presence/>"):sync()
				end)
			end
			is_seen(true)
			with(server:component "late.capulet.lit", function(late)
				told(late, "paris")
				set_blocked(paris, "block")
				assert.is_same({ "paris@capulet.lit/x unavailable" }, told(late, "paris"))
			end)
			is_seen(false)
			set_blocked(paris, "unblock")
			is_seen(true)
			rosters.set(paris, nil, "<item jid='late.capulet.lit' subscription='remove'/>")
			paris:close()
		end)

		it("B8.6 is not told once more where the entity did not see the user by the roster, or is not granted to", function()
			local other = server:component "other.capulet.lit"
			local paris = server:client "paris@capulet.lit/x"
			told(pubsub, "paris")
			for _, subscription in ipairs { "none", "to" } do
				subscribed("paris", "pubsub.capulet.lit", subscription)
				subscribed("paris", "pubsub.capulet.lit", "none")
				endings["removes it"](paris, "pubsub.capulet.lit")
				assert.is_same({}, told(pubsub, "paris"))
			end
			subscribed("paris", "other.capulet.lit", "both")
			endings["removes it"](paris, "other.capulet.lit")
			assert.is_same(names_the_contact and {} or { "paris@capulet.lit/x unavailable" }, told(other, "paris"))
		end)
	end)

	describe("that is there already", function()
		it("B8.2 is told when a component connects: every available resource of this host's users, after the permissions", function()
			server:client "juliet@capulet.lit/balcony"
			server:client("juliet@capulet.lit/hall", { presence = "<presence><show>dnd</show><status>dancing</status></presence>" })
			server:client("juliet@capulet.lit/silent", { presence = false })
			server:client("juliet@capulet.lit/gone"):send "<presence type='unavailable'/>":sync()
			server:client("juliet@capulet.lit/lost"):cut()
			server:client("peter@capulet.lit/x"):send(away):sync()
			server:client "nurse@capulet.lit/x"
			server:client "friar@capulet.lit/x"
			server:client "escalus@verona.lit/x"
			server:client "prince@verona.lit/x"
			pubsub:expect { name = "presence", from = "juliet@capulet.lit/lost", type = "unavailable" }
			with(server:component "late.capulet.lit", function(late)
				local first = late:expect {}
				assert.is_equal("message", first.name)
				assert.is_truthy(first:get_child("privilege", "urn:xmpp:privilege:2"))
				local hall = late:expect { name = "presence", from = "juliet@capulet.lit/hall", to = "late.capulet.lit", type = false }
				assert.is_equal("dancing", hall:get_child_text "status")
				assert.is_equal("dnd", hall:get_child_text "show")
				assert.is_same({
					"friar@capulet.lit/x",
					"juliet@capulet.lit/balcony",
					"nurse@capulet.lit/x",
					"peter@capulet.lit/x away",
				}, caught_up(late))
			end)
			assert.is_true(#caught_up(pubsub) > 0)
			pubsub:nothing { name = "presence", to = "late.capulet.lit" }
		end)

		it("B8.2 is told when a privileged user's client becomes available, each presence once", function()
			server:client "juliet@capulet.lit/balcony"
			server:client("juliet@capulet.lit/silent", { presence = false })
			-- nurse is in the two entities' rosters, so that their clients probe her
			server:client("nurse@capulet.lit/x", { presence = away })
			server:client "escalus@verona.lit/x"
			for _, entity in ipairs { "friar@capulet.lit", "prince@verona.lit" } do
				local one = server:client(entity .. "/one")
				local expected = { "juliet@capulet.lit/balcony", "nurse@capulet.lit/x away" }
				if entity == "prince@verona.lit" then
					table.insert(expected, 1, "friar@capulet.lit/one")
				end
				one:expect { name = "message", child = "privilege", xmlns = "urn:xmpp:privilege:2" }
				assert.is_same(expected, caught_up(one))
				local two = server:client(entity .. "/two", { presence = false })
				two:nothing()
				-- the other client of the same user, from the server
				table.insert(expected, entity .. "/one")
				table.insert(expected, entity .. "/two")
				table.sort(expected)
				two:send "<presence/>"
				assert.is_same(expected, caught_up(two))
				assert.is_same({ entity .. "/two" }, taken(one))
				two:close()
			end
		end)

		it("B8.2 is told anew to a privileged user's client that was unavailable", function()
			server:client "juliet@capulet.lit/balcony"
			local friar = server:client "friar@capulet.lit/cell"
			friar:expect { name = "presence", from = "juliet@capulet.lit/balcony", to = "friar@capulet.lit/cell" }
			friar:send("<presence type='unavailable'/>"):sync()
			server:client "peter@capulet.lit/x"
			settle(server)
			friar:nothing { name = "presence", from = "peter@capulet.lit/x" }
			friar:send "<presence/>"
			friar:expect { name = "message", child = "privilege", xmlns = "urn:xmpp:privilege:2" }
			friar:expect { name = "presence", from = "juliet@capulet.lit/balcony", to = "friar@capulet.lit/cell" }
			friar:expect { name = "presence", from = "peter@capulet.lit/x", to = "friar@capulet.lit/cell" }
		end)

		it("B8.2 is told to a component that replaced one, and to one that connects again", function()
			server:client "juliet@capulet.lit/balcony"
			assert.is_same({ "juliet@capulet.lit/balcony" }, taken(pubsub))
			local old = pubsub
			pubsub = server:component "pubsub.capulet.lit"
			assert.is_same({ "juliet@capulet.lit/balcony" }, caught_up(pubsub))
			old:drain()
			assert.is_equal("conflict", old.error)
			server:client "peter@capulet.lit/x"
			assert.is_same({ "peter@capulet.lit/x" }, taken(pubsub))
			pubsub:close()
			pubsub = server:component "pubsub.capulet.lit"
			assert.is_same({ "juliet@capulet.lit/balcony", "peter@capulet.lit/x" }, caught_up(pubsub))
		end)

		it("B8.2 is told as it is now, with the time that the server adds, to an entity that heard of it when it came", function()
			local juliet = server:client("juliet@capulet.lit/balcony", { presence = "<presence/>" })
			for _, content in ipairs { "<show>away</show>", "", "<status>one</status><x xmlns='urn:example'/>" } do
				juliet:send("<presence>" .. content .. "</presence>")
				taken(juliet)
				caught_up(pubsub)
				for _ = 1, 2 do
					pubsub:close()
					pubsub = server:component "pubsub.capulet.lit"
					local presence = pubsub:expect { name = "presence" }
					local delay = table.remove(presence)
					assert.is_same({ "delay", "urn:xmpp:delay" }, { delay.name, delay.attr.xmlns })
					table.remove(presence.tags)
					xml.assert_same(
						presence,
						"<presence from='juliet@capulet.lit/balcony' to='pubsub.capulet.lit'>" .. content .. "</presence>"
					)
					assert.is_same({}, caught_up(pubsub))
				end
			end
		end)

		it("B8.2 is told to an entity that was connected before the module was loaded", function()
			server:client "juliet@capulet.lit/balcony"
			local friar = server:client "friar@capulet.lit/cell"
			caught_up(friar)
			caught_up(pubsub)
			server:unload_module "privilege"
			server:client("paris@capulet.lit/x"):send(away)
			settle(server)
			pubsub:nothing { name = "presence" }
			server:load_module "privilege"
			assert.is_same({ "juliet@capulet.lit/balcony", "paris@capulet.lit/x away" }, caught_up(friar))
			assert.is_same({ "friar@capulet.lit/cell", "juliet@capulet.lit/balcony", "paris@capulet.lit/x away" }, caught_up(pubsub))
		end)

		it("B8.2 is told when a connected entity is granted it by a reload, and nothing more once it is taken away", function()
			local juliet = server:client "juliet@capulet.lit/balcony"
			server:client "nurse@capulet.lit/x"
			local friar = server:client "friar@capulet.lit/cell"
			with(server:component "other.capulet.lit", function(other)
				settle(server)
				other:nothing { name = "presence" }
				caught_up(pubsub)
				caught_up(friar)
				server:reload_config((config:format(granted):gsub('roster = "get"; message', 'presence = "managed_entity"; message')))
				local first = other:expect(function(stanza)
					return stanza.name == "presence" or stanza:get_child("privilege", "urn:xmpp:privilege:2") and #stanza.tags[1].tags == 3
				end)
				assert.is_equal("message", first.name)
				assert.is_same({ "friar@capulet.lit/cell", "juliet@capulet.lit/balcony", "nurse@capulet.lit/x" }, caught_up(other))
				-- nothing changed for the others
				assert.is_same({}, caught_up(pubsub))
				assert.is_same({}, caught_up(friar))
				server:reload_config(config:format(""))
				juliet:send(away):sync()
				settle(server)
				assert.is_same({}, taken(pubsub))
				assert.is_same({}, taken(other))
				server:reload_config(config:format(granted))
				assert.is_same({ "friar@capulet.lit/cell", "juliet@capulet.lit/balcony away", "nurse@capulet.lit/x" }, caught_up(pubsub))
				assert.is_same({}, taken(other))
			end)
		end)
	end)

	describe("for an entity that left", function()
		it("B8.5 is not told, and nothing bounces to the users", function()
			local juliet = server:client "juliet@capulet.lit/balcony"
			for _, how in ipairs { "close", "cut" } do
				local late, prince = server:component "late.capulet.lit", server:client "prince@verona.lit/x"
				settle(server)
				late[how](late)
				prince[how](prince)
				repeat
				until server:eval [[return not prosody.full_sessions["prince@verona.lit/x"] ]]
				juliet:sync():drain()
				for _, presence in ipairs { away, "<presence type='unavailable'/>", "<presence/>" } do
					juliet:send(presence):expect { name = "presence", from = juliet.jid }
				end
				juliet:nothing()
			end
			-- one that is unavailable and not gone
			local prince = server:client "prince@verona.lit/x"
			settle(server)
			prince:send("<presence type='unavailable'/>"):sync():drain()
			juliet:send(away):sync():drain()
			prince:nothing()
			juliet:nothing()
		end)

		it("B8.5 is not told in the middle of a catch-up either", function()
			local juliet = server:client "juliet@capulet.lit/balcony"
			for _ = 1, 5 do
				server:component("late.capulet.lit"):cut()
			end
			settle(server)
			juliet:nothing()
		end)
	end)
end)
