-- Malformed and half-right privileged stanzas from entities, made up by a seeded generator: `FUZZ=1000000` for more of
-- them, `SEED=…` for others. Whatever comes, the server answers each request once, and nothing else happens.

local prosody = require "spec.support.prosody";

local total = tonumber(os.getenv "FUZZ") or 20000;
local seed = tonumber(os.getenv "SEED") or 356;

-- The same numbers with every Lua (Park and Miller's generator)
local state = seed;
local function random(n)
	state = (state * 16807) % 2147483647;
	return state % n + 1;
end

local function pick(list)
	return list[random(#list)];
end

local jids = {
	"juliet@capulet.lit", "JULIET@Capulet.LIT", "juliet@capulet.lit/balcony", "juliet@capulet.lit/none", "nobody@capulet.lit",
	"capulet.lit", "montague.lit", "romeo@montague.lit", "hostile.capulet.lit", "x@hostile.capulet.lit", "pubsub.capulet.lit",
	"pending", "@", "/", "@capulet.lit", "capulet.lit/", "a@b@c", "juliet@", "", " ", "juliet@capulet.lit/" .. ("r"):rep(1100),
	("n"):rep(1100) .. "@capulet.lit", "j\195\188liet@capulet.lit", "juli&quot;et@capulet.lit", "&#10;@capulet.lit", "romeo@capulet.lit",
	"[::1]", "127.0.0.1", "xn--caplet-4ya.lit", "\226\132\170@capulet.lit",
};

local namespaces = {
	"urn:xmpp:privilege:2", "urn:xmpp:privilege:1", "urn:xmpp:privilege:3", "urn:xmpp:forward:0", "jabber:client", "jabber:iq:roster",
	"jabber:component:accept", "jabber:server", "", "urn:xmpp:ping", "http://jabber.org/protocol/pubsub", "urn:example&amp;'",
};

local names = {
	"privilege", "forwarded", "message", "iq", "presence", "query", "item", "group", "privileged_iq", "ping", "perm", "body", "error", "delay",
};

local types = { "get", "set", "result", "error", "chat", "groupchat", "headline", "normal", "unavailable", "probe", "subscribe", "nonsense", "" };

local attributes = { "to", "from", "type", "id", "jid", "subscription", "ask", "name", "ver", "approved", "xml:lang", "node" };

local subscriptions = { "none", "to", "from", "both", "remove", "both ", "" };

local function escape(text)
	return (text:gsub("'", "&apos;"):gsub("<", "&lt;"));
end

local function value(attribute)
	if attribute == "to" or attribute == "from" or attribute == "jid" then
		return pick(jids);
	elseif attribute == "type" then
		return pick(types);
	elseif attribute == "subscription" then
		return pick(subscriptions);
	end
	return pick { "x", "", "juliet", ("long"):rep(300), "0", "-1", "1e9", "%s%n", "&#9;&#10;", "\240\159\152\128" };
end

local function random_attributes(without)
	local text, seen = "", { xmlns = true, [without or ""] = true };
	for _ = 1, random(4) - 1 do
		local name = pick(attributes);
		if not seen[name] then
			seen[name] = true;
			text = text .. (" %s='%s'"):format(name, escape(value(name)));
		end
	end
	if random(3) > 1 then
		text = text .. (" xmlns='%s'"):format(escape(pick(namespaces)));
	end
	return text;
end

local function element(depth)
	local content = {};
	if depth > 0 then
		for _ = 1, random(3) - 1 do
			table.insert(content, random(5) == 1 and "text &lt; " or element(depth - 1));
		end
	end
	local name = pick(names);
	return ("<%s%s>%s</%s>"):format(name, random_attributes(), table.concat(content), name);
end

-- Leaves something out of a good stanza, puts something in, or swaps a part for another
local function damage(text)
	local how = random(6);
	if how == 1 then
		return (text:gsub(" [%w:]+='[^']*'", "", 1));
	elseif how == 2 then
		return (text:gsub("(xmlns=)'[^']*'", "%1'" .. escape(pick(namespaces)):gsub("%%", "%%%%") .. "'", 1));
	elseif how == 3 then
		local jid = escape(pick(jids)):gsub("%%", "%%%%");
		return (text:gsub("(from=)'[^']*'", "%1'" .. jid .. "'", 1));
	elseif how == 4 then
		local jid = escape(pick(jids)):gsub("%%", "%%%%");
		return (text:gsub("(jid=)'[^']*'", "%1'" .. jid .. "'", 1));
	elseif how == 5 then
		return (text:gsub("(<%w+[^>]*[^/]>)", "%1" .. element(2):gsub("%%", "%%%%"), 1));
	end
	return (text:gsub("(type=)'[^']*'", "%1'" .. pick(types) .. "'", 1));
end

local function damaged(text)
	for _ = 1, random(3) do
		text = damage(text);
	end
	return text;
end

local function nest(text)
	for _ = 1, random(5) == 1 and 300 or 0 do
		text = "<privilege xmlns='urn:xmpp:privilege:2'>" .. text .. "</privilege>";
	end
	return text;
end

-- What is in the stanzas: half of it nonsense, half of it nearly right. Nothing in it may be what is granted and complete,
-- for then it would be done: the message has no recipient outside, and the contact cannot be added.
local contents = {
	function () return nest(element(4)); end;
	function ()
		return damaged "<query xmlns='jabber:iq:roster'><item jid='juliet@capulet.lit' name='Self'><group>g</group></item></query>";
	end;
	function () return damaged "<query xmlns='jabber:iq:roster'/>"; end;
	function ()
		return damaged("<privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>"
			.. "<message xmlns='jabber:client' from='romeo@montague.lit' to='juliet@capulet.lit' id='i'><body>b</body></message></forwarded></privilege>");
	end;
	function ()
		return damaged("<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get' id='i' to='capulet.lit'>"
			.. "<ping xmlns='urn:xmpp:ping'/></iq></privileged_iq>");
	end;
};

describe("Hostile entities", function ()
	local server;

	setup(function ()
		server = prosody.start {
			config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["hostile.capulet.lit"] = { roster = "get"; presence = "managed_entity"; iq = { ["urn:xmpp:ping"] = "get" } };
	}
VirtualHost "montague.lit"
Component "hostile.capulet.lit"
	component_secret = "secret"
	validate_from_addresses = false
Component "pubsub.capulet.lit"
	component_secret = "secret"
]];
			users = { "juliet@capulet.lit", "romeo@capulet.lit", "romeo@montague.lit" };
			rosters = { ["juliet@capulet.lit"] = { ["nurse@capulet.lit"] = { subscription = "both", name = "Nurse" } } };
			log_level = "info";
		};
	end);

	teardown(function ()
		server:stop();
	end);

	it(("change nothing with %d malformed and half-right stanzas, and each request is answered once"):format(total), function ()
		local juliet = server:client("juliet@capulet.lit/balcony", { roster = true, carbons = true });
		local hostile = server:component "hostile.capulet.lit";
		local roster = "<query xmlns='jabber:iq:roster'/>";
		local before = tostring(juliet:iq { type = "get", payload = roster }.tags[1]);
		juliet:sync():drain();

		local batch = 500;
		for first = 1, total, batch do
			local lines, requests = {}, {};
			for i = first, math.min(first + batch - 1, total) do
				local id = "fuzz" .. i;
				local name, type = pick { "iq", "iq", "message" }, nil;
				local to = pick { "juliet@capulet.lit", "juliet@capulet.lit", "capulet.lit", "nobody@capulet.lit", "romeo@montague.lit" };
				if name == "iq" then
					type = pick { "get", "set" };
					requests[id] = 0;
				end
				local content = pick(contents)();
				-- What is no stanza of its own: neither whole messages to users nor what their clients are to see.
				if name == "message" then
					to = "capulet.lit";
				end
				table.insert(lines, ("<%s%s id='%s' from='hostile.capulet.lit' to='%s'>%s</%s>"):format(
					name, type and (" type='%s'"):format(type) or "", id, to, content, name));
			end
			hostile:send(table.concat(lines)):sync();
			for _, stanza in ipairs(hostile:drain()) do
				if stanza.name == "iq" and requests[stanza.attr.id] then
					assert.is_truthy(stanza.attr.type == "result" or stanza.attr.type == "error");
					requests[stanza.attr.id] = requests[stanza.attr.id] + 1;
				end
			end
			for id, answers in pairs(requests) do
				assert.is_equal(1, answers, ("%s (seed %d): %s"):format(id, seed, lines[tonumber(id:match "%d+") - first + 1]));
			end
		end

		juliet:nothing();
		assert.is_equal(before, tostring(juliet:iq { type = "get", payload = roster }.tags[1]));
		assert.is_equal("result", hostile:iq { type = "get", to = "juliet@capulet.lit", payload = roster }.attr.type);
	end);
end);
