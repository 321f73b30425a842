-- What is remembered of contacts' presences (behaviours 8.3, 8.4, 11).

local luaunit = require "luaunit";
local support = require "spec.unit.support";

local equal = luaunit.assertEquals;
local parts, st = support.parts, support.st;
local test = support.suite "contact memory";

local contact = "nurse@verona.lit";
local one, other = contact .. "/one", contact .. "/other";

local function presence(from, id)
	return st.presence({ from = from, to = "juliet@capulet.lit", id = id });
end

local function with_status(from, status)
	return presence(from):tag("status"):text(status):up();
end

--- What goes out of a remembered presence.
local function told(memory, from)
	local form = memory.of(contact)[from];
	return form and parts.presence_of(form);
end

test("B8.3 a presence is new once", function ()
	local memory = parts.create_contact_cache();
	equal(memory.of(contact), nil);
	equal(memory.available(contact, presence(one)), true);
	equal(memory.available(contact, presence(one)), false);
	equal(memory.available(contact, presence(other)), true);
	equal(memory.available("romeo@verona.lit", presence(one)), true);
	equal(memory.available(contact, with_status(one, "out")), true);
	equal(memory.available(contact, with_status(one, "out")), false);
	equal(memory.available(contact, with_status(one, "back")), true);
	equal(memory.available(contact, presence(one)), true);
end);

test("B8.3 id, address and delay make no difference, the language does", function ()
	local memory = parts.create_contact_cache();
	local function available(attr)
		attr.from = one;
		return memory.available(contact, st.presence(attr):tag("show"):text("away"):up()
			:tag("delay", { xmlns = "urn:xmpp:delay", stamp = attr.id or "1" }):up());
	end
	equal(available { id = "1", to = "juliet@capulet.lit" }, true);
	equal(available { id = "2", to = "romeo@capulet.lit/orchard" }, false);
	equal(available { ["xml:lang"] = "it" }, true);
	equal(available { ["xml:lang"] = "it" }, false);
	equal(memory.available(contact, presence(one):tag("delay", { xmlns = "urn:other" }):up()), true);
end);

test("B8.4 remembers what to tell, without addresses, id and time", function ()
	local memory = parts.create_contact_cache();
	memory.available(contact, presence(one, "p1"));
	equal(told(memory, one), "></presence>");
	memory.available(contact, st.presence({ from = one, ["xml:lang"] = "'<" }):tag("status"):text("a < b"):up()
		:tag("delay", { xmlns = "urn:xmpp:delay" }):up():tag("c", { xmlns = "urn:c" }):up());
	equal(told(memory, one), " xml:lang='&apos;&lt;'><status>a &lt; b</status><c xmlns='urn:c'/></presence>");
end);

