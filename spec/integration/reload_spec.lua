-- B3.4, and what becomes of entities when the module or its host comes and goes.

local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"
local rosters = require "spec.support.rosters"
local privileged = require "spec.support.privileged"

local told, attempt, all = grants.told, grants.attempt, grants.all

local entities = [[
	privileged_entities = {
		["pubsub.capulet.lit"] = { roster = "both", message = "outgoing", presence = "managed_entity", iq = { ["urn:xmpp:ping"] = "both" } };
		["late.capulet.lit"] = { roster = "get" };
		["romeo@montague.lit"] = { roster = "get", message = "outgoing" };
		["mercutio@verona.lit"] = { message = "outgoing" };
	}
]]

local config = [[
VirtualHost "capulet.lit"
]] .. entities .. [[
VirtualHost "montague.lit"
Component "pubsub.capulet.lit"
	component_secret = "secret"
Component "stranger.capulet.lit"
	component_secret = "secret"
]]

local granted = { "capulet.lit: roster=both push=true message=outgoing presence=managed_entity iq(urn:xmpp:ping)=both" }
local granted_legacy = { "capulet.lit: roster=both message=outgoing presence=managed_entity" }
local lost = { "capulet.lit: roster=none push=false message=none presence=none iq(urn:xmpp:ping)=none" }
local lost_legacy = { "capulet.lit: roster=none message=none presence=none" }
local romeo_granted = { "capulet.lit: roster=get push=true message=outgoing" }
local romeo_lost = { "capulet.lit: roster=none push=false message=none" }

-- The host is one that the configuration has and that is not active, or the other way round
local function host_manager(server, action, host)
	server:eval(("assert(require 'core.hostmanager'.%s(%q))"):format(action, host))
end

