-- Everything at the same time, for a while: SOAK is how many seconds (default 25, `make soak` takes 600), SEED makes
-- another run. What is checked while it runs is in spec/support/soak.

local environment = require "spec.support.environment"
local grants = require "spec.support.grants"
local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"
local soak = require "spec.support.soak"
local socket = require "socket"

-- Gives a number of the environment
local function number(name, default)
	local text = os.getenv(name) or ""
	return text == "" and default or assert(tonumber(text), name .. " has to be a number")
end

local seconds, seed = number("SOAK", 25), number("SEED", 1)
local is_long = seconds > 60
local shows_progress = os.execute "test -t 2" == true

-- Everybody comes and leaves so many times at least: two for each quarter
local least_chapters = 8

-- What a small table and its place in another one take, in bytes, at the least
local small_table = 72

-- How many KiB the memory may grow from the third quarter to the fourth. Everybody has left when it is taken, and the same is
-- granted: it is the same to 2 KiB then. More comes for a while where the timers of a module that was reloaded still run.
-- Prosody itself keeps the name of its file for each time that it reads the configuration (configmanager.files).
local allowance, for_a_reload = 6, 32 / 1024

-- Gives how much the memory grew from the third quarter to the fourth. Of both the least counts: what leaks is in each sample
local function growth(samples, memory)
	local half, three_quarters = math.floor(#samples / 2), math.floor(#samples * 3 / 4)
	local third, fourth = math.huge, math.huge
	for i = half + 1, #samples do
		if i <= three_quarters then
			third = math.min(third, memory(samples[i]))
		else
			fourth = math.min(fourth, memory(samples[i]))
		end
	end
	return fourth - third
end

local function report(world, samples)
	local lines = { ("\nSoak of %d s, seed %d, %d times everybody:"):format(seconds, seed, #samples) }
	for _, list in ipairs { world.ledger.kinds, world.figures } do
		local names = {}
		for name in pairs(list) do
			table.insert(names, name)
		end
		table.sort(names)
		for _, name in ipairs(names) do
			table.insert(lines, ("  %-26s %8d"):format(name:gsub("_", " "), list[name]))
		end
	end
	for _, i in ipairs { 1, math.floor(#samples / 2), #samples } do
		table.insert(lines, ("  memory after %7d acts %8.1f KiB"):format(samples[i].acts, samples[i].kib))
	end
	table.insert(
		lines,
		("  longest answer time %.0f ms, of iqs that timed out %.1f s\n"):format(world.ledger.longest * 1000, world.ledger.longest_wait)
	)
	io.stderr:write(table.concat(lines, "\n"))
end

-- Entities that are told presences hear of others meanwhile, which is remembered until they are told
describe("soak: a grant that changes while the entity is told presences", function()
	local config = [[
VirtualHost "capulet.lit"
	privileged_entities = { ["watcher.lit"] = { roster = "get", presence = "roster" } }
Component "watcher.lit"
	component_secret = "secret"
]]
	for name, presence in pairs { ["for less"] = 'presence = "managed_entity"', ["for nothing"] = "" } do
		it(name .. " leaves nothing behind", function()
			local server = prosody.start { config = config, users = { "u1@capulet.lit" } }
			local path = server.dir .. "/prosody.cfg.lua"
			environment.write_file(path, (environment.read_file(path):gsub('presence = "roster"', presence)))
			server:eval(environment.read_file "spec/support/soak/inside.lua")
			server:eval [[
				prosody.hosts["watcher.lit"].events.add_handler("component-authenticated", prosody.reload_config, -1);
			]]
			local watcher = server:component "watcher.lit"
			presences.settle(server)
			local granted = "capulet.lit: roster=get push=true presence="
			assert.is_same({ granted .. (presence:match '"(.*)"' or "none"), granted .. "roster" }, (grants.told(watcher)))
			server:client "u1@capulet.lit/r":close()
			assert.is_same({ "watcher.lit" }, server:eval "return prosody.spec_soak.connected()")
			server:stop()
		end)
	end
end)

describe("soak:", function()
	local world
	local samples = {}

	local function chapter()
		local kib = soak.chapter(world, math.min(5, math.max(1.2, seconds / 20)))
		table.insert(samples, {
			kib = kib,
			acts = world.ledger.last,
			messages = world.ledger.kinds.message,
			connections = world.figures.connections,
			reloads = world.figures.reloads,
		})
	end

	setup(function()
		math.randomseed(seed)
		world = soak.start()
	end)

	teardown(function()
		world.server:stop()
	end)

	-- Runs it all once, for whichever spec comes first
	local ran, problem
	local function run()
		if ran == nil then
			ran, problem = pcall(function()
				local start = socket.gettime()
				repeat
					chapter()
					if shows_progress then
						io.stderr:write(
							("\r\27[K%4.0f of %d s, %d acts, %d connections, %.0f KiB "):format(
								socket.gettime() - start,
								seconds,
								world.ledger.last,
								world.figures.connections,
								samples[#samples].kib
							)
						)
					end
				until #samples >= least_chapters and socket.gettime() > start + seconds
			end)
		end
		if not ran then
			error(problem, 0)
		end
	end

	it("what everybody does comes to what it has to, and leaves nothing behind (seed " .. seed .. ")", function()
		run()
		if is_long then
			report(world, samples)
		end
	end)

	-- What grows once, such as a table that is made twice as large, is out of this after some more times; what leaks is not
	it("the memory is flat over the last half", function()
		run()
		local grown, allowed
		local most = 4 * #samples
		repeat
			if grown then
				chapter()
			end
			grown = growth(samples, function(sample)
				return sample.kib
			end)
			allowed = allowance + (samples[#samples].reloads - samples[math.floor(#samples / 2)].reloads) * for_a_reload
		until grown < allowed or #samples >= most
		assert.is_true(grown < allowed, ("grown by %.1f KiB"):format(grown))
	end)

	for _, what in ipairs { "messages", "connections" } do
		it("the memory would not be if a small table were left of each of the " .. what, function()
			run()
			-- On a busy machine there may be few of them so far.
			local function leaked()
				return (samples[#samples][what] - samples[math.floor(#samples / 2)][what]) * small_table / 1024
			end
			local most = 4 * #samples
			while leaked() < 4 * allowance and #samples < most do
				chapter()
			end
			local function grown(leak)
				return growth(samples, function(sample)
					return sample.kib + sample[what] * leak / 1024
				end)
			end
			local difference = grown(small_table) - grown(0)
			assert.is_true(difference > allowance, ("grown by %.1f KiB more"):format(difference))
		end)
	end

	it("the server still answers", function()
		local client = world.server:client "u1@capulet.lit/last"
		assert.is_equal("result", client:iq { type = "get", to = "capulet.lit", "<ping xmlns='urn:xmpp:ping'/>" }.attr.type)
		client:close()
	end)
end)
