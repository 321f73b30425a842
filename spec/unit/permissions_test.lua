-- Permissions, and how they are told in the log (behaviour 10.1).

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local parts, permissions = support.parts, support.permissions
local test = support.suite "permissions"

local all = permissions {
	roster = "both",
	push = true,
	message = "outgoing",
	presence = "roster",
	iq = { ["urn:b"] = "get", ["urn:a"] = "set", ["urn:c"] = "both" },
}

test("B4, B7 an access covers iqs of its type only", function()
	local covered = {
		none = {},
		get = { get = true },
		set = { set = true },
		both = { get = true, set = true },
	}
	for access, types in pairs(covered) do
		for _, iq_type in ipairs { "get", "set", "result", "error" } do
			equal(parts.allows(access, iq_type), types[iq_type] or false, access .. " " .. iq_type)
		end
		equal(parts.allows(access, nil), false)
	end
	for _, iq_type in ipairs { "get", "set", "result", "error" } do
		equal(parts.allows(nil, iq_type), false)
	end
end)

test("each single permission grants something", function()
	equal(parts.grants_anything(parts.no_permissions()), false)
	equal(parts.grants_anything(permissions { roster = "set" }), true)
	equal(parts.grants_anything(permissions { message = "outgoing" }), true)
	equal(parts.grants_anything(permissions { presence = "managed_entity" }), true)
	equal(parts.grants_anything(permissions { iq = { ["urn:a"] = "get" } }), true)
end)

test("no permissions are made anew each time", function()
	local one = parts.no_permissions()
	one.roster, one.iq["urn:a"] = "get", "set"
	equal(parts.no_permissions(), { roster = "none", push = false, message = "none", presence = "none", iq = {}, users = "all" })
end)

test("B12 whose accounts are covered is told in a few words", function()
	equal(parts.describe_coverage "all", "all")
	equal(parts.describe_coverage "opted-in", "opted-in")
	equal(parts.describe_coverage { nurse = true, juliet = true }, "juliet nurse")
	equal(parts.describe_coverage {}, "nobody")
end)

test("B12.8 coverages are the same where the same users are covered", function()
	equal(parts.same_coverage("all", "all"), true)
	equal(parts.same_coverage("all", "opted-in"), false)
	equal(parts.same_coverage("all", { all = true }), false)
	equal(parts.same_coverage({ nurse = true, juliet = true }, { juliet = true, nurse = true }), true)
	equal(parts.same_coverage({ nurse = true }, { juliet = true, nurse = true }), false)
	equal(parts.same_coverage({ juliet = true, nurse = true }, { nurse = true }), false)
	-- the names of accounts, which the description has no word for
	equal(parts.same_coverage({}, { nobody = true }), false)
	equal(parts.same_coverage({}, {}), true)
end)

test("namespaces come sorted", function() end)

test("B10.1 describes what is granted", function()
	equal(parts.describe_permissions(permissions {}), "nothing")
	equal(parts.describe_permissions(permissions { roster = "set" }), "roster=set")
	equal(parts.describe_permissions(permissions { roster = "get", push = true }), "roster=get roster_push")
	equal(parts.describe_permissions(permissions { message = "outgoing" }), "message=outgoing")
	equal(parts.describe_permissions(permissions { presence = "managed_entity" }), "presence=managed_entity")
	equal(parts.describe_permissions(permissions { iq = { ["urn:a"] = "set" } }), "iq(urn:a)=set")
	equal(
		parts.describe_permissions(all),
		"roster=both roster_push message=outgoing presence=roster iq(urn:a)=set iq(urn:b)=get iq(urn:c)=both"
	)
end)

test("B1.6 any difference makes permissions others", function()
	local function copy(changes)
		local made = permissions(all)
		for name, value in pairs(changes) do
			made[name] = value
		end
		return made
	end
	equal(parts.same_permissions(all, copy {}), true)
	equal(parts.same_permissions(all, copy { iq = { ["urn:c"] = "both", ["urn:a"] = "set", ["urn:b"] = "get" } }), true)
	equal(parts.same_permissions(permissions {}, permissions {}), true)
	for _, changes in ipairs {
		{ roster = "get" },
		{ push = false },
		{ message = "none" },
		{ presence = "managed_entity" },
		{ iq = {} },
		{ iq = { ["urn:b"] = "get", ["urn:a"] = "set" } },
		{ iq = { ["urn:b"] = "get", ["urn:a"] = "get", ["urn:c"] = "both" } },
		{ iq = { ["urn:b"] = "get", ["urn:a"] = "set", ["urn:d"] = "both" } },
	} do
		equal(parts.same_permissions(all, copy(changes)), false)
		equal(parts.same_permissions(copy(changes), all), false)
	end
end)
