-- Runs real Prosody servers for the specs: each on loopback, on free ports, in a temporary folder.
--
-- A small shell process stands between the specs and the server. It sends the server the signals that
-- are written to it, and when the specs' process goes away it kills the server and removes the folder.

local environment = require "spec.support.environment"

local lfs = require "lfs"
local mime = require "mime"
local socket = require "socket"
local stream = require "spec.support.stream"

local control_host = "test.control"
local xmlns_control = "urn:spec:control"
local start_timeout, stop_timeout = 30, 30

-- For looking at the servers' folders afterwards
local keep_folders = (os.getenv "SPEC_KEEP" or "") ~= ""

local prosody = {}
local methods = {}
local server_mt = { __index = methods }

-- All servers that were started and not stopped
local servers = {}

local function quote(argument)
	return "'" .. tostring(argument):gsub("'", "'\\''") .. "'"
end

local function capture(command)
	local pipe = assert(io.popen(command))
	local output = pipe:read "*a"
	local _, _, status = pipe:close()
	return output, status
end

-- Makes a temporary folder: below TMPDIR, or where there is room in memory, or below /tmp
local function make_folder()
	return (
		assert(
			capture [[
		base=${TMPDIR:-/tmp}
		if [ -z "$TMPDIR" ] && [ -w /dev/shm ]; then
			set -- $(df -Pk /dev/shm 2>/dev/null | tail -n 1)
			if [ "${4:-0}" -gt 1000000 ]; then base=/dev/shm; fi
		fi
		mktemp -d "$base/prosody-spec.XXXXXX"
	]]:match "^[^\n]+",
			"cannot make a temporary folder"
		)
	)
end

local function copy(list)
	return { table.unpack(list) }
end

