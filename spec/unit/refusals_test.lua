-- Refusals, what the log says of them, and of what is done (behaviours 10.1, 10.2).

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local parts, st = support.parts, support.st
local test = support.suite "refusals"

--- A refuser, with what came of it: `lines` of the log, `sent` answers, `counted` acts; `go_off` the timer.
local function setup()
	local made = { lines = {}, sent = {}, counted = {} }
	local add_timer, go_off, timers = support.timers()
	made.go_off, made.timers = go_off, timers
	made.session = {
		send = function(stanza)
			table.insert(made.sent, stanza)
		end,
	}
	local refusing = parts.create_refusing(
		function(level, format, ...)
			table.insert(made.lines, level .. ": " .. format:format(...))
		end,
		add_timer,
		{
			count = function(entity, act)
				table.insert(made.counted, entity.jid .. " " .. act)
			end,
		}
	)
	made.refusing = refusing
	made.refuse = function(jid, reason)
		local stanza = st.iq({ type = "get", id = "1", from = jid, to = "juliet@capulet.lit" })
		return refusing.refuse({ jid = jid }, made.session, stanza, parts.refusals[reason])
	end
	return made
end

test("B7.4 a refused request is answered with one error, and counted", function()
	local made = setup()
	equal(made.refuse("a.lit", "iq_timeout"), true)
	equal(#made.sent, 1)
	local reply = made.sent[1]
	equal(reply.attr, { type = "error", id = "1", from = "juliet@capulet.lit", to = "a.lit" })
	equal({ reply:get_error() }, { "wait", "remote-server-timeout", "There was no answer" })
	equal(made.counted, { "a.lit refusals" })
	for _ = 1, 4 do
		made.refuse("a.lit", "iq_timeout")
	end
	equal({ #made.sent, #made.counted }, { 5, 5 })
end)

test("B10.1 a refused request is a warning that says whose and why", function()
	local made = setup()
	made.refuse("a.lit", "roster_get")
	equal(made.lines, { 'warn: Refused a request from a.lit: Reading rosters needs roster = "get": juliet@capulet.lit' })
	equal(#made.timers, 1)
	equal(made.timers[1].delay, 1)
end)

test("B10.1 there is one line a second, with the count of those left out", function()
	local made = setup()
	for _ = 1, 4 do
		made.refuse("a.lit", "roster_get")
	end
	equal(#made.lines, 1)
	equal(#made.timers, 1)
	equal(made.go_off(), 1)
	equal(made.lines[2], 'warn: Refused 3 more from a.lit, the last one: Reading rosters needs roster = "get": juliet@capulet.lit')
	-- In the second after that line it goes on.
	made.refuse("a.lit", "roster_get")
	equal(#made.lines, 2)
	equal(made.go_off(), 1)
	equal(made.lines[3], 'warn: Refused 1 more from a.lit, the last one: Reading rosters needs roster = "get": juliet@capulet.lit')
	-- A second without: the next one has its own line again.
	equal(made.go_off(), nil)
	equal({ #made.lines, #made.timers }, { 3, 0 })
	made.refuse("a.lit", "roster_get")
	equal(made.lines[4], made.lines[1])
end)

test("B10.1 each entity and each reason has its own line", function()
	local made = setup()
	for _ = 1, 2 do
		made.refuse("a.lit", "roster_get")
		made.refuse("a.lit", "roster_set")
		made.refuse("b.lit", "roster_get")
	end
	equal(made.lines, {
		'warn: Refused a request from a.lit: Reading rosters needs roster = "get": juliet@capulet.lit',
		'warn: Refused a request from a.lit: Changing rosters needs roster = "set": juliet@capulet.lit',
		'warn: Refused a request from b.lit: Reading rosters needs roster = "get": juliet@capulet.lit',
	})
	made.go_off()
	made.go_off()
	made.go_off()
	equal(made.lines[6], 'warn: Refused 1 more from b.lit, the last one: Reading rosters needs roster = "get": juliet@capulet.lit')
	equal(#made.lines, 6)
end)

test("B10.1 what a refusal is about is said after its text, in one line of bounded length", function()
	local made = setup()
	local stanza = st.iq({ type = "get", id = "1", from = "a.lit", to = "juliet@capulet.lit" })
	local function refuse_about(subject)
		made.refusing.refuse({ jid = subject }, made.session, stanza, parts.about(parts.refusals.iq_sender, subject))
		return made.lines[#made.lines]:match "addressed to: (.*)$"
	end
	equal(refuse_about "romeo@a.lit", "romeo@a.lit")
	equal(refuse_about "a\nb\r\27[1m", "a?b??[1m")
	equal(refuse_about(("x"):rep(200)), ("x"):rep(200))
	equal(refuse_about(("x"):rep(201)), ("x"):rep(200) .. "...")
	-- never within a character
	equal(refuse_about(("x"):rep(199) .. "\195\164\195\164"), ("x"):rep(199) .. "...")
	equal(refuse_about(("x"):rep(198) .. "\240\159\152\128"), ("x"):rep(198) .. "...")
	equal(refuse_about(("x"):rep(198) .. "\195\164\195\164"), ("x"):rep(198) .. "\195\164...")
	equal(select(3, made.sent[2]:get_error()), "The iq's sender must be the user it is addressed to: a?b??[1m")
end)

test("B10.1 of too many entities and reasons the rest is told as one", function()
	local made = setup()
	for i = 1, 1500 do
		made.refuse("a" .. i .. ".lit", "roster_get")
	end
	equal({ #made.lines, #made.timers, #made.sent }, { 1001, 1001, 1500 })
	equal(made.lines[1001]:match "^(.-:.-:)", "warn: Refused a request from others:")
	for _ = 1, 1001 do
		made.go_off()
	end
	equal(made.lines[1002]:match "^(.-:.-:)", "warn: Refused 499 more from others, the last one:")
	equal({ #made.lines, #made.timers }, { 1002, 1 })
	made.go_off()
	made.refuse("b.lit", "roster_get")
	equal(made.lines[1003]:match "^(.-:.-:)", "warn: Refused a request from b.lit:")
end)

local function setup_acts(log_acts, has_metrics)
	local made = { lines = {}, measured = {}, entity = { jid = "a.lit", counts = parts.no_counts() } }
	local api = {
		log = function(_, level, format, ...)
			table.insert(made.lines, level .. ": " .. format:format(...))
		end,
	}
	if has_metrics then
		api.measure = function(_, name, kind)
			equal(kind, "counter")
			return function(amount)
				made.measured[name] = (made.measured[name] or 0) + amount
			end
		end
	end
	if has_metrics == "labels" then
		local metrics = {}
		api.metric = function(_, kind, name, unit, help, keys)
			equal({ kind, unit, keys }, { name == "covered_users" and "gauge" or "counter", "", { "entity" } })
			luaunit.assertStrMatches(help, "%u[%a ]+%.")
			return {
				with_labels = function(_, entity)
					local label = name .. " " .. entity
					metrics[label] = metrics[label]
						or {
							add = function(_, amount)
								made.measured[label] = made.measured[label] + amount
							end,
							set = function(_, value)
								made.measured[label] = value
							end,
						}
					return metrics[label]
				end,
			}
		end
	end
	made.options = { log_acts = log_acts }
	made.acts = parts.create_statistics(api, made.options)
	return made
end

test("B10.2 acts are counted, for the entity and in the metrics, where there are some", function()
	for _, has_metrics in ipairs { true, false } do
		local made = setup_acts(false, has_metrics)
		made.acts.count(made.entity, "pushes")
		made.acts.record(made.entity, "iqs", "%s sent an iq as %s to %s", "juliet@capulet.lit", "romeo@montaigu.lit", "1")
		made.acts.count(made.entity, "pushes")
		equal({ made.entity.counts.pushes, made.entity.counts.iqs, made.entity.counts.messages }, { 2, 1, 0 })
		equal(made.measured, has_metrics and { pushes = 2, iqs = 1 } or {})
		equal(made.lines, { "debug: a.lit sent an iq as juliet@capulet.lit to romeo@montaigu.lit" })
	end
end)

test("B10.2 acts are counted for each entity where metrics have labels", function()
	local made = setup_acts(false, "labels")
	local other = { jid = "b.lit", counts = parts.no_counts() }
	made.acts.announce(made.entity)
	made.acts.announce(other)
	equal({ made.measured["pushes a.lit"], made.measured["iqs b.lit"] }, { 0, 0 })
	made.acts.count(made.entity, "pushes")
	made.acts.count(made.entity, "pushes")
	made.acts.count(other, "pushes")
	equal({ made.measured["pushes a.lit"], made.measured["pushes b.lit"], made.measured["iqs a.lit"] }, { 2, 1, 0 })
	-- when the configuration is read again, they go on
	made.acts.announce(made.entity)
	equal(made.measured["pushes a.lit"], 2)
	equal(made.measured.pushes, nil)
	made.acts.covered("a.lit", 5)
	made.acts.covered("a.lit", 4)
	equal(made.measured["covered_users a.lit"], 4)
end)

test("B10.1 acts are logged where that is wanted, and an id makes up no lines", function()
	local made = setup_acts(true, true)
	local function record(id)
		made.acts.record(made.entity, "iqs", "%s sent an iq as %s to %s", "juliet@capulet.lit", "romeo@montaigu.lit", id)
		return made.lines[#made.lines]
	end
	equal(record("x1"), "info: a.lit sent an iq as juliet@capulet.lit to romeo@montaigu.lit, id x1")
	equal(record(nil), "info: a.lit sent an iq as juliet@capulet.lit to romeo@montaigu.lit, id none")
	equal(record("a\nb\27%s"), "info: a.lit sent an iq as juliet@capulet.lit to romeo@montaigu.lit, id a?b?%s")
	made.options.log_acts = false
	equal(record("x2"), "debug: a.lit sent an iq as juliet@capulet.lit to romeo@montaigu.lit")
end)
