-- Measures what work costs servers, in turns: what disturbs one variant disturbs the others as well.
--
-- It is done in several boots, each with servers of its own: a process may be slow for its whole life.
--
-- The figure is the processor time that the kernel accounts to the server's process. What the streams at the
-- other ends cost, and what else the machine does, is not in it.

local environment = require "spec.support.environment"
local socket = require "socket"

local measure = {}

--- Gives the processor time that a server has spent so far, in microseconds.
-- While the server runs this is as old as the kernel's last tick.
function measure.now(server)
	local text = assert(environment.read_file("/proc/" .. server.pid .. "/schedstat"))
	return assert(tonumber(text:match "^%d+")) / 1000
end

-- Waits until the server is at rest, and gives its processor time then
local function at_rest(server)
	local before
	local now = measure.now(server)
	repeat
		socket.sleep(0.0005)
		before, now = now, measure.now(server)
	until now == before
	return now
end

-- One turn: the processor time that a part of a work takes
local function turn(task, first, last)
	local before = at_rest(task.server)
	local clean_up = task.run(first, last)
	local spent = at_rest(task.server) - before
	if clean_up then
		clean_up()
	end
	return spent
end

local function collect_garbage(tasks)
	for _, task in ipairs(tasks) do
		task.server:eval "collectgarbage() collectgarbage()"
	end
end

--- Waits until a server has spent no processor time for a while: what it does with pauses in between is done then.
-- @param server the server
-- @param span how long, in seconds
-- @param meanwhile a function that is called all the time, to read what comes
function measure.settle(server, span, meanwhile)
	local since, now = socket.gettime(), measure.now(server)
	repeat
		socket.sleep(0.005)
		meanwhile()
		local before = now
		now = measure.now(server)
		since = now == before and since or socket.gettime()
	until socket.gettime() - since > span
end

-- Does pieces of a work for all its tasks, in alternating turns
local function turns(work, tasks, position, count)
	local found = {}
	for _, task in ipairs(tasks) do
		found[task.variant] = {}
	end
	collect_garbage(tasks)
	local done = 0
	for first = position + 1, position + count, work.slice do
		for i = 1, #tasks do
			local task = tasks[(i + done) % #tasks + 1]
			table.insert(found[task.variant], turn(task, first, first + work.slice - 1) / work.slice)
		end
		done = done + 1
	end
	return found
end

-- Takes the figures of a work that gives them itself
local function figures(tasks, count)
	local found = {}
	collect_garbage(tasks)
	for _, task in ipairs(tasks) do
		found[task.variant] = {}
		for i = 1, count do
			found[task.variant][i] = task.run()
		end
	end
	return found
end

--- Does a work in all its variants with servers that have just been started, after some of it to warm up.
-- @param work see bench.works
-- @param tasks list of { variant =, server =, run = }
-- @param count pieces of work, a multiple of work.slice, or figures
-- @return [variant] = list of figures: for each turn microseconds a piece, or what the work gives itself
function measure.boot(work, tasks, count)
	if not work.slice then
		return figures(tasks, count)
	end
	local warm_up = math.min(3, math.floor(count / work.slice / 2)) * work.slice
	if warm_up > 0 then
		turns(work, tasks, 0, warm_up)
	end
	return turns(work, tasks, warm_up, count)
end

--- Gives the median, the least and the greatest of a list of numbers.
function measure.summary(list)
	local sorted = { table.unpack(list) }
	table.sort(sorted)
	local middle = (#sorted + 1) / 2
	return (sorted[math.floor(middle)] + sorted[math.ceil(middle)]) / 2, sorted[1], sorted[#sorted]
end

--- Sums up each boot's turns by their median: it leaves out those that something else got in the way of.
-- @param boots list of what measure.boot gave
-- @param variant the variant
-- @param basis another one, for the ratios to the turns of that one, which were next to these; or nil
-- @return a list of a number for each boot
function measure.medians(boots, variant, basis)
	local medians = {}
	for i, found in ipairs(boots) do
		local values = {}
		for j, figure in ipairs(found[variant]) do
			values[j] = basis and figure / found[basis][j] or figure
		end
		medians[i] = (measure.summary(values))
	end
	return medians
end

return measure