describe("B3.4 entities that were connected before:", function()
	local server, pubsub, stranger, juliet, romeo, guests

	local function assert_told(stream, modern, legacy)
		local told_modern, told_legacy = told(stream)
		assert.is_same(modern, told_modern)
		if legacy then
			assert.is_same(legacy, told_legacy)
		end
	end

	local function is_loaded()
		return server:eval "return require 'core.modulemanager'.is_loaded('capulet.lit', 'privilege') and true or false"
	end

	setup(function()
		server = prosody.start {
			modules = {},
			users = { "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit", "mercutio@verona.lit" },
			config = config,
		}
		pubsub, stranger = server:component "pubsub.capulet.lit", server:component "stranger.capulet.lit"
		juliet, romeo = server:client("juliet@capulet.lit/balcony", { roster = true }), server:client "romeo@montague.lit/orchard"
	end)

	before_each(function()
		if is_loaded() then
			server:unload_module "privilege"
		end
		guests = {}
		for _, stream in ipairs { pubsub, stranger, juliet, romeo } do
			stream:sync():drain()
		end
	end)

	-- Nobody else hears of it
	after_each(function()
		for _, stream in ipairs { stranger, juliet } do
			stream:nothing { name = "message" }
		end
		for _, stream in ipairs(guests) do
			stream:close()
		end
	end)

	teardown(function()
		server:stop()
	end)

	local function guest(jid, options)
		local stream = jid:find("@", 1, true) and server:client(jid, options) or server:component(jid)
		table.insert(guests, stream)
		return stream
	end

	it("B3.4 are told when the module is loaded, and served", function()
		assert.is_same(all "service-unavailable", attempt(pubsub, "nurse@capulet.lit"))
		server:load_module "privilege"
		assert_told(pubsub, granted, granted_legacy)
		assert_told(romeo, romeo_granted)
		assert.is_same(all "result", attempt(pubsub, "nurse@capulet.lit"))
		pubsub:expect { name = "presence", from = juliet.jid }
		assert.is_equal("result", rosters.set(juliet, nil, "<item jid='loaded@contact.lit'/>"))
		pubsub:expect { name = "iq", type = "set", from = "juliet@capulet.lit" }
		assert.is_equal("result", attempt(romeo, "nurse@capulet.lit").message)
	end)

	it("B3.4 are told at their initial presence when that comes after the module", function()
		local second = guest("romeo@montague.lit/street", { presence = false })
		server:load_module "privilege"
		assert_told(second, {})
		second:send "<presence/>"
		assert_told(second, romeo_granted)
	end)

	it("are told nothing twice: those that connect after the module was loaded, and configuration is read again", function()
		pubsub:close()
		server:load_module "privilege"
		pubsub = server:component "pubsub.capulet.lit"
		server:reload_config()
		assert_told(pubsub, granted, granted_legacy)
	end)

	it("are told that they have nothing when the module is unloaded, and not served any more", function()
		server:load_module "privilege"
		pubsub:expect { name = "presence", from = juliet.jid }
		for _, stream in ipairs { pubsub, romeo } do
			told(stream)
			stream:drain()
		end
		server:unload_module "privilege"
		assert_told(pubsub, lost, lost_legacy)
		assert_told(romeo, romeo_lost)
		assert.is_same(all "service-unavailable", attempt(pubsub, "nurse@capulet.lit"))
		assert.is_same(all "service-unavailable", attempt(romeo, "nurse@capulet.lit"))
		juliet:send "<presence><show>away</show></presence>"
		assert.is_equal("result", rosters.set(juliet, nil, "<item jid='unloaded@contact.lit'/>"))
		server:reload_config()
		pubsub:nothing()
		romeo:nothing()
		guest "romeo@montague.lit/street":nothing { name = "message" }
	end)

	it("are told again when the module is unloaded and loaded", function()
		server:load_module "privilege"
		server:unload_module "privilege"
		told(pubsub)
		server:load_module "privilege"
		assert_told(pubsub, granted, granted_legacy)
		assert.is_same(all "result", attempt(pubsub, "nurse@capulet.lit"))
	end)

	it("B3.4 are told again when the module is reloaded, not that they had lost anything, and served once", function()
		server:load_module "privilege"
		for _, stream in ipairs { pubsub, romeo } do
			told(stream)
			pubsub:drain()
		end
		for _ = 1, 3 do
			server:reload_module "privilege"
			assert_told(pubsub, granted, granted_legacy)
			assert_told(romeo, romeo_granted)
		end
		pubsub:expect { name = "presence", from = juliet.jid }
		juliet:send "<presence><show>dnd</show></presence>"
		pubsub:expect(function(stanza)
			return stanza.name == "presence" and stanza:get_child_text "show" == "dnd"
		end)
		assert.is_same(all "result", attempt(pubsub, "nurse@capulet.lit"))
		pubsub:sync():drain()
		assert.is_equal("result", rosters.set(juliet, nil, "<item jid='reloaded@contact.lit'/>"))
		pubsub:expect { name = "iq", type = "set", from = "juliet@capulet.lit" }
		juliet:send "<presence/>"
		pubsub:expect { name = "presence", from = juliet.jid, type = false }
		pubsub:nothing()
	end)

	for _, version in ipairs { "does not keep what entities were told", "keeps nothing" } do
		it("B3.4 are told again when the module is updated from a version that " .. version, function()
			server:load_module "privilege"
			told(pubsub)
			told(romeo)
			local mark = server:mark()
			server:eval(([[
				local privilege = require "core.modulemanager".get_module("capulet.lit", "privilege").module;
				local save = privilege.save;
				function privilege.save()
					local saved = save();
					saved.told, saved.senders = nil, nil;
					return %s;
				end
			]]):format(version == "keeps nothing" and "{}" or "saved"))
			server:reload_module "privilege"
			assert_told(pubsub, granted, granted_legacy)
			assert_told(romeo, romeo_granted)
			assert.is_same(all "result", attempt(pubsub, "nurse@capulet.lit"))
			assert.is_nil(server:log_since(mark):find("Error restoring", 1, true))
		end)
	end

	it("are told what has changed while the module was not loaded", function()
		server:load_module "privilege"
		told(pubsub)
		server:unload_module "privilege"
		told(pubsub)
		server:reload_config((config:gsub('roster = "both", ', "")))
		server:load_module "privilege"
		assert_told(pubsub, { "capulet.lit: message=outgoing presence=managed_entity iq(urn:xmpp:ping)=both" })
		server:reload_config(config)
	end)

	-- One answer there has to be
	for _, action in ipairs { "unload", "reload" } do
		it("B7.3 get an answer to the iqs that are under way at the " .. action .. " of the module", function()
			server:load_module "privilege"
			pubsub:send(
				privileged.iq(
					{ id = "under-way", from = pubsub.jid, to = "nurse@capulet.lit" },
					{ from = "nurse@capulet.lit", to = juliet.jid, "<ping xmlns='urn:xmpp:ping'/>" }
				)
			)
			local query = juliet:expect { name = "iq", from = "nurse@capulet.lit" }
			server[action .. "_module"](server, "privilege")
			juliet:send(("<iq type='result' id='%s' to='nurse@capulet.lit'/>"):format(query.attr.id))
			pubsub:sync()
			pubsub:expect({ name = "iq", id = "under-way" }, 0)
			pubsub:nothing { name = "iq", id = "under-way" }
		end)
	end
end)

