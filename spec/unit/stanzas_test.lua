-- Stanzas inside of stanzas (behaviours 6.1, 6.3, 7.1, 7.4).

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local parts, st = support.parts, support.st
local refusals = parts.refusals
local test = support.suite "stanzas"

local client = "jabber:client"
local component_stream, client_stream = { type = "component" }, { type = "c2s" }

local function stripped(element)
	parts.strip_client_namespace(element)
	return support.text(element)
end

test("B6.1 the namespace jabber:client goes, from all that is in it", function()
	equal(
		stripped(
			st.stanza("message", { xmlns = client, to = "a.lit" })
				:tag("body", { xmlns = client })
				:text("hi")
				:tag("b", { xmlns = client })
				:up()
				:up()
		),
		"<message to='a.lit'><body>hi<b/></body></message>"
	)
end)

test("B6.1 what another element carries keeps its namespaces", function()
	local text = "<message><x xmlns='urn:x'><message xmlns='jabber:client'><body xmlns='jabber:client'/></message></x><body/></message>"
	local message = st.stanza("message", { xmlns = client })
		:tag("x", { xmlns = "urn:x" })
		:tag("message", { xmlns = client })
		:tag("body", { xmlns = client })
		:up()
		:up()
		:up()
		:tag("body", { xmlns = client })
		:up()
	equal(stripped(message), text)
	-- Once more makes no difference.
	equal(stripped(message), text)
	equal(
		stripped(st.stanza("x", { xmlns = "urn:x" }):tag("body", { xmlns = client }):up()),
		"<x xmlns='urn:x'><body xmlns='jabber:client'/></x>"
	)
end)

test("B6.3 a stanza is of jabber:client, which goes without saying from clients only", function()
	local function is(element, session)
		return parts.is_client_stanza(element, "iq", session)
	end
	equal(is(st.stanza("iq", { xmlns = client }), component_stream), true)
	equal(is(st.stanza("iq", { xmlns = client }), client_stream), true)
	equal(is(st.stanza("iq"), client_stream), true)
	equal(is(st.stanza("iq"), component_stream), false)
	equal(is(st.stanza("iq", { xmlns = "jabber:server" }), client_stream), false)
	equal(is(st.stanza("message", { xmlns = client }), client_stream), false)
	equal(is(nil, client_stream), false)
end)

local function iq(attr, ...)
	attr.xmlns = attr.xmlns or client
	local made = st.stanza("iq", attr)
	for _, namespace in ipairs { ... } do
		made:tag("query", { xmlns = namespace }):up()
	end
	return made
end

local function wrapped(...)
	local outer = st.stanza("iq", { type = "get", id = "outer" }):tag("privileged_iq", { xmlns = "urn:xmpp:privilege:2" })
	for _, child in ipairs { ... } do
		outer:add_child(child)
	end
	return outer:reset()
end

test("B7.1 takes the iq out of a privileged one", function()
	local inner = iq({ type = "get", id = "1" }, "urn:a")
	equal({ parts.encapsulated_iq(wrapped(inner), component_stream) }, { inner })
end)

test("B7.4 refuses what is not one iq with one payload", function()
	local function refused(refusal, ...)
		local inner, why = parts.encapsulated_iq(wrapped(...), component_stream)
		equal(inner, nil)
		equal(why, refusal)
		equal(why.condition, "bad-request")
	end
	local good = { type = "get", id = "1" }
	refused(refusals.iq_not_one)
	refused(refusals.iq_not_one, iq(good, "urn:a"), iq(good, "urn:a"))
	refused(refusals.iq_not_one, iq(good, "urn:a"), st.stanza("x", { xmlns = "urn:x" }))
	refused(refusals.iq_not_one, st.stanza("message", { xmlns = client }))
	refused(refusals.iq_not_one, iq({ type = "get", id = "1", xmlns = "urn:x" }, "urn:a"))
	refused(refusals.iq_no_id, iq({ type = "get" }, "urn:a"))
	refused(refusals.iq_long_id, iq({ type = "get", id = ("x"):rep(1025) }, "urn:a"))
	refused(refusals.iq_no_payload, iq(good))
	refused(refusals.iq_no_payload, iq(good, "urn:a", "urn:b"))
	refused(refusals.iq_no_payload, iq(good, ""))
	refused(refusals.iq_no_payload, iq(good, client))
	refused(refusals.iq_no_payload, iq(good):tag("query"):up())
	refused(refusals.iq_type, iq({ type = "set", id = "1" }, "urn:a"))
	refused(refusals.iq_type, iq({ type = "result", id = "1" }, "urn:a"))
	refused(refusals.iq_type, iq({ id = "1" }, "urn:a"))
end)

local function message(xmlns)
	return st.stanza("message", { xmlns = xmlns or client, to = "romeo@montaigu.lit" })
end

local function forwarded(...)
	local made = st.stanza("forwarded", { xmlns = "urn:xmpp:forward:0" })
	for _, child in ipairs { ... } do
		made:add_child(child)
	end
	return made
end

local function privilege(...)
	local made = st.stanza("privilege", { xmlns = "urn:xmpp:privilege:2" })
	for _, child in ipairs { ... } do
		made:add_child(child)
	end
	return made
end

test("B6.1 takes the message out of a privilege, and lets a delay stand beside it", function()
	local inner = message()
	local delay = st.stanza("delay", { xmlns = "urn:xmpp:delay" })
	equal(parts.forwarded_message(privilege(forwarded(inner)), component_stream), inner)
	equal(parts.forwarded_message(privilege(forwarded(delay, inner)), component_stream), inner)
	equal(parts.forwarded_message(privilege(forwarded(inner, delay)), component_stream), inner)
end)

test("B6.3 finds none where there is not exactly one", function()
	local function none(element)
		equal(parts.forwarded_message(element, component_stream), nil)
	end
	none(privilege())
	none(privilege(message()))
	none(privilege(forwarded()))
	none(privilege(forwarded(message(), message())))
	none(privilege(forwarded(message()), forwarded(message())))
	none(privilege(forwarded(message()), st.stanza("x", { xmlns = "urn:x" })))
	none(privilege(st.stanza("forwarded", { xmlns = "urn:x" }):add_child(message())))
	none(privilege(st.stanza("forward", { xmlns = "urn:xmpp:forward:0" }):add_child(message())))
	none(privilege(forwarded(st.stanza("iq", { xmlns = client }))))
	none(privilege(forwarded(message "jabber:server")))
	none(privilege(forwarded(message(), message "urn:x")))
end)
