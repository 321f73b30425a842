-- slidge itself, with a small network of our own (slidge_verona.py), plays through what gateways use privileges for.
-- Not a part of `make test`, since it is installed from PyPI: see `make test-slidge`.

local prosody = require "spec.support.prosody"
local slidge = require "spec.gateways.slidge"
local st = require "util.stanza"
local socket = require "socket"

local verona = "verona.capulet.lit"
local friar, tybalt, ball = "friar@" .. verona, "tybalt@" .. verona, "ball@" .. verona
local juliet_jid = "juliet@capulet.lit"

-- As slidge's documentation has it
local grant = [[
		["verona.capulet.lit"] = {
			users = "%s";
			roster_push = %s;
			roster = "both";
			message = "outgoing";
			iq = {
				["http://jabber.org/protocol/pubsub"] = "both";
				["http://jabber.org/protocol/pubsub#owner"] = "set";
				["urn:xmpp:http:upload:0"] = "get";
			};
		};
]]
local config = [[
VirtualHost "capulet.lit"
	modules_enabled = { "mam" }
	privileged_entities = {
%s	}
Component "verona.capulet.lit"
	component_secret = "secret"
	modules_enabled = { "privilege" }
]]

-- Waits until a function gives something true, and gives that
local function eventually(what, get)
	local deadline = socket.gettime() + 20
	while true do
		local value = get()
		if value then
			return value
		end
		assert(socket.gettime() < deadline, what .. " did not happen")
		socket.sleep(0.02)
	end
end

-- The contact in a client's roster, nil where there is none
local function contact(client, jid)
	local roster = client:iq { type = "get", "<query xmlns='jabber:iq:roster'/>" }.tags[1]
	for _, item in ipairs(roster.tags) do
		if item.attr.jid == jid then
			return item
		end
	end
end

-- Expects that a contact is pushed to a client
local function expect_push(client, jid)
	return client
		:expect(function(stanza)
			local item = stanza.name == "iq" and stanza.attr.type == "set" and stanza:find "{jabber:iq:roster}query/item"
			return item and item.attr.jid == jid
		end)
		:find "{jabber:iq:roster}query/item"
end

-- Expects all that registering brings: gateway and contacts in the roster, ready subscribed, and the group's bookmark
local function expect_registered(client)
	for jid, name in pairs { [verona] = "Verona", [friar] = "Friar Laurence", [tybalt] = "Tybalt" } do
		local item = expect_push(client, jid)
		assert.equal(name, item.attr.name)
		assert.equal("both", item.attr.subscription)
	end
	client:expect(function(stanza)
		return stanza.name == "presence" and stanza.attr.from == verona and stanza:get_child_text "status" == "In Verona"
	end)
end

-- Runs a command to its end, step by step with the values of each form, and gives the text of the last note
local function run_command(client, node, forms)
	local answer, session
	for i = 0, #forms do
		local command = st.stanza("command", {
			xmlns = "http://jabber.org/protocol/commands",
			node = node,
			sessionid = session,
			action = i == 0 and "execute" or i == #forms and "complete" or "next",
		})
		if i > 0 then
			command:tag("x", { xmlns = "jabber:x:data", type = "submit" })
			for name, value in pairs(forms[i]) do
				command:tag("field", { var = name }):text_tag("value", value):up()
			end
		end
		answer = client:iq { type = "set", to = verona, command }
		assert.equal("result", answer.attr.type, tostring(answer))
		session = answer.tags[1].attr.sessionid
	end
	assert.equal("completed", answer.tags[1].attr.status, tostring(answer))
	return answer.tags[1]:get_child_text "note"
end

-- Talks with the gateway: sends each line when it has said what stands before it, the first at once
local function talk(client, lines)
	for _, line in ipairs(lines) do
		if line[1] then
			client:expect(function(stanza)
				return stanza.name == "message" and stanza.attr.from == verona and (stanza:get_child_text "body" or ""):find(line[1])
			end)
		end
		if line[2] then
			client:send(st.message({ type = "chat", to = verona }, line[2]))
		end
	end
end

-- How often a message is among the last ones in a client's archive
local function count_archived(client, id)
	client:iq {
		type = "set",
		"<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>20</max><before/></set></query>",
	}
	local count, queue = 0, {}
	for _, stanza in ipairs(client.queue) do
		local message = stanza:find "{urn:xmpp:mam:2}result/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
		if not message then
			table.insert(queue, stanza)
		elseif message.attr.id == id then
			count = count + 1
		end
	end
	client.queue = queue
	return count
end

