-- Measures what mod_privilege costs, and prints a table of it. Run it with `make bench`.
--
-- From the environment: QUICK, with any value, takes less time and is less exact; OUT is a file that the table
-- is written to, as Markdown; PLOT a file for a picture of the ratios (SVG); ONLY measures only the works with one of these
-- keys, separated by spaces; PROSODY_BIN is the server's program.

package.path = "./?.lua;" .. package.path;

local environment = require "spec.support.environment";
local measure = require "bench.measure";
local plot = require "bench.plot";
local prosody = require "spec.support.prosody";
local report = require "bench.report";
local variants = require "bench.variants";
local works = require "bench.works";

local function option(name)
	local value = os.getenv(name);
	return value ~= "" and value or nil;
end

local is_quick = option "QUICK" ~= nil;
local rounds = is_quick and 3 or 5;

local function progress(text)
	io.stderr:write(text);
	io.stderr:flush();
end

local function is_wanted(work)
	local only = option "ONLY";
	return not only or (" " .. only .. " "):find(" " .. work.key .. " ", 1, true) ~= nil;
end

-- How many pieces of work a round has
local function pieces(work)
	local count = work.count or 1;
	if is_quick and work.slice then
		count = math.max(1, math.floor(count / 4 / work.slice)) * work.slice;
	end
	return count;
end

-- Does a work in all its variants; gives its figures by variant
local function run(work)
	progress(work.name .. " ");
	local tasks = {};
	if work.start then
		work.start();
	end
	for _, variant in ipairs(work.variants) do
		local server = variants.start(variant, work);
		table.insert(tasks, { variant = variant, server = server, run = work.open(server, variant) });
		for _, stream in ipairs(server.streams) do
			stream:sync():drain();
		end
	end
	local figures = measure.rounds(work, tasks, work.rounds or rounds, pieces(work), function () progress "."; end);
	for _, task in ipairs(tasks) do
		for _, stream in ipairs(task.server.streams) do
			stream:nothing();
		end
		if work.close then
			work.close(task.server);
		end
		task.server:stop();
	end
	if work.stop then
		work.stop();
	end
	return figures;
end

local function write(path, text)
	environment.write_file(path, text);
	progress("written: " .. path .. "\n");
end

local function main()
	local results = {};
	for _, work in ipairs(works) do
		if is_wanted(work) then
			local result = report.result(work, run(work));
			progress(" " .. report.brief(result) .. "\n");
			table.insert(results, result);
		end
	end
	local text = report.text(results, rounds);
	progress "\n";
	print(text);
	if option "OUT" then
		write(option "OUT", text);
	end
	if option "PLOT" then
		write(option "PLOT", plot.draw(results));
	end
end

local ok, err = xpcall(main, function (err)
	return type(err) == "string" and debug.traceback(err, 2) or tostring(err);
end);
if not ok then
	prosody.kill_all();
	io.stderr:write("\nbench: ", err, "\n");
	os.exit(1);
end
