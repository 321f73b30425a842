-- Behaviour 5, second part: who gets the pushes, who does not, and what becomes of the answers.

local fixture = require "spec.support.fixture"
local rosters = require "spec.support.rosters"
local xml = require "spec.support.xml"

local function config(pubsubs)
	return ([[
VirtualHost "capulet.lit"
	privileged_entities = {
		%s
		["reader.capulet.lit"] = { roster = "get", roster_push = true };
		["quiet.capulet.lit"] = { roster = "both", roster_push = false };
		["writer.capulet.lit"] = { roster = "set" };
		["wrong.capulet.lit"] = { roster = "set", roster_push = true };
		["watcher.capulet.lit"] = { presence = "managed_entity", message = "outgoing" };
		["friar@capulet.lit"] = { roster = "get" };
		["silent@capulet.lit"] = { roster = "get", roster_push = false };
		["benvolio@montague.lit"] = { roster = "both" };
	}
VirtualHost "montague.lit"
]]):format(pubsubs) .. fixture.components("pubsub", "reader", "quiet", "writer", "wrong", "watcher", "stranger")
end

local granted = config [[ ["pubsub.capulet.lit"] = { roster = "both" }; ]]

for _, storage in ipairs { "internal", "sql" } do
	describe("roster pushes with " .. storage .. " storage", function()
		local server, pubsub, reader, friar, benvolio, juliet

		fixture.drained({
			storage = storage,
			config = granted,
			users = {
				"juliet@capulet.lit",
				"peter@capulet.lit",
				"friar@capulet.lit",
				"silent@capulet.lit",
				"nurse@capulet.lit",
				"benvolio@montague.lit",
				"romeo@montague.lit",
			},
		}, {
			"pubsub.capulet.lit",
			"reader.capulet.lit",
			"friar@capulet.lit/cell",
			"benvolio@montague.lit/street",
			{ "juliet@capulet.lit/balcony", roster = true },
		}, function(...)
			server, pubsub, reader, friar, benvolio, juliet = ...
		end)

		after_each(function()
			server:eval "prosody.spec_fail = nil"
		end)

		local changes = 0
		-- Changes the item x@example.com of a user of the host, and returns the text of the push
		local function change(username)
			changes = changes + 1
			server:eval(([[
				local rostermanager = require "core.rostermanager";
				local roster = rostermanager.load_roster(%q, module.host);
				roster["x@example.com"] = { subscription = "to", name = "%d", groups = {} };
				assert(rostermanager.save_roster(%q, module.host, roster, "x@example.com"));
			]]):format(username, changes, username))
			return ("%s@capulet.lit: x@example.com to name=%d"):format(username, changes)
		end

		it("B5 go to every connected entity with 'get' or 'both', to a privileged user's full JID", function()
			local cell = server:client "friar@capulet.lit/garden"
			cell:sync():drain()
			for _, username in ipairs { "juliet", "peter" } do
				local text = change(username)
				for _, entity in ipairs { pubsub, reader, friar, cell, benvolio } do
					assert.is_same({ text }, (rosters.pushes(entity)))
					entity:nothing { name = "iq" }
				end
			end
			juliet:nothing()
			cell:close()
		end)

		it("B5 are iqs from the user's bare JID to the entity with the item, as RFC 6121 has it", function()
			assert.is_equal(
				"result",
				rosters.set(juliet, nil, "<item jid='sampson@contact.lit' name='&lt;N&apos;'><group>&amp;</group></item>")
			)
			for _, entity in ipairs { pubsub, friar } do
				local push = entity:expect { name = "iq", type = "set" }
				local _, ver = rosters.get(juliet)
				xml.assert_same(
					push,
					([[
					<iq type='set' id='%s' from='juliet@capulet.lit' to='%s'>
						<query xmlns='jabber:iq:roster' ver='%s'>
							<item jid='sampson@contact.lit' subscription='none' name="&lt;N'"><group>&amp;</group></item>
						</query>
					</iq>
				]]):format(push.attr.id, entity.jid, ver)
				)
			end
			assert.is_equal("result", rosters.set(juliet, nil, "<item jid='sampson@contact.lit' subscription='remove'/>"))
			for _, entity in ipairs { pubsub, friar } do
				local push = entity:expect { name = "iq", type = "set" }
				local _, ver = rosters.get(juliet)
				xml.assert_same(
					push,
					([[
					<iq type='set' id='%s' from='juliet@capulet.lit' to='%s'>
						<query xmlns='jabber:iq:roster' ver='%s'><item jid='sampson@contact.lit' subscription='remove'/></query>
					</iq>
				]]):format(push.attr.id, entity.jid, ver)
				)
			end
			assert.is_same({ "sampson@contact.lit none name=<N' {&}", "sampson@contact.lit remove" }, (rosters.pushes(juliet)))
		end)

		it("B5 do not go to entities without read access, with pushes off, nor to anybody else", function()
			local others = {}
			for _, name in ipairs { "quiet", "writer", "wrong", "watcher", "stranger" } do
				table.insert(others, server:component(name .. ".capulet.lit"))
			end
			table.insert(others, (server:client "silent@capulet.lit/x"))
			table.insert(others, (server:client "nurse@capulet.lit/x"))
			table.insert(others, (server:client "romeo@montague.lit/x"))
			for _, stream in ipairs(others) do
				stream:sync():drain()
			end
			local texts = { change "juliet", change "peter" }
			assert.is_equal("result", rosters.set(others[2], "peter@capulet.lit", "<item jid='x@example.com' subscription='remove'/>"))
			assert.is_equal("result", rosters.set(others[1], "juliet@capulet.lit", "<item jid='x@example.com' subscription='remove'/>"))
			texts[3], texts[4] = "peter@capulet.lit: x@example.com remove", "juliet@capulet.lit: x@example.com remove"
			table.sort(texts)
			assert.is_same(texts, (rosters.pushes(pubsub)))
			for _, stream in ipairs(others) do
				stream:nothing { name = "iq" }
				stream:close()
			end
		end)

		it("B5 do not go to entities that are not connected, and are not kept for them", function()
			reader:close()
			friar:send "<presence type='unavailable'/>"
			friar:sync():drain()
			benvolio:cut()
			server:wait_log "benvolio@montague.lit/street"
			pubsub:sync():drain()
			local text = change "juliet"
			assert.is_same({ text }, (rosters.pushes(pubsub)))
			pubsub:nothing()
			juliet:nothing()
			friar:nothing()
			reader = server:component "reader.capulet.lit"
			benvolio = server:client "benvolio@montague.lit/street"
			friar:send "<presence/>"
			for _, entity in ipairs { reader, friar, benvolio } do
				assert.is_same({}, (rosters.pushes(entity)))
			end
			text = change "juliet"
			for _, entity in ipairs { pubsub, reader, friar, benvolio } do
				assert.is_same({ text }, (rosters.pushes(entity)))
			end
		end)

		it("B5 B2.2 are of the users of the host that grants, and of no other", function()
			local romeo = server:client("romeo@montague.lit/orchard", { roster = true })
			assert.is_equal("result", rosters.set(romeo, nil, "<item jid='juliet@capulet.lit'/>"))
			assert.is_same({ "juliet@capulet.lit none" }, (rosters.pushes(romeo)))
			for _, entity in ipairs { pubsub, reader, friar, benvolio } do
				entity:nothing { name = "iq" }
			end
			romeo:close()
		end)

		it("B5 are none where saving fails, whoever tries", function()
			change "juliet"
			local read = rosters.stored(server, "juliet")
			change "peter"
			juliet:sync():drain()
			for _, entity in ipairs { pubsub, reader, friar, benvolio } do
				rosters.pushes(entity)
			end
			server:eval "prosody.spec_fail = { roster_set = true }"
			local item = "<item jid='x@example.com' name='failed'/>"
			assert.is_equal("wait internal-server-error", rosters.set(juliet, nil, item))
			assert.is_equal("wait internal-server-error", rosters.set(juliet, nil, "<item jid='x@example.com' subscription='remove'/>"))
			assert.is_equal("wait internal-server-error", rosters.set(pubsub, "peter@capulet.lit", item))
			juliet:send "<presence type='subscribe' to='nurse@capulet.lit'/>"
			local saved = server:eval [[
				local rostermanager, storagemanager = require "core.rostermanager", require "core.storagemanager";
				local roster = rostermanager.load_roster("peter", module.host);
				local name = roster["x@example.com"].name;
				roster["x@example.com"].name = "failed";
				local new = { subscription = "none", groups = {} };
				local saved = {
					(rostermanager.save_roster("peter", module.host, roster));
					(rostermanager.save_roster("peter", module.host, roster, "x@example.com"));
					(storagemanager.open(module.host, "roster", "map"):set("peter", "new@example.com", new));
					(storagemanager.open(module.host, "roster", "keyval"):set("peter", { ["new@example.com"] = new }));
				};
				roster["x@example.com"].name = name;
				return saved;
			]]
			server:eval "prosody.spec_fail = nil"
			assert.is_same({}, saved)
			for _, entity in ipairs { pubsub, reader, friar, benvolio } do
				entity:nothing { name = "iq" }
			end
			assert.is_same(read, rosters.stored(server, "juliet"))
			-- and what is saved later is pushed as before
			local text = change "peter"
			assert.is_same({ text }, (rosters.pushes(pubsub)))
		end)

		it("B5 are answered to nobody: results and errors end in the server", function()
			local nurse = server:client("nurse@capulet.lit/kitchen", { roster = true })
			for _, username in ipairs { "juliet", "peter" } do
				for _, kind in ipairs { "result", "error" } do
					for _, entity in ipairs { pubsub, friar, benvolio } do
						juliet:sync():drain()
						nurse:sync():drain()
						change(username)
						local push = select(2, rosters.pushes(entity))[1]
						local payload = kind == "error"
								and "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
							or ""
						local from = entity.kind == "component" and (" from='%s'"):format(entity.jid) or ""
						local answer = ("<iq type='%s' id='%s' to='%s'%s>%s</iq>"):format(kind, push.attr.id, push.attr.from, from, payload)
						entity:send(answer):send(answer)
						for _, stream in ipairs { entity, juliet, nurse } do
							stream:nothing()
						end
						for _, other in ipairs { pubsub, reader, friar, benvolio } do
							rosters.pushes(other)
							other:nothing()
						end
					end
				end
			end
			nurse:close()
		end)

		it("B5 B1.6 follow the configuration", function()
			server:reload_config(config [[ ["pubsub.capulet.lit"] = { roster = "both", roster_push = false }; ]])
			pubsub:sync():drain()
			local text = change "juliet"
			assert.is_same({ text }, (rosters.pushes(reader)))
			pubsub:nothing()
			server:reload_config(config [[ ["pubsub.capulet.lit"] = { roster = "set" }; ]])
			pubsub:sync():drain()
			change "juliet"
			pubsub:nothing()
			server:reload_config(config "")
			pubsub:sync():drain()
			change "juliet"
			pubsub:nothing()
			server:reload_config(granted)
			pubsub:sync():drain()
			text = change "juliet"
			assert.is_same({ text }, (rosters.pushes(pubsub)))
		end)

		-- A store that another module holds open
		local function hold_store()
			server:eval [[prosody.spec_store = require "core.storagemanager".open(module.host, "roster", "map")]]
		end
		local function change_held(name)
			server:eval(([[
				assert(prosody.spec_store:set("peter", "held@example.com", { subscription = "none", name = %q, groups = {} }));
			]]):format(name))
			return "peter@capulet.lit: held@example.com none name=" .. name
		end

		it("B5 are one for each change also when the module was reloaded, and none when it is unloaded", function()
			hold_store()
			for i = 1, 2 do
				server:reload_module "privilege"
				pubsub:sync():drain()
				friar:sync():drain()
				local text = change "juliet"
				assert.is_same({ text }, (rosters.pushes(pubsub)))
				assert.is_same({ text }, (rosters.pushes(friar)))
				text = change_held(tostring(i))
				assert.is_same({ text }, (rosters.pushes(pubsub)))
			end
			server:unload_module "privilege"
			pubsub:sync():drain()
			change "juliet"
			change_held "unloaded"
			local texts = rosters.pushes(pubsub)
			server:load_module "privilege"
			assert.is_same({}, texts)
			pubsub:sync():drain()
			local text = change "juliet"
			assert.is_same({ text }, (rosters.pushes(pubsub)))
		end)

		it("B5 B1.6 do not reach an entity that lost its permission through a store opened before a reload", function()
			hold_store()
			server:reload_module "privilege"
			server:reload_config(config [[ ["pubsub.capulet.lit"] = { roster = "both", roster_push = false }; ]])
			pubsub:sync():drain()
			change_held "lost"
			pubsub:nothing()
			server:reload_config(granted)
			pubsub:sync():drain()
			local text = change_held "found"
			assert.is_same({ text }, (rosters.pushes(pubsub)))
		end)

		it("B9 change nothing for the user: with the module or without, their clients get the same", function()
			local seen = {}
			for _, action in ipairs { "unload_module", "load_module" } do
				server[action](server, "privilege")
				juliet:sync():drain()
				assert.is_equal("result", rosters.set(juliet, nil, "<item jid='same@example.com' name='S'/>"))
				assert.is_equal("result", rosters.set(juliet, nil, "<item jid='same@example.com' subscription='remove'/>"))
				local texts = rosters.pushes(juliet)
				juliet:nothing()
				table.insert(seen, texts)
			end
			assert.is_same({ "same@example.com none name=S", "same@example.com remove" }, seen[1])
			assert.is_same(seen[1], seen[2])
		end)
	end)
end
