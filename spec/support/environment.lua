-- Finds the installed Prosody and makes its libraries loadable by the specs.
--
-- Requiring this module appends Prosody's library folder to package.path and
-- package.cpath, so that util.stanza, util.xmppstream and the like can be
-- required. The specs have to run on the Lua version that Prosody was built for.

local environment = {}

--- Finds a program.
-- @param name a path, or a name to look up in PATH
-- @return the program's path, or nil when there is none
function environment.find_program(name)
	if name:find("/", 1, true) then
		return name
	end
	for folder in (os.getenv "PATH" or "/usr/bin"):gmatch "[^:]+" do
		local path = folder .. "/" .. name
		local file = io.open(path)
		if file then
			file:close()
			return path
		end
	end
end

--- Reads the whole of a file.
-- @param path the file's path
-- @return its content, or nil and an error message
function environment.read_file(path)
	local file, err = io.open(path, "rb")
	if not file then
		return nil, err
	end
	local content = file:read "*a"
	file:close()
	return content
end

--- Writes a file; an error is raised when that fails.
-- @param path the file's path
-- @param content its new content
function environment.write_file(path, content)
	local file = assert(io.open(path, "wb"))
	assert(file:write(content))
	assert(file:close())
end

--- Path of the prosody program: PROSODY_BIN or the one in PATH.
environment.program = assert(
	environment.find_program(os.getenv "PROSODY_BIN" or "prosody"),
	"Prosody is not installed; set PROSODY_BIN to the path of its program"
)

--- The module's version, for the specs that compare it with what is shown.
-- @return what package.json has
function environment.module_version()
	return (assert(assert(environment.read_file "package.json"):match '"version": "([^"]+)"'))
end

local text = assert(environment.read_file(environment.program))

--- Folder of Prosody's libraries (util, core, net).
environment.source_folder = text:match "CFG_SOURCEDIR='([^']+)'" or environment.program:match "^(.*)/" or "."

local pattern = environment.source_folder .. "/?"
if not package.path:find(pattern .. ".lua", 1, true) then
	package.path = package.path .. ";" .. pattern .. ".lua"
	package.cpath = package.cpath .. ";" .. pattern .. ".so"
	-- Prosody 13 wants to find its modules as prosody.util.stanza too
	local loader = loadfile(environment.source_folder .. "/loader.lua")
	if loader then
		loader "loader"
	end
end

return environment