describe("B3.4 hosts that come and go:", function()
	local server, pubsub, romeo

	local more = config
		.. [[
VirtualHost "verona.lit"
	privileged_entities = { ["pubsub.capulet.lit"] = { message = "outgoing" } }
Component "late.capulet.lit"
	component_secret = "secret"
]]

	setup(function()
		server = prosody.start {
			users = { "juliet@capulet.lit", "romeo@montague.lit", "mercutio@verona.lit", "escalus@verona.lit" },
			config = config,
		}
		pubsub, romeo = server:component "pubsub.capulet.lit", server:client "romeo@montague.lit/orchard"
	end)

	-- The hosts that come and go are in the configuration, and not there yet
	before_each(function()
		server:reload_config(more)
		for _, host in ipairs { "verona.lit", "late.capulet.lit" } do
			if server:eval(("return prosody.hosts[%q] ~= nil"):format(host)) then
				host_manager(server, "deactivate", host)
			end
		end
		for _, stream in ipairs { pubsub, romeo } do
			told(stream)
			stream:drain()
		end
	end)

	teardown(function()
		server:stop()
	end)

	local function activate()
		host_manager(server, "activate", "late.capulet.lit")
		host_manager(server, "activate", "verona.lit")
		told(pubsub)
	end

	-- Connects twice, and is told the same each time
	local function assert_told_at_connect(jid, expected)
		for _ = 1, 2 do
			local stream = jid:find("@", 1, true) and server:client(jid) or server:component(jid)
			assert.is_same(expected, (told(stream)))
			stream:close()
		end
	end

	it("B3.4 tells connected entities when a host is activated that grants, and serves them", function()
		host_manager(server, "activate", "verona.lit")
		assert.is_same({ "verona.lit: message=outgoing" }, (told(pubsub)))
		assert.is_equal("result", attempt(pubsub, "escalus@verona.lit").message)
		romeo:nothing()
	end)

	it("B3.4 tells privileged users of a host that was activated later", function()
		host_manager(server, "activate", "verona.lit")
		assert_told_at_connect("mercutio@verona.lit/x", { "capulet.lit: message=outgoing" })
	end)

	it("B3.4 tells a component whose host was activated later", function()
		host_manager(server, "activate", "late.capulet.lit")
		assert_told_at_connect("late.capulet.lit", { "capulet.lit: roster=get push=true" })
	end)

	it("tells entities that they have nothing when the granting host is deactivated, and again when it is activated", function()
		activate()
		for _ = 1, 2 do
			host_manager(server, "deactivate", "verona.lit")
			assert.is_same({ "verona.lit: message=none" }, (told(pubsub)))
			server:reload_config(more)
			pubsub:nothing()
			host_manager(server, "activate", "verona.lit")
			assert.is_same({ "verona.lit: message=outgoing" }, (told(pubsub)))
			assert.is_equal("result", attempt(pubsub, "escalus@verona.lit").message)
			pubsub:drain()
		end
	end)

	it("B3.4 tells entities whose own hosts were deactivated and activated", function()
		activate()
		host_manager(server, "deactivate", "late.capulet.lit")
		host_manager(server, "deactivate", "verona.lit")
		told(pubsub)
		activate()
		assert_told_at_connect("late.capulet.lit", { "capulet.lit: roster=get push=true" })
		assert_told_at_connect("mercutio@verona.lit/x", { "capulet.lit: message=outgoing" })
	end)

	it("tells each change once after all that", function()
		activate()
		for _, action in ipairs { "deactivate", "activate" } do
			host_manager(server, action, "verona.lit")
		end
		told(pubsub)
		server:reload_config((more:gsub('(romeo@montague.lit"%] = { )roster = "get", ', "%1")))
		assert.is_same({ "capulet.lit: roster=none push=false message=outgoing" }, (told(romeo)))
		pubsub:close()
		pubsub = server:component "pubsub.capulet.lit"
		assert.is_same({ granted[1], "verona.lit: message=outgoing" }, (told(pubsub)))
	end)
end)
