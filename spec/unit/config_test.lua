-- The option privileged_entities (behaviours 1.1, 1.3, 1.4): right and wrong in every form.

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local parts = support.parts
local test = support.suite "config"

local entity = "pubsub.capulet.lit"
local access = '"none", "get", "set" or "both"'
local options = "the options are roster, roster_push, message, presence, iq and users"

local function read(option)
	return parts.read_configuration(option, support.prep, "capulet.lit")
end

local function problem(option, value, allowed, meant, of)
	local advice = (allowed == options or allowed:find "^write ") and allowed or "expected " .. allowed
	return { entity = of or entity, setting = option .. " = " .. value, advice = advice, meant = meant }
end

--- A problem with a key of the option.
local function key_problem(shown, expected)
	return { setting = ("the key %s of privileged_entities"):format(shown), advice = "expected " .. (expected or "a domain or a bare JID") }
end

--- A problem that comes of what is not granted besides.
local function lacks(option, value, allowed)
	local lacking = problem(option, value, allowed)
	lacking.needs = 'roster = "get" or "both"'
	return lacking
end

--- Checks what an entity is granted, and what is wrong with that; a list of problems.
local function grants(option, permissions, problems)
	local configuration = read { [entity] = option }
	equal(configuration.problems, problems or {})
	equal(configuration.grants, { [entity] = support.permissions(permissions) })
end

test("B1 nothing grants nothing and is no problem", function()
	equal(read(nil), { grants = {}, problems = {} })
	equal(read {}, { grants = {}, problems = {} })
	grants({}, {})
end)

test("B1 grants what the values say", function()
	for _, value in ipairs { "none", "get", "set", "both" } do
		grants({ roster = value, roster_push = false }, { roster = value })
		grants({ iq = { ["urn:example"] = value } }, { iq = { ["urn:example"] = value ~= "none" and value or nil } })
	end
	for _, value in ipairs { "none", "outgoing" } do
		grants({ message = value }, { message = value })
	end
	for _, value in ipairs { "none", "managed_entity" } do
		grants({ presence = value }, { presence = value })
	end
	grants({
		roster = "both",
		roster_push = true,
		message = "outgoing",
		presence = "roster",
		iq = { ["http://jabber.org/protocol/pubsub"] = "set", ["urn:b"] = "both", ["urn:c"] = "none" },
	}, {
		roster = "both",
		push = true,
		message = "outgoing",
		presence = "roster",
		iq = { ["http://jabber.org/protocol/pubsub"] = "set", ["urn:b"] = "both" },
	})
end)

test("B1 pushes come with reading unless they are turned off", function()
	for roster, push in pairs { none = false, get = true, set = false, both = true } do
		grants({ roster = roster }, { roster = roster, push = push })
		grants({ roster = roster, roster_push = false }, { roster = roster })
	end
	grants({ roster = "get", roster_push = true }, { roster = "get", push = true })
end)

test("B1.1 an entity is a domain or a bare JID, prepared", function()
	local configuration = read { ["PubSub.Capulet.lit"] = { roster = "get" }, ["Romeo@Montaigu.lit"] = { message = "outgoing" } }
	equal(configuration, {
		problems = {},
		grants = {
			["pubsub.capulet.lit"] = support.permissions { roster = "get", push = true },
			["romeo@montaigu.lit"] = support.permissions { message = "outgoing" },
		},
	})
end)

test("B1.1 an entity that stands there twice has what stands first", function()
	for _ = 1, 5 do
		local configuration = read { ["a.lit"] = { roster = "get" }, ["A.lit"] = { roster = "set" }, ["A.LIT"] = { message = "outgoing" } }
		equal(configuration.grants, { ["a.lit"] = support.permissions { message = "outgoing" } })
		equal(configuration.problems, {
			key_problem('"A.lit"', "each entity once; a.lit stands there in another spelling"),
			key_problem('"a.lit"', "each entity once; a.lit stands there in another spelling"),
		})
	end
end)

test("B1.3 the option as a whole is of the wrong type", function()
	for value, shown in pairs { ["pubsub.capulet.lit"] = '"pubsub.capulet.lit"', [17] = "17", [true] = "true", [false] = "false" } do
		equal(read(value), {
			grants = {},
			problems = {
				{
					setting = "privileged_entities = " .. shown,
					advice = 'expected a table of entities, { ["JID"] = { … } }',
				},
			},
		})
	end
end)

