-- What is kept for a short time.

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local test = support.suite "recent"

--- A keeper of values, and a clock that stands until it is moved.
local function keeper(span, max_values)
	local clock = { now = 1000 }
	local parts = support.load { os = setmetatable({
		time = function()
			return clock.now
		end,
	}, { __index = os }) }
	return parts.create_recent(span, max_values), clock
end

test("a value is kept for the span at least, and twice as long at most", function()
	for offset = 0, 9 do
		local recent, clock = keeper(10)
		recent.set("first", 1)
		clock.now = clock.now + offset
		recent.set("name", "value")
		clock.now = clock.now + 10
		equal(recent.get "name", "value")
		clock.now = clock.now + 10
		equal(recent.get "name", nil)
	end
end)

test("a value is kept as long in another keeper that takes over what the first one saved", function()
	local recent, clock = keeper(10)
	recent.set("older", 1)
	clock.now = clock.now + 10
	recent.set("newer", 2)
	local other, other_clock = keeper(10)
	other_clock.now = clock.now + 5
	other.restore(recent.save())
	equal({ other.get "older", other.get "newer" }, { 1, 2 })
	other_clock.now = clock.now + 10
	equal({ other.get "older", other.get "newer" }, { nil, 2 })
	other_clock.now = clock.now + 20
	equal(other.get "newer", nil)
end)

test("a value is forgotten at once where that is wanted", function()
	local recent, clock = keeper(10)
	recent.set("a", 1)
	clock.now = clock.now + 10
	recent.set("a", 2)
	recent.forget "a"
	equal(recent.get "a", nil)
end)

test("values do not pile up, however many there are in the time", function()
	local recent = keeper(10)
	for i = 1, 100000 do
		recent.set("name" .. i, i)
	end
	equal(recent.get "name100000", 100000)
	equal(recent.get "name1", nil)
end)

test("no more values than there is room for leave any out, and one that is kept again needs no more room", function()
	local recent = keeper(10, 3)
	for i = 1, 9 do
		recent.set("name" .. (i % 3), i)
	end
	equal({ recent.get "name0", recent.get "name1", recent.get "name2" }, { 9, 7, 8 })
	local unlimited = keeper(10, math.huge)
	for i = 1, 100000 do
		unlimited.set("name" .. i, i)
	end
	equal(unlimited.get "name1", 1)
end)

test("a clock that is put back keeps nothing for longer", function()
	local recent, clock = keeper(10)
	recent.set("a", 1)
	clock.now = 100
	recent.get "a"
	clock.now = 121
	equal(recent.get "a", nil)
end)
