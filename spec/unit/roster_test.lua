-- Items of rosters: what an entity may set, what comes of it, and how they are told (behaviours 4 and 5).

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local parts, st = support.parts, support.st
local refusals = parts.refusals
local test = support.suite "roster"

local owner, nurse = "juliet@capulet.lit", "nurse@capulet.lit"
local namespace = "jabber:iq:roster"

--- An item as Prosody keeps it.
local function item(subscription, more)
	local made = { subscription = subscription, groups = {} }
	for name, value in pairs(more or {}) do
		made[name] = value
	end
	return made
end

--- An item as it comes in a set.
local function element(attr, groups)
	attr.xmlns = namespace
	local made = st.stanza("item", attr)
	for _, group in ipairs(groups or {}) do
		made:tag("group"):text(group):up()
	end
	return made
end

local function query(...)
	local made = st.stanza("query", { xmlns = namespace })
	for _, child in ipairs { ... } do
		made:add_child(child)
	end
	return made
end

test("B4.1 an item has what a contact's has", function()
	equal(parts.item_text(nurse, item "none"), "<item jid='nurse@capulet.lit' subscription='none'/>")
	equal(
		parts.item_text(nurse, item("both", { name = "Nurse", ask = "subscribe", approved = true })),
		"<item jid='nurse@capulet.lit' subscription='both' ask='subscribe' name='Nurse'/>"
	)
	equal(
		parts.item_text(nurse, item("to", { groups = { Servants = true } })),
		"<item jid='nurse@capulet.lit' subscription='to'><group>Servants</group></item>"
	)
	local text = parts.item_text(nurse, item("to", { groups = { a = true, b = true, c = true } }))
	for _, group in ipairs { "a", "b", "c" } do
		luaunit.assertStrContains(text, "<group>" .. group .. "</group>")
	end
	equal(#text, #"<item jid='nurse@capulet.lit' subscription='to'></item>" + 3 * #"<group>a</group>")
end)

test("B5 a removed item is told as such", function()
	equal(parts.item_text(nurse, nil), "<item jid='nurse@capulet.lit' subscription='remove'/>")
end)

test("B4.1 an item cannot break the XML", function()
	equal(
		parts.item_text("o'neil@a.lit", item("none", { name = "<'&\">", groups = { ["</group>&"] = true } })),
		"<item jid='o&apos;neil@a.lit' subscription='none' name='&lt;&apos;&amp;&quot;&gt;'><group>&lt;/group&gt;&amp;</group></item>"
	)
	equal(parts.item_text("'<", nil), "<item jid='&apos;&lt;' subscription='remove'/>")
end)

test("B4.1 metadata are no contacts", function()
	equal(parts.is_contact(nurse, item "none"), true)
	equal(parts.is_contact(false, { version = 3, pending = {} }), false)
	equal(parts.is_contact(false, item "none"), false)
	equal(parts.is_contact("pending", { [nurse] = true }), false)
	equal(parts.is_contact(nurse, nil), false)
end)

test("B4.1 a roster has the version of its metadata", function()
	equal(parts.roster_version({ [false] = { version = 17 } }), "17")
	equal(parts.roster_version({ [false] = {} }), "0")
	equal(parts.roster_version({}), "0")
	equal(parts.roster_version({ [false] = {}, ["romeo@montague.lit"] = { subscription = "both", groups = {} } }), nil)
	equal(parts.roster_version({ [false] = { version = true } }), nil)
end)

test("B4.2 a set is about the contact of its item, prepared", function()
	equal({ parts.set_contact(query(element { jid = "Nurse@Capulet.LIT" }), owner) }, { nurse })
	equal({ parts.set_contact(query(element { jid = "verona.lit" }), owner) }, { "verona.lit" })
	equal({ parts.set_contact(query(element { jid = "capulet.lit", subscription = "remove" }), owner) }, { "capulet.lit" })
end)

test("B4.4 a set that is about no contact is refused", function()
	local function refused(refusal, ...)
		local contact, why = parts.set_contact(query(...), owner)
		equal(contact, nil)
		equal(why, refusal)
	end
	refused(refusals.roster_not_one_item)
	refused(refusals.roster_not_one_item, element { jid = nurse }, element { jid = "romeo@montaigu.lit" })
	refused(refusals.roster_not_one_item, element { jid = nurse }, st.stanza("x", { xmlns = "urn:x" }))
	refused(refusals.roster_not_one_item, st.stanza("item", { xmlns = "urn:x", jid = nurse }))
	refused(refusals.roster_not_one_item, st.stanza("contact", { xmlns = namespace, jid = nurse }))
	refused(refusals.roster_no_jid, element {})
	for _, jid in ipairs { "", "@", "nurse@", "@capulet.lit", "the nurse@capulet.lit", "capulet.lit/" } do
		refused(refusals.roster_bad_jid, element { jid = jid })
	end
	for _, jid in ipairs { nurse .. "/balcony", "capulet.lit/balcony" } do
		refused(refusals.roster_full_jid, element { jid = jid })
	end
	refused(refusals.roster_own_jid, element { jid = owner })
	refused(refusals.roster_own_jid, element { jid = "Juliet@Capulet.lit", subscription = "remove" })
	refused(refusals.roster_reserved_jid, element { jid = "pending" })
	refused(refusals.roster_reserved_jid, element { jid = "PENDING" })
end)

test("B4.4 the refusals have the conditions of the errors", function()
	for name, condition in pairs {
		roster_get = "forbidden",
		roster_set = "forbidden",
		roster_not_one_item = "bad-request",
		roster_no_jid = "bad-request",
		roster_bad_jid = "jid-malformed",
		roster_own_jid = "not-allowed",
		no_such_user = "item-not-found",
		roster_no_item = "item-not-found",
		roster_not_loaded = "internal-server-error",
		roster_not_saved = "internal-server-error",
	} do
		equal(refusals[name].condition, condition)
	end
	equal(refusals.roster_not_saved.type, "wait")
end)

test("B4.2 a new item", function()
	equal(parts.updated_item(element { jid = nurse }, nil), item "none")
	equal(
		parts.updated_item(element({ jid = nurse, name = "Nurse" }, { "Servants", "Friends" }), nil),
		item("none", { name = "Nurse", groups = { Servants = true, Friends = true } })
	)
	for _, subscription in ipairs { "none", "to", "from", "both" } do
		equal(parts.updated_item(element { jid = nurse, subscription = subscription }, nil), item(subscription))
	end
	for _, subscription in ipairs { "", "BOTH", "remove", "x" } do
		equal(parts.updated_item(element { jid = nurse, subscription = subscription }, nil), item "none")
	end
	equal(parts.updated_item(element { jid = nurse, ask = "subscribe", approved = "true" }, nil), item "none")
end)

test("B4.2 name and groups are replaced, the rest stays", function()
	local old = item("from", { name = "Old", ask = "subscribe", approved = true, groups = { Old = true } })
	equal(
		parts.updated_item(element({ jid = nurse, name = "New" }, { "New" }), old),
		item("from", { name = "New", ask = "subscribe", approved = true, groups = { New = true } })
	)
	equal(parts.updated_item(element { jid = nurse }, old), item("from", { ask = "subscribe", approved = true }))
	equal(
		parts.updated_item(element { jid = nurse, name = "", subscription = "x" }, old),
		item("from", { ask = "subscribe", approved = true })
	)
	-- What was there is as it was: where saving fails it is put back.
	equal(old, item("from", { name = "Old", ask = "subscribe", approved = true, groups = { Old = true } }))
end)

test("B4.2 a subscription that is there is asked for no more", function()
	local old = item("none", { ask = "subscribe", approved = true })
	equal(parts.updated_item(element { jid = nurse, subscription = "to" }, old), item("to", { approved = true }))
	equal(parts.updated_item(element { jid = nurse, subscription = "both" }, old), item("both", { approved = true }))
	equal(parts.updated_item(element { jid = nurse, subscription = "from" }, old), item("from", { ask = "subscribe", approved = true }))
	equal(parts.updated_item(element { jid = nurse, subscription = "none" }, item "both"), item "none")
end)

test("B4.2 empty groups and what is no group are left out", function()
	local set = element({ jid = nurse }, { "A", "", "A" })
	set:tag("x"):text("B"):up()
	set:tag("group"):up()
	equal(parts.updated_item(set, nil), item("none", { groups = { A = true } }))
end)

test("B5 items are the same where a reader of the roster sees no difference", function()
	local function changed(changes)
		local made = item("to", { name = "Nurse", ask = "subscribe", groups = { A = true, B = true } })
		for name, value in pairs(changes) do
			made[name] = value
		end
		return made
	end
	local a = changed {}
	local function same(expected, x, y)
		equal(parts.same_item(x, y), expected)
		equal(parts.same_item(y, x), expected)
	end
	same(true, a, changed {})
	same(true, a, changed { approved = true, groups = { B = "yes", A = 1 } })
	same(true, nil, nil)
	same(false, a, nil)
	same(false, a, changed { name = "nurse" })
	same(false, a, changed { subscription = "both" })
	same(false, a, changed { ask = false })
	same(false, a, changed { groups = {} })
	same(false, a, changed { groups = { A = true } })
	same(false, a, changed { groups = { A = true, C = true } })
	same(false, a, changed { groups = { A = true, B = true, C = true } })
	local unnamed = changed {}
	unnamed.name, unnamed.ask = nil, nil
	same(false, a, unnamed)
end)
