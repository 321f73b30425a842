-- Behaviour 4, second part: entities change rosters.

local fixture = require "spec.support.fixture"
local rosters = require "spec.support.rosters"
local xml = require "spec.support.xml"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = { roster = "both", roster_push = false };
		["writer.capulet.lit"] = { roster = "set" };
		["friar@capulet.lit"] = { roster = "set" };
		["benvolio@montague.lit"] = { roster = "set" };
	}
VirtualHost "montague.lit"
]] .. fixture.components("pubsub", "writer", "gateway")

local subscriptions = { "none", "to", "from", "both" }

-- Contacts of the gateway, one for each kind of subscription
local function every_kind()
	local roster = { ["pending@gateway.capulet.lit"] = { subscription = "none", name = "pending" } }
	for _, subscription in ipairs(subscriptions) do
		roster[subscription .. "@gateway.capulet.lit"] = { subscription = subscription, groups = { "old", "older" }, name = "old" }
	end
	for _, subscription in ipairs { "none", "from" } do
		roster["asked-" .. subscription .. "@gateway.capulet.lit"] = { subscription = subscription, ask = "subscribe", approved = "true" }
	end
	roster[false] = { version = 1, pending = { ["pending@gateway.capulet.lit"] = true, ["stranger@gateway.capulet.lit"] = true } }
	return roster
end

