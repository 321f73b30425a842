-- B8.3: the picture that an entity has of the users' contacts follows that of the users.

local socket = require "socket"
local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"

local caught_up, settle, taken = presences.caught_up, presences.settle, presences.taken

local config = [[
VirtualHost "capulet.lit"
	privilege_probe_rate = 0
	privileged_entities = {
		["pubsub.capulet.lit"] = { roster = "get"; roster_push = false; presence = "roster" };
		["late.capulet.lit"] = { roster = "get"; roster_push = false; presence = "roster" };
	}
VirtualHost "verona.lit"
Component "pubsub.capulet.lit" component_secret = "secret"
Component "late.capulet.lit" component_secret = "secret"
Component "gateway.capulet.lit" component_secret = "secret"
Component "stale.capulet.lit" component_secret = "secret"
]]

-- Both have each other in the roster. What a spec removes for good is a contact or a user of its own.
local contacts_of = {
	["juliet@capulet.lit"] = {
		"ben@montague.lit",
		"shared@montague.lit",
		"removed@montague.lit",
		"kept@montague.lit",
		"cancels@montague.lit",
		"forgotten@montague.lit",
		"mercutio@verona.lit",
		"deleted@verona.lit",
		"gateway.capulet.lit",
		"1@gateway.capulet.lit",
		"friend@stale.capulet.lit",
		"2@gateway.capulet.lit",
	},
	["nurse@capulet.lit"] = { "shared@montague.lit", "kept@montague.lit", "2@gateway.capulet.lit" },
	["leaver@capulet.lit"] = { "abram@montague.lit" },
	["lost@capulet.lit"] = { "balthasar@montague.lit" },
}
for i = 1, 150 do
	table.insert(contacts_of["juliet@capulet.lit"], ("many%03d@gateway.capulet.lit"):format(i))
end

-- The rosters and accounts of the first server, and those of the second one
local rosters, users = { {}, {} }, { {}, { "marker@montague.lit" } }

local function add(jid, contact)
	local number = jid:find("@montague.lit", 1, true) and 2 or 1
	if not rosters[number][jid] then
		rosters[number][jid] = {}
		table.insert(users[number], jid)
	end
	rosters[number][jid][contact] = { subscription = "both" }
end

for user, contacts in pairs(contacts_of) do
	for _, contact in ipairs(contacts) do
		add(user, contact)
		if not contact:find("%f[%w]gateway.capulet.lit") and not contact:find("@stale.", 1, true) then
			add(contact, user)
		end
	end
end

