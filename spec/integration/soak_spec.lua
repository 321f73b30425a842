-- Everything at the same time, for a while: SOAK is how many seconds (default 25, `make soak` takes 600), SEED makes
-- another run. What is checked while it runs is in spec/support/soak.

local soak = require "spec.support.soak";
local socket = require "socket";

local seconds, seed = tonumber(os.getenv "SOAK" or "") or 25, tonumber(os.getenv "SEED" or "") or 1;
local is_long = seconds > 60;
local shows_progress = os.execute "test -t 2" == true;

-- Everybody comes and leaves so many times at least: two for each quarter
local least_chapters = 8;

-- What a small table and its place in another one take, in bytes, at the least
local small_table = 72;

-- How the memory, in KiB, may differ between the medians of the third and of the fourth quarter. Everybody has left when
-- it is taken, and the same is granted: it is the same to 2 KiB then (there are tables that Lua makes smaller later).
-- To that come 2 bytes for each act; a leak has at least a table for each act of some kind, a tenth of all.
local function allowance(acts)
	return 5 + acts * 2 / 1024;
end

local function median(list, first, last, value)
	local values = {};
	for i = first, last do
		table.insert(values, value(list[i]));
	end
	table.sort(values);
	return (values[math.floor((#values + 1) / 2)] + values[math.ceil((#values + 1) / 2)]) / 2;
end

-- Gives how much the memory grew from the third quarter to the fourth, and how much it may have
local function growth(samples, memory)
	local half, three_quarters = math.floor(#samples / 2), math.floor(#samples * 3 / 4);
	local function between(value)
		return median(samples, three_quarters + 1, #samples, value) - median(samples, half + 1, three_quarters, value);
	end
	return between(memory), allowance(between(function (sample) return sample.acts; end));
end

local function report(world, samples)
	local lines = { ("\nSoak of %d s, seed %d, %d times everybody:"):format(seconds, seed, #samples) };
	for _, list in ipairs { world.ledger.kinds, world.figures } do
		local names = {};
		for name in pairs(list) do
			table.insert(names, name);
		end
		table.sort(names);
		for _, name in ipairs(names) do
			table.insert(lines, ("  %-26s %8d"):format(name:gsub("_", " "), list[name]));
		end
	end
	for _, i in ipairs { 1, math.floor(#samples / 2), #samples } do
		table.insert(lines, ("  memory after %7d acts %8.1f KiB"):format(samples[i].acts, samples[i].kib));
	end
	table.insert(lines, ("  longest answer time %.0f ms, of an iq that may wait %.1f s\n"):format(world.ledger.longest * 1000, world.ledger.longest_wait));
	io.stderr:write(table.concat(lines, "\n"));
end

describe("soak:", function ()
	local world;
	local samples = {};

	local function chapter()
		local kib = soak.chapter(world, math.min(5, math.max(1.2, seconds / 20)));
		table.insert(samples, { kib = kib, acts = world.ledger.last, messages = world.ledger.kinds.message, connections = world.figures.connections });
	end

	setup(function ()
		math.randomseed(seed);
		world = soak.start();
	end);

	teardown(function ()
		world.server:stop();
	end);

	it("what everybody does comes to what it has to, and leaves nothing behind (seed " .. seed .. ")", function ()
		local start = socket.gettime();
		repeat
			chapter();
			if shows_progress then
				io.stderr:write(("\r%4d of %d s, %d acts, %d connections, %.0f KiB "):format(
					socket.gettime() - start, seconds, world.ledger.last, world.figures.connections, samples[#samples].kib));
			end
		until #samples >= least_chapters and socket.gettime() > start + seconds;
		if is_long or shows_progress then
			report(world, samples);
		end
	end);

	it("the memory is flat over the last half", function ()
		local grown, most = growth(samples, function (sample) return sample.kib; end);
		assert.is_true(grown < most, ("grown by %.1f KiB, and %.1f are allowed"):format(grown, most));
	end);

	for _, what in ipairs { "messages", "connections" } do
		it("the memory would not be if a small table were left of each of the " .. what, function ()
			local grown, most = growth(samples, function (sample)
				return sample.kib + sample[what] * small_table / 1024;
			end);
			assert.is_true(grown > most, ("grown by %.1f KiB, and %.1f are allowed"):format(grown, most));
		end);
	end

	it("the server still answers", function ()
		local client = world.server:client "u1@capulet.lit/last";
		assert.is_equal("result", client:iq { type = "get", to = "capulet.lit", "<ping xmlns='urn:xmpp:ping'/>" }.attr.type);
		client:close();
	end);
end);
