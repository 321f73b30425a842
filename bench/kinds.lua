-- The kinds of works: how the servers are set up for one, what is sent, and what has to come.
--
-- Each function gets the fields in which a work differs (see bench.works) and gives the whole work.

local catch_up = require "bench.catch_up"
local measure = require "bench.measure"
local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"
local socket = require "socket"
local traffic = require "bench.traffic"
local variants = require "bench.variants"

local three = { "native", "module", "community" }

local kinds = {}

-- Gives a work what it has in common with others of its kind, where it does not say otherwise
local function fill(work, common)
	for field, value in pairs(common) do
		if work[field] == nil then
			work[field] = value
		end
	end
	return work
end

local function component(server, name)
	return server:component(name .. "." .. server.host)
end

local function juliet_of(server, options)
	return server:client("juliet@" .. server.host .. "/balcony", options)
end

-- Messages

local body = "<body>Wherefore art thou Romeo? Deny thy father and refuse thy name.</body><request xmlns='urn:xmpp:receipts'/>"
local plain_message = "<message type='chat' id='mNUMBER' to='sink.HOST'>" .. body .. "</message>"
local privileged_message = "<message from='pubsub.HOST' to='HOST' id='wNUMBER'><privilege xmlns='urn:xmpp:privilege:2'>"
	.. "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='juliet@HOST' type='chat' id='mNUMBER' to='sink.HOST'>"
	.. body
	.. "</message></forwarded></privilege></message>"

-- Makes stanzas out of text with HOST and NUMBER in it
local function numbered(text, server)
	text = text:gsub("HOST", server.host)
	return function(i)
		return (text:gsub("NUMBER", tostring(i)))
	end
end

-- offline: the user has no client, but without a module; bystander: the message is none of the entity's
function kinds.message(work)
	return fill(work, {
		variants = three,
		basis = "native",
		count = 3000,
		slice = 100,
		users = { "juliet" },
		components = { "sink" },
		entities = { pubsub = "message = 'outgoing'" },
		open = function(server, variant)
			local is_plain = variant == "native" or work.bystander
			local juliet = (is_plain or not work.offline) and juliet_of(server)
			local pubsub, sink = component(server, "pubsub"), component(server, "sink")
			local from, sender = is_plain and juliet or pubsub, is_plain and juliet.jid or "juliet@" .. server.host
			local make = numbered(is_plain and plain_message or privileged_message, server)
			local function check(stanza)
				return stanza.name == "message" and stanza.attr.type == "chat" and stanza.attr.from == sender and #stanza.tags == 2
			end
			return function(first, last)
				traffic.send(from, first, last, make)
				traffic.receive { { sink, last - first + 1, check }, { from, 0, check } }
			end
		end,
	})
end

-- Iqs

local ping = "<ping xmlns='urn:xmpp:ping'/>"
local plain_iq = "<iq type='get' id='qNUMBER' to='HOST'>" .. ping .. "</iq>"
local privileged_iq = "<iq type='get' id='qNUMBER' from='pubsub.HOST' to='juliet@HOST'><privileged_iq xmlns='urn:xmpp:privilege:2'>"
	.. "<iq xmlns='jabber:client' type='get' id='q' to='HOST'>"
	.. ping
	.. "</iq></privileged_iq></iq>"

-- The answer that came to a privileged iq, or the stanza itself
local function unwrapped(stanza)
	local privilege = stanza:get_child("privilege", "urn:xmpp:privilege:2")
	local forwarded = privilege and privilege:get_child("forwarded", "urn:xmpp:forward:0")
	return forwarded and forwarded.tags[1] or stanza
end

-- offline: the user has no client, but without a module
function kinds.iq(work)
	return fill(work, {
		variants = three,
		basis = "native",
		target = 1.6,
		count = 2000,
		slice = 100,
		users = { "juliet" },
		entities = { pubsub = "iq = { ['urn:xmpp:ping'] = 'get' }" },
		open = function(server, variant)
			local is_plain = variant == "native"
			local juliet = (is_plain or not work.offline) and juliet_of(server)
			local pubsub = component(server, "pubsub")
			local stream = is_plain and juliet or pubsub
			local make = numbered(is_plain and plain_iq or privileged_iq, server)
			local function check(stanza)
				local answer = is_plain and stanza or unwrapped(stanza)
				return stanza.name == "iq"
					and stanza.attr.type == "result"
					and answer.name == "iq"
					and answer.attr.type == "result"
					and answer.attr.from == server.host
			end
			return function(first, last)
				traffic.send(stream, first, last, make)
				traffic.receive { { stream, last - first + 1, check } }
			end
		end,
	})
