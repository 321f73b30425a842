-- The server's console, and the tables that the module prints there and in prosodyctl.

local environment = require "spec.support.environment"

local socket = require "socket"

local console = {}

local function has_file(path)
	return environment.read_file(environment.source_folder .. path) ~= nil
end

--- Whether this Prosody has `prosodyctl shell` (0.12); older ones have a console on a port only.
console.has_shell = has_file "/util/adminstream.lua"

--- Whether modules can explain their commands (13).
console.has_help = has_file "/loader.lua"

--- Adds what a server needs to have a console to its options.
-- @param options the options of prosody.start
-- @param port a free port
-- @return the options
function console.options(options, port)
	options.modules = options.modules or { "privilege" }
	if console.has_shell then
		table.insert(options.modules, "admin_shell")
	end
	table.insert(options.modules, "admin_telnet")
	options.global = ("%s\nconsole_ports = { %d }\nconsole_interfaces = { %q }\n"):format(
		options.global or "",
		port,
		options.ip or "127.0.0.1"
	)
	options.console_port = port
	return options
end

-- Reads up to the zero that ends what the console has to say
local function receive(connection)
	local parts = {}
	repeat
		local byte = assert(connection:receive(1))
		parts[#parts + 1] = byte ~= "\0" and byte or nil
	until byte == "\0"
	return table.concat(parts)
end

--- Runs a line in a new session of the console.
-- @param server a server that was started with console.options
-- @param line the line
-- @return what the console said
function console.run(server, line)
	local connection = assert(socket.connect(server.ip, server.options.console_port))
	connection:settimeout(60)
	receive(connection)
	assert(connection:send(line .. "\n"))
	local output = receive(connection)
	connection:close()
	return (output:gsub("\r\n", "\n"):gsub("%f[^\n%z]| ", ""))
end

local function trim(text)
	return text:match "^%s*(.-)%s*$"
end

local function split(line)
	local cells = {}
	local separator = line:find(" | ", 1, true) and "|" or "\t"
	for cell in (line .. separator):gmatch("([^" .. separator .. "]*)" .. separator) do
		cells[#cells + 1] = trim(cell)
	end
	return cells
end

-- Adds the further lines of a row that stands in several
local function add_line(row, titles, cells)
	for i, title in ipairs(titles) do
		row[title] = cells[i] == "" and row[title] or row[title] .. " " .. cells[i]
	end
end

--- Reads the table in an output.
-- @param output the text
-- @param first the title of the first column, default "Host"
-- @return the rows, each with its cells by title, and what stands after the table, a list of lines
function console.read(output, first)
	local titles, rows, rest
	for line in (output .. "\n"):gmatch "(.-)\n" do
		local cells = split(line)
		if not titles then
			titles = cells[1] == (first or "Host") and cells or nil
		elseif not rest and #cells == #titles then
			rows = rows or {}
			if cells[1] == "" and rows[1] then
				add_line(rows[#rows], titles, cells)
			else
				local row = {}
				for i, title in ipairs(titles) do
					row[title] = cells[i]
				end
				table.insert(rows, row)
			end
		elseif line ~= "" then
			rest = rest or {}
			table.insert(rest, line)
		end
	end
	return rows or {}, rest or {}
end

return console
