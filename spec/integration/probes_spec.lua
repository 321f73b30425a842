-- B8.4: how the server asks for the presences of offline users' contacts.

local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"
local socket = require "socket"

local taken, caught_up, settle = presences.taken, presences.caught_up, presences.settle

local grant = [[{ roster = "get"; roster_push = false; presence = "roster" };]]
local config = ([[
VirtualHost "capulet.lit"
	privilege_probe_rate = 5
	privileged_entities = { ["pubsub.capulet.lit"] = GRANT ["late.capulet.lit"] = GRANT }
VirtualHost "idle.lit"
	privileged_entities = { ["pubsub.idle.lit"] = GRANT }
VirtualHost "anew.lit"
	privileged_entities = { ["pubsub.anew.lit"] = GRANT }
VirtualHost "early.lit"
	privileged_entities = { ["pubsub.early.lit"] = GRANT }
VirtualHost "quiet.lit"
	privilege_probe_rate = 0
	privileged_entities = { ["pubsub.quiet.lit"] = GRANT }
VirtualHost "slow.lit"
	privilege_probe_rate = 0.5
	privileged_entities = { ["pubsub.slow.lit"] = GRANT }
VirtualHost "cut.lit"
	privilege_probe_rate = 0.5
	privileged_entities = { ["pubsub.cut.lit"] = GRANT }
VirtualHost "verona.lit"
Component "pubsub.capulet.lit" component_secret = "secret"
Component "late.capulet.lit" component_secret = "secret"
Component "pubsub.idle.lit" component_secret = "secret"
Component "pubsub.anew.lit" component_secret = "secret"
Component "pubsub.early.lit" component_secret = "secret"
Component "pubsub.quiet.lit" component_secret = "secret"
Component "pubsub.slow.lit" component_secret = "secret"
Component "pubsub.cut.lit" component_secret = "secret"
]]):gsub("GRANT", (grant:gsub("%%", "%%%%")))

local function roster(items)
	local list = {}
	for name, subscription in pairs(items) do
		list[name:find "@" and name or name .. "@montague.lit"] = { subscription = subscription }
	end
	return list
end

local many = {}
for i = 1, 30 do
	many[("contact%d"):format(i)] = "both"
end

-- What records the probes a host gets, and lets nobody answer for users who do not exist
local record = [[
	prosody.spec_probes = prosody.spec_probes or {};
	local user_exists = require "core.usermanager".user_exists;
	module:hook("presence/bare", function (event)
		local attr = event.stanza.attr;
		if attr.type == "probe" then
			table.insert(prosody.spec_probes, { from = attr.from, to = attr.to, time = require "socket".gettime() });
			return not user_exists(attr.to:match "^[^@]+", module.host) or nil;
		end
	end, 1000);
]]