end

-- Rosters

local function roster(count, jid)
	local items = {}
	for i = 1, count do
		items[jid:format(i)] = { subscription = "both", name = "Contact " .. i, groups = { "Group " .. i % 10 } }
	end
	return items
end

-- A query of one's own roster, or of juliet's
local function roster_iq(variant, kind, items)
	local addresses = variant == "native" and "" or " from='pubsub.HOST' to='juliet@HOST'"
	return "<iq type='" .. kind .. "' id='rNUMBER'" .. addresses .. "><query xmlns='jabber:iq:roster'>" .. items .. "</query></iq>"
end

local function is_push(stanza)
	local items = stanza.tags[1]
	return stanza.name == "iq" and stanza.attr.type == "set" and items.attr.xmlns == "jabber:iq:roster" and #items.tags == 1
end

-- Makes a check for answers, in the order of the requests, and pushes
local function are_answers(first)
	local next_one = first
	return function(stanza)
		if is_push(stanza) then
			return true
		end
		next_one = next_one + 1
		return stanza.name == "iq" and stanza.attr.type == "result" and stanza.attr.id == "r" .. next_one - 1
	end
end

function kinds.roster_get(work)
	return fill(work, {
		variants = three,
		basis = "native",
		target = 0.8,
		count = 24,
		slice = 4,
		users = { "juliet" },
		rosters = function()
			return { juliet = roster(1000, "contact%d@montague.lit") }
		end,
		entities = { pubsub = "roster = 'both'" },
		open = function(server, variant)
			local juliet = juliet_of(server, { roster = true })
			local pubsub = component(server, "pubsub")
			local stream, make = variant == "native" and juliet or pubsub, numbered(roster_iq(variant, "get", ""), server)
			local function check(stanza)
				local items = stanza.tags[1]
				return stanza.name == "iq" and stanza.attr.type == "result" and items and #items.tags == 1000 and #items.tags[1].tags == 1
			end
			return function(first, last)
				traffic.send(stream, first, last, make)
				traffic.receive { { stream, last - first + 1, check } }
			end
		end,
	})
end

-- items: how many the roster has; single: each set is sent only when the one before it was answered;
-- pushes: the module pushes to the entity too what has changed; offline: the user has no client, but without a module
function kinds.roster_set(work)
	return fill(work, {
		variants = three,
		basis = "community",
		target = work.single and 0.85 or 0.35,
		count = work.items > 100 and 60 or 240,
		slice = work.single and 10 or 20,
		users = { "juliet" },
		rosters = function()
			return { juliet = roster(work.items, "contact%d@montague.lit") }
		end,
		entities = { pubsub = "roster = 'both', roster_push = " .. tostring(work.pushes or false) },
		open = function(server, variant)
			local native = variant == "native"
			local juliet = (native or not work.offline) and juliet_of(server, { roster = true })
			local pubsub = component(server, "pubsub")
			local make = numbered(
				roster_iq(variant, "set", "<item jid='contactINDEX@montague.lit' name='Contact, the NUMBERth'><group>Verona</group></item>"),
				server
			)
			local function make_set(i)
				return (make(i):gsub("INDEX", tostring(i % work.items + 1)))
			end
			local function set(first, last)
				local count = last - first + 1
				local is_answered_with_push = native or work.pushes and variant == "module"
				local expected = { { native and juliet or pubsub, is_answered_with_push and 2 * count or count, are_answers(first) } }
				if juliet and not native then
					expected[2] = { juliet, count, is_push }
				end
				traffic.send(expected[1][1], first, last, make_set)
				traffic.receive(expected)
			end
			return not work.single and set or function(first, last)
				for i = first, last do
					set(i, i)
				end
			end
		end,
	})
end

-- Presences