describe("contacts who are not there any more", function()
	local capulet, montague, marker, pubsub, gateway, juliet

	local function connect_marker()
		marker = montague:client("marker@montague.lit/x", { presence = false })
	end

	setup(function()
		capulet = prosody.start { config = config, users = users[1], rosters = rosters[1], s2s = true }
		montague = presences.start_montague(users[2], rosters[2])
		pubsub = capulet:component "pubsub.capulet.lit"
		gateway = capulet:component "gateway.capulet.lit"
		juliet = capulet:client "juliet@capulet.lit/balcony"
		connect_marker()
	end)

	teardown(function()
		capulet:stop()
		montague:stop()
	end)

	-- Waits until the first server has handled all that the second one sent
	local function reach()
		presences.reach(marker)
		settle(capulet)
	end

	-- Takes the presences that an entity was told, sorted, without those of users
	local function told(entity)
		reach()
		local list = presences.of_contacts(taken(entity))
		table.sort(list)
		return list
	end

	-- The same of so many contacts that it goes on by timers: waits until all have come, and shows that no more do
	local function told_many(entity, count)
		local list, deadline = {}, socket.gettime() + 20
		repeat
			for _, description in ipairs(told(entity)) do
				table.insert(list, description)
			end
		until #list >= count or socket.gettime() > deadline
		assert.is_equal(count, #list)
		assert.is_same({}, told(entity))
		table.sort(list)
		return list
	end

	-- What an entity is told that connects now
	local function told_at_connection()
		local late = capulet:component "late.capulet.lit"
		local list = presences.of_contacts(caught_up(late))
		late:close()
		return list
	end

	local function forge(...)
		presences.forge(montague, ...)
	end

	local function error_of(condition, kind)
		return ("<error type='%s'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"):format(kind or "cancel", condition)
	end

	-- Changes a roster on the first server as its owner's client would
	local function set_roster(client, item)
		local answer = client:iq { type = "set", ("<query xmlns='jabber:iq:roster'>%s</query>"):format(item) }
		assert.is_equal("result", answer.attr.type)
	end

	local function block(client, jid, action)
		local answer = client:iq {
			type = "set",
			("<%s xmlns='urn:xmpp:blocking'><item jid='%s'/></%s>"):format(action or "block", jid, action or "block"),
		}
		assert.is_equal("result", answer.attr.type)
	end

	-- What ends is what is remembered: begin with nothing
	before_each(function()
		reach()
		for _, server in ipairs { capulet, montague } do
			for _, stream in ipairs(server.streams) do
				if stream ~= pubsub and stream ~= gateway and stream ~= juliet and stream ~= marker then
					stream:close()
				end
			end
			server.streams = server == capulet and { pubsub, gateway, juliet } or { marker }
		end
		told(pubsub)
		juliet:sync():drain()
		assert.is_same({}, told_at_connection())
		told(pubsub)
	end)

	it("B8.3 one that cancels the subscription is unavailable", function()
		local cancels = montague:client "cancels@montague.lit/x"
		assert.is_same({ "cancels@montague.lit/x" }, told(pubsub))
		cancels:send "<presence type='unsubscribed' to='juliet@capulet.lit'/>"
		assert.is_same({ "cancels@montague.lit/x unavailable" }, told(pubsub))
		assert.is_same({}, told_at_connection())
	end)

	it("B8.3 one whose account is deleted, on another host of the server, is unavailable", function()
		capulet:client "deleted@verona.lit/x"
		assert.is_same({ "deleted@verona.lit/x" }, told(pubsub))
		capulet:eval([[assert(require "core.usermanager".delete_user("deleted", "verona.lit"))]])
		assert.is_same({ "deleted@verona.lit/x unavailable" }, told(pubsub))
		assert.is_same({}, told_at_connection())
	end)

	it("B8.3 one that a user removes is unavailable, unless another user sees it", function()
		montague:client "removed@montague.lit/x"
		montague:client "kept@montague.lit/x"
		assert.is_same({ "kept@montague.lit/x", "removed@montague.lit/x" }, told(pubsub))
		set_roster(juliet, "<item jid='removed@montague.lit' subscription='remove'/>")
		set_roster(juliet, "<item jid='kept@montague.lit' subscription='remove'/>")
		assert.is_same({ "removed@montague.lit/x unavailable" }, told(pubsub))
		assert.is_same({ "kept@montague.lit/x" }, told_at_connection())
		montague.streams[#montague.streams]:close()
		assert.is_same({ "kept@montague.lit/x unavailable" }, told(pubsub))
	end)

	it("B8.3 one to whom a user ends the subscription is unavailable", function()
		local ben = montague:client "ben@montague.lit/x"
		assert.is_same({ "ben@montague.lit/x" }, told(pubsub))
		juliet:send "<presence type='unsubscribe' to='ben@montague.lit'/>"
		juliet:sync()
		assert.is_same({ "ben@montague.lit/x unavailable" }, told(pubsub))
		juliet:send "<presence type='subscribe' to='ben@montague.lit'/>"
		juliet:sync()
		reach()
		ben:send "<presence type='subscribed' to='juliet@capulet.lit'/>"
		assert.is_same({ "ben@montague.lit/x" }, told(pubsub))
	end)

	it("B8.3 one of a user who is deleted is unavailable", function()
		montague:client "abram@montague.lit/x"
		assert.is_same({ "abram@montague.lit/x" }, told(pubsub))
		capulet:eval([[assert(require "core.usermanager".delete_user("leaver", "capulet.lit"))]])
		assert.is_same({ "abram@montague.lit/x unavailable" }, told(pubsub))
		assert.is_same({}, told_at_connection())
	end)

	it("B8.3 one whose server is gone is unavailable, whoever's presence comes back as an error", function()
		for _, condition in ipairs { "remote-server-not-found", "remote-server-timeout", "service-unavailable", "item-not-found" } do
			for _, to in ipairs { "juliet@capulet.lit", "juliet@capulet.lit/balcony" } do
				forge("ben@montague.lit/a", "juliet@capulet.lit")
				forge("ben@montague.lit/b", "juliet@capulet.lit")
				assert.is_same({ "ben@montague.lit/a", "ben@montague.lit/b" }, told(pubsub))
				forge("ben@montague.lit", to, "error", error_of(condition))
				assert.is_same({ "ben@montague.lit/a unavailable", "ben@montague.lit/b unavailable" }, told(pubsub))
				assert.is_same({}, told_at_connection())
			end
		end
		-- of one client alone
		forge("ben@montague.lit/a", "juliet@capulet.lit")
		forge("ben@montague.lit/b", "juliet@capulet.lit")
		told(pubsub)
		forge("ben@montague.lit/a", "juliet@capulet.lit", "error", error_of "service-unavailable")
		assert.is_same({ "ben@montague.lit/a unavailable" }, told(pubsub))
		forge("ben@montague.lit/b", "juliet@capulet.lit", "unavailable")
	end)

	it("B8.3 an error that is about one user hides the contact from that user alone", function()
		forge("shared@montague.lit/a", "nurse@capulet.lit")
		assert.is_same({ "shared@montague.lit/a" }, told(pubsub))
		forge("shared@montague.lit", "juliet@capulet.lit", "error", error_of("forbidden", "auth"))
		assert.is_same({}, told(pubsub))
		forge("shared@montague.lit", "nurse@capulet.lit", "error", error_of("forbidden", "auth"))
		assert.is_same({ "shared@montague.lit/a unavailable" }, told(pubsub))
	end)

	it("B8.3 an error that says that the server is gone ends the contact for all, one from the contact for the user who gets it", function()
		for _, condition in ipairs { "service-unavailable", "item-not-found", "gone" } do
			for _, from in ipairs { "shared@montague.lit", "shared@montague.lit/a" } do
				forge("shared@montague.lit/a", "nurse@capulet.lit")
				forge("shared@montague.lit/a", "juliet@capulet.lit")
				assert.is_same({ "shared@montague.lit/a" }, told(pubsub))
				forge(from, "juliet@capulet.lit/balcony", "error", error_of(condition))
				assert.is_same({}, told(pubsub))
				assert.is_same({ "shared@montague.lit/a" }, told_at_connection())
				forge(from, "nurse@capulet.lit", "error", error_of(condition))
				assert.is_same({ "shared@montague.lit/a unavailable" }, told(pubsub))
			end
		end
		for _, condition in ipairs { "remote-server-not-found", "remote-server-timeout" } do
			forge("shared@montague.lit/a", "nurse@capulet.lit")
			forge("shared@montague.lit/a", "juliet@capulet.lit")
			assert.is_same({ "shared@montague.lit/a" }, told(pubsub))
			forge("shared@montague.lit", "juliet@capulet.lit/balcony", "error", error_of(condition))
			assert.is_same({ "shared@montague.lit/a unavailable" }, told(pubsub))
		end
	end)

	-- With mod_smacks, the contact's server returns what was broadcast to a client of the contact that is gone for good
	it("B8.3 one whose other client did not acknowledge a user's presence stays available", function()
		forge("ben@montague.lit/a", "juliet@capulet.lit")
		forge("ben@montague.lit/b", "juliet@capulet.lit")
		assert.is_same({ "ben@montague.lit/a", "ben@montague.lit/b" }, told(pubsub))
		for _, to in ipairs { "juliet@capulet.lit/balcony", "juliet@capulet.lit" } do
			forge("ben@montague.lit", to, "error", error_of "recipient-unavailable")
			assert.is_same({}, told(pubsub))
			assert.is_same({ "ben@montague.lit/a", "ben@montague.lit/b" }, told_at_connection())
		end
		forge("ben@montague.lit/b", "juliet@capulet.lit/balcony", "error", error_of "recipient-unavailable")
		assert.is_same({ "ben@montague.lit/b unavailable" }, told(pubsub))
		forge("ben@montague.lit/a", "juliet@capulet.lit", "unavailable")
		assert.is_same({ "ben@montague.lit/a unavailable" }, told(pubsub))
	end)

	it("B8.3 those of a component that disconnects are unavailable, also after a reload of the module", function()
		for _, reload in ipairs { false, true } do
			gateway:send "<presence from='gateway.capulet.lit' to='juliet@capulet.lit'/>"
			gateway:send "<presence from='1@gateway.capulet.lit/x' to='juliet@capulet.lit'/>"
			gateway:send "<presence from='2@gateway.capulet.lit' to='nurse@capulet.lit'/>"
			gateway:send "<presence from='2@gateway.capulet.lit' to='juliet@capulet.lit'/>"
			gateway:sync()
			settle(capulet)
			for _, name in ipairs { "gateway.capulet.lit", "1@gateway.capulet.lit/x", "2@gateway.capulet.lit" } do
				pubsub:expect { name = "presence", from = name, type = false }
			end
			if reload then
				capulet:reload_module "privilege"
				settle(capulet)
				pubsub:sync():drain()
			end
			gateway:cut()
			for _, name in ipairs { "gateway.capulet.lit", "1@gateway.capulet.lit/x", "2@gateway.capulet.lit" } do
				pubsub:expect { name = "presence", from = name, type = "unavailable", to = "pubsub.capulet.lit" }
			end
			pubsub:nothing { name = "presence", type = "unavailable" }
			assert.is_same({}, told_at_connection())
			capulet:reload_module "privilege"
			assert.is_same({}, told_at_connection())
			gateway = capulet:component "gateway.capulet.lit"
			table.remove(capulet.streams)
			table.insert(capulet.streams, gateway)
		end
	end)

	it("B8.3 those that end while the entity is told of all again, after a reload of the module, are unavailable", function()
		gateway:send "<presence from='2@gateway.capulet.lit' to='nurse@capulet.lit'/>":sync()
		assert.is_same({ "2@gateway.capulet.lit" }, told(pubsub))
		-- before the first roster is read
		capulet:eval [[
			prosody.spec_fail = { roster_get = function ()
				prosody.spec_fail = nil;
				prosody.hosts["gateway.capulet.lit"].events.fire_event("component-disconnected", { session = prosody.hosts["gateway.capulet.lit"].modules.component.session });
			end };
		]]
		capulet:reload_module "privilege"
		assert.is_same({ "2@gateway.capulet.lit unavailable" }, told(pubsub))
		assert.is_same({}, told_at_connection())
	end)

	it("B8.3 those of a component that disconnects are unavailable, however many there are", function()
		local expected, gone = {}, {}
		for i = 1, 150 do
			expected[i] = ("many%03d@gateway.capulet.lit/x"):format(i)
			gone[i] = expected[i] .. " unavailable"
			gateway:send(("<presence from='%s' to='juliet@capulet.lit'/>"):format(expected[i]))
		end
		gateway:sync()
		assert.is_same(expected, told(pubsub))
		gateway:close()
		assert.is_same(gone, told_many(pubsub, 150))
		assert.is_same({}, told_at_connection())
		gateway = capulet:component "gateway.capulet.lit"
	end)

	-- Has 150 contacts of a component there; what ends at once is less
	local function all_come()
		for i = 1, 150 do
			gateway:send(("<presence from='many%03d@gateway.capulet.lit/x' to='juliet@capulet.lit'/>"):format(i))
		end
		gateway:sync()
		assert.is_equal(150, #told(pubsub))
	end

	it("B8.3 those of a component that disconnects are unavailable, also where the module is reloaded right then", function()
		all_come()
		capulet:eval [[
			prosody.hosts["gateway.capulet.lit"].events.fire_event("component-disconnected", { session = prosody.hosts["gateway.capulet.lit"].modules.component.session });
			require "core.modulemanager".reload("capulet.lit", "privilege");
		]]
		local list = told_many(pubsub, 150)
		for i = 1, 150 do
			assert.is_equal(("many%03d@gateway.capulet.lit/x unavailable"):format(i), list[i])
		end
		assert.is_same({}, told_at_connection())
	end)

	it("B8.3 those of a component are not ended by a stream of it that does not count any more", function()
		local old = capulet:component "stale.capulet.lit"
		capulet:eval [[
			local hostmanager = require "core.hostmanager";
			assert(hostmanager.deactivate "stale.capulet.lit");
			assert(hostmanager.activate "stale.capulet.lit");
		]]
		local new = capulet:component "stale.capulet.lit"
		new:send "<presence from='friend@stale.capulet.lit/x' to='juliet@capulet.lit'/>":sync()
		assert.is_same({ "friend@stale.capulet.lit/x" }, told(pubsub))
		old:cut()
		settle(capulet)
		assert.is_same({}, told(pubsub))
		new:close()
		assert.is_same({ "friend@stale.capulet.lit/x unavailable" }, told(pubsub))
	end)

	it("B8.3 those of a component that comes back before all have ended are told again", function()
		all_come()
		capulet:eval [[
			prosody.hosts["gateway.capulet.lit"].events.fire_event("component-disconnected", { session = prosody.hosts["gateway.capulet.lit"].modules.component.session });
			for i = 1, 150 do
				prosody.core_post_stanza(prosody.hosts["gateway.capulet.lit"], require "util.stanza".presence {
					from = ("many%03d@gateway.capulet.lit/x"):format(i), to = "juliet@capulet.lit",
				});
			end
		]]
		told_many(pubsub, 300)
		assert.is_equal(150, #told_at_connection())
		gateway:close()
		told_many(pubsub, 150)
		assert.is_same({}, told_at_connection())
		gateway = capulet:component "gateway.capulet.lit"
	end)

	it("B8.3 those of a user who is deleted are unavailable, however many there are, and none is the next account's of the name", function()
		capulet:eval [[
			assert(require "core.usermanager".create_user("many", "secret", module.host));
			local roster = { [false] = { version = 1, pending = {} } };
			for i = 1, 150 do
				roster[("m%03d@montague.lit"):format(i)] = { subscription = "to", groups = {} };
			end
			assert(require "core.storagemanager".open(module.host, "roster", "keyval"):set("many", roster));
			prosody.hosts[module.host].roster_cache = nil;
		]]
		local function come(kind)
			capulet:eval(([[
				for i = 1, 150 do
					prosody.core_post_stanza(prosody.hosts["verona.lit"], require "util.stanza".presence {
						from = ("m%%03d@montague.lit/x"):format(i), to = "many@capulet.lit", type = %s,
					});
				end
			]]):format(kind or "nil"))
		end
		come()
		assert.is_equal(150, #told(pubsub))
		capulet:eval [[
			assert(require "core.usermanager".delete_user("many", "capulet.lit"));
			assert(require "core.usermanager".create_user("many", "secret", "capulet.lit"));
			for i = 1, 150 do
				prosody.core_post_stanza(prosody.hosts["verona.lit"], require "util.stanza".presence {
					from = ("m%03d@montague.lit/x"):format(i), to = "many@capulet.lit",
				});
			end
		]]
		assert.is_equal("m001@montague.lit/x unavailable", told_many(pubsub, 150)[1])
		assert.is_same({}, told_at_connection())
		capulet:eval [[assert(require "core.usermanager".delete_user("many", "capulet.lit"))]]
	end)

	it("B8.3 those of a component are not ended by a stream that says to be it", function()
		gateway:send "<presence from='1@gateway.capulet.lit/x' to='juliet@capulet.lit'/>":sync()
		assert.is_same({ "1@gateway.capulet.lit/x" }, told(pubsub))
		for _, secret in ipairs { "wrong", "secret" } do
			assert.has_error(function()
				capulet:component("gateway.capulet.lit", secret)
			end)
			capulet.streams[#capulet.streams]:cut()
			table.remove(capulet.streams)
		end
		assert.is_same({}, told(pubsub))
		gateway:send "<presence type='unavailable' from='1@gateway.capulet.lit/x' to='juliet@capulet.lit'/>":sync()
		assert.is_same({ "1@gateway.capulet.lit/x unavailable" }, told(pubsub))
	end)

	it("B8.3 those of a host of the server that is deactivated are unavailable", function()
		capulet:client "mercutio@verona.lit/x"
		assert.is_same({ "mercutio@verona.lit/x" }, told(pubsub))
		-- one that is not heard to leave
		capulet:eval([[
			local stanza = require "util.stanza".presence({ from = "mercutio@verona.lit/y", to = "juliet@capulet.lit" });
			prosody.core_post_stanza(prosody.hosts["verona.lit"], stanza);
		]])
		assert.is_same({ "mercutio@verona.lit/y" }, told(pubsub))
		capulet:eval [[assert(require "core.hostmanager".deactivate "verona.lit")]]
		assert.is_same({ "mercutio@verona.lit/x unavailable", "mercutio@verona.lit/y unavailable" }, told(pubsub))
		assert.is_same({}, told_at_connection())
		capulet:eval [[assert(require "core.hostmanager".activate "verona.lit")]]
	end)

	it("B8.3 one that is blocked and leaves is unavailable, and is told again only when a user sees it", function()
		local ben = montague:client "ben@montague.lit/x"
		assert.is_same({ "ben@montague.lit/x" }, told(pubsub))
		block(juliet, "ben@montague.lit")
		ben:send "<presence type='unavailable'/>"
		assert.is_same({ "ben@montague.lit/x unavailable" }, told(pubsub))
		assert.is_same({}, told_at_connection())
		-- what the user does not get is not told
		ben:send "<presence/>"
		assert.is_same({}, told(pubsub))
		block(juliet, "ben@montague.lit", "unblock")
		ben:send "<presence><show>away</show></presence>"
		assert.is_same({ "ben@montague.lit/x away" }, told(pubsub))
	end)

	it("B8.3 one that is blocked by one user is told for the other", function()
		local shared = montague:client "shared@montague.lit/x"
		told(pubsub)
		local nurse = capulet:client "nurse@capulet.lit/x"
		block(nurse, "shared@montague.lit")
		forge("shared@montague.lit/y", "nurse@capulet.lit")
		assert.is_same({}, told(pubsub))
		block(nurse, "shared@montague.lit", "unblock")
		forge("shared@montague.lit/y", "nurse@capulet.lit")
		assert.is_same({ "shared@montague.lit/y" }, told(pubsub))
		forge("shared@montague.lit/y", "nurse@capulet.lit", "unavailable")
		assert.is_same({ "shared@montague.lit/y unavailable" }, told(pubsub))
		shared:close()
	end)

	it("B8.3 one that is invisible to one user and seen by another is available", function()
		forge("shared@montague.lit/x", "juliet@capulet.lit")
		forge("shared@montague.lit/x", "nurse@capulet.lit")
		assert.is_same({ "shared@montague.lit/x" }, told(pubsub))
		forge("shared@montague.lit/x", "juliet@capulet.lit", "unavailable")
		assert.is_same({}, told(pubsub))
		assert.is_same({ "shared@montague.lit/x" }, told_at_connection())
		forge("shared@montague.lit/x", "nurse@capulet.lit", nil, "<show>away</show>")
		assert.is_same({ "shared@montague.lit/x away" }, told(pubsub))
		forge("shared@montague.lit", "juliet@capulet.lit", "unavailable")
		assert.is_same({}, told(pubsub))
		forge("shared@montague.lit/x", "nurse@capulet.lit", "unavailable")
		assert.is_same({ "shared@montague.lit/x unavailable" }, told(pubsub))
		assert.is_same({}, told_at_connection())
	end)

	it("B8.3 of one who becomes unavailable to one of two users as a bare JID, what the other sees stays", function()
		forge("shared@montague.lit/x", "juliet@capulet.lit")
		forge("shared@montague.lit/x", "nurse@capulet.lit")
		forge("shared@montague.lit/y", "juliet@capulet.lit")
		assert.is_same({ "shared@montague.lit/x", "shared@montague.lit/y" }, told(pubsub))
		forge("shared@montague.lit", "juliet@capulet.lit", "unavailable")
		assert.is_same({ "shared@montague.lit/y unavailable" }, told(pubsub))
		forge("shared@montague.lit", "nurse@capulet.lit", "unavailable")
		assert.is_same({ "shared@montague.lit unavailable" }, told(pubsub))
	end)

	it("B8.3 no ghost survives the next connection, whoever changed the rosters", function()
		forge("forgotten@montague.lit/x", "juliet@capulet.lit")
		forge("balthasar@montague.lit/x", "lost@capulet.lit")
		assert.is_same({ "balthasar@montague.lit/x", "forgotten@montague.lit/x" }, told(pubsub))
		-- past this server: an importer, say
		capulet:eval [[
			local rostermanager = require "core.rostermanager";
			rostermanager.load_roster("juliet", "capulet.lit")["forgotten@montague.lit"] = nil;
			local function path(store) return prosody.paths.data .. "/capulet%2elit/" .. store .. "/lost.dat"; end
			assert(os.remove(path "accounts"));
			assert(os.remove(path "roster"));
			prosody.hosts["capulet.lit"].roster_cache = nil;
		]]
		assert.is_same({}, told_at_connection())
		-- those who are connected hear of it, too
		assert.is_same({ "balthasar@montague.lit/x unavailable", "forgotten@montague.lit/x unavailable" }, told(pubsub))
		assert.is_same({}, told_at_connection())
	end)

	it("B8.3 those of a server that has stopped are unavailable when a presence comes back from it", function()
		forge("shared@montague.lit/x", "juliet@capulet.lit")
		assert.is_same({ "shared@montague.lit/x" }, told(pubsub))
		montague:kill()
		finally(function()
			montague:restart()
			connect_marker()
		end)
		repeat
			local connected = capulet:eval "return prosody.hosts[module.host].s2sout['montague.lit'] ~= nil"
		until not connected
		juliet:send "<presence><show>away</show></presence>"
		juliet:expect({ name = "presence", type = "error", from = "shared@montague.lit" }, 20)
		pubsub:expect { name = "presence", from = "shared@montague.lit/x", type = "unavailable" }
		assert.is_same({}, told_at_connection())
	end)
end)
