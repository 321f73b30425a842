-- Malformed and half-right privileged stanzas, made up by a seeded generator: `make fuzz` for a million of them, `FUZZ=…`
-- for as many, `SEED=…` for others. Whatever comes, the server answers each request once, and nothing else happens.
--
-- The generator makes no iqs without a child or with a type that there is not, and no answers without an id, since
-- Prosody (0.11 to 13) fails on them when they come from a component or another server, before and without any module:
-- its core looks at these of users only, and mod_iq relies on that. The module does not handle other's iqs in its place.

local prosody = require "spec.support.prosody"
local privileged = require "spec.support.privileged"
local rosters = require "spec.support.rosters"
local socket = require "socket"

local total = tonumber(os.getenv "FUZZ") or 20000
local seed = tonumber(os.getenv "SEED") or 356

-- The same numbers with every Lua (Park and Miller's generator)
local state = seed
local function random(n)
	state = (state * 16807) % 2147483647
	return state % n + 1
end

local function pick(list)
	return list[random(#list)]
end

local jids = {
	"juliet@capulet.lit",
	"JULIET@Capulet.LIT",
	"juliet@capulet.lit/balcony",
	"juliet@capulet.lit/none",
	"nobody@capulet.lit",
	"capulet.lit",
	"montague.lit",
	"romeo@montague.lit",
	"hostile.capulet.lit",
	"x@hostile.capulet.lit",
	"pubsub.capulet.lit",
	"pending",
	"@",
	"/",
	"@capulet.lit",
	"capulet.lit/",
	"a@b@c",
	"juliet@",
	"",
	" ",
	"juliet@capulet.lit/" .. ("r"):rep(1100),
	("n"):rep(1100) .. "@capulet.lit",
	"j\195\188liet@capulet.lit",
	"juli&quot;et@capulet.lit",
	"&#10;@capulet.lit",
	"romeo@capulet.lit",
	"[::1]",
	"127.0.0.1",
	"xn--caplet-4ya.lit",
	"\226\132\170@capulet.lit",
	"tybalt@capulet.lit",
	"tybalt@capulet.lit/hall",
	"capulet.lit.",
	".capulet.lit",
	"juliet@capulet..lit",
	"juliet@capulet.lit@montague.lit",
	"juliet@capulet.lit//x",
	"juliet @capulet.lit",
	"juliet@ capulet.lit",
	("n"):rep(1023) .. "@capulet.lit",
	"x." .. ("d"):rep(1023),
	("d."):rep(600),
	"juliet@capulet.lit/\240\159\152\128",
	"\239\187\191juliet@capulet.lit",
	"\194\173",
	"\226\128\174teiluj@capulet.lit",
	"test.control",
	"x@test.control",
	"s p a c e",
	"<>&quot;&apos;",
	"elsewhere.lit",
	"x@elsewhere.lit/y",
	"juliet@capulet.lit\\40montague.lit",
	"juliet&#x300;@capulet.lit",
	"%s%d%n@capulet.lit",
	("@"):rep(100),
	("/"):rep(100),
}

local namespaces = {
	"urn:xmpp:privilege:2",
	"urn:xmpp:privilege:1",
	"urn:xmpp:privilege:3",
	"urn:xmpp:forward:0",
	"jabber:client",
	"jabber:iq:roster",
	"jabber:component:accept",
	"jabber:server",
	"",
	" ",
	"urn:xmpp:ping",
	"http://jabber.org/protocol/pubsub",
	"urn:example&amp;'",
	"urn:xmpp:privilege:2 ",
	"URN:XMPP:PRIVILEGE:2",
	"http://etherx.jabber.org/streams",
	"urn:xmpp:delegation:2",
	("urn:long:"):rep(200),
	"urn:ietf:params:xml:ns:xmpp-stanzas",
	"http://www.w3.org/2000/xmlns",
	"jabber:iq:private",
	"urn:xmpp:carbons:2",
}

local names = {
	"privilege",
	"forwarded",
	"message",
	"iq",
	"presence",
	"query",
	"item",
	"group",
	"privileged_iq",
	"ping",
	"perm",
	"body",
	"error",
	"delay",
}

local types =
	{ "get", "set", "result", "error", "chat", "groupchat", "headline", "normal", "unavailable", "probe", "subscribe", "nonsense", "" }

local attributes = { "to", "from", "type", "id", "jid", "subscription", "ask", "name", "ver", "approved", "xml:lang", "node" }

local subscriptions = { "none", "to", "from", "both", "remove", "both ", "" }

local function escape(text)
	return (text:gsub("'", "&apos;"):gsub("<", "&lt;"))
end

local function value(attribute)
	if attribute == "to" or attribute == "from" or attribute == "jid" then
		return pick(jids)
	elseif attribute == "type" then
		return pick(types)
	elseif attribute == "subscription" then
		return pick(subscriptions)
	end
	return pick {
		"x",
		"",
		"juliet",
		("long"):rep(300),
		"0",
		"-1",
		"1e9",
		"%s%n",
		"&#9;&#10;",
		"\240\159\152\128",
		"&lt;/iq&gt;",
		"'/><iq",
		"\194\128",
	}
end

local function random_attributes(without)
	local text, seen = "", { xmlns = true, [without or ""] = true }
	for _ = 1, random(4) - 1 do
		local name = pick(attributes)
		if not seen[name] then
			seen[name] = true
			text = text .. (" %s='%s'"):format(name, escape(value(name)))
		end
	end
	if random(3) > 1 then
		text = text .. (" xmlns='%s'"):format(escape(pick(namespaces)))
	end
	return text
end

local function element(depth)
	local content = {}
	if depth > 0 then
		for _ = 1, random(3) - 1 do
			table.insert(content, random(5) == 1 and "text &lt; " or element(depth - 1))
		end
	end
	local name = pick(names)
	return ("<%s%s>%s</%s>"):format(name, random_attributes(), table.concat(content), name)
end

-- Leaves something out of a good stanza, puts something in, or swaps a part for another
local function damage(text)
	local how = random(6)
	if how == 1 then
		return (text:gsub(" [%w:]+='[^']*'", "", 1))
	elseif how == 2 then
		return (text:gsub("(xmlns=)'[^']*'", "%1'" .. escape(pick(namespaces)):gsub("%%", "%%%%") .. "'", 1))
	elseif how == 3 then
		local jid = escape(pick(jids)):gsub("%%", "%%%%")
		return (text:gsub("(from=)'[^']*'", "%1'" .. jid .. "'", 1))
	elseif how == 4 then
		local jid = escape(pick(jids)):gsub("%%", "%%%%")
		return (text:gsub("(jid=)'[^']*'", "%1'" .. jid .. "'", 1))
	elseif how == 5 then
		return (text:gsub("(<%w+[^>]*[^/]>)", "%1" .. element(2):gsub("%%", "%%%%"), 1))
	end
	return (text:gsub("(type=)'[^']*'", "%1'" .. pick(types) .. "'", 1))
end

local function damaged(text)
	for _ = 1, random(3) do
		text = damage(text)
	end
	return text
end

local function nest(text)
	local depth = random(200) == 1 and 300 or random(3) == 1 and random(3) or 0
	local start, stop = "<privilege xmlns='urn:xmpp:privilege:2'>", "</privilege>"
	if random(2) == 1 then
		start, stop = "<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get' id='i'>", "</iq></privileged_iq>"
	end
	return start:rep(depth) .. text .. stop:rep(depth)
end

-- What is in the stanzas: half of it nonsense, half of it nearly right. Nothing in it may be what is granted and complete,
-- for then it would be done: the message has no recipient outside, and the contact cannot be added.
local contents = {
	function()
		return nest(element(3))
	end,
	function()
		return damaged "<query xmlns='jabber:iq:roster'><item jid='juliet@capulet.lit' name='Self'><group>g</group></item></query>"
	end,
	function()
		return damaged "<query xmlns='jabber:iq:roster'/>"
	end,
	function()
		return nest(
			damaged(
				"<privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>"
					.. "<message xmlns='jabber:client' from='romeo@montague.lit' to='juliet@capulet.lit' id='i'><body>b</body></message></forwarded></privilege>"
			)
		)
	end,
	function()
		return nest(
			damaged(
				"<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get' id='i' to='capulet.lit'>"
					.. "<ping xmlns='urn:xmpp:ping'/></iq></privileged_iq>"
			)
		)
	end,
}

-- A stanza from somebody: neither a whole message to a user, nor anything that a user's client is to see
-- @return its text, whether it is a request that has to be answered, or an answer that must not be, and whether it has no id
local function make(stream, id)
	local from = ""
	if stream.kind == "component" then
		from = random(4) == 1 and pick(jids) or random(50) > 1 and pick { "hostile.capulet.lit", "x@hostile.capulet.lit/y" } or nil
		from = from and (" from='%s'"):format(escape(from)) or ""
	elseif random(4) == 1 then
		from = (" from='%s'"):format(escape(pick(jids)))
	end
	if random(3) == 1 then
		local kind = random(10) == 1 and pick { "error", "nonsense", "groupchat", "" } or nil
		return ("<message%s%s id='%s' to='capulet.lit'>%s</message>"):format(
			kind and (" type='%s'"):format(kind) or "",
			from,
			id,
			pick(contents)()
		)
	end
	local to = pick {
		"juliet@capulet.lit",
		"juliet@capulet.lit",
		"capulet.lit",
		"nobody@capulet.lit",
		"romeo@montague.lit",
		"juliet@capulet.lit/none",
	}
	local kind = pick { "get", "set", "get", "set", "get", "set", "result", "error" }
	local is_request = kind == "get" or kind == "set"
	if is_request and stream.kind == "component" and random(50) == 1 then
		return ("<iq type='%s'%s to='%s'>%s</iq>"):format(kind, from, to, pick(contents)()), true, false, true
	end
	return ("<iq type='%s'%s id='%s' to='%s'>%s</iq>"):format(kind, from, id, to, pick(contents)()), is_request, not is_request
end

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["hostile.capulet.lit"] = { roster = "get"; presence = "managed_entity"; iq = { ["urn:xmpp:ping"] = "get" } };
		["tybalt@capulet.lit"] = { roster = "get"; iq = { ["urn:xmpp:ping"] = "get" } };
	}
VirtualHost "montague.lit"
Component "hostile.capulet.lit"
	component_secret = "secret"
	validate_from_addresses = false
Component "pubsub.capulet.lit"
	component_secret = "secret"
]]
local roster_query = "<query xmlns='jabber:iq:roster'/>"

