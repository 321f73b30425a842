-- Programs of others that take part in specs: whether they are there, and running them beside the specs.

local programs = {}
local methods = {}
local program_mt = { __index = methods }

--- Tells whether a shell command succeeds.
function programs.succeeds(command)
	local result = os.execute("{ " .. command .. "; } >/dev/null 2>&1")
	return result == true or result == 0 -- LuaJIT gives a number
end

--- Whether there is Node.js with the project's packages.
programs.has_node = programs.succeeds "node -e 0 && test -d node_modules/@xmpp/component"

--- Whether there is slixmpp with its XEP-0356 plugin; 1.7 of Debian 11 has none.
programs.has_slixmpp = programs.succeeds "/usr/bin/python3 -c 'import slixmpp.plugins.xep_0356'"

--- Starts a program; it is ended after a minute at the latest.
-- @param command a shell command of one program
-- @param variables table of environment variables, default none
-- @return the program
function programs.start(command, variables)
	local assignments = {}
	for name, value in pairs(variables or {}) do
		table.insert(assignments, ("%s='%s'"):format(name, value))
	end
	-- Without --foreground signals would come to the program twice.
	local pipe = assert(io.popen(("echo $$; exec timeout --foreground 60 env %s %s 2>&1"):format(table.concat(assignments, " "), command)))
	return setmetatable({ pipe = pipe, pid = assert(pipe:read "*l") }, program_mt)
end

--- Waits for the next line that the program writes, to its output or its error output.
-- @return the line, nil when the program has ended
function methods:line()
	return self.pipe:read "*l"
end

--- Asks the program to end (SIGTERM), unless it already has, and waits for that.
-- @return what it still wrote, and its exit status
function methods:stop()
	os.execute("kill " .. self.pid .. " 2>/dev/null")
	return self:finish()
end

--- Waits for the program to end.
-- @return what it still wrote, and its exit status
function methods:finish()
	local output = self.pipe:read "*a"
	local _, _, status = self.pipe:close()
	return output, status
end

return programs