local function serialise(value)
	if type(value) == "table" then
		local parts = {}
		for k, v in pairs(value) do
			parts[#parts + 1] = "[" .. serialise(k) .. "]=" .. serialise(v)
		end
		return "{" .. table.concat(parts, ",") .. "}"
	elseif type(value) == "string" then
		return ("%q"):format(value)
	end
	return tostring(value)
end

-- The ports that were handed out. They are locked in a file until this process ends: another one that runs specs could
-- find them free, too, since a server takes a moment until it listens.
local taken, lock_file = {}, io.open((os.getenv "TMPDIR" or "/tmp") .. "/prosody-spec.ports", "a")

-- Takes a port, unless it was handed out before
local function take(port)
	if taken[port] or lock_file and not lfs.lock(lock_file, "w", port, 1) then
		return false
	end
	taken[port] = true
	return true
end

-- Finds ports that are free on an address. They are not of the range that the system takes for outgoing connections:
-- one of these could get in the way of a restart, or a connection to a server that does not listen yet be made to itself.
local function free_ports(ip, count)
	local random = assert(io.open("/dev/urandom", "rb"))
	local sockets, ports = {}, {}
	while #ports < count do
		local high, low = random:read(2):byte(1, 2)
		local port = 20000 + (high * 256 + low) % 12000
		-- Nobody binds a port of others, even for a moment: their servers may start again just then
		local bound = take(port) and socket.bind(ip, port)
		if bound then
			table.insert(sockets, bound)
			table.insert(ports, port)
		end
	end
	for _, bound in ipairs(sockets) do
		bound:close()
	end
	random:close()
	return table.unpack(ports)
end

--- Finds a port that is free, for what a spec has a server listen on besides the streams.
-- @param ip the loopback address, default "127.0.0.1"
-- @return the port
function prosody.free_port(ip)
	return (free_ports(ip or "127.0.0.1", 1))
end

local function split_account(jid)
	local username, host = jid:match "^([^@/]+)@([^@/]+)$"
	if not username then
		error("not the JID of an account: " .. tostring(jid), 0)
	end
	return username, host
end

-- A roster as Prosody stores it
local function stored_roster(items)
	local roster = { [false] = { version = 1, pending = {} } }
	for jid, item in pairs(items) do
		if jid == false then
			roster[false] = item
		else
			local stored = { subscription = "none", groups = {} }
			for k, v in pairs(item) do
				stored[k] = v
			end
			if item.groups then
				stored.groups = {}
				for _, group in ipairs(item.groups) do
					stored.groups[group] = true
				end
			end
			roster[jid] = stored
		end
	end
	return roster
end

-- Makes a function that writes data as mod_storage_internal does
local function data_writer(folder)
	local made = {}
	local function make(path)
		if not made[path] then
			lfs.mkdir(path)
			made[path] = true
		end
	end
	local function encode(name)
		return (name:gsub("[^A-Za-z0-9]", function(c)
			return ("%%%02x"):format(c:byte())
		end))
	end
	return function(username, host, store, data)
		local path = folder .. "/" .. encode(host)
		make(path)
		path = path .. "/" .. encode(store)
		make(path)
		environment.write_file(path .. "/" .. encode(username) .. ".dat", "return " .. serialise(data) .. ";\n")
	end
end

-- The accounts and rosters of the options, as { username, host, store, data }
local function each_data(options, write)
	for jid, roster in pairs(options.rosters or {}) do
		local username, host = split_account(jid)
		write(username, host, "roster", stored_roster(roster))
	end
	for jid, password in pairs(options.passwords) do
		local username, host = split_account(jid)
		write(username, host, "accounts", { password = password })
	end
end

local function write_config(self)
	local lines = {}
	local function option(name, value)
		lines[#lines + 1] = name .. " = " .. value .. ";"
	end
	local function list(items)
		local quoted = {}
		for i, item in ipairs(items) do
			quoted[i] = type(item) == "string" and ("%q"):format(item) or tostring(item)
		end
		return "{ " .. table.concat(quoted, ", ") .. " }"
	end
	local modules = { "roster", "saslauth", "disco", "ping", "carbons", "pep", "blocklist", "test_control" }
	local disabled = { "tls" }
	if self.s2s_port then
		modules[#modules + 1] = "dialback"
		option("s2s_ports", list { self.s2s_port })
		option("s2s_interfaces", list { self.ip })
		option("s2s_secure_auth", "false")
		option("s2s_require_encryption", "false")
		option("test_control_names", ("%q"):format(self.dir .. "/names"))
	else
		disabled[#disabled + 1] = "s2s"
		disabled[#disabled + 1] = "s2s_auth_certs"
	end
	for _, name in ipairs(self.options.modules or { "privilege" }) do
		modules[#modules + 1] = name
	end
	option("run_as_root", "true")
	option("pidfile", ("%q"):format(self.dir .. "/prosody.pid"))
	option("data_path", ("%q"):format(self.dir .. "/data"))
	option("plugin_paths", list(self.plugin_paths))
	option("log", ("{ %s = %q }"):format(self.options.log_level or "debug", self.dir .. "/prosody.log"))
	option("modules_enabled", list(modules))
	option("modules_disabled", list(disabled))
	option("interfaces", list { self.ip })
	option("c2s_ports", list { self.c2s_port })
	option("c2s_interfaces", list { self.ip })
	option("c2s_require_encryption", "false")
	option("allow_unencrypted_plain_auth", "true")
	option("component_ports", list { self.component_port })
	option("component_interfaces", list { self.ip })
	option("component_stanza_size_limit", "10000000")
	option("network_settings", "{ nagle = false }") -- else small stanzas wait for delayed acknowledgements
	option("http_ports", "{}")
	option("https_ports", "{}")
	option("authentication", '"internal_plain"')
	if self.options.storage == "sql" then
		option("storage", '"sql"')
		option("sql", ('{ driver = "SQLite3", database = %q }'):format(self.dir .. "/prosody.sqlite"))
	else
		option("storage", '"internal"')
	end
	lines[#lines + 1] = self.global or ""
	lines[#lines + 1] = self.config
	lines[#lines + 1] = ("Component %q"):format(control_host)
	lines[#lines + 1] = 'component_secret = "secret"; modules_enabled = { "test_control" };\n'
	environment.write_file(self.dir .. "/prosody.cfg.lua", table.concat(lines, "\n"))

	self.hosts = {}
	for kind, host in self.config:gmatch "%f[%w](%a+)%s*%(?%s*[\"']([^\"'\n]+)[\"']" do
		if kind == "VirtualHost" or kind == "Component" then
			self.hosts[#self.hosts + 1] = host
		end
	end
	self.host = self.config:match "VirtualHost%s*%(?%s*[\"']([^\"'\n]+)[\"']"
end

-- Tells all servers that federate where the others are; the last one started with a name has it
local function write_names()
	local names = {}
	for i = #servers, 1, -1 do
		local server = servers[i]
		if server.s2s_port then
			for _, host in ipairs(server.hosts) do
				table.insert(names, ("%s %s %d\n"):format(host, server.ip, server.s2s_port))
			end
		end
	end
	for _, server in ipairs(servers) do
		if server.s2s_port then
			environment.write_file(server.dir .. "/names", table.concat(names))
		end
	end
end

-- Whether the server's process is there and not merely waiting to be noticed as ended
local function is_alive(self)
	local stat = environment.read_file("/proc/" .. self.pid .. "/stat")
	return stat ~= nil and not stat:match "%) Z"
end

-- Ends the shell process, and by that the server if it still runs
local function release(self, keep)
	for _, connected in ipairs(self.streams) do
		connected:cut()
	end
	self.streams = {}
	if self.control then
		self.control:cut()
		self.control = nil
	end
	local process = self.process
	self.process = nil
	if process and io.type(process) == "file" then
		if keep then
			process:write "keep\n"
		end
		return select(3, process:close())
	end
end

local function remove_folder(self)
	if not keep_folders then
		os.execute("rm -rf " .. quote(self.dir))
	end
end

local function forget(self)
	for i, server in ipairs(servers) do
		if server == self then
			table.remove(servers, i)
			break
		end
	end
	if self.s2s_port then
		write_names()
	end
end

local function output(self)
	return environment.read_file(self.dir .. "/output") or ""
end

local function control(self)
	if not self.control or self.control.closed then
		self.control = stream.component({
			ip = self.ip,
			component_port = self.component_port,
			host = self.host,
			streams = {},
		}, control_host, "secret")
	end
	return self.control
end

local wrapper = [[
trap '' INT
prosody=%s dir=%s clean=%s
"$prosody" -F --config "$dir/prosody.cfg.lua" >>"$dir/output" 2>&1 </dev/null &
pid=$!
echo $pid >"$dir/pid.new"; mv "$dir/pid.new" "$dir/pid"
while read command; do
	case $command in
		keep) clean=;;
		?*) kill -$command $pid;;
	esac
done
exec 2>/dev/null
kill -9 $pid
wait $pid
status=$?
if [ "$clean" ]; then rm -rf "$dir"; fi
exit $status
]]

local function launch(self)
	os.remove(self.dir .. "/pid")
	local clean = keep_folders and "" or "yes"
	self.process = assert(io.popen(wrapper:format(quote(self.program), quote(self.dir), clean), "w"))
	self.process:setvbuf "no"
	local deadline = socket.gettime() + start_timeout
	local ok, err
	repeat
		socket.sleep(0.005)
		self.pid = self.pid or tonumber((environment.read_file(self.dir .. "/pid")))
		ok, err = pcall(control, self)
	-- On a busy machine the server may answer before the shell has written its process id
	until ok and self.pid or socket.gettime() > deadline or self.pid and not is_alive(self)
	if not (ok and self.pid) then
		local text = ("Prosody did not start: %s\n%s\n%s"):format(tostring(err), output(self), self:log():sub(-5000))
		release(self)
		forget(self)
		remove_folder(self)
		error(text, 0)
	end
end

local function start(options)
	local self = setmetatable({ options = options, streams = {}, allowed = {}, passwords = {} }, server_mt)
	for key, value in pairs(options.users or {}) do
		if type(key) == "number" then
			self.passwords[value] = "secret"
		else
			self.passwords[key] = value
		end
	end
	self.program = options.prosody or environment.program
	self.ip = options.ip or "127.0.0.1"
	self.config, self.global = options.config, options.global
	self.plugin_paths = copy(options.plugin_paths or { lfs.currentdir() .. "/lua-out" })
	table.insert(self.plugin_paths, lfs.currentdir() .. "/spec/support/plugins")
	self.dir = make_folder()
	assert(lfs.mkdir(self.dir .. "/data"))
	assert(lfs.mkdir(self.dir .. "/certs"))
	local s2s_port
	self.c2s_port, self.component_port, s2s_port = free_ports(self.ip, 3)
	if options.s2s then
		self.s2s_port = options.s2s == true and s2s_port or options.s2s
	end
	write_config(self)
	local data = { passwords = self.passwords, rosters = options.rosters }
	if options.storage ~= "sql" then
		each_data(data, data_writer(self.dir .. "/data"))
	end
	table.insert(servers, self)
	if self.s2s_port then
		write_names()
	end
	launch(self)
	if options.storage == "sql" and (next(self.passwords) or options.rosters) then
		local seeds = {}
		each_data(data, function(...)
			table.insert(seeds, { ... })
		end)
		environment.write_file(self.dir .. "/seeds.lua", "return " .. serialise(seeds))
		self:eval(([[
			local storagemanager, usermanager = require "core.storagemanager", require "core.usermanager";
			for _, seed in ipairs(dofile(%q)) do
				local username, host, store, data = seed[1], seed[2], seed[3], seed[4];
				if store == "accounts" then
					assert(usermanager.create_user(username, data.password, host));
				else
					assert(storagemanager.open(host, store, "keyval"):set(username, data));
				end
			end
		]]):format(self.dir .. "/seeds.lua"))
	end
	return self
end

--- Starts a server.
-- @param options table, every field of which may be left out but config:
-- config: text of the configuration from the first VirtualHost on;
-- global: more lines for the global section;
-- modules: names of more modules for all VirtualHosts, default { "privilege" };
-- users: accounts, [jid] = password or just jid (with the password "secret");
-- rosters: [jid] = { [contact] = { subscription =, name =, ask =, groups = { list } } }, and [false] for other metadata than { version = 1, pending = {} };
-- storage: "internal" or "sql" (SQLite3);
-- ip: the loopback address to listen on, default "127.0.0.1";
-- s2s: true or a port, for a server that federates with all others that do;
-- log_level: the least level that is logged, default "debug" (which takes most of a busy server's time);
-- plugin_paths: folders of modules, default the repository's lua-out;
-- prosody: the program, default PROSODY_BIN or the one in PATH
-- @return the server, with dir, ip, c2s_port, component_port, s2s_port, pid, host (the first VirtualHost) and hosts
function prosody.start(options)
	for _ = 1, 3 do
		local ok, server = pcall(start, options)
		if ok then
			return server
		elseif not tostring(server):find("port is in use", 1, true) then
			error(server, 0)
		end
		-- Somebody took a port after it was found free: the next server has others
	end
	return start(options)
end

--- Kills all servers that are still there, without looking at their logs.
function prosody.kill_all()
	while servers[1] do
		local server = table.remove(servers)
		release(server)
		remove_folder(server)
	end
end

-- What is left when the specs end is removed then
prosody.guard = setmetatable({}, { __gc = prosody.kill_all })

--- Connects a client, see stream.client.
-- @param jid its JID
-- @param options see stream.client
-- @return the stream
function methods:client(jid, options)
	return stream.client(self, jid, options)
end

--- Connects a component, see stream.component.
-- @param jid its JID
-- @param secret its secret, default "secret"
-- @return the stream
function methods:component(jid, secret)
	return stream.component(self, jid, secret)
end

--- Makes a round trip on each stream that stands, and drops what came over it.
function methods:drain()
	for _, connected in ipairs(self.streams) do
		if not connected.closed then
			connected:sync():drain()
		end
	end
end

--- Gives the text of the log so far.
function methods:log()
	return environment.read_file(self.dir .. "/prosody.log") or ""
end

--- Gives a mark of the log's present end, for log_since and wait_log.
function methods:mark()
	return #self:log()
end

--- Gives the text that was logged after a mark.
-- @param mark what mark() returned
function methods:log_since(mark)
	return self:log():sub(mark + 1)
end

--- Waits for a line in the log.
-- @param pattern a Lua pattern
-- @param timeout in seconds, default 20
-- @param mark where to start to look, default the log's beginning
-- @return the line; an error is raised when none came
function methods:wait_log(pattern, timeout, mark)
	local deadline, position = socket.gettime() + (timeout or 20), mark or 0
	while true do
		local expired = socket.gettime() >= deadline
		local text = self:log_since(position)
		for line in text:gmatch "([^\n]*)\n" do
			if line:find(pattern) then
				return line
			end
		end
		position = position + #(text:match "^.*\n" or "")
		if expired then
			error(("No line of the log matches %q:\n%s"):format(pattern, self:log_since(mark or 0)), 2)
		end
		socket.sleep(0.005)
	end
end

--- Lets stop() accept a traceback.
-- @param pattern a Lua pattern that matches somewhere in the log entry that holds the traceback
function methods:allow_log(pattern)
	table.insert(self.allowed, pattern)
end

-- Finds the entries of the log that tell of errors in Lua code
local function tracebacks(self)
	local entries, found = {}, {}
	for line in (self:log() .. output(self)):gmatch "[^\n]+" do
		if #entries == 0 or line:find "^%S+ +%d+ %d%d:%d%d:%d%d" then
			table.insert(entries, { line })
		else
			table.insert(entries[#entries], line)
		end
	end
	for _, entry in ipairs(entries) do
		local text = table.concat(entry, "\n")
		-- Prosody itself says "attempt to connect" and the like while debugging
		if text:find "[Tt]raceback" or text:find "attempt to" and not text:find "^[^\n]*\tdebug\t" then
			local allowed = false
			for _, pattern in ipairs(self.allowed) do
				allowed = allowed or text:find(pattern)
			end
			if not allowed then
				table.insert(found, text)
			end
		end
	end
	return found
end

--- Takes what is in the log, which is empty after that; for servers that log much and write nothing now.
-- An error is raised when it tells of an error in Lua code.
-- @return the text
function methods:take_log()
	local found, text = tracebacks(self), self:log()
	environment.write_file(self.dir .. "/prosody.log", "")
	if found[1] then
		error("The log holds errors:\n" .. table.concat(found, "\n"), 2)
	end
	return text
end

-- Lets the server shut down
local function terminate(self)
	if not self.process then
		return
	end
	for _, connected in ipairs(self.streams) do
		connected:cut()
	end
	-- A server that has not noticed yet that its clients are gone would wait for a second, and one whose stream with another
	-- server has ended, but not yet the connection, fails on its way down: mod_s2s closes such streams, which cannot be closed
	for _ = 1, 50 do
		local ok, gone = pcall(
			methods.eval,
			self,
			[[
				for _, session in pairs(module:shared "/*/s2s/sessions") do
					if not session.close then
						return false;
					end
				end
				return next(prosody.full_sessions) == nil;
			]],
			nil,
			1
		)
		if not ok or gone then
			break
		end
	end
	self.process:write "keep\n"
	-- A server that waits may not wake up for a signal, and whatever else wakes it up then may meet streams that are closed already
	local is_told = pcall(
		methods.eval,
		self,
		[[
			local function stop()
				prosody.unlock_globals();
				prosody.shutdown "The specs are done with it";
				-- Else the server looks only in a second whether all connections are closed
				require "util.timer".add_task(0.01, function () end);
			end
			module:add_timer(0, function ()
				if prosody.main_thread then
					prosody.main_thread:run(stop); -- since 0.12, modules may wait for others on the way down
				else
					stop();
				end
			end);
		]],
		nil,
		5
	)
	if not is_told then
		self.process:write "TERM\n"
	end
	local deadline = socket.gettime() + stop_timeout
	while is_alive(self) do
		if socket.gettime() > deadline then
			release(self, true)
			return "Prosody did not stop in time"
		end
		socket.sleep(0.005)
	end
	local status = release(self, true)
	if status ~= 0 then
		return "Prosody exited with status " .. tostring(status)
	end
end

--- Stops the server and removes its folder.
-- Raises an error when the server did not end well, or when the log tells of an error in Lua code
-- that was not allowed with allow_log.
function methods:stop()
	if self.stopped then
		return
	end
	self.stopped = true
	local problem = terminate(self)
	local found = tracebacks(self)
	forget(self)
	remove_folder(self)
	if found[1] then
		error("The log holds errors:\n" .. table.concat(found, "\n"), 2)
	elseif problem then
		error(problem, 2)
	end
end

--- Kills the server (SIGKILL), and keeps its folder.
function methods:kill()
	release(self, true)
end

--- Starts the server again on its folder and ports, after it was stopped in the usual way if it still runs.
function methods:restart()
	local problem = terminate(self)
	if problem then
		error(problem, 2)
	end
	self.pid = nil
	launch(self)
end

--- Runs code inside the server.
-- It has the globals module (of the host), prosody and require. Strings, numbers, booleans, nil and plain tables
-- come back as what they are, anything else as a string.
-- @param code Lua text
-- @param host the host whose module object the code gets, default the first VirtualHost
-- @param timeout in seconds, default 60
-- @return what the code returned; errors are raised
function methods:eval(code, host, timeout)
	local answer = control(self):iq {
		type = "set",
		to = control_host,
		timeout = timeout or 60,
		('<eval xmlns="%s" host="%s">%s</eval>'):format(xmlns_control, host or self.host or control_host, (mime.b64(code))),
	}
	local result, failure = answer:get_child_text("result", xmlns_control), answer:get_child_text("failure", xmlns_control)
	if not result then
		error("Inside the server: " .. (failure and mime.unb64(failure) or tostring(answer)), 2)
	end
	return assert(load((mime.unb64(result))))()
end

--- Gives the memory that the server's Lua uses once all garbage is collected, in KiB.
function methods:memory()
	return self:eval "collectgarbage(); collectgarbage(); return collectgarbage 'count'"
end

-- Waits until the module has done what it does when the configuration was read again, which it does in a timer
local function wait_for_reload(self)
	self:eval "prosody.spec_reloaded = false; module:add_timer(0.01, function () prosody.spec_reloaded = true; end)"
	while not self:eval "return prosody.spec_reloaded" do
		socket.sleep(0.005)
	end
end

--- Replaces the configuration, lets the server read it again, and waits until the module has done so.
-- @param config new text from the first VirtualHost on; nil leaves it as it is
-- @param global new text for the global section; nil leaves it as it is
function methods:reload_config(config, global)
	self.config, self.global = config or self.config, global or self.global
	write_config(self)
	self:eval "prosody.reload_config()"
	wait_for_reload(self)
	if self.s2s_port then
		write_names()
	end
end

--- Replaces the configuration, and lets the server read it again and reload a module before it does anything else.
-- @param config new text from the first VirtualHost on
-- @param name the module's name, on the first VirtualHost
function methods:reload_config_and_module(config, name)
	self.config = config
	write_config(self)
	self:eval(('prosody.reload_config(); assert(require "core.modulemanager".reload(%q, %q))'):format(self.host, name))
	wait_for_reload(self)
end

--- Sends the server's process a signal.
-- @param name "HUP" and the like
function methods:signal(name)
	self.process:write(name .. "\n")
end

local function module_method(action)
	return function(self, name, host)
		self:eval(('assert(require "core.modulemanager".%s(%q, %q))'):format(action, host or self.host, name))
	end
end

--- Loads a module; an error is raised when that fails.
-- @param name the module's name
-- @param host default the first VirtualHost
methods.load_module = module_method "load"

--- Unloads a module; an error is raised when that fails.
-- @param name the module's name
-- @param host default the first VirtualHost
methods.unload_module = module_method "unload"

--- Reloads a module; an error is raised when that fails.
-- @param name the module's name
-- @param host default the first VirtualHost
methods.reload_module = module_method "reload"

--- Runs prosodyctl with the server's configuration.
-- @param arguments text for the shell, or a list of arguments
-- @param variables more of the environment, as text for the shell
-- @return its output and its exit status
function methods:prosodyctl(arguments, variables)
	if type(arguments) == "table" then
		local quoted = {}
		for i, argument in ipairs(arguments) do
			quoted[i] = quote(argument)
		end
		arguments = table.concat(quoted, " ")
	end
	return capture(
		("%s %s --config %s %s 2>&1 </dev/null"):format(
			variables or "",
			quote(self.program .. "ctl"),
			quote(self.dir .. "/prosody.cfg.lua"),
			arguments
		)
	)
end

return prosody
