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
	local probes = parts.create_probes("capulet.lit", { probe_rate = 10 }, add_timer, function()
		return false
	end)
	probes.on_end(function(contact)
		table.insert(made.ended, contact)
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
			probes.answer(contact, "juliet", true)
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
