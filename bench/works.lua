-- The works that are measured.
--
-- A work is a table: name; short, the same for a picture; key; variants, a list; basis, the variant that the others are compared with;
-- target, the greatest ratio that is wanted of this module; count, how many pieces of work a round has, and slice, how
-- many of these are done in a turn; what bench.variants needs to start the servers; and open, a function that gets
-- a server and the variant's name and gives the function that does the pieces numbered first to last. That one
-- checks that all has been done, and may return a function that cleans up.
--
-- Further: pieces, by how many the figures are divided; rounds, quick_rounds and quick_count, where they are not as usual;
-- thorough, for one that is not done where that takes too long.
-- A work without slice gives its figure itself: unit is what it is in, limit the greatest figure that is wanted.

local catch_up = require "bench.catch_up";
local prosody = require "spec.support.prosody";
local socket = require "socket";
local traffic = require "bench.traffic";
local variants = require "bench.variants";

local three = { "native", "module", "community" };

local function open_components(server, names)
	local list = {};
	for i, name in ipairs(names) do
		list[i] = server:component(name .. "." .. server.host);
	end
	return list;
end

local works = {};

-- Messages

local body = "<body>Wherefore art thou Romeo? Deny thy father and refuse thy name.</body><request xmlns='urn:xmpp:receipts'/>";

local function is_message(from)
	return function (stanza)
		return stanza.name == "message" and stanza.attr.type == "chat" and stanza.attr.from == from and #stanza.tags == 2;
	end
end

local function plain_message(server)
	return function (i)
		return ("<message type='chat' id='m%d' to='sink.%s'>%s</message>"):format(i, server.host, body);
	end
end

local function privileged_message(server)
	local host = server.host;
	local text = "<message from='pubsub." .. host .. "' to='" .. host .. "' id='w%d'><privilege xmlns='urn:xmpp:privilege:2'>"
		.. "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='juliet@" .. host .. "' type='chat' id='m%d' to='sink."
		.. host .. "'>" .. body .. "</message></forwarded></privilege></message>";
	return function (i)
		return text:format(i, i);
	end
end

local function send_messages(from, sink, make, sender)
	local check = is_message(sender);
	return function (first, last)
		traffic.send(from, first, last, make);
		traffic.receive { { sink, last - first + 1, check }, { from, 0, check } };
	end
end

table.insert(works, {
	name = "Privileged message to a component";
	short = "Message";
	key = "message";
	variants = three, basis = "native", target = 1.45;
	count = 4000, slice = 200;
	users = { "juliet" };
	components = { "pubsub", "sink" };
	entities = { pubsub = "message = 'outgoing'" };
	open = function (server, variant)
		local juliet = server:client("juliet@" .. server.host .. "/balcony");
		local pubsub, sink = table.unpack(open_components(server, { "pubsub", "sink" }));
		if variant == "native" then
			return send_messages(juliet, sink, plain_message(server), juliet.jid);
		end
		return send_messages(pubsub, sink, privileged_message(server), "juliet@" .. server.host);
	end;
});

-- Iqs

table.insert(works, {
	name = "Privileged iq to the host";
	short = "Iq";
	key = "iq";
	variants = three, basis = "native", target = 1.6;
	count = 3000, slice = 150;
	users = { "juliet" };
	components = { "pubsub" };
	entities = { pubsub = "iq = { ['urn:xmpp:ping'] = 'get' }" };
	open = function (server, variant)
		local host = server.host;
		local juliet = server:client("juliet@" .. host .. "/balcony");
		local pubsub = open_components(server, { "pubsub" })[1];
		local native = variant == "native";
		local stream = native and juliet or pubsub;
		local ping = "<ping xmlns='urn:xmpp:ping'/>";
		local text = "<iq type='get' id='q%d' to='" .. host .. "'>" .. ping .. "</iq>";
		if not native then
			text = "<iq type='get' id='q%d' from='pubsub." .. host .. "' to='juliet@" .. host .. "'><privileged_iq xmlns='urn:xmpp:privilege:2'>"
				.. "<iq xmlns='jabber:client' type='get' id='q' to='" .. host .. "'>" .. ping .. "</iq></privileged_iq></iq>";
		end
		local function check(stanza)
			local answer = stanza;
			if not native then
				local privilege = stanza:get_child("privilege", "urn:xmpp:privilege:2");
				local forwarded = privilege and privilege:get_child("forwarded", "urn:xmpp:forward:0");
				answer = forwarded and forwarded.tags[1] or stanza;
			end
			return stanza.name == "iq" and stanza.attr.type == "result" and answer.name == "iq" and answer.attr.type == "result"
				and answer.attr.from == host;
		end
		return function (first, last)
			traffic.send(stream, first, last, function (i) return text:format(i); end);
			traffic.receive { { stream, last - first + 1, check } };
		end
	end;
});

