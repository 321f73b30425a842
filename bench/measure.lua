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
	local before;
	local now = measure.now(server);
	repeat
		socket.sleep(0.0005);
		before, now = now, measure.now(server);
	until now == before;
	return now;
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

local function collect_garbage(tasks)
	for _, task in ipairs(tasks) do
		task.server:eval "collectgarbage() collectgarbage()";
	end
end

-- Does a round of a work for all its tasks, in alternating turns; gives for each variant the list of its turns' times
local function round(work, tasks, position, count)
	local times = {};
	for _, task in ipairs(tasks) do
		times[task.variant] = {};
	end
	collect_garbage(tasks);
	local turns = 0;
	for first = position + 1, position + count, work.slice do
		for i = 1, #tasks do
			local task = tasks[(i + turns) % #tasks + 1];
			table.insert(times[task.variant], turn(task, first, first + work.slice - 1) / work.slice);
		end
		turns = turns + 1;
	end
	return times;
end

-- Does a round of a work that gives its figure itself
local function figures(tasks)
	local found = {};
	collect_garbage(tasks);
	for _, task in ipairs(tasks) do
		found[task.variant] = { task.run() };
	end
	return found;
end

--- Does a work in all its variants, some rounds after one to warm up.
-- @param work see bench.works
-- @param tasks list of { variant =, server =, run = }
-- @param rounds how many
-- @param count pieces of work in a round
-- @param progress called after each round
-- @return list of rounds, each [variant] = list of a figure for each turn: microseconds a piece, or what the work gives itself
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
	for i = 1, rounds do
		found[i] = do_round(count);
	end
	return found;
end

--- Gives the median, the least and the greatest of a list of numbers.
function measure.summary(list)
	local sorted = { table.unpack(list) };
	table.sort(sorted);
	local middle = (#sorted + 1) / 2;
	return (sorted[math.floor(middle)] + sorted[math.ceil(middle)]) / 2, sorted[1], sorted[#sorted];
end

--- Sums up each round's turns by their median: it leaves out those that something else got in the way of.
-- @param rounds what measure.rounds gave
-- @param variant the variant
-- @param basis another one, for the ratios to the turns of that one, which were next to these; or nil
-- @return a list of a number for each round
function measure.medians(rounds, variant, basis)
	local medians = {};
	for i, found in ipairs(rounds) do
		local values = {};
		for j, figure in ipairs(found[variant]) do
			values[j] = basis and figure / found[basis][j] or figure;
		end
		medians[i] = (measure.summary(values));
	end
	return medians;
end

return measure;
