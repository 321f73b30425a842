-- Long work is done in slices (behaviour 11).

local luaunit = require "luaunit";
local support = require "spec.unit.support";

local equal = luaunit.assertEquals;
local test = support.suite "slices";

--- Begins to go through the numbers up to a count, each of which takes so many microseconds; `stop_at` is the one that ends it.
local function setup(count, microseconds, stop_at)
	local made = { seen = {}, slices = 0, done = 0, now = 1000 };
	local list = {};
	for i = 1, count do
		list[i] = i;
	end
	local time = 1000;
	local parts = support.load {
		os = { clock = function () return time / 1000000; end, time = function () return made.now; end },
	};
	local add_timer, go_off, timers = support.timers();
	made.go_off, made.timers = go_off, timers;
	parts.in_slices(add_timer, list, function (item)
		table.insert(made.seen, item);
		time = time + microseconds;
		return item ~= stop_at;
	end, function ()
		made.slices = made.slices + 1;
	end, function ()
		made.done = made.done + 1;
	end);
	return made;
end

test("B11 does nothing at once", function ()
	local made = setup(3, 100);
	equal({ #made.seen, made.slices, made.done, #made.timers }, { 0, 0, 0, 1 });
end);

test("B11 works for a moment at a time, in the order of the list, and then is done", function ()
	local made = setup(5, 600);
	luaunit.assertTrue(made.go_off() > 0);
	equal({ made.seen, made.slices, made.done }, { { 1, 2 }, 1, 0 });
	luaunit.assertTrue(made.go_off() > 0);
	equal({ made.seen, made.slices, made.done }, { { 1, 2, 3, 4 }, 2, 0 });
	equal(made.go_off(), nil);
	equal({ made.seen, made.slices, made.done }, { { 1, 2, 3, 4, 5 }, 3, 1 });
	equal(#made.timers, 0);
end);

test("B11 works longer at a time where timers go off once a second only", function ()
	local made = setup(1000, 600);
	for second = 1, 2 do
		made.now = made.now + 1;
		made.go_off();
		equal(#made.seen, second * 2);
	end
	made.now = made.now + 1;
	made.go_off();
	equal(#made.seen, 4 + 84);
	made.go_off();
	equal(#made.seen, 4 + 84 + 2);
end);

test("B11 gets on however long an item takes", function ()
	local made = setup(2, 100000);
	made.go_off();
	equal({ made.seen, made.done }, { { 1 }, 0 });
	equal(made.go_off(), nil);
	equal({ made.seen, made.done }, { { 1, 2 }, 1 });
end);

test("B11 is done at once with nothing", function ()
	local made = setup(0, 100);
	equal(made.go_off(), nil);
	equal({ #made.seen, made.done }, { 0, 1 });
end);

test("B8.5 ends where it is told to, and is not done", function ()
	for stop_at, seen in pairs { [1] = { 1 }, [2] = { 1, 2 }, [3] = { 1, 2, 3 }, [5] = { 1, 2, 3, 4, 5 } } do
		local made = setup(5, 600, stop_at);
		while #made.timers > 0 do
			made.go_off();
		end
		equal({ made.seen, made.done }, { seen, 0 });
	end
end);