-- Rosters

local function roster(count, jid)
	local items = {};
	for i = 1, count do
		items[jid:format(i)] = { subscription = "both", name = "Contact " .. i, groups = { "Group " .. i % 10 } };
	end
	return items;
end

-- The start of an iq to one's own roster, or to that of somebody else
local function roster_iq(server, variant, kind, owner)
	if variant == "native" then
		return "<iq type='" .. kind .. "' id='r%d'><query xmlns='jabber:iq:roster'>";
	end
	return "<iq type='" .. kind .. "' id='r%d' from='pubsub." .. server.host .. "' to='" .. owner .. "@" .. server.host
		.. "'><query xmlns='jabber:iq:roster'>";
end

table.insert(works, {
	name = "Roster get of 1000 items";
	short = "Roster get, 1000 items";
	key = "roster-get";
	variants = three, basis = "native", target = 0.8;
	count = 40, slice = 4;
	users = { "juliet" };
	rosters = function () return { juliet = roster(1000, "contact%d@montague.lit") }; end;
	components = { "pubsub" };
	entities = { pubsub = "roster = 'both'" };
	open = function (server, variant)
		local juliet = server:client("juliet@" .. server.host .. "/balcony", { roster = true });
		local pubsub = open_components(server, { "pubsub" })[1];
		local stream = variant == "native" and juliet or pubsub;
		local text = roster_iq(server, variant, "get", "juliet") .. "</query></iq>";
		local function check(stanza)
			local items = stanza.tags[1];
			return stanza.name == "iq" and stanza.attr.type == "result" and items and #items.tags == 1000 and #items.tags[1].tags == 1;
		end
		return function (first, last)
			traffic.send(stream, first, last, function (i) return text:format(i); end);
			traffic.receive { { stream, last - first + 1, check } };
		end
	end;
});

local function is_push(stanza)
	local items = stanza.tags[1];
	return stanza.name == "iq" and stanza.attr.type == "set" and items.attr.xmlns == "jabber:iq:roster" and #items.tags == 1;
end

local function is_result(stanza)
	return stanza.name == "iq" and stanza.attr.type == "result";
end

-- What is different: target; storage; pushes, whether the module pushes to the entity too what has changed; and
-- single, whether each set is sent only when the one before it was answered
local function roster_set(name, key, different)
	local pushes, permissions = different.pushes, "roster = 'both', roster_push = " .. tostring(different.pushes or false);
	return {
		name = name, short = name;
		key = key;
		variants = three, basis = "community", target = different.target;
		count = 300, slice = 20;
		users = { "juliet" };
		storage = different.storage;
		rosters = function () return { juliet = roster(100, "contact%d@montague.lit") }; end;
		components = { "pubsub" };
		entities = { pubsub = permissions };
		open = function (server, variant)
			local juliet = server:client("juliet@" .. server.host .. "/balcony", { roster = true });
			local pubsub = open_components(server, { "pubsub" })[1];
			local native, pushed = variant == "native", pushes and variant == "module";
			local text = roster_iq(server, variant, "set", "juliet") .. "<item jid='contact%d@montague.lit' name='Contact, the %dth'>"
				.. "<group>Verona</group></item></query></iq>";
			local function is_result_or_push(stanza)
				return is_result(stanza) or is_push(stanza);
			end
			local function send(first, last)
				local count = last - first + 1;
				traffic.send(native and juliet or pubsub, first, last, function (i) return text:format(i, i % 100 + 1, i); end);
				if native then
					traffic.receive { { juliet, 2 * count, is_result_or_push } };
				else
					traffic.receive {
						{ pubsub, pushed and 2 * count or count, pushed and is_result_or_push or is_result };
						{ juliet, count, is_push };
					};
				end
			end
			return not different.single and send or function (first, last)
				for i = first, last do
					send(i, i);
				end
			end;
		end;
	};
end

table.insert(works, roster_set("Roster set", "roster-set", { target = 0.6 }));
table.insert(works, roster_set("Roster set, pushed to the entity", "roster-push", { target = 0.6, pushes = true }));
table.insert(works, roster_set("Roster set, SQL", "roster-sql", { target = 0.6, storage = "sql" }));
table.insert(works, roster_set("Roster set, one at a time", "roster-single", { single = true }));

-- Presences

local watchers = { "pubsub", "gateway", "archive", "games" };