test("B1.3 a key that is no JID, has a resource or is no text", function()
	local good = { roster = "get" }
	for _, key in ipairs {
		"",
		"@",
		"romeo@",
		"@montaigu.lit",
		"/",
		"a.lit/",
		"romeo montaigu.lit",
		"a.lit/orchard",
		"romeo@montaigu.lit/orchard",
	} do
		equal(read { [key] = good }, { grants = {}, problems = { key_problem('"' .. key .. '"') } })
	end
	equal(read { good }.problems, { key_problem "1" })
	equal(read { [true] = good }.problems, { key_problem "true" })
	equal(read { [good] = good }.problems, { key_problem "a table" })
	-- A list of entities
	equal(read { "pubsub.capulet.lit" }, {
		grants = {},
		problems = {
			{ setting = 'privileged_entities = { "pubsub.capulet.lit" }', advice = 'write ["pubsub.capulet.lit"] = { … }' },
		},
	})
	equal(read { "@" }, { grants = {}, problems = { key_problem "1" } })
end)

test("B1.3 what an entity is granted is no table", function()
	for value, shown in pairs { both = '"both"', [17] = "17", [true] = "true", [false] = "false" } do
		equal(read { [entity] = value }, {
			grants = {},
			problems = {
				{
					setting = ('privileged_entities = { ["%s"] = %s }'):format(entity, shown),
					advice = "expected a table of permissions for the entity",
				},
			},
		})
	end
end)

test("B1.3 a value that is not in the list", function()
	grants({ roster = "all" }, {}, { problem("roster", '"all"', access) })
	grants({ message = "incoming" }, {}, { problem("message", '"incoming"', '"none" or "outgoing"') })
	grants({ presence = "everybody" }, {}, { problem("presence", '"everybody"', '"none", "managed_entity" or "roster"') })
	grants({ iq = { ["urn:a"] = "all" } }, {}, { problem('iq["urn:a"]', '"all"', access) })
	grants({ roster = "" }, {}, { problem("roster", '""', access) })
	-- Not those of another option
	grants({ message = "get" }, {}, { problem("message", '"get"', '"none" or "outgoing"') })
	grants({ roster = "outgoing" }, {}, { problem("roster", '"outgoing"', access) })
end)

test("B1.3 a value that is nearly in the list", function()
	grants({ roster = "gett" }, {}, { problem("roster", '"gett"', access, "get") })
	grants({ roster = "Both" }, {}, { problem("roster", '"Both"', access, "both") })
	grants({ message = "outgoin" }, {}, { problem("message", '"outgoin"', '"none" or "outgoing"', "outgoing") })
	grants(
		{ presence = "managed-entity" },
		{},
		{ problem("presence", '"managed-entity"', '"none", "managed_entity" or "roster"', "managed_entity") }
	)
	grants({ iq = { ["urn:a"] = "SET" } }, {}, { problem('iq["urn:a"]', '"SET"', access, "set") })
end)

test("B1.3 a value of the wrong type", function()
	for value, shown in pairs { [17] = "17", [true] = "true", [false] = "false", [{}] = "a table" } do
		grants({ roster = value }, {}, { problem("roster", shown, access) })
		grants({ message = value }, {}, { problem("message", shown, '"none" or "outgoing"') })
		grants({ presence = value }, {}, { problem("presence", shown, '"none", "managed_entity" or "roster"') })
		grants({ iq = { ["urn:a"] = value } }, {}, { problem('iq["urn:a"]', shown, access) })
		if type(value) ~= "table" then
			grants({ iq = value }, {}, { problem("iq", shown, 'a table of namespaces, { ["NAMESPACE"] = "set" }') })
		end
		if type(value) ~= "boolean" then
			grants({ roster = "get", roster_push = value }, { roster = "get" }, { problem("roster_push", shown, "true or false") })
		end
	end
	grants({ iq = "set" }, {}, { problem("iq", '"set"', 'a table of namespaces, { ["NAMESPACE"] = "set" }') })
	grants({ roster = "get", roster_push = "false" }, { roster = "get" }, { problem("roster_push", '"false"', "true or false") })
end)

