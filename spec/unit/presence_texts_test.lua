-- How the presences of users' clients are written (behaviour 8.2).

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local st = support.st
local test = support.suite "presence texts"

local start = " from='juliet@capulet.lit/balcony'"

local function presence()
	return st.presence { from = "juliet@capulet.lit/balcony", to = "entity.lit" }
end

test("B8.2 a presence is written with what was added to it since it was written before", function()
	local rest_of = support.parts.create_presence_texts().rest_of
	local stanza = presence():tag("show"):text("away"):up()
	local written = start .. "><show>away</show></presence>"
	equal({ rest_of(stanza), rest_of(stanza) }, { written, written })
	stanza:tag("delay", { xmlns = "urn:xmpp:delay" }):up():text "&"
	written = start .. "><show>away</show><delay xmlns='urn:xmpp:delay'/>&amp;</presence>"
	equal({ rest_of(stanza), rest_of(stanza) }, { written, written })
	equal(stanza.attr.to, "entity.lit")
end)

test("B8.2 something is added to a presence without children", function()
	local rest_of = support.parts.create_presence_texts().rest_of
	local stanza = presence()
	equal(rest_of(stanza), start .. "/>")
	stanza:tag("show"):text("away"):up()
	equal(rest_of(stanza), start .. "><show>away</show></presence>")
end)

test("B8.2 a presence is written anew after something was taken from it", function()
	local rest_of = support.parts.create_presence_texts().rest_of
	local stanza = presence():tag("show"):text("away"):up():tag("status"):up()
	rest_of(stanza)
	table.remove(stanza)
	table.remove(stanza.tags)
	equal(rest_of(stanza), start .. "><show>away</show></presence>")
end)

test("B8.2 a presence that parsers do not take is told without its children, whenever these were added", function()
	local rest_of = support.parts.create_presence_texts().rest_of
	local bad = "http://www.w3.org/XML/1998/namespace"
	local stanza = presence():tag("show"):text("away"):up()
	rest_of(stanza)
	stanza:tag("x", { xmlns = bad }):up()
	equal(rest_of(stanza), start .. "/>")
	stanza:tag("delay", { xmlns = "urn:xmpp:delay" }):up()
	equal(rest_of(stanza), start .. "/>")
end)
