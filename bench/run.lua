-- Measures what mod_privilege costs, and prints a table of it. Run it with `make bench`.
--
-- From the environment: QUICK, with any value, takes less time and is less exact; OUT is a file that the table
-- is written to, as Markdown; PLOT a file for a picture of the ratios (SVG); ONLY measures only the works with one of these
-- keys, separated by spaces; PROSODY_BIN is the server's program.

package.path = "./?.lua;" .. package.path;

local environment = require "spec.support.environment";
local measure = require "bench.measure";
local plot = require "bench.plot";
local presences = require "spec.support.presences";
local prosody = require "spec.support.prosody";
local report = require "bench.report";
local variants = require "bench.variants";
local works = require "bench.works";

local function option(name)
	local value = os.getenv(name);
	return value ~= "" and value or nil;
end

local is_quick = option "QUICK" ~= nil;
local usual_rounds = is_quick and 3 or 5;

local function progress(text)
	io.stderr:write(text);
	io.stderr:flush();
end

local function is_wanted(work)
	local only = option "ONLY";
	if only then
		return (" " .. only .. " "):find(" " .. work.key .. " ", 1, true) ~= nil;
	end
	return not (is_quick and work.thorough);
end

local function rounds(work)
	return work.rounds or is_quick and work.quick_rounds or usual_rounds;
end

-- How many pieces of work a round has
local function pieces(work)
	local count = work.count or 1;
	if is_quick and work.slice then
		count = work.quick_count or math.max(1, math.floor(count / 4 / work.slice)) * work.slice;
	end
	return count;
end

-- The variant whose turn it is
local at_work;

-- Starts a variant's server, and opens its streams
local function open(work, variant)
	at_work = variant;
	local server = variants.start(variant, work);
	local run = work.open(server, variant);
	presences.settle(server);
	server:drain();
	return { variant = variant, server = server, run = function (...)
		at_work = variant;
		return run(...);
	end };
end

-- Makes sure that nothing more came than what was expected, and that the server has no errors in its log
local function close(work, task)
	at_work = task.variant;
	for _, stream in ipairs(task.server.streams) do
		stream:nothing();
	end
	if work.close then
		work.close(task.server);
	end
	task.server:stop();
end

-- Does a work in some variants; gives what measure.rounds does
local function run(work, names)
	progress(work.name .. " ");
	local tasks = {};
	if work.start then
		work.start();
	end
	for i, variant in ipairs(names) do
		tasks[i] = open(work, variant);
	end
	local found = measure.rounds(work, tasks, rounds(work), pieces(work), function () progress "."; end);
	for _, task in ipairs(tasks) do
		close(work, task);
	end
	if work.stop then
		work.stop();
	end
	return found;
end

local function with_traceback(err)
	return type(err) == "string" and debug.traceback(err, 2) or tostring(err);
end

-- Does a work in all its variants, but the community module's where that fails: it does not work with each version of Prosody
local function run_all(work)
	local ok, result = xpcall(run, with_traceback, work, work.variants);
	if ok then
		return result;
	end
	prosody.kill_all();
	if at_work ~= "community" then
		error(result, 0);
	end
	progress("\nThe community module fails: " .. result:match "[^\n]*" .. "\n");
	local others = {};
	for _, variant in ipairs(work.variants) do
		if variant ~= "community" then
			table.insert(others, variant);
		end
	end
	return run(work, others);
end

local function write(path, text)
	environment.write_file(path, text);
	progress("written: " .. path .. "\n");
end

local function main()
	local results = {};
	for _, work in ipairs(works) do
		if is_wanted(work) then
			local result = report.result(work, run_all(work));
			progress(" " .. report.brief(result) .. "\n");
			table.insert(results, result);
		end
	end
	local text = report.text(results, usual_rounds);
	progress "\n";
	print(text);
	if option "OUT" then
		write(option "OUT", text);
	end
	if option "PLOT" then
		write(option "PLOT", plot.draw(results));
	end
end

local ok, err = xpcall(main, with_traceback);
if not ok then
	prosody.kill_all();
	io.stderr:write("\nbench: ", err, "\n");
	os.exit(1);
end
