-- What is remembered of contacts' presences (behaviours 8.3, 8.4, 11).

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local st = support.st
local test = support.suite "contact cache"

local contact = "nurse@verona.lit"

-- Longer forms are shortened
local max_length = 500

local now = 1000
local parts = support.load { os = setmetatable({
	time = function()
		return now
	end,
}, { __index = os }) }

local function presence(id)
	return st.presence({ from = contact .. "/one", to = "juliet@capulet.lit", id = id })
end

local function with_status(status)
	return presence():tag("status"):text(status):up()
end

-- What goes out of a remembered presence
local function told(cache, resource)
	local remembered = cache.of(contact) and cache.of(contact)[resource]
	return remembered and parts.presence_of(remembered.form)
end

local function sorted(list)
	table.sort(list)
	return list
end

test("B8.3 a presence is new once, whoever sees it", function()
	local cache = parts.create_contact_cache()
	equal(cache.of(contact), nil)
	equal(cache.available(contact, "one", "juliet", presence()), true)
	equal(cache.available(contact, "one", "juliet", presence()), false)
	equal(cache.available(contact, "one", "romeo", presence()), false)
	equal(cache.available(contact, "other", "juliet", presence()), true)
	equal(cache.available("romeo@verona.lit", "one", "juliet", presence()), true)
	equal(cache.available(contact, "one", "romeo", with_status "out"), true)
	equal(cache.available(contact, "one", "juliet", with_status "out"), false)
	equal(cache.available(contact, "one", "juliet", with_status "back"), true)
	equal(cache.available(contact, "one", "juliet", presence()), true)
end)

test("B12.5 each user has what was sent to that user", function()
	local cache = parts.create_contact_cache()
	local function seen_by(username)
		return cache.form_of(contact, "one", username)
	end
	local function form(status)
		return status and "><status>" .. status .. "</status></presence>" or "></presence>"
	end
	cache.available(contact, "one", "juliet", with_status "a")
	equal({ seen_by "juliet", seen_by "romeo" }, { form "a" })
	cache.available(contact, "one", "juliet", with_status "b")
	cache.available(contact, "one", "romeo", with_status "c")
	equal({ seen_by "juliet", seen_by "romeo", told(cache, "one") }, { form "b", form "c", form "c" })
	cache.available(contact, "one", "romeo", with_status "b")
	cache.available(contact, "one", "romeo", with_status "c")
	cache.available(contact, "one", "peter", with_status "b")
	equal({ seen_by "juliet", seen_by "romeo", seen_by "peter", told(cache, "one") }, { form "b", form "c", form "b", form "b" })
	-- two are kept: of what is older, only that it is there
	cache.available(contact, "one", "peter", with_status "d")
	equal(
		{ seen_by "juliet", parts.presence_of(seen_by "romeo"), seen_by "peter", told(cache, "one") },
		{ form "b", form(), form "d", form "d" }
	)
	cache.unseen(contact, "one", "romeo")
	equal({ seen_by "juliet", seen_by "romeo", seen_by "peter" }, { form "b", nil, form "d" })
	equal(cache.form_of(contact, "other", "juliet"), nil)
end)

test("B8.3 id, address and delay make no difference, the language does", function()
	local cache = parts.create_contact_cache()
	local function available(attr)
		return cache.available(
			contact,
			"one",
			"juliet",
			st.presence(attr):tag("show"):text("away"):up():tag("delay", { xmlns = "urn:xmpp:delay", stamp = attr.id or "1" }):up()
		)
	end
	equal(available { id = "1", to = "juliet@capulet.lit" }, true)
	equal(available { id = "2", to = "romeo@capulet.lit/orchard" }, false)
	equal(available { ["xml:lang"] = "it" }, true)
	equal(available { ["xml:lang"] = "it" }, false)
	equal(cache.available(contact, "one", "juliet", presence():tag("delay", { xmlns = "urn:other" }):up()), true)
end)

test("B8.4 remembers what to tell, without addresses, id and time", function()
	local cache = parts.create_contact_cache()
	cache.available(contact, "one", "juliet", presence "p1")
	equal(told(cache, "one"), "></presence>")
	cache.available(
		contact,
		"one",
		"juliet",
		st.presence({ from = contact, ["xml:lang"] = "'<" })
			:tag("status")
			:text("a < b")
			:up()
			:tag("delay", { xmlns = "urn:xmpp:delay" })
			:up()
			:tag("c", { xmlns = "urn:c" })
			:up()
	)
	equal(told(cache, "one"), " xml:lang='&apos;&lt;'><status>a &lt; b</status><c xmlns='urn:c'/></presence>")
end)

