-- B3.5: servers whose mod_component does not say that a component has authenticated.

local environment = require "spec.support.environment"
local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"

local lfs = require "lfs"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = { message = "outgoing" };
		["brief.capulet.lit"] = { message = "outgoing" };
		["empty.capulet.lit"] = {};
		["juliet@capulet.lit"] = { message = "outgoing" };
	}
]]
for name in ("pubsub brief empty stranger"):gmatch "%a+" do
	config = config .. ('Component "%s.capulet.lit"\n\tcomponent_secret = "secret"\n'):format(name)
end

-- Makes a folder with a mod_component as it was before Prosody 0.9.9
local function make_unpatched()
	local folder = os.tmpname()
	os.remove(folder)
	assert(lfs.mkdir(folder))
	local source
	for _, name in ipairs { "modules", "plugins" } do
		source = source or environment.read_file(("%s/%s/mod_component.lua"):format(environment.source_folder, name))
	end
	local text, count = assert(source, "there is no mod_component"):gsub("[^\n]*component%-authenticated[^\n]*\n", "")
	assert(count == 1, "this mod_component fires no component-authenticated")
	environment.write_file(folder .. "/mod_component.lua", text)
	return folder
end

-- The errors that name the patch
local function patch_errors(server, mark)
	return grants.logged(server:log_since(mark or 0), "error", "component-authenticated", "patch")
end

describe("B3.5 a server whose mod_component lacks the event", function()
	local folder, server

	setup(function()
		folder = make_unpatched()
		server = prosody.start {
			plugin_paths = { folder, lfs.currentdir() .. "/lua-out" },
			users = { "juliet@capulet.lit" },
			config = config,
		}
	end)

	teardown(function()
		server:stop()
		os.remove(folder .. "/mod_component.lua")
		os.remove(folder)
	end)

	local streams = {}

	local function connect(name)
		local stream = server:component(name .. ".capulet.lit")
		table.insert(streams, stream)
		return stream
	end

	after_each(function()
		while streams[1] do
			table.remove(streams):close()
		end
	end)

	it("B3.5 logs an error that names the patch when a listed component connects, and only then", function()
		local mark = server:mark()
		connect "stranger"
		connect("brief"):close() -- before it could be missed
		assert.has_error(function()
			server:component("pubsub.capulet.lit", "wrong")
		end)
		streams[#streams + 1] = server:client "juliet@capulet.lit/balcony"
		assert.is_same({ "capulet.lit: message=outgoing" }, (grants.told(streams[#streams])))
		connect "pubsub"
		local line = server:wait_log("privilege%s+error\t.*component%-authenticated", nil, mark)
		assert.is_truthy(line:find("pubsub.capulet.lit", 1, true))
		assert.is_truthy(line:find("patch", 1, true))
		assert.is_equal(1, #patch_errors(server, mark))
	end)

	it("B3.5 does not log it about a component that was found connected", function()
		local mark = server:mark()
		local early = connect "pubsub"
		server:reload_module "privilege"
		assert.is_same({ "capulet.lit: message=outgoing" }, (grants.told(early)))
		connect "brief"
		server:wait_log("privilege%s+error\t.*brief%.capulet%.lit.*patch", nil, mark)
		assert.is_equal(1, #patch_errors(server, mark))
	end)
end)

describe("B3.5 a server whose mod_component has the event", function()
	local server

	setup(function()
		server = prosody.start { users = { "juliet@capulet.lit" }, config = config }
		for name in ("pubsub empty stranger"):gmatch "%a+" do
			server:component(name .. ".capulet.lit")
		end
		server:client "juliet@capulet.lit/balcony"
		-- longer than it takes on the other server
		server:eval [[module:add_timer(1.5, function () module:log("info", "the time is over"); end)]]
		server:wait_log "the time is over"
	end)

	teardown(function()
		server:stop()
	end)

	for _, entity in ipairs { "pubsub.capulet.lit", "stranger.capulet.lit", "juliet@capulet.lit" } do
		it("B3.5 logs no such error about " .. entity, function()
			assert.is_same({}, grants.logged(server:log(), "error", entity))
		end)
	end

	it("B3.5 logs no such error about a listed component that is granted nothing, and so told nothing", function()
		assert.is_same({}, grants.logged(server:log(), "error", "empty.capulet.lit"))
	end)
end)
