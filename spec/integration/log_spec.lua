-- B10.1: what the log says.

local socket = require "socket"
local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["pubsub.capulet.lit"] = { roster = "both", message = "outgoing", presence = "managed_entity", iq = { ["urn:xmpp:ping"] = "get" } };
		["reader.capulet.lit"] = { roster = "get" };
		["other.capulet.lit"] = { roster = "get" };
		["romeo@montague.lit"] = { message = "outgoing" };
		["empty.capulet.lit"] = {};
	}
VirtualHost "montague.lit"
]]
for name in ("pubsub reader other empty stranger"):gmatch "%a+" do
	config = config .. ('Component "%s.capulet.lit"\n\tcomponent_secret = "secret"\n'):format(name)
end

describe("B10.1 the log:", function()
	local server, pubsub, reader, other, empty, stranger, romeo, log_of_connecting

	setup(function()
		server = prosody.start { users = { "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit" }, config = config }
		pubsub, reader = server:component "pubsub.capulet.lit", server:component "reader.capulet.lit"
		other, empty = server:component "other.capulet.lit", server:component "empty.capulet.lit"
		stranger, romeo = server:component "stranger.capulet.lit", server:client "romeo@montague.lit/orchard"
		romeo:sync()
		log_of_connecting = server:log()
	end)

	teardown(function()
		server:stop()
	end)

	-- The lines of a level since a mark that hold the texts
	local function logged(mark, level, ...)
		return grants.logged(server:log_since(mark), level, ...)
	end

	-- All that is above debug
	local function assert_quiet(mark)
		for _, level in ipairs { "info", "warn", "error" } do
			assert.is_same({}, logged(mark, level))
		end
	end

	-- Is refused that often, for changing a roster or for sending a message. The requests go out at once, and the server
	-- handles them before it looks at its timers again.
	local function be_refused(stream, count, what)
		local form = what == "message" and "<message from='%s' to='capulet.lit' id='%d'><privilege xmlns='urn:xmpp:privilege:2'/></message>"
			or "<iq type='set' from='%s' to='nurse@capulet.lit' id='%d'><query xmlns='jabber:iq:roster'/></iq>"
		local requests = {}
		for i = 1, count do
			requests[i] = form:format(stream.jid, i)
		end
		stream:send(table.concat(requests))
		for i = 1, count do
			assert.is_equal("forbidden", grants.outcome(stream:expect { id = tostring(i), type = "error" }))
		end
	end

	it("B10.1 has one info line for an entity that is granted its permissions, saying which", function()
		assert.is_equal(1, #grants.logged(log_of_connecting, "info", "pubsub.capulet.lit"))
		assert.is_equal(
			1,
			#grants.logged(
				log_of_connecting,
				"info",
				"pubsub.capulet.lit",
				"roster",
				"both",
				"push",
				"message",
				"outgoing",
				"presence",
				"managed_entity",
				"urn:xmpp:ping",
				"get"
			)
		)
		assert.is_equal(1, #grants.logged(log_of_connecting, "info", "reader.capulet.lit"))
		assert.is_equal(1, #grants.logged(log_of_connecting, "info", "reader.capulet.lit", "roster", "get"))
		assert.is_same({}, grants.logged(log_of_connecting, "info", "reader.capulet.lit", "message"))
		assert.is_equal(1, #grants.logged(log_of_connecting, "info", "romeo@montague.lit"))
		assert.is_equal(1, #grants.logged(log_of_connecting, "info", "romeo@montague.lit", "message", "outgoing"))
	end)

	it("B10.1 has no line about who is granted nothing, but a warning of an entry that grants nothing", function()
		for _, jid in ipairs { "empty.capulet.lit", "stranger.capulet.lit" } do
			assert.is_same({}, grants.logged(log_of_connecting, "info", jid))
		end
		assert.is_same({}, grants.logged(log_of_connecting, "warn", "stranger.capulet.lit"))
		assert.is_equal(1, #grants.logged(log_of_connecting, "warn", "empty.capulet.lit"))
	end)

	it("B10.1 has one when permissions change, for whom they change", function()
		local mark = server:mark()
		server:reload_config((config:gsub('(reader.capulet.lit"%] = { roster = )"get"', '%1"both"')))
		assert.is_equal(1, #logged(mark, "info"))
		assert.is_equal(1, #logged(mark, "info", "reader.capulet.lit", "both"))
		mark = server:mark()
		server:reload_config(config)
		server:reload_config()
		assert.is_equal(1, #logged(mark, "info"))
		assert.is_equal(1, #logged(mark, "info", "reader.capulet.lit", "get"))
	end)

	it("B10.1 has one when an entity loses all permissions", function()
		local mark = server:mark()
		server:reload_config((config:gsub('(reader.capulet.lit"%] = {) roster = "get"', "%1")))
		assert.is_equal("reader.capulet.lit is granted nothing", logged(mark, "info")[1])
		server:reload_config(config)
	end)

	it("B10.1 has nothing above debug about what is served, and about others' requests", function()
		local mark = server:mark()
		assert.is_same(grants.all "result", grants.attempt(pubsub, "nurse@capulet.lit"))
		for kind, payload in pairs {
			get = "<query xmlns='jabber:iq:roster'/>",
			set = "<query xmlns='jabber:iq:roster'><item jid='a@b.lit'/></query>",
		} do
			assert.is_equal("service-unavailable", grants.outcome(stranger:iq { type = kind, to = "nurse@capulet.lit", payload }))
		end
		server:client("juliet@capulet.lit/balcony"):close()
		assert_quiet(mark)
	end)

	it("B10.1 has a warning for a refused request", function()
		local mark = server:mark()
		be_refused(empty, 1)
		assert.is_equal(1, #logged(mark, "warn"))
		assert.is_equal(1, #logged(mark, "warn", "empty.capulet.lit"))
	end)

	it("B10.1 has at most one a second for an entity and reason, with a count of those left out", function()
		local mark, start = server:mark(), socket.gettime()
		be_refused(reader, 6)
		assert.is_equal(1, #logged(mark, "warn", "Refused a request from reader.capulet.lit: Changing rosters"))
		-- each entity and each reason has its own
		be_refused(reader, 1, "message")
		be_refused(other, 1)
		be_refused(romeo, 3)
		assert.is_equal(1, #logged(mark, "warn", "Refused a request from reader.capulet.lit: Sending messages"))
		assert.is_equal(1, #logged(mark, "warn", "Refused a request from other.capulet.lit"))
		assert.is_equal(1, #logged(mark, "warn", "Refused a request from romeo@montague.lit"))
		-- and says later how many there were
		server:wait_log("warn\tRefused 5 more from reader%.capulet%.lit", nil, mark)
		assert.is_true(socket.gettime() - start > 0.9) -- the clocks of both may differ
		server:wait_log("warn\tRefused 2 more from romeo@montague%.lit", nil, mark)
		assert.is_equal(6, #logged(mark, "warn"))
		-- a second after that there was nothing left out
		mark = server:mark()
		server:eval [[module:add_timer(1.1, function () module:log("info", "the time is over"); end)]]
		server:wait_log("the time is over", nil, mark)
		assert.is_same({}, logged(mark, "warn"))
		be_refused(reader, 1)
		assert.is_equal(1, #logged(mark, "warn", "Refused a request from reader.capulet.lit"))
	end)
end)
