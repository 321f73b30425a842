-- B10.1: what is said of a refused request, to the entity and in the log, names what is missing.

local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"
local privileged = require "spec.support.privileged"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["gateway.capulet.lit"] = { roster = "both"; message = "outgoing"; iq = { ["urn:xmpp:ping"] = "get" } };
		["nothing.capulet.lit"] = { iq = { ["urn:xmpp:ping"] = "get" } };
	}
	privilege_log_acts = true
Component "gateway.capulet.lit"
	component_secret = "secret"
Component "nothing.capulet.lit"
	component_secret = "secret"
Component "stranger.capulet.lit"
	component_secret = "secret"
]]

local juliet = "juliet@capulet.lit"
local ping = "<ping xmlns='urn:xmpp:ping'/>"

local function roster(kind, to)
	return function(stream)
		stream:send(
			("<iq type='%s' id='outer' from='%s' to='%s'><query xmlns='jabber:iq:roster'><item jid='a@b.lit'/></query></iq>"):format(
				kind,
				stream.jid,
				to
			)
		)
	end
end

local function iq(inner, attr)
	return function(stream)
		privileged.ask(stream, inner, attr)
	end
end

local function message(inner, attr)
	return function(stream)
		privileged.send(stream, inner, attr)
	end
end

-- Each: who asks, what, and the texts that have to be there
local cases = {
	{ "nothing", roster("get", juliet), 'roster = "get"', juliet },
	{ "nothing", roster("set", juliet), 'roster = "set"', juliet },
	{ "nothing", roster("get", "nobody@capulet.lit"), 'roster = "get"', "nobody@capulet.lit" },
	{ "gateway", roster("get", "nobody@capulet.lit"), "no such user", "nobody@capulet.lit" },
	{ "gateway", roster("set", "nobody@capulet.lit"), "no such user", "nobody@capulet.lit" },
	{ "nothing", message { from = juliet, "<body>psst</body>" }, 'message = "outgoing"', juliet },
	{ "gateway", message { from = "nobody@capulet.lit", "<body>psst</body>" }, "sender", "nobody@capulet.lit" },
	{ "gateway", message { from = juliet, to = "a@@b", "<body>psst</body>" }, "recipient", "a@@b" },
	{ "gateway", iq({ to = juliet, ping }, { type = "set" }), 'iq["urn:xmpp:ping"] = "set"', juliet },
	{ "gateway", iq { to = juliet, "<query xmlns='jabber:iq:last'/>" }, 'iq["jabber:iq:last"] = "get"', juliet },
	{
		"gateway",
		iq({ to = juliet, "<query xmlns='jabber:iq:last'/>" }, { to = "nobody@capulet.lit" }),
		'iq["jabber:iq:last"] = "get"',
		"nobody@capulet.lit",
	},
	{ "gateway", iq({ to = juliet, ping }, { to = "nobody@capulet.lit" }), "no such user", "nobody@capulet.lit" },
	{ "gateway", iq { from = "romeo@capulet.lit", to = juliet, ping }, "sender", "romeo@capulet.lit" },
	{ "stranger", iq { to = juliet, ping }, "not listed", "privileged_entities" },
	{ "stranger", message { from = juliet, "<body>psst</body>" }, "not listed", "privileged_entities" },
}

