-- Behaviour 4: answers to requests of an entity come in the order of the requests, and errors of other modules lose none of them.

local fixture = require "spec.support.fixture"
local privileged = require "spec.support.privileged"
local rosters = require "spec.support.rosters"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["gateway.capulet.lit"] = { roster = "both", message = "outgoing", iq = { ["urn:xmpp:ping"] = "get", ["jabber:iq:roster"] = "get" } };
		["watcher.capulet.lit"] = { roster = "get" };
		["setter.capulet.lit"] = { roster = "set" };
	}
VirtualHost "verona.lit"
	privileged_entities = { ["gateway.capulet.lit"] = { roster = "both" } }
]] .. fixture.components("gateway", "watcher", "setter")

local contacts = { "one@montague.lit", "two@montague.lit", "three@montague.lit", "four@montague.lit" }

for _, storage in ipairs { "internal", "sql" } do
	describe("requests of an entity, rosters in " .. storage .. " storage,", function()
		local server, gateway, watcher, setter, juliet

		local seed = {}
		for _, contact in ipairs(contacts) do
			seed[contact] = { subscription = "both" }
		end
		fixture.drained({
			storage = storage,
			config = config,
			global = 'default_archive_policy = "roster"',
			modules = { "privilege", "mam" },
			users = { "juliet@capulet.lit", "peter@capulet.lit", "samson@capulet.lit", "escalus@verona.lit" },
			rosters = { ["juliet@capulet.lit"] = seed, ["peter@capulet.lit"] = seed, ["samson@capulet.lit"] = seed },
		}, {
			"gateway.capulet.lit",
			"watcher.capulet.lit",
			"setter.capulet.lit",
			{ "juliet@capulet.lit/balcony", roster = true },
		}, function(...)
			server, gateway, watcher, setter, juliet = ...
		end)

		local function request(stream, id, kind, to, payload)
			return ("<iq type='%s' id='%s' from='%s' to='%s'>%s</iq>"):format(kind, id, stream.jid, to, payload)
		end

		local function set(stream, id, user, item)
			return request(stream, id, "set", user, "<query xmlns='jabber:iq:roster'>" .. item .. "</query>")
		end

		local function answers_in_order(stream, n)
			local ids = {}
			while #ids < n do
				local stanza = stream:expect(function(stanza)
					return stanza.name == "iq" and stanza.attr.type ~= "set" or stanza.attr.type == "error"
				end)
				ids[#ids + 1] = tonumber(stanza.attr.id)
			end
			local expected = {}
			for i = 1, n do
				expected[i] = i
			end
			assert.is_same(expected, ids)
		end

		it("B4.3 are done before a message that follows: it is archived as one to a contact", function()
			gateway:send(
				set(gateway, "1", "juliet@capulet.lit", "<item jid='friend@montague.lit'/>")
					.. privileged.message(
						{ from = gateway.jid, to = "capulet.lit" },
						{ from = "juliet@capulet.lit", to = "friend@montague.lit", type = "chat", "<body>after the set</body>" }
					)
			)
			gateway:expect { name = "iq", id = "1", type = "result" }
			gateway:sync()
			juliet:iq { type = "set", "<query xmlns='urn:xmpp:mam:2' queryid='archive'/>" }
			local bodies = {}
			for _, stanza in ipairs(juliet:drain()) do
				local result = stanza:get_child("result", "urn:xmpp:mam:2")
				bodies[#bodies + 1] = result and result.tags[1].tags[2]:get_child_text "body"
			end
			assert.is_same({ "after the set" }, bodies)
		end)

		it("B4.3 are answered in their order on several hosts, and the stream is left as it was", function()
			local function send_function()
				return server:eval [[return tostring(prosody.hosts["gateway.capulet.lit"].modules.component.session.send)]]
			end
			gateway:sync()
			local before = send_function()
			for round = 1, 3 do
				gateway:send(table.concat {
					set(gateway, 1, "juliet@capulet.lit", ("<item jid='hosts@b' name='%d'/>"):format(round)),
					set(gateway, 2, "escalus@verona.lit", "<item jid='hosts@b'/>"),
					set(gateway, 3, "juliet@capulet.lit", "<item jid='hosts@b' name='Both'/>"),
					request(gateway, 4, "get", "capulet.lit", "<ping xmlns='urn:xmpp:ping'/>"),
					set(gateway, 5, "escalus@verona.lit", "<item jid='hosts@b' subscription='remove'/>"),
					set(gateway, 6, "juliet@capulet.lit", "<item jid='hosts@b' subscription='remove'/>"),
				})
				answers_in_order(gateway, 6)
			end
			gateway:sync()
			assert.is_equal(before, send_function())
		end)

		it("B4.3 are answered in their order: sets of several users, gets, pings, refusals and errors", function()
			local ping = "<ping xmlns='urn:xmpp:ping'/>"
			gateway:send(table.concat {
				set(gateway, 1, "juliet@capulet.lit", "<item jid='a@b'/>"),
				request(gateway, 2, "get", "capulet.lit", ping),
				set(gateway, 3, "peter@capulet.lit", "<item jid='a@b'/>"),
				set(gateway, 4, "juliet@capulet.lit", "<item jid='a@b' name='A'/>"),
				request(gateway, 5, "get", "peter@capulet.lit", "<query xmlns='jabber:iq:roster'/>"),
				set(gateway, 6, "juliet@capulet.lit", "<item jid='a@b' subscription='remove'/>"),
				set(gateway, 7, "juliet@capulet.lit", "<item jid='a@b' subscription='remove'/>"),
				set(gateway, 8, "juliet@capulet.lit", "<item/>"),
				set(gateway, 9, "nobody@capulet.lit", "<item jid='a@b'/>"),
				set(gateway, 10, "peter@capulet.lit", "<item jid='a@b'/>"),
				privileged.message(
					{ id = "11", from = gateway.jid, to = "capulet.lit" },
					{ from = "nobody@capulet.lit", to = "x@y", "<body/>" }
				),
				set(gateway, 12, "samson@capulet.lit", "<item jid='a@b'/>"),
				privileged.iq(
					{ id = "13", from = gateway.jid, to = "samson@capulet.lit", type = "get" },
					{ from = "samson@capulet.lit", to = "capulet.lit", ping }
				),
				set(gateway, 14, "juliet@capulet.lit", "<item jid='a@b'/>"),
				request(gateway, 15, "get", "capulet.lit", "<query xmlns='http://jabber.org/protocol/disco#info'/>"),
			})
			answers_in_order(gateway, 15)
		end)

		it("B4.3 are answered before a ping that follows them", function()
			for _ = 1, 20 do
				gateway:send(
					set(gateway, 1, "peter@capulet.lit", "<item jid='a@b'/>") .. set(gateway, 2, "juliet@capulet.lit", "<item jid='a@b'/>")
				)
				gateway:sync()
				local found = 0
				for _, stanza in ipairs(gateway:drain()) do
					found = found + (stanza.attr.type == "result" and 1 or 0)
				end
				assert.is_equal(2, found)
			end
		end)

		it("B4.3 of two entities are each answered in their order", function()
			for i = 1, 30 do
				gateway:send(set(gateway, i, "peter@capulet.lit", ("<item jid='g%d@b'/>"):format(i)))
				setter:send(set(setter, i, "peter@capulet.lit", ("<item jid='s%d@b'/>"):format(i)))
			end
			answers_in_order(gateway, 30)
			answers_in_order(setter, 30)
			local stored = rosters.stored(server, "peter")
			for i = 1, 30 do
				assert.is_truthy(stored["g" .. i .. "@b"] and stored["s" .. i .. "@b"])
			end
		end)

		for _, username in ipairs { "juliet", "peter" } do
			it("B4.3 are all answered where another module's handler raises an error, and the version goes on, for " .. username, function()
				local user = username .. "@capulet.lit"
				server:allow_log "spec error"
				server:eval [[
					prosody.spec_handler = function (event)
						if event.jid == "two@montague.lit" then
							error "spec error";
						end
					end
					module:hook("roster-item-removed", prosody.spec_handler, 1000);
				]]
				local _, before = rosters.get(gateway, user)
				local sets = {}
				for i, contact in ipairs(contacts) do
					sets[i] = set(gateway, i, user, ("<item jid='%s' subscription='remove'/>"):format(contact))
				end
				gateway:send(table.concat(sets))
				answers_in_order(gateway, #contacts)
				server:eval [[module:unhook("roster-item-removed", prosody.spec_handler)]]

				local _, after = rosters.get(gateway, user)
				assert.is_equal(#contacts, after - before)
				local stored = rosters.stored(server, username)
				assert.is_equal(tonumber(after), stored[false].version)
				for _, contact in ipairs(contacts) do
					assert.is_nil(stored[contact])
				end
				assert.is_equal(#contacts, #rosters.pushes(watcher))
				if username == "juliet" then
					assert.is_equal(#contacts, #rosters.pushes(juliet))
				end
				-- Who has the version of any of the changes hears of those that follow it.
				-- In numbers: with texts, Lua 5.4 counts in floats, and "1.0" is no version of any roster.
				for version = tonumber(before), tonumber(after) - 1 do
					assert.is_truthy((rosters.get(watcher, user, tostring(version))))
				end
				assert.is_nil((rosters.get(watcher, user, after)))
				-- A version is used once.
				assert.is_equal("result", rosters.set(gateway, user, "<item jid='last@montague.lit'/>"))
				assert.is_equal(after + 1, rosters.stored(server, username)[false].version)
			end)
		end

		it("B4.3 are each answered where an error is raised while a roster is read", function()
			server:allow_log "spec error"
			server:eval [[
				prosody.spec_handler = function (event)
					if event.username == "samson" then
						error "spec error";
					end
				end
				module:hook("roster-load", prosody.spec_handler);
			]]
			gateway:send(
				set(gateway, 1, "juliet@capulet.lit", "<item jid='read@b'/>")
					.. set(gateway, 2, "samson@capulet.lit", "<item jid='read@b'/>")
					.. set(gateway, 3, "peter@capulet.lit", "<item jid='read@b'/>")
					.. request(gateway, 4, "get", "samson@capulet.lit", "<query xmlns='jabber:iq:roster'/>")
			)
			for i, outcome in ipairs { "result", "wait internal-server-error", "result", "wait internal-server-error" } do
				assert.is_equal(outcome, rosters.outcome(gateway:expect { id = tostring(i) }))
			end
			server:eval [[module:unhook("roster-load", prosody.spec_handler)]]
			assert.is_equal("result", rosters.set(gateway, "samson@capulet.lit", "<item jid='read@b'/>"))
		end)

		it("B4.3 are there for what comes behind them: a probe of the contact that was set is answered", function()
			local contact = "probing" .. storage .. "@gateway.capulet.lit"
			gateway:send(
				set(gateway, 1, "juliet@capulet.lit", ("<item jid='%s' subscription='both'/>"):format(contact))
					.. ("<presence type='probe' from='%s' to='juliet@capulet.lit'/>"):format(contact)
			)
			gateway:expect { name = "presence", from = juliet.jid, to = contact }
		end)

		it("B4.3 are there for what comes behind them: an iq in the user's name gets the contact that was set", function()
			for _, user in ipairs { "juliet@capulet.lit", "samson@capulet.lit" } do
				gateway:send(set(gateway, 1, user, "<item jid='behind@b'/>") .. privileged.iq({ id = "2", from = gateway.jid, to = user }, {
					from = user,
					"<query xmlns='jabber:iq:roster'/>",
				}))
				local answer = privileged.unwrap(
					gateway:expect { id = "2" },
					{ id = "2", from = user, to = gateway.jid },
					{ type = "result", id = "inner", from = user, to = user }
				)
				assert.is_truthy(tostring(answer):find("behind@b", 1, true))
			end
		end)

		it("B4.3 are refused once where the storage raises an error, and the roster is as before", function()
			server:allow_log "spec error"
			local before = rosters.state(server, "juliet", "peter")
			server:eval [[prosody.spec_fail = { roster_set = function () error "spec error" end }]]
			gateway:send(
				set(gateway, 1, "juliet@capulet.lit", "<item jid='raised@b'/>")
					.. set(gateway, 2, "peter@capulet.lit", "<item jid='raised@b'/>")
			)
			for i = 1, 2 do
				assert.is_equal("wait internal-server-error", rosters.outcome(gateway:expect { id = tostring(i) }))
			end
			server:eval "prosody.spec_fail = nil"
			assert.is_same(before, rosters.state(server, "juliet", "peter"))
			juliet:nothing()
			watcher:nothing()
		end)
	end)
end
