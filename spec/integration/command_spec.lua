-- B10.3: prosodyctl mod_privilege check, which reads the configuration.

local environment = require "spec.support.environment"
local fixture = require "spec.support.fixture"
local prosody = require "spec.support.prosody"
local console = require "spec.support.console"

local lfs = require "lfs"
local socket = require "socket"

local gateway = [[
Component "gateway.capulet.lit"
	component_secret = "secret"
]]

-- A configuration whose host grants entities what they are said to be granted, and has other options
local function host_with(entities, options)
	return ('VirtualHost "capulet.lit"\n\tprivileged_entities = { %s }\n\t%s\n%s'):format(entities, options or "", gateway)
end

local function granting(permissions)
	return host_with(('["gateway.capulet.lit"] = { %s }'):format(permissions))
end

local good = host_with [[
	["gateway.capulet.lit"] = {
		roster = "both";
		message = "outgoing";
		presence = "roster";
		iq = { ["urn:example:a"] = "get"; ["http://jabber.org/protocol/pubsub"] = "set" };
	};
	["Romeo@Montague.lit"] = { roster = "get"; roster_push = false; presence = "managed_entity" };
]] .. 'modules_enabled = { "privilege" }\nVirtualHost "montague.lit"\n'

local not_asked = "No running server answered, so only the configuration was checked."

