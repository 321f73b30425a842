-- B10.1: the log warns of a host that has the module and grants nothing, and names the likely cause.

local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"

local granted = '{ ["pubsub.capulet.lit"] = { roster = "get" } }'

local function config(option, component_option)
	return ([[
VirtualHost "capulet.lit"
	%s
Component "pubsub.capulet.lit"
	component_secret = "secret"
	%s
]]):format(option, component_option or "")
end

describe("B10.1 a host that has the module and grants nothing", function()
	local server, log_at_start

	setup(function()
		server = prosody.start { config = config("privileged_entities = " .. granted) }
		log_at_start = server:log()
	end)

	teardown(function()
		server:stop()
	end)

	local function warnings(mark)
		return grants.logged(server:log_since(mark), "warn")
	end

	it("is no host that grants something", function()
		assert.is_same({}, grants.logged(log_at_start, "warn"))
		local mark = server:mark()
		server:reload_config(config("privileged_entities = " .. granted), "")
		server:reload_config(config "", "privileged_entities = " .. granted)
		assert.is_same({}, warnings(mark))
	end)

	for name, case in pairs {
		["no option"] = { "", "", "there is no privileged_entities" },
		["an empty one"] = { "privileged_entities = {}", "", "no entry of privileged_entities" },
		["entries that grant nothing"] = {
			'privileged_entities = { ["pubsub.capulet.lit"] = { roster = "none" }, ["a.lit"] = {} }',
			"",
			"no entry",
		},
		["entries that are wrong"] = { 'privileged_entities = { ["pubsub.capulet.lit"] = { roster = "all" } }', "", "no entry" },
		["no table"] = { 'privileged_entities = "pubsub.capulet.lit"', "", "no entry" },
		["a misspelt option"] = { "privileged_entites = " .. granted, "", '"privileged_entites"', 'did you mean "privileged_entities"?' },
		["its singular"] = { "privileged_entity = " .. granted, "", '"privileged_entity"', 'did you mean "privileged_entities"?' },
		["entries in the component's section"] = { "", "privileged_entities = " .. granted, 'Component "pubsub.capulet.lit"' },
	} do
		it("is named in a warning at load and at reload, with the cause: " .. name, function()
			for _, load in ipairs {
				function()
					server:reload_config(config(case[1], case[2]), "")
				end,
				function()
					server:reload_module "privilege"
				end,
			} do
				local mark = server:mark()
				load()
				local found = warnings(mark)
				assert.is_equal(1, #found)
				for i = 3, #case do
					assert.is_truthy(found[1]:find(case[i], 1, true), found[1])
				end
				assert.is_truthy(found[1]:find('VirtualHost "capulet.lit"', 1, true), found[1])
			end
		end)
	end

	it("is not one that grants something; its entries without a grant are named", function()
		local mark = server:mark()
		-- Lua takes a word without quotes for a variable, which is nil
		server:reload_config(
			config 'privileged_entities = { ["pubsub.capulet.lit"] = { roster = "get" }, ["a.lit"] = { roster = both } }',
			""
		)
		local found = warnings(mark)
		assert.is_equal(1, #found)
		assert.is_truthy(found[1]:find('VirtualHost "capulet.lit": entity "a.lit": the entry grants nothing', 1, true), found[1])
	end)

	it("is named in a warning where the option is misspelt in the global section", function()
		local mark = server:mark()
		server:reload_config(config "", "privilegedentities = " .. granted)
		assert.is_truthy(warnings(mark)[1]:find('global section has "privilegedentities"', 1, true), warnings(mark)[1])
	end)
end)