-- names: the entities; permissions: those of each; covered: whether this module tells them
function kinds.presence(work)
	local entities = {}
	for _, name in ipairs(work.names) do
		entities[name] = work.permissions
	end
	return fill(work, {
		variants = three,
		basis = "native",
		count = 1200,
		slice = 60,
		users = { "juliet", "nurse" },
		entities = entities,
		-- In place of the entities the nurse has the components as contacts that see her presence
		rosters = function(host)
			local items = {}
			for _, name in ipairs(work.names) do
				items[name .. "." .. host] = { subscription = "from" }
			end
			return { nurse = items }
		end,
		open = function(server, variant)
			local name = variant == "native" and work.covered and "nurse" or "juliet"
			local client = server:client(name .. "@" .. server.host .. "/balcony", { presence = traffic.presence "Here" })
			local receivers = {}
			for i, watcher in ipairs(work.names) do
				receivers[i] = component(server, watcher)
			end
			traffic.introduce(client)
			local check = traffic.is_presence "Number "
			local is_told = work.covered or variant == "community"
			return function(first, last)
				local count = last - first + 1
				local expected = { { client, count, check } }
				for _, stream in ipairs(receivers) do
					table.insert(expected, { stream, is_told and count or 0, check })
				end
				traffic.send(client, first, last, function(i)
					return traffic.presence("Number " .. i)
				end)
				traffic.receive(expected)
			end
		end,
	})
end

-- A contact of another server

local remote_name, remote_users = "mantua.lit", 50
local remote

local function user_names(count)
	local names = {}
	for i = 1, count do
		names[i] = "user" .. i
	end
	return names
end

-- The server of the contacts, which is not measured. It knows one of them for each variant.
local function open_remote()
	local users, rosters = {}, {}
	for i, variant in ipairs(three) do
		local jid = variant .. "@" .. remote_name
		users[i], rosters[jid] = jid, roster(remote_users, "user%d@" .. variants.hosts[variant])
	end
	return prosody.start {
		config = ("VirtualHost %q"):format(remote_name),
		modules = {},
		s2s = true,
		log_level = "info",
		users = users,
		rosters = rosters,
	}
end

-- Has the users' server know the contact's client: it asks what that is until it has been told
local function get_known(contact)
	local deadline = socket.gettime() + 10
	repeat
		traffic.introduce(contact)
		contact:send(traffic.presence("Again " .. socket.gettime()))
		socket.sleep(0.2)
		local asked = false
		for _, stanza in ipairs(contact:sync().queue) do
			asked = asked or stanza.name == "iq"
		end
		assert(socket.gettime() < deadline, "the users' server keeps asking the contact's client what it is")
	until not asked
	contact:drain()
end

function kinds.contact(work)
	return fill(work, {
		variants = three,
		basis = "native",
		target = 1.12,
		count = 40,
		slice = 4,
		pieces = remote_users,
		s2s = true,
		users = user_names(remote_users),
		rosters = function(host)
			local rosters = {}
			for _, name in ipairs(user_names(remote_users)) do
				rosters[name] = {}
				for _, variant in ipairs(three) do
					if host == variants.hosts[variant] then
						rosters[name][variant .. "@" .. remote_name] = { subscription = "both" }
					end
				end
			end
			return rosters
		end,
		entities = { pubsub = "roster = 'get', presence = 'roster'" },
		start = function()
			remote = open_remote()
		end,
		open = function(server, variant)
			local streams = {}
			for i, name in ipairs(user_names(remote_users)) do
				streams[i] = server:client(name .. "@" .. server.host .. "/balcony")
			end
			local pubsub = component(server, "pubsub")
			local contact = remote:client(variant .. "@" .. remote_name .. "/orchard", { presence = traffic.presence "Here" })
			local is_here = traffic.is_presence "Here"
			for _, stream in ipairs(streams) do
				stream:expect(function(stanza)
					return is_here(stanza) and stanza.attr.from == contact.jid
				end, 20)
			end
			get_known(contact)
			if variant ~= "native" then
				table.insert(streams, pubsub)
			end
			local check = traffic.is_presence "Number "
			return function(first, last)
				local count = last - first + 1
				local expected = { { contact, count, check } }
				for _, stream in ipairs(streams) do
					table.insert(expected, { stream, count, check })
				end
				traffic.send(contact, first, last, function(i)
					return traffic.presence("Number " .. i)
				end)
				traffic.receive(expected)
			end
		end,
	})
end

-- Catch-up