describe("Hostile entities and users", function()
	local server, juliet, streams

	setup(function()
		server = prosody.start {
			config = config,
			users = { "juliet@capulet.lit", "romeo@capulet.lit", "tybalt@capulet.lit", "romeo@montague.lit" },
			rosters = { ["juliet@capulet.lit"] = { ["nurse@capulet.lit"] = { subscription = "both", name = "Nurse" } } },
			log_level = "info",
		}
		juliet = server:client("juliet@capulet.lit/balcony", { roster = true, carbons = true })
	end)

	teardown(function()
		server:stop()
	end)

	-- A component and users, with a grant and without
	before_each(function()
		streams =
			{ server:component "hostile.capulet.lit", server:client "tybalt@capulet.lit/hall", server:client "romeo@capulet.lit/street" }
		juliet:sync():drain()
	end)

	after_each(function()
		juliet:nothing { name = "iq" }
		juliet:nothing { name = "message" }
		for _, stream in ipairs(streams) do
			stream:close()
		end
	end)

	it(("change nothing with %d malformed and half-right stanzas, and each request is answered once"):format(total), function()
		local memory_before = server:memory()
		local before = tostring(juliet:iq { type = "get", payload = roster_query }.tags[1])

		-- Since its version 2.6 the XML parser puts off a long tag that comes in pieces until there is as much again: more than
		-- the longest one there may be, in both directions
		local function padding(batch)
			local longest = 3000
			for id, text in pairs(batch.lines) do
				longest = math.max(longest, #text:match "^[^>]*", #(id or ""))
			end
			return ("<iq type='get' id='padding' from='%s' to='capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>")
				:format(batch.stream.jid)
				:rep(math.ceil(longest / 50))
		end

		-- A batch of stanzas from one of them, half of all from the component
		local function make_batch(first, last)
			local batch = { stream = streams[pick { 1, 1, 2, 3 }], lines = {}, answers = { [false] = 0 }, expected = { [false] = 0 } }
			batch.lines[false] = "the requests without an id"
			for i = first, last do
				local id = "fuzz" .. i .. (random(2000) == 1 and ("-long"):rep(4000) or "")
				local text, is_request, is_answer, has_no_id = make(batch.stream, id)
				table.insert(batch, text)
				if has_no_id then
					batch.expected[false] = batch.expected[false] + 1
				else
					batch.lines[id] = text
					batch.answers[id], batch.expected[id] = 0, is_request and 1 or is_answer and 0 or nil
				end
			end
			return batch
		end

		local function check(batch)
			local answers = batch.answers
			for _, stanza in ipairs(batch.stream:sync():drain()) do
				local id = stanza.attr.id or false
				if stanza.name == "iq" and answers[id] then
					assert.is_truthy(stanza.attr.type == "result" or stanza.attr.type == "error")
					answers[id] = answers[id] + 1
				end
			end
			for id, number in pairs(batch.expected) do
				if answers[id] ~= number then
					error(
						("%d answers instead of %d for %s (seed %d): %s"):format(
							answers[id],
							number,
							batch.stream.jid,
							seed,
							batch.lines[id]
						)
					)
				end
			end
		end

		local size, start = 500, socket.gettime()
		local batch
		for first = 1, total, size do
			-- the server is busy with one while the next is made
			local next_batch = make_batch(first, math.min(first + size - 1, total))
			if batch then
				check(batch)
			end
			batch = next_batch
			batch.stream:send(table.concat(batch) .. padding(batch))
			if total > 100000 and math.floor(first / total * 100) ~= math.floor((first + size) / total * 100) then
				io.stderr:write(("%d of %d stanzas, %d seconds\n"):format(first + size - 1, total, math.floor(socket.gettime() - start)))
			end
		end
		check(batch)

		juliet:nothing()
		assert.is_equal(before, tostring(juliet:iq { type = "get", payload = roster_query }.tags[1]))
		assert.is_equal("result", streams[1]:iq { type = "get", to = "juliet@capulet.lit", payload = roster_query }.attr.type)
		local growth = server:memory() - memory_before
		assert.is_true(growth < 8000, ("%.0f KiB"):format(growth))
	end)

	it("do no harm with elements in elements, thousands of levels deep", function()
		local deep = ("<a>"):rep(4000) .. ("</a>"):rep(4000)
		for i, stream in ipairs(streams) do
			local from = stream.kind == "component" and stream.jid or nil
			local function ask(text, outcome)
				stream:send(text)
				assert.is_equal(outcome, rosters.outcome(stream:expect { id = "deep" }):match "%S+$")
			end
			ask(
				privileged.message(
					{ id = "deep", from = from, to = "capulet.lit" },
					{ from = "juliet@capulet.lit", to = "juliet@capulet.lit", deep }
				),
				"forbidden"
			)
			ask(
				privileged.message({ id = "deep", from = from, to = "capulet.lit", content = deep }),
				i == 3 and "service-unavailable" or "forbidden"
			)
			ask(
				privileged.iq({ id = "deep", from = from, to = "juliet@capulet.lit", content = deep }),
				i == 3 and "forbidden" or "bad-request"
			)
			ask(
				privileged.iq(
					{ id = "deep", from = from, to = "juliet@capulet.lit", type = "set" },
					{ to = "capulet.lit", "<query xmlns='urn:x'>" .. deep .. "</query>" }
				),
				"forbidden"
			)
			ask(
				("<iq type='set' id='deep' to='juliet@capulet.lit' %s><query xmlns='jabber:iq:roster'><item jid='x@y'>%s</item></query></iq>"):format(
					from and ("from='%s'"):format(from) or "",
					deep
				),
				i == 3 and "service-unavailable" or "forbidden"
			)
			-- what is granted is done
			if i < 3 then
				stream:send(
					privileged.iq(
						{ id = "deep", from = from, to = "juliet@capulet.lit" },
						{ to = "capulet.lit", "<ping xmlns='urn:xmpp:ping'>" .. deep .. "</ping>" }
					)
				)
				privileged.unwrap(
					stream:expect { id = "deep" },
					{ id = "deep", from = "juliet@capulet.lit", to = stream.jid },
					{ type = "result", id = "inner", from = "capulet.lit", to = "juliet@capulet.lit" }
				)
			end
		end
	end)

	-- What is not well-formed XML, and what XMPP does not allow of XML
	for name, case in pairs {
		["an attribute twice"] = { "<iq type='get' id='x' id='y' to='juliet@capulet.lit'>" .. roster_query .. "</iq>" },
		["an attribute twice within"] = {
			"<iq type='get' id='x' to='juliet@capulet.lit'><query xmlns='jabber:iq:roster' ver='1' ver='2'/></iq>",
		},
		["a namespace twice"] = {
			"<message id='x' to='capulet.lit'><privilege xmlns='urn:xmpp:privilege:2' xmlns='urn:xmpp:privilege:1'/></message>",
		},
		["a prefix that stands for nothing"] = { "<message id='x' to='capulet.lit'><p:privilege/></message>" },
		["end tags that do not match"] = { "<message id='x' to='capulet.lit'><privilege></message></privilege>" },
		["a character that is none"] = { "<message id='&#0;' to='capulet.lit'/>" },
		["bytes that are no UTF-8"] = { "<message id='\255\254' to='capulet.lit'/>" },
		["an entity of its own"] = { "<message id='&own;' to='capulet.lit'/>" },
		["a comment"] = { "<message id='x' to='capulet.lit'><!-- no --></message>", "restricted-xml" },
		["a processing instruction"] = { "<message id='x' to='capulet.lit'><?no no?></message>", "restricted-xml" },
	} do
		it("end their streams with " .. name, function()
			for _, stream in ipairs { streams[1], streams[2] } do
				stream:sync():drain()
				stream:send(case[1])
				assert.has_error(function()
					stream:expect { id = "x" }
				end)
				assert.is_true(stream.closed)
				assert.is_truthy(stream.error == "not-well-formed" or stream.error == case[2], tostring(stream.error))
			end
		end)
	end
end)
