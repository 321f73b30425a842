-- Behaviour 4, third part: changes of rosters that are refused or fail, and requests that are not the module's.

local fixture = require "spec.support.fixture"
local rosters = require "spec.support.rosters"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = { roster = "both" };
		["writer.capulet.lit"] = { roster = "set" };
		["reader.capulet.lit"] = { roster = "get" };
		["watcher.capulet.lit"] = { message = "outgoing" };
		["friar@capulet.lit"] = { roster = "both", roster_push = false };
		["tybalt@capulet.lit"] = { roster = "get", roster_push = false };
	}
VirtualHost "montague.lit"
]] .. fixture.components("pubsub", "writer", "reader", "watcher", "gateway", "stranger")

local function roster()
	return {
		["friend@gateway.capulet.lit"] = { subscription = "both", name = "Friend", groups = { "Friends" } },
		["asked@gateway.capulet.lit"] = { subscription = "from", ask = "subscribe", approved = "true" },
		[false] = { version = 3, pending = { ["stranger@gateway.capulet.lit"] = true } },
	}
end

-- What is inside of the query, and how it is refused
local malformed = {
	["no item"] = { "", "modify bad-request" },
	["something else"] = { "<contact jid='romeo@montague.lit'/>", "modify bad-request" },
	["two items"] = { "<item jid='romeo@montague.lit'/><item jid='paris@montague.lit'/>", "modify bad-request" },
	["an item twice"] = { "<item jid='romeo@montague.lit'/><item jid='romeo@montague.lit'/>", "modify bad-request" },
	["a foreign item"] = { "<item xmlns='urn:example' jid='romeo@montague.lit'/>", "modify bad-request" },
	["an item and more"] = { "<x xmlns='urn:example'/><item jid='romeo@montague.lit'/>", "modify bad-request" },
	["no jid"] = { "<item name='Romeo'/>", "modify bad-request" },
	["no jid to remove"] = { "<item subscription='remove'/>", "modify bad-request" },
	["an empty jid"] = { "<item jid=''/>", "modify jid-malformed" },
	["no domain"] = { "<item jid='romeo@'/>", "modify jid-malformed" },
	["an empty name"] = { "<item jid='@montague.lit'/>", "modify jid-malformed" },
	["a jid with white space"] = { "<item jid='ro meo@montague.lit'/>", "modify jid-malformed" },
	["a jid with a resource"] = { "<item jid='romeo@montague.lit/orchard'/>", "modify bad-request" },
	["a domain with a resource"] = { "<item jid='montague.lit/orchard'/>", "modify bad-request" },
	["a contact's resource to remove"] = { "<item jid='friend@gateway.capulet.lit/x' subscription='remove'/>", "modify bad-request" },
	["the name of old metadata"] = { "<item jid='pending' name='x'/>", "cancel not-allowed" },
	["the name of old metadata, subscribed"] = { "<item jid='pending' subscription='both'/>", "cancel not-allowed" },
	["the name of old metadata in capitals"] = { "<item jid='PENDING'/>", "cancel not-allowed" },
	["the name of old metadata in wide letters"] = { "<item jid='\239\189\144ending'/>", "cancel not-allowed" },
	["the name of old metadata to remove"] = { "<item jid='pending' subscription='remove'/>", "cancel not-allowed" },
	["no contact to remove"] = { "<item jid='nobody@gateway.capulet.lit' subscription='remove'/>", "modify item-not-found" },
	["a mere request to remove"] = { "<item jid='stranger@gateway.capulet.lit' subscription='remove'/>", "modify item-not-found" },
}