table.insert(works, {
	name = "Presence change seen by four entities";
	short = "Presence, to 4 entities";
	key = "presence";
	variants = three, basis = "native", target = 0.8;
	count = 1500, slice = 75;
	-- In place of the entities the nurse has four components as contacts that see her presence
	users = { "juliet", "nurse" };
	rosters = function (host)
		local items = {};
		for _, name in ipairs(watchers) do
			items[name .. "." .. host] = { subscription = "from" };
		end
		return { nurse = items };
	end;
	components = watchers;
	entities = {
		pubsub = "presence = 'managed_entity'", gateway = "presence = 'managed_entity'",
		archive = "presence = 'managed_entity'", games = "presence = 'managed_entity'",
	};
	open = function (server, variant)
		local client = server:client((variant == "native" and "nurse@" or "juliet@") .. server.host .. "/balcony", { presence = traffic.presence "Here" });
		local components = open_components(server, watchers);
		traffic.introduce(client);
		local check = traffic.is_presence "Number ";
		return function (first, last)
			local count = last - first + 1;
			local expected = { { client, count, check } };
			for _, stream in ipairs(components) do
				table.insert(expected, { stream, count, check });
			end
			traffic.send(client, first, last, function (i) return traffic.presence("Number " .. i); end);
			traffic.receive(expected);
		end
	end;
});

-- A contact of another server

local remote_name = "mantua.lit";
local remote_users = 50;
local remote = {};

-- The server of the contacts, which is not measured. It knows one of them for each variant.
local function open_remote()
	local users, rosters = {}, {};
	for i, variant in ipairs(three) do
		local jid, items = variant .. "@" .. remote_name, {};
		for j = 1, remote_users do
			items[("user%d@%s"):format(j, variants.hosts[variant])] = { subscription = "both" };
		end
		users[i], rosters[jid] = jid, items;
	end
	return prosody.start {
		config = ("VirtualHost %q"):format(remote_name), modules = {}, s2s = true, log_level = "info", users = users, rosters = rosters;
	};
end

local function remote_user_names()
	local names = {};
	for i = 1, remote_users do
		names[i] = "user" .. i;
	end
	return names;
end

table.insert(works, {
	name = "A remote contact's presence to 50 users, each";
	short = "Contact's presence, to 50 users";
	key = "contact";
	variants = three, basis = "native";
	count = 40, slice = 4, pieces = remote_users;
	s2s = true;
	users = remote_user_names();
	rosters = function (host)
		local rosters = {};
		for _, name in ipairs(remote_user_names()) do
			rosters[name] = {};
			for _, variant in ipairs(three) do
				if host == variants.hosts[variant] then
					rosters[name][variant .. "@" .. remote_name] = { subscription = "both" };
				end
			end
		end
		return rosters;
	end;
	components = { "pubsub" };
	entities = { pubsub = "roster = 'get', presence = 'roster'" };
	start = function ()
		remote.server = open_remote();
	end;
	stop = function ()
		remote.server:stop();
	end;
	open = function (server, variant)
		local streams = {};
		for i = 1, remote_users do
			streams[i] = server:client(("user%d@%s/balcony"):format(i, server.host));
		end
		local pubsub = open_components(server, { "pubsub" })[1];
		local contact = remote.server:client(variant .. "@" .. remote_name .. "/orchard", { presence = traffic.presence "Here" });
		local is_here = traffic.is_presence "Here";
		for _, stream in ipairs(streams) do
			stream:expect(function (stanza) return is_here(stanza) and stanza.attr.from == contact.jid; end, 20);
		end
		-- The users' servers know its client then
		local deadline = socket.gettime() + 10;
		repeat
			traffic.introduce(contact);
			contact:send(traffic.presence("Again " .. socket.gettime()));
			socket.sleep(0.2);
			local asked = false;
			for _, stanza in ipairs(contact:sync().queue) do
				asked = asked or stanza.name == "iq";
			end
			assert(socket.gettime() < deadline, "the users' server keeps asking the contact's client what it is");
		until not asked;
		contact:drain();
		if variant ~= "native" then
			table.insert(streams, pubsub);
		end
		local check = traffic.is_presence "Number ";
		return function (first, last)
			local count = last - first + 1;
			local expected = { { contact, count, check } };
			for _, stream in ipairs(streams) do
				table.insert(expected, { stream, count, check });
			end
			traffic.send(contact, first, last, function (i) return traffic.presence("Number " .. i); end);
			traffic.receive(expected);
		end
	end;
});

-- Catch-up

