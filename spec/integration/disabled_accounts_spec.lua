-- Accounts that an admin has disabled (Prosody 13): nothing is done in their name.

local console = require "spec.support.console"
local fixture = require "spec.support.fixture"
local privileged = require "spec.support.privileged"
local prosody = require "spec.support.prosody"
local rosters = require "spec.support.rosters"

local juliet = privileged.user

local config = [[
VirtualHost "capulet.lit"
	authentication = "internal_hashed"
	registration_delete_grace_period = "1d"
	privileged_entities = {
		["gateway.capulet.lit"] = {
			roster = "both"; roster_push = false; message = "outgoing"; iq = { ["urn:example"] = "get"; ["jabber:iq:register"] = "set" };
		};
	}
]] .. fixture.components "gateway"

describe("an account that an admin disables", function()
	local server, gateway, nurse

	local streams = fixture.drained(
		console.options({
			config = config,
			modules = { "privilege", console.has_help and "user_account_management" or nil },
			users = { juliet, "nurse@capulet.lit" },
			rosters = { [juliet] = { ["romeo@montague.lit"] = { subscription = "both" } } },
		}, prosody.free_port()),
		{ "gateway.capulet.lit", "nurse@capulet.lit/kitchen" },
		function(started, ...)
			server = started
			gateway, nurse = ...
		end
	)

	local since_13 = fixture.specs(console.has_help, "Prosody 13")

	local function admin(command)
		local output = console.run(server, ("user:%s(%q)"):format(command, juliet))
		assert.is_truthy(output:find("OK:", 1, true), output)
	end

	local function send()
		privileged.send(gateway, privileged.to_nurse(juliet))
	end

	local function ask()
		privileged.ask(gateway, { to = nurse.jid, "<query xmlns='urn:example'/>" })
	end

	local function set(name)
		return rosters.set(gateway, juliet, ("<item jid='romeo@montague.lit' name='%s'/>"):format(name))
	end

	local function assert_acted_for(name)
		send()
		nurse:expect { from = juliet, body = "psst" }
		ask()
		privileged.answer(nurse, privileged.asked(nurse))
		privileged.expect_answer(gateway, { from = nurse.jid })
		assert.is_equal("result", set(name))
	end

	since_13("B2.5 is acted for until then and when it is enabled again, and not meanwhile", function()
		assert_acted_for "Romeo"
		admin "disable"
		send()
		privileged.expect_refusal(gateway, "forbidden", "auth")
		ask()
		privileged.expect_refusal(gateway, "forbidden", "auth")
		assert.is_equal("auth forbidden", set "Paris")
		assert.same({ "romeo@montague.lit both name=Romeo" }, (rosters.get(gateway, juliet)))
		admin "enable"
		assert_acted_for "Tybalt"
		for _, stream in ipairs(streams()) do
			stream:nothing()
		end
	end)

	since_13("B2.5 is not acted for when the storage can be read again, after it could not", function()
		admin "disable"
		server:eval [[
			local provider = require "core.usermanager".get_provider(module.host);
			local is_enabled = provider.is_enabled;
			function provider.is_enabled()
				provider.is_enabled = is_enabled;
				return nil, "spec failure";
			end
		]]
		send()
		gateway:sync():drain()
		nurse:sync():drain()
		send()
		privileged.expect_refusal(gateway, "forbidden", "auth")
		nurse:nothing()
		admin "enable"
	end)

	since_13("B2.5 does not lose the answer to an iq that was sent before", function()
		ask()
		local iq = privileged.asked(nurse)
		admin "disable"
		privileged.answer(nurse, iq)
		privileged.expect_answer(gateway, { from = nurse.jid })
		admin "enable"
	end)

	-- mod_user_account_management disables the account until the time is over
	since_13("B7.5 B2.5 has the result of its removal, also where that is put off", function()
		privileged.ask(gateway, { "<query xmlns='jabber:iq:register'><remove/></query>" }, { type = "set" })
		privileged.expect_answer(gateway, { from = juliet })
		ask()
		privileged.expect_refusal(gateway, "forbidden", "auth")
		admin "enable"
	end)
end)
