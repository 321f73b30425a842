-- The command `prosodyctl mod_privilege check` (behaviour 10.3), over configurations as Prosody reads them.

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local parts = support.parts
local checks = parts.create_check()
local test = support.suite "command"

--- Makes sections as Prosody has them: what one has not is looked up in the global one, "*".
local function sections(given)
	given["*"] = given["*"] or {}
	for host, section in pairs(given) do
		if host ~= "*" then
			setmetatable(section, { __index = given["*"] })
		end
	end
	return given
end

local function component(options)
	options = options or {}
	options.component_module = options.component_module or "component"
	options.component_secret = "secret"
	return options
end

--- A host that grants pubsub.capulet.lit something, and has the module.
local function granting(option)
	return { modules_enabled = { "disco", "privilege" }, privileged_entities = option or { ["pubsub.capulet.lit"] = { roster = "get" } } }
end

local row = { "capulet.lit", "pubsub.capulet.lit", "all", "get", "yes", "none", "none", "none" }

local function check(given, rows, problems, warnings)
	local report = checks.check_configuration(sections(given))
	equal(report.problems, problems or {})
	equal(report.warnings, warnings or {})
	equal(report.rows, rows)
end

test("B10.3 nothing is granted, and nothing is wrong", function()
	check({}, {})
	check({ ["capulet.lit"] = {}, ["pubsub.capulet.lit"] = component() }, {})
	check({ ["capulet.lit"] = { modules_enabled = { "privilege" } } }, {})
end)

test("B10.3 shows what is granted, sorted", function()
	check({
		["montaigu.lit"] = granting { ["juliet@capulet.lit"] = { message = "outgoing" } },
		["capulet.lit"] = granting {
			["pubsub.capulet.lit"] = {
				roster = "both",
				roster_push = false,
				presence = "roster",
				iq = { ["urn:b"] = "get", ["urn:a"] = "set" },
			},
			["Romeo@montaigu.lit"] = {},
		},
		["pubsub.capulet.lit"] = component(),
	}, {
		{ "capulet.lit", "pubsub.capulet.lit", "all", "both", "no", "none", "roster", "urn:a=set urn:b=get" },
		{ "capulet.lit", "romeo@montaigu.lit", "all", "none", "no", "none", "none", "none" },
		{ "montaigu.lit", "juliet@capulet.lit", "all", "none", "no", "outgoing", "none", "none" },
	}, {}, {
		'VirtualHost "capulet.lit": entity "romeo@montaigu.lit": the entry grants nothing. Values need quotes: roster = "both"',
	})
end)

test("B10.3 tells every problem of 1.3, and shows the rest", function()
	check({
		["capulet.lit"] = granting { ["pubsub.capulet.lit"] = { roster = "get", message = "outgoin" }, [17] = {} },
		["pubsub.capulet.lit"] = component(),
	}, { row }, {
		'VirtualHost "capulet.lit": the key 17 of privileged_entities grants nothing, expected a domain or a bare JID',
		'VirtualHost "capulet.lit": entity "pubsub.capulet.lit": message = "outgoin" grants nothing, expected "none" or "outgoing" (did you mean "outgoing"?)',
	})
	check({ ["capulet.lit"] = granting "all" }, {}, {
		'VirtualHost "capulet.lit": privileged_entities = "all" grants nothing, expected a table of entities, { ["JID"] = { … } }',
	})
end)

test("B1.5 the global section serves the hosts that have none of their own", function()
	local other = { ["pubsub.capulet.lit"] = { message = "outgoing" } }
	check({
		["*"] = granting(),
		["capulet.lit"] = {},
		["montaigu.lit"] = { privileged_entities = other },
		["verona.lit"] = { privileged_entities = {} },
		["pubsub.capulet.lit"] = component(),
	}, { row, { "montaigu.lit", "pubsub.capulet.lit", "all", "none", "no", "outgoing", "none", "none" } })
end)

test("B10.3 finds the module where the server does", function()
	local granted = { ["pubsub.capulet.lit"] = { roster = "get" } }
	local missing = 'VirtualHost "capulet.lit": privileged_entities grants nothing, "privilege" is not in modules_enabled'
	local function with(global, host, expected, problems)
		host.privileged_entities = granted
		check({ ["*"] = global, ["capulet.lit"] = host, ["pubsub.capulet.lit"] = component() }, expected, problems)
	end
	with({}, { modules_enabled = { "privilege" } }, { row })
	with({ modules_enabled = { "privilege" } }, {}, { row })
	with({ modules_enabled = { "privilege" } }, { modules_enabled = { "disco" } }, { row })
	with({}, { modules_enabled = "privilege" }, { row })
	with({}, {}, {}, { missing })
	with({ modules_enabled = { "disco" } }, { modules_enabled = { "privileges" } }, {}, { missing .. ', write it instead of "privileges"' })
	with({ modules_enabled = { "privilege" } }, { modules_disabled = { "privilege" } }, {}, { missing })
end)

