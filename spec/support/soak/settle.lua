-- Reading what a soak's streams get, and waiting until the server has done all that it has to.

local socket = require "socket"

local settle = {}

--- Waits until a condition returns true; what else it returns is told when that does not happen.
function settle.wait(what, condition)
	local deadline = socket.gettime() + 30
	while true do
		local done, state = condition()
		if done then
			return
		elseif socket.gettime() > deadline then
			error(("%s did not come: %s"):format(what, tostring(state)), 0)
		end
		socket.sleep(0.002)
	end
end

--- Gives all users and entities, these last.
function settle.everybody(self)
	local all = {}
	for _, host in ipairs { "capulet.lit", "montague.lit" } do
		for _, user in ipairs(self.users[host]) do
			table.insert(all, user)
		end
	end
	for _, entity in ipairs(self.entities) do
		table.insert(all, entity)
	end
	return all
end

--- Visits all streams, those of entities last.
function settle.each_stream(self, visit)
	for _, owner in ipairs(settle.everybody(self)) do
		for _, stream in ipairs { table.unpack(owner.streams) } do
			visit(stream, owner)
		end
	end
end

--- Reads what has come so far; gives how many stanzas that were.
function settle.read(self)
	local count = 0
	settle.each_stream(self, function(stream)
		count = count + self:receive(stream)
		if stream.closed then
			error(stream.jid .. " lost its connection: " .. tostring(stream.error), 0)
		end
	end)
	return count
end

--- Lets the server do all that it has been asked to, and reads all that came of it
function settle.all(self)
	repeat
		settle.each_stream(self, function(stream)
			stream:sync()
		end)
	until settle.read(self) == 0
end

--- Waits until the server knows who is there, and has told entities what they may see
function settle.await_presence(self)
	local names = {}
	settle.each_stream(self, function(stream)
		table.insert(names, stream.jid)
	end)
	table.sort(names)
	local expected = table.concat(names, " ")
	settle.wait("everybody", function()
		local connected = self:inside "connected"
		return connected and table.concat(connected, " ") == expected,
			connected and table.concat(connected, " ") or "an entity is being told presences"
	end)
end

return settle