test("B1.3 an iq namespace that is none", function()
	local allowed = 'a namespace as key, { ["NAMESPACE"] = "set" }'
	for _, namespace in ipairs { "", "urn:a b", "urn:\1", "urn:ä", "urn:\n", "\127" } do
		grants({ iq = { [namespace] = "set" } }, {}, { problem("iq", '"set"', allowed) })
	end
	grants({ iq = { "urn:a", "urn:b" } }, {}, { problem("iq", '"urn:a"', allowed), problem("iq", '"urn:b"', allowed) })
	grants({ iq = { [true] = "set", ["urn:a"] = "set" } }, { iq = { ["urn:a"] = "set" } }, { problem("iq", '"set"', allowed) })
	-- Odd, and a namespace all the same
	grants({ iq = { ["<'&>"] = "set" } }, { iq = { ["<'&>"] = "set" } })
end)

test("B1.3 an option that there is not", function()
	grants({ rosters = "get" }, {}, { problem("rosters", '"get"', options, "roster") })
	grants({ Roster = "get" }, {}, { problem("Roster", '"get"', options, "roster") })
	grants({ push = true }, {}, { problem("push", "true", options) })
	grants({ pubsub = {} }, {}, { problem("pubsub", "a table", options) })
	grants({ "roster" }, {}, { problem("1", '"roster"', options) })
	grants({ [true] = "get" }, {}, { problem("true", '"get"', options) })
end)

test("B1.3 pushes without reading", function()
	for _, roster in ipairs { "none", "set" } do
		grants({ roster = roster, roster_push = true }, { roster = roster }, { lacks("roster_push", "true", "false") })
		grants({ roster = roster, roster_push = 1 }, { roster = roster }, { problem("roster_push", "1", "true or false") })
	end
end)

test("B1.4 presences of contacts want reading", function()
	local refused = lacks("presence", '"roster"', '"none" or "managed_entity"')
	grants({ presence = "roster" }, {}, { refused })
	grants({ presence = "roster", roster = "none" }, {}, { refused })
	grants({ presence = "roster", roster = "set", message = "outgoing" }, { roster = "set", message = "outgoing" }, { refused })
	grants({ presence = "roster", roster = "gte" }, {}, { problem("roster", '"gte"', access), refused })
	grants({ presence = "roster", roster = "get" }, { presence = "roster", roster = "get", push = true })
	grants({ presence = "roster", roster = "both", roster_push = false }, { presence = "roster", roster = "both" })
end)

test("B1.7 B12.1 users are all, those who opted in, or the listed ones of the host", function()
	grants({ users = "all" }, { users = "all" })
	grants({ users = "opted-in", roster = "get" }, { users = "opted-in", roster = "get", push = true })
	grants({ users = {} }, { users = {} })
	grants({ users = { "juliet", "Nurse@Capulet.lit" } }, { users = { juliet = true, nurse = true } })
end)

test("B12.1 users that are not understood are nobody, and the rest of the entry stands", function()
	local allowed, listed = '"all", "opted-in" or a list of users', 'users of capulet.lit, { "NAME", "NAME@capulet.lit" }'
	for _, case in ipairs { { "opted_in", '"opted_in"', "opted-in" }, { "nobody", '"nobody"' }, { true, "true" }, { 5, "5" } } do
		grants(
			{ users = case[1], message = "outgoing" },
			{ users = {}, message = "outgoing" },
			{ problem("users", case[2], allowed, case[3]) }
		)
	end
	for _, case in ipairs {
		{ "romeo@montague.lit", '"romeo@montague.lit"' },
		{ "juliet@capulet.lit/balcony", '"juliet@capulet.lit/balcony"' },
		{ "ju liet", '"ju liet"' },
		{ "", '""' },
		{ 5, "5" },
		{ {}, "a table" },
		{ "@capulet.lit", '"@capulet.lit"' },
	} do
		grants({ users = { "nurse", case[1] } }, { users = { nurse = true } }, { problem("users", case[2], listed) })
	end
	grants(
		{ users = { juliet = true } },
		{ users = {} },
		{ problem("users", "a table", 'write { "juliet" } instead of { juliet = true }') }
	)
	for _, word in ipairs { "all", "opted-in" } do
		local advice = ('write users = "%s", or the user with the host'):format(word)
		grants({ users = { word } }, { users = {} }, { problem("users", ('{ "%s" }'):format(word), advice) })
		grants({ users = { word, "nurse" } }, { users = { nurse = true } }, { problem("users", ('{ "%s", … }'):format(word), advice) })
		grants({ users = { word .. "@capulet.lit" } }, { users = { [word] = true } })
	end
end)