test("B10.3 says where a global option serves nobody", function()
	check({
		["*"] = { privileged_entities = {} },
		["capulet.lit"] = {},
		["pubsub.capulet.lit"] = component { modules_enabled = { "privilege" } },
	}, {}, {
		'global section: privileged_entities grants nothing, "privilege" is in the modules_enabled of no VirtualHost',
	})
end)

test("B1.2, B10.3 a component may enable the module, and grants nothing", function()
	check({ ["capulet.lit"] = granting(), ["pubsub.capulet.lit"] = component { modules_enabled = { "privilege" } } }, { row })
	check({ ["capulet.lit"] = granting(), ["pubsub.capulet.lit"] = component { privileged_entities = {} } }, { row }, {
		'Component "pubsub.capulet.lit": privileged_entities grants nothing here, it belongs to a VirtualHost',
	})
end)

test("B10.3 says where there is no such entity", function()
	local function with(entity, problem)
		check({
			["capulet.lit"] = granting { [entity] = { roster = "get" } },
			["montaigu.lit"] = {},
			["pubsub.capulet.lit"] = component(),
			["muc.capulet.lit"] = component { component_module = "muc" },
		}, { { "capulet.lit", entity, "all", "get", "yes", "none", "none", "none" } }, problem and {
			'VirtualHost "capulet.lit": entity "' .. entity .. '": ' .. problem,
		})
	end
	with("pubsub.capulet.lit", nil)
	with("romeo@montaigu.lit", nil)
	with("juliet@capulet.lit", nil)
	with("pubsb.capulet.lit", 'there is no such Component in this configuration (did you mean "pubsub.capulet.lit"?)')
	with("gateway.verona.lit", "there is no such Component in this configuration")
	with("montaigu.lit", "it is a VirtualHost, an entity is a Component or a user")
	with("muc.capulet.lit", "it is part of the server itself, an entity is an external Component")
	with("romeo@montagu.lit", 'montagu.lit is no VirtualHost of this configuration (did you mean "montaigu.lit"?)')
	with("romeo@verona.org", "verona.org is no VirtualHost of this configuration")
	with("romeo@pubsub.capulet.lit", "pubsub.capulet.lit is no VirtualHost of this configuration")
end)

test("B10.3 looks at the further options, in every section", function()
	check({
		["*"] = { privilege_iq_timeout = "soon", privilege_entities = {} },
		["capulet.lit"] = { privileged_entitys = {}, privilege_probe_rate = {}, privilege_legacy_namespace = "maybe" },
		["montague.lit"] = { privilege_probe_rate = -1, privilege_iq_timeout = 0.5 },
		["pubsub.capulet.lit"] = component { privilege_log_act = true, privilege_log_acts = true },
	}, {}, {
		'global section: there is no option privilege_entities (did you mean "privileged_entities"?)',
		'global section: privilege_iq_timeout = "soon" is not understood, expected a number of at least 1',
		'VirtualHost "capulet.lit": privilege_legacy_namespace = "maybe" is not understood, expected true or false',
		'VirtualHost "capulet.lit": privilege_probe_rate = a table is not understood, expected a number of at least 0',
		'VirtualHost "capulet.lit": there is no option privileged_entitys (did you mean "privileged_entities"?)',
		'VirtualHost "montague.lit": privilege_iq_timeout = 0.5 is not understood, expected a number of at least 1',
		'VirtualHost "montague.lit": privilege_probe_rate = -1 is not understood, expected a number of at least 0',
		'Component "pubsub.capulet.lit": there is no option privilege_log_act (did you mean "privilege_log_acts"?)',
		'Component "pubsub.capulet.lit": privilege_log_acts does nothing here, it belongs to a VirtualHost',
	})
	for _, good in ipairs {
		{ privilege_iq_timeout = 10, privilege_probe_rate = 0 },
		{ privilege_iq_timeout = "10" },
		{ privilege_legacy_namespace = true, privilege_log_acts = false },
		{ privilege_legacy_namespace = "false", privilege_log_acts = 1 },
		{ admins = {}, log = "*syslog", pidfile = "x", storage = "internal" },
	} do
		check({ ["*"] = good, ["capulet.lit"] = {} }, {})
	end
end)

