-- B4.3: a server that is killed in the middle of roster sets has, once it is started again, all that it has answered.

local prosody = require "spec.support.prosody"
local rosters = require "spec.support.rosters"

local config = [[
VirtualHost "capulet.lit"
	privileged_entities = { ["gateway.capulet.lit"] = { roster = "both" } }
Component "gateway.capulet.lit"
	component_secret = "secret"
]]

local user = "juliet@capulet.lit"
local total, contacts = 200, 12

-- The sets of a round: each changes or removes one of a dozen contacts
-- @return for each the contact, and its line in the roster after the set or nil
local function sets_of(round)
	local sets = {}
	for i = 1, total do
		local contact = ("c%d@gateway.capulet.lit"):format(i * 5 % contacts)
		local name = ("%d-%d"):format(round, i)
		-- every contact has its turn of being removed
		local removed = i % 7 == 0
		sets[i] = {
			contact = contact,
			removed = removed,
			line = ("%s both name=%s {g%s}"):format(contact, name, name),
			item = removed and ("<item jid='%s' subscription='remove'/>"):format(contact)
				or ("<item jid='%s' subscription='both' name='%s'><group>g%s</group></item>"):format(contact, name, name),
		}
	end
	return sets
end

-- What a roster is after one more set
local function apply(roster, set)
	roster[set.contact] = not set.removed and set.line or nil
end

local function text(roster)
	local lines = {}
	for _, line in pairs(roster) do
		table.insert(lines, line)
	end
	table.sort(lines)
	return table.concat(lines, "\n")
end

for _, storage in ipairs { "internal", "sql" } do
	describe("A server that is killed in the middle of roster sets, with " .. storage .. " storage,", function()
		local server
		-- by contact, after the sets so far
		local roster = {}
		local unanswered = 0

		setup(function()
			server = prosody.start { config = config, users = { user }, storage = storage, log_level = "info" }
		end)

		teardown(function()
			server:stop()
			assert.is_true(unanswered > 0, "the server was never killed in the middle")
		end)

		-- Reads until the server is gone
		-- @return how many sets were answered, and how many pushed
		local function read_to_the_end(stream, answers, pushes)
			repeat
				for _, stanza in ipairs(stream:drain()) do
					if stanza.attr.type == "set" then
						pushes = pushes + 1
					elseif stanza.name == "iq" then
						assert.is_truthy(
							stanza.attr.type == "result"
								or stanza.attr.type == "error"
									and stanza:get_child("error"):get_child("item-not-found", "urn:ietf:params:xml:ns:xmpp-stanzas"),
							tostring(stanza)
						)
						answers = answers + 1
						-- in the order they were asked
						assert.is_equal(tostring(answers), stanza.attr.id)
					end
				end
			until stream.closed
			return answers, pushes
		end

		-- Half of them with the user's client there
		for round, moment in ipairs { 1, 10, 27, 60, 95, 150 } do
			it(("B4.3 has all it answered, %d at least, and no half of what it did not"):format(moment), function()
				local gateway = server:component "gateway.capulet.lit"
				if round % 2 == 0 then
					server:client(user .. "/balcony", { roster = true })
				end
				gateway:sync():drain()
				local sets, requests = sets_of(round), {}
				for i, set in ipairs(sets) do
					requests[i] = ("<iq type='set' id='%d' from='%s' to='%s'><query xmlns='jabber:iq:roster'>%s</query></iq>"):format(
						i,
						gateway.jid,
						user,
						set.item
					)
				end
				gateway:send(table.concat(requests))
				local answers, pushes = 0, 0
				while answers < moment do
					local stanza = gateway:expect { name = "iq" }
					if stanza.attr.type == "set" then
						pushes = pushes + 1
					else
						answers = answers + 1
					end
				end
				server.process:write "KILL\n"
				answers, pushes = read_to_the_end(gateway, answers, pushes)
				unanswered = unanswered + total - answers
				server:kill()
				server:restart()

				gateway = server:component "gateway.capulet.lit"
				local stored = table.concat((rosters.get(gateway, user)), "\n")
				gateway:close()
				local candidates, done = {}, nil
				for i = 1, total do
					apply(roster, sets[i])
					candidates[i] = text(roster)
				end
				-- a change is pushed when it is saved
				for i = math.max(answers, pushes), total do
					if candidates[i] == stored then
						done = i
						break
					end
				end
				assert.is_truthy(
					done,
					("after %d answers and %d pushes the roster is\n%s\nand not\n%s"):format(answers, pushes, stored, candidates[answers])
				)
				-- go on from what is there
				roster = {}
				for line in stored:gmatch "[^\n]+" do
					roster[line:match "^%S+"] = line
				end
			end)
		end
	end)
end