-- Reads what the check says: the rows of the table, the problems, the warnings, the line that says that all is well, and
-- whether a running server was asked
local function read(output)
	assert.is_nil(output:find("traceback", 1, true), output)
	local rows, rest = console.read(output)
	if not rows[1] then
		rest = {}
		for line in output:gmatch "[^\n]+" do
			rest[#rest + 1] = line
		end
	end
	local problems, warnings, ok, was_asked = {}, {}, nil, true
	for _, line in ipairs(rest) do
		if line:find "^Warning: " then
			warnings[#warnings + 1] = line:sub(#"Warning: " + 1)
		elseif line:find "^OK" then
			ok = line
		elseif line == not_asked then
			was_asked = false
		elseif not line:find "^startup" and line ~= "No entity is granted anything." then
			problems[#problems + 1] = line
		end
	end
	return rows, problems, warnings, ok, was_asked
end

describe("B10.3 prosodyctl mod_privilege check", function()
	local server

	setup(function()
		server = prosody.start { config = good }
	end)

	teardown(function()
		server:stop()
	end)

	-- Writes a configuration and lets it be checked: gives the rows of the table, what is said otherwise, and the exit status
	local function check(config, global, modules)
		server.global = nil
		server.options.modules = modules
		server:reload_config(config, global)
		local output, status = server:prosodyctl "mod_privilege check"
		local rows, problems, warnings, ok, was_asked = read(output)
		assert.is_false(was_asked)
		assert.is_same({}, warnings)
		assert.is_equal(
			rows[1] and not problems[1] and ("OK: no problems in %d grant%s"):format(#rows, #rows == 1 and "" or "s") or nil,
			ok
		)
		return rows, problems, status, output
	end

	-- Asserts that these are the problems, in any order: a list of lists of texts that stand in a line
	local function assert_problems(expected, config, global, modules)
		local rows, problems, status, output = check(config, global, modules)
		for _, texts in ipairs(expected) do
			local found
			for i, problem in ipairs(problems) do
				local matches = true
				for _, text in ipairs(texts) do
					matches = matches and problem:find(text, 1, true) ~= nil
				end
				found = found or matches and i or nil
			end
			assert.is_truthy(found, ("nothing says %s:\n%s"):format(table.concat(texts, " … "), output))
			table.remove(problems, found)
		end
		assert.is_same({}, problems)
		assert.is_equal(expected[1] and 1 or 0, status)
		return rows
	end

	local function assert_fine(config, global, modules)
		return assert_problems({}, config, global, modules)
	end

	it("B10.3 prints a table of host, entity and permissions, and exits with status 0 where nothing is wrong", function()
		local rows = assert_fine(good)
		assert.is_same({
			{
				Host = "capulet.lit",
				Entity = "gateway.capulet.lit",
				Users = "all",
				Roster = "both",
				Pushes = "yes",
				Message = "outgoing",
				Presence = "roster",
				["IQ namespaces"] = "http://jabber.org/protocol/pubsub=set urn:example:a=get",
			},
			{
				Host = "capulet.lit",
				Entity = "romeo@montague.lit",
				Users = "all",
				Roster = "get",
				Pushes = "no",
				Message = "none",
				Presence = "managed_entity",
				["IQ namespaces"] = "none",
			},
		}, rows)
	end)

	it("B10.3 reads the configuration of all hosts", function()
		local rows = assert_problems({
			{ 'VirtualHost "capulet.lit"', '"gateway.capulet.lit"', "message", '"outgo"' },
			{ 'VirtualHost "montague.lit"', '"gateway.capulet.lit"', "roster", '"some"' },
		}, granting 'message = "outgo"; presence = "managed_entity"' .. [[
			VirtualHost "montague.lit"
			privileged_entities = { ["gateway.capulet.lit"] = { roster = "some"; message = "outgoing" } }
			VirtualHost "verona.lit"
		]])
		assert.is_equal(2, #rows)
		assert.is_equal("capulet.lit", rows[1].Host)
		assert.is_equal("none", rows[1].Message)
		assert.is_equal("managed_entity", rows[1].Presence)
		assert.is_equal("montague.lit", rows[2].Host)
		assert.is_equal("none", rows[2].Roster)
		assert.is_equal("outgoing", rows[2].Message)
	end)

	it("B10.3 says so where nothing is granted, which is no problem", function()
		local rows, problems, status, output = check 'VirtualHost "capulet.lit"\n'
		assert.is_same({}, rows)
		assert.is_same({}, problems)
		assert.is_equal(0, status)
		assert.is_truthy(output:lower():find "no entity")
	end)

	it("B1.5 prints what the global section grants for every host that has none of its own", function()
		local rows = assert_fine(
			granting 'message = "outgoing"' .. 'VirtualHost "montague.lit"\nVirtualHost "verona.lit"\nprivileged_entities = {}\n',
			'privileged_entities = { ["gateway.capulet.lit"] = { roster = "get" } }'
		)
		assert.is_equal(2, #rows)
		assert.is_equal("outgoing", rows[1].Message)
		assert.is_equal("none", rows[1].Roster)
		assert.is_equal("montague.lit", rows[2].Host)
		assert.is_equal("none", rows[2].Message)
		assert.is_equal("get", rows[2].Roster)
	end)

	it("B1.2 takes the module in the section of the component too", function()
		assert_fine(granting 'message = "outgoing"' .. 'modules_enabled = { "privilege" }')
	end)

	for what, permissions in pairs {
		["that is not in the list"] = {
			'roster = "bth"',
			{ "roster", '"bth"', '"none", "get", "set" or "both"', 'did you mean "both"?' },
			'roster = "GET"',
			{ "roster", '"GET"', 'did you mean "get"?' },
			'message = "outgoin"',
			{ "message", '"outgoin"', '"none" or "outgoing"', 'did you mean "outgoing"?' },
			'presence = "manged_entiy"',
			{ "presence", '"manged_entiy"', '"none", "managed_entity" or "roster"', 'did you mean "managed_entity"?' },
			'iq = { ["urn:example"] = "sett" }',
			{ "iq", "urn:example", '"sett"', '"none", "get", "set" or "both"', 'did you mean "set"?' },
		},
		["of the wrong type"] = {
			"roster = true",
			{ "roster", "true", '"none", "get", "set" or "both"' },
			"message = { 'outgoing' }",
			{ "message", '{ "outgoing" }', '"none" or "outgoing"' },
			"presence = 5",
			{ "presence", "5", '"none", "managed_entity" or "roster"' },
			'roster = "get"; roster_push = "yes"',
			{ "roster_push", '"yes"', "true or false" },
			'iq = "set"',
			{ "iq", '"set"', "table" },
			'iq = { "urn:example" }',
			{ "iq", '"urn:example"', "namespace" },
			'iq = { ["urn:example"] = true }',
			{ "iq", "urn:example", "true", '"none", "get", "set" or "both"' },
		},
		["of an unknown option"] = {
			'rosters = "get"',
			{ "rosters", '"get"', "the options are roster, roster_push, message, presence, iq and users", 'did you mean "roster"?' },
			'msg = "outgoing"',
			{ "msg", '"outgoing"', "the options are roster, roster_push, message, presence, iq and users" },
			'"both"',
			{ "1", '"both"', "the options are roster, roster_push, message, presence, iq and users" },
		},
	} do
		it("B1.3 names host, entity, option, value, what is allowed and what may be meant for a value " .. what, function()
			local entities, components, problems = {}, {}, {}
			for i = 1, #permissions, 2 do
				local jid = ("entity%d.lit"):format(i)
				entities[#entities + 1] = ("[%q] = { %s }"):format(jid, permissions[i])
				components[#components + 1] = ("Component %q\n\tcomponent_secret = 'secret'\n"):format(jid)
				problems[#problems + 1] = { 'VirtualHost "capulet.lit"', '"' .. jid .. '"', table.unpack(permissions[i + 1]) }
			end
			local rows = assert_problems(problems, host_with(table.concat(entities, "; ")) .. table.concat(components))
			assert.is_equal(#problems, #rows)
		end)
	end

	it("B1.3 makes no guess where nothing is like the value", function()
		local _, problems = check(granting 'roster = "everything"; strange = "get"')
		assert.is_equal(2, #problems)
		for _, problem in ipairs(problems) do
			assert.is_nil(problem:find("meant", 1, true), problem)
		end
	end)

	it("B1.4 reports presences of contacts without read access to rosters", function()
		local rows = assert_problems(
			{ { "gateway.capulet.lit", "presence", '"roster"', 'roster = "get" or "both"' } },
			granting 'roster = "set"; presence = "roster"'
		)
		assert.is_equal("none", rows[1].Presence)
		assert_fine(granting 'roster = "get"; presence = "roster"')
	end)

	it("B1.3 reports pushes without read access to rosters", function()
		assert_problems(
			{ { "gateway.capulet.lit", "roster_push", "true", 'roster = "get" or "both"' } },
			granting 'roster = "set"; roster_push = true'
		)
		assert_fine(granting 'roster = "set"; roster_push = false')
	end)

	it("B12.6 tells whose accounts each grant covers", function()
		local rows = assert_fine(granting 'users = "opted-in"; message = "outgoing"' .. [[
			VirtualHost "montague.lit"
			privileged_entities = { ["gateway.capulet.lit"] = { users = { "romeo", "friar@montague.lit" }; message = "outgoing" } }
		]])
		assert.is_equal("opted-in", rows[1].Users)
		assert.is_equal("listed: 2", rows[2].Users)
	end)

	it("B12.1 reports users that are not understood, with what may be meant", function()
		local rows = assert_problems(
			{ { "gateway.capulet.lit", "users", '"opted_in"', '"all", "opted-in" or a list of users', 'did you mean "opted-in"?' } },
			granting 'users = "opted_in"; message = "outgoing"'
		)
		assert.is_equal("listed: 0", rows[1].Users)
	end)

	it("B10.3 warns of grants that are as good as an admin's, which is no problem", function()
		local function warnings(config, global)
			server.options.modules = nil
			server:reload_config(config, global or "")
			local output, status = server:prosodyctl "mod_privilege check"
			local _, problems, found, ok = read(output)
			assert.is_same({}, problems)
			assert.is_equal(0, status)
			assert.is_equal("OK: no problems in 1 grant" .. (found[1] and ", 1 warning" or ""), ok)
			return found
		end
		local powerful = granting 'message = "outgoing"; iq = { ["http://jabber.org/protocol/commands"] = "set"; ["urn:example"] = "both" }'
		local expected = {
			'VirtualHost "capulet.lit": entity "gateway.capulet.lit" can act as the admin juliet@capulet.lit by message, '
				.. 'iq["http://jabber.org/protocol/commands"]. Limit it by users = "opted-in" or a list of users.',
		}
		assert.is_same({}, warnings(powerful))
		assert.is_same(expected, warnings(powerful, 'admins = { "juliet@capulet.lit", "romeo@montague.lit" }'))
		assert.is_same(expected, warnings((powerful:gsub("%s+Component", '\nadmins = { "juliet@capulet.lit" }\n%0'))))
		-- Those of the global section are admins of a host with a list of its own, too
		local with_own = powerful:gsub("%s+Component", '\nadmins = { "friar@capulet.lit" }\n%0')
		local both = { (expected[1]:gsub("juliet@capulet.lit", "friar@capulet.lit, juliet@capulet.lit")) }
		assert.is_same(both, warnings(with_own, 'admins = { "juliet@capulet.lit" }'))
		assert.is_same({}, warnings(powerful, 'admins = { "romeo@montague.lit" }'))
		assert.is_same({}, warnings(granting 'users = "opted-in"; message = "outgoing"', 'admins = { "juliet@capulet.lit" }'))
	end)

	it("B1.3 reports keys that are no JID or have a resource", function()
		local entities, problems = { '"gateway.capulet.lit"', "5", '[true] = { message = "outgoing" }' }, {}
		for i, key in ipairs { "", "@capulet.lit", "juliet@", "juliet@capulet.lit/balcony", "gateway.capulet.lit/", "ju liet@capulet.lit" } do
			table.insert(entities, ("[%q] = { message = 'outgoing' }"):format(key))
			problems[i] = { 'VirtualHost "capulet.lit"', '"' .. key .. '"', "domain or a bare JID" }
		end
		table.insert(
			problems,
			{ 'VirtualHost "capulet.lit": privileged_entities', '"gateway.capulet.lit"', 'write ["gateway.capulet.lit"] = { … }' }
		)
		table.insert(problems, { 'VirtualHost "capulet.lit"', "2", "domain or a bare JID" })
		table.insert(problems, { 'VirtualHost "capulet.lit"', "true", "domain or a bare JID" })
		local rows = assert_problems(problems, host_with(table.concat(entities, "; ")))
		assert.is_same({}, rows)
	end)

	it("B1.3 reports an entity that stands there twice", function()
		local rows = assert_problems(
			{ { 'VirtualHost "capulet.lit"', '"gateway.capulet.lit"', "spelling" } },
			host_with '["gateway.capulet.lit"] = { roster = "get" }; ["Gateway.Capulet.lit"] = { roster = "get" }'
		)
		assert.is_equal(1, #rows)
	end)

	it("B1.3 reports permissions and lists of entities that are no tables", function()
		assert_problems({ { "gateway.capulet.lit", '"both"', "table" } }, host_with '["gateway.capulet.lit"] = "both"')
		assert_problems(
			{ { 'VirtualHost "capulet.lit"', "privileged_entities", '"gateway.capulet.lit"', "table" } },
			'VirtualHost "capulet.lit"\nprivileged_entities = "gateway.capulet.lit"\n' .. gateway
		)
	end)

	it("B1.3 reports namespaces of iqs that cannot be written in XML", function()
		local rows = assert_problems(
			{ { 'VirtualHost "capulet.lit"', '"gateway.capulet.lit"', "iq" } },
			granting 'message = "outgoing"; iq = { ["urn:caf\\233"] = "get" }'
		)
		assert.is_equal("outgoing", rows[1].Message)
	end)

	it("B1.1 reports an entity that is no component of this configuration, with what may be meant", function()
		assert_problems(
			{ { 'VirtualHost "capulet.lit"', '"gatway.capulet.lit"', "Component", 'did you mean "gateway.capulet.lit"?' } },
			host_with '["gatway.capulet.lit"] = { message = "outgoing" }'
		)
		local _, problems = check(host_with '["elsewhere.example"] = { message = "outgoing" }')
		assert.is_equal(1, #problems)
		assert.is_nil(problems[1]:find "meant")
	end)

	it("B1.1 reports a user of a host that is no virtual host, with what may be meant", function()
		assert_problems(
			{ { 'VirtualHost "capulet.lit"', '"romeo@capulet.li"', "VirtualHost", 'did you mean "capulet.lit"?' } },
			host_with '["romeo@capulet.li"] = { message = "outgoing" }'
		)
		assert_problems(
			{ { '"romeo@gateway.capulet.lit"', "VirtualHost" } },
			host_with '["romeo@gateway.capulet.lit"] = { message = "outgoing" }'
		)
		assert_fine(host_with '["romeo@capulet.lit"] = { message = "outgoing" }')
	end)

	it("B1.1 reports an entity that is a virtual host or one of the server's own components", function()
		assert_problems({ { '"capulet.lit"', "it is a VirtualHost" } }, host_with '["capulet.lit"] = { message = "outgoing" }')
		assert_problems(
			{ { '"rooms.capulet.lit"', "external" } },
			host_with '["rooms.capulet.lit"] = { message = "outgoing" }' .. 'Component "rooms.capulet.lit" "muc"\n'
		)
	end)

	it("B1.5 reports grants in the section of a component, where they are without effect", function()
		local rows = assert_problems(
			{ { 'Component "gateway.capulet.lit"', "privileged_entities", "VirtualHost" } },
			'VirtualHost "capulet.lit"\n' .. gateway .. 'privileged_entities = { ["gateway.capulet.lit"] = { message = "outgoing" } }\n'
		)
		assert.is_same({}, rows)
	end)

	it("B10.3 reports a host that grants without the module", function()
		local config = granting 'message = "outgoing"'
		local rows = assert_problems({ { 'VirtualHost "capulet.lit"', "modules_enabled" } }, config, nil, {})
		assert.is_same({}, rows)
		assert_problems(
			{ { 'VirtualHost "capulet.lit"', "modules_enabled" } },
			host_with('["gateway.capulet.lit"] = { message = "outgoing" }', 'modules_disabled = { "privilege" }')
		)
		rows = assert_fine(host_with('["gateway.capulet.lit"] = { message = "outgoing" }', 'modules_enabled = { "privilege" }'), nil, {})
		assert.is_equal(1, #rows)
	end)

	it("B10.3 tells the name in modules_enabled that was probably meant to be privilege", function()
		local config = host_with('["gateway.capulet.lit"] = { message = "outgoing" }', "modules_enabled = { %s }")
		for _, name in ipairs { "priviledge", "mod_privilege", "Privilege", "privileges" } do
			assert_problems(
				{ { 'VirtualHost "capulet.lit"', ('"privilege" is not in modules_enabled, write it instead of %q'):format(name) } },
				config:format(('"private", %q'):format(name)),
				nil,
				{}
			)
		end
		local _, problems = check(config:format '"private", "delegation"', nil, {})
		assert.is_equal(1, #problems)
		assert.is_nil(problems[1]:find "instead")
		assert_problems(
			{ { "global section", 'write it instead of "mod_privilege"' } },
			'VirtualHost "capulet.lit"\nmodules_enabled = { "mod_privilege" }\n' .. gateway,
			'privileged_entities = { ["gateway.capulet.lit"] = { message = "outgoing" } }',
			{}
		)
		assert_problems(
			{ { 'VirtualHost "capulet.lit"', 'write it instead of "mod_privilege"' } },
			granting 'message = "outgoing"',
			nil,
			{ "mod_privilege" }
		)
	end)

	it("B10.3 reports a global section that grants where no host has the module", function()
		local global = 'privileged_entities = { ["gateway.capulet.lit"] = { message = "outgoing" } }'
		local config = 'VirtualHost "capulet.lit"\n%s\n' .. gateway
		assert_problems({ { "privileged_entities", "modules_enabled" } }, config:format "", global, {})
		assert_fine(config:format 'modules_enabled = { "privilege" }' .. 'VirtualHost "montague.lit"\n', global, {})
	end)

	it("B1.3 reports misspelt names of options in any section", function()
		assert_problems(
			{
				{ "global section", "privilege_iq_timeuot", 'did you mean "privilege_iq_timeout"?' },
				{ 'VirtualHost "capulet.lit"', "privileged_entity", 'did you mean "privileged_entities"?' },
				{ 'VirtualHost "capulet.lit"', "privilege_log_act", 'did you mean "privilege_log_acts"?' },
				{ 'Component "gateway.capulet.lit"', "priviledged_entities", 'did you mean "privileged_entities"?' },
			},
			'VirtualHost "capulet.lit"\nprivileged_entity = {}\nprivilege_log_act = true\n' .. gateway .. "priviledged_entities = {}\n",
			"privilege_iq_timeuot = 5"
		)
	end)

	it("B1.8 reports further options of the wrong type", function()
		assert_problems(
			{
				{ "global section", "privilege_iq_timeout", '"soon"', "number" },
				{ 'VirtualHost "capulet.lit"', "privilege_probe_rate", "true", "number" },
				{ 'VirtualHost "capulet.lit"', "privilege_legacy_namespace", '"maybe"' },
				{ 'VirtualHost "capulet.lit"', "privilege_log_acts", "5" },
			},
			'VirtualHost "capulet.lit"\nprivilege_probe_rate = true\nprivilege_legacy_namespace = "maybe"\nprivilege_log_acts = 5\n',
			'privilege_iq_timeout = "soon"'
		)
		assert_fine(
			'VirtualHost "capulet.lit"\nprivilege_legacy_namespace = false\nprivilege_log_acts = true\nprivilege_probe_rate = 0\n',
			"privilege_iq_timeout = 30"
		)
	end)

	it("B1.8 reports no options that the running server understands", function()
		assert_fine(
			'VirtualHost "capulet.lit"\nprivilege_legacy_namespace = "false"\nprivilege_log_acts = 1\n',
			'privilege_iq_timeout = "60"'
		)
	end)

	it("B10.3 refuses what it does not know", function()
		for _, words in ipairs { "check capulet.lit", "check --verbose", "version please" } do
			local output, status = server:prosodyctl("mod_privilege " .. words)
			assert.is_truthy(output:find("prosodyctl mod_privilege " .. words:gsub(" ", " takes no arguments: "), 1, true), output)
			assert.is_nil(output:find "Host")
			assert.is_equal(1, status)
		end
	end)

	it("B10.3 explains itself, and exits with status 1 for words that it does not know", function()
		for words, expected in pairs { [""] = 0, [" chekc"] = 1, [" list capulet.lit"] = 1 } do
			local output, status = server:prosodyctl("mod_privilege" .. words)
			assert.is_truthy(output:find("mod_privilege " .. environment.module_version() .. ": XEP-0356", 1, true), output)
			assert.is_truthy(output:find("prosodyctl mod_privilege check", 1, true), output)
			assert.is_equal(expected, status)
		end
	end)

	it("tells its version", function()
		local output, status = server:prosodyctl "mod_privilege version"
		assert.is_equal("mod_privilege " .. environment.module_version(), output:match "mod_privilege [^\n]*")
		assert.is_equal(0, status)
	end)
end)

local since_0_12 = fixture.specs(console.has_shell, "Prosody 0.12")

describe("B10.3 prosodyctl mod_privilege check, where the server is running,", function()
	local server, folder
	local here = lfs.currentdir() .. "/lua-out"
	local file = here .. "/mod_privilege.lua"
	local three_grants = good .. 'privileged_entities = { ["gateway.capulet.lit"] = { message = "outgoing" } }\n'

	setup(function()
		server = prosody.start { config = three_grants, modules = { "privilege", console.has_shell and "admin_shell" or "admin_telnet" } }
		folder = server.dir .. "/other"
		assert(lfs.mkdir(folder))
	end)

	teardown(function()
		server:stop()
	end)

	-- The warnings and what it says of all, after a check without problems
	local function check(is_away)
		local output, status = server:prosodyctl "mod_privilege check"
		local rows, problems, warnings, ok, was_asked = read(output)
		assert.is_equal(console.has_shell and not is_away, was_asked)
		assert.is_equal(3, #rows, output)
		assert.is_same({}, problems)
		assert.is_equal(0, status)
		return warnings, ok
	end

	local function host(text)
		return ('VirtualHost "%s": the running server %s'):format("capulet.lit", text)
	end

	it("B10.3 says nothing where that has this module", function()
		local warnings, ok = check()
		assert.is_same({}, warnings)
		assert.is_equal("OK: no problems in 3 grants", ok)
	end)

	since_0_12("B10.3 knows those who are admins by their role", function()
		server:eval [[
			local users = require "core.usermanager";
			assert(users.create_user("tybalt", "secret", "capulet.lit"));
			if users.set_user_role then
				assert(users.set_user_role("tybalt", "capulet.lit", "prosody:admin"));
			else
				assert(users.set_roles("tybalt@capulet.lit", "capulet.lit", { ["prosody:admin"] = true }));
			end
		]]
		assert.is_same({
			'VirtualHost "capulet.lit": entity "gateway.capulet.lit" can act as the admin tybalt@capulet.lit by message.'
				.. ' Limit it by users = "opted-in" or a list of users.',
		}, (check()))
		server:eval 'assert(require "core.usermanager".delete_user("tybalt", "capulet.lit"))'
		assert.is_same({}, (check()))
	end)

	since_0_12("B10.3 warns where it has not loaded the module, and says how to", function()
		server:unload_module "privilege"
		local warnings, ok = check()
		assert.is_same(
			{ host "has not loaded the module. Run: prosodyctl shell config reload && prosodyctl shell module load privilege capulet.lit" },
			warnings
		)
		assert.is_equal("OK: no problems in 3 grants, 1 warning", ok)
		local output = server:prosodyctl "shell module load privilege capulet.lit"
		assert.is_truthy(output:find "OK", output)
		assert.is_same({}, (check()))
	end)

	since_0_12("B10.3 warns where it does not have the host or the component, and says how to activate them", function()
		finally(function()
			server:reload_config(three_grants)
			server:restart()
		end)
		local function assert_activates(kind, name, section)
			server:reload_config(good .. section)
			assert.is_same({
				('%s "%s": the running server does not have it. Run: prosodyctl shell config reload && prosodyctl shell host activate %s'):format(
					kind,
					name,
					name
				),
			}, (check()))
			server:prosodyctl("shell host activate " .. name)
			assert.is_same({}, (check()))
		end
		assert_activates(
			"VirtualHost",
			"verona.lit",
			'VirtualHost "verona.lit"\nprivileged_entities = { ["gateway.capulet.lit"] = { message = "outgoing" } }\n'
		)
		assert_activates(
			"Component",
			"late.capulet.lit",
			'privileged_entities = { ["late.capulet.lit"] = { message = "outgoing" } }\n'
				.. 'Component "late.capulet.lit"\ncomponent_secret = "secret"\n'
		)
		server:component("late.capulet.lit"):expect { name = "message", child = "privilege", from = "montague.lit" }
	end)

	since_0_12("B10.3 warns where it has loaded another version, and says how to change that", function()
		server:eval 'local api = prosody.hosts["capulet.lit"].modules.privilege.module; api.status_message = "3 entities, version 0.9"'
		assert.is_same({
			host(
				"has loaded version 0.9, this is "
					.. environment.module_version()
					.. ". Run: prosodyctl shell module reload privilege capulet.lit"
			),
		}, (check()))
		server:prosodyctl "shell module reload privilege capulet.lit"
		assert.is_same({}, (check()))
	end)

	since_0_12("B10.3 warns where it has loaded another file, also one that it finds first", function()
		local other = folder .. "/mod_privilege.lua"
		environment.write_file(other, "-- Another one\n")
		-- The server goes on with the folders that it began with.
		table.insert(server.plugin_paths, 1, folder)
		server:reload_config()
		server:restart()
		table.remove(server.plugin_paths, 1)
		server:reload_config()
		finally(function()
			os.remove(other)
			server:restart()
		end)
		local warnings = check()
		assert.is_same({
			"The running server finds "
				.. other
				.. ", not "
				.. file
				.. ". Restart it if plugin_paths has changed, or remove the file that you do not want.",
			host("has loaded " .. other .. "."),
			(host("has loaded " .. other .. "."):gsub("capulet.lit", "montague.lit")),
		}, warnings)
		os.remove(other)
		warnings = check()
		assert.is_equal(2, #warnings)
		assert.is_equal(host("has loaded " .. other .. ". Run: prosodyctl shell module reload privilege capulet.lit"), warnings[1])
		server:prosodyctl "shell module reload privilege"
		assert.is_same({}, (check()))
	end)

	it("B10.3 gives up soon and says so where that does not answer", function()
		server:signal "STOP"
		finally(function()
			server:signal "CONT"
		end)
		local began = socket.gettime()
		assert.is_same({}, (check(true)))
		assert.is_true(socket.gettime() - began < 30)
	end)

	it("B10.3 says so where none is running any more", function()
		server:kill()
		assert.is_same({}, (check(true)))
		server:restart()
	end)
end)
