-- Libervia PubSub of Debian as the PEP service of all users, beside mod_delegation: see `make test-libervia`.

local environment = require "spec.support.environment"
local programs = require "spec.support.programs"
local prosody = require "spec.support.prosody"
local lfs = require "lfs"

local config = [[
VirtualHost "capulet.lit"
	modules_disabled = { "pep" }
	privileged_entities = {
		["pubsub.capulet.lit"] = { roster = "get"; message = "outgoing"; presence = "roster" };
	}
	delegations = {
		["http://jabber.org/protocol/pubsub"] = { jid = "pubsub.capulet.lit" };
		["http://jabber.org/protocol/pubsub#owner"] = { jid = "pubsub.capulet.lit" };
	}
Component "pubsub.capulet.lit"
	component_secret = "secret"
	modules_enabled = { "delegation" }
]]

-- twistd reads its options from the environment; PGHOST says where the database is.
local command = "sh -c 'cd /usr/share/libervia/sat_pubsub && exec twistd3 --nodaemon --pidfile= libervia-pubsub --verbose'"

describe("Libervia PubSub", function()
	local server, service, juliet, romeo

	setup(function()
		server = prosody.start {
			config = config,
			modules = { "privilege", "delegation" },
			plugin_paths = { lfs.currentdir() .. "/lua-out", environment.source_folder .. "/modules" },
			users = { "juliet@capulet.lit", "romeo@capulet.lit" },
			rosters = {
				["juliet@capulet.lit"] = { ["romeo@capulet.lit"] = { subscription = "both" } },
				["romeo@capulet.lit"] = { ["juliet@capulet.lit"] = { subscription = "both" } },
			},
		}
		service = programs.start(command, {
			PYTHONPATH = "/usr/share/libervia",
			PYTHONDONTWRITEBYTECODE = "1",
			PGUSER = "postgres",
			PGDATABASE = "pubsub",
			LIBERVIA_PUBSUB_JID = "pubsub.capulet.lit",
			LIBERVIA_PUBSUB_XMPP_PWD = "secret",
			LIBERVIA_PUBSUB_RHOST = server.ip,
			LIBERVIA_PUBSUB_RPORT = server.component_port,
		})
	end)

	teardown(function()
		if service then
			local output = service:stop()
			assert.is_nil(output:find "Traceback", output)
		end
		server:stop()
	end)

	-- Reads what it says up to a line, and gives that
	local function expect_line(pattern)
		local lines = {}
		for line in
			function()
				return service:line()
			end
		do
			table.insert(lines, line)
			if line:find(pattern) then
				return line
			end
		end
		error(("Libervia PubSub did not say %q:\n%s"):format(pattern, table.concat(lines, "\n")), 2)
	end

	local function is_event(stanza)
		return stanza.name == "message" and stanza:find "{http://jabber.org/protocol/pubsub#event}event/items@node" == "urn:xmpp:tune"
	end

	it("is told its privileges", function()
		expect_line "Privileges updated:"
		expect_line "roster: get"
		expect_line "message: outgoing"
		expect_line "presence: roster"
		expect_line "delegations updated"
	end)

	it("sees who is online, and reads their rosters", function()
		juliet = server:client("juliet@capulet.lit/balcony")
		expect_line "RECV.*<presence.*juliet@capulet%.lit/balcony"
		expect_line "SEND.*jabber:iq:roster"
		expect_line "RECV.*romeo@capulet%.lit.*subscription='both'"
		romeo = server:client("romeo@capulet.lit/orchard", {
			presence = "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:spec' ver='1'/></presence>",
		})
		local query = romeo:expect { name = "iq", type = "get", from = "pubsub.capulet.lit" }
		romeo:send(
			("<iq type='result' id='%s' to='pubsub.capulet.lit'><query xmlns='http://jabber.org/protocol/disco#info'><feature var='urn:xmpp:tune+notify'/></query></iq>"):format(
				query.attr.id
			)
		)
		expect_line "RECV.*urn:xmpp:tune%+notify"
	end)

	it("sends notifications in the names of users", function()
		local answer = juliet:iq {
			type = "set",
			"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:tune'>"
				.. "<item id='1'><tune xmlns='urn:xmpp:tune'/></item></publish></pubsub>",
		}
		assert.equal("result", answer.attr.type)
		assert.equal("juliet@capulet.lit", romeo:expect(is_event).attr.from)
		assert.equal("juliet@capulet.lit", juliet:expect(is_event).attr.from)
	end)

	it("answers roster pushes with an error, which reaches nobody", function()
		juliet:iq { type = "set", "<query xmlns='jabber:iq:roster'><item jid='nurse@capulet.lit' name='Nurse'/></query>" }
		expect_line "RECV.*<iq[^>]*type='set'.*jabber:iq:roster.*nurse@capulet%.lit"
		expect_line "SEND.*<iq[^>]*type='error'.*service%-unavailable"
		juliet:nothing { type = "error" }
	end)
end)
