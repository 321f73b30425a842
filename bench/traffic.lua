-- What goes over the streams, and whether it came.

local caps = require "util.caps"
local socket = require "socket"
local st = require "util.stanza"

local traffic = {}

local timeout = 30
local xmlns_disco_info = "http://jabber.org/protocol/disco#info"

--- Sends stanzas in one go.
-- @param stream who sends them
-- @param first number of the first one
-- @param last number of the last one
-- @param make function that gets a number and gives XML text
function traffic.send(stream, first, last, make)
	local parts = {}
	for i = first, last do
		parts[#parts + 1] = make(i)
	end
	stream:send(table.concat(parts))
end

--- Reads until each stream has got what it has to; anything else that comes is an error.
-- @param expected list of { stream, count, check }, where check tells of a stanza whether it is one of the right ones
function traffic.receive(expected)
	local deadline = socket.gettime() + timeout
	local left = {}
	while true do
		local waiting = {}
		for i, entry in ipairs(expected) do
			local stream, count, check = entry[1], entry[2], entry[3]
			left[i] = left[i] or count
			for _, stanza in ipairs(stream:drain()) do
				left[i] = left[i] - 1
				if left[i] < 0 or not check(stanza) then
					error(("%s got what it should not: %s"):format(stream.jid, tostring(stanza)), 0)
				end
			end
			if left[i] > 0 then
				if stream.closed then
					error(stream.jid .. " lost its connection: " .. tostring(stream.error), 0)
				end
				table.insert(waiting, stream.conn)
			end
		end
		if not waiting[1] then
			return
		end
		if socket.gettime() > deadline then
			for i, entry in ipairs(expected) do
				assert(left[i] == 0, ("%s did not get what it should: %d stanzas are missing"):format(entry[1].jid, left[i]))
			end
		end
		socket.select(waiting, nil, 1)
	end
end

--- Makes sure that streams have nothing more to come.
-- @param streams a list
function traffic.nothing_left(streams)
	for _, stream in ipairs(streams) do
		stream:nothing()
	end
end

-- What a client says that it is, with what its presence tells of that
local client_info =
	st.stanza("query", { xmlns = xmlns_disco_info }):tag("identity", { category = "client", type = "pc", name = "Gajim" }):up()
for _, feature in ipairs {
	"http://jabber.org/protocol/caps",
	xmlns_disco_info,
	"jabber:x:data",
	"urn:xmpp:avatar:metadata+notify",
	"urn:xmpp:jingle:1",
	"urn:xmpp:ping",
	"urn:xmpp:receipts",
	"urn:xmpp:time",
} do
	client_info:tag("feature", { var = feature }):up()
end
local client_version = caps.calculate_hash(client_info)
local client_node = "https://gajim.org"

--- Writes a presence of about 400 bytes, as clients send them.
-- @param status text that makes it differ
-- @param attributes XML text of its attributes, default none
function traffic.presence(status, attributes)
	return "<presence"
		.. (attributes or "")
		.. "><show>away</show><status>"
		.. status
		.. "</status><priority>5</priority>"
		.. "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='"
		.. client_node
		.. "' ver='"
		.. client_version
		.. "'/>"
		.. "<x xmlns='vcard-temp:x:update'><photo>da39a3ee5e6b4b0d3255bfef95601890afd80709</photo></x>"
		.. "<idle xmlns='urn:xmpp:idle:1' since='2026-01-01T00:00:00Z'/></presence>"
end

--- Makes a check for presences with a status that begins in some way.
function traffic.is_presence(status)
	return function(stanza)
		return stanza.name == "presence" and stanza.attr.type == nil and (stanza:get_child_text "status" or ""):sub(1, #status) == status
	end
end

--- Answers what servers ask a client about what it is, once they have seen its presence, and drops what else came.
-- @param stream the client
function traffic.introduce(stream)
	for _, stanza in ipairs(stream:sync():drain()) do
		if stanza.name == "iq" and stanza.attr.type == "get" and stanza:get_child("query", xmlns_disco_info) then
			local answer = st.clone(client_info)
			answer.attr.node = stanza.tags[1].attr.node
			stream:send(st.reply(stanza):add_child(answer))
		end
	end
	stream:sync():drain()
end

return traffic
