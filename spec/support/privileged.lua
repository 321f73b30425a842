-- What privileged entities send and get back (XEP-0356), for the specs of messages and iqs.

require "spec.support.environment"

local assert = require "luassert"
local st = require "util.stanza"
local xml = require "spec.support.xml"

local xmlns_forward = "urn:xmpp:forward:0"
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"

local privileged = {
	xmlns = "urn:xmpp:privilege:2",
	xmlns_legacy = "urn:xmpp:privilege:1",
	--- The user on whose behalf iqs are sent where no other is told
	user = "juliet@capulet.lit",
}

-- The start tag of a stanza; an attribute that is false is left out
local function start_tag(name, attr)
	local written = {}
	for key, value in pairs(attr) do
		written[key] = value or nil
	end
	return st.stanza(name, written):top_tag()
end

-- Attributes with defaults
local function with(defaults, attr)
	local merged = {}
	for _, from in ipairs { defaults, attr } do
		for key, value in pairs(from) do
			if type(key) == "string" then
				merged[key] = value
			end
		end
	end
	return merged
end

--- Writes the message to send on behalf of somebody.
-- @param attr its attributes, false for one that is to be absent, and its content as element 1
-- @return XML text
function privileged.inner(attr)
	return start_tag("message", with({ xmlns = "jabber:client" }, attr)) .. (attr[1] or "") .. "</message>"
end

--- Gives a message that comes to the nurse's client if it is sent.
-- @param from its sender
-- @return attributes and content, as inner takes them
function privileged.to_nurse(from)
	return { from = from, to = "nurse@capulet.lit/kitchen", "<body>psst</body>" }
end

--- Writes the message that asks for a message to be sent.
-- @param attr the outer attributes; xmlns is that of the privilege; content is what stands there instead of a forwarded
-- @param inner what is forwarded: attributes as for inner, or XML text
-- @return XML text
function privileged.message(attr, inner)
	local outer = with({}, attr)
	local xmlns, content = outer.xmlns or privileged.xmlns, outer.content
	outer.xmlns, outer.content = nil, nil
	if not content then
		content = ("<forwarded xmlns='%s'>%s</forwarded>"):format(
			xmlns_forward,
			type(inner) == "table" and privileged.inner(inner) or inner
		)
	end
	return ("%s<privilege xmlns='%s'>%s</privilege></message>"):format(start_tag("message", outer), xmlns, content)
end

