-- Who opted in to which entity (behaviour 12).

local luaunit = require "luaunit";
local support = require "spec.unit.support";

local equal = luaunit.assertEquals;
local test = support.suite "users";

local gateway, other = "gateway.capulet.lit", "other.capulet.lit";

--- What is kept of users, a store that fails on demand, and a clock.
local function make()
	local clock, store = { now = 1000 }, { stored = {}, reads = 0 };
	local parts = support.load { os = setmetatable({ time = function () return clock.now; end }, { __index = os }) };
	function store:get(username)
		self.reads = self.reads + 1;
		if self.fails then
			return nil, "failure";
		end
		return self.stored[username];
	end
	function store:set(username, records)
		if self.fails then
			return nil, "failure";
		end
		self.stored[username] = next(records) and records or nil;
		return true;
	end
	function store:users()
		return next, self.stored;
	end
	local logged = {};
	local users = parts.create_users { store = store, log = function (level) table.insert(logged, level); end };
	return users, store, clock, logged;
end

local function record(state)
	return { state = state, since = 1000 };
end

test("B12.1 a grant covers all, the listed or those who opted in", function ()
	local users = make();
	equal(users.covers(gateway, "all", "juliet"), true);
	equal(users.covers(gateway, { juliet = true }, "juliet"), true);
	equal(users.covers(gateway, { juliet = true }, "nurse"), false);
	equal(users.covers(gateway, "opted-in", "juliet"), false);
	for state, covered in pairs { ["in"] = true, allowed = true, revoked = false } do
		equal(users.keep(gateway, "juliet", record(state)), true);
		equal(users.covers(gateway, "opted-in", "juliet"), covered);
		equal(users.covers(other, "opted-in", "juliet"), false);
	end
end);

test("B12.4 records of entities do not touch each other, and an empty one is not stored", function ()
	local users, store = make();
	users.keep(gateway, "juliet", record "in");
	users.keep(other, "juliet", record "revoked");
	equal(store.stored.juliet, { [gateway] = record "in", [other] = record "revoked" });
	equal(users.candidates "opted-in", { "juliet" });
	users.keep(gateway, "juliet", nil);
	users.keep(other, "juliet", nil);
	equal(store.stored, {});
	equal(users.candidates "opted-in", {});
end);

test("B12 where the storage fails nobody is covered, and nothing is lost", function ()
	local users, store, clock, logged = make();
	users.keep(other, "juliet", record "revoked");
	clock.now = clock.now + 100;
	store.fails = true;
	equal(users.covers(gateway, "opted-in", "juliet"), false);
	equal(users.keep(gateway, "juliet", record "in"), false);
	store.fails = false;
	equal(users.covers(gateway, "opted-in", "juliet"), false);
	equal(users.record(other, "juliet"), record "revoked");
	store.fails = true;
	equal(users.keep(gateway, "juliet", record "in"), false);
	equal(users.record(gateway, "juliet"), nil);
	luaunit.assertTrue(#logged >= 3);
end);

test("B12.3 what changed from outside is seen within five seconds", function ()
	local users, store, clock = make();
	users.keep(gateway, "juliet", record "in");
	store.stored = {};
	clock.now = clock.now + 5;
	equal(users.covers(gateway, "opted-in", "juliet"), false);
end);

test("B12.7 a user is looked up in the storage once in a while only", function ()
	local users, store = make();
	for _ = 1, 100 do
		users.covers(gateway, "opted-in", "juliet");
	end
	equal(store.reads, 1);
	users.forget "juliet";
	users.covers(gateway, "opted-in", "juliet");
	equal(store.reads, 2);
end);
