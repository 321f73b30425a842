-- The element that tells an entity its permissions (behaviours 1.6, 3.1 to 3.3).

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local parts, permissions = support.parts, support.permissions
local test = support.suite "advertisement"

local nothing = permissions {}
local all = permissions {
	roster = "both",
	push = true,
	message = "outgoing",
	presence = "roster",
	iq = { ["urn:b"] = "get", ["urn:a"] = "set" },
}

--- Checks the element in both namespaces; nil where there is to be none.
local function tells(now, before, modern, legacy)
	local function text(xmlns)
		local element = parts.privilege_element(now, before, xmlns)
		return element and support.text(element)
	end
	equal(text(parts.xmlns_privilege), modern and "<privilege xmlns='urn:xmpp:privilege:2'>" .. modern .. "</privilege>")
	equal(text(parts.xmlns_privilege_legacy), legacy and "<privilege xmlns='urn:xmpp:privilege:1'>" .. legacy .. "</privilege>")
end

test("B3.1 tells nothing where nothing is granted", function()
	tells(nothing, nothing, nil, nil)
end)

test("B3.2, B3.3 tells all permissions, the legacy namespace neither pushes nor iqs", function()
	tells(
		all,
		nothing,
		"<perm access='roster' push='true' type='both'/><perm access='message' type='outgoing'/>"
			.. "<perm access='iq'><namespace ns='urn:a' type='set'/><namespace ns='urn:b' type='get'/></perm>"
			.. "<perm access='presence' type='roster'/>",
		"<perm access='roster' type='both'/><perm access='message' type='outgoing'/><perm access='presence' type='roster'/>"
	)
end)

test("B3.2 tells single permissions", function()
	tells(permissions { roster = "set" }, nothing, "<perm access='roster' push='false' type='set'/>", "<perm access='roster' type='set'/>")
	tells(
		permissions { roster = "get", push = true },
		nothing,
		"<perm access='roster' push='true' type='get'/>",
		"<perm access='roster' type='get'/>"
	)
	tells(
		permissions { message = "outgoing" },
		nothing,
		"<perm access='message' type='outgoing'/>",
		"<perm access='message' type='outgoing'/>"
	)
	tells(
		permissions { presence = "managed_entity" },
		nothing,
		"<perm access='presence' type='managed_entity'/>",
		"<perm access='presence' type='managed_entity'/>"
	)
end)

test("B3.3 tells iqs alone in the new namespace only", function()
	tells(permissions { iq = { ["urn:a"] = "both" } }, nothing, "<perm access='iq'><namespace ns='urn:a' type='both'/></perm>", nil)
	tells(nothing, permissions { iq = { ["urn:a"] = "both" } }, "<perm access='iq'><namespace ns='urn:a' type='none'/></perm>", nil)
end)

test("B1.6 tells what was lost as none", function()
	tells(
		nothing,
		all,
		"<perm access='roster' push='false' type='none'/><perm access='message' type='none'/>"
			.. "<perm access='iq'><namespace ns='urn:a' type='none'/><namespace ns='urn:b' type='none'/></perm>"
			.. "<perm access='presence' type='none'/>",
		"<perm access='roster' type='none'/><perm access='message' type='none'/><perm access='presence' type='none'/>"
	)
	tells(
		permissions { message = "outgoing" },
		permissions { presence = "managed_entity" },
		"<perm access='message' type='outgoing'/><perm access='presence' type='none'/>",
		"<perm access='message' type='outgoing'/><perm access='presence' type='none'/>"
	)
end)

test("B1.6, B3.2 lost and kept namespaces are siblings, sorted", function()
	tells(
		permissions { iq = { ["urn:d"] = "set", ["urn:b"] = "both" } },
		permissions { iq = { ["urn:c"] = "get", ["urn:b"] = "get", ["urn:a"] = "set" } },
		"<perm access='iq'><namespace ns='urn:a' type='none'/><namespace ns='urn:b' type='both'/>"
			.. "<namespace ns='urn:c' type='none'/><namespace ns='urn:d' type='set'/></perm>",
		nil
	)
end)

test("B3.2 a namespace is told as it is written", function()
	local element = parts.privilege_element(permissions { iq = { ["urn:<'&\">"] = "set" } }, nothing, parts.xmlns_privilege)
	equal(element.tags[1].tags[1].attr.ns, "urn:<'&\">")
	equal(tostring(element):find("urn:<", 1, true), nil)
end)