--- Writes an iq that asks for an iq to be sent.
-- @param attr the outer attributes; content is what stands there instead of an inner iq
-- @param inner the inner attributes (xmlns is jabber:client, type the outer's and id "inner" unless told), and the payload as element 1
-- @return XML text
function privileged.iq(attr, inner)
	local outer = with({ type = "get" }, attr)
	local content, xmlns = outer.content, outer.xmlns or privileged.xmlns
	outer.content, outer.xmlns = nil, nil
	if not content then
		content = start_tag("iq", with({ xmlns = "jabber:client", type = outer.type, id = "inner" }, inner)) .. (inner[1] or "") .. "</iq>"
	end
	return ("%s<privileged_iq xmlns='%s'>%s</privileged_iq></iq>"):format(start_tag("iq", outer), xmlns, content)
end

local function assert_attributes(element, expected)
	local found = {}
	for name, value in pairs(element.attr) do
		-- the language of the stream is written out by some versions and parsers
		if name ~= "xml:lang" then
			found[name] = value
		end
	end
	assert.same(expected, found, tostring(element))
end

local function only_child(element, name, attr)
	assert.equal(1, #element, "more or less than one node in " .. tostring(element))
	local child = element.tags[1]
	assert.equal(name, child and child.name)
	assert_attributes(child, attr)
	return child
end

--- Takes the answer out of its wrapper, which has to be exactly what XEP-0356, 6.3 has.
-- @param stanza what the entity got
-- @param outer the attributes that the stanza has to have: id, from, to
-- @param inner the attributes that the wrapped answer has to have: type, id, from, to
-- @return the wrapped answer
function privileged.unwrap(stanza, outer, inner)
	assert.equal("iq", stanza.name)
	assert_attributes(stanza, with({ type = "result" }, outer))
	local privilege = only_child(stanza, "privilege", { xmlns = privileged.xmlns })
	local forwarded = only_child(privilege, "forwarded", { xmlns = xmlns_forward })
	return only_child(forwarded, "iq", with({ xmlns = "jabber:client" }, inner))
end

--- Asserts that a stanza is an error.
-- @param stanza the stanza, or an answer out of its wrapper
-- @param condition the condition's name
-- @param kind the error's type, default any
function privileged.assert_error(stanza, condition, kind)
	assert.equal("error", stanza.attr.type, tostring(stanza))
	local err
	for _, child in ipairs(stanza.tags) do
		if child.name == "error" and (child.attr.xmlns or "jabber:client") == "jabber:client" then
			assert.is_nil(err, "two errors in one")
			err = child
		end
	end
	assert.truthy(err, tostring(stanza))
	assert.truthy(err:get_child(condition, xmlns_stanzas), ("no %s in %s"):format(condition, tostring(stanza)))
	if kind then
		assert.equal(kind, err.attr.type, tostring(stanza))
	end
end

--- Asserts that an element has exactly these children, in order.
-- @param element the element
-- @param content XML text of the children
function privileged.assert_content(element, content)
	local copy = st.stanza(element.name)
	for _, child in ipairs(element.tags) do
		copy:add_child(child)
	end
	xml.assert_same(tostring(copy), ("<%s>%s</%s>"):format(element.name, content, element.name))
end

-- The outer attributes of a request: the sender is the entity itself, where that has to be said
local function outer_attributes(stream, to, attr)
	return with({ id = "outer", to = to, from = stream.kind == "component" and stream.jid or nil }, attr or {})
end

--- Sends a message that asks for a message to be sent.
-- @param stream the entity's stream
-- @param inner see message
-- @param attr see message; id is "outer", to the server's first host and from the entity unless told
function privileged.send(stream, inner, attr)
	stream:send(privileged.message(outer_attributes(stream, stream.server.host, attr), inner))
end

--- Sends an iq that asks for an iq to be sent.
-- @param stream the entity's stream
-- @param inner see iq
-- @param attr see iq; id is "outer", to privileged.user and from the entity unless told
function privileged.ask(stream, inner, attr)
	stream:send(privileged.iq(outer_attributes(stream, privileged.user, attr), inner))
end

--- Waits for the iq at the stream that was asked.
-- @param stream the stream
-- @return the iq
function privileged.asked(stream)
	return stream:expect(function(stanza)
		return stanza.name == "iq" and (stanza.attr.type == "get" or stanza.attr.type == "set")
	end)
end

--- Answers an iq.
-- @param stream the stream that does
-- @param iq the iq
-- @param content XML text, default none
-- @param changes attributes other than those of the result that the asked stream would send
function privileged.answer(stream, iq, content, changes)
	local attr = with(
		{ type = "result", id = iq.attr.id, to = iq.attr.from, from = stream.kind == "component" and stream.jid or nil },
		changes or {}
	)
	stream:send(start_tag("iq", attr) .. (content or "") .. "</iq>")
end

--- Waits for the answer to an iq that was asked, wrapped as it has to be.
-- @param stream the entity's stream
-- @param inner attributes of the wrapped answer; type is result, id "inner" and to privileged.user unless told
-- @param outer attributes of the answer; id is "outer", from privileged.user and to the entity unless told
-- @return the wrapped answer
function privileged.expect_answer(stream, inner, outer)
	return privileged.unwrap(
		stream:expect { name = "iq" },
		with({ id = "outer", from = privileged.user, to = stream.jid }, outer or {}),
		with({ type = "result", id = "inner", to = privileged.user }, inner)
	)
end

--- Waits for the error that answers a request.
-- @param stream the entity's stream
-- @param condition the condition's name
-- @param kind the error's type, default any
-- @param from the sender, default the server's first host for messages, privileged.user for iqs
-- @return the error
function privileged.expect_refusal(stream, condition, kind, from)
	local stanza = stream:expect { id = "outer" }
	privileged.assert_error(stanza, condition, kind)
	assert.equal(from or stanza.name == "message" and stream.server.host or privileged.user, stanza.attr.from)
	assert.equal(stream.jid, stanza.attr.to)
	return stanza
end

--- Makes the function that defines specs whose streams get what the spec waits for, and nothing else.
-- @param it what busted has
-- @param streams function that returns the list of the streams
-- @return a function with the parameters of it
function privileged.quiet_specs(it, streams)
	return function(name, spec)
		it(name, function()
			for _, stream in ipairs(streams()) do
				if not stream.closed then
					stream:sync():drain()
				end
			end
			spec()
			for _, stream in ipairs(streams()) do
				stream:nothing()
			end
		end)
	end
end

--- Keeps what arrives on a stream as it was written.
-- @param stream the stream
-- @return a function that gives the text so far
function privileged.record(stream)
	local parts, feed = {}, stream.feed
	stream.feed = function(data)
		parts[#parts + 1] = data
		return feed(data)
	end
	return function()
		return table.concat(parts)
	end
end

return privileged
