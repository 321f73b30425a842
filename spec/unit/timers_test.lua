-- Long work is done in slices (behaviour 11).

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local test = support.suite "timers"

--- Begins to go through the numbers up to a count, each of which takes so many microseconds by the clock on the wall.
-- @param failing numbers whose steps raise an error, as keys, and `slice_end`
local function setup(count, microseconds, failing)
	local made = { seen = {}, slices = 0, left = {}, logged = {}, second = 1000, time = 1000 }
	local parts = support.load({
		os = {
			time = function()
				return made.second
			end,
		},
	}, {
		["util.time"] = {
			now = function()
				return made.time / 1000000
			end,
		},
		["util.logger"] = support.logger(made.logged),
	})
	local add_timer, go_off, timers = support.timers()
	made.go_off, made.timers = go_off, timers
	parts.in_slices(add_timer, function()
		if #made.seen == count then
			return false
		end
		table.insert(made.seen, #made.seen + 1)
		made.time = made.time + (type(microseconds) == "function" and microseconds(#made.seen) or microseconds)
		if failing and failing[#made.seen] then
			error("step " .. #made.seen, 0)
		end
		return true
	end, function(is_left)
		made.slices = made.slices + 1
		made.left[made.slices] = is_left
		if failing and failing.slice_end then
			error("end of slice " .. made.slices, 0)
		end
	end, "numbers were counted")
	return made
end

test("B11 does nothing at once", function()
	local made = setup(3, 100)
	equal({ #made.seen, made.slices, #made.timers }, { 0, 0, 1 })
end)

test("B11 works for a moment at a time, in order, and lets the server do other things in between", function()
	local made = setup(5, 600)
	luaunit.assertTrue(made.go_off() > 0)
	equal({ made.seen, made.slices }, { { 1, 2 }, 1 })
	luaunit.assertTrue(made.go_off() > 0)
	equal({ made.seen, made.slices }, { { 1, 2, 3, 4 }, 2 })
	equal(made.go_off(), nil)
	equal({ made.seen, made.slices }, { { 1, 2, 3, 4, 5 }, 3 })
	equal(#made.timers, 0)
end)

test("B11 works longer at a time where timers go off once a second only", function()
	local made = setup(1000, 600)
	for second = 1, 2 do
		made.second = made.second + 1
		made.go_off()
		equal(#made.seen, second * 2)
	end
	made.second = made.second + 1
	made.go_off()
	equal(#made.seen, 4 + 84)
	made.go_off()
	equal(#made.seen, 4 + 84 + 2)
end)

test("B11 gets on however long a step takes", function()
	local made = setup(2, 100000)
	luaunit.assertTrue(made.go_off() > 0)
	equal(made.seen, { 1 })
	made.go_off()
	equal(made.seen, { 1, 2 })
	equal(made.go_off(), nil)
	equal(made.slices, 3)
end)

test("B11 ends a slice when the clock is set back", function()
	local made = setup(100, function(n)
		return n == 3 and -500 or 90
	end)
	made.go_off()
	equal(made.seen, { 1, 2, 3 })
	made.go_off()
	equal(#made.seen, 15)
end)

test("B11 is done at once with nothing", function()
	local made = setup(0, 100)
	equal(made.go_off(), nil)
	equal({ #made.seen, made.slices, #made.timers }, { 0, 1, 0 })
end)

test("B11 tells after each slice whether anything is left", function()
	local made = setup(3, 600)
	made.go_off()
	equal(made.left, { true })
	made.go_off()
	equal(made.left, { true, false })
end)

test("B11 goes on behind a step that raises an error, which it logs", function()
	local made = setup(5, 600, { [2] = true, [3] = true, slice_end = true })
	for _ = 1, 3 do
		made.go_off()
	end
	equal(made.seen, { 1, 2, 3, 4, 5 })
	equal(made.left, { true, true, false })
	equal(#made.timers, 0)
	local function failure(problem)
		return "error: Another module failed while numbers were counted: " .. problem
	end
	equal(made.logged, {
		failure "step 2",
		failure "end of slice 1",
		failure "step 3",
		failure "end of slice 2",
		failure "end of slice 3",
	})
end)

test("B11 works that are under way at the same time take turns", function()
	local time = 1000
	local parts = support.load({}, {
		["util.time"] = {
			now = function()
				return time / 1000000
			end,
		},
	})
	local add_timer, go_off, timers = support.timers()
	local seen = {}
	local function start(name, count)
		parts.in_slices(add_timer, function()
			if count == 0 then
				return false
			end
			count = count - 1
			time = time + 600
			table.insert(seen, name)
			return true
		end, function(goes_on)
			if not goes_on then
				table.insert(seen, name .. " ended")
			end
		end, "letters were counted")
	end
	start("a", 5)
	start("b", 2)
	equal(#timers, 1)
	go_off()
	equal(seen, { "a", "a" })
	go_off()
	equal(seen, { "a", "a", "b", "b" })
	start("c", 1)
	for _ = 1, 4 do
		go_off()
	end
	equal(seen, { "a", "a", "b", "b", "a", "a", "b ended", "c", "c ended", "a", "a ended" })
	equal(#timers, 0)
	start("d", 1)
	go_off()
	equal(seen[#seen], "d ended")
	equal(#timers, 0)
end)
