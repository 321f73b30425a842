-- Measures what work costs servers, in turns: what disturbs one variant disturbs the others as well.
--
-- The figure is the processor time that the kernel accounts to the server's process. What the streams at the
-- other ends cost, and what else the machine does, is not in it.

local environment = require "spec.support.environment";
local socket = require "socket";

local measure = {};

--- Gives the processor time that a server has spent so far, in microseconds.
-- While the server runs this is as old as the kernel's last tick.
function measure.now(server)
	local text = assert(environment.read_file("/proc/" .. server.pid .. "/schedstat"));
	return assert(tonumber(text:match "^%d+")) / 1000;
end

-- Waits until the server is at rest, and gives its processor time then
local function at_rest(server)
	local before, after = -1, measure.now(server);
	repeat
		socket.sleep(0.0005);
		before, after = after, measure.now(server);
	until before == after;
	return after;
end

-- One turn: the processor time that a part of a work takes
local function turn(task, first, last)
	local before = at_rest(task.server);
	local clean_up = task.run(first, last);
	local spent = at_rest(task.server) - before;
	if clean_up then
		clean_up();
	end
	return spent;
end

-- Does a round of a work for all its tasks, in alternating turns
local function round(work, tasks, position, count)
	local spent = {};
	for _, task in ipairs(tasks) do
		spent[task.variant] = 0;
		task.server:eval "collectgarbage() collectgarbage()";
	end
	local turns = 0;
	for first = position + 1, position + count, work.slice do
		for i = 1, #tasks do
			local task = tasks[(i + turns) % #tasks + 1];
			spent[task.variant] = spent[task.variant] + turn(task, first, first + work.slice - 1);
		end
		turns = turns + 1;
	end
	for variant, time in pairs(spent) do
		spent[variant] = time / count;
	end
	return spent;
end

-- Does a round of a work that gives its figure itself
local function figures(tasks)
	local found = {};
	for _, task in ipairs(tasks) do
		task.server:eval "collectgarbage() collectgarbage()";
		found[task.variant] = task.run();
	end
	return found;
end

--- Does a work in all its variants, some rounds after one to warm up.
-- @param work see bench.works
-- @param tasks list of { variant =, server =, run = }
-- @param rounds how many
-- @param count pieces of work in a round
-- @param progress called after each round
-- @return [variant] = list of figures, one for each round: microseconds a piece, or what the work gives itself
function measure.rounds(work, tasks, rounds, count, progress)
	local found = {};
	local position = 0;
	local function do_round(pieces)
		local result = work.slice and round(work, tasks, position, pieces) or figures(tasks);
		position = position + pieces;
		progress();
		return result;
	end
	if work.slice then
		do_round(math.min(count, 3 * work.slice));
	end
	for _ = 1, rounds do
		for variant, figure in pairs(do_round(count)) do
			found[variant] = found[variant] or {};
			table.insert(found[variant], figure);
		end
	end
	return found;
end

--- Gives the median, the least and the greatest of a list of numbers.
function measure.summary(list)
	local sorted = { (table.unpack or unpack)(list) };
	table.sort(sorted);
	local middle = (#sorted + 1) / 2;
	return (sorted[math.floor(middle)] + sorted[math.ceil(middle)]) / 2, sorted[1], sorted[#sorted];
end

--- Divides the figures of each round by each other.
function measure.ratios(figures_of_one, figures_of_other)
	local ratios = {};
	for i, figure in ipairs(figures_of_one) do
		ratios[i] = figure / figures_of_other[i];
	end
	return ratios;
end

return measure;
