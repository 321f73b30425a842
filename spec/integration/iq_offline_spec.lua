-- B7.5: iqs in the name of users who are offline, what the server's modules answer them, and what comes of their errors.

local environment = require "spec.support.environment"
local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"
local privileged = require "spec.support.privileged"
local rosters = require "spec.support.rosters"
local xml = require "spec.support.xml"

-- The modules that are installed, of those that answer users' iqs
local modules = { "privilege" }
for _, name in ipairs {
	"private",
	"vcard_legacy",
	"vcard4",
	"mam",
	"lastactivity",
	"time",
	"version",
	"uptime",
	"register",
	"user_account_management",
	"adhoc",
	"admin_adhoc",
	"announce",
	"invites",
	"invites_adhoc",
	"cloud_notify",
	"smacks",
	"csi",
	"csi_simple",
	"offline",
	"external_services",
	"account_activity",
	"bookmarks",
	"tombstones",
	"watchregistrations",
} do
	local folder = environment.source_folder .. "/modules/mod_" .. name
	-- those that are Prosody's own are files, or folders with what else they are made of
	if environment.read_file(folder .. ".lua") or name == "mam" then
		modules[#modules + 1] = name
	end
end

local function has(name)
	for _, listed in ipairs(modules) do
		if listed == name then
			return true
		end
	end
	return false
end

local pubsub, disco = "http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/disco"
local block = "<block xmlns='urn:xmpp:blocking'><item jid='%s'/></block>"

-- Each: the type, the payload, and where it goes if that is not the user's own account
local requests = {
	{ "get", "<query xmlns='jabber:iq:roster'/>" },
	{ "set", "<query xmlns='jabber:iq:roster'><item jid='friar@verona.lit' name='Laurence'><group>Clergy</group></item></query>" },
	{ "set", "<query xmlns='jabber:iq:roster'><item jid='nurse@capulet.lit' subscription='remove'/></query>" },
	{ "set", "<query xmlns='jabber:iq:roster'><item jid='nobody@verona.lit' subscription='remove'/></query>" },
	{ "get", "<blocklist xmlns='urn:xmpp:blocking'/>" },
	{ "set", block:format "tybalt@verona.lit" },
	{ "set", block:format "nurse@capulet.lit" },
	{ "set", block:format "contact@verona.lit" },
	{ "set", block:format "asks@verona.lit" },
	{ "set", "<block xmlns='urn:xmpp:blocking'/>" },
	{ "set", "<unblock xmlns='urn:xmpp:blocking'><item jid='contact@verona.lit'/></unblock>" },
	{ "set", "<unblock xmlns='urn:xmpp:blocking'/>" },
	{ "get", "<query xmlns='jabber:iq:private'><x xmlns='urn:example:x'/></query>" },
	{ "set", "<query xmlns='jabber:iq:private'><x xmlns='urn:example:x'>y</x></query>" },
	{ "set", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>" },
	{ "get", "<vCard xmlns='vcard-temp'/>" },
	{ "set", "<vCard xmlns='vcard-temp'><FN>Juliet</FN></vCard>" },
	{ "get", "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>" },
	{ "set", "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>Juliet</text></fn></vcard>" },
	{ "get", ("<pubsub xmlns='%s'><items node='urn:example:tune'/></pubsub>"):format(pubsub) },
	{
		"set",
		("<pubsub xmlns='%s'><publish node='urn:example:tune'><item id='1'><x xmlns='urn:example:x'/></item></publish></pubsub>"):format(
			pubsub
		),
	},
	{
		"set",
		("<pubsub xmlns='%s'><subscribe node='urn:example:tune' jid='juliet@capulet.lit'/></pubsub>"):format(pubsub),
		"nurse@capulet.lit",
	},
	{ "get", ("<pubsub xmlns='%s#owner'><configure node='urn:example:tune'/></pubsub>"):format(pubsub) },
	{ "set", ("<pubsub xmlns='%s#owner'><delete node='urn:example:tune'/></pubsub>"):format(pubsub) },
	{ "get", ("<query xmlns='%s#info'/>"):format(disco) },
	{ "get", ("<query xmlns='%s#items'/>"):format(disco) },
	{ "get", ("<query xmlns='%s#info'/>"):format(disco), "capulet.lit" },
	{ "get", ("<query xmlns='%s#items'/>"):format(disco), "capulet.lit" },
	{ "get", ("<query xmlns='%s#items' node='http://jabber.org/protocol/commands'/>"):format(disco), "capulet.lit" },
	{ "get", "<query xmlns='jabber:iq:last'/>" },
	{ "get", "<query xmlns='jabber:iq:last'/>", "nurse@capulet.lit" },
	{ "get", "<query xmlns='jabber:iq:last'/>", "capulet.lit" },
	{ "get", "<query xmlns='jabber:iq:version'/>", "capulet.lit" },
	{ "get", "<time xmlns='urn:xmpp:time'/>" },
	{ "get", "<ping xmlns='urn:xmpp:ping'/>" },
	{ "get", "<ping xmlns='urn:xmpp:ping'/>", "capulet.lit" },
	{ "get", "<prefs xmlns='urn:xmpp:mam:2'/>" },
	{ "set", "<prefs xmlns='urn:xmpp:mam:2' default='always'><always><jid>a@b.lit</jid></always><never/></prefs>" },
	{ "get", "<query xmlns='urn:xmpp:mam:2'/>" },
	{ "set", "<query xmlns='urn:xmpp:mam:2' queryid='q'/>" },
	{ "get", "<metadata xmlns='urn:xmpp:mam:2'/>" },
	{ "set", "<enable xmlns='urn:xmpp:carbons:2'/>" },
	{ "set", "<disable xmlns='urn:xmpp:carbons:2'/>" },
	{ "set", "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>" },
	{ "set", "<enable xmlns='urn:xmpp:push:0' jid='push.verona.lit' node='n'/>" },
	{ "set", "<disable xmlns='urn:xmpp:push:0' jid='push.verona.lit'/>" },
	{ "set", "<command xmlns='http://jabber.org/protocol/commands' node='ping' action='execute'/>", "capulet.lit" },
	{ "set", "<command xmlns='http://jabber.org/protocol/commands' node='urn:xmpp:invite#invite' action='execute'/>", "capulet.lit" },
	{
		"set",
		"<command xmlns='http://jabber.org/protocol/commands' node='http://jabber.org/protocol/admin#get-online-users-list' action='execute'/>",
		"capulet.lit",
	},
	{ "get", "<services xmlns='urn:xmpp:extdisco:2'/>", "capulet.lit" },
	{ "get", "<services xmlns='urn:xmpp:extdisco:1'/>", "capulet.lit" },
	{ "get", "<items xmlns='urn:xmpp:saslcert:1'/>" },
	{ "get", "<ip xmlns='urn:xmpp:sic:0'/>" },
	{ "get", "<query xmlns='jabber:iq:register'/>" },
	{ "set", "<query xmlns='jabber:iq:register'><username>juliet</username><password>new</password></query>" },
	{ "get", "<query xmlns='jabber:iq:register'/>", "capulet.lit" },
	{ "set", "<query xmlns='jabber:iq:private'><x xmlns='urn:example:x'/></query>", "nurse@capulet.lit" },
	{ "get", "<x xmlns='urn:example:unknown'/>" },
	{ "set", "<x xmlns='urn:example:unknown'/>", "capulet.lit" },
	{ "set", "<x xmlns='urn:example:raises'/>" },
	{ "set", "<x xmlns='urn:example:raises-later'/>" },
}

local namespaces = {}
for _, request in ipairs(requests) do
	local xmlns = request[2]:match "xmlns='([^']*)'"
	namespaces[xmlns] = ("[%q] = %q"):format(xmlns, "both")
end
local list = {}
for _, text in pairs(namespaces) do
	list[#list + 1] = text
end

local config = ([[
VirtualHost "capulet.lit"
	allow_registration = false
	privileged_entities = {
		["gateway.capulet.lit"] = { roster = "both"; message = "outgoing"; iq = { %s } };
		["mercutio@capulet.lit"] = { iq = { %s } };
		["watcher.capulet.lit"] = { roster = "get" };
	}
Component "gateway.capulet.lit"
	component_secret = "secret"
Component "watcher.capulet.lit"
	component_secret = "secret"
]]):format(table.concat(list, ", "), table.concat(list, ", "))

local juliet, romeo = "juliet@capulet.lit", "romeo@capulet.lit"
local roster = {
	["nurse@capulet.lit"] = { subscription = "both", name = "Nurse" },
	["contact@verona.lit"] = { subscription = "from" },
	[false] = { version = 3, pending = { ["asks@verona.lit"] = true } },
}

describe("B7.5 iqs of users", function()
	local server, gateway, mercutio, watcher, nurse

	before_each(function()
		server = prosody.start {
			config = config,
			modules = modules,
			users = { juliet, romeo, "nurse@capulet.lit", "mercutio@capulet.lit" },
			rosters = {
				[juliet] = roster,
				[romeo] = roster,
				["nurse@capulet.lit"] = { [juliet] = { subscription = "both" }, [romeo] = { subscription = "both" } },
			},
		}
		server:eval [[
			module:hook("iq-set/self/urn:example:raises:x", function ()
				error "a handler failed";
			end);
			module:hook("iq-set/self/urn:example:raises-later:x", function (event)
				event.origin.send(require "util.stanza".reply(event.stanza));
				error("a handler\nfailed later");
			end);
			module:hook("pre-message/bare", function (event)
				if event.stanza:get_child("raises", "urn:example:raises") then
					error {};
				end
			end);
		]]
		gateway, watcher = server:component "gateway.capulet.lit", server:component "watcher.capulet.lit"
		mercutio, nurse = server:client "mercutio@capulet.lit/street", server:client("nurse@capulet.lit/kitchen", { roster = true })
		nurse:sync()
		server:drain()
	end)

	after_each(function()
		server:stop()
	end)

	-- Sends an iq in a user's name, and waits for the answer
	-- @return "result" or the condition, after "refused: " where the module answers itself; and the answer
	local function ask(stream, user, request, id)
		privileged.ask(stream, { to = request[3], request[2] }, { to = user, type = request[1], id = id })
		local answer = stream:expect { name = "iq", id = id }
		local privilege = answer:get_child("privilege", privileged.xmlns)
		if not privilege then
			return "refused: " .. grants.outcome(answer), answer
		end
		local inner = privilege.tags[1].tags[1]
		return grants.outcome(inner), inner
	end

	-- What the server has in memory of a user
	local function in_memory(user)
		return server:eval(([[
			local user = %q;
			local host = prosody.hosts["capulet.lit"];
			return host.sessions[user:match "^[^@]+"] ~= nil, prosody.bare_sessions[user] ~= nil, host.roster_cache ~= nil and host.roster_cache:get(user) ~= nil;
		]]):format(user))
	end

	it(
		"who are offline are answered like those of users who are online, each once, with no traceback, and leave nothing in memory",
		function()
			local romeos = server:client(romeo .. "/orchard", { roster = true })
			romeos:sync():drain()
			server:drain()
			-- what is in there was read before
			server:eval "prosody.hosts['capulet.lit'].roster_cache = nil;"
			for _, stream in ipairs { gateway, mercutio } do
				for i, request in ipairs(requests) do
					local name = request[1] .. " " .. request[2]
					local online = ask(stream, romeo, request, "online" .. i)
					local offline = ask(stream, juliet, request, "offline" .. i)
					-- the last part of what is said of the other user's own name is not the same
					if not request[2]:find("juliet", 1, true) then
						assert.is_equal(online, offline, name)
					end
					assert.is_same({ false, false, false }, { in_memory(juliet) }, name)
				end
				stream:sync()
				for _, stanza in ipairs(stream:drain()) do
					assert.is_nil(stanza.attr.id and stanza.attr.id:match "^o[nf]%a*line%d", tostring(stanza))
				end
				nurse:sync():drain()
			end
		end
	)

	it("of which a handler fails are answered once, with internal-server-error, and the log has one line of it", function()
		local mark = server:mark()
		assert.is_equal("refused: internal-server-error", (ask(gateway, juliet, { "set", "<x xmlns='urn:example:raises'/>" }, "1")))
		assert.is_equal(1, #grants.logged(server:log_since(mark), "error", juliet, "a handler failed"))
		assert.is_equal(
			"refused: internal-server-error",
			(ask(mercutio, "mercutio@capulet.lit", { "set", "<x xmlns='urn:example:raises'/>" }, "1"))
		)
		mark = server:mark()
		assert.is_equal("result", (ask(gateway, juliet, { "set", "<x xmlns='urn:example:raises-later'/>" }, "2")))
		gateway:nothing()
		mercutio:nothing()
		assert.is_equal(1, #grants.logged(server:log_since(mark), "error", juliet, "a handler?failed later"))
		-- and none is under way
		server:reload_module "privilege"
		gateway:nothing { name = "iq" }
	end)

	it("which are messages are refused once where a handler fails", function()
		privileged.send(gateway, { from = juliet, to = "nurse@capulet.lit", "<raises xmlns='urn:example:raises'/>" })
		privileged.expect_refusal(gateway, "internal-server-error", "wait")
		gateway:nothing()
		nurse:nothing()
	end)

	it("who are offline change the roster as a client does: it is saved, pushed to entities and told to contacts", function()
		assert.is_equal("result", (ask(gateway, juliet, requests[2], "set")))
		for _, entity in ipairs { gateway, watcher } do
			local push = entity:expect { name = "iq", type = "set", from = juliet }
			xml.assert_same(
				push.tags[1].tags[1],
				"<item xmlns='jabber:iq:roster' jid='friar@verona.lit' name='Laurence' subscription='none'><group>Clergy</group></item>"
			)
		end
		assert.is_equal("result", (ask(gateway, juliet, requests[3], "remove")))
		watcher:expect { name = "iq", type = "set", from = juliet }
		nurse:expect { name = "presence", type = "unsubscribe", from = juliet }
		nurse:expect { name = "presence", type = "unsubscribed", from = juliet }
		assert.is_equal("item-not-found", (ask(gateway, juliet, requests[4], "again")))
		-- a client that comes now has it
		local julia = server:client(juliet .. "/balcony", { presence = false })
		local items = table.concat((rosters.get(julia)), " ")
		assert.is_truthy(items:find("friar@verona.lit", 1, true), items)
		assert.is_nil(items:find("nurse@capulet.lit", 1, true), items)
	end)

	it("who are offline see what was set in the same breath", function()
		local text = {}
		for i = 1, 20 do
			text[#text + 1] = ("<iq type='set' id='b%d' from='gateway.capulet.lit' to='%s'><query xmlns='jabber:iq:roster'><item jid='c%d@verona.lit'/></query></iq>"):format(
				i,
				juliet,
				i
			)
			if i % 5 == 0 then
				text[#text + 1] = privileged.iq(
					{ id = "p" .. i, type = "set", from = "gateway.capulet.lit", to = juliet },
					{ ("<query xmlns='jabber:iq:roster'><item jid='p%d@verona.lit'/></query>"):format(i) }
				)
			end
		end
		gateway:send(table.concat(text))
		for i = 1, 20 do
			gateway:expect { id = "b" .. i, type = "result" }
		end
		gateway:sync():drain()
		local julia = server:client(juliet .. "/balcony", { presence = false })
		local items = table.concat((rosters.get(julia)), " ")
		for i = 1, 20 do
			assert.is_truthy(items:find("c" .. i .. "@verona.lit", 1, true), items)
			assert.is_truthy(i % 5 > 0 or items:find("p" .. i .. "@verona.lit", 1, true), items)
		end
	end)

	it("who are offline can block: it holds when they come", function()
		assert.is_equal("result", (ask(gateway, juliet, requests[7], "block")))
		local julia = server:client(juliet .. "/balcony", { roster = true })
		julia:sync():drain()
		for _, stream in ipairs { nurse, mercutio } do
			stream:send("<message to='juliet@capulet.lit/balcony' type='chat'><body>psst</body></message>"):sync()
		end
		julia:expect { name = "message", from = mercutio.jid }
		julia:nothing { name = "message" }
		local _, answer = ask(gateway, juliet, requests[5], "list")
		assert.is_truthy(tostring(answer):find("nurse@capulet.lit", 1, true))
	end)

	if has "user_account_management" then
		for _, state in ipairs { "offline", "online" } do
			it("that remove the account are answered with a result: " .. state, function()
				local julia = state == "online" and server:client(juliet .. "/balcony", { roster = true })
				if julia then
					julia:sync()
				end
				server:drain()
				local remove = { "set", "<query xmlns='jabber:iq:register'><remove/></query>" }
				assert.is_equal("result", (ask(gateway, juliet, remove, "remove")))
				assert.is_false(server:eval "return require 'core.usermanager'.user_exists('juliet', 'capulet.lit') == true")
				assert.is_false((in_memory(juliet)))
				if julia then
					assert.has_error(function()
						julia:sync()
					end)
					assert.is_true(julia.closed)
				end
				gateway:sync()
				for _, stanza in ipairs(gateway:drain()) do
					assert.is_not_equal("remove", stanza.attr.id)
				end
				assert.is_equal("refused: item-not-found", (ask(gateway, juliet, remove, "again")))
				nurse:sync():drain()
			end)
		end

		it("that remove the account are answered with the server's error where that fails", function()
			server:eval [[
				local usermanager = require "core.usermanager";
				prosody.hosts["capulet.lit"].users.delete_user = function () return nil, "not today"; end
			]]
			local outcome = ask(gateway, juliet, { "set", "<query xmlns='jabber:iq:register'><remove/></query>" }, "remove")
			assert.is_equal("service-unavailable", outcome)
			gateway:nothing()
		end)
	end
end)
