-- B9: what a client did not acknowledge (XEP-0198) before it was gone. The server returns such stanzas to
-- their senders as errors, and keeps messages for the user's next client.

local prosody = require "spec.support.prosody"
local rosters = require "spec.support.rosters"
local socket = require "socket"

local entry = [[["romeo@montague.lit"] = { roster = "both", presence = "roster" }]]
local config = [[
VirtualHost "capulet.lit"
	privileged_entities = { ENTRY }
VirtualHost "montague.lit"
VirtualHost "verona.lit"
]]
local both = { subscription = "both" }

describe("B9 a privileged user whose client is gone", function()
	local server, juliet, mercutio, benvolio, romeo
	local count = 0

	setup(function()
		server = prosody.start {
			config = config:gsub("ENTRY", entry),
			global = "smacks_hibernation_time = 1",
			modules = { "privilege", "smacks", "offline" },
			users = { "juliet@capulet.lit", "mercutio@verona.lit", "benvolio@montague.lit", "romeo@montague.lit" },
			rosters = {
				["juliet@capulet.lit"] = { ["mercutio@verona.lit"] = both },
				["mercutio@verona.lit"] = { ["juliet@capulet.lit"] = both },
			},
		}
		juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
		mercutio = server:client("mercutio@verona.lit/street", { roster = true })
		benvolio = server:client "benvolio@montague.lit/square"
	end)

	teardown(function()
		server:stop()
	end)

	-- Lets romeo's client get some of each kind and acknowledge nothing
	local function receive(enable)
		server:reload_config((config:gsub("ENTRY", entry)))
		romeo = server:client("romeo@montague.lit/orchard", { presence = false })
		romeo:send(enable)
		romeo:expect { name = "enabled" }
		romeo:send "<presence/>"
		romeo:expect { name = "message", from = "capulet.lit" }
		romeo:expect { name = "presence", from = juliet.jid }
		romeo:expect { name = "presence", from = mercutio.jid }
		count = count + 1
		for _, stream in ipairs { juliet, mercutio } do
			stream:send(("<presence><status>%d</status></presence>"):format(count))
		end
		romeo:expect { name = "presence", from = juliet.jid }
		romeo:expect { name = "presence", from = mercutio.jid }
		assert.is_equal("result", rosters.set(romeo, "juliet@capulet.lit", "<item jid='nurse@capulet.lit'/>"))
		assert.is_equal("result", rosters.set(romeo, "juliet@capulet.lit", "<item jid='nurse@capulet.lit' subscription='remove'/>"))
		server:drain()
	end

	local function wait_until_gone()
		local deadline = socket.gettime() + 10
		while server:eval "return prosody.full_sessions['romeo@montague.lit/orchard'] ~= nil" do
			assert.is_true(socket.gettime() < deadline)
			socket.sleep(0.01)
		end
	end

	-- What romeo's next client gets of what was kept for him
	local function kept_messages()
		server:reload_config((config:gsub("ENTRY", "")))
		local client = server:client "romeo@montague.lit/garden"
		local bodies = {}
		for _, stanza in ipairs(client:sync():drain()) do
			if stanza.name == "message" then
				bodies[#bodies + 1] = stanza:get_child_text "body" or tostring(stanza)
			end
		end
		client:close()
		return bodies
	end

	it("sends no error to users and contacts, and ordinary stanzas have their errors", function()
		receive "<enable xmlns='urn:xmpp:sm:3'/>"
		benvolio:send("<presence to='romeo@montague.lit/orchard'/>")
		romeo:expect { name = "presence", from = benvolio.jid }
		benvolio:send("<message to='romeo@montague.lit' type='chat'><body>Good morrow, cousin</body></message>")
		romeo:expect { name = "message", from = benvolio.jid }
		romeo:cut()
		wait_until_gone()
		juliet:nothing()
		mercutio:nothing()
		benvolio:expect { name = "presence", type = "error" }
		-- nor is kept for another client what this one was granted
		assert.is_same({ "Good morrow, cousin" }, kept_messages())
	end)

	local endings = {
		["the module was reloaded and it lost its grant"] = function()
			server:reload_module "privilege"
			server:reload_config((config:gsub("ENTRY", "")))
		end,
		["it lost its grant and the module was reloaded"] = function()
			server:reload_config((config:gsub("ENTRY", "")))
			server:reload_module "privilege"
		end,
		["the module was unloaded"] = function()
			server:unload_module "privilege"
		end,
	}
	for ending, bring_about in pairs(endings) do
		it("sends no error when its time to resume is over, though " .. ending, function()
			receive "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"
			romeo:cut()
			juliet:send "<presence><show>xa</show></presence>":sync()
			server:drain()
			bring_about()
			wait_until_gone()
			juliet:nothing()
			mercutio:nothing()
			assert.is_same({}, kept_messages())
			if ending:find "unloaded" then
				server:load_module "privilege"
			end
		end)
	end

	it("is forgotten but for one handler on each host, however often the module is unloaded and loaded", function()
		local count_handlers = [[
			local events = prosody.hosts["montague.lit"].events;
			events.fire_event("delivery/failure", { session = {}, stanza = require "util.stanza".message() });
			return #events.get_handlers "delivery/failure";
		]]
		local before = server:eval(count_handlers)
		for _ = 1, 3 do
			server:reload_module "privilege"
			server:unload_module "privilege"
			server:load_module "privilege"
			server:eval "collectgarbage(); collectgarbage();"
		end
		assert.is_equal(before, server:eval(count_handlers))
	end)
end)

-- Roster pushes, and what the server answers to a client about its own account, come from nobody. So the errors in which the server
-- returns them go to nobody.
describe("B9 a user whose client is gone, to whom an entity's change of the roster was pushed,", function()
	local server, juliet, nurse

	local function start(seconds, enable)
		server = prosody.start {
			config = [[
				VirtualHost "capulet.lit"
					privileged_entities = { ["gateway.capulet.lit"] = { roster = "both" } }
				Component "gateway.capulet.lit" component_secret = "secret"
			]],
			global = "smacks_hibernation_time = " .. seconds,
			modules = { "privilege", "smacks", "offline" },
			users = { "juliet@capulet.lit", "nurse@capulet.lit" },
		}
		local gateway = server:component "gateway.capulet.lit"
		nurse = server:client "nurse@capulet.lit/kitchen"
		juliet = server:client("juliet@capulet.lit/balcony", { presence = false })
		juliet:send(enable)
		juliet:expect { name = "enabled" }
		juliet:iq { type = "get", "<query xmlns='jabber:iq:roster'/>" }
		juliet:send "<presence/>"
		assert.is_equal("result", rosters.set(gateway, "juliet@capulet.lit", "<item jid='friend@gateway.capulet.lit'/>"))
		juliet:expect { name = "iq", type = "set" }
		for _, body in ipairs { "Madam!", "Anon!" } do
			nurse:send(("<message to='juliet@capulet.lit' type='chat'><body>%s</body></message>"):format(body))
			juliet:expect { name = "message", body = body }
		end
	end

	for name, enable in pairs {
		["at once"] = "<enable xmlns='urn:xmpp:sm:3'/>",
		["when its time to resume is over"] = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>",
	} do
		it("is offline " .. name .. ", and the messages are kept", function()
			start(1, enable)
			juliet:cut()
			local deadline = socket.gettime() + 10
			while server:eval "return prosody.full_sessions['juliet@capulet.lit/balcony'] ~= nil" do
				assert.is_true(socket.gettime() < deadline, "the client is still online")
				socket.sleep(0.01)
			end
			local chamber = server:client "juliet@capulet.lit/chamber"
			for _, body in ipairs { "Madam!", "Anon!" } do
				chamber:expect { name = "message", body = body }
			end
			nurse:nothing { type = "error" }
			server:stop()
		end)
	end

	it("and may come back, does not keep the server from stopping", function()
		start(60, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
		juliet:cut()
		server:stop()
	end)
end)
