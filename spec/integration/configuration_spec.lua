-- B1: what the configuration grants, and what is wrong with it. Read anew while the server runs: configuration_reload_spec.lua.

local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"

-- Entries of privileged_entities that grant something, if not all that they name.
-- entity: the key, the user romeo@montague.lit where it is left out; told: what is granted all the same;
-- each problem is a list of what the error has to name, next to host and entity.
local entries = {
	{ "nothing at all", "{}" },
	{ '"none" everywhere', '{ roster = "none", roster_push = false, message = "none", presence = "none", iq = { ["urn:a"] = "none" } }' },
	{ "reading rosters, with pushes by default", '{ roster = "get" }', told = "roster=get push=true" },
	{ "changing rosters, without pushes by default", '{ roster = "set" }', told = "roster=set push=false" },
	{ "both, with pushes by default", '{ roster = "both" }', told = "roster=both push=true" },
	{ "pushes said to be on", '{ roster = "get", roster_push = true }', told = "roster=get push=true" },
	{ "pushes said to be off", '{ roster = "both", roster_push = false }', told = "roster=both push=false" },
	{ "messages", '{ message = "outgoing" }', told = "message=outgoing" },
	{ "the presences of users", '{ presence = "managed_entity" }', told = "presence=managed_entity" },
	{
		"the presences of contacts next to reading rosters",
		'{ roster = "get", presence = "roster" }',
		told = "roster=get push=true presence=roster",
	},
	{
		"the presences of contacts next to both",
		'{ roster = "both", presence = "roster" }',
		told = "roster=both push=true presence=roster",
	},
	{
		"iqs, each namespace on its own",
		'{ iq = { ["urn:a"] = "get", ["urn:b"] = "set", ["urn:c"] = "both", ["urn:d"] = "none" } }',
		told = "iq(urn:a)=get iq(urn:b)=set iq(urn:c)=both",
	},
	{
		"everything",
		'{ roster = "both", message = "outgoing", presence = "roster", iq = { ["urn:a"] = "set" } }',
		told = "roster=both push=true message=outgoing presence=roster iq(urn:a)=set",
	},
}

local access = { '"none"', '"get"', '"set"', '"both"' }

