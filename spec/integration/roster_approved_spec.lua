-- Behaviour 4.1 and 5: entities see of pre-approved contacts (RFC 6121, 3.4) what the server shows its own users of them.

local fixture = require "spec.support.fixture"
local rosters = require "spec.support.rosters"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = { ["gateway.capulet.lit"] = { roster = "both" } }
]] .. fixture.components "gateway"

describe("a pre-approved contact", function()
	local server, gateway, juliet

	fixture.running({
		config = config,
		users = { "juliet@capulet.lit" },
		rosters = {
			["juliet@capulet.lit"] = { ["known@montague.lit"] = { subscription = "to" } },
		},
	}, { "gateway.capulet.lit", { "juliet@capulet.lit/balcony", roster = true } }, function(...)
		server, gateway, juliet = ...
	end)

	-- The attributes of the items in a stanza, by JID
	local function items(stanza)
		local found = {}
		for _, item in ipairs(stanza.tags[1].tags) do
			found[item.attr.jid] = item.attr
		end
		return found
	end

	local function pushed(stream)
		local _, pushes = rosters.pushes(stream)
		local found = {}
		for i, push in ipairs(pushes) do
			found[i] = items(push)
		end
		return found
	end

	local function assert_same_roster()
		local query = "<query xmlns='jabber:iq:roster'/>"
		local own = items(juliet:iq { type = "get", query })
		assert.is_truthy(own["known@montague.lit"])
		assert.is_same(own, items(gateway:iq { type = "get", to = "juliet@capulet.lit", query }))
		return own
	end

	it("B4.1 B5 is in a roster get and in pushes as the user's own client sees it", function()
		server:drain()
		juliet:send "<presence type='subscribed' to='known@montague.lit'/>"
		juliet:send "<presence type='subscribed' to='new@montague.lit'/>"
		juliet:sync()
		local own = assert_same_roster()
		local told = pushed(gateway)
		-- 0.11 knows no pre-approval, and up to 13.0.1 it is kept and not shown
		local shown = own["known@montague.lit"].approved
		assert.is_equal(shown and 2 or own["new@montague.lit"] and 1 or 0, #told)
		for _, push in ipairs(told) do
			local jid, attr = next(push)
			assert.is_same(own[jid], attr)
		end
		-- The client hears of it where an item changed for it.
		if shown then
			assert.is_same(pushed(juliet), told)
		end
	end)

	it("B4.2 B5 stays so when an entity sets the contact, and is pushed so", function()
		server:drain()
		assert.is_equal("result", rosters.set(gateway, "juliet@capulet.lit", "<item jid='known@montague.lit' name='K'/>"))
		local own = assert_same_roster()
		local expected = { { ["known@montague.lit"] = own["known@montague.lit"] } }
		assert.is_same(expected, pushed(gateway))
		assert.is_same(expected, pushed(juliet))
	end)
end)