test("B8.3 a presence is told apart from the one before by whatever differs in it", function()
	local cache = parts.create_contact_cache()
	local function client(attributes, text, inner)
		return presence():tag("x", attributes):text(text):tag("y"):text(inner):up():up()
	end
	local different = {
		client({ a = "1" }, "text", "inner"),
		client({ a = "2" }, "text", "inner"),
		client({ a = "2", b = "1" }, "text", "inner"),
		client({ b = "1" }, "text", "inner"),
		client({ b = "1" }, "other", "inner"),
		client({ b = "1" }, "other", "nested"),
		client({ b = "1" }, "other", "nested"):tag("show"):text("away"):up(),
		client({ b = "1" }, "other", "nested"):tag("show"):up(),
		client({ b = "1" }, "other", "nested"):tag("status"):up(),
		client({ b = "1" }, "other", "nested"):text("status"),
		client({ b = "1" }, "other", "nested"),
		st.presence({ ["xml:lang"] = "it" }),
		presence(),
	}
	for i, stanza in ipairs(different) do
		equal({ i, cache.available(contact, "one", "juliet", stanza) }, { i, i ~= 11 })
		equal({ i, cache.available(contact, "one", "romeo", st.clone(stanza)) }, { i, false })
	end
end)

test("B11 of a long presence only what matters is remembered, and that it is the same", function()
	local cache = parts.create_contact_cache()
	local function long(status)
		return presence():tag("show"):text("dnd"):up():tag("status"):text((status):rep(1000)):up():tag("priority"):text("5"):up()
	end
	equal(cache.available(contact, "one", "juliet", long "a"), true)
	equal(told(cache, "one"), "><show>dnd</show><priority>5</priority></presence>")
	luaunit.assertTrue(#cache.of(contact).one.form <= max_length)
	-- and is still told apart
	equal(cache.available(contact, "one", "juliet", long "a"), false)
	equal(cache.available(contact, "one", "juliet", long "b"), true)
	equal(cache.available(contact, "one", "juliet", long "b"), false)
end)

test("B11 a presence is remembered whole up to the limit", function()
	local cache = parts.create_contact_cache()
	local rest = #"><status></status></presence>"
	cache.available(contact, "one", "juliet", with_status(("x"):rep(max_length - rest)))
	equal(#told(cache, "one"), max_length)
	cache.available(contact, "one", "juliet", with_status(("x"):rep(max_length - rest + 1)))
	equal(told(cache, "one"), "></presence>")
end)

test("B11 no presence is remembered longer than the limit, whatever it is made of", function()
	local function length_of(stanza)
		local cache = parts.create_contact_cache()
		cache.available(contact, "one", "juliet", stanza)
		return #cache.of(contact).one.form
	end
	luaunit.assertTrue(length_of(st.presence({ ["xml:lang"] = ("x"):rep(5000) })) <= max_length)
	for _, name in ipairs { "show", "priority", "status", "x" } do
		local long_text, many, both = presence(), presence(), presence()
		long_text:tag(name):text(("y"):rep(5000)):up()
		for _ = 1, 1000 do
			many:tag(name):text("away"):up()
			both:tag(name, { attribute = ("y"):rep(60) }):up()
		end
		for _, stanza in ipairs { long_text, many, both } do
			luaunit.assertTrue(length_of(stanza) <= max_length, name)
		end
	end
end)

-- What the texts of a contact's resources need
local function kept(cache)
	local bytes, n = 0, 0
	for resource, remembered in pairs(cache.of(contact)) do
		bytes, n = bytes + #resource + #remembered.form, n + 1
	end
	return bytes, n
end

test("B11 of a contact only so much is remembered, and all of it is told", function()
	for _, length in ipairs { 0, 200, 450 } do
		local cache = parts.create_contact_cache()
		for i = 1, 100 do
			equal(cache.available(contact, "resource" .. i, "juliet", with_status(("x"):rep(length))), true)
		end
		equal(cache.is_crowded(contact), true)
		equal(cache.of(contact).resource100, nil)
		-- More of them are told each time, and not remembered.
		equal(cache.available(contact, "resource100", "juliet", with_status(("x"):rep(length))), true)
		equal(cache.available(contact, "resource100", "juliet", with_status(("x"):rep(length))), true)
		local bytes, n = kept(cache)
		luaunit.assertTrue(bytes + n * 300 <= parts.max_kept)
		luaunit.assertTrue(n >= 10)
		-- Those that are there still change, shortened where there is no room,
		equal(cache.available(contact, "resource1", "juliet", with_status(("y"):rep(450))), true)
		equal(cache.available(contact, "resource1", "juliet", with_status(("z"):rep(450))), true)
		-- and leave room when they go.
		equal(cache.unseen(contact, "resource1", "juliet"), { "resource1" })
		equal(cache.available(contact, "more", "juliet", presence()), true)
		equal(cache.available(contact, "more", "juliet", presence()), false)
		cache.unseen(contact, nil, "juliet")
		equal({ cache.of(contact), cache.is_crowded(contact) }, { nil, false })
	end
end)

test("B11 a resource with a long name is not remembered", function()
	local cache = parts.create_contact_cache()
	equal(cache.available(contact, ("x"):rep(20000), "juliet", presence()), true)
	equal({ cache.of(contact), cache.is_crowded(contact) }, { nil, false })
end)

test("B8.3 what ends is what nobody sees any more, once", function()
	local cache = parts.create_contact_cache()
	equal(cache.unseen(contact, "one", "juliet"), {})
	cache.available(contact, "one", "juliet", presence())
	cache.available(contact, "one", "romeo", presence())
	cache.available(contact, "other", "juliet", presence())
	equal(cache.unseen(contact, "third", "juliet"), {})
	equal(cache.unseen(contact, "one", "paris"), {})
	equal(cache.unseen(contact, "one", "juliet"), {})
	equal({ cache.form_of(contact, "one", "juliet") ~= nil, cache.form_of(contact, "one", "romeo") ~= nil }, { false, true })
	equal(cache.unseen(contact, "one", "romeo"), { "one" })
	equal(cache.unseen(contact, "one", "romeo"), {})
	luaunit.assertNotNil(told(cache, "other"))
	equal(cache.unseen(contact, "other", "juliet"), { "other" })
	equal(cache.of(contact), nil)
	equal(cache.watchers(), {})
	equal(cache.available(contact, "one", "juliet", presence()), true)
end)

test("B8.3 all resources end for one user, or for all, or those of before a time", function()
	local cache = parts.create_contact_cache()
	cache.available(contact, "one", "juliet", presence())
	cache.available(contact, "one", "romeo", presence())
	cache.available(contact, "other", "juliet", presence())
	equal(cache.unseen(contact, nil, "juliet"), { "other" })
	equal(cache.gone(contact, nil, nil, nil), { "one" })
	equal(cache.watchers(), {})
	cache.available(contact, "one", "juliet", presence())
	cache.available(contact, "two", "romeo", presence())
	cache.available(contact, "three", "romeo", presence())
	now = now + 10
	cache.available(contact, "three", "romeo", presence())
	equal(cache.gone(contact, nil, "romeo", now), { "two" })
	equal(cache.gone(contact, "three", "juliet", nil), {})
	equal(cache.gone(contact, "three", "romeo", nil), { "three" })
	equal(cache.watchers(), { juliet = true })
end)

test("B8.4 knows who sees which contacts", function()
	local cache = parts.create_contact_cache()
	cache.available("a@a.lit", "r", "juliet", presence())
	cache.available("b@a.lit", "r", "juliet", presence())
	cache.available("b@a.lit", "s", "juliet", presence())
	cache.available("a.lit", "", "romeo", presence())
	cache.available("a@b.a.lit", "r", "romeo", presence())
	equal(sorted(cache.contacts_of "juliet"), { "a@a.lit", "b@a.lit" })
	equal(sorted(cache.contacts_at "a.lit"), { "a.lit", "a@a.lit", "b@a.lit" })
	equal(cache.watchers(), { juliet = true, romeo = true })
	equal({ cache.sees("juliet", "b@a.lit"), cache.sees("romeo", "b@a.lit") }, { true, false })
	cache.unseen("b@a.lit", "r", "juliet")
	equal(cache.sees("juliet", "b@a.lit"), true)
	cache.unseen("b@a.lit", "s", "juliet")
	equal({ cache.sees("juliet", "b@a.lit"), cache.contacts_of "juliet" }, { false, { "a@a.lit" } })
	equal(cache.contacts_of "nobody", {})
end)

test("B8.4 knows how old it is", function()
	local cache = parts.create_contact_cache()
	now = 1000
	cache.available(contact, "one", "juliet", presence())
	now = 2000
	cache.available(contact, "two", "romeo", presence())
	equal({ cache.is_older(contact, "juliet", 1000), cache.is_older(contact, "juliet", 1001) }, { false, true })
	equal({ cache.is_older(contact, "romeo", 1500), cache.is_older("no@body", "romeo", 1500) }, { false, false })
	-- the same that came again is new
	cache.available(contact, "one", "romeo", presence())
	equal(cache.is_older(contact, "juliet", 1500), false)
end)

test("B8.4 outlives a reload, and is forgotten where nobody wants it", function()
	local cache, later = parts.create_contact_cache(), parts.create_contact_cache()
	cache.available(contact, "one", "juliet", presence())
	later.restore(cache.save())
	equal(later.available(contact, "one", "juliet", presence()), false)
	later.clear()
	equal({ later.of(contact), later.watchers(), later.is_crowded(contact) }, { nil, {}, false })
end)