-- A problem: the option, the value, and what is allowed
local function problem(option, value, allowed)
	local texts = { option, value }
	for _, text in ipairs(allowed or {}) do
		texts[#texts + 1] = text
	end
	return texts
end

local mistakes = {
	{
		"an unknown access to rosters",
		'{ roster = "all", message = "outgoing" }',
		told = "message=outgoing",
		problem("roster", '"all"', access),
	},
	{
		"an unknown value for messages",
		'{ message = "both", roster = "get" }',
		told = "roster=get push=true",
		problem("message", '"both"', { '"none"', '"outgoing"' }),
	},
	{
		"an unknown value for presences",
		'{ presence = "all", message = "outgoing" }',
		told = "message=outgoing",
		problem("presence", '"all"', { '"none"', '"managed_entity"', '"roster"' }),
	},
	{
		"an unknown access to a namespace",
		'{ iq = { ["urn:a"] = "all", ["urn:b"] = "set" } }',
		told = "iq(urn:b)=set",
		problem("urn:a", '"all"', access),
	},
	{
		"a value in another letter case",
		'{ roster = "Both", message = "outgoing" }',
		told = "message=outgoing",
		problem("roster", '"Both"', access),
	},
	{
		"values that would be directives to a formatter",
		'{ roster = "%s%d", message = "outgoing" }',
		told = "message=outgoing",
		problem("roster", '"%s%d"', access),
	},
	{ "an unknown key", '{ rosters = "both", message = "outgoing" }', told = "message=outgoing", problem("rosters", '"both"') },
	{ "an unknown key that is no name", '{ "roster", message = "outgoing" }', told = "message=outgoing", problem("1", '"roster"') },
	{
		"a boolean as access to rosters",
		'{ roster = true, message = "outgoing" }',
		told = "message=outgoing",
		problem("roster", "true", access),
	},
	{
		"false as access to rosters",
		'{ roster = false, message = "outgoing" }',
		told = "message=outgoing",
		problem("roster", "false", access),
	},
	{
		"a table as access to rosters",
		'{ roster = { "get", "set" }, message = "outgoing" }',
		told = "message=outgoing",
		problem("roster", '{ "get", … }', access),
	},
	{
		"a number for messages",
		'{ message = 1, roster = "get" }',
		told = "roster=get push=true",
		problem("message", "1", { '"none"', '"outgoing"' }),
	},
	{
		"a table for presences",
		'{ presence = {}, message = "outgoing" }',
		told = "message=outgoing",
		problem("presence", "table", { '"none"', '"managed_entity"', '"roster"' }),
	},
	{
		"a text for pushes",
		'{ roster = "both", roster_push = "true" }',
		told = "roster=both push=false",
		problem("roster_push", '"true"', { "true", "false" }),
	},
	{ "a text for iqs", '{ iq = "both", message = "outgoing" }', told = "message=outgoing", problem("iq", '"both"') },
	{ "a boolean for iqs", '{ iq = true, message = "outgoing" }', told = "message=outgoing", problem("iq", "true") },
	{ "a list for iqs", '{ iq = { "urn:a", ["urn:b"] = "set" } }', told = "iq(urn:b)=set", problem("iq", '"urn:a"') },
	{
		"a boolean for a namespace",
		'{ iq = { ["urn:a"] = true, ["urn:b"] = "set" } }',
		told = "iq(urn:b)=set",
		problem("urn:a", "true", access),
	},
	{
		"a table for a namespace",
		'{ iq = { ["urn:a"] = { "get" }, ["urn:b"] = "set" } }',
		told = "iq(urn:b)=set",
		problem("urn:a", '{ "get" }', access),
	},
	{
		"two mistakes",
		'{ roster = "all", presence = "all", message = "outgoing" }',
		told = "message=outgoing",
		problem("roster", '"all"', access),
		problem("presence", '"all"'),
	},
	{ "a text for an entity", '"both"', problem("privileged_entities", '"both"') },
	{ "a boolean for an entity", "true", problem("privileged_entities", "true") },
	{ "a number for an entity", "5", problem("privileged_entities", "5") },
	{
		"a resource in the key",
		'{ roster = "both" }',
		entity = '"romeo@montague.lit/orchard"',
		problem("privileged_entities", "romeo@montague.lit/orchard"),
	},
	{
		"a key that is no JID",
		'{ roster = "both" }',
		entity = '"no jid@montague.lit"',
		problem("privileged_entities", "no jid@montague.lit"),
	},
	{ "an empty key", '{ roster = "both" }', entity = '""', problem("privileged_entities", '""') },
	{ "a number as key", '{ roster = "both" }', entity = "7", problem("privileged_entities", "key 7") },
	{ "a boolean as key", '{ roster = "both" }', entity = "true", problem("privileged_entities", "key true") },
}

local no_reader = {
	{ "no access to rosters", '{ presence = "roster", message = "outgoing" }', told = "message=outgoing" },
	{ 'access "none"', '{ roster = "none", presence = "roster", message = "outgoing" }', told = "message=outgoing" },
	{ 'access "set"', '{ roster = "set", presence = "roster" }', told = "roster=set push=false" },
	{
		"an unknown access",
		'{ roster = "all", presence = "roster", message = "outgoing" }',
		told = "message=outgoing",
		problem("roster", '"all"', access),
	},
}
for _, entry in ipairs(no_reader) do
	entry[#entry + 1] = problem("presence", '"roster"', { "get", "both" })
end

-- Gives each entry its own user as an entity
local users, lines = {}, {}
for _, list in ipairs { entries, mistakes, no_reader } do
	for _, entry in ipairs(list) do
		entry.user = ("user%d@montague.lit"):format(#users + 1)
		users[#users + 1] = entry.user
		lines[#lines + 1] = ("\t\t[%s] = %s;"):format(entry.entity or ("%q"):format(entry.user), entry[2])
	end
end

describe("B1 configuration:", function()
	local server, start_log

	setup(function()
		users[#users + 1] = "juliet@capulet.lit"
		users[#users + 1] = "romeo@montague.lit"
		users[#users + 1] = "tybalt@capulet.lit"
		server = prosody.start {
			users = users,
			global = [[
				privileged_entities = { ["everywhere.lit"] = { message = "outgoing" }, ["romeo@montague.lit"] = { roster = "all" } }
			]],
			config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
]] .. table.concat(lines, "\n") .. [[

		["pubsub.capulet.lit"] = { roster = "both" };
		["PubSub2.CAPULET.lit"] = { roster = "get" };
		["tybalt@capulet.lit"] = { roster = "get" };
		["Romeo@Montague.LIT"] = { message = "outgoing" };
	}
VirtualHost "montague.lit"
VirtualHost "verona.lit"
VirtualHost "mantua.lit"
	privileged_entities = {}
VirtualHost "text.lit"
	privileged_entities = "pubsub.capulet.lit"
VirtualHost "boolean.lit"
	privileged_entities = true
VirtualHost "number.lit"
	privileged_entities = 1
VirtualHost "list.lit"
	privileged_entities = { "romeo@montague.lit", ["pubsub.capulet.lit"] = { message = "outgoing" } }
Component "pubsub.capulet.lit"
	component_secret = "secret"
	modules_enabled = { "privilege" }
Component "pubsub2.capulet.lit"
	component_secret = "secret"
Component "everywhere.lit"
	component_secret = "secret"
Component "rooms.capulet.lit" "muc"
	modules_enabled = { "privilege" }
	privileged_entities = { ["pubsub.capulet.lit"] = { roster = "both" } }
]],
		}
		start_log = server:log()
	end)

	teardown(function()
		server:stop()
	end)

	-- Connects, and tells what came
	local function told_at_connect(jid)
		local stream = jid:find("@", 1, true) and server:client(jid) or server:component(jid)
		local told = grants.told(stream)
		stream:close()
		return told
	end

	-- Asserts that the log has one error of each problem of an entry and no other about its user, who is told what is granted
	local function assert_read(entry)
		local entity = entry.entity or ('"%s"'):format(entry.user)
		for i = 3, #entry do
			assert.is_equal(1, #grants.logged(start_log, "error", '"capulet.lit"', entity, table.unpack(entry[i])))
		end
		assert.is_equal(entry.entity and 0 or #entry - 2, #grants.logged(start_log, "error", entry.user))
		assert.is_same({ entry.told and "capulet.lit: " .. entry.told }, told_at_connect(entry.user))
	end

	for _, entry in ipairs(entries) do
		it("B1 reads what grants " .. entry[1], function()
			assert_read(entry)
		end)
	end

	it("B1.1 takes the domain of a component as an entity", function()
		assert.is_same({ "capulet.lit: roster=both push=true", "list.lit: message=outgoing" }, told_at_connect "pubsub.capulet.lit")
	end)

	it("B1.1 takes the bare JID of a user of the granting host as an entity", function()
		assert.is_same({ "capulet.lit: roster=get push=true" }, told_at_connect "tybalt@capulet.lit")
	end)

	it("B1.1 takes the bare JID of a user of another host as an entity, in any letter case", function()
		assert.is_same({ "capulet.lit: message=outgoing" }, told_at_connect "romeo@montague.lit/orchard")
		assert.is_same({ "capulet.lit: message=outgoing" }, told_at_connect "ROMEO@montague.lit/orchard")
	end)

	it("B1.1 compares the domain of a component in any letter case", function()
		assert.is_same({ "capulet.lit: roster=get push=true" }, told_at_connect "pubsub2.capulet.lit")
	end)

	it("B1.2 accepts the module in a component's section, where it does nothing", function()
		for _, host in ipairs { "pubsub.capulet.lit", "rooms.capulet.lit" } do
			assert.is_true(server:eval(("return require 'core.modulemanager'.is_loaded(%q, 'privilege')"):format(host)))
		end
		assert.is_nil(start_log:find "Error initializing")
		assert.is_same({}, grants.logged(start_log, "error", "pubsub.capulet.lit", "component"))
		local pubsub = server:component "pubsub.capulet.lit"
		assert.is_same({ "capulet.lit: roster=both push=true", "list.lit: message=outgoing" }, (grants.told(pubsub)))
		assert.is_same("result", grants.attempt(pubsub, "juliet@capulet.lit").roster_get)
		pubsub:close()
	end)

	for _, entry in ipairs(mistakes) do
		it("B1.3 logs " .. entry[1] .. ", and lets what else there is stand", function()
			assert_read(entry)
		end)
	end

	for _, wrong in ipairs { { "text", '"pubsub.capulet.lit"' }, { "boolean", "true" }, { "number", "1" } } do
		it("B1.3 logs a " .. wrong[1] .. " in place of the table of entities", function()
			local host = wrong[1] .. ".lit"
			assert.is_equal(1, #grants.logged(start_log, "error", '"' .. host .. '"', "privileged_entities", wrong[2]))
			assert.is_equal(1, #grants.logged(start_log, "error", '"' .. host .. '"'))
			assert.is_true(server:eval(("return require 'core.modulemanager'.is_loaded(%q, 'privilege')"):format(host)))
		end)
	end

	it("B1.3 logs a list of entities, and lets the rest of the table stand", function()
		assert.is_equal(1, #grants.logged(start_log, "error", '"list.lit"', 'write ["romeo@montague.lit"] = { … }'))
		assert.is_equal(1, #grants.logged(start_log, "error", '"list.lit"'))
		assert.is_same({ "capulet.lit: message=outgoing" }, told_at_connect "romeo@montague.lit/orchard")
		assert.is_same({ "capulet.lit: roster=both push=true", "list.lit: message=outgoing" }, told_at_connect "pubsub.capulet.lit")
	end)

	for _, entry in ipairs(no_reader) do
		it("B1.4 refuses the presences of contacts next to " .. entry[1], function()
			assert_read(entry)
		end)
	end

	it("B1.5 lets entities of the global section be served by every host that has none of its own", function()
		assert.is_same({ "montague.lit: message=outgoing", "verona.lit: message=outgoing" }, told_at_connect "everywhere.lit")
	end)

	it("B1.5 logs what is wrong in the global section", function()
		for _, host in ipairs { "montague.lit", "verona.lit" } do
			assert.is_equal(1, #grants.logged(start_log, "error", '"' .. host .. '"', '"romeo@montague.lit"', '"all"'))
		end
		assert.is_equal(2, #grants.logged(start_log, "error", '"romeo@montague.lit"', '"all"'))
	end)
end)
