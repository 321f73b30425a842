-- The examples of components, each run as its reader would, with the configuration that goes with them.

local environment = require "spec.support.environment"
local fixture = require "spec.support.fixture"
local programs = require "spec.support.programs"
local prosody = require "spec.support.prosody"
local rosters = require "spec.support.rosters"
local lfs = require "lfs"

local juliet, friend = "juliet@capulet.lit", "friend@gateway.capulet.lit"
local config = environment.read_file "examples/prosody.cfg.lua"
	.. [[
	Component "reader.capulet.lit"
		component_secret = "secret"
	Component "silent.capulet.lit"
		component_secret = "secret"
	Component "nobody.capulet.lit"
		component_secret = "secret"
]]
local granted = "capulet.lit grants: roster both, message outgoing, iq set http://jabber.org/protocol/pubsub"

local examples = {
	{
		name = "typescript",
		command = "node build/examples/gateway.js",
		compile = "node node_modules/typescript/bin/tsc -p examples/typescript",
		usable = programs.has_node,
		needs = "Node.js with the project's packages",
		after_restart = "connects again",
		refusal = 'failed: forbidden - Changing rosters needs roster = "set": juliet@capulet.lit',
	},
	{
		name = "python",
		command = "/usr/bin/python3 -u examples/python/gateway.py",
		usable = programs.has_slixmpp,
		needs = "slixmpp 1.8, of Debian 12",
		after_restart = "ends with status 1, so that it is started again",
		lost = "failed: the server closed the connection",
		refusal = "failed: capulet.lit does not grant roster both",
	},
}

local server

local function run(example, variables, user)
	variables.GATEWAY_SERVER = "127.0.0.1:" .. server.component_port
	return programs.start(example.command .. " " .. (user or juliet), variables)
end

-- What an example writes until it ends by itself, without what libraries log
local function failure(...)
	local output, status = run(...):finish()
	assert.equal(1, status, output)
	local line = output:match "failed: [^\n]*"
	assert.truthy(line, output)
	return line
end

