-- Many users who are online, and a component that catches up with their presences.

local measure = require "bench.measure"
local sha1 = require "util.hashes".sha1
local socket = require "socket"
local traffic = require "bench.traffic"

local catch_up = {}

-- The community module takes long with Prosody 13
local timeout = 120

--- Has users be online, with sessions that are made up inside the server.
-- @param server the server
-- @param count how many users
-- @param contacts how many contacts each of them has, who are other such users
-- @param send_presence whether they send their presences, instead of having sent them before anybody listened
function catch_up.make_sessions(server, count, contacts, send_presence)
	server:eval(([[
		local count, contacts, send_presence = %d, %d, %s;
		local st = require "util.stanza";
		local presence = require "util.xml".parse(%q);
		local host = module.host;
		local function send() return true; end
		for i = 1, count do
			local username, resource = "user" .. i, "balcony";
			local bare = username .. "@" .. host;
			local full = bare .. "/" .. resource;
			local roster = { [false] = { version = 1, pending = {} } };
			for j = 1, contacts do
				roster["user" .. (i + j * 37) %% count + 1 .. "@" .. host] = { subscription = "both", name = "Contact " .. j, groups = {} };
			end
			local session = {
				type = "c2s", username = username, host = host, resource = resource, full_jid = full,
				send = send, close = send, log = module._log, roster = roster, presence = st.clone(presence),
			};
			session.presence.attr.from = full;
			local user = { sessions = { [resource] = session }, roster = roster };
			prosody.hosts[host].sessions[username] = user;
			prosody.bare_sessions[bare] = user;
			prosody.full_sessions[full] = session;
			if send_presence then
				local stanza = session.presence;
				session.presence = nil;
				prosody.core_process_stanza(session, stanza);
			end
		end
	]]):format(count, contacts, tostring(send_presence or false), traffic.presence "On the balcony"))
end

-- A component's stream that only counts what comes, for that takes least time beside a server that is being watched
local component = {}
component.__index = component

--- Opens a stream up to its handshake.
-- @param server the server
-- @param jid the component's JID
-- @return the component
function catch_up.component(server, jid)
	local self = setmetatable({ jid = jid, presences = 0, rest = "" }, component)
	self.conn = assert(socket.connect(server.ip, server.component_port))
	self.conn:setoption("tcp-nodelay", true)
	self.conn:settimeout(0)
	assert(
		self.conn:send(
			("<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='%s'>"):format(jid)
		)
	)
	local header = ""
	local id
	repeat
		socket.select({ self.conn }, nil, timeout)
		local data, err, partial = self.conn:receive(4096)
		header = header .. (data or partial or "")
		id = header:match " id=['\"]([^'\"]+)['\"].*>"
		assert(id or err ~= "closed", "the server did not open the stream")
	until id
	self.id = id
	return self
end

--- Authenticates the component; the catch-up begins then.
function component:shake_hands()
	assert(self.conn:send("<handshake>" .. sha1(self.id .. "secret", true) .. "</handshake>"))
end

--- Reads what there is.
function component:read()
	repeat
		local data, err, partial = self.conn:receive(65536)
		local text = self.rest .. (data or partial or "")
		local _, count = text:gsub("<presence", "")
		self.presences = self.presences + count
		if text:find("type='error'", 1, true) or text:find("<stream:error", 1, true) or err == "closed" then
			error(self.jid .. " got what it should not: " .. text, 0)
		end
		-- So much that no beginning of a presence is lost, and none is counted twice
		self.rest = text:sub(-8)
	until err == "timeout"
end

function component:check_time(deadline, count)
	if socket.gettime() > deadline then
		error(("%s got the presences of %d users only, not of %d"):format(self.jid, self.presences, count), 0)
	end
end

--- Reads until so many presences have come.
function component:wait(count)
	local deadline = socket.gettime() + timeout
	repeat
		socket.select({ self.conn }, nil, 1)
		self:read()
		self:check_time(deadline, count)
	until self.presences >= count
end

--- Closes the stream, and waits until the server has too.
-- @param count how many presences must have come
function component:close(count)
	assert(self.conn:send "</stream:stream>")
	self.conn:settimeout(timeout)
	local rest = self.conn:receive "*a"
	assert(rest and not rest:find("<presence", 1, true) and self.presences == count, "there were more presences than users")
	self.conn:close()
end

local function read_pong(conn)
	local data, _, partial = conn:receive(4096)
	data = data or partial
	if data:find("type='error'", 1, true) then
		error("a ping was answered with an error: " .. data, 0)
	end
	return data:find("<iq", 1, true) ~= nil
end

--- Catches up while somebody pings the server all the time.
-- @param server the server
-- @param jid the component's JID
-- @param count how many users are online
-- @param client the stream that pings
-- @return the longest time that a ping had to wait, as processor time of the server, in milliseconds
function catch_up.longest_wait(server, jid, count, client)
	client:sync():drain()
	local stream = catch_up.component(server, jid)
	local longest, deadline = 0, socket.gettime() + timeout
	stream:shake_hands()
	repeat
		local before, answered = measure.now(server), false
		assert(client.conn:send(("<iq type='get' id='p' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>"):format(server.host)))
		repeat
			for _, readable in ipairs(socket.select({ client.conn, stream.conn }, nil, timeout)) do
				if readable == client.conn then
					answered = read_pong(readable)
					longest = math.max(longest, measure.now(server) - before)
				else
					stream:read()
				end
			end
			stream:check_time(deadline, count)
		until answered
	until stream.presences >= count
	stream:close(count)
	return longest / 1000
end

return catch_up