test("B12.6 tells whose accounts a grant covers", function()
	for users, expected in pairs { all = "all", ["opted-in"] = "opted-in" } do
		local shown = { row[1], row[2], expected, row[4], row[5], row[6], row[7], row[8] }
		check({
			["capulet.lit"] = granting { ["pubsub.capulet.lit"] = { roster = "get", users = users } },
			["pubsub.capulet.lit"] = component(),
		}, { shown })
	end
	equal(parts.describe_users { juliet = true, nurse = true }, "listed: 2")
	equal(parts.describe_users({}, nil), "listed: 0")
	equal(parts.describe_users("opted-in", 0), "opted-in: 0")
end)

test("B1.4 says what presences and pushes need", function()
	local report = checks.check_configuration(sections {
		["capulet.lit"] = granting { ["pubsub.capulet.lit"] = { roster = "set", presence = "roster", roster_push = true } },
		["pubsub.capulet.lit"] = component(),
	})
	equal(report.problems, {
		'VirtualHost "capulet.lit": entity "pubsub.capulet.lit": presence = "roster" needs roster = "get" or "both"',
		'VirtualHost "capulet.lit": entity "pubsub.capulet.lit": roster_push = true needs roster = "get" or "both"',
	})
end)

test("B10.3 warns of grants that are as good as an admin's", function()
	local commands, register, pubsub = "http://jabber.org/protocol/commands", "jabber:iq:register", "http://jabber.org/protocol/pubsub"
	local server
	local function warnings(permissions, admins, entity)
		entity = entity or "pubsub.capulet.lit"
		local host = granting { [entity] = permissions }
		host.admins = admins
		local report = checks.check_configuration(sections { ["capulet.lit"] = host, ["pubsub.capulet.lit"] = component() }, server)
		equal(report.problems, {})
		return report.warnings
	end
	local admins = { "Juliet@Capulet.lit", "romeo@montaigu.lit", 5 }
	local beginning = 'VirtualHost "capulet.lit": entity "pubsub.capulet.lit" can act as the admin '
	local limit = '. Limit it by users = "opted-in" or a list of users.'
	equal(warnings({ message = "outgoing" }, admins), { beginning .. "juliet@capulet.lit by message" .. limit })
	equal(warnings({ message = "outgoing" }, { "juliet@capulet.lit", "friar@capulet.lit" }), {
		beginning .. "friar@capulet.lit, juliet@capulet.lit by message" .. limit,
	})
	equal(warnings({ iq = { [commands] = "both", [register] = "set", [pubsub] = "both" } }, admins), {
		beginning .. 'juliet@capulet.lit by iq["' .. commands .. '"], iq["' .. register .. '"]' .. limit,
	})
	equal(warnings({ message = "outgoing", users = { "juliet" } }, admins), { beginning .. "juliet@capulet.lit by message." })
	for _, harmless in ipairs {
		{ { message = "outgoing", users = "opted-in" }, admins },
		{ { message = "outgoing", users = { "nurse" } }, admins },
		{ { roster = "both", presence = "roster", iq = { [pubsub] = "both", [commands] = "get" } }, admins },
		{ { message = "outgoing" }, { "romeo@montaigu.lit" } },
		{ { message = "outgoing" } },
		{ { message = "outgoing" }, "juliet@capulet.lit" },
		{ { message = "outgoing" }, admins, "juliet@capulet.lit" },
	} do
		equal(warnings(harmless[1], harmless[2], harmless[3]), {})
	end
	-- a server knows of those who are admins by their role
	server = { admins = { ["juliet@capulet.lit"] = true, ["nurse@capulet.lit"] = true, ["romeo@montaigu.lit"] = true } }
	equal(warnings({ message = "outgoing" }, admins), { beginning .. "juliet@capulet.lit, nurse@capulet.lit by message" .. limit })
	equal(warnings({ message = "outgoing", users = { "nurse" } }), { beginning .. "nurse@capulet.lit by message." })
end)

