-- Measures what mod_privilege costs, and prints a table of it. Run it with `make bench`.
--
-- From the environment: QUICK, with any value, takes less time and is less exact; OUT is a file that the tables
-- are written to, as Markdown; PLOT a file for a picture of the ratios (SVG); DATA a file that a later run reads by BESIDE, to have the
-- ratios of both beside each other, as of different versions of Prosody; ONLY measures only the works with one of these
-- keys, separated by spaces; PROSODY_BIN is the server's program.

package.path = "./?.lua;" .. package.path

local environment = require "spec.support.environment"
local measure = require "bench.measure"
local plot = require "bench.plot"
local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"
local report = require "bench.report"
local socket = require "socket"
local variants = require "bench.variants"
local works = require "bench.works"

local function option(name)
	local value = os.getenv(name)
	return value ~= "" and value or nil
end

local is_quick = option "QUICK" ~= nil
local usual_boots = is_quick and 3 or 5

local function progress(text)
	io.stderr:write(text)
	io.stderr:flush()
end

local function is_wanted(work)
	local only = option "ONLY"
	if only then
		return (" " .. only .. " "):find(" " .. work.key .. " ", 1, true) ~= nil
	end
	return not (is_quick and work.thorough)
end

local function boots(work)
	return math.min(work.boots or usual_boots, is_quick and work.quick_boots or usual_boots)
end

-- How many pieces of work are done with each boot
local function pieces(work)
	local count, slice = work.count or 1, work.slice or 1
	if not is_quick or count == slice then
		return count
	end
	return work.quick_count or math.max(2, math.floor(count / 6 / slice)) * slice
end

-- The variant whose turn it is
local at_work

-- Starts a variant's server, and opens its streams
local function open(work, variant)
	at_work = variant
	local server = variants.start(variant, work)
	local run = work.open(server, variant)
	presences.settle(server)
	server:drain()
	return {
		variant = variant,
		server = server,
		run = function(...)
			at_work = variant
			return run(...)
		end,
	}
end

-- Makes sure that nothing more came than what was expected, and that the server has no errors in its log
local function check(task)
	at_work = task.variant
	for _, stream in ipairs(task.server.streams) do
		stream:nothing()
	end
	task.server:take_log()
end

-- Does a work in some variants, with servers of its own
local function boot(work, names)
	local tasks = {}
	if work.start then
		work.start()
	end
	for i, variant in ipairs(names) do
		tasks[i] = open(work, variant)
	end
	local found = measure.boot(work, tasks, pieces(work))
	for _, task in ipairs(tasks) do
		check(task)
	end
	-- To shut down takes longer
	prosody.kill_all()
	progress "."
	return found
end

-- Does a work in some variants; gives for each boot what measure.boot does
local function run(work, names)
	local found = {}
	for i = 1, boots(work) do
		found[i] = boot(work, names)
	end
	return found
end

local function with_traceback(err)
	return type(err) == "string" and debug.traceback(err, 2) or tostring(err)
end

-- Does a work in all its variants, but the community module's where that fails: it does not work with each version of Prosody.
-- Gives no boots when another one fails.
local function run_all(work)
	progress(work.name .. " ")
	local names = work.variants
	while true do
		local ok, result = xpcall(run, with_traceback, work, names)
		if ok then
			return result
		end
		prosody.kill_all()
		if at_work ~= "community" then
			progress("\nFails: " .. result .. "\n")
			return {}
		end
		progress("\nThe community module fails: " .. result:match "[^\n]*" .. "\n")
		local others = {}
		for _, variant in ipairs(names) do
			if variant ~= "community" then
				table.insert(others, variant)
			end
		end
		names = others
	end
end

local function write(path, text)
	environment.write_file(path, text)
	progress("written: " .. path .. "\n")
end

-- Returns whether all could be measured
local function main()
	local results, others, all_done = {}, {}, true
	-- What is wrong with the files shows before all the work
	for path in (option "BESIDE" or ""):gmatch "%S+" do
		table.insert(others, dofile(path))
	end
	for _, name in ipairs { "OUT", "DATA", "PLOT" } do
		if option(name) then
			environment.write_file(option(name), "")
		end
	end
	for _, work in ipairs(works) do
		if is_wanted(work) then
			local start = socket.gettime()
			local result = report.result(work, run_all(work))
			progress((" %s (%.0f s)\n"):format(report.brief(result), socket.gettime() - start))
			table.insert(results, result)
			all_done = all_done and next(result.figures) ~= nil
		end
	end
	local text = report.text(results, others)
	progress "\n"
	print(text)
	if option "OUT" then
		write(option "OUT", text)
	end
	if option "DATA" then
		write(option "DATA", report.data(report.run(results)))
	end
	if option "PLOT" then
		write(option "PLOT", plot.draw(results))
	end
	return all_done
end

local ok, result = xpcall(main, with_traceback)
if not ok then
	prosody.kill_all()
	io.stderr:write("\nbench: ", result, "\n")
end
os.exit(ok and result)