for _, storage in ipairs { "internal", "sql" } do
	describe("a roster that an entity changes in " .. storage .. " storage", function()
		local server, pubsub, writer, gateway, friar, benvolio, juliet, nurse
		local users = { offline = "peter", online = "juliet" }

		fixture.drained({
			storage = storage,
			config = config,
			users = {
				"juliet@capulet.lit",
				"nurse@capulet.lit",
				"peter@capulet.lit",
				"samson@capulet.lit",
				"gregory@capulet.lit",
				"friar@capulet.lit",
				"tybalt@capulet.lit",
				"rosaline@capulet.lit",
				"benvolio@montague.lit",
			},
			rosters = {
				["juliet@capulet.lit"] = every_kind(),
				["peter@capulet.lit"] = every_kind(),
				["samson@capulet.lit"] = every_kind(),
				["gregory@capulet.lit"] = every_kind(),
				["tybalt@capulet.lit"] = {
					["nurse@capulet.lit"] = { subscription = "both" },
					["rosaline@capulet.lit"] = { subscription = "both" },
				},
				["nurse@capulet.lit"] = { ["tybalt@capulet.lit"] = { subscription = "both", name = "Tybalt" } },
				["rosaline@capulet.lit"] = { ["tybalt@capulet.lit"] = { subscription = "both" } },
			},
		}, {
			"pubsub.capulet.lit",
			"writer.capulet.lit",
			"gateway.capulet.lit",
			"friar@capulet.lit/cell",
			"benvolio@montague.lit/street",
			{ "juliet@capulet.lit/balcony", roster = true },
			{ "nurse@capulet.lit/kitchen", roster = true },
		}, function(...)
			server, pubsub, writer, gateway, friar, benvolio, juliet, nurse = ...
		end)

		-- Each request gets one answer, and nobody hears anything that was not expected
		after_each(function()
			for _, stream in ipairs { pubsub, writer, gateway, friar, benvolio, juliet, nurse } do
				stream:nothing()
			end
		end)

		-- The line of one contact
		local function contact_of(username, contact)
			for _, line in ipairs((rosters.get(pubsub, username .. "@capulet.lit"))) do
				if line:match "^%S+" == contact then
					return line
				end
			end
			return nil
		end

		-- Sets with an entity, and checks that the server answers, has saved it, and pushes it to the user's clients
		local function set(entity, username, contact, rest, expected)
			local version = rosters.stored(server, username)[false].version
			local item = ("<item jid='%s' %s"):format(contact, rest)
			assert.is_equal("result", rosters.set(entity, username .. "@capulet.lit", item))
			assert.is_equal(expected, contact_of(username, contact))
			local stored = rosters.stored(server, username)
			assert.is_equal(version + 1, stored[false].version)
			if username == "juliet" then
				local pushes, stanzas = rosters.pushes(juliet)
				assert.is_same({ expected or contact .. " remove" }, pushes)
				assert.is_equal(tostring(version + 1), stanzas[1].tags[1].attr.ver)
			end
			return stored[contact]
		end

		for state, username in pairs(users) do
			it("B4.2 gets a new contact with name and groups, not subscribed, of a user who is " .. state, function()
				local item = set(
					writer,
					username,
					"romeo@montague.lit",
					"name='Romeo &amp; &lt;&apos;é'><group>Montague's</group><group>&lt;G></group></item>",
					"romeo@montague.lit none name=Romeo & <'é {<G>|Montague's}"
				)
				assert.is_same({ name = "Romeo & <'é", subscription = "none", groups = { ["Montague's"] = true, ["<G>"] = true } }, item)
			end)

			it("B4.2 gets new contacts ready subscribed as it is said of a user who is " .. state, function()
				for _, subscription in ipairs(subscriptions) do
					local contact = "new-" .. subscription .. "@gateway.capulet.lit"
					local item =
						set(writer, username, contact, ("subscription='%s'/>"):format(subscription), contact .. " " .. subscription)
					assert.is_same({ subscription = subscription, groups = {} }, item)
				end
				for i, subscription in ipairs { "", "pending", "subscribed", "None", "Remove" } do
					local contact = ("odd-%d@gateway.capulet.lit"):format(i)
					set(writer, username, contact, ("subscription='%s'/>"):format(subscription), contact .. " none")
				end
			end)

			it("B4.2 has name and groups replaced, and the subscription kept unless it is said, of a user who is " .. state, function()
				for _, subscription in ipairs(subscriptions) do
					local contact = subscription .. "@gateway.capulet.lit"
					local unchanged = contact .. " " .. subscription
					set(writer, username, contact, ("subscription='%s'/>"):format(subscription), unchanged)
					set(
						writer,
						username,
						contact,
						"name='new'><group>new</group><group>old</group></item>",
						unchanged .. " name=new {new|old}"
					)
					set(writer, username, contact, "/>", unchanged)
					set(writer, username, contact, "name='' subscription='pending'><group/><group>g</group></item>", unchanged .. " {g}")
					set(writer, username, contact, "subscription='' name='n' ask='subscribe' approved='true'/>", unchanged .. " name=n")
					assert.is_nil(rosters.stored(server, username)[contact].approved)
					for _, other in ipairs(subscriptions) do
						set(writer, username, contact, ("subscription='%s'/>"):format(other), contact .. " " .. other)
					end
					set(writer, username, contact, ("subscription='%s'/>"):format(subscription), unchanged)
				end
			end)

			it("B4.2 keeps ask and pre-approval of a user who is " .. state, function()
				for _, subscription in ipairs { "none", "from" } do
					local contact = "asked-" .. subscription .. "@gateway.capulet.lit"
					for _, said in ipairs { "", "subscription='none'", "subscription='from'", ("subscription='%s'"):format(subscription) } do
						local item = set(
							writer,
							username,
							contact,
							said .. " name='" .. #said .. "'/>",
							("%s %s ask=subscribe name=%d"):format(contact, said:match "'(.*)'" or subscription, #said)
						)
						assert.is_equal("subscribe", item.ask)
						assert.is_equal("true", item.approved)
					end
				end
			end)

			it("B4.4 keeps the requests of contacts and other metadata of a user who is " .. state, function()
				server:eval(([[
					local rostermanager = require "core.rostermanager";
					local roster = rostermanager.load_roster(%q, module.host);
					roster[false].spec = "kept";
					assert(rostermanager.save_roster(%q, module.host, roster));
				]]):format(username, username))
				set(writer, username, "pending@gateway.capulet.lit", "name='new'/>", "pending@gateway.capulet.lit none name=new")
				set(writer, username, "false", "name='new'/>", "false none name=new")
				set(writer, username, "false", "subscription='remove'/>", nil)
				local metadata = rosters.stored(server, username)[false]
				assert.is_same({ ["pending@gateway.capulet.lit"] = true, ["stranger@gateway.capulet.lit"] = true }, metadata.pending)
				assert.is_equal("kept", metadata.spec)
			end)
		end

		it("B4.2 gets the contact under its prepared JID, which may be a domain", function()
			for _, spelling in ipairs { "MERCUTIO@Montague.LIT", "mercutio@montague.lit" } do
				assert.is_equal(
					"result",
					rosters.set(writer, "Juliet@Capulet.lit", ("<item jid='%s' name='%s'/>"):format(spelling, spelling))
				)
				local line = "mercutio@montague.lit none name=" .. spelling
				assert.is_same({ line }, (rosters.pushes(juliet)))
				assert.is_equal(line, contact_of("juliet", "mercutio@montague.lit"))
			end
			set(writer, "juliet", "gateway.capulet.lit", "subscription='both'/>", "gateway.capulet.lit both")
		end)

		it("B4.2 is changed by whoever has 'set' or 'both': components, users of this host and of others", function()
			for i, entity in ipairs { pubsub, writer, friar, benvolio } do
				local name = "name=" .. i
				set(entity, "juliet", "abraham@montague.lit", ("name='%d'/>"):format(i), "abraham@montague.lit none " .. name)
				set(entity, "peter", "abraham@montague.lit", ("name='%d'/>"):format(i), "abraham@montague.lit none " .. name)
				set(entity, "peter", "abraham@montague.lit", "subscription='remove'/>", nil)
			end
		end)

		it("B4.2 is pushed to the user's clients that have asked for it, and to no other", function()
			local uninterested = server:client("juliet@capulet.lit/garden", { presence = false })
			local second = server:client("juliet@capulet.lit/hall", { presence = false, roster = true })
			set(writer, "juliet", "sampson@capulet.lit", "name='S'/>", "sampson@capulet.lit none name=S")
			assert.is_same({ "sampson@capulet.lit none name=S" }, (rosters.pushes(second)))
			uninterested:nothing()
			uninterested:close()
			second:close()
		end)

		-- The presences that came, in their order, as comparable texts without the sender's resource. Those that tell that
		-- the user's clients are unavailable are left out: when a client removes the contact, Prosody 0.11 forgets them.
		local function presences(stream)
			local list = {}
			for _, stanza in ipairs(stream:sync():drain()) do
				assert.is_equal("presence", stanza.name)
				assert.is_equal(0, #stanza.tags)
				if stanza.attr.type ~= "unavailable" then
					table.insert(list, ("%s %s"):format(stanza.attr.type, stanza.attr.to))
				end
			end
			return list
		end

		for _, state in ipairs { "offline", "online" } do
			it("B4.2 loses a contact as if a user did it who is " .. state .. ": the contact is told as the subscription was", function()
				local by_entity, by_user = "samson", "gregory"
				local contacts, told, items = {}, {}, {}
				for contact, item in pairs(every_kind()) do
					if contact then
						table.insert(contacts, contact)
						table.insert(
							items,
							("[%q] = { subscription = %q, ask = %s, groups = {} };"):format(
								contact,
								item.subscription,
								item.ask and '"subscribe"' or "nil"
							)
						)
					end
				end
				for _, username in ipairs { by_entity, by_user } do
					server:eval(([[
						local rostermanager = require "core.rostermanager";
						local roster = rostermanager.load_roster(%q, module.host);
						for contact, item in pairs { %s } do
							roster[contact] = item;
						end
						assert(rostermanager.save_roster(%q, module.host, roster));
					]]):format(username, table.concat(items), username))
				end
				-- The same removals, by a user's own client with the same roster
				local own = server:client(by_user .. "@capulet.lit/x", { presence = state == "online" })
				local client = state == "online" and server:client(by_entity .. "@capulet.lit/x", { roster = true })
				for _, stream in ipairs { gateway, own, client or nil } do
					stream:sync():drain()
				end
				for _, contact in ipairs(contacts) do
					local removal = ("<item jid='%s' subscription='remove'/>"):format(contact)
					assert.is_equal("result", rosters.set(own, nil, removal))
					local expected = presences(gateway)
					assert.is_equal("result", rosters.set(writer, by_entity .. "@capulet.lit", removal))
					told[contact] = presences(gateway)
					assert.is_same(expected, told[contact])
					assert.is_nil(contact_of(by_entity, contact))
					assert.is_nil(rosters.stored(server, by_entity)[contact])
					if client then
						assert.is_same({ contact .. " remove" }, (rosters.pushes(client)))
						client:nothing()
					end
					for _, text in ipairs(told[contact]) do
						assert.is_equal(contact, text:match " (.*)$")
					end
				end
				local function types(contact)
					return table.concat(told[contact .. "@gateway.capulet.lit"], ","):gsub(" [^,]*", "")
				end
				assert.is_equal("", (types "none"))
				assert.is_equal("unsubscribe", (types "to"))
				assert.is_equal("unsubscribed", (types "from"))
				assert.is_equal("unsubscribed,unsubscribe", (types "both"))
				assert.is_equal("unsubscribe", (types "asked-none"))
				assert.is_equal("unsubscribed,unsubscribe", (types "asked-from"))
				assert.is_equal("unsubscribed", (types "pending"))
				own:close()
				if client then
					client:close()
				end
				gateway:sync():drain()
			end)
		end

		it("B4.2 loses a contact in the name of the user's bare JID", function()
			set(writer, "juliet", "both@gateway.capulet.lit", "subscription='both'/>", "both@gateway.capulet.lit both")
			set(writer, "juliet", "both@gateway.capulet.lit", "subscription='remove'/>", nil)
			gateway:expect { name = "presence", type = "unavailable", from = "juliet@capulet.lit/balcony" }
			for _, kind in ipairs { "unsubscribe", "unsubscribed" } do
				xml.assert_same(
					gateway:expect { type = kind },
					("<presence type='%s' from='juliet@capulet.lit' to='both@gateway.capulet.lit'/>"):format(kind)
				)
			end
		end)

		it("B4.2 loses a contact of this host, whose client is told and whose own roster changes, also offline", function()
			for _, contact in ipairs { "nurse", "rosaline" } do
				assert.is_equal(
					"result",
					rosters.set(pubsub, "tybalt@capulet.lit", ("<item jid='%s@capulet.lit' subscription='remove'/>"):format(contact))
				)
			end
			for _, kind in ipairs { "unsubscribe", "unsubscribed" } do
				nurse:expect { name = "presence", type = kind, from = "tybalt@capulet.lit", to = "nurse@capulet.lit" }
			end
			assert.is_same({ "tybalt@capulet.lit from name=Tybalt", "tybalt@capulet.lit none name=Tybalt" }, (rosters.pushes(nurse)))
			assert.is_equal("tybalt@capulet.lit none name=Tybalt", contact_of("nurse", "tybalt@capulet.lit"))
			assert.is_equal("tybalt@capulet.lit none", contact_of("rosaline", "tybalt@capulet.lit"))
			assert.is_equal("none", rosters.stored(server, "rosaline")["tybalt@capulet.lit"].subscription)
			assert.is_same({}, (rosters.get(pubsub, "tybalt@capulet.lit")))
			nurse:sync():drain()
		end)

		it("B4.3 is saved when the answer comes", function()
			local item = "<item jid='kept@example.com' name='kept' subscription='both'/>"
			assert.is_equal("result", rosters.set(writer, "juliet@capulet.lit", item))
			assert.is_equal("result", rosters.set(writer, "peter@capulet.lit", item))
			server:kill()
			server:restart()
			for _, username in ipairs { "juliet", "peter" } do
				assert.is_equal("both", rosters.stored(server, username)["kept@example.com"].subscription)
			end
			pubsub = server:component "pubsub.capulet.lit"
			assert.is_equal("kept@example.com both name=kept", contact_of("juliet", "kept@example.com"))
			assert.is_equal("kept@example.com both name=kept", contact_of("peter", "kept@example.com"))
			writer, gateway = server:component "writer.capulet.lit", server:component "gateway.capulet.lit"
			friar, benvolio = server:client "friar@capulet.lit/cell", server:client "benvolio@montague.lit/street"
			juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
			nurse = server:client("nurse@capulet.lit/kitchen", { roster = true })
			for _, stream in ipairs { pubsub, writer, gateway, friar, benvolio, juliet, nurse } do
				stream:sync():drain()
			end
		end)
	end)
end