describe("probing", function()
	local capulet, montague

	setup(function()
		capulet = prosody.start {
			config = config,
			s2s = true,
			users = {
				"juliet@capulet.lit",
				"nurse@capulet.lit",
				"peter@capulet.lit",
				"mercutio@verona.lit",
				"idler@idle.lit",
				"user@anew.lit",
				"user@early.lit",
				"user@quiet.lit",
				"user@slow.lit",
				"user@cut.lit",
			},
			rosters = {
				["juliet@capulet.lit"] = roster { online = "both", shared = "both" },
				["nurse@capulet.lit"] = roster {
					shared = "both",
					both = "both",
					to = "to",
					from = "from",
					none = "none",
					seen = "both",
					away = "both",
					["mercutio@verona.lit"] = "both",
					["juliet@capulet.lit"] = "both",
					["somebody@no.such.host"] = "both",
				},
				["peter@capulet.lit"] = roster { both = "both", to = "to", away = "both", a = "both", b = "both", c = "both" },
				["idler@idle.lit"] = roster { x = "both" },
				["user@anew.lit"] = roster { x = "both" },
				["user@early.lit"] = roster { online = "both" },
				["user@quiet.lit"] = roster(many),
				["user@slow.lit"] = roster { x = "both", y = "both", z = "both" },
				["user@cut.lit"] = roster { x = "both", y = "both", z = "both" },
				["mercutio@verona.lit"] = { ["nurse@capulet.lit"] = { subscription = "both" } },
			},
		}
		local accounts, rosters = {}, {}
		for i, name in ipairs { "online", "shared", "both", "to", "from", "none", "seen", "away" } do
			accounts[i] = name .. "@montague.lit"
			rosters[accounts[i]] = roster {
				["juliet@capulet.lit"] = "both",
				["nurse@capulet.lit"] = "both",
				["peter@capulet.lit"] = "both",
				["user@early.lit"] = "both",
			}
		end
		montague = presences.start_montague(accounts, rosters)
		montague:eval(record)
		capulet:eval(record, "verona.lit")
	end)

	teardown(function()
		capulet:stop()
		montague:stop()
	end)

	after_each(function()
		for _, server in ipairs { capulet, montague } do
			for _, stream in ipairs(server.streams) do
				stream:close()
			end
			server.streams = {}
			server:eval "prosody.spec_probes = {}"
		end
	end)

	-- Waits until the first server has handled all that the clients of the second one sent
	local function reach(host)
		local marker = montague:client("away@montague.lit/marker", { presence = false })
		presences.reach(marker, host)
		marker:close()
	end

	-- Waits until there were as many probes as expected, or for a while; forgets them then
	-- @return the sorted list of "CONTACT by USER/RESOURCE", "*" for a made up resource, and the times of the first and the last
	local function probes(server, count)
		local deadline = socket.gettime() + 20
		local list
		while true do
			list = server:eval "return prosody.spec_probes"
			if #list >= count or socket.gettime() > deadline then
				break
			end
			socket.sleep(0.01)
		end
		server:eval "prosody.spec_probes = {}"
		local first, last = math.huge, 0
		for i, probe in ipairs(list) do
			list[i] = probe.to .. " by " .. probe.from:gsub("/" .. ("%x"):rep(16) .. "$", "/*")
			first, last = math.min(first, probe.time), math.max(last, probe.time)
		end
		table.sort(list)
		return list, first, last
	end

	it("B8.4 is done for contacts of offline users only, for each once, from a full JID that is nobody's, at the rate", function()
		-- these are online before the module can hear of it
		capulet:unload_module "privilege"
		montague:client("both@montague.lit/x"):send "<presence><show>away</show></presence>"
		capulet:client "mercutio@verona.lit/x"
		reach()
		capulet:load_module "privilege"
		local juliet = capulet:client "juliet@capulet.lit/balcony"
		for _, name in ipairs { "online", "seen", "from", "none" } do
			montague:client(name .. "@montague.lit/x")
		end
		reach()
		-- what her client asked for
		assert.is_same({
			"online@montague.lit by juliet@capulet.lit/balcony",
			"shared@montague.lit by juliet@capulet.lit/balcony",
		}, (probes(montague, 2)))
		capulet:eval "prosody.spec_probes = {}"
		juliet:sync():drain()

		local pubsub, late = capulet:component "pubsub.capulet.lit", capulet:component "late.capulet.lit"
		for _, from in ipairs { "both@montague.lit/x", "mercutio@verona.lit/x" } do
			pubsub:expect { name = "presence", from = from, type = false }
			late:expect { name = "presence", from = from, type = false }
		end
		local found, first, last = probes(montague, 6)
		for i, probe in ipairs(found) do
			-- the user may be any one who has the contact
			found[i] = probe:gsub("^(both@.* by ).*", "%1X"):gsub("^(to@.* by ).*", "%1X"):gsub("^(away@.* by ).*", "%1X")
			assert.is_truthy(probe:find " by nurse@capulet.lit/%*$" or probe:find " by peter@capulet.lit/%*$")
		end
		assert.is_same({
			"a@montague.lit by peter@capulet.lit/*",
			"away@montague.lit by X",
			"b@montague.lit by peter@capulet.lit/*",
			"both@montague.lit by X",
			"c@montague.lit by peter@capulet.lit/*",
			"to@montague.lit by X",
		}, found)
		-- five pauses at least, of 200 ms each
		assert.is_true(last - first > 0.9)
		assert.is_same({ "mercutio@verona.lit by nurse@capulet.lit/*" }, (probes(capulet, 1)))
		assert.is_same(
			{
				"both@montague.lit/x away",
				"juliet@capulet.lit/balcony",
				"mercutio@verona.lit/x",
				"online@montague.lit/x",
				"seen@montague.lit/x",
			},
			(function()
				local told = caught_up(pubsub)
				table.insert(told, "both@montague.lit/x away")
				table.insert(told, "mercutio@verona.lit/x")
				table.sort(told)
				return told
			end)()
		)

		-- nothing of all that for her client, and no more probes
		juliet:nothing()
		pubsub:close()
		pubsub = capulet:component "pubsub.capulet.lit"
		assert.is_same({
			"both@montague.lit/x away",
			"juliet@capulet.lit/balcony",
			"mercutio@verona.lit/x",
			"online@montague.lit/x",
			"seen@montague.lit/x",
		}, caught_up(pubsub))
		settle(capulet, 0.25)
		assert.is_same({}, (probes(montague, 0)))
		assert.is_same({}, (probes(capulet, 0)))
	end)

	it("B8.4 is done for users who are connected but not available, as their clients do not", function()
		local idler = capulet:client("idler@idle.lit/x", { presence = false })
		capulet:component "pubsub.idle.lit"
		assert.is_same({ "x@montague.lit by idler@idle.lit/*" }, (probes(montague, 1)))
		idler:nothing()
	end)

	it("B8.4 finds the contacts of users who were online before there was the permission, without their clients noticing", function()
		capulet:unload_module("privilege", "early.lit")
		local user = capulet:client "user@early.lit/balcony"
		local online = montague:client("online@montague.lit/x", { presence = "<presence><show>chat</show></presence>" })
		reach "early.lit"
		user:sync():drain()
		capulet:load_module("privilege", "early.lit")
		local pubsub = capulet:component "pubsub.early.lit"
		local told = pubsub:expect { name = "presence", from = "online@montague.lit/x", to = "pubsub.early.lit", type = false }
		assert.is_equal("chat", told:get_child_text "show")
		-- a change is told to both as usual, and nothing else
		online:send "<presence/>"
		pubsub:expect { name = "presence", from = "online@montague.lit/x" }
		settle(capulet, 0.25)
		assert.is_same({ "online@montague.lit/x" }, taken(user))
		online:nothing { type = "error" }
	end)

	it("B8.4 finds the other clients of such a contact too, when one of them was heard of meanwhile", function()
		capulet:unload_module("privilege", "early.lit")
		local user = capulet:client "user@early.lit/balcony"
		local quiet = montague:client("online@montague.lit/quiet", { presence = "<presence><show>dnd</show></presence>" })
		local lively = montague:client "online@montague.lit/lively"
		reach "early.lit"
		capulet:load_module("privilege", "early.lit")
		lively:send "<presence><show>away</show></presence>"
		user:expect(function(stanza)
			return stanza.attr.from == lively.jid and stanza:get_child_text "show" == "away"
		end)
		user:sync():drain()
		local pubsub = capulet:component "pubsub.early.lit"
		for resource, show in pairs { lively = "away", quiet = "dnd" } do
			local told = pubsub:expect { name = "presence", from = "online@montague.lit/" .. resource, type = false }
			assert.is_equal(show, told:get_child_text "show")
		end
		settle(capulet, 0.25)
		pubsub:nothing { name = "presence", from = "online@montague.lit/lively" }
		assert.is_same({}, taken(user))
		for _, client in ipairs { user, quiet, lively } do
			client:close()
		end
	end)

	it("B8.4 is not done with a rate of 0, and is where no rate is configured", function()
		finally(function()
			capulet:reload_config(config)
		end)
		reach "quiet.lit" -- the servers are connected then
		local pubsub = capulet:component "pubsub.quiet.lit"
		settle(capulet, 0.25)
		assert.is_same({}, (probes(montague, 0)))
		pubsub:close()
		capulet:reload_config((config:gsub("privilege_probe_rate = 0\n", "\n")))
		capulet:component "pubsub.quiet.lit"
		assert.is_equal(30, #probes(montague, 30))
	end)

	it("B8.4 is not done any more for a user who came online meanwhile", function()
		capulet:component "pubsub.slow.lit"
		assert.is_equal(1, #probes(montague, 1))
		local user = capulet:client "user@slow.lit/x"
		-- the client's own
		assert.is_same({
			"x@montague.lit by user@slow.lit/x",
			"y@montague.lit by user@slow.lit/x",
			"z@montague.lit by user@slow.lit/x",
		}, (probes(montague, 3)))
		settle(capulet, 2.2)
		assert.is_same({}, (probes(montague, 0)))
		user:nothing()
	end)

	it("B8.4 is done anew where the permission was taken away and is given again", function()
		local function grants(text)
			capulet:reload_config((config:gsub('%["pubsub.anew.lit"%] = %b{};', text or "%0")))
		end
		grants()
		local pubsub = capulet:component "pubsub.anew.lit"
		assert.is_same({ "x@montague.lit by user@anew.lit/*" }, (probes(montague, 1)))
		grants ""
		settle(capulet)
		grants()
		assert.is_same({ "x@montague.lit by user@anew.lit/*" }, (probes(montague, 1)))
		assert.is_same({}, taken(pubsub))
	end)

	it("B8.4 goes on after a reload of the module, with those that were not probed yet", function()
		capulet:component "pubsub.cut.lit"
		assert.is_equal(1, #probes(montague, 1))
		capulet:reload_module("privilege", "cut.lit")
		assert.is_equal(2, #probes(montague, 2))
		settle(capulet, 2.2)
		assert.is_same({}, (probes(montague, 0)))
	end)

	it("B8.4 does without where the server cannot list its users", function()
		capulet:eval([[
			local provider = prosody.hosts["capulet.lit"].users;
			prosody.spec_users, provider.users = provider.users, nil;
		]])
		finally(function()
			capulet:eval([[prosody.hosts["capulet.lit"].users.users = prosody.spec_users]])
		end)
		capulet:client "juliet@capulet.lit/balcony"
		montague:client "online@montague.lit/x"
		reach()
		local late = capulet:component "late.capulet.lit"
		late:expect { name = "presence", from = "juliet@capulet.lit/balcony" }
		late:expect { name = "presence", from = "online@montague.lit/x" }
	end)
end)
