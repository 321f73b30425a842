-- Behaviour 5, first part: which changes of rosters are pushed to entities, whoever makes them.

local fixture = require "spec.support.fixture"
local rosters = require "spec.support.rosters"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = { roster = "both" };
		["reader.capulet.lit"] = { roster = "get" };
	}
VirtualHost "montague.lit"
]] .. fixture.components("pubsub", "reader", "gateway")

for _, storage in ipairs { "internal", "sql" } do
	describe("a roster push to entities from " .. storage .. " storage", function()
		local server, pubsub, reader, gateway

		fixture.running({
			storage = storage,
			config = config,
			users = {
				"juliet@capulet.lit",
				"nurse@capulet.lit",
				"peter@capulet.lit",
				"samson@capulet.lit",
				"tybalt@capulet.lit",
				"abram@capulet.lit",
				"romeo@montague.lit",
				"potpan@capulet.lit",
				"rosaline@capulet.lit",
			},
		}, {
			"pubsub.capulet.lit",
			"reader.capulet.lit",
			"gateway.capulet.lit",
		}, function(...)
			server, pubsub, reader, gateway = ...
			pubsub:sync():drain()
			reader:sync():drain()
		end)

		-- Checks the pushes since the last time, and that nothing else came
		local function pushed(...)
			local expected = { ... }
			table.sort(expected)
			for _, entity in ipairs { pubsub, reader } do
				assert.is_same(expected, (rosters.pushes(entity)))
				entity:nothing()
			end
		end

		-- Makes a user's roster, without looking at the pushes
		local function seed(username, items)
			local code = {}
			for contact, item in pairs(items) do
				table.insert(code, ("[%q] = { groups = {}, %s };"):format(contact, item))
			end
			server:eval(([[
				local rostermanager, username = require "core.rostermanager", %q;
				local items = { %s };
				local roster = rostermanager.load_roster(username, module.host);
				for contact in pairs(roster) do
					if contact then
						roster[contact] = items[contact];
					end
				end
				for contact, item in pairs(items) do
					roster[contact] = item;
				end
				roster[false].pending = {};
				assert(rostermanager.save_roster(username, module.host, roster));
			]]):format(username, table.concat(code)))
			pubsub:sync():drain()
			reader:sync():drain()
		end

		-- Runs code in the server, with rostermanager and open, which opens a store of rosters
		local function run(code)
			return server:eval([[
				local rostermanager, host = require "core.rostermanager", module.host;
				local function open(kind)
					return assert(require "core.storagemanager".open(host, "roster", kind));
				end
			]] .. code)
		end

		it("B5 has the item as saved when a user's client adds, changes and removes it", function()
			local juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
			local steps = {
				{
					"<item jid='Romeo@montague.lit' name='R &amp; J'><group>&lt;B></group><group>A</group></item>",
					"romeo@montague.lit none name=R & J {<B>|A}",
				},
				{ "<item jid='romeo@montague.lit'/>", "romeo@montague.lit none" },
				{ "<item jid='romeo@montague.lit' name='R'/>", "romeo@montague.lit none name=R" },
				{ "<item jid='romeo@montague.lit' name='R'><group>A</group></item>", "romeo@montague.lit none name=R {A}" },
				{ "<item jid='romeo@montague.lit' name='R'><group>B</group></item>", "romeo@montague.lit none name=R {B}" },
				{
					"<item jid='romeo@montague.lit' name='R'><group>B</group><group>C</group></item>",
					"romeo@montague.lit none name=R {B|C}",
				},
				{ "<item jid='romeo@montague.lit' subscription='remove'/>", "romeo@montague.lit remove" },
			}
			for _, step in ipairs(steps) do
				assert.is_equal("result", rosters.set(juliet, nil, step[1]))
				assert.is_same({ step[2] }, (rosters.pushes(juliet)))
				local texts, stanzas = rosters.pushes(reader)
				assert.is_same({ "juliet@capulet.lit: " .. step[2] }, texts)
				-- RFC 6121, 2.6: the version that has the change
				assert.is_equal(select(2, rosters.get(juliet)), stanzas[1].tags[1].attr.ver)
				assert.is_same(texts, (rosters.pushes(pubsub)))
				pushed()
			end
			juliet:close()
		end)

		it("B5 is the same when an entity changes it, of a user online or offline, and goes to that entity too", function()
			local juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
			for _, user in ipairs { "juliet@capulet.lit", "peter@capulet.lit" } do
				assert.is_equal("result", rosters.set(pubsub, user, "<item jid='x@gateway.capulet.lit' subscription='both' name='X'/>"))
				pushed(user .. ": x@gateway.capulet.lit both name=X")
				assert.is_equal(
					"result",
					rosters.set(pubsub, user, "<item jid='x@gateway.capulet.lit' subscription='from'><group>G</group></item>")
				)
				pushed(user .. ": x@gateway.capulet.lit from {G}")
				assert.is_equal("result", rosters.set(pubsub, user, "<item jid='x@gateway.capulet.lit' subscription='remove'/>"))
				pushed(user .. ": x@gateway.capulet.lit remove")
			end
			juliet:close()
		end)

		for _, online in ipairs { true, false } do
			local contact_is = online and "online" or "offline"

			it("B5 tells subscriptions between users of the host, the contact " .. contact_is, function()
				seed("juliet", {})
				seed("nurse", {})
				local juliet = server:client "juliet@capulet.lit/balcony"
				local nurse
				local function present(is)
					if nurse and not is then
						nurse:close()
						nurse = nil
					elseif is and not nurse then
						nurse = server:client "nurse@capulet.lit/kitchen"
					end
				end
				local function send(stream, kind, user)
					stream:send(("<presence type='%s' to='%s@capulet.lit'/>"):format(kind, user))
				end
				present(online)
				send(juliet, "subscribe", "nurse")
				pushed "juliet@capulet.lit: nurse@capulet.lit none ask=subscribe" -- and no item of the nurse
				present(true)
				if not online then
					juliet:close()
				end
				send(nurse, "subscribed", "juliet")
				pushed("juliet@capulet.lit: nurse@capulet.lit to", "nurse@capulet.lit: juliet@capulet.lit from")
				send(nurse, "subscribe", "juliet")
				pushed "nurse@capulet.lit: juliet@capulet.lit from ask=subscribe"
				if not online then
					juliet = server:client "juliet@capulet.lit/balcony"
				end
				present(online)
				send(juliet, "subscribed", "nurse")
				pushed("juliet@capulet.lit: nurse@capulet.lit both", "nurse@capulet.lit: juliet@capulet.lit both")
				send(juliet, "unsubscribe", "nurse")
				pushed("juliet@capulet.lit: nurse@capulet.lit from", "nurse@capulet.lit: juliet@capulet.lit to")
				send(juliet, "unsubscribed", "nurse")
				pushed("juliet@capulet.lit: nurse@capulet.lit none", "nurse@capulet.lit: juliet@capulet.lit none")
				send(juliet, "subscribe", "nurse")
				pushed "juliet@capulet.lit: nurse@capulet.lit none ask=subscribe"
				present(true)
				send(nurse, "unsubscribed", "juliet") -- refuses, which takes nothing from her own item
				pushed "juliet@capulet.lit: nurse@capulet.lit none"
				present(online)
				seed("juliet", { ["nurse@capulet.lit"] = "subscription = 'both'" })
				seed("nurse", { ["juliet@capulet.lit"] = "subscription = 'both'" })
				assert.is_equal("result", rosters.set(juliet, nil, "<item jid='nurse@capulet.lit' subscription='remove'/>"))
				pushed(
					"juliet@capulet.lit: nurse@capulet.lit remove",
					"nurse@capulet.lit: juliet@capulet.lit from",
					"nurse@capulet.lit: juliet@capulet.lit none"
				)
				juliet:close()
				present(false)
			end)

			it("B5 tells subscriptions of contacts from elsewhere, the user " .. contact_is, function()
				local item = "x@gateway.capulet.lit"
				local peter = online and server:client "peter@capulet.lit/x"
				local function send(kind)
					gateway:send(("<presence type='%s' from='%s' to='peter@capulet.lit'/>"):format(kind, item))
				end
				local function expect(text)
					pushed("peter@capulet.lit: " .. item .. " " .. text)
				end
				for subscription, steps in pairs {
					none = { subscribed = "to name=X", unsubscribed = "none name=X" },
					from = { subscribed = "both name=X", unsubscribed = "from name=X" },
				} do
					for kind, expected in pairs(steps) do
						seed("peter", { [item] = ("name = 'X', ask = 'subscribe', subscription = %q"):format(subscription) })
						send(kind)
						expect(expected)
					end
				end
				for subscription, steps in pairs {
					to = { unsubscribed = "none name=X {G}" },
					from = { unsubscribe = "none name=X {G}" },
					both = { unsubscribed = "from name=X {G}", unsubscribe = "to name=X {G}" },
				} do
					for kind, expected in pairs(steps) do
						seed("peter", { [item] = ("name = 'X', groups = { G = true }, subscription = %q"):format(subscription) })
						send(kind)
						expect(expected)
					end
				end
				if peter then
					peter:close()
				end
			end)

			it("B5 is none for what changes no item, the user " .. contact_is, function()
				local peter = online and server:client "peter@capulet.lit/x"
				seed("peter", {
					["known@gateway.capulet.lit"] = "subscription = 'to', name = 'K', groups = { A = true, B = true }",
					["friend@gateway.capulet.lit"] = "subscription = 'both'",
				})
				local function send(name, kind)
					gateway:send(("<presence type='%s' from='%s@gateway.capulet.lit' to='peter@capulet.lit'/>"):format(kind, name))
				end
				-- Requests with no item, with one, again, of somebody subscribed, taken back
				for _, name in ipairs { "stranger", "known", "stranger", "friend" } do
					send(name, "subscribe")
				end
				pushed()
				assert.is_same(
					{ ["known@gateway.capulet.lit"] = true, ["stranger@gateway.capulet.lit"] = true },
					run [[
					local pending = {};
					for jid in pairs(rostermanager.load_roster("peter", host)[false].pending) do
						pending[jid] = true;
					end
					return pending;
				]]
				)
				send("stranger", "unsubscribe")
				for _, kind in ipairs { "subscribed", "unsubscribed", "unsubscribe" } do
					send("nobody", kind)
				end
				send("friend", "subscribed")
				pushed()
				if peter then
					peter:send "<presence type='unsubscribed' to='known@gateway.capulet.lit'/>"
					send("stranger", "subscribe")
					peter:sync():send "<presence type='unsubscribed' to='stranger@gateway.capulet.lit'/>"
					peter:send "<presence type='subscribe' to='friend@gateway.capulet.lit'/>"
					peter:send "<presence type='unsubscribe' to='nobody@gateway.capulet.lit'/>"
					assert.is_equal(
						"result",
						rosters.set(peter, nil, "<item jid='known@gateway.capulet.lit' name='K'><group>B</group><group>A</group></item>")
					)
					rosters.get(peter)
				end
				assert.is_equal(
					"result",
					rosters.set(
						pubsub,
						"peter@capulet.lit",
						"<item jid='known@gateway.capulet.lit' name='K' subscription='to'><group>A</group><group>B</group><group>A</group></item>"
					)
				)
				rosters.get(pubsub, "peter@capulet.lit")
				pushed()
				run [[
					local roster = rostermanager.load_roster("peter", host);
					roster[false].spec = "metadata";
					assert(rostermanager.save_roster("peter", host, roster));
					assert(rostermanager.save_roster("peter", host, roster, "known@gateway.capulet.lit"));
					assert(rostermanager.save_roster("peter", host, roster, "nobody@gateway.capulet.lit"));
					assert(open "map":set("peter", false, roster[false]));
				]]
				pushed()
				assert.is_equal("metadata", rosters.stored(server, "peter")[false].spec)
				if peter then
					peter:close()
				end
			end)
		end

		it("B5 tells what code in the server changes with the roster manager", function()
			local juliet = server:client "juliet@capulet.lit/balcony"
			seed("juliet", {})
			run [[
				local session = prosody.full_sessions["juliet@capulet.lit/balcony"];
				assert(rostermanager.add_to_roster(session, "a@example.com", { subscription = "to", groups = { G = true } }));
			]]
			pushed "juliet@capulet.lit: a@example.com to {G}"
			run [[assert(rostermanager.remove_from_roster(prosody.full_sessions["juliet@capulet.lit/balcony"], "a@example.com"))]]
			pushed "juliet@capulet.lit: a@example.com remove"
			juliet:close()
			seed(
				"peter",
				{ ["asked@example.com"] = "ask = 'subscribe', subscription = 'none'", ["from@example.com"] = "subscription = 'from'" }
			)
			run [[assert(rostermanager.set_contact_pending_out("peter", host, "new@example.com"))]]
			pushed "peter@capulet.lit: new@example.com none ask=subscribe"
			run [[assert(rostermanager.process_inbound_subscription_approval("peter", host, "asked@example.com"))]]
			pushed "peter@capulet.lit: asked@example.com to"
			run [[assert(rostermanager.unsubscribed("peter", host, "from@example.com"))]]
			pushed "peter@capulet.lit: from@example.com none"
			-- the item in memory is changed in place
			run [[
				local roster = rostermanager.load_roster("peter", host);
				roster["from@example.com"].name = "N";
				roster["from@example.com"].groups.G = true;
				assert(rostermanager.save_roster("peter", host, roster, "from@example.com"));
			]]
			pushed "peter@capulet.lit: from@example.com none name=N {G}"
		end)

		it("B5 tells what an admin's command changes", function()
			local command = "return rawget(require 'core.modulemanager'.get_module(module.host, 'roster'), '%s')"
			if not server:eval(command:format "subscribe_both" .. " ~= nil") then
				pending "B5 tells what an admin's command changes (needs Prosody 13)"
			end
			seed("peter", {})
			seed("samson", {})
			server:eval(command:format "subscribe_both" .. "('peter@capulet.lit', 'samson@capulet.lit')")
			local texts = rosters.pushes(pubsub)
			assert.is_same(texts, (rosters.pushes(reader)))
			texts = "\n" .. table.concat(texts, "\n") .. "\n"
			assert.is_truthy(texts:find "\npeter@capulet.lit: samson@capulet.lit both\n")
			assert.is_truthy(texts:find "\nsamson@capulet.lit: peter@capulet.lit both\n")
			server:eval(command:format "unsubscribe" .. "('peter@capulet.lit', 'samson@capulet.lit')")
			pushed("peter@capulet.lit: samson@capulet.lit from", "samson@capulet.lit: peter@capulet.lit to")
		end)

		it("B5 tells each item that is new, changed or gone when a roster is saved as a whole, and no other", function()
			local before = {
				["same@example.com"] = "subscription = 'both', name = 'S', groups = { A = true, B = true }",
				["changed@example.com"] = "subscription = 'both', groups = { A = true, B = true }",
				["gone@example.com"] = "subscription = 'both'",
			}
			local function expect()
				pushed(
					"samson@capulet.lit: changed@example.com both {A}",
					"samson@capulet.lit: gone@example.com remove",
					"samson@capulet.lit: new@example.com none name=N"
				)
			end
			for _, save in ipairs {
				"local roster = rostermanager.load_roster('samson', host); change(roster); assert(rostermanager.save_roster('samson', host, roster));",
				"local roster = open 'keyval':get 'samson'; change(roster); assert(open 'keyval':set('samson', roster));",
				"local roster = open():get 'samson'; change(roster); assert(open():set('samson', roster));",
			} do
				seed("samson", before)
				run([[
					local function change(roster)
						roster["changed@example.com"].groups.B = nil;
						roster["gone@example.com"] = nil;
						roster["new@example.com"] = { subscription = "none", name = "N", groups = {} };
					end
				]] .. save)
				expect()
			end
			run [[assert(open "keyval":set("samson", nil))]]
			pushed(
				"samson@capulet.lit: changed@example.com remove",
				"samson@capulet.lit: new@example.com remove",
				"samson@capulet.lit: same@example.com remove"
			)
		end)

		it("B5 tells each item that is saved on its own", function()
			seed("samson", { ["old@example.com"] = "subscription = 'both'", ["same@example.com"] = "subscription = 'both'" })
			run [[assert(open "map":set("samson", "new@example.com", { subscription = "to", groups = {}, name = "N" }))]]
			pushed "samson@capulet.lit: new@example.com to name=N"
			run [[assert(open "map":set("samson", "new@example.com", nil))]]
			pushed "samson@capulet.lit: new@example.com remove"
			run [[
				local store = open "map";
				assert(store:set_keys("samson", {
					["new@example.com"] = { subscription = "from", groups = {} };
					["old@example.com"] = store.remove; ["never@example.com"] = store.remove;
					["same@example.com"] = { subscription = "both", groups = {} };
				}));
			]]
			pushed("samson@capulet.lit: new@example.com from", "samson@capulet.lit: old@example.com remove")
		end)

		it("B5 tells each item that is saved through a store for both", function()
			if run [[return open "keyval+".name == "null"]] then
				pending "B5 tells each item that is saved through a store for both (needs Prosody 13)"
			end
			seed("samson", { ["same@example.com"] = "subscription = 'both'", ["old@example.com"] = "subscription = 'to'" })
			run [[assert(open "keyval+":set_key("samson", "new@example.com", { subscription = "none", groups = {} }))]]
			pushed "samson@capulet.lit: new@example.com none"
			run [[assert(open "keyval+":set_key("samson", "same@example.com", { subscription = "both", groups = {} }))]]
			pushed()
			run [[assert(open "keyval+":set_keys("samson", { ["old@example.com"] = { subscription = "from", groups = {} } }))]]
			pushed "samson@capulet.lit: old@example.com from"
			run [[assert(open "keyval+":set("samson", { ["same@example.com"] = { subscription = "both", groups = {} } }))]]
			pushed("samson@capulet.lit: new@example.com remove", "samson@capulet.lit: old@example.com remove")
		end)

		it("B5 tells the items of a contact that is deleted from all rosters", function()
			if not run [[return open "map".delete_all ~= nil]] then
				pending "B5 tells the items of a contact that is deleted from all rosters (needs Prosody 0.12)"
			end
			seed("samson", { ["spam@example.com"] = "subscription = 'both'", ["same@example.com"] = "subscription = 'both'" })
			seed("tybalt", { ["spam@example.com"] = "subscription = 'none'" })
			seed("nurse", { ["same@example.com"] = "subscription = 'both'" })
			run [[assert(open "map":delete_all "spam@example.com")]]
			pushed("samson@capulet.lit: spam@example.com remove", "tybalt@capulet.lit: spam@example.com remove")
		end)

		it("B5 is none for very old metadata that is brought up to date", function()
			local old = [[
				assert(open "keyval":set("%s", { ["a@example.com"] = { subscription = "both", groups = {} }, pending = { ["b@example.com"] = true } }));
			]]
			run(old:format "abram")
			pushed "abram@capulet.lit: a@example.com both"
			run [[assert(rostermanager.load_roster("abram", host)[false].pending["b@example.com"])]]
			assert.is_nil(rosters.stored(server, "abram").pending)
			pushed()
		end)

		for _, online in ipairs { true, false } do
			it("B5 tells that the items are gone of a user who is deleted while " .. (online and "online" or "offline"), function()
				local username = online and "rosaline" or "potpan"
				seed(username, { ["nurse@capulet.lit"] = "subscription = 'both'", ["x@gateway.capulet.lit"] = "subscription = 'none'" })
				seed("nurse", { [username .. "@capulet.lit"] = "subscription = 'both', name = 'N'" })
				local client = online and server:client(username .. "@capulet.lit/x")
				server:eval(("assert(require 'core.usermanager'.delete_user(%q, module.host))"):format(username))
				local user = username .. "@capulet.lit"
				pushed(
					user .. ": nurse@capulet.lit remove",
					user .. ": x@gateway.capulet.lit remove",
					"nurse@capulet.lit: " .. user .. " from name=N",
					"nurse@capulet.lit: " .. user .. " none name=N"
				)
				if client then
					client:cut()
				end
			end)
		end
	end)
end