local function catch_up_work(users, count)
	return {
		name = ("Catch-up with %d users who are online, each"):format(users);
		short = ("Catch-up, %d users, each"):format(users);
		key = "catch-up-" .. users;
		variants = { "module", "community" }, basis = "community", target = 0.5;
		count = count, slice = users, quick_rounds = users > 1000 and 1 or nil;
		components = { "pubsub" };
		entities = { pubsub = "presence = 'managed_entity'" };
		open = function (server)
			catch_up.make_sessions(server, users, 0);
			return function ()
				local stream = catch_up.component(server, "pubsub." .. server.host);
				stream:shake_hands();
				stream:wait(users);
				return function ()
					stream:close(users);
				end
			end
		end;
		close = catch_up.remove_sessions;
	};
end

table.insert(works, catch_up_work(300, 1500));
table.insert(works, catch_up_work(10000, 10000));

table.insert(works, {
	name = "Longest wait of a ping while 10000 users are caught up with";
	key = "wait";
	variants = { "module", "community" };
	unit = "ms", limit = 50, quick_rounds = 1;
	users = { "romeo" };
	components = { "pubsub" };
	entities = { pubsub = "presence = 'managed_entity'" };
	open = function (server)
		catch_up.make_sessions(server, 10000, 0);
		local romeo = server:client("romeo@" .. server.host .. "/orchard", { presence = false });
		return function ()
			return catch_up.longest_wait(server, "pubsub." .. server.host, 10000, romeo);
		end
	end;
	close = catch_up.remove_sessions;
});

local function account_names(count)
	local names = { "romeo" };
	for i = 1, count do
		table.insert(names, "user" .. i);
	end
	return names;
end

table.insert(works, {
	name = "The same with the contacts of these and of 1000 users who are offline";
	key = "wait-contacts";
	variants = { "module", "community" };
	unit = "ms", thorough = true;
	users = account_names(11000);
	rosters = function (host)
		local rosters = {};
		for i = 10001, 11000 do
			rosters["user" .. i] = roster(20, "user%d@" .. host);
		end
		return rosters;
	end;
	components = { "pubsub" };
	entities = { pubsub = "roster = 'get', presence = 'roster'" };
	open = function (server)
		catch_up.make_sessions(server, 10000, 20);
		local romeo = server:client("romeo@" .. server.host .. "/orchard", { presence = false });
		return function ()
			return catch_up.longest_wait(server, "pubsub." .. server.host, 10000, romeo);
		end
	end;
	close = catch_up.remove_sessions;
});

-- Others

table.insert(works, {
	name = "A bystander's message to a component";
	short = "Bystander's message";
	key = "bystander";
	variants = three, basis = "native", target = 1.03;
	count = 4000, slice = 50, quick_count = 3000;
	users = { "juliet" };
	components = { "pubsub", "sink" };
	entities = { pubsub = "roster = 'both', message = 'outgoing', presence = 'managed_entity', iq = { ['urn:xmpp:ping'] = 'both' }" };
	open = function (server)
		local juliet = server:client("juliet@" .. server.host .. "/balcony");
		local sink = open_components(server, { "sink", "pubsub" })[1];
		return send_messages(juliet, sink, plain_message(server), juliet.jid);
	end;
});

local known_contacts = 10000;

table.insert(works, {
	name = "Memory for a contact whose presence is known";
	key = "memory";
	variants = { "native", "module" };
	unit = "bytes", limit = 1024;
	rounds = 1;
	beside = "native";
	users = { "juliet" };
	rosters = function () return { juliet = roster(known_contacts, "contact%d@other-server.example") }; end;
	components = { "pubsub" };
	entities = { pubsub = "roster = 'get', presence = 'roster'" };
	open = function (server, variant)
		-- There is nobody to answer what the contacts are asked
		server:eval "module:hook('route/remote', function () return true; end, 1000)";
		local juliet = server:client("juliet@" .. server.host .. "/balcony");
		local pubsub = open_components(server, { "pubsub" })[1];
		local check = traffic.is_presence "Number ";
		local step = 100;
		return function ()
			local memory = "collectgarbage() collectgarbage() return collectgarbage 'count'";
			local before = server:eval(memory);
			for first = 1, known_contacts, step do
				server:eval(([[
					local xml = require "util.xml";
					local origin = { type = "s2sin", from_host = "other-server.example", to_host = module.host, log = module._log,
						hosts = {}, send = function () return true; end };
					for i = %d, %d do
						local stanza = xml.parse((string.gsub(%q, "NUMBER", tostring(i))));
						stanza.attr.from, stanza.attr.to = "contact" .. i .. "@other-server.example/Conversations.x2Fq", "juliet@" .. module.host;
						prosody.core_post_stanza(origin, stanza);
					end
				]]):format(first, first + step - 1, traffic.presence "Number NUMBER"));
				traffic.receive { { juliet, step, check }, { pubsub, variant == "native" and 0 or step, check } };
			end
			return (server:eval(memory) - before) * 1024 / known_contacts;
		end
	end;
});

return works;
