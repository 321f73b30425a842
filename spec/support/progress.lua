-- An output handler for busted: shows which file runs, and ends with a line that sums up, such as
-- "967 passed, 0 failed, 5 skipped". On a terminal one line changes, elsewhere there is a line for each file.
--
--     busted --output=spec/support/progress.lua [-Xoutput PASSED,FAILED,SKIPPED] …
--
-- The numbers are those of specs that ran before; they are added to the last line.

local busted = require "busted"
local base = require "busted.outputHandlers.base"
local term = require "term"

local on_terminal = term.isatty(io.stdout)
local clear = on_terminal and "\r\27[K" or ""

local function clock(seconds)
	return ("%d:%02d"):format(math.floor(seconds / 60), math.floor(seconds % 60))
end

local function write(...)
	io.write(...)
	io.flush()
end

return function(options)
	local handler = base()
	local passed, failed, skipped = 0, 0, 0
	local start, files, number = busted.gettime(), 0, 0
	local reports, skips = {}, {}
	-- Of the file that runs
	local file

	local function show()
		if on_terminal and file then
			write(
				clear,
				("%s  file %d of %d, %s: %d passed, %d failed "):format(
					clock(busted.gettime() - start),
					number,
					files,
					file.name,
					passed,
					failed
				)
			)
		end
	end

	-- What failed, when it does; and all of it again at the end
	local function report(element, parent, message)
		failed = failed + 1
		if file then
			file.failed = file.failed + 1
		end
		local seed = parent and parent.randomseed
		local text = ("FAILED: %s\n%s\n%s"):format(
			handler.getFullName(element),
			tostring(message),
			seed and ("with --seed=%d\n"):format(seed) or ""
		)
		table.insert(reports, text)
		write(on_terminal and clear or "\n", text)
		show()
		return nil, true
	end

	local function suite_start(suite)
		for _, child in ipairs(busted.children(suite)) do
			files = files + (child.descriptor == "file" and 1 or 0)
		end
		return nil, true
	end

	local function file_start(element)
		number = number + 1
		file = { name = element.name:match "[^/]*$", start = busted.gettime(), passed = 0, failed = 0, skipped = 0 }
		if not on_terminal then
			write(("[%d/%d] %s: "):format(number, files, element.name))
		end
		show()
		return nil, true
	end

	local function test_end(element, _, status)
		if status == "success" then
			passed, file.passed = passed + 1, file.passed + 1
		elseif status == "pending" then
			skipped, file.skipped = skipped + 1, file.skipped + 1
			table.insert(skips, handler.getFullName(element))
		end
		show()
		return nil, true
	end

	local function file_end()
		if not on_terminal then
			write(
				("%d passed, %d failed, %d skipped, %.1f s\n"):format(file.passed, file.failed, file.skipped, busted.gettime() - file.start)
			)
		end
		file = nil
		return nil, true
	end

	local function suite_end()
		write(clear)
		for _, name in ipairs(skips) do
			print("skipped: " .. name)
		end
		for _, text in ipairs(reports) do
			write("\n", text)
		end
		local before = options.arguments or {}
		print(("specs against Prosody: %d files in %s"):format(number, clock(busted.gettime() - start)))
		print(("%d passed, %d failed, %d skipped"):format(passed + (before[1] or 0), failed + (before[2] or 0), skipped + (before[3] or 0)))
		return nil, true
	end

	busted.subscribe({ "suite", "start" }, suite_start)
	busted.subscribe({ "suite", "end" }, suite_end)
	busted.subscribe({ "file", "start" }, file_start)
	busted.subscribe({ "file", "end" }, file_end)
	busted.subscribe({ "test", "end" }, test_end)
	busted.subscribe({ "failure" }, report)
	busted.subscribe({ "error" }, report)
	return handler
end
