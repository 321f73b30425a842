-- The texts for readers, held against the module: numbers of paragraphs, errors, stanzas, programs and links.

local console = require "spec.support.console"
local environment = require "spec.support.environment"
local fixture = require "spec.support.fixture"
local programs = require "spec.support.programs"
local prosody = require "spec.support.prosody"
local xml = require "spec.support.xml"
local lfs = require "lfs"

local juliet, gateway = "juliet@capulet.lit", "gateway.capulet.lit"
local protocol = environment.read_file "doc/protocol.md"

-- All texts for readers
local texts = { "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "patches/README.md", "types/README.md", "examples/README.md" }
for name in lfs.dir "doc" do
	if name:find "%.md$" then
		table.insert(texts, "doc/" .. name)
	end
end
table.sort(texts)

-- The code blocks of a language in a text: each with the last line that stands before it
local function blocks(text, language)
	local found, before, block = {}, nil, nil
	for line in (text .. "\n"):gmatch "(.-)\n" do
		if block and line:find "^```" then
			table.insert(found, { before = before, text = table.concat(block, "\n") .. "\n" })
			block = nil
		elseif block then
			block[#block + 1] = line
		elseif line == "```" .. language then
			block = {}
		elseif line ~= "" then
			before = line
		end
	end
	return found
end

local config = blocks(protocol, "lua")[1].text

describe("doc/behaviour.md", function()
	it("has all numbers in the names of specs, and a spec for each of its paragraphs", function()
		local chapter
		-- Whether a number stands for a text of its own: a paragraph, or a chapter without any
		local has_text = {}
		for line in environment.read_file("doc/behaviour.md"):gmatch "[^\n]+" do
			local number = line:match "^(%d+)%. "
			if line:find "^## %d" then
				chapter = line:match "%d+"
				has_text[chapter] = true
			elseif chapter and number then
				has_text[chapter], has_text[chapter .. "." .. number] = false, true
			end
		end
		local has_spec = {}
		for _, folder in ipairs { "spec/unit", "spec/integration" } do
			for name in lfs.dir(folder) do
				local text = name:find "%.lua$" and environment.read_file(folder .. "/" .. name) or ""
				for number in text:gsub("%f[^\n%z]%s*%-%-[^\n]*", ""):gmatch "%f[%w]B(%d[%d.]*)" do
					number = number:gsub("%.$", "")
					assert.is_not_nil(has_text[number], ("%s/%s has B%s"):format(folder, name, number))
					has_spec[number] = true
				end
			end
		end
		for number, counts in pairs(has_text) do
			assert.is_true(has_spec[number] or not counts, number)
		end
	end)
end)

describe("doc/protocol.md", function()
	-- Condition, type and text of each error of the module, and of each row of the table
	local function errors_of_module()
		local found = {}
		for _, refusal in pairs(require "spec.unit.support".parts.refusals) do
			found[("%s, %s: %s"):format(refusal.condition, refusal.type, refusal.text)] = true
		end
		return found
	end

	it("lists the errors of the module, and no others", function()
		local found = {}
		for condition, kind, text, cause, remedy in protocol:gmatch "\n| `([%l-]+)` | (%l+) | ([^|]-) | ([^|]-) | ([^|]-) |%f[\n]" do
			assert.is_truthy(cause ~= "" and remedy ~= "")
			found[("%s, %s: %s"):format(condition, kind, text)] = true
		end
		assert.same(errors_of_module(), found)
	end)

	-- What happens in a section, in order: each with who, what ("connects", "sends" or "receives"), and the stanza's text
	local function events_of(section)
		local events = {}
		for line in section:gmatch "[^\n]+" do
			local who, what = line:match "^(%u[%w' ]*) (%l+)[.:]$"
			if what == "connects" or what == "sends" or what == "receives" then
				table.insert(events, { who = who, what = what, text = "" })
			elseif line:find "^%s*<" then
				events[#events].text = events[#events].text .. line .. "\n"
			end
		end
		return events
	end

	-- Whether a stanza is the one that is shown; an attribute that is shown as … can be anything
	local function is_shown(text)
		local function fill(shown, actual)
			for name, value in pairs(shown.attr) do
				shown.attr[name] = value == "…" and actual.attr[name] or value
			end
			for i, child in ipairs(shown.tags) do
				fill(child, actual.tags[i] or child)
			end
			return shown
		end
		return function(stanza)
			return (xml.same(stanza, fill(xml.parse(text), stanza)))
		end
	end

	local function connect(server, who)
		if who == "The component" then
			return server:component(gateway)
		end
		local name = assert(who:match "^(%a+)'s client$", who):lower()
		return server:client(("%s@capulet.lit/%s"):format(name, ({ juliet = "balcony", romeo = "orchard" })[name]))
	end

	-- Those who do not connect in a transcript are there before it begins.
	local function connect_others(server, events)
		local streams, seen = {}, {}
		for _, event in ipairs(events) do
			if not seen[event.who] and event.what ~= "connects" then
				streams[event.who] = connect(server, event.who)
			end
			seen[event.who] = true
		end
		for _, stream in pairs(streams) do
			stream:sync()
		end
		server:drain()
		return streams
	end

	-- What every connection of the component brings is shown once, in the first transcript.
	local function is_other_than_permissions(stanza)
		return stanza.name ~= "message" or stanza.tags[1].name ~= "privilege"
	end

	for number, title in ipairs { "Permissions", "Rosters", "Messages", "Iqs", "Presence", "Users" } do
		it("shows what is sent and received: " .. title, function()
			local section = assert(protocol:match("\n## " .. title .. "\n(.-)\n## "))
			local server = prosody.start {
				config = (blocks(section, "lua")[1] or { text = config }).text,
				users = { juliet, "romeo@capulet.lit" },
				rosters = { [juliet] = { ["nurse@capulet.lit"] = { subscription = "both", name = "Nurse", groups = { "Household" } } } },
			}
			finally(function()
				server:stop()
			end)
			local events = events_of(section)
			local streams = connect_others(server, events)
			for _, event in ipairs(events) do
				if event.what == "connects" then
					streams[event.who] = connect(server, event.who)
				elseif event.what == "sends" then
					streams[event.who]:send(event.text)
				else
					streams[event.who]:expect(is_shown(event.text))
				end
			end
			assert.is_true(#events >= 2)
			streams["The component"]:nothing(number > 1 and is_other_than_permissions or nil)
		end)
	end

	for _, language in ipairs {
		{
			fence = "js",
			file = "gateway.mjs",
			command = "node %s/gateway.mjs",
			usable = programs.has_node,
			needs = "Node.js with the project's packages",
		},
		{
			fence = "python",
			file = "gateway.py",
			command = "/usr/bin/python3 -u %s/gateway.py",
			usable = programs.has_slixmpp,
			needs = "slixmpp 1.8",
		},
		{
			fence = "ruby",
			file = "gateway.rb",
			command = "ruby %s/gateway.rb",
			usable = programs.succeeds "ruby -r xmpp4r -e 0",
			needs = "ruby-xmpp4r",
		},
	} do
		local it = fixture.specs(language.usable, language.needs)
		it("has a program in " .. language.fence .. " that runs", function()
			local server = prosody.start { config = config, users = { juliet } }
			local folder = server.dir
			finally(function()
				server:stop()
			end)
			local client = server:client(juliet .. "/balcony", { carbons = true })
			local found = blocks(protocol, language.fence)
			assert.equal(1, #found)
			local text, ports = found[1].text:gsub("5347", tostring(server.component_port))
			assert.equal(1, ports)
			environment.write_file(folder .. "/" .. language.file, text)
			if language.fence == "js" then
				lfs.link(lfs.currentdir() .. "/node_modules", folder .. "/node_modules", true)
			end
			local output, status = programs.start((language.command:gsub("%%s", folder))):finish()
			local lines = {}
			for line in output:gmatch "[^\n]+" do
				if line:find "^granted:" or line:find "^bookmark:" or line:find "^roster:" then
					table.insert(lines, (line:gsub("%s+$", "")))
				end
			end
			assert.same({
				"granted: roster both",
				"granted: message outgoing",
				"granted: iq",
				"granted: presence managed_entity",
				"bookmark: result",
				"roster: item-not-found",
			}, lines, output)
			assert.equal(0, status, output)
			local carbon = client:expect { name = "message", from = juliet, child = "sent", xmlns = "urn:xmpp:carbons:2" }
			local sent = carbon:find "{urn:xmpp:carbons:2}sent/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
			assert.equal("Hello from the other side", sent:get_child_text("body", "jabber:client"))
		end)
	end
end)

describe("the configurations for admins", function()
	local configurations = {}

	for _, name in ipairs(texts) do
		for number, block in ipairs(blocks(environment.read_file(name), "lua")) do
			table.insert(configurations, { name = ("block %d of %s"):format(number, name), text = block.text })
		end
	end
	table.insert(configurations, { name = "examples/prosody.cfg.lua", text = environment.read_file "examples/prosody.cfg.lua" })

	local folder

	setup(function()
		folder = os.tmpname()
		os.remove(folder)
		assert(lfs.mkdir(folder))
	end)

	teardown(function()
		os.execute("rm -r '" .. folder .. "'")
	end)

	-- Runs the check as an admin does: what it says, and its exit status
	local function check(text)
		local global = ('plugin_paths = { %q }\ndata_path = %q\npidfile = "%s/pid"\nrun_as_root = true\n'):format(
			lfs.currentdir() .. "/lua-out",
			folder,
			folder
		)
		-- Where the module is installed does not matter here.
		environment.write_file(folder .. "/prosody.cfg.lua", global .. text:gsub("plugin_paths = [^\n]*", ""))
		return programs.start(("%sctl --config %s/prosody.cfg.lua mod_privilege check"):format(environment.program, folder)):finish()
	end

	it("are there", function()
		assert.is_true(#configurations >= 6)
	end)

	for _, configuration in ipairs(configurations) do
		it(("B10.3 %s passes prosodyctl mod_privilege check"):format(configuration.name), function()
			local output, status = check(configuration.text)
			assert.is_equal(0, status, output)
			local listed, grants = {}, 0
			for _, row in ipairs((console.read(output))) do
				listed[row.Entity] = true
			end
			for jid in configuration.text:gmatch '%["([%w.@]+)"%] = {' do
				grants = grants + 1
				assert.is_true(listed[jid], output)
			end
			assert.is_true(grants > 0)
		end)
	end
end)

describe("the texts for readers", function()
	-- The anchor of a heading, as code hosts make it
	local function anchor(heading)
		return (heading:lower():gsub("[^%w%s_-]", ""):gsub("%s", "-"))
	end

	local function has_anchor(text, wanted)
		for heading in ("\n" .. text):gmatch "\n#+ ([^\n]*)" do
			if anchor(heading) == wanted then
				return true
			end
		end
		return false
	end

	for _, name in ipairs(texts) do
		it(name .. " links to files and headings that are there", function()
			local text = environment.read_file(name)
			for target in text:gmatch "%]%(([^)]*)%)" do
				if not target:find "^%a+:" then
					local file, heading = target:match "^([^#]*)#?(.*)$"
					local path = file == "" and name or (name:match "^.*/" or "") .. file
					local mode = lfs.attributes(path, "mode")
					assert.is_truthy(mode, ("%s is not there"):format(target))
					assert.is_truthy(
						heading == "" or has_anchor(environment.read_file(path), heading),
						("%s has no such heading"):format(target)
					)
				end
			end
		end)
	end
end)
