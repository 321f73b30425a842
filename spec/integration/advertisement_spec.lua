-- B3.1 to B3.3: how entities are told their permissions.

local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"
local xml = require "spec.support.xml"

local told = grants.told

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["all.capulet.lit"] = {
			roster = "both"; message = "outgoing"; presence = "roster";
			iq = { ["urn:c"] = "set", ["urn:a"] = "get", ["urn:d"] = "none", ["http://b.example/?a=1&b='<x>'"] = "both" };
		};
		["roster.capulet.lit"] = { roster = "set" };
		["silent.capulet.lit"] = { roster = "get", roster_push = false };
		["message.capulet.lit"] = { message = "outgoing" };
		["presence.capulet.lit"] = { presence = "managed_entity" };
		["iq.capulet.lit"] = { iq = { ["urn:a"] = "get" } };
		["empty.capulet.lit"] = {};
		["none.capulet.lit"] = { roster = "none", message = "none", presence = "none", iq = { ["urn:a"] = "none" } };
		["replaced.capulet.lit"] = { roster = "get" };
		["romeo@montague.lit"] = { roster = "get", message = "outgoing" };
		["tybalt@capulet.lit"] = {};
	}
VirtualHost "montague.lit"
	privileged_entities = { ["all.capulet.lit"] = { message = "outgoing" }, ["iq.capulet.lit"] = {} }
VirtualHost "verona.lit"
	privileged_entities = { ["romeo@montague.lit"] = { iq = { ["urn:a"] = "set" } } }
]]
for name in ("all roster silent message presence iq empty none stranger"):gmatch "%a+" do
	config = config .. ('Component "%s.capulet.lit"\n\tcomponent_secret = "secret"\n'):format(name)
end
config = config .. [[
Component "replaced.capulet.lit"
	component_secret = "secret"
	component_conflict_resolve = "kick_old"
]]

local function is_from(host)
	return { name = "message", from = host }
end