for _, storage in ipairs { "internal", "sql" } do
	describe("a roster in " .. storage .. " storage", function()
		local server, pubsub, writer, gateway, friar, juliet, all

		fixture.drained({
			storage = storage,
			config = config,
			users = {
				"juliet@capulet.lit",
				"peter@capulet.lit",
				"rosaline@capulet.lit",
				"samson@capulet.lit",
				"gregory@capulet.lit",
				"friar@capulet.lit",
				"tybalt@capulet.lit",
				"romeo@montague.lit",
			},
			rosters = {
				["juliet@capulet.lit"] = roster(),
				["peter@capulet.lit"] = roster(),
				["friar@capulet.lit"] = roster(),
				["gregory@capulet.lit"] = roster(),
			},
		}, {
			"pubsub.capulet.lit",
			"writer.capulet.lit",
			"gateway.capulet.lit",
			"friar@capulet.lit/cell",
			{ "juliet@capulet.lit/balcony", roster = true },
		}, function(...)
			server, pubsub, writer, gateway, friar, juliet = ...
			all = { pubsub, writer, gateway, friar, juliet }
		end)

		after_each(function()
			server:eval "prosody.spec_fail = nil"
			for _, stream in ipairs(all) do
				stream:nothing()
			end
		end)

		-- Whether nothing has changed that can be read, and nobody heard of anything
		local function unchanged(action)
			local state = rosters.state(server, "juliet", "peter", "rosaline", "friar")
			local seen = { rosters.get(pubsub, "juliet@capulet.lit"), rosters.get(pubsub, "peter@capulet.lit") }
			action()
			for _, stream in ipairs(all) do
				stream:nothing()
			end
			assert.is_same(seen, { rosters.get(pubsub, "juliet@capulet.lit"), rosters.get(pubsub, "peter@capulet.lit") })
			assert.is_same(state, rosters.state(server, "juliet", "peter", "rosaline", "friar"))
			for _, username in ipairs { "juliet", "peter" } do
				local _, ver = rosters.get(pubsub, username .. "@capulet.lit")
				assert.is_equal(tostring(state.stored[username][false].version), ver)
			end
		end

		for what, case in pairs(malformed) do
			it("B4.4 is not changed by a set that has " .. what .. ": " .. case[2], function()
				unchanged(function()
					for _, entity in ipairs { writer, friar } do
						for _, username in ipairs { "juliet", "peter", "rosaline" } do
							assert.is_equal(case[2], rosters.set(entity, username .. "@capulet.lit", case[1]))
						end
					end
				end)
			end)
		end

		it("B4.4 does not get its own user, in any spelling", function()
			unchanged(function()
				for _, username in ipairs { "juliet", "peter", "rosaline" } do
					for _, spelling in ipairs { username, username:upper() } do
						for _, domain in ipairs { "capulet.lit", "Capulet.Lit" } do
							for _, rest in ipairs { "", "subscription='both'", "subscription='remove'" } do
								assert.is_equal(
									"cancel not-allowed",
									rosters.set(
										writer,
										username .. "@capulet.lit",
										("<item jid='%s@%s' %s/>"):format(spelling, domain, rest)
									)
								)
							end
						end
					end
				end
			end)
		end)

		it("B4.4 is not made for a user who does not exist", function()
			unchanged(function()
				for _, entity in ipairs { writer, friar } do
					for _, user in ipairs { "nobody@capulet.lit", "NOBODY@capulet.lit" } do
						assert.is_equal("cancel item-not-found", rosters.set(entity, user, "<item jid='romeo@montague.lit'/>"))
						assert.is_equal("cancel item-not-found", rosters.set(entity, user, "<item jid='x@y' subscription='remove'/>"))
					end
				end
			end)
			assert.is_nil(rosters.stored(server, "nobody"))
		end)

		it("B4.4 is there as soon as its user is, and gone as soon as they are", function()
			server:eval "assert(require 'core.usermanager'.create_user('new', 'secret', module.host))"
			assert.is_equal("result", rosters.set(writer, "new@capulet.lit", "<item jid='romeo@montague.lit'/>"))
			assert.is_same({ "romeo@montague.lit none" }, (rosters.get(pubsub, "new@capulet.lit")))
			server:eval "assert(require 'core.usermanager'.delete_user('new', module.host))"
			pubsub:sync():drain()
			unchanged(function()
				assert.is_equal("cancel item-not-found", rosters.set(writer, "new@capulet.lit", "<item jid='paris@montague.lit'/>"))
				local answer = pubsub:iq { type = "get", to = "new@capulet.lit", "<query xmlns='jabber:iq:roster'/>" }
				assert.is_equal("cancel item-not-found", rosters.outcome(answer))
			end)
			assert.is_nil(rosters.stored(server, "new"))
		end)

		it("B4.4 is gone also when the user was deleted outside of the server, as prosodyctl and directories do", function()
			server:eval "assert(require 'core.usermanager'.create_user('old', 'secret', module.host))"
			assert.is_equal("result", rosters.set(writer, "old@capulet.lit", "<item jid='romeo@montague.lit'/>"))
			-- only the account goes, no event tells of it
			server:eval "assert(prosody.hosts[module.host].users.delete_user 'old')"
			pubsub:sync():drain()
			assert.is_equal("cancel item-not-found", rosters.set(writer, "old@capulet.lit", "<item jid='paris@montague.lit'/>"))
			local answer = pubsub:iq { type = "get", to = "old@capulet.lit", "<query xmlns='jabber:iq:roster'/>" }
			assert.is_equal("cancel item-not-found", rosters.outcome(answer))
			assert.is_nil(rosters.stored(server, "old")["paris@montague.lit"])
		end)

		it("B4.2 B2.3 is not changed without 'set' or 'both', whether the user exists or not", function()
			local reader, watcher = server:component "reader.capulet.lit", server:component "watcher.capulet.lit"
			local tybalt = server:client "tybalt@capulet.lit/street"
			unchanged(function()
				for _, entity in ipairs { reader, watcher, tybalt } do
					entity:sync():drain()
					for _, username in ipairs { "juliet", "peter", "nobody" } do
						for _, items in ipairs {
							"<item jid='romeo@montague.lit'/>",
							"<item jid='friend@gateway.capulet.lit' subscription='remove'/>",
							"",
						} do
							assert.is_equal("auth forbidden", rosters.set(entity, username .. "@capulet.lit", items))
						end
					end
					entity:nothing()
				end
			end)
			for _, stream in ipairs { reader, watcher, tybalt } do
				stream:close()
			end
		end)

		it("B2.3 is not changed by those who are no entity, and B2.2 not by another host's entity", function()
			local stranger, romeo = server:component "stranger.capulet.lit", server:client "romeo@montague.lit/orchard"
			unchanged(function()
				for _, stream in ipairs { stranger, romeo } do
					assert.is_equal("cancel service-unavailable", rosters.set(stream, "juliet@capulet.lit", "<item jid='x@y'/>"))
					assert.is_equal("cancel service-unavailable", rosters.set(stream, "nobody@capulet.lit", "<item jid='x@y'/>"))
					stream:nothing()
				end
				for _, entity in ipairs { writer, friar } do
					assert.is_equal("cancel service-unavailable", rosters.set(entity, "romeo@montague.lit", "<item jid='x@y'/>"))
				end
			end)
			stranger:close()
			romeo:close()
		end)

		it("B2.4 is not changed by results and errors, which get no answer", function()
			unchanged(function()
				for _, entity in ipairs { writer, friar } do
					for _, kind in ipairs { "result", "error" } do
						entity:send(([[
							<iq type='%s' id='x1' to='peter@capulet.lit' from='%s'><query xmlns='jabber:iq:roster'><item jid='x@y'/></query></iq>
						]]):format(kind, entity.jid))
					end
				end
			end)
		end)

		it("B4.4 has its metadata kept, that of very old data too", function()
			server:eval [[
				assert(require "core.storagemanager".open(module.host, "roster", "keyval"):set("samson", {
					["gregory@capulet.lit"] = { subscription = "both", groups = {} }, pending = { ["abraham@montague.lit"] = true };
				}));
			]]
			local before = rosters.stored(server, "samson")
			pubsub:sync():drain()
			for _, rest in ipairs { "", "subscription='both'", "subscription='remove'" } do
				assert.is_equal("cancel not-allowed", rosters.set(writer, "samson@capulet.lit", ("<item jid='pending' %s/>"):format(rest)))
				assert.is_same(before, rosters.stored(server, "samson"))
			end
			assert.is_equal("result", rosters.set(writer, "samson@capulet.lit", "<item jid='gregory@capulet.lit' name='G'/>"))
			assert.is_same({ ["abraham@montague.lit"] = true }, rosters.stored(server, "samson")[false].pending)
			assert.is_same({ "samson@capulet.lit: gregory@capulet.lit both name=G" }, (rosters.pushes(pubsub)))
		end)

		local changes = {
			["a new contact"] = "<item jid='romeo@montague.lit' subscription='both'/>",
			["a changed contact"] = "<item jid='friend@gateway.capulet.lit' subscription='none' name='x'/>",
			["a contact whose request is pending"] = "<item jid='stranger@gateway.capulet.lit' subscription='from'/>",
			["a contact subscribed to"] = "<item jid='asked@gateway.capulet.lit' subscription='both'/>",
			["a removed contact"] = "<item jid='friend@gateway.capulet.lit' subscription='remove'/>",
		}
		for what, item in pairs(changes) do
			it("B4.3 is as before, on disk and in memory, where saving fails with " .. what, function()
				unchanged(function()
					server:eval "prosody.spec_fail = { roster_set = true }"
					for _, entity in ipairs { writer, friar } do
						for _, username in ipairs { "juliet", "peter" } do
							assert.is_equal("wait internal-server-error", rosters.set(entity, username .. "@capulet.lit", item))
						end
					end
					local lines, ver = rosters.get(juliet)
					assert.is_same({ lines, ver }, { rosters.get(pubsub, "juliet@capulet.lit") })
				end)
			end)
		end

		it("B4.3 is changed again when saving works again", function()
			local _, version = rosters.get(pubsub, "juliet@capulet.lit")
			local item = "<item jid='friend@gateway.capulet.lit' name='new'/>"
			server:eval "prosody.spec_fail = { roster_set = true }"
			assert.is_equal("wait internal-server-error", rosters.set(writer, "juliet@capulet.lit", item))
			server:eval "prosody.spec_fail = nil"
			assert.is_equal("result", rosters.set(writer, "juliet@capulet.lit", item))
			assert.is_same({ "friend@gateway.capulet.lit both name=new" }, (rosters.pushes(juliet)))
			assert.is_same({ "juliet@capulet.lit: friend@gateway.capulet.lit both name=new" }, (rosters.pushes(pubsub)))
			assert.is_equal(tostring(version + 1), select(2, rosters.get(pubsub, "juliet@capulet.lit")))
		end)

		it("B4.3 is not replaced where it could not be read", function()
			server:eval "prosody.spec_fail = { roster_get = true }"
			assert.is_equal("wait internal-server-error", rosters.set(writer, "gregory@capulet.lit", "<item jid='x@y'/>"))
			server:eval "prosody.spec_fail = nil"
			assert.is_equal("both", rosters.stored(server, "gregory")["friend@gateway.capulet.lit"].subscription)
			assert.is_nil(rosters.stored(server, "gregory")["x@y"])
		end)

		it("B4.2 keeps the pre-approval of a contact, whose request is then accepted", function()
			local item = "<item jid='approved@gateway.capulet.lit' name='%s'/>"
			if not server:eval "return require 'core.rostermanager'.is_contact_preapproved ~= nil" then
				pending "B4.2 keeps the pre-approval of a contact, whose request is then accepted (needs Prosody 0.12)"
			end
			assert.is_equal("result", rosters.set(writer, "juliet@capulet.lit", item:format "one"))
			juliet:send "<presence type='subscribed' to='approved@gateway.capulet.lit'/>"
			juliet:sync()
			assert.is_equal("result", rosters.set(writer, "juliet@capulet.lit", item:format "two"))
			gateway:sync():drain()
			gateway:send "<presence type='subscribe' from='approved@gateway.capulet.lit' to='juliet@capulet.lit'/>"
			gateway:expect { type = "subscribed", from = "juliet@capulet.lit", to = "approved@gateway.capulet.lit" }
			gateway:sync():drain()
			juliet:sync():drain()
			local lines = table.concat((rosters.get(pubsub, "juliet@capulet.lit")), "\n")
			assert.is_truthy(lines:find("approved@gateway.capulet.lit from name=two", 1, true))
			pubsub:sync():drain()
		end)

		it("B4.5 is the user's own to change as ever, also a privileged user's", function()
			-- All of it as without the module, also the answers to what is wrong
			local cases = {
				"<item jid='own@example.com' name='Own' subscription='both'><group>G</group></item>",
				"<item jid='own@example.com' name='New' subscription='to'/>",
				"<item jid='own@example.com' subscription='remove'/>",
				"<item jid='own@example.com' subscription='remove'/>",
				"<item jid='friend@gateway.capulet.lit' name='New'/>",
				"<item jid='friend@gateway.capulet.lit' name='Friend'><group>Friends</group></item>",
				"<item jid='%s'/>",
			}
			for _, case in pairs(malformed) do
				if case[2] ~= "cancel not-allowed" then
					table.insert(cases, case[1])
				end
			end
			-- One text for each request: the answer, the roster then, and the pushes to the client
			local function play()
				local outcomes = {}
				for _, client in ipairs { friar, juliet } do
					local bare = client.jid:match "^[^/]*"
					rosters.get(client)
					rosters.set(client, nil, "<item jid='friend@gateway.capulet.lit'/>")
					rosters.pushes(client)
					for _, address in ipairs { false, bare } do
						for _, items in ipairs(cases) do
							local outcome = rosters.set(client, address or nil, items:gsub("%%s", bare))
							table.insert(
								outcomes,
								("%s: %s; %s; %s"):format(
									items,
									outcome,
									table.concat((rosters.get(client)), ", "),
									table.concat((rosters.pushes(client)), ", ")
								)
							)
							client:nothing()
						end
					end
				end
				return table.concat(outcomes, "\n")
			end
			local with = play()
			assert.is_truthy(with:find("both'><group>G</group></item>: result; asked", 1, true))
			assert.is_equal(2 * (1 + 2 * 5), #rosters.pushes(pubsub))
			server:unload_module "privilege"
			friar:sync():drain() -- it is told so
			local without = play()
			server:load_module "privilege"
			assert.is_same(without, with)
			for _, stream in ipairs(all) do
				stream:sync():drain()
			end
		end)
	end)
end
