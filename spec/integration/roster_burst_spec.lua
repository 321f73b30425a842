-- Behaviour 4: changes of rosters that come in one go are saved in one go.

local fixture = require "spec.support.fixture"
local rosters = require "spec.support.rosters"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = { roster = "both", roster_push = false };
		["watcher.capulet.lit"] = { roster = "get" };
	}
]] .. fixture.components("pubsub", "watcher")

local count = 60

local function set(id, user, item)
	return ("<iq type='set' id='%s' from='pubsub.capulet.lit' to='%s'><query xmlns='jabber:iq:roster'>%s</query></iq>"):format(
		id,
		user,
		item
	)
end

local function contact(i, more)
	return ("<item jid='contact%02d@montague.lit' %s/>"):format(i, more or "")
end

-- Items for so many contacts
local function contacts(more)
	local items = {}
	for i = 1, count do
		items[i] = contact(i, more)
	end
	return items
end

for _, storage in ipairs { "internal", "sql" } do
	describe("a burst of roster sets in " .. storage .. " storage", function()
		local server, pubsub, watcher, juliet

		fixture.drained({
			storage = storage,
			config = config,
			users = { "juliet@capulet.lit", "peter@capulet.lit" },
			rosters = {
				["juliet@capulet.lit"] = { ["nurse@capulet.lit"] = { subscription = "both", name = "Nurse" } },
				["peter@capulet.lit"] = { ["nurse@capulet.lit"] = { subscription = "both", name = "Nurse" } },
			},
		}, {
			"pubsub.capulet.lit",
			"watcher.capulet.lit",
			{ "juliet@capulet.lit/balcony", roster = true },
		}, function(...)
			server, pubsub, watcher, juliet = ...
		end)

		after_each(function()
			server:eval "prosody.spec_fail = nil"
		end)

		-- Sends sets in one go; gives what each was answered, in the order of the answers: id and outcome
		local function burst(user, items)
			local text = {}
			for i, item in ipairs(items) do
				text[i] = set("set" .. i, user, item)
			end
			pubsub:send(table.concat(text))
			local answers = {}
			for i in ipairs(items) do
				local stanza = pubsub:expect {}
				assert.is_equal(user, stanza.attr.from)
				answers[i] = stanza.attr.id .. " " .. rosters.outcome(stanza)
			end
			pubsub:nothing()
			return answers
		end

		local function all_answered(outcome)
			local answers = {}
			for i = 1, count do
				answers[i] = "set" .. i .. " " .. outcome
			end
			return answers
		end

		for _, user in ipairs { "juliet@capulet.lit", "peter@capulet.lit" } do
			it("B4.2, B4.3 all of it is saved and answered, each once and in order, for " .. user, function()
				assert.is_same(all_answered "result", burst(user, contacts "name='one' subscription='to'"))
				local username = user:match "^[^@]+"
				local stored = rosters.stored(server, username)
				for i = 1, count do
					local item = stored[("contact%02d@montague.lit"):format(i)]
					assert.is_same({ "one", "to" }, { item.name, item.subscription })
				end
				assert.is_equal("Nurse", stored["nurse@capulet.lit"].name)
				local _, number = table.concat(rosters.get(pubsub, user), "\n"):gsub("%f[^%z\n]contact", "")
				assert.is_equal(count, number)
			end)

			it("B4.3 where saving fails each is refused, and the roster is as before, for " .. user, function()
				local username = user:match "^[^@]+"
				local before = rosters.state(server, username)
				server:eval "prosody.spec_fail = { roster_set = true }"
				assert.is_same(all_answered "wait internal-server-error", burst(user, contacts "name='failed' subscription='both'"))
				server:eval "prosody.spec_fail = nil"
				assert.is_same(before, rosters.state(server, username))
				juliet:nothing()
				watcher:nothing()
			end)
		end

		it("B5 clients and entities are told of each change, with a version that they can keep", function()
			local _, before = rosters.get(juliet)
			burst("juliet@capulet.lit", contacts "name='two'")
			local items, now = rosters.get(juliet)
			assert.is_equal(count, tonumber(now) - tonumber(before))
			local texts, pushes = rosters.pushes(juliet)
			assert.is_equal(count, #texts)
			for i, push in ipairs(pushes) do
				assert.is_equal(tostring(before + i), push.tags[1].attr.ver)
			end
			local told
			texts, told = rosters.pushes(watcher)
			local expected = {}
			for _, item in ipairs(items) do
				if item:find "^contact" then
					table.insert(expected, "juliet@capulet.lit: " .. item)
				end
			end
			assert.is_same(expected, texts)
			for i, push in ipairs(told) do
				-- Who did not get the rest must not be taken to have it.
				assert.is_equal(i == count, push.tags[1].attr.ver == now)
			end
		end)

		it("B4.2 changes of the same contact follow each other", function()
			local _, before = rosters.get(pubsub, "peter@capulet.lit")
			assert.is_same(
				{ "set1 result", "set2 result", "set3 result", "set4 modify item-not-found", "set5 result" },
				burst("peter@capulet.lit", {
					"<item jid='tybalt@capulet.lit' name='first'/>",
					"<item jid='tybalt@capulet.lit' name='second'/>",
					"<item jid='tybalt@capulet.lit' subscription='remove'/>",
					"<item jid='tybalt@capulet.lit' subscription='remove'/>",
					"<item jid='tybalt@capulet.lit' name='third'/>",
				})
			)
			assert.is_same({
				"peter@capulet.lit: tybalt@capulet.lit none name=first",
				"peter@capulet.lit: tybalt@capulet.lit none name=second",
				"peter@capulet.lit: tybalt@capulet.lit none name=third",
				"peter@capulet.lit: tybalt@capulet.lit remove",
			}, (rosters.pushes(watcher)))
			local _, after = rosters.get(pubsub, "peter@capulet.lit")
			assert.is_equal(4, tonumber(after) - tonumber(before))
		end)

		it("B4.1 a get in it has what was set before it, and the version of that", function()
			local get = "<iq type='get' id='get' from='pubsub.capulet.lit' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>"
			pubsub:send(
				set("before", "juliet@capulet.lit", contact(1, "name='early'"))
					.. get
					.. set("after", "juliet@capulet.lit", contact(1, "name='late'"))
			)
			assert.is_equal("result", rosters.outcome(pubsub:expect { id = "before" }))
			local query = pubsub:expect({ id = "get" }).tags[1]
			assert.is_equal("result", rosters.outcome(pubsub:expect { id = "after" }))
			for _, item in ipairs(query.tags) do
				if item.attr.jid == "contact01@montague.lit" then
					assert.is_equal("early", item.attr.name)
				end
			end
			local _, now = rosters.get(juliet)
			assert.is_equal(1, tonumber(now) - tonumber(query.attr.ver))
		end)

		-- Has the server handle three sets, and something else happen before it reads on
		local function burst_then(name, event)
			server:eval [[
				prosody.spec_origin = nil;
				module:hook("iq-set/bare/jabber:iq:roster:query", function (event)
					prosody.spec_origin = event.origin;
				end, 10);
			]]
			assert.is_equal("result", rosters.set(pubsub, "juliet@capulet.lit", contact(1)))
			return server:eval(([[
				for i = 1, 3 do
					prosody.core_post_stanza(prosody.spec_origin, require "util.xml".parse((%q):format(i, i)));
				end
				%s
				return require "core.storagemanager".open(module.host, "roster", "keyval"):get "juliet";
			]]):format(set("late%d", "juliet@capulet.lit", ("<item jid='%s%%d@montague.lit'/>"):format(name)), event))
		end

		local function assert_stored(name, stored)
			for i = 1, 3 do
				assert.is_truthy(stored[name .. i .. "@montague.lit"], name .. i)
			end
		end

		it("B4.3 is saved and answered before the module is reloaded", function()
			assert_stored("module", burst_then("module", [[require "core.modulemanager".reload(module.host, "privilege")]]))
			for i = 1, 3 do
				pubsub:expect { type = "result", id = "late" .. i }
			end
		end)

		it("B4.3 is saved and answered when the user's session ends meanwhile", function()
			burst_then(
				"user",
				[[
				require "core.sessionmanager".destroy_session(prosody.full_sessions["juliet@capulet.lit/balcony"]);
			]]
			)
			juliet:cut()
			for i = 1, 3 do
				pubsub:expect { type = "result", id = "late" .. i }
			end
			assert_stored("user", rosters.stored(server, "juliet"))
			juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
		end)

		it("B4.3 is saved when the component leaves at once, which is answered no more", function()
			burst_then("component", [[prosody.spec_origin:close()]])
			for i = 1, 3 do
				juliet:expect(function(stanza)
					local query = stanza:get_child("query", "jabber:iq:roster")
					return query and query.tags[1].attr.jid == "component" .. i .. "@montague.lit"
				end)
			end
			assert_stored("component", rosters.stored(server, "juliet"))
			pubsub:close()
			pubsub = server:component "pubsub.capulet.lit"
		end)
	end)
end
