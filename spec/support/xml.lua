-- Parsing and comparing of XML for the specs, on top of Prosody's own parser.

require "spec.support.environment"

local lxp = require "lxp"
local xmppstream = require "util.xmppstream"

local xmlns_streams = "http://etherx.jabber.org/streams"

local xml = {}

--- Makes a reader for an XML stream.
-- The stanzas' default namespace is not spelt out (their attr.xmlns is nil). The language
-- that a stanza inherits from its stream is not either: some Prosody versions write it
-- on each stanza, some parsers add it to each, and others do neither.
-- @param default_ns the default namespace of the stream
-- @param callbacks table of functions: opened(attributes), stanza(stanza), closed(),
-- failed(condition, detail), where a stream error has the condition "stream-error"
-- and its element as the detail
-- @return a function that takes the next piece of text, and returns nil and an error message if it was not well-formed
function xml.reader(default_ns, callbacks)
	local session, lang = { notopen = true }, "en"
	local handlers = xmppstream.new_sax_handlers(session, {
		default_ns = default_ns,
		streamopened = function(_, attr)
			session.notopen = nil
			lang = attr["xml:lang"] or lang
			callbacks.opened(attr)
		end,
		streamclosed = function()
			callbacks.closed()
		end,
		handlestanza = function(_, stanza)
			if stanza.attr["xml:lang"] == lang then
				stanza.attr["xml:lang"] = nil
			end
			callbacks.stanza(stanza)
		end,
		error = function(_, condition, detail)
			callbacks.failed(condition, detail)
		end,
	})
	local parser = lxp.new(handlers, xmppstream.ns_separator, false)
	return function(data)
		local ok, err = parser:parse(data)
		if not ok then
			return nil, err
		end
		return true
	end
end

local function ignore() end

--- Parses one element.
-- An element without a namespace is taken to be of the default namespace, as on a stream.
-- @param text the XML text
-- @return the element as a stanza; errors are raised
function xml.parse(text)
	local wrapper
	local function failed(condition)
		error(("cannot parse %q: %s"):format(text, tostring(condition)), 0)
	end
	local feed = xml.reader("jabber:client", {
		opened = ignore,
		closed = ignore,
		failed = failed,
		stanza = function(stanza)
			wrapper = stanza
		end,
	})
	-- the parser takes no elements but stanzas on the top level
	local ok, err = feed("<stream:stream xmlns='jabber:client' xmlns:stream='" .. xmlns_streams .. "'><message>" .. text .. "</message>")
	if not ok then
		failed(err)
	end
	local element = wrapper.tags[1]
	if #wrapper.tags ~= 1 or wrapper:get_text() and wrapper:get_text():find "%S" then
		failed "not one element"
	end
	if element.attr["xml:lang"] == "en" then
		element.attr["xml:lang"] = nil
	end
	return element
end

-- The child nodes that count: neighbouring texts are joined, white space between elements is left out
local function children(element)
	local nodes = {}
	for i = 1, #element do
		local node = element[i]
		if type(node) == "string" and type(nodes[#nodes]) == "string" then
			nodes[#nodes] = nodes[#nodes] .. node
		else
			nodes[#nodes + 1] = node
		end
	end
	if element.tags[1] then
		for i = #nodes, 1, -1 do
			if type(nodes[i]) == "string" and not nodes[i]:find "%S" then
				table.remove(nodes, i)
			end
		end
	end
	return nodes
end

local function difference(a, b, ns_a, ns_b, path)
	if type(a) == "string" or type(b) == "string" then
		if a ~= b then
			return ("%s: %s instead of %s"):format(path, tostring(a), tostring(b))
		end
		return
	end
	if a.name ~= b.name then
		return ("%s: <%s> instead of <%s>"):format(path, a.name, b.name)
	end
	path = path .. "/" .. a.name
	ns_a, ns_b = a.attr.xmlns or ns_a, b.attr.xmlns or ns_b
	if ns_a ~= ns_b then
		return ("%s: namespace %s instead of %s"):format(path, ns_a, ns_b)
	end
	for _, attrs in ipairs { a.attr, b.attr } do
		for name in pairs(attrs) do
			if name ~= "xmlns" and a.attr[name] ~= b.attr[name] then
				return ("%s: attribute %s is %s instead of %s"):format(path, name, tostring(a.attr[name]), tostring(b.attr[name]))
			end
		end
	end
	local nodes_a, nodes_b = children(a), children(b)
	for i = 1, math.max(#nodes_a, #nodes_b) do
		if not nodes_a[i] or not nodes_b[i] then
			return ("%s: %s instead of %s"):format(path, tostring(nodes_a[i] or "nothing"), tostring(nodes_b[i] or "nothing"))
		end
		local found = difference(nodes_a[i], nodes_b[i], ns_a, ns_b, path)
		if found then
			return found
		end
	end
end

--- Compares two elements by their structure.
-- The order of attributes, the spelling of namespaces and white space between elements do not count.
-- @param actual a stanza, or XML text
-- @param expected a stanza, or XML text
-- @return true, or false and a description of the first difference
function xml.same(actual, expected)
	if type(actual) == "string" then
		actual = xml.parse(actual)
	end
	if type(expected) == "string" then
		expected = xml.parse(expected)
	end
	local found = difference(actual, expected, "jabber:client", "jabber:client", "")
	return not found, found
end

--- Raises an error that shows both elements unless they are the same.
-- @param actual a stanza, or XML text
-- @param expected a stanza, or XML text
function xml.assert_same(actual, expected)
	local same, found = xml.same(actual, expected)
	if not same then
		error(("The elements differ at %s\nActual:\n%s\nExpected:\n%s"):format(found, tostring(actual), tostring(expected)), 2)
	end
end

return xml