describe("B3 advertisement:", function()
	local server, visitors

	setup(function()
		server = prosody.start { users = { "juliet@capulet.lit", "tybalt@capulet.lit", "romeo@montague.lit" }, config = config }
	end)

	before_each(function()
		visitors = {}
	end)

	after_each(function()
		for _, stream in ipairs(visitors) do
			stream:close()
		end
	end)

	teardown(function()
		server:stop()
	end)

	local function component(name, secret)
		local stream = server:component(name .. ".capulet.lit", secret)
		table.insert(visitors, stream)
		return stream
	end

	local function client(...)
		local stream = server:client(...)
		table.insert(visitors, stream)
		return stream
	end

	-- Takes the next message of a host, whose id is not known before
	local function assert_next(stream, host, privilege)
		local message = stream:expect(is_from(host))
		assert.is_truthy(message.attr.id and #message.attr.id > 0)
		xml.assert_same(message, ("<message from='%s' to='%s' id='%s'>%s</message>"):format(host, stream.jid, message.attr.id, privilege))
	end

	describe("a component", function()
		it("B3.1 is told as soon as it has authenticated, once per granting host", function()
			local stream = component "all"
			-- it has sent nothing yet
			for _, host in ipairs { "capulet.lit", "capulet.lit", "montague.lit", "montague.lit" } do
				stream:expect(is_from(host))
			end
			stream:nothing(is_from "capulet.lit")
			stream:nothing(is_from "montague.lit")
			stream:nothing(is_from "verona.lit")
		end)

		it("B3.1 is told each time it connects", function()
			for _ = 1, 3 do
				local stream = component "message"
				assert.is_same({ "capulet.lit: message=outgoing" }, (told(stream)))
				stream:nothing()
				stream:close()
			end
			local mark = server:mark()
			component("message"):cut()
			server:wait_log("component disconnected: message%.capulet%.lit", nil, mark)
			assert.is_same({ "capulet.lit: message=outgoing" }, (told(component "message")))
		end)

		it("B3.1 is told when it takes the place of an earlier connection", function()
			local earlier = component "replaced"
			assert.is_same({ "capulet.lit: roster=get push=true" }, (told(earlier)))
			local later = component "replaced"
			assert.is_same({ "capulet.lit: roster=get push=true" }, (told(later)))
			later:nothing()
			assert.has_error(function()
				earlier:expect(is_from "capulet.lit") -- till its stream is closed
			end)
			assert.is_equal("conflict", earlier.error)
			client("juliet@capulet.lit/balcony"):iq { type = "set", "<query xmlns='jabber:iq:roster'><item jid='a@contact.lit'/></query>" }
			later:expect { name = "iq", type = "set" }
			later:nothing()
		end)

		it("B3.1 is told nothing before it has authenticated, and nothing because another tried to", function()
			assert.has_error(function()
				component("all", "wrong")
			end)
			local stream = component "message"
			told(stream)
			assert.has_error(function()
				component "message" -- there is one already
			end)
			stream:nothing()
			assert.is_equal("result", grants.attempt(stream, "juliet@capulet.lit").message)
		end)

		for _, name in ipairs { "empty", "none", "stranger" } do
			it("B3.1 is told nothing when it has nothing: " .. name, function()
				local stream = component(name)
				stream:nothing()
				server:reload_module "privilege"
				stream:nothing()
			end)
		end
	end)

	describe("a privileged user", function()
		local granted = { "capulet.lit: roster=get push=true message=outgoing", "verona.lit: iq(urn:a)=set" }

		it("B3.1 is told at the initial presence of each client, at its full JID, once per granting host", function()
			local first = client("romeo@montague.lit/first", { presence = false })
			first:nothing()
			first:send("<presence to='juliet@capulet.lit'/>"):nothing()
			first:send "<presence/>"
			assert.is_same(granted, (told(first)))
			local second = client "romeo@montague.lit/second"
			assert.is_same(granted, (told(second)))
			first:nothing { name = "message" }
			first:send "<presence><show>away</show></presence>"
			first:nothing { name = "message" }
			second:nothing { name = "message" }
		end)

		it("B3.1 is told at the initial presence after having been unavailable, and nothing meanwhile", function()
			local romeo = client "romeo@montague.lit/orchard"
			told(romeo)
			romeo:send("<presence type='unavailable'/>"):sync()
			server:reload_module "privilege"
			romeo:nothing { name = "message" }
			romeo:send "<presence/>"
			assert.is_same(granted, (told(romeo)))
		end)

		it("B3.1 is told nothing when there is nothing", function()
			client("tybalt@capulet.lit/hall"):nothing()
		end)

		it("B3.1 alone is: no other user is ever sent anything", function()
			local juliet = client "juliet@capulet.lit/balcony"
			local romeo = client "romeo@montague.lit/orchard"
			component "all"
			assert.is_same(granted, (told(romeo)))
			server:reload_module "privilege"
			server:reload_config()
			juliet:nothing()
		end)
	end)

	describe("the form:", function()
		it("B3.2 has one perm of each kind, with the namespaces as sorted siblings in that of iqs", function()
			local stream = component "all"
			assert_next(
				stream,
				"capulet.lit",
				[[
				<privilege xmlns='urn:xmpp:privilege:2'>
					<perm access='roster' type='both' push='true'/>
					<perm access='message' type='outgoing'/>
					<perm access='iq'>
						<namespace ns='http://b.example/?a=1&amp;b=&apos;&lt;x>&apos;' type='both'/>
						<namespace ns='urn:a' type='get'/>
						<namespace ns='urn:c' type='set'/>
					</perm>
					<perm access='presence' type='roster'/>
				</privilege>
			]]
			)
		end)

		for name, perm in pairs {
			roster = "<perm access='roster' type='set' push='false'/>",
			silent = "<perm access='roster' type='get' push='false'/>",
			message = "<perm access='message' type='outgoing'/>",
			presence = "<perm access='presence' type='managed_entity'/>",
			iq = "<perm access='iq'><namespace ns='urn:a' type='get'/></perm>",
		} do
			it("B3.2 has nothing of what is not granted: " .. name, function()
				assert_next(component(name), "capulet.lit", ("<privilege xmlns='urn:xmpp:privilege:2'>%s</privilege>"):format(perm))
			end)
		end
	end)

	describe("the legacy namespace:", function()
		it("B3.3 has a second message with the same but iqs and pushes", function()
			local stream = component "all"
			stream:expect(is_from "capulet.lit")
			assert_next(
				stream,
				"capulet.lit",
				[[
				<privilege xmlns='urn:xmpp:privilege:1'>
					<perm access='roster' type='both'/>
					<perm access='message' type='outgoing'/>
					<perm access='presence' type='roster'/>
				</privilege>
			]]
			)
		end)

		for name, perm in pairs {
			roster = "<perm access='roster' type='set'/>",
			silent = "<perm access='roster' type='get'/>",
			message = "<perm access='message' type='outgoing'/>",
			presence = "<perm access='presence' type='managed_entity'/>",
		} do
			it("B3.3 has nothing of what is not granted: " .. name, function()
				local stream = component(name)
				stream:expect(is_from "capulet.lit")
				assert_next(stream, "capulet.lit", ("<privilege xmlns='urn:xmpp:privilege:1'>%s</privilege>"):format(perm))
			end)
		end

		it("B3.3 has no message for who has nothing but iqs", function()
			local stream = component "iq"
			stream:expect(is_from "capulet.lit")
			stream:nothing()
		end)
	end)
end)