test("B11 a long presence is remembered short, with show and priority", function ()
	local memory = parts.create_contact_cache();
	local function long(mark)
		return presence(one):tag("show"):text("dnd"):up():tag("status"):text(("x"):rep(5000) .. mark):up()
			:tag("priority"):text("5"):up();
	end
	equal(memory.available(contact, long "a"), true);
	equal(told(memory, one), "><show>dnd</show><priority>5</priority></presence>");
	luaunit.assertTrue(#memory.of(contact)[one] <= parts.max_length);
	-- and is still told apart
	equal(memory.available(contact, long "a"), false);
	equal(memory.available(contact, long "b"), true);
	equal(memory.available(contact, long "b"), false);
end);

test("B11 a presence is remembered whole up to the limit", function ()
	local memory = parts.create_contact_cache();
	local rest = #"><status></status></presence>";
	memory.available(contact, with_status(one, ("x"):rep(parts.max_length - rest)));
	equal(#told(memory, one), parts.max_length);
	memory.available(contact, with_status(one, ("x"):rep(parts.max_length - rest + 1)));
	equal(told(memory, one), "></presence>");
end);

test("B11 no presence is remembered longer than the limit, whatever it is made of", function ()
	for _, name in ipairs { "show", "priority", "status", "x" } do
		local memory = parts.create_contact_cache();
		local long_text, many, both = presence(one), presence(one), presence(one);
		long_text:tag(name):text(("y"):rep(5000)):up();
		for _ = 1, 1000 do
			many:tag(name):text("away"):up();
			both:tag(name, { attribute = ("y"):rep(60) }):up();
		end
		for _, stanza in ipairs { long_text, many, both } do
			memory.available(contact, stanza);
			local length = #memory.of(contact)[one];
			luaunit.assertTrue(length <= parts.max_length, name .. ": " .. length .. " bytes");
		end
	end
end);

test("B11 a language is not remembered longer than the limit", function ()
	local memory = parts.create_contact_cache();
	memory.available(contact, st.presence({ from = one, ["xml:lang"] = ("x"):rep(5000) }));
	luaunit.assertTrue(#memory.of(contact)[one] <= parts.max_length);
end);

test("B11 only so many resources of a contact are remembered", function ()
	local memory = parts.create_contact_cache();
	for i = 1, parts.max_resources do
		equal(memory.available(contact, presence(contact .. "/" .. i)), true);
	end
	-- More of them are told each time, and not remembered.
	equal(memory.available(contact, presence(contact .. "/more")), true);
	equal(memory.available(contact, presence(contact .. "/more")), true);
	equal(told(memory, contact .. "/more"), nil);
	-- Those that are there still change
	equal(memory.available(contact, with_status(contact .. "/7", "out")), true);
	equal(told(memory, contact .. "/7"), "><status>out</status></presence>");
	-- and leave room when they go.
	equal(memory.unavailable(contact, contact .. "/7"), true);
	equal(memory.available(contact, presence(contact .. "/more")), true);
	equal(memory.available(contact, presence(contact .. "/more")), false);
end);

test("B8.3 unavailability is told of those that were available, once", function ()
	local memory = parts.create_contact_cache();
	equal(memory.unavailable(contact, one), false);
	memory.available(contact, presence(one));
	memory.available(contact, presence(other));
	equal(memory.unavailable(contact, contact .. "/third"), false);
	equal(memory.unavailable(contact, one), true);
	equal(memory.unavailable(contact, one), false);
	luaunit.assertNotNil(told(memory, other));
	equal(memory.unavailable(contact, other), true);
	equal(memory.of(contact), nil);
	equal(memory.contacts(), {});
	equal(memory.available(contact, presence(one)), true);
end);

test("B8.3 unavailability of the bare JID is that of all resources", function ()
	local memory = parts.create_contact_cache();
	memory.available(contact, presence(one));
	memory.available(contact, presence(other));
	equal(memory.unavailable(contact, contact), true);
	equal(memory.of(contact), nil);
	equal(memory.unavailable(contact, contact), false);
end);

test("B8.4 lists its contacts, and forgets one", function ()
	local memory = parts.create_contact_cache();
	for _, name in ipairs { "c@a.lit", "a@a.lit", "b@a.lit" } do
		memory.available(name, presence(name .. "/r"));
	end
	local names = memory.contacts();
	table.sort(names);
	equal(names, { "a@a.lit", "b@a.lit", "c@a.lit" });
	memory.forget("b@a.lit");
	equal(memory.of("b@a.lit"), nil);
	equal(#memory.contacts(), 2);
	equal(memory.available("b@a.lit", presence("b@a.lit/r")), true);
end);

test("B8.4 a contact is probed once", function ()
	local memory = parts.create_contact_cache();
	equal(memory.first_probe(contact), true);
	equal(memory.first_probe(contact), false);
	equal(memory.first_probe("romeo@verona.lit"), true);
end);

test("B8.4 knows who was online when it began", function ()
	local memory = parts.create_contact_cache();
	equal(memory.is_earlier_user("juliet"), false);
	memory.begin({ juliet = {} });
	equal(memory.is_earlier_user("juliet"), true);
	equal(memory.is_earlier_user("romeo"), false);
	-- It began once.
	memory.begin({ juliet = {}, romeo = {} });
	equal(memory.is_earlier_user("romeo"), false);
	-- Where nobody wants it, it ends, and begins anew.
	memory.available(contact, presence(one));
	memory.first_probe(contact);
	memory.begin(nil);
	equal({ memory.is_earlier_user("juliet"), memory.of(contact), memory.first_probe(contact) }, { false, nil, true });
	memory.begin({ romeo = {} });
	equal({ memory.is_earlier_user("juliet"), memory.is_earlier_user("romeo") }, { false, true });
end);

test("B8.4 outlives a reload", function ()
	local memory, later = parts.create_contact_cache(), parts.create_contact_cache();
	memory.begin({ juliet = {} });
	memory.available(contact, presence(one));
	memory.first_probe(contact);
	later.restore(memory.save());
	later.begin({ juliet = {}, romeo = {} });
	equal(later.available(contact, presence(one)), false);
	equal(later.first_probe(contact), false);
	equal({ later.is_earlier_user("juliet"), later.is_earlier_user("romeo") }, { true, false });
	-- Of a version that saved nothing of it
	later = parts.create_contact_cache();
	later.restore({});
	equal(later.available(contact, presence(one)), true);
	equal(later.first_probe(contact), true);
	equal(later.is_earlier_user("juliet"), false);
end);
