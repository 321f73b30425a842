-- Runs slidge, with the network of slidge_verona.py, beside a server of the specs.

local environment = require "spec.support.environment"

local json = require "util.json"
local lfs = require "lfs"
local socket = require "socket"

local timeout = 30

local slidge = {}
local methods = {}
local slidge_mt = { __index = methods }

-- It ends when its input does, so that none is left over when the specs are interrupted.
local command = [[echo $$ >'%s/slidge.new'; mv '%s/slidge.new' '%s/slidge.pid'
PYTHONPATH="spec/gateways:$SLIDGE_PACKAGES" PYTHONDONTWRITEBYTECODE=1 exec timeout --foreground 120 \
	/usr/bin/python3 -m slidge --config '%s/slidge.ini' >>'%s' 2>&1]]

-- The text of the output, or of what came after a mark
local function text(self, mark)
	return (environment.read_file(self.path) or ""):sub((mark or 0) + 1)
end

-- Whether the process has not ended; one that nobody has waited for has
local function is_alive(self)
	local pid = (environment.read_file(self.dir .. "/slidge.pid") or ""):match "%d+"
	return pid ~= nil and not (environment.read_file("/proc/" .. pid .. "/stat") or ") Z"):find "%) Z"
end

--- Starts slidge, and waits until it says that it has started.
-- @param server the server, see spec.support.prosody; slidge keeps its data in the server's folder
-- @param jid its JID, a component of the server with the secret "secret"
-- @return slidge
function slidge.start(server, jid)
	local self = setmetatable({ path = server.dir .. "/slidge.log", dir = server.dir }, slidge_mt)
	lfs.mkdir(server.dir .. "/slidge")
	environment.write_file(
		server.dir .. "/slidge.ini",
		([[
legacy-module=slidge_verona
jid=%s
secret=secret
server=%s
port=%d
home-dir=%s/slidge
no-upload-path=%s/slidge
no-upload-url-prefix=http://verona.capulet.lit
]]):format(jid, server.ip, server.component_port, server.dir, server.dir)
	)
	self:launch()
	return self
end

--- Starts it again with the data that it has, after it has ended.
function methods:launch()
	local mark = self:mark()
	os.remove(self.dir .. "/slidge.pid")
	self.process = assert(io.popen(command:format(self.dir, self.dir, self.dir, self.dir, self.path), "w"))
	self.process:setvbuf "no"
	while not environment.read_file(self.dir .. "/slidge.pid") do
		socket.sleep(0.01)
	end
	self:wait("Slidge has successfully started", mark)
end

--- Gives a mark of the output's present end.
function methods:mark()
	return #text(self)
end

--- Waits for a line in the output.
-- @param pattern a Lua pattern
-- @param mark where to start to look, default the beginning
-- @return the line; an error is raised when none came
function methods:wait(pattern, mark)
	local deadline = socket.gettime() + timeout
	while true do
		local expired = socket.gettime() > deadline or not is_alive(self)
		for line in text(self, mark):gmatch "([^\n]*)\n" do
			if line:find(pattern) then
				return line
			end
		end
		if expired then
			error(("slidge did not say %q:\n%s"):format(pattern, text(self, mark):sub(-5000)), 2)
		end
		socket.sleep(0.01)
	end
end

--- Gives what slidge handed to the network.
-- @param mark where to start to look, default the beginning
-- @return list of texts, such as "juliet@capulet.lit friar text Hello"
function methods:told(mark)
	local told = {}
	for line in text(self, mark):gmatch "%f[^\n%z]verona: ([^\n]*)\n" do
		table.insert(told, line)
	end
	return told
end

--- Lets something happen in the network.
-- @param act table, see slidge_verona.py
function methods:happen(act)
	self.process:write(json.encode(act), "\n")
end

--- Waits until it has ended by itself, as when the server has gone.
-- @return its exit status
function methods:ended()
	local deadline = socket.gettime() + timeout
	while is_alive(self) do
		if socket.gettime() > deadline then
			error("slidge did not end:\n" .. text(self):sub(-5000), 2)
		end
		socket.sleep(0.01)
	end
	local process = self.process
	self.process = nil
	return (select(3, process:close()))
end

--- Ends it the clean way, if it runs.
-- @return its exit status
function methods:stop()
	if self.process then
		os.execute("kill $(cat '" .. self.dir .. "/slidge.pid')")
		return self:ended()
	end
end

--- Gives the complaints in what it wrote since the last call: warnings, errors and tracebacks.
-- @return list of lines
function methods:complaints()
	local found = {}
	local output = text(self, self.looked_at)
	self.looked_at = (self.looked_at or 0) + #output
	for line in output:gmatch "[^\n]+" do
		local complaint = line:find "^WARNING"
			or line:find "^ERROR"
			or line:find "^CRITICAL"
			or line:find "Traceback"
			or line:find "Warning:"
		if complaint and not line:find "Libmagic is not available" then
			table.insert(found, line)
		end
	end
	return found
end

return slidge
