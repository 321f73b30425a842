-- B3.5, the remedy: `make patch` and `make unpatch`, on copies of the installed mod_component.

local environment = require "spec.support.environment"
local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"

local lfs = require "lfs"

local event_line = '\t\tmodule:fire_event("component-authenticated", { session = session });\n'
local handshake_line = '\t\tsession.send(st.stanza("handshake"));\n'
local status_line = '\t\tmodule:set_status("info", "Connected");\n'

-- Takes out a piece of text, or puts another in its place; it has to be there once
local function replace(text, old, new)
	local first, last = text:find(old, 1, true)
	assert(first and not text:find(old, last + 1, true), "not there once: " .. old)
	return text:sub(1, first - 1) .. new .. text:sub(last + 1)
end

-- The installed mod_component, and what it would be without the event
local installed = assert(
	environment.read_file(environment.source_folder .. "/modules/mod_component.lua")
		or environment.read_file(environment.source_folder .. "/plugins/mod_component.lua")
)
local bare = replace(installed, event_line, "")
local has_status = bare:find(status_line, 1, true)
local empty = has_status and replace(bare, status_line, "") or bare
local forms = {
	["as 0.9 has it, with a tab in the blank line"] = replace(empty, handshake_line .. "\n", handshake_line .. "\t\n"),
	["with an empty line"] = empty,
	["that sets its status"] = has_status and bare,
}

describe("B3.5 the patch", function()
	local folder

	before_each(function()
		folder = os.tmpname()
		os.remove(folder)
		folder = folder .. " of Prosody" -- paths may have spaces
		assert(lfs.mkdir(folder))
	end)

	after_each(function()
		for _, name in ipairs { "modules", "plugins" } do
			for _, file in ipairs { "mod_component.lua", "mod_component.lua.unpatched" } do
				os.remove(("%s/%s/%s"):format(folder, name, file))
			end
			os.remove(folder .. "/" .. name)
		end
		assert(os.remove(folder)) -- which fails when the tool left something there
	end)

	-- Puts a mod_component into the folder, as in an installation or in a source tree
	local function put(text, name)
		lfs.mkdir(folder .. "/" .. name)
		local path = folder .. "/" .. name .. "/mod_component.lua"
		environment.write_file(path, text)
		return path
	end

	-- Runs a goal of the Makefile, and gives what it printed, and its success
	local function make(goal)
		local pipe = io.popen(("make -s %s PROSODY='%s' 2>&1"):format(goal, folder))
		local output = pipe:read "*a"
		return output, (pipe:close() or false)
	end

	local function assert_made(goal, said)
		local output, ok = make(goal)
		assert.is_true(ok, output)
		assert.is_truthy(output:find(said, 1, true), output)
	end

	local function assert_failed(goal, said)
		local output, ok = make(goal)
		assert.is_false(ok, output)
		assert.is_truthy(output:find(said, 1, true), output)
	end

	for name, text in pairs(forms) do
		for _, where in ipairs { "modules", "plugins" } do
			it(("adds the event to a mod_component %s in %s, and takes it back"):format(name, where), function()
				local path = put(text, where)
				local patched = replace(text, handshake_line, handshake_line .. event_line)

				assert_made("patch", "applied")
				assert.is_equal(patched, environment.read_file(path))
				assert.is_equal(text, environment.read_file(path .. ".unpatched"))
				assert_made("patch", "already")
				assert.is_equal(patched, environment.read_file(path))
				assert.is_equal(text, environment.read_file(path .. ".unpatched"))

				assert_made("unpatch", "as it was")
				assert.is_equal(text, environment.read_file(path))
				assert.is_nil((environment.read_file(path .. ".unpatched")))
				assert_made("unpatch", "nothing to do")
				assert.is_equal(text, environment.read_file(path))
			end)
		end
	end

	it("leaves a mod_component alone that has the event from its maker", function()
		local path = put(installed, "modules")
		assert_made("patch", "already")
		assert_made("unpatch", "nothing to take back")
		assert.is_equal(installed, environment.read_file(path))
		assert.is_nil((environment.read_file(path .. ".unpatched")))
	end)

	it("leaves alone what it does not recognise", function()
		local text = replace(empty, handshake_line, '\t\tsession.send("<handshake/>");\n')
		local path = put(text, "modules")
		assert_failed("patch", "not recognised")
		assert.is_equal(text, environment.read_file(path))
		assert.is_nil((environment.read_file(path .. ".unpatched")))
	end)

	it("does not take back what was changed since, as by an update of Prosody", function()
		local path = put(empty, "modules")
		assert_made("patch", "applied")
		local text = environment.read_file(path) .. "-- changed\n"
		environment.write_file(path, text)
		assert_failed("unpatch", "changed since")
		assert.is_equal(text, environment.read_file(path))
	end)

	it("says where there is no mod_component", function()
		assert_failed("patch", "mod_component.lua")
		assert_failed("unpatch", "mod_component.lua")
	end)

	it("has the component told that was not", function()
		put(empty, "modules")
		local server = prosody.start {
			plugin_paths = { folder .. "/modules", lfs.currentdir() .. "/lua-out" },
			config = [[
				VirtualHost "capulet.lit"
					privileged_entities = { ["pubsub.capulet.lit"] = { roster = "get" } }
				Component "pubsub.capulet.lit"
					component_secret = "secret"
			]],
		}
		local pubsub = server:component "pubsub.capulet.lit"
		server:wait_log "error\t.*pubsub%.capulet%.lit.*patches/component%-authenticated%.patch"
		pubsub:nothing()
		pubsub:close()

		assert_made("patch", "applied")
		local mark = server:mark()
		server:restart()
		pubsub = server:component "pubsub.capulet.lit"
		assert.is_same({ "capulet.lit: roster=get push=true" }, (grants.told(pubsub)))
		-- longer than the error took
		server:eval [[module:add_timer(1.5, function () module:log("info", "the time is over"); end)]]
		server:wait_log("the time is over", nil, mark)
		assert.is_same({}, grants.logged(server:log_since(mark), "error", "component-authenticated"))
		server:stop()
	end)

	it("applies to the real lines of Prosody 0.9.0 to 0.9.8 without fuzz or rejects", function()
		local text = replace(empty, handshake_line .. "\n", handshake_line .. "\t\n")
		local path = put(text, "plugins")
		local pipe =
			io.popen(("cd '%s' && patch -p1 -F0 2>&1 <'%s/patches/component-authenticated.patch'"):format(folder, lfs.currentdir()))
		local output = pipe:read "*a"
		assert.is_truthy(pipe:close(), output)
		assert.is_equal(replace(text, handshake_line, handshake_line .. event_line), environment.read_file(path))
		os.remove(path .. ".orig") -- made as the lines stand elsewhere here
	end)
end)
