-- Behaviour 4, first part: entities read rosters.

local fixture = require "spec.support.fixture"
local environment = require "spec.support.environment"
local prosody = require "spec.support.prosody"
local rosters = require "spec.support.rosters"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = { roster = "both", roster_push = false };
		["reader.capulet.lit"] = { roster = "get", roster_push = false };
		["writer.capulet.lit"] = { roster = "set" };
		["watcher.capulet.lit"] = { presence = "managed_entity" };
		["friar@capulet.lit"] = { roster = "get", roster_push = false };
		["benvolio@montague.lit"] = { roster = "get", roster_push = false };
	}
VirtualHost "montague.lit"
]] .. fixture.components("pubsub", "reader", "writer", "watcher", "stranger")

-- All that an item can have
local juliets = {
	["nurse@capulet.lit"] = { subscription = "both", name = "Nurse", groups = { "Servants", "Friends" } },
	["romeo@montague.lit"] = { subscription = "none", ask = "subscribe", name = [[<R&"o'meo>]], groups = { "<&>" } },
	["paris@example.com"] = { subscription = "from", ask = "subscribe" },
	["tybalt@example.com"] = { subscription = "to" },
	["example.com"] = { subscription = "none", name = "R\195\169mi" },
	[false] = { version = 7, pending = { ["mercutio@montague.lit"] = true, ["tybalt@example.com"] = true } },
}

local juliets_lines = {
	"example.com none name=R\195\169mi",
	"nurse@capulet.lit both name=Nurse {Friends|Servants}",
	"paris@example.com from ask=subscribe",
	[[romeo@montague.lit none ask=subscribe name=<R&"o'meo> {<&>}]],
	"tybalt@example.com to",
}

for _, storage in ipairs { "internal", "sql" } do
	describe("a roster that an entity reads from " .. storage .. " storage", function()
		local server, pubsub, reader, writer, watcher, friar, benvolio

		fixture.drained({
			storage = storage,
			config = config,
			users = {
				"juliet@capulet.lit",
				"nurse@capulet.lit",
				"rosaline@capulet.lit",
				"peter@capulet.lit",
				"samson@capulet.lit",
				"gregory@capulet.lit",
				"friar@capulet.lit",
				"tybalt@capulet.lit",
				"potpan@capulet.lit",
				"benvolio@montague.lit",
				"romeo@montague.lit",
			},
			rosters = {
				["juliet@capulet.lit"] = juliets,
				["potpan@capulet.lit"] = juliets,
				["nurse@capulet.lit"] = { ["juliet@capulet.lit"] = { subscription = "both" } },
				["peter@capulet.lit"] = { ["juliet@capulet.lit"] = { subscription = "both" } },
				["gregory@capulet.lit"] = { ["samson@capulet.lit"] = { subscription = "none" } },
				["friar@capulet.lit"] = { ["romeo@montague.lit"] = { subscription = "none" } },
				["romeo@montague.lit"] = { ["benvolio@montague.lit"] = { subscription = "none" } },
			},
		}, {
			"pubsub.capulet.lit",
			"reader.capulet.lit",
			"writer.capulet.lit",
			"watcher.capulet.lit",
			"friar@capulet.lit/cell",
			"benvolio@montague.lit/street",
		}, function(...)
			server, pubsub, reader, writer, watcher, friar, benvolio = ...
		end)

		-- Each request gets one answer and nothing else happens
		after_each(function()
			for _, stream in ipairs { pubsub, reader, writer, friar, benvolio } do
				stream:nothing()
			end
			watcher:nothing { name = "iq" }
		end)

		it("B4.1 has all items with name, subscription, ask and groups, and the version, for 'get' and 'both'", function()
			for _, entity in ipairs { pubsub, reader, friar, benvolio } do
				local lines, ver = rosters.get(entity, "juliet@capulet.lit")
				assert.is_same(juliets_lines, lines)
				assert.is_equal("7", ver)
			end
		end)

		it("B4.1 is what the user gets, whether they are online or not", function()
			for _, user in ipairs { "nurse@capulet.lit", "potpan@capulet.lit" } do
				local lines, ver = rosters.get(pubsub, user)
				local client = server:client(user .. "/x", { presence = false })
				local own_lines, own_ver = rosters.get(client)
				assert.is_same(own_lines, lines)
				assert.is_equal(own_ver, ver)
				assert.is_equal("result", rosters.set(client, nil, "<item jid='peter@capulet.lit' name='P'><group>G</group></item>"))
				own_lines, own_ver = rosters.get(client)
				lines, ver = rosters.get(pubsub, user)
				assert.is_same(own_lines, lines)
				assert.is_equal(own_ver, ver)
				assert.is_equal("result", rosters.set(client, nil, "<item jid='peter@capulet.lit' subscription='remove'/>"))
				client:nothing { type = "error" }
				client:close()
			end
		end)

		it("B4.1 is left out where the query has the present version", function()
			local _, ver = rosters.get(pubsub, "peter@capulet.lit")
			assert.is_equal("1", ver)
			assert.is_nil((rosters.get(pubsub, "peter@capulet.lit", ver)))
			for _, other in ipairs { "", "0", "2", "7", "x", "1x" } do
				local lines, present = rosters.get(pubsub, "peter@capulet.lit", other)
				assert.is_same({ "juliet@capulet.lit both" }, lines)
				assert.is_equal(ver, present)
			end
			local client = server:client("peter@capulet.lit/x", { roster = true })
			assert.is_nil((rosters.get(pubsub, "peter@capulet.lit", ver)))
			assert.is_equal("result", rosters.set(client, nil, "<item jid='juliet@capulet.lit' name='J'/>"))
			local lines, present = rosters.get(pubsub, "peter@capulet.lit", ver)
			assert.is_same({ "juliet@capulet.lit both name=J" }, lines)
			assert.is_not_equal(ver, present)
			assert.is_nil((rosters.get(pubsub, "peter@capulet.lit", present)))
			client:close()
		end)

		it("B4.1 is empty for a user who never had one, with a version that the first change makes an old one", function()
			local lines, ver = rosters.get(pubsub, "rosaline@capulet.lit")
			assert.is_same({}, lines)
			assert.is_equal("0", ver)
			assert.is_nil((rosters.get(pubsub, "rosaline@capulet.lit", ver)))
			assert.is_equal("result", rosters.set(pubsub, "rosaline@capulet.lit", "<item jid='romeo@montague.lit'/>"))
			assert.is_same({ "romeo@montague.lit none" }, (rosters.get(pubsub, "rosaline@capulet.lit", ver)))
		end)

		it("B4.4 tells no metadata, nor that of very old data", function()
			server:eval [[
				local item = { subscription = "both", groups = {} };
				assert(require "core.storagemanager".open(module.host, "roster", "keyval"):set("samson", {
					["gregory@capulet.lit"] = item, pending = { ["abraham@montague.lit"] = true };
				}));
			]]
			local lines = rosters.get(pubsub, "samson@capulet.lit")
			assert.is_same({ "gregory@capulet.lit both" }, lines)
			assert.is_same({ "gregory@capulet.lit both" }, (rosters.get(server:client("samson@capulet.lit/x", { presence = false }))))
		end)

		it("B4.1 is given to the bare JID in any spelling", function()
			assert.is_same(juliets_lines, (rosters.get(pubsub, "Juliet@CAPULET.lit")))
		end)

		it("B4.1 B2.3 is refused without 'get' or 'both', existing or not", function()
			for _, entity in ipairs { writer, watcher } do
				for _, user in ipairs { "juliet@capulet.lit", "rosaline@capulet.lit", "nobody@capulet.lit" } do
					local answer = entity:iq { type = "get", to = user, "<query xmlns='jabber:iq:roster'/>" }
					assert.is_equal("auth forbidden", rosters.outcome(answer))
					assert.is_equal(user, answer.attr.from)
				end
			end
		end)

		it("B4.4 is not there for a user who does not exist, and nothing is created", function()
			local before = rosters.state(server)
			for _, entity in ipairs { pubsub, friar } do
				local answer = entity:iq { type = "get", to = "nobody@capulet.lit", "<query xmlns='jabber:iq:roster'/>" }
				assert.is_equal("cancel item-not-found", rosters.outcome(answer))
			end
			assert.is_same(before, rosters.state(server))
		end)

		it("B4.1 is refused when the storage fails, instead of given as an empty one", function()
			server:eval "prosody.spec_fail = { roster_get = true }"
			local answer = pubsub:iq { type = "get", to = "tybalt@capulet.lit", "<query xmlns='jabber:iq:roster'/>" }
			local outcome = rosters.outcome(answer)
			server:eval "prosody.spec_fail = nil"
			assert.is_equal("wait internal-server-error", outcome)
		end)

		it("B2.2 is not that of another host's user", function()
			for _, entity in ipairs { pubsub, friar } do
				local answer = entity:iq { type = "get", to = "romeo@montague.lit", "<query xmlns='jabber:iq:roster'/>" }
				assert.is_equal("cancel service-unavailable", rosters.outcome(answer))
			end
		end)

		it("B2.3 stays closed to those who are no entity, as the server has it", function()
			local stranger = server:component "stranger.capulet.lit"
			local nurse = server:client "nurse@capulet.lit/kitchen"
			local answers = {}
			local function ask()
				for _, stream in ipairs { stranger, nurse } do
					for _, user in ipairs { "rosaline@capulet.lit", "nobody@capulet.lit" } do
						table.insert(answers, rosters.outcome(stream:iq { type = "get", to = user, "<query xmlns='jabber:iq:roster'/>" }))
						stream:nothing { name = "iq" }
					end
				end
			end
			ask()
			server:unload_module "privilege"
			ask()
			server:load_module "privilege"
			local expected = {}
			for i = 1, 8 do
				expected[i] = "cancel service-unavailable"
			end
			assert.is_same(expected, answers)
			stranger:close()
			nurse:close()
			for _, stream in ipairs { pubsub, reader, writer, watcher, friar, benvolio } do
				stream:sync():drain() -- the advertisements
			end
		end)

		it("B2.4 is no answer to a result or an error", function()
			for _, entity in ipairs { pubsub, writer, friar } do
				for _, kind in ipairs { "result", "error" } do
					entity:send(([[
						<iq type='%s' id='x1' to='juliet@capulet.lit' from='%s'><query xmlns='jabber:iq:roster'/></iq>
					]]):format(kind, entity.jid))
					entity:nothing()
				end
			end
		end)

		it("B4.5 is a user's own as ever, also a privileged user's", function()
			local tests = {
				{ friar, { "romeo@montague.lit none" } },
				{ server:client("gregory@capulet.lit/x", { presence = false }), { "samson@capulet.lit none" } },
			}
			for _, test in ipairs(tests) do
				local client, expected = test[1], test[2]
				local bare = client.jid:match "^[^/]*"
				for _, address in ipairs { false, bare } do
					local lines, ver = rosters.get(client, address or nil)
					assert.is_same(expected, lines)
					assert.is_equal("1", ver)
					assert.is_nil((rosters.get(client, address or nil, "1")))
				end
				-- Having asked, the client gets pushes of the server itself
				assert.is_equal("result", rosters.set(client, nil, "<item jid='tybalt@capulet.lit'/>"))
				assert.is_same({ "tybalt@capulet.lit none" }, (rosters.pushes(client)))
			end
			-- Having never asked, mod_roster's version
			local _, ver = rosters.get(benvolio)
			assert.is_equal("1", ver)
		end)

		it("B4.5 leaves a privileged user's client as it is: to have read others' rosters is not to have read its own", function()
			local client = server:client "friar@capulet.lit/garden"
			client:sync():drain()
			rosters.get(client, "juliet@capulet.lit")
			server:eval "require 'core.rostermanager'.roster_push('friar', 'capulet.lit', 'romeo@montague.lit')"
			client:nothing()
			client:close()
			friar:sync():drain()
		end)
	end)
end

describe("a roster with mod_groups' contacts", function()
	local server, pubsub, groups_file

	setup(function()
		groups_file = os.tmpname()
		environment.write_file(groups_file, "[+House]\njuliet@capulet.lit=Juliet\nnurse@capulet.lit=Nurse\npeter@capulet.lit=Peter\n")
		server = prosody.start {
			modules = { "privilege", "groups" },
			global = ("groups_file = %q"):format(groups_file),
			config = config:gsub("roster_push = false", "roster_push = true"),
			users = { "juliet@capulet.lit", "nurse@capulet.lit", "peter@capulet.lit", "samson@capulet.lit", "gregory@capulet.lit" },
			rosters = {
				["samson@capulet.lit"] = { ["nurse@capulet.lit"] = { subscription = "both", name = "My nurse", groups = { "Dear" } } },
				["juliet@capulet.lit"] = { ["romeo@montague.lit"] = { subscription = "both", name = "R" } },
				["nurse@capulet.lit"] = { ["romeo@montague.lit"] = { subscription = "both", name = "R" } },
			},
		}
		pubsub = server:component "pubsub.capulet.lit"
		pubsub:sync():drain()
	end)

	teardown(function()
		server:stop()
		os.remove(groups_file)
	end)

	local expected = {
		"nurse@capulet.lit both name=Nurse {House}",
		"peter@capulet.lit both name=Peter {House}",
		"romeo@montague.lit both name=R",
	}

	it("B4.1 is what the user gets: the contacts of groups too, and no version", function()
		for i = 1, 2 do
			local lines, ver = rosters.get(pubsub, "juliet@capulet.lit")
			assert.is_same(expected, lines)
			assert.is_nil(ver)
			-- No version is the present one
			for _, other in ipairs { "", "1", "true" } do
				assert.is_same(expected, (rosters.get(pubsub, "juliet@capulet.lit", other)))
			end
			if i == 1 then
				local own_lines, own_ver = rosters.get(server:client("juliet@capulet.lit/x", { presence = false }))
				assert.is_same(expected, own_lines)
				assert.is_true(own_ver == nil or own_ver == "nil") -- so says Prosody 13
			end
		end
		pubsub:nothing()
	end)

	it("B4.3 keeps the user's own contacts who are in groups, too", function()
		for i, item in ipairs {
			"<item jid='benvolio@montague.lit'/>",
			"<item jid='benvolio@montague.lit' subscription='remove'/>",
			"<item jid='romeo@montague.lit' name='Romeo'/>",
		} do
			assert.is_equal("result", rosters.set(pubsub, "samson@capulet.lit", item))
			local stored = rosters.stored(server, "samson")
			assert.is_same({ subscription = "both", name = "My nurse", groups = { Dear = true } }, stored["nurse@capulet.lit"])
			assert.is_same(i == 1, stored["benvolio@montague.lit"] ~= nil)
			assert.is_same(i == 3, stored["romeo@montague.lit"] ~= nil)
			assert.is_nil(stored["peter@capulet.lit"])
		end
		server:drain()
	end)

	it("B4.3 is not changed where what is stored of it cannot be read again", function()
		server:eval "prosody.spec_reads = 0; prosody.spec_fail = { roster_get = function () prosody.spec_reads = prosody.spec_reads + 1; return prosody.spec_reads == 2; end }"
		local outcome = rosters.set(pubsub, "gregory@capulet.lit", "<item jid='romeo@montague.lit'/>")
		server:eval "prosody.spec_fail = nil"
		assert.is_equal("wait internal-server-error", outcome)
		assert.is_nil(rosters.stored(server, "gregory"))
		assert.is_equal("result", rosters.set(pubsub, "gregory@capulet.lit", "<item jid='romeo@montague.lit'/>"))
		assert.is_table(rosters.stored(server, "gregory")["romeo@montague.lit"])
		server:drain()
	end)

	it("B5 pushes what is saved of it, and not the contacts of groups when it is saved as a whole", function()
		assert.is_equal("result", rosters.set(pubsub, "nurse@capulet.lit", "<item jid='romeo@montague.lit' name='Romeo'/>"))
		assert.is_same({ "nurse@capulet.lit: romeo@montague.lit both name=Romeo" }, (rosters.pushes(pubsub)))
		server:eval [[
			local rostermanager = require "core.rostermanager";
			for _, username in ipairs { "nurse", "peter" } do
				assert(rostermanager.save_roster(username, module.host, rostermanager.load_roster(username, module.host)));
			end
		]]
		assert.is_same({}, (rosters.pushes(pubsub)))
	end)
end)
