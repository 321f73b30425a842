-- Errors that come back for messages that an entity sent in a user's name (behaviour 9).

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local st = support.st
local test = support.suite "bounces"

local juliet, romeo = "juliet@capulet.lit", "romeo@montaigu.lit"

--- ErrorFilter, and a clock that stands until it is moved.
local function setup()
	local clock = { time = 1000000 }
	local parts = support.load {
		os = setmetatable({
			time = function()
				return clock.time
			end,
		}, { __index = os }),
	}
	return parts.create_error_filter(), clock
end

local function takes(bounces, user, message_type)
	return bounces.receive({ stanza = st.message({ type = message_type or "error", from = romeo, to = user }) })
end

test("B9 takes the errors that come back", function()
	local bounces = setup()
	equal(takes(bounces, juliet), nil)
	bounces.sent(juliet)
	equal(takes(bounces, juliet), true)
	-- They may come of several resources.
	equal(takes(bounces, juliet), true)
end)

test("B9 takes nothing else", function()
	local bounces = setup()
	bounces.sent(juliet)
	equal(takes(bounces, "nurse@capulet.lit"), nil)
	for _, message_type in ipairs { "chat", "normal", "groupchat", "headline" } do
		equal(takes(bounces, juliet, message_type), nil)
	end
	equal(bounces.receive({ stanza = st.message({ type = "error", from = romeo }) }), nil)
end)

-- Seconds. With XEP-0198, a stanza may come back when the time is over in which its recipient's client could resume.
local span = 24 * 60 * 60

test("B9, B11 remembers a sender for a while, and not for ever", function()
	for _, offset in ipairs { 0, 1, span / 2, span - 1 } do
		local bounces, clock = setup()
		bounces.sent("nurse@capulet.lit")
		clock.time = clock.time + offset
		bounces.sent(juliet)
		local sent_at = clock.time
		for age = 0, span, span / 30 do
			clock.time = sent_at + age
			equal(takes(bounces, juliet), true, age .. " s ago, sent after " .. offset .. " s")
		end
		for age = span + span / 30, 2 * span, span / 30 do
			clock.time = sent_at + age
			takes(bounces, juliet)
		end
		equal(takes(bounces, juliet), nil)
	end
end)

test("B11 forgets all after a long silence", function()
	local bounces, clock = setup()
	bounces.sent(juliet)
	clock.time = clock.time + 2 * span
	equal(takes(bounces, juliet), nil)
	bounces.sent(juliet)
	equal(takes(bounces, juliet), true)
end)

test("B9 remembers who sent just before the turn", function()
	local bounces, clock = setup()
	bounces.sent("first@capulet.lit")
	clock.time = clock.time + span
	bounces.sent("second@capulet.lit")
	equal(takes(bounces, "first@capulet.lit"), true)
	clock.time = clock.time + span
	bounces.sent("third@capulet.lit")
	equal(
		{ takes(bounces, "first@capulet.lit"), takes(bounces, "second@capulet.lit"), takes(bounces, "third@capulet.lit") },
		{ nil, true, true }
	)
end)