test("B1.3 problems hinder nothing else, and are told in a steady order", function()
	for _ = 1, 5 do
		local configuration = read {
			["b.lit"] = {
				roster = "get",
				message = 5,
				presence = "managed_entity",
				roster_push = "yes",
				zeta = 1,
				alpha = 2,
				iq = { ["urn:z"] = "gett", ["urn:ok"] = "set", ["urn:a"] = false },
			},
			["a.lit/x"] = { roster = "get" },
			["c.lit"] = { message = "outgoing" },
			["d.lit"] = 1,
			["e.lit"] = { roster = "both" },
		}
		equal(configuration.grants, {
			["b.lit"] = support.permissions { roster = "get", presence = "managed_entity", iq = { ["urn:ok"] = "set" } },
			["c.lit"] = support.permissions { message = "outgoing" },
			["e.lit"] = support.permissions { roster = "both", push = true },
		})
		equal(configuration.problems, {
			key_problem '"a.lit/x"',
			problem("message", "5", '"none" or "outgoing"', nil, "b.lit"),
			problem('iq["urn:a"]', "false", access, nil, "b.lit"),
			problem('iq["urn:z"]', '"gett"', access, "get", "b.lit"),
			problem("roster_push", '"yes"', "true or false", nil, "b.lit"),
			problem("alpha", "2", options, nil, "b.lit"),
			problem("zeta", "1", options, nil, "b.lit"),
			{ setting = 'privileged_entities = { ["d.lit"] = 1 }', advice = "expected a table of permissions for the entity" },
		})
	end
end)

test("B1.3 a problem is a sentence that names host, entity, option, value and what is allowed", function()
	equal(
		parts.describe_problem("capulet.lit", problem("roster", '"gett"', access, "get")),
		'VirtualHost "capulet.lit": entity "pubsub.capulet.lit": roster = "gett" grants nothing, expected "none", "get", "set" or "both" (did you mean "get"?)'
	)
	equal(
		parts.describe_problem("capulet.lit", problem("message", "5", '"none" or "outgoing"')),
		'VirtualHost "capulet.lit": entity "pubsub.capulet.lit": message = 5 grants nothing, expected "none" or "outgoing"'
	)
	equal(
		parts.describe_problem("capulet.lit", problem("rosters", '"get"', options, "roster")),
		'VirtualHost "capulet.lit": entity "pubsub.capulet.lit": rosters = "get" grants nothing, '
			.. 'the options are roster, roster_push, message, presence, iq and users (did you mean "roster"?)'
	)
	equal(
		parts.describe_problem("capulet.lit", read({ "a.lit" }).problems[1]),
		'VirtualHost "capulet.lit": privileged_entities = { "a.lit" } grants nothing, write ["a.lit"] = { … }'
	)
	equal(
		parts.describe_problem("capulet.lit", read({ ["a.lit/x"] = {} }).problems[1]),
		'VirtualHost "capulet.lit": the key "a.lit/x" of privileged_entities grants nothing, expected a domain or a bare JID'
	)
	equal(
		parts.describe_problem("capulet.lit", read("x").problems[1]),
		'VirtualHost "capulet.lit": privileged_entities = "x" grants nothing, expected a table of entities, { ["JID"] = { … } }'
	)
end)

test("B1.3 an entry that grants nothing is told unless there is a problem with it", function()
	local configuration = read {
		["a.lit"] = {},
		["b.lit"] = { users = "opted-in" },
		["c.lit"] = { roster = "boht" },
		["d.lit"] = { roster = "get" },
		["E.lit"] = { rosters = "get" },
	}
	local sentence = 'VirtualHost "capulet.lit": entity "%s": the entry grants nothing. Values need quotes: roster = "both"'
	equal(parts.describe_empty_entries("capulet.lit", configuration), { sentence:format "a.lit", sentence:format "b.lit" })
end)
