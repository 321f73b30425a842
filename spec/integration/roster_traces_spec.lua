-- Behaviour 4.6 and 4.7: what is read of rosters leaves no trace in the server, and nothing of a deleted account is left.

local prosody = require "spec.support.prosody"
local privileged = require "spec.support.privileged"
local presences = require "spec.support.presences"
local rosters = require "spec.support.rosters"

local config = [[
VirtualHost "capulet.lit"
	modules_enabled = { "register" }
	allow_registration = true
	privileged_entities = {
		["gateway.capulet.lit"] = {
			roster = "both", presence = "roster", message = "outgoing";
			iq = { ["urn:xmpp:ping"] = "get", ["jabber:iq:private"] = "both", ["http://jabber.org/protocol/pubsub"] = "both" };
		};
	}
	privilege_probe_rate = 0
Component "gateway.capulet.lit"
	component_secret = "secret"
]]

local item = "<item jid='romeo@montague.lit' name='Romeo' subscription='both'/>"

for _, storage in ipairs { "internal", "sql" } do
	for _, push in ipairs { true, false } do
		describe(("rosters in %s storage, %s pushes"):format(storage, push and "with" or "without"), function()
			local server, gateway

			setup(function()
				server = prosody.start {
					storage = storage,
					config = (config:gsub('roster = "both"', "%0, roster_push = " .. tostring(push))),
					users = { "nurse@capulet.lit" },
				}
				gateway = server:component "gateway.capulet.lit"
				presences.caught_up(gateway)
			end)

			teardown(function()
				server:stop()
			end)

			local function create(username, contacts)
				server:eval(([[
					assert(require "core.usermanager".create_user(%q, "secret", module.host));
					if %q ~= "" then
						assert(require "core.storagemanager".open(module.host, "roster", "keyval"):set(%q, {
							[false] = { version = 7, pending = {} }, [%q] = { subscription = "both", groups = {} },
						}));
					end
				]]):format(username, contacts or "", username, contacts or ""))
			end

			local function delete(username)
				server:eval(("assert(require 'core.usermanager'.delete_user(%q, module.host))"):format(username))
			end

			local function assert_empty_for(username)
				create(username)
				local client = server:client(username .. "@capulet.lit/new", { roster = true })
				assert.is_same({}, (rosters.get(client)))
				assert.is_same({}, (rosters.get(gateway, username .. "@capulet.lit")))
				client:close()
			end

			it("B4.6 are empty for who registers the name again, after the user removed the account while online", function()
				create("juliet", "romeo@montague.lit")
				local juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
				assert.is_same({ "romeo@montague.lit both" }, (rosters.get(juliet)))
				juliet:send "<iq type='set' id='remove'><query xmlns='jabber:iq:register'><remove/></query></iq>"
				juliet:expect { name = "iq", id = "remove", type = "result" }
				juliet:cut()
				gateway:sync()
				assert_empty_for "juliet"
			end)

			-- What an entity does with an offline user before the account is deleted
			local touches = {
				["a roster get"] = function(user)
					rosters.get(gateway, user)
				end,
				["a roster set"] = function(user)
					assert.is_equal("result", rosters.set(gateway, user, "<item jid='tybalt@capulet.lit'/>"))
				end,
				["a removal"] = function(user)
					assert.is_equal("result", rosters.set(gateway, user, "<item jid='romeo@montague.lit' subscription='remove'/>"))
				end,
				["a refused removal"] = function(user)
					assert.is_equal(
						"modify item-not-found",
						rosters.set(gateway, user, "<item jid='none@capulet.lit' subscription='remove'/>")
					)
				end,
				["a catch-up"] = function()
					gateway:close()
					gateway = server:component "gateway.capulet.lit"
					presences.caught_up(gateway)
				end,
				["a contact's presence"] = function(user)
					gateway:send(("<presence from='x@gateway.capulet.lit/r' to='%s'/>"):format(user))
					gateway:sync()
				end,
				["a message in the user's name"] = function(user)
					gateway:send(
						privileged.message(
							{ id = "m", from = gateway.jid, to = "capulet.lit" },
							{ from = user, to = "nurse@capulet.lit", "<body>hello</body>" }
						)
					)
					gateway:sync()
				end,
				["an iq in the user's name"] = function(user)
					gateway:send(
						privileged.iq(
							{ id = "q", from = gateway.jid, to = user, type = "get" },
							{ from = user, "<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>" }
						)
					)
					gateway:expect { name = "iq", id = "q" }
				end,
			}
			local number = 0
			for what, touch in pairs(touches) do
				it("B4.6 are empty for who registers the name again, after " .. what, function()
					number = number + 1
					local username = "user" .. number
					create(username, "romeo@montague.lit")
					touch(username .. "@capulet.lit")
					-- The server keeps what is looked at for a contact's presence, as it does for a probe, until a client logs in.
					assert.is_same(
						what == "a contact's presence" and { username .. "@capulet.lit" } or {},
						server:eval [[
						local kept, cache = {}, prosody.hosts[module.host].roster_cache;
						if cache then
							for jid in cache:items() do
								kept[#kept + 1] = jid;
							end
						end
						return kept;
					]]
					)
					delete(username)
					assert_empty_for(username)
				end)

				it("B4.6 are empty for who logs in after the account was deleted and made again from outside, after " .. what, function()
					number = number + 1
					local username = "user" .. number
					create(username, "romeo@montague.lit")
					touch(username .. "@capulet.lit")
					-- as prosodyctl does, in a process of its own
					server:eval(([[
						for _, store in ipairs { "accounts", "roster" } do
							assert(require "core.storagemanager".open(module.host, store, "keyval"):set(%q, nil));
						end
					]]):format(username))
					assert_empty_for(username)
				end)
			end

			it("B4.6 are read anew after a change from outside", function()
				create("peter", "romeo@montague.lit")
				assert.is_same({ "romeo@montague.lit both" }, (rosters.get(gateway, "peter@capulet.lit")))
				-- the server itself reads it too, and keeps it
				server:eval [[require "core.rostermanager".load_roster("peter", module.host)]]
				server:eval [[
					assert(require "core.storagemanager".open(module.host, "roster", "keyval"):set("peter", {
						[false] = { version = 8, pending = {} }, ["benvolio@montague.lit"] = { subscription = "to", groups = {} },
					}));
				]]
				assert.is_same({ "benvolio@montague.lit to" }, (rosters.get(gateway, "peter@capulet.lit")))
				local peter = server:client("peter@capulet.lit/x", { roster = true })
				assert.is_same({ "benvolio@montague.lit to" }, (rosters.get(peter)))
				peter:close()
			end)

			it("B4.7 have a version after their first change that no client has for the empty one", function()
				create "samson"
				local samson = server:client("samson@capulet.lit/x", { roster = true })
				local items, empty = rosters.get(samson)
				assert.is_same({}, items)
				samson:close()
				local _, entity_empty = rosters.get(gateway, "samson@capulet.lit")
				assert.is_equal("result", rosters.set(gateway, "samson@capulet.lit", item))
				samson = server:client("samson@capulet.lit/x")
				assert.is_same({ "romeo@montague.lit both name=Romeo" }, (rosters.get(samson, nil, empty)))
				assert.is_same({ "romeo@montague.lit both name=Romeo" }, (rosters.get(gateway, "samson@capulet.lit", entity_empty)))
				samson:close()
			end)
		end)
	end
end
