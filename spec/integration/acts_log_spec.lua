-- B10.1: what the log tells of acts in users' names (privilege_log_acts), and what it leaves to debug.

local socket = require "socket"
local acts = require "spec.support.acts"
local grants = require "spec.support.grants"
local privileged = require "spec.support.privileged"

local gateway, juliet = "gateway.capulet.lit", "juliet@capulet.lit"
local secret = "MOST SECRET"

-- A whole run: everything that entities do and are told
local function run(streams)
	for _, act in ipairs(acts.list) do
		act[2](streams)
	end
	for _, stream in pairs(streams) do
		stream:sync()
	end
end

-- All lines of a server's log at a level, of whatever part of it
local function lines_at(log, level)
	local found = {}
	for line in log:gmatch "[^\n]+" do
		if line:find("\t" .. level .. "\t", 1, true) or line:find("%s" .. level .. "\t") then
			found[#found + 1] = line
		end
	end
	return found
end

describe("B10.1 the log of a whole run", function()
	local server, streams, start, connected

	setup(function()
		server = acts.start {}
		start = server:mark()
		streams = acts.connect(server)
		connected = server:mark()
		run(streams)
	end)

	teardown(function()
		server:stop()
	end)

	it("B10.1 has what is granted at info, and nothing of what entities do unless it is asked for", function()
		local granted = grants.logged(server:log_since(start), "info")
		assert.is_equal(3, #granted)
		for _, line in ipairs(granted) do
			assert.is_truthy(line:find("granted", 1, true), line)
		end
		assert.is_same({}, grants.logged(server:log_since(connected), "info"))
	end)

	it("B10.1 has the refusals as warnings, and no other warning or error of any part of the server", function()
		local log = server:log_since(start)
		assert.is_equal(3, #grants.logged(log, "warn"))
		assert.is_same(3, #lines_at(log, "warn"))
		assert.is_same({}, lines_at(log, "error"))
	end)
end)

describe("B10.1 the log with privilege_log_acts", function()
	local server, streams, mark

	setup(function()
		server = acts.start { config = acts.config:format "privilege_log_acts = true" }
		streams = acts.connect(server)
	end)

	teardown(function()
		server:stop()
	end)

	before_each(function()
		mark = server:mark()
	end)

	-- Asserts that there is one line, which holds these texts
	local function assert_one(...)
		local lines = grants.logged(server:log_since(mark), "info")
		assert.is_equal(1, #lines, table.concat(lines, "\n"))
		for _, text in ipairs { ... } do
			assert.is_truthy(lines[1]:find(text, 1, true), ("no %s in: %s"):format(text, lines[1]))
		end
		return lines[1]
	end

	local function assert_none()
		assert.is_same({}, grants.logged(server:log_since(mark), "info"))
	end

	it("B10.1 has one line for a message, with entity, user, addressee and id", function()
		acts.message(streams.gateway, { to = "nurse@montague.lit/kitchen", id = "letter-7" })
		assert_one(gateway, "message", juliet, "nurse@montague.lit/kitchen", "letter-7")
	end)

	it("B10.1 has the user as addressee of a message without any, and says that there is no id", function()
		acts.message(streams.gateway, { to = false, id = false })
		local line = assert_one(gateway, "message", juliet, "none")
		assert.is_equal(2, select(2, line:gsub(juliet:gsub("%p", "%%%0"), "")))
	end)

	it("B10.1 has the host as sender of a message that it sends itself", function()
		acts.message(streams.gateway, { from = "capulet.lit", id = "notice-1" })
		assert_one(gateway, "message", "as capulet.lit", juliet .. "/balcony", "notice-1")
	end)

	it("B10.1 has one line for a message of another entity", function()
		local romeo = server:client "romeo@montague.lit/orchard"
		mark = server:mark()
		acts.message(romeo, { id = "letter-8" })
		assert_one("romeo@montague.lit", "message", juliet, juliet .. "/balcony", "letter-8")
		romeo:close()
	end)

	it("B10.1 has one line for an iq, with entity, user, addressee and id", function()
		acts.iq(streams.gateway, "query-7")
		streams.gateway:expect { name = "iq", id = "outer", type = "result" }
		assert_one(gateway, "iq", juliet, "to capulet.lit", "query-7")
	end)

	it("B10.1 has one line for a change of a roster, with entity, user, contact and id", function()
		acts.roster_set(streams.gateway, "", "set-7")
		assert_one(gateway, "contact", juliet, "friar@verona.lit", "set-7")
		mark = server:mark()
		acts.roster_set(streams.gateway, "subscription='remove'", "set-8")
		assert_one(gateway, "removed", juliet, "friar@verona.lit", "set-8")
	end)

	it("B10.1 has none for what entities are told, for roster gets, and for what users do themselves", function()
		for _, act in ipairs(acts.list) do
			if not act[1]:find "^sends" and not act[1]:find "^sets" then
				act[2](streams)
			end
		end
		streams.juliet:send(("<message to='nurse@montague.lit/kitchen' id='own'><body>%s</body></message>"):format(secret)):sync()
		assert_none()
	end)

	it("B10.1 has none for what is refused, nor for what could not be saved", function()
		acts.message(streams.gateway, { from = "tybalt@capulet.lit", id = "refused" })
		acts.message(streams.watcher, { id = "refused" })
		acts.iq(streams.watcher, "refused")
		acts.roster_set(streams.watcher, "", "refused")
		server:eval "prosody.spec_fail = { roster_set = true }"
		local answer = acts.roster_set(streams.gateway, "", "unsaved")
		server:eval "prosody.spec_fail = nil"
		assert.is_equal("internal-server-error", grants.outcome(answer))
		assert_none()
	end)

	it("B10.1 has none for what is done on a host that does not ask for it", function()
		acts.message(streams.gateway, { from = "romeo@montague.lit" }, "montague.lit")
		assert_none()
	end)

	it("B10.1 never has the content", function()
		acts.message(
			streams.gateway,
			{ ("<subject>%s</subject><body>%s</body><x xmlns='urn:example' secret='%s'/>"):format(secret, secret, secret) }
		)
		privileged.ask(
			streams.gateway,
			{ to = "capulet.lit", ("<ping xmlns='urn:xmpp:ping' secret='%s'>%s</ping>"):format(secret, secret) }
		)
		acts.roster_set(streams.gateway, ("name='%s'"):format(secret))
		assert.is_equal(
			"result",
			streams.gateway:iq {
				type = "set",
				to = juliet,
				("<query xmlns='jabber:iq:roster'><item jid='friar@verona.lit'><group>%s</group></item></query>"):format(secret),
			}.attr.type
		)
		streams.gateway:sync()
		-- not at debug either
		for line in server:log_since(mark):gmatch "[^\n]+" do
			assert.is_falsy(line:find(":privilege", 1, true) and line:find(secret, 1, true), line)
		end
		assert.is_equal(4, #grants.logged(server:log_since(mark), "info"))
	end)

	it("B1.6 begins and ends when the configuration is read again", function()
		server:reload_config(acts.config:format "privilege_log_acts = false")
		mark = server:mark()
		acts.message(streams.gateway)
		assert_none()
		server:reload_config(acts.config:format "privilege_log_acts = true")
		mark = server:mark()
		acts.message(streams.gateway, { id = "again" })
		assert_one("again")
	end)
end)

describe("B10.1 the log with text of an entity", function()
	local server, streams

	-- From debug on, Prosody itself logs what it receives
	setup(function()
		server = acts.start { config = acts.config:format "privilege_log_acts = true", log_level = "info" }
		streams = acts.connect(server)
	end)

	teardown(function()
		server:stop()
	end)

	local forged = "Jan 01 00:00:00 capulet.lit:privilege\tinfo\tforged"

	local function assert_not_forged(mark, count)
		local log = server:log_since(mark)
		assert.is_equal(count, #grants.logged(log, "info"), log)
		for line in log:gmatch "[^\n]+" do
			assert.is_nil(line:find "^Jan 01 00:00:00", line)
			assert.is_nil(line:find "[\1-\8\11-\31\127]", line)
		end
		return log
	end

	for what, reference in pairs { ["a line break"] = "&#10;", ["a carriage return"] = "&#13;", ["both"] = "&#13;&#10;" } do
		it("B10.1 makes no lines of their own out of ids with " .. what, function()
			local id = "x" .. reference .. forged:gsub("\t", "&#9;")
			local mark = server:mark()
			streams.gateway:send(
				privileged.message(
					{ id = "outer", from = gateway, to = "capulet.lit" },
					("<message xmlns='jabber:client' from='%s' to='%s/balcony' id='%s'><body>a</body></message>"):format(juliet, juliet, id)
				)
			)
			streams.gateway:send(privileged.iq({
				id = "outer",
				from = gateway,
				to = juliet,
				content = ("<iq xmlns='jabber:client' type='get' to='capulet.lit' id='%s'><ping xmlns='urn:xmpp:ping'/></iq>"):format(id),
			}, {}))
			streams.gateway:send(
				("<iq type='set' from='%s' to='%s' id='%s'><query xmlns='jabber:iq:roster'><item jid='friar@verona.lit'/></query></iq>"):format(
					gateway,
					juliet,
					id
				)
			)
			-- A set that follows another may be saved, logged and answered after what comes behind it
			streams.gateway:expect(function(stanza)
				return stanza.name == "iq" and stanza.attr.id ~= "outer" and stanza.attr.from == juliet
			end)
			streams.gateway:expect { name = "iq", id = "outer", type = "result" }
			assert_not_forged(mark, 3)
			streams.juliet:expect { name = "message", body = "a" }
		end)

		it("B10.1 makes no lines of their own out of refused requests with " .. what, function()
			local id = "x" .. reference .. forged:gsub("\t", "&#9;")
			local mark = server:mark()
			streams.gateway
				:send(
					privileged.message(
						{ id = "outer", from = gateway, to = "capulet.lit" },
						("<message xmlns='jabber:client' from='%s%s' to='%s' id='%s'/>"):format(juliet, id, id, id)
					)
				)
				:sync()
			assert_not_forged(mark, 0)
		end)
	end
end)

describe("B10.1 the log of refusals", function()
	local server, streams

	setup(function()
		server = acts.start {}
		streams = acts.connect(server)
	end)

	teardown(function()
		server:stop()
	end)

	it("B10.1 has at most one line a second of what is refused again and again, and leaves none out of the count", function()
		local mark, start, refused = server:mark(), socket.gettime(), 0
		while socket.gettime() < start + 2.2 do
			acts.message(streams.gateway, { from = "tybalt@capulet.lit" })
			refused = refused + 1
			socket.sleep(0.02)
		end
		local function counted()
			local sum = 0
			local lines = grants.logged(server:log_since(mark), "warn", gateway)
			for _, line in ipairs(lines) do
				sum = sum + (tonumber(line:match "%f[%w]%d+%f[%W]") or 1)
			end
			return sum, lines
		end
		local sum, lines = counted()
		local seconds = socket.gettime() - start
		assert.is_true(#lines >= 2 and #lines <= math.floor(seconds) + 1, table.concat(lines, "\n"))
		while sum < refused and socket.gettime() < start + 20 do
			socket.sleep(0.05)
			sum, lines = counted()
		end
		assert.is_equal(refused, sum, table.concat(lines, "\n"))
	end)
end)