test("B10.3 compares the running server with the configuration", function()
	local this, other, version = "/local/mod_privilege.lua", "/other/mod_privilege.lua", parts.module_version
	local configuration = sections { ["capulet.lit"] = granting(), ["pubsub.capulet.lit"] = component() }
	local function compare(loaded, finds)
		local server = { finds = finds or this, hosts = { ["capulet.lit"] = loaded, ["pubsub.capulet.lit"] = {} }, admins = {} }
		return checks.compare_running(server, configuration, { row }, this)
	end
	local host, run = 'VirtualHost "capulet.lit": the running server ', ". Run: prosodyctl shell module %s privilege capulet.lit"
	equal(compare { path = this, version = version }, {})
	local missing = "does not have it. Run: prosodyctl shell config reload && prosodyctl shell host activate "
	equal(compare(nil), { host .. missing .. "capulet.lit" })
	equal(checks.compare_running({ finds = this, hosts = {}, admins = {} }, configuration, { row, row }, this), {
		host .. missing .. "capulet.lit",
		'Component "pubsub.capulet.lit": the running server ' .. missing .. "pubsub.capulet.lit",
	})
	equal(compare { path = "", version = "" }, {
		host .. "has not loaded the module. Run: prosodyctl shell config reload && prosodyctl shell module load privilege capulet.lit",
	})
	equal(compare { path = other, version = version }, { host .. "has loaded " .. other .. run:format "reload" })
	equal(compare { path = this, version = "0.1" }, { host .. "has loaded version 0.1, this is " .. version .. run:format "reload" })
	equal(compare { path = this, version = "" }, { host .. "has loaded another version, this is " .. version .. run:format "reload" })
	equal(compare({ path = this, version = version }, other), {
		"The running server finds "
			.. other
			.. ", not "
			.. this
			.. ". Restart it if plugin_paths has changed, or remove the file that you do not want.",
	})
	-- reloading would not help then
	equal(#compare({ path = other, version = "" }, other), 2)
	equal(compare({ path = other, version = "" }, other)[2], host .. "has loaded " .. other .. ".")
	equal(
		compare({ path = this, version = version }, ""),
		{ "The running server does not find " .. this .. ". Restart it if plugin_paths has changed." }
	)
end)

--- Runs the command; its exit status, and what it prints.
local function run(args, given, server)
	local lines = {}
	local loaded = support.load {
		print = function(line)
			table.insert(lines, line)
		end,
	}
	local status = loaded.create_check().run_command(
		args,
		function()
			return sections(given)
		end,
		"/mod_privilege.lua",
		function()
			return server
		end
	)
	return status, table.concat(lines, "\n")
end

local not_asked = "\nNo running server answered, so only the configuration was checked."
local titles = "Host\tEntity\tUsers\tRoster\tPushes\tMessage\tPresence\tIQ namespaces\n"

test("B10.3 the exit status says whether anything is wrong", function()
	local good = { ["capulet.lit"] = granting(), ["pubsub.capulet.lit"] = component() }
	local status, text = run({ "check" }, good)
	equal(status, 0)
	equal(text, titles .. table.concat(row, "\t") .. "\n\nOK: no problems in 1 grant" .. not_asked)
	status, text = run({ "check" }, { ["capulet.lit"] = granting() })
	equal(status, 1)
	luaunit.assertStrContains(
		text,
		table.concat(row, "\t") .. '\n\nVirtualHost "capulet.lit": entity "pubsub.capulet.lit": there is no such Component'
	)
	luaunit.assertNotStrContains(text, "OK")
	equal({ run({ "check" }, {}) }, { 0, "No entity is granted anything." .. not_asked })
	status, text = run({ "check" }, good, { finds = "/mod_privilege.lua", hosts = {}, admins = {} })
	equal(status, 0)
	luaunit.assertStrContains(
		text,
		'\n\nOK: no problems in 1 grant, 2 warnings\nWarning: VirtualHost "capulet.lit": the running server does not have it. Run: '
	)
end)

test("B10.3 other words get help, and an error where help was not asked for", function()
	for word, expected in pairs { help = 0, ["--help"] = 0, chekc = 1, [false] = 0 } do
		local status, text = run({ word or nil }, {})
		equal(status, expected)
		luaunit.assertStrContains(text, "Usage: prosodyctl mod_privilege check")
		equal(text:find("\nThere is no command chekc", 1, true) ~= nil, word == "chekc")
	end
end)

test("B10.3 what is not known after the command is an error", function()
	for _, word in ipairs { "check", "version" } do
		equal({ run({ word, "capulet.lit" }, {}) }, { 1, "prosodyctl mod_privilege " .. word .. " takes no arguments: capulet.lit" })
	end
end)

test("B10.3 an entity without a secret cannot connect", function()
	local without = component()
	without.component_secret = nil
	check({ ["capulet.lit"] = granting(), ["pubsub.capulet.lit"] = without }, { row }, {
		'VirtualHost "capulet.lit": entity "pubsub.capulet.lit": its Component has no component_secret, so it cannot connect',
	})
	check({ ["*"] = { component_secret = "secret" }, ["capulet.lit"] = granting(), ["pubsub.capulet.lit"] = without }, { row })
end)
