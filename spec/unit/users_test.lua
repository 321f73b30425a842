-- Who opted in to which entity (behaviour 12).

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local test = support.suite "users"

local gateway, other = "gateway.capulet.lit", "other.capulet.lit"

--- What is kept of users, a store that fails on demand, and a clock.
local function make()
	local clock, store = { now = 1000 }, { stored = {}, reads = 0 }
	local parts = support.load { os = setmetatable({
		time = function()
			return clock.now
		end,
	}, { __index = os }) }
	function store:get(username)
		self.reads = self.reads + 1
		if self.fails then
			return self.fails()
		end
		return self.stored[username]
	end
	function store:set(username, records)
		if self.fails then
			return self.fails()
		end
		self.stored[username] = next(records) and records or nil
		return true
	end
	function store:users()
		return next, self.stored
	end
	local logged = {}
	local add_timer, go_off, timers = support.timers()
	local users = parts.create_users {
		store = store,
		add_timer = add_timer,
		log = function(level)
			table.insert(logged, level)
		end,
	}
	return users, store, clock, logged, go_off, timers
end

local function record(state)
	return { state = state, since = 1000 }
end

test("B12.1 a grant covers all, the listed or those who opted in", function()
	local users = make()
	equal(users.covers(gateway, "all", "juliet"), true)
	equal(users.covers(gateway, { juliet = true }, "juliet"), true)
	equal(users.covers(gateway, { juliet = true }, "nurse"), false)
	equal(users.covers(gateway, "opted-in", "juliet"), false)
	for state, covered in pairs { ["in"] = true, out = false, allowed = true, revoked = false } do
		equal(users.keep(gateway, "juliet", record(state)), true)
		equal(users.covers(gateway, "opted-in", "juliet"), covered)
		equal(users.covers(other, "opted-in", "juliet"), false)
	end
end)

test("B12.4 records of entities do not touch each other", function()
	local users, store = make()
	users.keep(gateway, "juliet", record "in")
	users.keep(other, "juliet", record "revoked")
	equal(store.stored.juliet, { [gateway] = record "in", [other] = record "revoked" })
	equal(users.candidates "opted-in", { "juliet" })
end)

test("B12.3 that a user opted out is kept, and shown to nobody", function()
	local users, store = make()
	users.keep(gateway, "juliet", record "out")
	equal(store.stored.juliet, { [gateway] = record "out" })
	equal(users.record(gateway, "juliet"), nil)
end)

test("B12.3 a record is replaced if what the storage has may be replaced, whatever is in memory", function()
	local users, store = make()
	users.keep(gateway, "juliet", record "in")
	store.stored.juliet = { [gateway] = record "revoked" }
	local before
	local function may_replace(found)
		before = found
		return found == nil
	end
	equal(users.keep(gateway, "juliet", record "out", may_replace), false)
	equal(before, record "revoked")
	equal(store.stored.juliet, { [gateway] = record "revoked" })
	equal(users.keep(other, "juliet", record "out", may_replace), true)
	equal(store.stored.juliet, { [gateway] = record "revoked", [other] = record "out" })
end)

--- The ways in which a storage fails.
local failures = {
	function()
		return nil, "failure"
	end,
	function()
		error "failure"
	end,
}

