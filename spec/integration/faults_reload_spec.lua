-- The configuration, the module and hosts are reloaded while entities are busy: each request is answered once, and all goes on.

local prosody = require "spec.support.prosody"
local grants = require "spec.support.grants"
local privileged = require "spec.support.privileged"
local rosters = require "spec.support.rosters"
local socket = require "socket"

local all, attempt = grants.all, grants.attempt

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = {
		["gateway.capulet.lit"] = { roster = "both", message = "outgoing", iq = { ["urn:example"] = "both", ["urn:xmpp:ping"] = "get" } };
		["romeo@montague.lit"] = { roster = "both", roster_push = false, message = "outgoing", iq = { ["urn:example"] = "both" } };
		LESS
	}
VirtualHost "montague.lit"
	modules_enabled = { "privilege" }
Component "gateway.capulet.lit"
	component_secret = "secret"
Component "service.capulet.lit"
	component_secret = "secret"
]]
local less = '["gateway.capulet.lit"] = { roster = "get", iq = { ["urn:example"] = "set" } };'

local juliet = "juliet@capulet.lit"

-- What goes on with the server, each called with it and a number that counts up; after it all is as it was before
local happenings = {
	["the configuration is read again"] = function(server)
		server:reload_config()
	end,
	["permissions come and go"] = function(server, i)
		server:reload_config((config:gsub("LESS", i % 2 == 0 and "" or less)))
	end,
	["the module is reloaded"] = function(server)
		server:reload_module "privilege"
	end,
	["the module is unloaded and loaded"] = function(server, i)
		if i % 2 == 0 then
			server:load_module "privilege"
		else
			server:unload_module "privilege"
		end
	end,
	["the host is deactivated and activated"] = function(server, i)
		server:eval(
			("assert(require 'core.hostmanager'.%s 'capulet.lit')"):format(i % 2 == 0 and "activate" or "deactivate"),
			"montague.lit"
		)
	end,
}

describe("While entities are busy and", function()
	local server, gateway, service, romeo

	setup(function()
		server = prosody.start {
			config = config:gsub("LESS", ""),
			users = { juliet, "nurse@capulet.lit", "romeo@montague.lit" },
			log_level = "info",
		}
		gateway, service, romeo =
			server:component "gateway.capulet.lit", server:component "service.capulet.lit", server:client "romeo@montague.lit/orchard"
	end)

	teardown(function()
		server:stop()
	end)

	local last_id = 0

	-- A dozen requests, some of them for iqs and messages that come to the service
	-- @return the requests' ids, and the text
	local function requests(stream)
		local from = stream.kind == "component" and stream.jid or nil
		local ids, texts = {}, {}
		local function request(make)
			last_id = last_id + 1
			local id = ("r%d"):format(last_id)
			table.insert(ids, id)
			table.insert(texts, make(id))
		end
		for _ = 1, 3 do
			request(function(id)
				return privileged.iq(
					{ id = id, from = from, to = juliet, type = "set" },
					{ to = service.jid, id = id, "<query xmlns='urn:example'/>" }
				)
			end)
			request(function(id)
				return privileged.message(
					{ id = id, from = from, to = "capulet.lit" },
					{ from = juliet, to = service.jid, id = id, "<body>b</body>" }
				)
			end)
			for kind, content in pairs { get = "", set = "<item jid='busy@contact.lit' name='%s'/>" } do
				request(function(id)
					return ("<iq type='%s' id='%s' %s to='%s'><query xmlns='jabber:iq:roster'>%s</query></iq>"):format(
						kind,
						id,
						from and "from='" .. from .. "'" or "",
						juliet,
						content:format(id)
					)
				end)
			end
		end
		return ids, table.concat(texts)
	end

	for name, happening in pairs(happenings) do
		it(name .. ", each request is answered once and no message is sent twice", function()
			local expected, seen = {}, {}

			-- Notes what has come of the requests, and has the service answer
			local function look(answer_now)
				for _, stream in ipairs { gateway, romeo } do
					for _, stanza in ipairs(stream:drain()) do
						if stanza.attr.id and expected[stanza.attr.id] then
							assert.is_truthy(stanza.attr.type == "result" or stanza.attr.type == "error", tostring(stanza))
							table.insert(seen[stanza.attr.id], stanza)
						end
					end
				end
				for _, stanza in ipairs(service:drain()) do
					if stanza.name == "message" then
						table.insert(seen[stanza.attr.id], stanza)
					elseif stanza.attr.type == "set" and answer_now then
						privileged.answer(service, stanza)
					elseif stanza.attr.type == "set" then
						table.insert(service.queue, stanza)
					end
				end
			end

			for i = 1, 10 do
				for _, stream in ipairs { gateway, romeo } do
					local ids, text = requests(stream)
					for _, id in ipairs(ids) do
						expected[id], seen[id] = true, {}
					end
					stream:send(text)
				end
				happening(server, i)
				-- some answers come later than what happens next
				look(i % 2 == 0)
			end
			look(true)

			local deadline = socket.gettime() + 20
			local missing
			repeat
				for _, stream in ipairs { gateway, romeo, service } do
					stream:sync()
				end
				look(true)
				missing = nil
				for id, stanzas in pairs(seen) do
					missing = #stanzas == 0 and id or missing
				end
			until not missing or socket.gettime() > deadline
			for id, stanzas in pairs(seen) do
				assert.is_equal(1, #stanzas, id .. " of " .. last_id .. ": " .. tostring(stanzas[1]) .. "\n" .. tostring(stanzas[2]))
			end

			-- and then
			gateway:sync():drain()
			assert.is_same(all "result", attempt(gateway, "nurse@capulet.lit"))
			assert.is_equal("result", rosters.set(romeo, juliet, ("<item jid='x@y' name='%s'/>"):format(name)))
			rosters.pushes(gateway)
			service:sync()
			assert.is_equal("result", rosters.set(romeo, juliet, "<item jid='x@y' subscription='remove'/>"))
			assert.is_same({ juliet .. ": x@y remove" }, (rosters.pushes(gateway)))
		end)
	end

	it("the component's own host is deactivated and activated, nothing is answered twice, and it is served when it is back", function()
		for _ = 1, 2 do
			local ids, text = requests(gateway)
			gateway:send(text)
			local asked = { privileged.asked(service), privileged.asked(service), privileged.asked(service) }
			server:eval("assert(require 'core.hostmanager'.deactivate 'gateway.capulet.lit')")
			gateway:send((requests(gateway)))
			privileged.answer(service, asked[1])
			service:sync()
			server:eval("assert(require 'core.hostmanager'.activate 'gateway.capulet.lit')")
			privileged.answer(service, asked[2])
			service:sync()
			local before = gateway:drain()
			gateway:cut()
			gateway = server:component "gateway.capulet.lit"
			privileged.answer(service, asked[3])
			service:sync():drain()
			gateway:sync()
			local answers = {}
			for _, stanzas in ipairs { before, gateway:drain() } do
				for _, stanza in ipairs(stanzas) do
					answers[stanza.attr.id or ""] = (answers[stanza.attr.id or ""] or 0) + 1
				end
			end
			for _, id in ipairs(ids) do
				assert.is_true((answers[id] or 0) <= 1, id)
			end
			assert.is_same(all "result", attempt(gateway, "nurse@capulet.lit"))
			gateway:sync():drain()
		end
	end)
end)
