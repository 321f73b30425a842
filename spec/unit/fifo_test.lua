-- What is kept in its order.

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local test = support.suite "fifo"

test("the first value in is the first one out", function()
	local fifo = support.parts.create_fifo()
	equal({ fifo.count(), fifo.peek(), fifo.pop() }, { 0 })
	for i = 1, 5 do
		fifo.push(i)
	end
	equal({ fifo.pop(), fifo.pop(), fifo.peek(), fifo.count() }, { 1, 2, 3, 3 })
	equal(fifo.list(), { 3, 4, 5 })
	fifo.push(6)
	equal({ fifo.pop(), fifo.pop(), fifo.pop(), fifo.pop(), fifo.pop(), fifo.count() }, { 3, 4, 5, 6, nil, 0 })
	fifo.push(7)
	fifo.clear()
	equal({ fifo.count(), fifo.pop(), fifo.list() }, { 0, nil, {} })
end)

test("B11 what was taken out takes no memory, though there is always something left", function()
	local fifo = support.parts.create_fifo()
	fifo.push {}
	local function pass(count)
		for _ = 1, count do
			fifo.push {}
			fifo.pop()
		end
		return support.memory()
	end
	local before = pass(1000)
	-- A list of them would take several mebibytes.
	luaunit.assertTrue(pass(100000) - before < 200)
end)
