-- Errors that come back for messages that an entity sent in a user's name (behaviour 9).

local luaunit = require "luaunit";
local support = require "spec.unit.support";

local equal = luaunit.assertEquals;
local st = support.st;
local test = support.suite "bounces";

local juliet, romeo = "juliet@capulet.lit", "romeo@montaigu.lit";

--- Bounces, and a clock that stands until it is moved.
local function setup()
	local clock = { time = 1000000 };
	local parts = support.load {
		os = setmetatable({ time = function () return clock.time; end }, { __index = os }),
	};
	return parts.create_bounces(), clock;
end

local function send(bounces, to, id)
	bounces.sent(st.message({ from = juliet, to = to, id = id }));
end

local function takes(bounces, from, id, message_type, to)
	return bounces.receive({ stanza = st.message({ type = message_type or "error", from = from, to = to or juliet, id = id }) });
end

test("B9 takes the error that comes back", function ()
	local bounces = setup();
	equal(takes(bounces, romeo, "1"), nil);
	send(bounces, romeo, "1");
	equal(takes(bounces, romeo, "1"), true);
	-- It may come of several resources.
	equal(takes(bounces, romeo, "1"), true);
end);

test("B9 takes nothing else", function ()
	local bounces = setup();
	send(bounces, romeo, "1");
	equal(takes(bounces, romeo, "2"), nil);
	equal(takes(bounces, romeo, nil), nil);
	equal(takes(bounces, romeo, "1", "error", "nurse@capulet.lit"), nil);
	for _, message_type in ipairs { "chat", "normal", "groupchat", "headline" } do
		equal(takes(bounces, romeo, "1", message_type), nil);
	end
	equal(bounces.receive({ stanza = st.message({ type = "error", id = "1", from = romeo }) }), nil);
end);

test("B9 takes those of several users whose messages have the same id", function ()
	local bounces = setup();
	send(bounces, romeo, "1");
	bounces.sent(st.message({ from = "nurse@capulet.lit", to = romeo, id = "1" }));
	equal(takes(bounces, romeo, "1"), true);
	equal(takes(bounces, romeo, "1", "error", "nurse@capulet.lit"), true);
end);

test("B9 takes those of messages without id or to the sender's own account", function ()
	local bounces = setup();
	send(bounces, romeo, nil);
	equal(takes(bounces, romeo, nil), true);
	equal(takes(bounces, romeo, "1"), nil);
	send(bounces, nil, "2");
	equal(takes(bounces, juliet, "2"), true);
end);

test("B9, B11 remembers a message for a while, and not for ever", function ()
	for _, offset in ipairs { 0, 1, 150, 299 } do
		local bounces, clock = setup();
		send(bounces, "first@a.lit", "0");
		clock.time = clock.time + offset;
		send(bounces, romeo, "1");
		local sent_at = clock.time;
		for age = 0, 300, 10 do
			clock.time = sent_at + age;
			equal(takes(bounces, romeo, "1"), true, age .. " s old, sent after " .. offset .. " s");
		end
		for age = 310, 600, 10 do
			clock.time = sent_at + age;
			takes(bounces, romeo, "1");
		end
		equal(takes(bounces, romeo, "1"), nil);
	end
end);

test("B11 forgets all after a long silence", function ()
	local bounces, clock = setup();
	send(bounces, romeo, "1");
	clock.time = clock.time + 600;
	equal(takes(bounces, romeo, "1"), nil);
	send(bounces, romeo, "2");
	equal(takes(bounces, romeo, "2"), true);
end);

test("B9 remembers what was sent just before the turn", function ()
	local bounces, clock = setup();
	send(bounces, romeo, "1");
	clock.time = clock.time + 300;
	send(bounces, romeo, "2");
	equal(takes(bounces, romeo, "1"), true);
	clock.time = clock.time + 300;
	send(bounces, romeo, "3");
	equal({ takes(bounces, romeo, "1"), takes(bounces, romeo, "2"), takes(bounces, romeo, "3") }, { nil, true, true });
end);
