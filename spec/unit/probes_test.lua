-- What is kept of probes (behaviours 8.4 and 11).

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local test = support.suite "probes"

-- Probes of a host, with a clock that is moved by hand
local function setup()
	local made = { now = 1000, sent = {}, ended = {}, logged = {} }
	local parts = support.load({
		os = setmetatable({
			time = function()
				return made.now
			end,
		}, { __index = os }),
		prosody = {
			hosts = {},
			core_post_stanza = function(_, stanza)
				table.insert(made.sent, stanza.attr.to)
				made.last_user = stanza.attr.from:match "^[^@]*"
				if made.fails then
					error "another module"
				end
			end,
		},
	}, {
		["util.logger"] = support.logger(made.logged),
	})
	local timers = {}
	local function add_timer(delay, callback)
		timers[callback] = made.now + delay
	end
	local options = { probe_rate = 10 }
	local probes = parts.create_probes("capulet.lit", options, add_timer, function()
		return false
	end, function()
		return false
	end)
	made.options = options
	probes.on_end(function(contact, username, _, is_for_all)
		table.insert(made.ended, contact .. " " .. username .. (is_for_all and " for all" or ""))
	end)
	--- Lets a second pass.
	function made.pass()
		made.now = made.now + 1
		local due = {}
		for callback, time in pairs(timers) do
			if time <= made.now then
				table.insert(due, callback)
			end
		end
		for _, callback in ipairs(due) do
			local delay = callback()
			made.delay = delay
			timers[callback] = delay and made.now + delay
		end
	end
	return probes, made
end

test("B11 probes that were answered and have ended take no memory, though others follow all the time", function()
	local probes, made = setup()
	local number = 0
	local function pass(seconds)
		for _ = 1, seconds do
			number = number + 1
			local contact = ("contact%d@verona.lit"):format(number % 100)
			probes.request(contact, "juliet")
			made.pass()
			probes.answer(contact, "juliet", "unreachable")
		end
		made.sent, made.ended = {}, {}
		return support.memory()
	end
	local before = pass(500)
	-- Lists of them would take more than a mebibyte.
	luaunit.assertTrue(pass(20000) - before < 200)
end)

test("B8.4 a probe that another module fails to send does not keep the next ones", function()
	local probes, made = setup()
	made.fails = true
	probes.request("nurse@verona.lit", "juliet")
	made.pass()
	made.fails = false
	probes.request("romeo@verona.lit", "juliet")
	made.pass()
	equal(made.sent, { "nurse@verona.lit", "romeo@verona.lit" })
	equal(#made.logged, 1)
end)

test("B8.4 probes are sent at the rate of the option, also where it is no multiple of ten", function()
	for _, rate in ipairs { 0.5, 1, 10, 15, 19, 100, 105, 1000 } do
		local probes, made = setup()
		made.options.probe_rate = rate
		for i = 1, 2000 do
			probes.request("contact" .. i .. "@verona.lit", "juliet")
		end
		made.pass()
		luaunit.assertAlmostEquals(#made.sent / made.delay, rate, 0.001)
		-- In some ten batches a second, so that no batch is large
		luaunit.assertTrue(#made.sent <= math.max(1, rate / 10))
	end
end)

for what, outcome in pairs { refuses = "refusal", ["does not answer"] = "" } do
	test(
		"B8.4 a contact that " .. what .. " is probed in a few users' names, however many have it, and in others' at the next catch-up",
		function()
			local probes, made = setup()
			local asked = {}
			for _ = 1, 3 do
				made.sent = {}
				for i = 1, 1000 do
					if probes.is_needed("nurse@verona.lit", "user" .. i, function()
						return true
					end) then
						probes.request("nurse@verona.lit", "user" .. i)
					end
				end
				for _ = 1, 200 do
					local count = #made.sent
					made.pass()
					if #made.sent > count then
						luaunit.assertNil(asked[made.last_user])
						asked[made.last_user] = true
						if outcome ~= "" then
							probes.answer("nurse@verona.lit", made.last_user, outcome)
						end
					end
				end
				luaunit.assertEquals(#made.sent, 20)
			end
		end
	)
end

test("B8.4 a probe is not sent in the name of a user who has been deleted or does not have the contact any more", function()
	local probes, made = setup()
	for _, username in ipairs { "juliet", "romeo", "nurse", "peter" } do
		probes.request("mercutio@verona.lit", username)
	end
	probes.cancel("mercutio@verona.lit", "romeo")
	made.pass()
	equal(made.last_user, "juliet")
	probes.forget_user "nurse"
	probes.answer("mercutio@verona.lit", "juliet", "refusal")
	made.pass()
	equal(made.last_user, "peter")
	probes.answer("mercutio@verona.lit", "peter", "refusal")
	made.pass()
	equal(#made.sent, 2)
end)

test(
	"B8.4 a contact that answers nothing is probed in the next user's name after five seconds, and is gone when the last gets nothing",
	function()
		local probes, made = setup()
		probes.request("mercutio@verona.lit", "juliet")
		probes.request("mercutio@verona.lit", "romeo")
		for _ = 1, 5 do
			made.pass()
		end
		equal(made.last_user, "juliet")
		for _ = 1, 3 do
			made.pass()
		end
		equal(made.last_user, "romeo")
		for _ = 1, 70 do
			made.pass()
		end
		equal(made.sent, { "mercutio@verona.lit", "mercutio@verona.lit" })
		equal(made.last_user, "romeo")
		equal(made.ended, { "mercutio@verona.lit juliet", "mercutio@verona.lit romeo for all" })
	end
)

test("B8.4 a contact that answers one user is not probed for others", function()
	local probes, made = setup()
	probes.request("mercutio@verona.lit", "juliet")
	probes.request("mercutio@verona.lit", "romeo")
	made.pass()
	probes.answer("mercutio@verona.lit", "juliet", "presence")
	for _ = 1, 100 do
		made.pass()
	end
	equal(made.sent, { "mercutio@verona.lit" })
	equal(made.ended, { "mercutio@verona.lit juliet for all" })
end)
