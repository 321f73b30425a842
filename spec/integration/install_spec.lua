-- What `make dist` makes, and `prosodyctl install` of that, from a web server and from a file.

local environment = require "spec.support.environment"
local fixture = require "spec.support.fixture"
local prosody = require "spec.support.prosody"
local privileged = require "spec.support.privileged"

local version = environment.module_version()
local rock = "mod_privilege-" .. version .. "-1"
local module_file = ("/share/lua/%s/mod_privilege.lua"):format(_VERSION:match "%d.%d")

local has_installer = (environment.read_file(environment.program .. "ctl") or ""):find("commands.install", 1, true) ~= nil
local since_0_12 = fixture.specs(has_installer, "Prosody 0.12")

-- Runs commands, and gives what they say, and whether they succeeded
local function run(commands)
	local pipe = io.popen(("{ %s\n} 2>&1 </dev/null"):format(commands))
	local output = pipe:read "*a"
	return output, (pipe:close() or false)
end

local function assert_run(commands, ...)
	local output, ok = run(commands:format(...))
	assert.is_true(ok, output)
	return output
end

describe("make dist", function()
	local folder

	setup(function()
		folder = assert_run "mktemp -d":match "[^\n]+"
		assert_run("make -s dist -o check DIST='%s/dist'", folder)
	end)

	teardown(function()
		assert_run("rm -rf '%s'", folder)
	end)

	-- Copies what a release is made from into a folder
	local function copy_tree()
		local copy = assert_run("mktemp -d '%s/copy.XXXXXX'", folder):match "[^\n]+"
		assert_run("umask 077; cp -R $(ls -A | grep -vxF -e .git -e build -e node_modules) '%s'", copy)
		return copy
	end

	local function change(path, pattern, replacement)
		local text, count = assert(environment.read_file(path)):gsub(pattern, replacement, 1)
		assert.is_equal(1, count)
		environment.write_file(path, text)
	end

	local function assert_refused(copy, said, options)
		local output, ok = run(("make -s -C '%s' dist DIST=dist %s"):format(copy, options or "-o check"))
		assert.is_false(ok, output)
		assert.is_truthy(output:find(said, 1, true), output)
		assert.is_nil(environment.read_file(copy .. "/dist/" .. rock .. ".rockspec"))
	end

	local function lines_of(text)
		local lines = {}
		for line in text:gmatch "[^\n]+" do
			table.insert(lines, line)
		end
		table.sort(lines)
		return lines
	end

	it("packs all files of the project, and nothing else", function()
		local packed = assert_run("tar -tzf '%s/dist/mod_privilege-%s.tar.gz' | grep -v '/$'", folder, version)
		local names = {}
		for _, name in ipairs(lines_of(packed)) do
			local first, rest = name:match "^([^/]*)/(.*)$"
			assert.is_equal("mod_privilege-" .. version, first)
			names[rest] = true
		end
		for _, name in ipairs {
			"README.md",
			"LICENSE",
			"Makefile",
			"lua-out/mod_privilege.lua",
			"patches/component-authenticated.patch",
			"scripts/patch-prosody",
		} do
			assert.is_true(names[name], name)
		end
		local tracked, has_git = run "git ls-files --cached --others --exclude-standard"
		if has_git then
			local expected = {}
			for _, name in ipairs(lines_of(tracked)) do
				expected[name] = environment.read_file(name) and true -- not what was removed and not committed
			end
			assert.is_same(expected, names)
		end
	end)

	it("makes the folder that the catalogues of modules have", function()
		assert.is_same({ "README.md", "mod_privilege.lua" }, lines_of(assert_run("ls '%s/dist/mod_privilege'", folder)))
		assert.is_equal(
			environment.read_file "lua-out/mod_privilege.lua",
			environment.read_file(folder .. "/dist/mod_privilege/mod_privilege.lua")
		)
		local readme = environment.read_file(folder .. "/dist/mod_privilege/README.md")
		assert.is_truthy(
			readme:find "^%-%-%-\nlabels:\n%- 'Stage%-%a+'\nsummary: '[^\n]+'\n%.%.%.\n\n# mod_privilege\n",
			readme:sub(1, 200)
		)
		for target in readme:gmatch "%]%(([^)]*)%)" do
			assert.is_truthy(target:find "^https://" or target:find "^#", target)
		end
		assert.is_nil(environment.read_file "README.md":find "^%-%-%-")
		-- What only a clone has
		for _, text in ipairs { "`make ", "    make ", "lua-out/", "clone", "#try-it", "example.org/mod_privilege" } do
			assert.is_nil(readme:find(text, 1, true), text)
		end
		assert.is_truthy(readme:find("install -D -m 644 mod_privilege.lua ", 1, true))
	end)

	it("links to the files of a release where the project has a home page", function()
		local copy = copy_tree()
		change(copy .. "/package.json", '"homepage": "[^"]*"', '"homepage": "https://example.org/mod_privilege"')
		local output = assert_run("make -s -C '%s' dist -o check DIST=dist", copy)
		assert.is_truthy(output:find("package.json has no home page yet", 1, true), output)
		change(copy .. "/package.json", '"homepage": "[^"]*"', '"homepage": "https://code.capulet.lit/mod_privilege"')
		output = assert_run("make -s -C '%s' dist -o check DIST=dist", copy)
		assert.is_nil(output:find("home page", 1, true), output)
		local readme = environment.read_file(copy .. "/dist/mod_privilege/README.md")
		assert.is_truthy(
			readme:find(("](https://code.capulet.lit/mod_privilege/blob/v%s/doc/protocol.md#errors)"):format(version), 1, true)
		)
	end)

	it("tells LuaRocks the home page and the maintainer", function()
		local rockspec = {}
		local text = environment.read_file(("%s/dist/%s.rockspec"):format(folder, rock))
		local chunk = assert((loadstring or load)(text, "rockspec", "t", rockspec)) -- luacheck: ignore 143
		if setfenv then -- luacheck: ignore 143
			setfenv(chunk, rockspec) -- luacheck: ignore 143
		end
		chunk()
		assert.is_truthy(rockspec.description.homepage:find "^https://")
		assert.is_truthy(rockspec.description.maintainer:find "<.+@.+>")
	end)

	it("makes the same bytes of the files in its tarball, at another time", function()
		local copy = assert_run("mktemp -d '%s/unpacked.XXXXXX'", folder):match "[^\n]+"
		assert_run("tar -xzf '%s/dist/mod_privilege-%s.tar.gz' -C '%s' --strip-components=1", folder, version, copy)
		assert_run("umask 077; TZ=Asia/Tokyo make -s -C '%s' dist -o check DIST=dist", copy)
		for _, name in ipairs { "mod_privilege-" .. version .. ".tar.gz", rock .. ".rockspec", rock .. ".src.rock", rock .. ".all.rock" } do
			assert_run("cmp '%s/dist/%s' '%s/dist/%s'", folder, name, copy, name)
		end
	end)

	it("refuses a version that CHANGELOG.md does not have", function()
		local copy = copy_tree()
		change(copy .. "/CHANGELOG.md", "%[" .. version:gsub("%p", "%%%0") .. "%]", "[0.0.1]")
		assert_refused(copy, "CHANGELOG.md")
	end)

	it("refuses a Lua file of another version", function()
		local copy = copy_tree()
		change(copy .. "/lua-out/mod_privilege.lua", "%d+%.%d+%.%d+", "0.0.1")
		assert_refused(copy, "lua-out/mod_privilege.lua is not of version " .. version)
	end)

	it("warns of changes that are not released, since they would have the number of an older release", function()
		local copy = copy_tree()
		local changelog = environment.read_file(copy .. "/CHANGELOG.md")
		local function dist_with(unreleased)
			environment.write_file(copy .. "/CHANGELOG.md", (changelog:gsub("## %[.-(## %[%d)", unreleased .. "%1", 1)))
			return assert_run("make -s -C '%s' dist -o check DIST=dist", copy)
		end
		local warning = ("dist: CHANGELOG.md has changes under [Unreleased], and the version is still %s"):format(version)
		assert.is_truthy(dist_with("## [Unreleased]\n\n### Fixed\n\n- Something.\n\n"):find(warning, 1, true))
		assert.is_nil(dist_with("## [Unreleased]\n\n"):find(warning, 1, true))
		assert.is_nil(dist_with(""):find(warning, 1, true))
	end)

	local with_git = fixture.specs(select(2, run "command -v git"), "git")
	with_git("refuses a commit with the tag of another version, or whose changes are not released", function()
		local copy = copy_tree()
		local git = ("git -C '%s' -c user.name=spec -c user.email=spec@example.org "):format(copy)
		assert_run(git .. "init -q && " .. git .. "add -A && " .. git .. "commit -q -m release && " .. git .. "tag v0.0.1")
		assert_refused(copy, "the tag of this commit is v0.0.1")
		assert_run(git .. "tag -d v0.0.1 && " .. git .. "tag v" .. version)
		change(copy .. "/CHANGELOG.md", "\n## %[", "\n## [Unreleased]\n\n## [")
		assert_refused(copy, "CHANGELOG.md begins with [Unreleased]")
		local text = environment.read_file(copy .. "/CHANGELOG.md")
		environment.write_file(copy .. "/CHANGELOG.md", (text:gsub("## %[Unreleased%].-\n(## %[%d)", "%1")))
		assert_run("make -s -C '%s' dist -o check DIST=dist", copy)
	end)

	local with_node = fixture.specs(select(2, run "command -v node && test -e node_modules"), "Node.js")
	with_node("refuses a Lua file that is not what src/ makes", function()
		local copy = copy_tree()
		assert_run("cp -p package-lock.json '%s' && ln -s \"$PWD/node_modules\" '%s'", copy, copy)
		change(copy .. "/lua-out/mod_privilege.lua", "local function ", "%0_")
		assert_refused(copy, "lua-out/mod_privilege.lua is not what src/ makes", " ")
	end)

	describe("for prosodyctl", function()
		local server, url, tree

		-- Runs prosodyctl with LuaRocks kept from the user's files, and from all servers but the one that it is told
		local function ctl(arguments)
			local output, status =
				server:prosodyctl(arguments, ("env -u http_proxy HOME='%s' LUAROCKS_CONFIG='%s/luarocks.lua'"):format(folder, folder))
			assert.is_equal(0, status, output)
			return output
		end

		setup(function()
			if not has_installer then
				return
			end
			local port = prosody.free_port()
			url, tree = ("http://127.0.0.1:%d/files/"):format(port), folder .. "/plugins"
			environment.write_file(folder .. "/luarocks.lua", 'rocks_servers = { "file:///nowhere" }')
			server = prosody.start {
				users = { privileged.user },
				modules = { "http_files" },
				plugin_paths = {},
				global = ('installer_plugin_path = %q\nhttp_files_dir = %q\nhttp_ports = { %d }\nhttp_interfaces = { "127.0.0.1" }'):format(
					tree,
					folder .. "/dist/server",
					port
				),
				config = [[
					VirtualHost "capulet.lit"
						http_host = "127.0.0.1"
						privileged_entities = { ["gateway.capulet.lit"] = { message = "outgoing" } }
					Component "gateway.capulet.lit"
						component_secret = "secret"
				]],
			}
		end)

		teardown(function()
			if server then
				server:stop()
			end
		end)

		since_0_12("installs the module, which serves, is listed and removed", function()
			assert.is_nil(ctl "list":find "mod_privilege")
			ctl { "install", "--server=" .. url, "mod_privilege" }
			assert.is_equal(environment.read_file "lua-out/mod_privilege.lua", environment.read_file(tree .. module_file))
			assert.is_truthy(ctl "list":match("mod_privilege%s+" .. version:gsub("%p", "%%%0") .. "%-1 %(installed%)"))
			assert.is_truthy(ctl "mod_privilege version":find("mod_privilege " .. version, 1, true))

			table.insert(server.options.modules, "privilege")
			server:reload_config()
			server:restart()
			assert.is_equal(tree .. module_file, server:eval "return prosody.hosts[module.host].modules.privilege.module.path")
			local juliet = server:client(privileged.user .. "/balcony")
			local gateway = server:component "gateway.capulet.lit"
			gateway:expect(function(stanza)
				return stanza:get_child("privilege", privileged.xmlns)
			end)
			privileged.send(
				gateway,
				{ from = privileged.user, to = juliet.jid, id = "love", "<body>My bounty is as boundless as the sea</body>" }
			)
			local message = juliet:expect { name = "message", id = "love" }
			assert.is_equal(privileged.user, message.attr.from)

			ctl "remove mod_privilege"
			assert.is_nil(environment.read_file(tree .. module_file))
			assert.is_nil(ctl "list":find "mod_privilege")
		end)

		since_0_12("makes a file that is installed without a web server", function()
			ctl { "install", ("%s/dist/%s.all.rock"):format(folder, rock) }
			finally(function()
				ctl "remove mod_privilege"
			end)
			assert.is_equal(environment.read_file "lua-out/mod_privilege.lua", environment.read_file(tree .. module_file))
		end)
	end)
end)