-- An item in the user's PEP service, nil where there is none
local function pep_item(client, node, id)
	local answer = client:iq { type = "get", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='" .. node .. "'/></pubsub>" }
	local items = answer:find "{http://jabber.org/protocol/pubsub}pubsub/items"
	for _, item in ipairs(items and items.tags or {}) do
		if item.attr.id == id then
			return item
		end
	end
end

for _, users in ipairs { "all", "opted-in" } do
	for _, push in ipairs { true, false } do
		describe(("slidge, users = %q, roster_push = %s:"):format(users, push), function()
			local granted = config:format(grant:format(users, push))
			local server, gateway, juliet, phone, romeo, nurse
			local number = 0

			setup(function()
				server = prosody.start {
					config = granted,
					users = { juliet_jid, "romeo@capulet.lit", "nurse@capulet.lit", "peter@capulet.lit" },
				}
				gateway = slidge.start(server, verona)
			end)

			teardown(function()
				if gateway then
					gateway:stop()
				end
				server:stop()
			end)

			after_each(function()
				assert.same({}, gateway:complaints())
			end)

			local function connect()
				juliet = server:client("juliet@capulet.lit/balcony", { roster = true, carbons = true })
				phone = server:client("juliet@capulet.lit/phone", { roster = true, carbons = true })
			end

			-- Waits until the network was told something
			local function expect_told(mark, text)
				gateway:wait("^verona: " .. text:gsub("%p", "%%%0") .. "$", mark)
			end

			-- Expects a copy of a message that juliet did not send with a client, on each of her clients
			local function expect_carbons(id)
				local message
				for _, client in ipairs { juliet, phone } do
					message = client
						:expect(function(stanza)
							message = stanza:find "{urn:xmpp:carbons:2}sent/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
							return message and message.attr.id == id
						end)
						:find "{urn:xmpp:carbons:2}sent/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
					assert.equal(juliet_jid, message.attr.from)
				end
				return message
			end

			-- Sends a message to a contact and waits until it has gone through slidge: it has read all that it was sent before
			local function pass_through(client)
				number = number + 1
				local mark = gateway:mark()
				client:send(st.message({ type = "chat", to = friar, id = "through-" .. number }, "Through " .. number))
				expect_told(mark, ("%s friar text Through %d"):format(client.jid:match "^[^/]+", number))
			end

			-- Proves that what was sent from the network becomes a carbon, is archived once, and does not come back to it
			local function prove_carbons()
				number = number + 1
				local id, mark = "carbon-" .. number, gateway:mark()
				gateway:happen { user = juliet_jid, chat = "friar", act = "text", id = id, text = "From Verona", self = true }
				local message = expect_carbons(id)
				assert.equal("From Verona", message:get_child_text "body")
				assert.equal(friar, message.attr.to)
				assert.equal(1, count_archived(juliet, id))
				pass_through(juliet)
				assert.equal(1, #gateway:told(mark))
			end

			it("registers a user by form", function()
				connect()
				local form = juliet:iq { type = "get", to = verona, "<query xmlns='jabber:iq:register'/>" }
				assert.is_truthy(form:find "{jabber:iq:register}query/username")
				local answer =
					juliet:iq { type = "set", to = verona, "<query xmlns='jabber:iq:register'><username>juliet</username></query>" }
				assert.equal("result", answer.attr.type)
				expect_registered(juliet)
				expect_registered(phone)
			end)

			it("registers a user by command", function()
				romeo = server:client("romeo@capulet.lit/orchard", { roster = true })
				run_command(romeo, "jabber:iq:register", {
					{ username = "romeo" },
					{
						sync_presence = "true",
						sync_avatar = "false",
						always_invite_when_adding_bookmarks = "false",
						last_seen_fallback = "true",
						roster_push = "true",
						reaction_fallback = "false",
					},
				})
				expect_registered(romeo)
			end)

			it("registers a user by chat", function()
				nurse = server:client("nurse@capulet.lit/kitchen", { roster = true })
				talk(nurse, {
					{ nil, "register" },
					{ "^User name", "nurse" },
					{ "^Propagate your XMPP presence", "yes" },
					{ "^Propagate your XMPP avatar", "no" },
					{ "^Send an invitation", "no" },
					{ "^Use contact presence", "yes" },
					{ "^Add contacts", "yes" },
					{ "^Receive fallback", "no" },
					{ "^Success" },
				})
				expect_registered(nurse)
			end)

			it("passes messages, reactions and read markers both ways", function()
				local mark = gateway:mark()
				juliet:send(st.message({ type = "chat", to = friar, id = "hello" }, "Hello"))
				expect_told(mark, "juliet@capulet.lit friar text Hello")
				gateway:happen { user = juliet_jid, chat = "friar", act = "text", id = "answer", text = "God be with you" }
				local message = juliet:expect { name = "message", body = "God be with you" }
				assert.equal(friar .. "/slidge", message.attr.from)
				juliet:send(
					st.message({ type = "chat", to = friar, id = "react" })
						:tag("reactions", { xmlns = "urn:xmpp:reactions:0", id = "answer" })
						:text_tag("reaction", "👋")
				)
				expect_told(mark, "juliet@capulet.lit friar react answer 👋")
				juliet:send(
					st.message({ type = "chat", to = friar, id = "mark" })
						:tag("displayed", { xmlns = "urn:xmpp:chat-markers:0", id = "answer" })
				)
				expect_told(mark, "juliet@capulet.lit friar displayed answer")
				gateway:happen { user = juliet_jid, chat = "friar", act = "react", id = "sent-Hello", emoji = "🙏" }
				assert.equal(
					"hello",
					juliet:expect { name = "message", child = "reactions" }:get_child("reactions", "urn:xmpp:reactions:0").attr.id
				)
				gateway:happen { user = juliet_jid, chat = "friar", act = "displayed", id = "sent-Hello" }
				assert.equal(
					"hello",
					juliet:expect { name = "message", child = "displayed" }:get_child("displayed", "urn:xmpp:chat-markers:0").attr.id
				)
			end)

			it("shows what was sent from the network as carbons, archived once", function()
				prove_carbons()
			end)

			it("shows reactions and read markers from the network as carbons", function()
				gateway:happen { user = juliet_jid, chat = "friar", act = "text", id = "peace", text = "Peace" }
				local id = juliet:expect { name = "message", body = "Peace" }.attr.id
				gateway:happen { user = juliet_jid, chat = "friar", act = "react", id = "peace", emoji = "🕊", self = true }
				gateway:happen { user = juliet_jid, chat = "friar", act = "displayed", id = "peace", self = true }
				for _, child in ipairs { "reactions", "displayed" } do
					local message = juliet
						:expect(function(stanza)
							local copy = stanza:find "{urn:xmpp:carbons:2}sent/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
							return copy and copy:child_with_name(child)
						end)
						:find "{urn:xmpp:carbons:2}sent/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
					assert.equal(id, message:child_with_name(child).attr.id)
				end
			end)

			it("bookmarks the group, and keeps the user's read marker of it", function()
				assert.is_truthy(eventually("the bookmark", function()
					return pep_item(juliet, "urn:xmpp:bookmarks:1", ball)
				end):get_child("conference", "urn:xmpp:bookmarks:1"))
				juliet:send(("<presence to='%s/juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>"):format(ball))
				juliet:expect { name = "presence", from = ball .. "/juliet" }
				gateway:happen { user = juliet_jid, chat = "ball", act = "text", id = "dance", text = "Shall we dance" }
				local message = juliet:expect { name = "message", type = "groupchat", body = "Shall we dance" }
				local mark = gateway:mark()
				juliet:send(st.message({ type = "groupchat", to = ball, id = "gladly" }, "Gladly"))
				expect_told(mark, "juliet@capulet.lit ball text Gladly")
				gateway:happen { user = juliet_jid, chat = "ball", act = "displayed", id = "dance", self = true }
				local item = eventually("the read marker", function()
					return pep_item(juliet, "urn:xmpp:mds:displayed:0", ball)
				end)
				assert.equal(
					message:get_child("stanza-id", "urn:xmpp:sid:0").attr.id,
					item:find "{urn:xmpp:mds:displayed:0}displayed/{urn:xmpp:sid:0}stanza-id@id"
				)
			end)

			it("puts the roster in order when the user asks for it", function()
				for _, item in ipairs {
					("<item jid='%s' name='Brother'><group>slidge</group></item>"):format(friar),
					("<item jid='%s' subscription='remove'/>"):format(tybalt),
					("<item jid='stranger@%s'><group>slidge</group></item>"):format(verona),
				} do
					assert.equal("result", juliet:iq { type = "set", "<query xmlns='jabber:iq:roster'>" .. item .. "</query>" }.attr.type)
				end
				pass_through(juliet)
				talk(juliet, { { nil, "sync-contacts" }, { "^Are you sure", "yes" }, { "^0 added, 1 removed, 1 updated$" } })
				assert.equal("Friar Laurence", contact(juliet, friar).attr.name)
				assert.equal("both", contact(juliet, friar).attr.subscription)
				assert.is_nil(contact(juliet, tybalt))
				assert.is_nil(contact(juliet, "stranger@" .. verona))
			end)

			it("goes on after a restart of slidge, and gets the read markers of clients then", function()
				assert.equal(0, gateway:stop())
				local mark = gateway:mark()
				gateway:launch()
				for _, name in ipairs { "juliet", "romeo", "nurse" } do
					expect_told(mark, name .. "@capulet.lit login")
				end
				prove_carbons()
				juliet:send(("<presence to='%s/juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>"):format(ball))
				juliet:expect { name = "presence", from = ball .. "/juliet" }
				gateway:happen { user = juliet_jid, chat = "ball", act = "text", id = "supper", text = "Supper is ready" }
				local id = juliet
					:expect { name = "message", type = "groupchat", body = "Supper is ready" }
					:get_child("stanza-id", "urn:xmpp:sid:0").attr.id
				juliet:iq {
					type = "set",
					([[<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:mds:displayed:0'><item id='%s'>
					<displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id xmlns='urn:xmpp:sid:0' id='%s' by='%s'/></displayed></item></publish></pubsub>]]):format(
						ball,
						id,
						ball
					),
				}
				expect_told(mark, "juliet@capulet.lit ball displayed supper")
			end)

			it("goes on after a restart of Prosody", function()
				local mark = gateway:mark()
				server:restart()
				assert.not_equal(0, gateway:ended()) -- so that who started it starts it again
				assert.truthy(gateway:complaints()[1]:find "Disconnected from the XMPP server")
				gateway:launch()
				connect()
				expect_told(mark, "juliet@capulet.lit login")
				prove_carbons()
			end)

			it("goes on after reloads of module and configuration", function()
				server:reload_module "privilege"
				prove_carbons()
				server:reload_config()
				prove_carbons()
			end)

			it("uses no grant that it lost, and uses it again when it is back", function()
				server:reload_config(config:format "")
				pass_through(juliet)
				local mark = gateway:mark()
				gateway:happen { user = juliet_jid, chat = "friar", act = "text", id = "lost", text = "Lost", self = true }
				gateway:wait("does not have the privilege", mark)
				assert.equal(1, #gateway:complaints())
				juliet:nothing(function(stanza)
					return stanza:find "{urn:xmpp:carbons:2}sent" ~= nil
				end)
				server:reload_config(granted)
				pass_through(juliet)
				prove_carbons()
			end)

			it("gets a grant that comes while it runs", function()
				gateway:stop()
				server:reload_config(config:format "")
				local mark = gateway:mark()
				gateway:launch()
				expect_told(mark, "juliet@capulet.lit login")
				pass_through(juliet)
				assert.truthy(gateway:complaints()[1])
				server:reload_config(granted)
				pass_through(juliet)
				prove_carbons()
			end)

			it("follows users who removed it while it was away only if its grant covers them", function()
				nurse = server:client("nurse@capulet.lit/kitchen", { roster = true })
				gateway:stop()
				assert.equal(
					"result",
					nurse:iq {
						type = "set",
						("<query xmlns='jabber:iq:roster'><item jid='%s' subscription='remove'/></query>"):format(verona),
					}.attr.type
				)
				expect_push(nurse, verona)
				gateway:launch()
				if users == "all" then
					assert.equal("both", expect_push(nurse, verona).attr.subscription)
				else
					gateway:wait "^WARNING.*Error with user .*nurse@capulet%.lit"
					assert.truthy(gateway:complaints()[1])
					nurse:sync()
					assert.is_nil(contact(nurse, verona))
				end
				pass_through(juliet)
				assert.same({}, gateway:complaints())
			end)

			it("unregisters users by form, by command and by chat", function()
				romeo = server:client("romeo@capulet.lit/orchard", { roster = true })
				local mark = gateway:mark()
				assert.equal(
					"result",
					juliet:iq { type = "set", to = verona, "<query xmlns='jabber:iq:register'><remove/></query>" }.attr.type
				)
				expect_told(mark, "juliet@capulet.lit logout")
				run_command(romeo, "https://slidge.im/command/core/unregister", { { confirm = "true" } })
				expect_told(mark, "romeo@capulet.lit logout")
				talk(nurse, { { nil, "unregister" }, { "^Are you sure", "yes" }, { "^You are not registered" } })
				expect_told(mark, "nurse@capulet.lit logout")
				-- It takes itself off the roster after a form only.
				for client, subscription in pairs { [juliet] = "none", [romeo] = "both" } do
					eventually("the end of all subscriptions", function()
						return contact(client, verona).attr.subscription == subscription
							and contact(client, friar).attr.subscription == "none"
					end)
				end
				if users == "opted-in" then
					server:wait_log "juliet@capulet%.lit opted out of verona"
					assert.is_nil(server:log():find("romeo@capulet.lit opted out of verona", 1, true))
					romeo:iq {
						type = "set",
						("<query xmlns='jabber:iq:roster'><item jid='%s' subscription='remove'/></query>"):format(verona),
					}
					server:wait_log "romeo@capulet%.lit opted out of verona"
				end
			end)

			it("takes back who registers again", function()
				juliet:drain()
				juliet:iq { type = "set", to = verona, "<query xmlns='jabber:iq:register'><username>juliet</username></query>" }
				expect_registered(juliet)
				prove_carbons()
			end)

			it("ends the clean way", function()
				assert.equal(0, gateway:stop())
			end)
		end)
	end
end
