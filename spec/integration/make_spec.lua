-- What a person sees who types make: the numbers at the end of a run, and what to do where something is missing.

local environment = require "spec.support.environment"

local folder

-- Runs a shell command; gives what it says and whether it succeeds
local function run(command)
	local pipe = assert(io.popen("( " .. command .. " ) 2>&1 && echo succeeded"))
	local output = pipe:read("*a"):gsub("\r", "")
	pipe:close()
	local succeeded
	output, succeeded = output:gsub("succeeded\n$", "")
	return output, succeeded == 1
end

-- Runs busted with our handler on a spec file with such a content
local function run_specs(content, wrapper, numbers)
	environment.write_file(folder .. "/example_spec.lua", content)
	local command = ("%s --output=spec/support/progress.lua -Xoutput %s %s/example_spec.lua"):format(
		"busted --lua=$(command -v lua" .. _VERSION:match "%d.%d" .. ")",
		numbers or "0,0,0",
		folder
	)
	return run(wrapper and wrapper:format(command) or command)
end

-- A pseudo-terminal by Python, which slixmpp needs; not all Debian releases have script
local on_terminal = [=[python3 -c 'import pty, sys; sys.exit(pty.spawn(["sh", "-c", sys.argv[1]]) >> 8)' '%s' </dev/null]=]
local good = [[
	describe("a", function ()
		it("passes", function () end);
		it("passes too", function () end);
		pending("is skipped", function () end);
	end);
]]

describe("make", function()
	setup(function()
		folder = assert(io.popen("mktemp -d"):read "*l")
	end)

	teardown(function()
		os.execute("rm -r '" .. folder .. "'")
	end)

	for where, wrapper in pairs { ["in a pipe"] = "%s", ["on a terminal"] = on_terminal } do
		it("ends with the sums of the specs " .. where, function()
			local output, ok = run_specs(good, wrapper, "5,0,1")
			assert.is_true(ok, output)
			assert.is_truthy(output:find "\n7 passed, 0 failed, 2 skipped\n$", output)
			assert.is_truthy(output:find("skipped: a is skipped\n", 1, true), output)
		end)

		it("fails and says why, at once and at the end, where a spec fails " .. where, function()
			local output, ok = run_specs(good .. [[
				describe("b", function ()
					it("fails", function () assert.is_equal("this", "that"); end);
					it("raises", function () error "not so"; end);
				end);
				describe("c", function ()
					setup(function () error "not at all"; end);
					it("is not run", function () end);
				end);
			]], wrapper)
			assert.is_false(ok, output)
			assert.is_truthy(output:find "\n2 passed, 3 failed, 1 skipped\n$", output)
			for _, text in ipairs { "FAILED: b fails\n", "that", "FAILED: b raises\n", "not so", "FAILED: c setup\n", "not at all" } do
				assert.is_equal(2, select(2, output:gsub(text, "")), text .. " in " .. output)
			end
		end)

		it("fails where a spec file cannot be loaded " .. where, function()
			local output, ok = run_specs("this is no Lua", wrapper)
			assert.is_false(ok, output)
			assert.is_truthy(output:find "\n0 passed, 1 failed, 0 skipped\n$", output)
		end)
	end

	it("shows which file of how many runs", function()
		assert.is_truthy(run_specs(good):find "%[1/1%] [^\n]*example_spec.lua: 2 passed, 0 failed, 1 skipped, %d+%.%d s\n")
		assert.is_truthy(run_specs(good, on_terminal):find("file 1 of 1, example_spec.lua: 1 passed, 0 failed", 1, true))
	end)

	it("says which Node.js is there and which is needed", function()
		local needed = assert(assert(environment.read_file "package.json"):match '"node": ">=([%d.]+)"')
		for have, command in pairs { ["18.20.4"] = "echo v18.20.4", none = "exit 127" } do
			for _, name in ipairs { "node", "npm" } do
				environment.write_file(folder .. "/" .. name, "#!/bin/sh\n" .. command .. "\n")
			end
			local output, ok = run(("chmod +x '%s'/n*; PATH='%s':$PATH scripts/setup node"):format(folder, folder))
			assert.is_false(ok)
			assert.is_truthy(
				output:find(("Node.js %s or later with npm is needed, and there is %s;"):format(needed, have), 1, true),
				output
			)
		end
	end)

	describe("install and uninstall", function()
		local plugins

		before_each(function()
			plugins = folder .. "/plugins"
		end)

		after_each(function()
			os.execute("rm -rf '" .. plugins .. "'")
		end)

		it("copy the module, print the configuration that README.md has, and remove the module", function()
			local output, ok = run(("make -s install PLUGINS='%s'"):format(plugins))
			assert.is_true(ok, output)
			assert.is_equal(environment.read_file "lua-out/mod_privilege.lua", environment.read_file(plugins .. "/mod_privilege.lua"))
			local example = environment.read_file("README.md"):match "```lua\n(.-)```"
			example = example:gsub("/usr/local/lib/prosody/modules", plugins):gsub("; Debian has this line already", "")
			for line in example:gmatch "[^\n]+" do
				assert.is_truthy(output:find("\n    " .. line .. "\n", 1, true), output)
			end

			output, ok = run(("make -s uninstall PLUGINS='%s'"):format(plugins))
			assert.is_true(ok, output)
			assert.is_truthy(output:find("mod_privilege.lua is not in " .. plugins .. " any more.", 1, true), output)
			assert.is_nil(environment.read_file(plugins .. "/mod_privilege.lua"))

			output, ok = run(("make -s uninstall PLUGINS='%s'"):format(plugins))
			assert.is_true(ok, output)
			assert.is_equal("mod_privilege.lua was not in " .. plugins .. ".\n", output)
		end)

		it("say what to do where they may not write", function()
			-- Not even root may write there
			local output, ok = run "make -s install PLUGINS=/proc/modules"
			assert.is_false(ok)
			assert.is_truthy(output:find("sudo make install", 1, true), output)
			assert.is_truthy(output:find("make install PLUGINS=DIR", 1, true), output)

			-- Not even root removes a folder like this
			os.execute("mkdir -p '" .. plugins .. "/mod_privilege.lua'")
			output, ok = run(("make -s uninstall PLUGINS='%s'"):format(plugins))
			assert.is_false(ok)
			assert.is_truthy(output:find("sudo make uninstall", 1, true), output)
			assert.is_nil(output:find("any more", 1, true), output)
		end)
	end)
end)