for _, example in ipairs(examples) do
	describe("the example in examples/" .. example.name, function()
		local program
		local it = fixture.specs(example.usable, example.needs)

		setup(function()
			if not example.usable then
				return
			end
			assert(not example.compile or programs.succeeds(example.compile), "it does not compile")
			server = prosody.start {
				config = config,
				users = { juliet },
				rosters = { [juliet] = { ["nurse@capulet.lit"] = { subscription = "both" } } },
			}
		end)

		after_each(function()
			if program then
				program:stop()
				program = nil
			end
			if server then
				server:reload_config(config)
			end
		end)

		teardown(function()
			if server then
				server:stop()
				server = nil
			end
		end)

		-- The next line of the program that has a text
		local function line_with(text)
			local line
			repeat
				line = assert(program:line(), "it has ended")
			until line:find(text, 1, true)
			return line
		end

		-- Puts further entries into privileged_entities
		local function grant(entries)
			server:reload_config((config:gsub("privileged_entities = {", "%0 " .. entries)))
		end

		-- How many roster pushes the program has answered so far
		local function answered_pushes()
			local answers = 0
			for tag in server:log():gmatch "Received%[component%]: (<iq [^>]*>)" do
				if tag:find "type=['\"]result" and tag:find "to=['\"]juliet@capulet.lit['\"]" then
					answers = answers + 1
				end
			end
			return answers
		end

		it("does what it says, and clients see it", function()
			local answered_before = answered_pushes()
			local client = server:client(juliet .. "/balcony", { carbons = true, roster = true })
			-- Other specs have the example add contacts, too.
			for _, contact in ipairs { friend, "friend@silent.capulet.lit" } do
				rosters.set(client, nil, ("<item jid='%s' subscription='remove'/>"):format(contact))
			end
			client:sync():drain()
			program = run(example, {})

			local line = program:line()
			if line:find "stringprep" then -- slixmpp's own opinion
				line = program:line()
			end
			assert.equal(granted, line)
			assert.equal("contacts of juliet@capulet.lit: nurse@capulet.lit", program:line())
			-- The answer and the push may come in either order
			local lines = { program:line(), program:line() }
			table.sort(lines)
			assert.same({
				"friend@gateway.capulet.lit is a contact of juliet@capulet.lit",
				"roster of juliet@capulet.lit: friend@gateway.capulet.lit, subscription both",
			}, lines)
			assert.equal("bookmark: result", program:line())
			assert.equal("juliet@capulet.lit wrote over there: Hello from the other side", program:line())

			assert.same({ friend .. " both name=Friend {Gateway}" }, rosters.pushes(client))
			local bookmarks = client:iq {
				type = "get",
				"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub>",
			}
			local item = bookmarks:find "{http://jabber.org/protocol/pubsub}pubsub/items/item"
			assert.equal("room@gateway.capulet.lit", item.attr.id)
			local carbon = client:expect { name = "message", from = juliet, child = "sent", xmlns = "urn:xmpp:carbons:2" }
			local sent = carbon:find "{urn:xmpp:carbons:2}sent/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
			assert.equal(friend, sent.attr.to)
			assert.equal("Hello from the other side", sent:get_child_text("body", "jabber:client"))

			client:send(("<message to='%s' type='chat'><body>Wherefore art thou?</body></message>"):format(friend))
			assert.equal("juliet@capulet.lit/balcony writes: Wherefore art thou?", program:line())
			assert.truthy(client:expect { name = "message", from = friend, body = "You said: Wherefore art thou?" })

			assert.equal("result", rosters.set(client, nil, ("<item jid='%s' subscription='remove'/>"):format(friend)))
			assert.equal("roster of juliet@capulet.lit: friend@gateway.capulet.lit, subscription remove", program:line())

			-- Nobody but the server is believed
			local forged =
				client:iq { type = "set", to = friend, "<query xmlns='jabber:iq:roster'><item jid='tybalt@capulet.lit'/></query>" }
			assert.equal("error", forged.attr.type)

			local output, status = program:stop()
			program = nil
			assert.equal("", output)
			assert.equal(0, status)
			-- Both pushes were answered
			assert.equal(2, answered_pushes() - answered_before)
		end)

		it("tells when it is granted too little", function()
			grant('["reader.capulet.lit"] = { roster = "get" };')
			assert.equal(example.refusal, failure(example, { GATEWAY_DOMAIN = "reader.capulet.lit" }))
			assert.equal(
				"failed: capulet.lit grants nothing to nobody.capulet.lit, see privileged_entities",
				failure(example, { GATEWAY_DOMAIN = "nobody.capulet.lit" })
			)
		end)

		it("tells when its secret is wrong", function()
			assert.matches("^failed: not%-authorized", failure(example, { GATEWAY_SECRET = "wrong" }))
		end)

		it("tells when there is no such user", function()
			assert.equal("failed: item-not-found - There is no such user: tybalt@capulet.lit", failure(example, {}, "tybalt@capulet.lit"))
		end)

		it("tells when its message is refused", function()
			grant('["silent.capulet.lit"] = { roster = "both" };')
			program = run(example, { GATEWAY_DOMAIN = "silent.capulet.lit" })
			assert.matches(
				'^capulet.lit refuses message %S+: forbidden %- Sending messages needs message = "outgoing": juliet@capulet.lit$',
				line_with "refuses"
			)
		end)

		it("tells when its permissions change", function()
			program = run(example, {})
			line_with "wrote over there"
			server:reload_config((config:gsub('roster = "both"', 'roster = "get"')))
			assert.equal((granted:gsub("roster both", "roster get")), program:line())
			server:reload_config((config:gsub('%["gateway', '["nobody')))
			assert.equal("capulet.lit grants: roster none, message none, iq none http://jabber.org/protocol/pubsub", program:line())
		end)

		it(example.after_restart .. " when the server has been away", function()
			program = run(example, {})
			line_with "wrote over there"
			server:kill()
			if example.lost then
				local output, status = program:finish()
				program = nil
				assert.equal(example.lost .. "\n", output)
				assert.equal(1, status)
			end
			server:restart()
			if program then
				assert.equal(granted, line_with "grants")
			end
		end)
	end)
end

describe("the example for Docker", function()
	-- A container goes on seeing the old text of a mounted file that is replaced, as git and most editors do it.
	it("mounts folders that are there for Prosody, and the program of the gateway", function()
		local mounted = {}
		local function note(path)
			mounted[#mounted + 1] = path .. " " .. tostring(lfs.attributes(path, "mode"))
		end
		for path in environment.read_file("examples/compose.yaml"):gmatch '[%s"](%.[^:%s]*):/' do
			note("examples/" .. path)
		end
		for path in environment.read_file("examples/README.md"):gmatch '"%$PWD/([^:]*):/' do
			note(path)
		end
		assert.same({
			"examples/../lua-out directory",
			"examples/. directory",
			"examples/./python/gateway.py file",
			"lua-out directory",
			"examples directory",
		}, mounted)
	end)

	it("publishes ports to the machine itself only, as its passwords are known", function()
		local text = environment.read_file "examples/compose.yaml" .. environment.read_file "examples/README.md"
		local _, published = text:gsub("%d+:%d+", "")
		local _, to_itself = text:gsub("127%.0%.0%.1:%d+:%d+", "")
		assert.equal(3, to_itself)
		assert.equal(to_itself, published)
	end)

	it("lets components connect from other containers", function()
		-- As the image has it, behind the virtual hosts
		local include = ('Include "%s/examples/*.cfg.lua"\n'):format(lfs.currentdir())
		server = prosody.start { config = 'VirtualHost "capulet.lit"\n' .. include }
		finally(function()
			server:stop()
			server = nil
		end)
		assert.not_equal("127.9.9.9", server.ip)
		local other = setmetatable({ ip = "127.9.9.9" }, { __index = server })
		other:component "gateway.capulet.lit"
	end)
end)