describe("B10.1 a refused request", function()
	local server, streams

	before_each(function()
		-- what Prosody itself logs of stanzas while debugging has lines as they come
		server = prosody.start { config = config, users = { juliet }, log_level = "info" }
		streams = {}
		for _, name in ipairs { "gateway", "nothing", "stranger" } do
			streams[name] = server:component(name .. ".capulet.lit")
			streams[name]:sync():drain()
		end
	end)

	after_each(function()
		server:stop()
	end)

	it("is answered and logged with what is missing: the permission, the user or the address", function()
		for i, case in ipairs(cases) do
			local stream, mark = streams[case[1]], server:mark()
			case[2](stream)
			local err = stream:expect { id = "outer", type = "error" }:get_child "error"
			local said
			for _, child in ipairs(err.tags) do
				said = child.name == "text" and child:get_text() or said
			end
			-- one of the same kind may be told a second later, with a count
			local line = server:wait_log("privilege\twarn\t[^\n]*" .. stream.jid:gsub("%p", "%%%0"), nil, mark)
			for j = 3, #case do
				assert.is_truthy(said:find(case[j], 1, true), i .. ": " .. said)
				assert.is_truthy(line:find(case[j], 1, true), i .. ": " .. line)
			end
			assert.is_truthy(line:find(stream.jid, 1, true), line)
		end
	end)

	it("says nothing of whether there is such a user to who lacks the permission", function()
		local function said(make, user)
			make(user)
			local answer = streams.nothing:expect { id = "outer", type = "error" }
			return (tostring(answer):gsub("nobody@", "juliet@"))
		end
		for _, make in ipairs {
			function(user)
				roster("get", user)(streams.nothing)
			end,
			function(user)
				roster("set", user)(streams.nothing)
			end,
			function(user)
				message { from = user, "<body>psst</body>" }(streams.nothing)
			end,
			function(user)
				iq({ to = juliet, "<query xmlns='jabber:iq:last'/>" }, { to = user })(streams.nothing)
			end,
		} do
			assert.is_equal(said(make, juliet), said(make, "nobody@capulet.lit"))
		end
	end)

	it("cannot make lines of its own in the log, nor long ones, by what it holds; nor can one that is served", function()
		local gateway, nasty = streams.gateway, ("x&#10;Nov 27 00:00:00 capulet.lit:privilege&#9;error&#9;forged&#13;"):rep(5)
		local mark = server:mark()
		gateway:send(
			("<iq type='get' id='1' from='gateway.capulet.lit' to='%s'><privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get' id='x'><q xmlns='urn:%s'/></iq></privileged_iq></iq>"):format(
				juliet,
				nasty
			)
		)
		gateway:send(
			("<message id='2' from='gateway.capulet.lit' to='capulet.lit'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='%s'/></forwarded></privilege></message>"):format(
				nasty
			)
		)
		gateway:send(
			("<message id='3' from='gateway.capulet.lit' to='capulet.lit'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='%s' to='%s'/></forwarded></privilege></message>"):format(
				juliet,
				"@" .. nasty
			)
		)
		-- the server takes this for a domain
		gateway:send(
			("<message id='6' from='gateway.capulet.lit' to='capulet.lit'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='%s' to='%s'/></forwarded></privilege></message>"):format(
				juliet,
				nasty
			)
		)
		gateway:send(
			("<message id='4' from='gateway.capulet.lit' to='capulet.lit'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='%s' id='%s' to='%s'/></forwarded></privilege></message>"):format(
				juliet,
				nasty,
				juliet
			)
		)
		gateway:send(
			("<iq type='get' id='5' from='gateway.capulet.lit' to='%s'><privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get' id='%s' from='%s'>%s</iq></privileged_iq></iq>"):format(
				juliet,
				nasty,
				nasty,
				ping
			)
		)
		for _, id in ipairs { "1", "2", "3", "5" } do
			gateway:expect { id = id, type = "error" }
		end
		gateway:sync()
		server:eval "module:add_timer(1.2, function () module:log('info', 'time is over'); end)"
		server:wait_log("time is over", nil, mark)
		local log = server:log_since(mark)
		assert.is_same({}, grants.logged(log, "error"))
		for _, level in ipairs { "info", "warn" } do
			for _, line in ipairs(grants.logged(log, level)) do
				assert.is_true(#line < 700, line)
			end
		end
		-- Prosody 13.0.7 takes nothing of the kind for a domain, and that message is refused as well.
		local takes_any_domain = server:eval [[return require "util.jid".prep "x\ny" ~= nil]]
		assert.is_equal(takes_any_domain and 4 or 5, #grants.logged(log, "warn", "Refused"))
		assert.is_equal(1, #grants.logged(log, "info", "sent a message", "to " .. juliet))
		assert.is_true(#grants.logged(log, "info", "sent a message") <= 2)
		for line in log:gmatch "[^\n]+" do
			assert.is_nil(line:find "^Nov 27 00:00:00", line)
		end
	end)
end)