-- online: how many users are; first: the entity connects for the first time, else it was told of the users before
function kinds.catch_up(work)
	return fill(work, {
		variants = { "module", "community" },
		basis = "community",
		target = 0.45,
		slice = work.online,
		entities = { pubsub = "presence = 'managed_entity'" },
		open = function(server)
			local function connect(count)
				local stream = catch_up.component(server, "pubsub." .. server.host)
				stream:shake_hands()
				stream:wait(count)
				return stream
			end
			if work.first then
				catch_up.make_sessions(server, work.online, 0)
			else
				local stream = connect(0)
				presences.settle(server)
				catch_up.make_sessions(server, work.online, 0, true)
				stream:wait(work.online)
				stream:close(work.online)
			end
			return function()
				local stream = connect(work.online)
				return function()
					stream:close(work.online)
				end
			end
		end,
	})
end

-- This module twice: for who opted in, and for all. The users who are online have 20 contacts each.
function kinds.opted_catch_up(work)
	return fill(work, {
		variants = { "module", "all" },
		basis = "all",
		count = 1,
		slice = 1,
		boots = 3,
		quick_boots = 1,
		users = user_names(work.accounts),
		entities = function(variant)
			return { pubsub = "roster = 'get', presence = 'roster', users = '" .. (variant == "all" and "all" or "opted-in") .. "'" }
		end,
		open = function(server, variant)
			server:eval(([[
				local store = module:open_store "privilege";
				for i = 1, %d do
					assert(store:set("user" .. i * %d, { ["pubsub." .. module.host] = { state = "in", since = 0, by = "bench" } }));
				end
			]]):format(work.opted_in, math.floor(work.online / work.opted_in)))
			server:reload_module "privilege"
			catch_up.make_sessions(server, work.online, 20)
			return function()
				local stream = catch_up.component(server, "pubsub." .. server.host)
				stream:shake_hands()
				stream:wait(work.opted_in)
				measure.settle(server, 0.3, function()
					stream:read()
				end)
				return function()
					stream:close(variant == "all" and work.online or work.opted_in)
				end
			end
		end,
	})
end

-- online: how many users are; accounts: how many there are; contacts: how many each of those online and of those with an account has
function kinds.wait(work)
	local users = user_names(work.accounts)
	table.insert(users, "romeo")
	return fill(work, {
		variants = { "module", "community" },
		unit = "ms",
		boots = 3,
		quick_boots = 1,
		users = users,
		rosters = function(host)
			local rosters = {}
			for i = work.online + 1, work.accounts do
				rosters["user" .. i] = roster(work.contacts, "user%d@" .. host)
			end
			return rosters
		end,
		entities = { pubsub = work.permissions },
		open = function(server)
			catch_up.make_sessions(server, work.online, work.contacts)
			local romeo = server:client("romeo@" .. server.host .. "/orchard", { presence = false })
			return function()
				return catch_up.longest_wait(server, "pubsub." .. server.host, work.online, romeo)
			end
		end,
	})
end

-- Memory

-- contacts: how many are known; resources: how many clients each of them has
function kinds.memory(work)
	return fill(work, {
		variants = { "module" },
		unit = "bytes",
		boots = 1,
		users = { "juliet" },
		rosters = function()
			return { juliet = roster(work.contacts, "contact%d@other-server.example") }
		end,
		entities = { pubsub = "roster = 'get', presence = 'roster'" },
		open = function(server)
			-- There is nobody to answer what the contacts are asked
			server:eval "module:hook('route/remote', function () return true; end, 1000)"
			local juliet, pubsub = juliet_of(server), component(server, "pubsub")
			local check = traffic.is_presence "Number "
			local memory = "collectgarbage() collectgarbage() return collectgarbage 'count'"
			local step, last = 100, work.contacts * work.resources
			return function()
				local before = server:eval(memory)
				for first = 1, last, step do
					server:eval(([[
						local xml = require "util.xml";
						local origin = { type = "s2sin", from_host = "other-server.example", to_host = module.host, log = module._log,
							hosts = {}, send = function () return true; end };
						for i = %d, %d do
							local stanza = xml.parse((string.gsub(%q, "NUMBER", tostring(i))));
							local contact, resource = math.floor((i - 1) / %d) + 1, "Conversations." .. 10000 + i;
							stanza.attr.from, stanza.attr.to = "contact" .. contact .. "@other-server.example/" .. resource, "juliet@" .. module.host;
							prosody.core_post_stanza(origin, stanza);
						end
					]]):format(first, first + step - 1, traffic.presence "Number NUMBER", work.resources))
					traffic.receive { { juliet, step, check } }
					pubsub:sync():drain()
				end
				return (server:eval(memory) - before) * 1024 / work.contacts
			end
		end,
	})
end

return kinds
