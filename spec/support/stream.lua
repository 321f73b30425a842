-- XMPP streams of clients and components for the specs.
--
-- All waiting is done with select and a deadline. A stream reads only while it is
-- being waited on; what it receives meanwhile stays in the operating system's buffers.

require "spec.support.environment"

local socket = require "socket"
local mime = require "mime"
local st = require "util.stanza"
local sha1 = require "util.hashes".sha1
local xml = require "spec.support.xml"

-- Much more than it takes: it is waited for in vain only where something is wrong, and the machine may be busy
local default_timeout = 20
local xmlns_sasl = "urn:ietf:params:xml:ns:xmpp-sasl"
local xmlns_bind = "urn:ietf:params:xml:ns:xmpp-bind"

local methods = {}
local stream_mt = { __index = methods }

local last_id = 0
local function new_id(prefix)
	last_id = last_id + 1
	return prefix .. "-" .. last_id
end

local function append(list, item)
	list[#list + 1] = item
end

-- Describes the queue and the state of a stream for an error message
local function state(self)
	local lines = {}
	if self.closed then
		append(lines, "The stream is closed" .. (self.error and " (" .. self.error .. ")" or "") .. ".")
	end
	append(lines, #self.queue == 0 and "No stanza is in the queue." or "In the queue:")
	for _, stanza in ipairs(self.queue) do
		append(lines, "  " .. tostring(stanza))
	end
	return table.concat(lines, "\n")
end

local function describe(filter)
	if type(filter) == "function" then
		local info = debug.getinfo(filter, "S")
		return ("a stanza accepted by the function at %s:%d"):format(info.short_src, info.linedefined)
	end
	local fields = {}
	for name, value in pairs(filter or {}) do
		append(fields, ("%s = %s"):format(name, type(value) == "string" and ("%q"):format(value) or tostring(value)))
	end
	table.sort(fields)
	return "a stanza with { " .. table.concat(fields, ", ") .. " }"
end

local function has_child(stanza, name, xmlns)
	for _, child in ipairs(stanza.tags) do
		if (name == nil or child.name == name) and (xmlns == nil or (child.attr.xmlns or false) == xmlns) then
			return true
		end
	end
	return false
end

-- Makes a function out of a filter
local function matcher(filter)
	if type(filter) == "function" then
		return filter
	end
	return function(stanza)
		for field, value in pairs(filter or {}) do
			local matches
			if field == "name" then
				matches = stanza.name == value
			elseif field == "child" or field == "xmlns" then
				matches = has_child(stanza, filter.child, filter.xmlns)
			elseif field == "body" then
				matches = (stanza:get_child_text "body" or false) == value
			else
				matches = (stanza.attr[field] or false) == value
			end
			if not matches then
				return false
			end
		end
		return true
	end
end

-- Reads what there is, waiting for it up to a time
local function pump(self, timeout)
	if self.closed or not socket.select({ self.conn }, nil, timeout)[1] then
		return
	end
	local err
	repeat
		local data, partial
		data, err, partial = self.conn:receive(65536)
		data = data or partial
		if data and data ~= "" then
			local ok, parse_error = self.feed(data)
			if not ok then
				self.error = self.error or "not well-formed: " .. tostring(parse_error)
				self:cut()
				return
			end
		end
	until err
	if err == "closed" then
		self:cut()
	end
end

-- Writes to the connection, reading when that has to wait
local function write(self, data)
	local position, deadline = 1, socket.gettime() + default_timeout
	while position <= #data do
		local last, err, partial = self.conn:send(data, position)
		position = (last or partial) + 1
		if err == "timeout" and socket.gettime() < deadline then
			socket.select({ self.conn }, { self.conn }, 0.1)
			pump(self, 0)
		elseif err then
			pump(self, 0) -- it may hold the reason
			return nil, err
		end
	end
	return true
end

-- Starts the stream anew with a header
local function open(self)
	local opened = false
	self.feed = xml.reader(self.xmlns, {
		opened = function(attr)
			opened, self.id = true, attr.id
		end,
		stanza = function(stanza)
			append(self.queue, stanza)
		end,
		closed = function()
			self.ended = true
		end,
		failed = function(condition, detail)
			if condition == "stream-error" then
				local child = detail.tags[1]
				condition = child and child.name or condition
				self.stream_error = detail
			end
			self.error = condition
		end,
	})
	local version = self.kind == "client" and " version='1.0'" or ""
	self:send(
		("<?xml version='1.0'?><stream:stream xmlns='%s' xmlns:stream='http://etherx.jabber.org/streams' to='%s'%s>"):format(
			self.xmlns,
			self.domain,
			version
		)
	)
	local deadline = socket.gettime() + default_timeout
	while not opened and not self.closed and socket.gettime() < deadline do
		pump(self, deadline - socket.gettime())
	end
	if not opened then
		error("The server did not open the stream of " .. self.jid .. "\n" .. state(self), 0)
	end
end

local function connect(self, ip, port)
	self.queue = {}
	self.closed = false
	self.conn = assert(socket.tcp())
	self.conn:settimeout(default_timeout)
	local ok, err = self.conn:connect(ip, port)
	if not ok then
		self.conn:close()
		error(("Cannot connect to %s port %d: %s"):format(ip, port, err), 0)
	end
	self.conn:setoption("tcp-nodelay", true)
	self.conn:settimeout(0)
	open(self)
end

--- Sends a stanza.
-- @param stanza a stanza, or XML text that is sent as it is
-- @return the stream
function methods:send(stanza)
	local ok, err = nil, "closed"
	if not self.closed then
		self.dirty = true
		ok, err = write(self, tostring(stanza))
	end
	if not ok then
		error(("Cannot send to the server as %s: %s\n%s"):format(self.jid, tostring(err), state(self)), 2)
	end
	return self
end

-- What expect does, with the message of the error in the hands of the caller
local function wait_for(self, filter, timeout)
	local matches, queue = matcher(filter), self.queue
	local deadline, first, expired = socket.gettime() + (timeout or default_timeout), 1, false
	while true do
		for i = first, #queue do
			if matches(queue[i]) then
				return table.remove(queue, i)
			end
		end
		first = #queue + 1
		if self.closed or expired then
			return nil
		end
		local left = deadline - socket.gettime()
		expired = left <= 0
		pump(self, math.max(left, 0))
	end
end

--- Waits for a stanza and takes it out of the queue; the others stay in it.
-- A table as the filter names what has to be equal: name, child and xmlns (a child with that name
-- and namespace), body (its text), anything else is an attribute; false means that it is absent.
-- @param filter a function that gets a stanza and tells whether it is the one, or a table, or nil for any stanza
-- @param timeout in seconds, default 20
-- @return the stanza; an error is raised when none came
function methods:expect(filter, timeout)
	local stanza = wait_for(self, filter, timeout)
	if not stanza then
		error(("%s waited for %s.\n%s"):format(self.jid, describe(filter), state(self)), 2)
	end
	return stanza
end

local function is_ping(id)
	return function(stanza)
		return stanza.name == "iq" and stanza.attr.id == id
	end
end

-- One ping to the server and its answer, or nil and an error message
local function round_trip(self)
	local id = new_id "sync"
	local to = self.kind == "client" and self.domain or self.server.host
	local from = self.kind == "component" and self.jid or nil
	write(self, tostring(st.iq({ type = "get", id = id, to = to, from = from }):tag("ping", { xmlns = "urn:xmpp:ping" })))
	if not wait_for(self, is_ping(id)) then
		return nil, ("%s got no answer to a ping to %s.\n%s"):format(self.jid, to, state(self))
	end
	self.dirty = false
	return true
end

--- Makes a round trip through the server, after one on each other stream of this server that sent something:
-- the server has then handled all that was sent to it, and all that it sent on this stream is in the queue.
-- Nothing of the round trips themselves appears in the queues.
-- @return the stream
function methods:sync()
	for _, other in ipairs(self.server.streams) do
		if other ~= self and other.dirty and not other.closed then
			local ok, err = round_trip(other)
			if not ok and not other.closed then
				error(err, 2)
			end
		end
	end
	local ok, err = nil, ("%s is closed.\n%s"):format(self.jid, state(self))
	if not self.closed then
		ok, err = round_trip(self)
	end
	if not ok then
		error(err, 2)
	end
	return self
end

--- Proves that no stanza came: does a sync, and then raises an error that shows the stanza
-- if there is one in the queue that matches.
-- @param filter as for expect; nil for any stanza
function methods:nothing(filter)
	if not self.closed then
		self:sync()
	end
	local matches = matcher(filter)
	for _, stanza in ipairs(self.queue) do
		if matches(stanza) then
			local what = filter and "nothing like " .. describe(filter) or "nothing"
			error(("%s expected %s but got\n  %s"):format(self.jid, what, tostring(stanza)), 2)
		end
	end
end

--- Sends a query and waits for its answer.
-- @param query table with type, to, id (made up by default), from (on a component its JID by default) and
-- other attributes, timeout, and as its element 1 or "payload" a stanza or XML text
-- @return the answer, a result or an error; an error is raised when none came
function methods:iq(query)
	local attr, payload, timeout = {}, "", nil
	for name, value in pairs(query) do
		if name == 1 or name == "payload" then
			payload = tostring(value)
		elseif name == "timeout" then
			timeout = value
		else
			attr[name] = value
		end
	end
	attr.id = attr.id or new_id "iq"
	if self.kind == "component" then
		attr.from = attr.from or self.jid
	end
	self:send(st.iq(attr):top_tag() .. payload .. "</iq>")
	local answer = wait_for(self, function(stanza)
		return stanza.name == "iq" and stanza.attr.id == attr.id and (stanza.attr.type == "result" or stanza.attr.type == "error")
	end, timeout)
	if not answer then
		error(("%s got no answer to its query %s.\n%s"):format(self.jid, attr.id, state(self)), 2)
	end
	return answer
end

--- Empties the queue, after having read what arrived; use sync before for all that the server has sent.
-- @return the list of the stanzas
function methods:drain()
	pump(self, 0)
	local queue = self.queue
	self.queue = {}
	return queue
end

--- Ends the stream the clean way, and waits until the server has ended it too.
function methods:close()
	if not self.closed then
		write(self, "</stream:stream>")
		local deadline = socket.gettime() + default_timeout
		while not self.closed and socket.gettime() < deadline do
			pump(self, deadline - socket.gettime())
		end
		self:cut()
	end
end

--- Breaks the connection.
function methods:cut()
	if not self.closed then
		self.closed = true
		-- other processes may have inherited the socket, closing it is not enough
		self.conn:shutdown "both"
		self.conn:close()
	end
end

-- Authenticates a client
local function log_in(self, username, password)
	self:send(("<auth xmlns='%s' mechanism='PLAIN'>%s</auth>"):format(xmlns_sasl, (mime.b64("\0" .. username .. "\0" .. password))))
	local answer = self:expect(function(stanza)
		return stanza.name == "success" or stanza.name == "failure"
	end)
	if answer.name == "failure" then
		self:cut()
		error(("%s cannot log in: %s"):format(self.jid, tostring(answer)), 0)
	end
end

-- Binds a client's resource, one of the server's making if it is ""
local function bind(self, resource)
	open(self)
	self:expect { name = "features" }
	local payload = st.stanza("bind", { xmlns = xmlns_bind })
	if resource ~= "" then
		payload:tag("resource"):text(resource):up()
	end
	local bound = self:iq { type = "set", payload }
	if bound.attr.type ~= "result" then
		self:cut()
		error(("%s cannot bind: %s"):format(self.jid, tostring(bound)), 0)
	end
	self.jid = bound:get_child("bind", xmlns_bind):get_child_text "jid"
end

local stream = {}

--- Connects a client: logs in, binds its resource and sends initial presence.
-- @param server a running server, see spec.support.prosody
-- @param jid the client's JID; without a resource the server makes one up
-- @param options table: password; presence (default true; false sends none, a stanza or XML text is sent
-- instead of plain presence); carbons = true switches them on; roster = true requests it before presence;
-- legacy = true logs in as before XMPP 1.0 (XEP-0078), the jid needs a resource and the server mod_legacyauth then
-- @return the stream
function stream.client(server, jid, options)
	options = options or {}
	local username, domain, resource = jid:match "^([^@/]+)@([^/]+)/?(.*)$"
	local self = setmetatable({ kind = "client", server = server, jid = jid, domain = domain, xmlns = "jabber:client" }, stream_mt)
	connect(self, server.ip, server.c2s_port)
	append(server.streams, self)
	self:expect { name = "features" }
	local password = options.password or server.passwords[username .. "@" .. domain] or "secret"
	if options.legacy then
		local answer = self:iq {
			type = "set",
			st.stanza("query", { xmlns = "jabber:iq:auth" })
				:tag("username")
				:text(username)
				:up()
				:tag("password")
				:text(password)
				:up()
				:tag("resource")
				:text(resource)
				:up(),
		}
		if answer.attr.type ~= "result" then
			self:cut()
			error(("%s cannot log in: %s"):format(jid, tostring(answer)), 0)
		end
	else
		log_in(self, username, password)
		bind(self, resource)
	end
	if options.carbons then
		self:iq { type = "set", "<enable xmlns='urn:xmpp:carbons:2'/>" }
	end
	if options.roster then
		self.roster = self:iq { type = "get", "<query xmlns='jabber:iq:roster'/>" }
	end
	if options.presence ~= false then
		self:send(options.presence ~= true and options.presence or "<presence/>")
		self:expect { name = "presence", from = self.jid }
	end
	self.dirty = false
	return self
end

--- Connects a component.
-- @param server a running server, see spec.support.prosody
-- @param jid the component's JID
-- @param secret its secret, default "secret"
-- @return the stream, after the handshake
function stream.component(server, jid, secret)
	local self =
		setmetatable({ kind = "component", server = server, jid = jid, domain = jid, xmlns = "jabber:component:accept" }, stream_mt)
	connect(self, server.ip, server.component_port)
	append(server.streams, self)
	self:send(("<handshake>%s</handshake>"):format(sha1(self.id .. (secret or "secret"), true)))
	self:expect { name = "handshake" }
	self.dirty = false
	return self
end

return stream