test("B12 where the storage fails nobody is covered, and nothing is lost", function()
	for _, failure in ipairs(failures) do
		local users, store, clock, logged = make()
		users.keep(other, "juliet", record "revoked")
		clock.now = clock.now + 100
		store.fails = failure
		equal(users.covers(gateway, "opted-in", "juliet"), false)
		equal(users.keep(gateway, "juliet", record "in"), nil)
		store.fails = nil
		equal(users.covers(gateway, "opted-in", "juliet"), false)
		equal(users.record(other, "juliet"), record "revoked")
		store.fails = failure
		equal(users.keep(gateway, "juliet", record "in"), nil)
		equal(users.record(gateway, "juliet"), nil)
		luaunit.assertTrue(#logged >= 3)
	end
end)

test("B12.5 where the storage fails presences go on as it was known last", function()
	for _, failure in ipairs(failures) do
		local users, store, clock = make()
		users.keep(gateway, "juliet", record "in")
		users.keep(gateway, "nurse", record "in")
		users.keep(other, "juliet", record "revoked")
		clock.now = clock.now + 100
		store.fails = failure
		equal(users.covers(gateway, "opted-in", "juliet"), false)
		equal(users.covers_as_known(gateway, "opted-in", "juliet"), true)
		equal(users.covers_as_known(other, "opted-in", "juliet"), false)
		equal(users.covers_as_known(gateway, "opted-in", "peter"), false)
		users.leave(gateway, "juliet")
		equal(users.covers_as_known(gateway, "opted-in", "juliet"), false)
		users.forget "nurse"
		equal(users.covers_as_known(gateway, "opted-in", "nurse"), false)
		equal(users.covers_as_known(gateway, { nurse = true }, "nurse"), true)
	end
end)

test("B12.3 that a user opted out is saved until it is, unless the admin has decided otherwise", function()
	for _, failure in ipairs(failures) do
		local users, store, _, _, go_off, timers = make()
		for _, username in ipairs { "juliet", "nurse" } do
			users.keep(gateway, username, record "in")
			users.keep(other, username, record "in")
		end
		store.fails = failure
		users.leave(gateway, "juliet")
		users.leave(gateway, "nurse")
		equal(#timers, 1)
		luaunit.assertNotNil(go_off())
		store.stored.nurse[gateway] = record "revoked"
		store.fails = nil
		equal(users.covers(gateway, "opted-in", "juliet"), false)
		equal(users.covers(other, "opted-in", "juliet"), true)
		equal(store.stored.juliet[gateway], record "in")
		equal(go_off(), nil)
		equal(store.stored.juliet, { [gateway] = record "out", [other] = record "in" })
		equal(store.stored.nurse, { [gateway] = record "revoked", [other] = record "in" })
		equal(#timers, 0)
	end
end)

test("B12.3 what changed from outside is seen within five seconds", function()
	local users, store, clock = make()
	users.keep(gateway, "juliet", record "in")
	store.stored = {}
	clock.now = clock.now + 5
	equal(users.covers(gateway, "opted-in", "juliet"), false)
end)

test("B12.7 a user is looked up in the storage once in a while only", function()
	local users, store = make()
	for _ = 1, 100 do
		users.covers(gateway, "opted-in", "juliet")
	end
	equal(store.reads, 1)
	users.forget "juliet"
	users.covers(gateway, "opted-in", "juliet")
	equal(store.reads, 2)
end)

--- Entities with the users of their grants, what is counted of them, and timers.
local function make_count(users, coverages)
	local add_timer, go_off, timers = support.timers()
	local counted, all = {}, {}
	local entities = {
		all = function()
			return all
		end,
	}
	local count = support.parts.create_covered_count {
		users = users,
		entities = entities,
		add_timer = add_timer,
		counted = function(entity, number)
			table.insert(counted, entity .. " " .. number)
		end,
	}
	local function configure(given)
		all = {}
		for jid, coverage in pairs(given) do
			all[jid] = { jid = jid, permissions = { users = coverage } }
		end
		count.configured()
	end
	local function finish()
		while timers[1] do
			go_off()
		end
		local said = table.concat(counted, ", ")
		counted = {}
		return said
	end
	configure(coverages)
	return count, configure, finish, function(jid)
		return all[jid]
	end
end

test("B12.6 those whom a grant covers are counted after a while, and no others", function()
	local users = make()
	users.keep(gateway, "juliet", record "in")
	users.keep(gateway, "nurse", record "allowed")
	users.keep(gateway, "peter", record "revoked")
	users.keep(other, "friar", record "in")
	local count, _, finish = make_count(users, { [gateway] = "opted-in", [other] = "all", ["listed.lit"] = { juliet = true } })
	equal(count.number_of(gateway), nil)
	equal(finish(), gateway .. " 2")
	equal(count.number_of(gateway), 2)
	equal(count.number_of(other), nil)
	equal(count.number_of "listed.lit", nil)
end)

test("B12.6 where the storage raises errors, no number is wrong: all are counted when the configuration is read again", function()
	local users, store, clock = make()
	users.keep(gateway, "juliet", record "in")
	users.keep(gateway, "nurse", record "in")
	users.keep(gateway, "peter", record "in")
	clock.now = clock.now + 10
	local get, list = store.get, store.users
	function store.users()
		error "spec failure"
	end
	local count, configure, finish = make_count(users, { [gateway] = "opted-in" })
	equal(finish(), "")
	equal(count.number_of(gateway), nil)
	store.users = list
	function store:get(username)
		return get(self, username ~= "nurse" and username or error "spec failure")
	end
	configure { [gateway] = "opted-in" }
	equal(finish(), "")
	equal(count.number_of(gateway), nil)
	store.get = get
	configure { [gateway] = "opted-in" }
	equal(finish(), gateway .. " 3")
	configure { [gateway] = "opted-in" }
	equal(finish(), "")
end)

test("B12.6 the number follows who comes and goes, each once", function()
	local users = make()
	users.keep(gateway, "juliet", record "in")
	local count, configure, finish, entity = make_count(users, { [gateway] = "opted-in" })
	-- also while they are counted
	count.changed(entity(gateway), "nurse", true)
	users.keep(gateway, "nurse", record "in")
	count.changed(entity(gateway), "nurse", true)
	equal(finish(), gateway .. " 2")
	count.changed(entity(gateway), "nurse", true)
	count.changed(entity(gateway), "friar", true)
	count.changed(entity(gateway), "juliet", false)
	count.changed(entity(gateway), "juliet", false)
	count.forget "friar"
	count.forget "nobody"
	equal(finish(), gateway .. " 3, " .. gateway .. " 2, " .. gateway .. " 1")
	-- when the configuration is read again, it is counted anew only for who is new
	configure { [gateway] = "opted-in", [other] = "opted-in" }
	equal(finish(), other .. " 0")
	equal(count.number_of(gateway), 1)
	configure { [other] = "opted-in" }
	equal(finish(), gateway .. " 0")
	equal(count.number_of(gateway), nil)
end)

test("B12.6 a grant that is widened while its users are counted is not counted any more", function()
	local users = make()
	users.keep(gateway, "juliet", record "in")
	local count, configure, finish = make_count(users, { [gateway] = "opted-in" })
	configure { [gateway] = "all" }
	equal(finish(), gateway .. " 0")
	equal(count.number_of(gateway), nil)
end)
