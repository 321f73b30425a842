-- Behaviour 12.5 and 12.8: what an entity whose grant covers some users gets of their contacts.

local presences = require "spec.support.presences"
local prosody = require "spec.support.prosody"

local opt_in = "<message to='gateway.capulet.lit'><body>in</body></message>"
local opt_out = "<presence type='unsubscribed' to='gateway.capulet.lit'/>"

local function config(users, all)
	return ([[
		VirtualHost "capulet.lit"
			privilege_probe_rate = 0
			privileged_entities = {
				["gateway.capulet.lit"] = { users = %s, roster = "get", presence = "roster" };
				["all.capulet.lit"] = { roster = "get", presence = "%s" };
			}
		VirtualHost "verona.lit" modules_disabled = { "privilege" }
		Component "gateway.capulet.lit" component_secret = "secret"
		Component "all.capulet.lit" component_secret = "secret"
		Component "montague.lit" component_secret = "secret"
	]]):format(users, all or "roster")
end

local function contacts(count)
	local items = {}
	for i = 1, count do
		items[("c%05d@montague.lit"):format(i)] = { subscription = "both" }
	end
	return items
end

describe("covered users' contacts", function()
	local server, gateway, all, remote

	teardown(function()
		prosody.kill_all()
	end)

	local function start(users, rosters, options)
		options = options or {}
		options.config = config(users, options.all)
		options.rosters = rosters
		options.users = options.users or {}
		for address in pairs(rosters) do
			table.insert(options.users, address)
		end
		server = prosody.start(options)
		gateway, remote = server:component "gateway.capulet.lit", server:component "montague.lit"
		presences.caught_up(gateway)
	end

	local function send(from, to, show)
		local kind = show == "unavailable" and " type='unavailable'" or ""
		local child = show and kind == "" and "<show>" .. show .. "</show>" or ""
		remote:send(("<presence from='%s@montague.lit/r' to='%s@capulet.lit'%s>%s</presence>"):format(from, to, kind, child))
		remote:sync()
	end

	describe("who get different presences of one contact", function()
		local both = { ["romeo@montague.lit"] = { subscription = "both" } }

		before_each(function()
			start('{ "juliet", "peter" }', { ["juliet@capulet.lit"] = both, ["nurse@capulet.lit"] = both, ["peter@capulet.lit"] = both })
			all = server:component "all.capulet.lit"
			presences.caught_up(all)
		end)

		after_each(function()
			server:stop()
		end)

		it("B12.5 show the entity what they get, and nothing that only others get", function()
			send("romeo", "juliet", "dnd")
			assert.is_same({ "romeo@montague.lit/r dnd" }, presences.taken(gateway))
			send("romeo", "nurse", "xa")
			assert.is_same({}, presences.taken(gateway))
			assert.is_same({ "romeo@montague.lit/r dnd", "romeo@montague.lit/r xa" }, presences.taken(all))
			-- the same once for all who are covered
			send("romeo", "peter", "dnd")
			assert.is_same({}, presences.taken(gateway))
			send("romeo", "peter", "away")
			send("romeo", "juliet", "away")
			assert.is_same({ "romeo@montague.lit/r away" }, presences.taken(gateway))
			-- who is told later gets the same
			send("romeo", "nurse", "chat")
			gateway:close()
			gateway = server:component "gateway.capulet.lit"
			assert.is_same({ "romeo@montague.lit/r away" }, presences.caught_up(gateway))
			send("romeo", "juliet", "unavailable")
			assert.is_same({}, presences.taken(gateway))
			send("romeo", "peter", "unavailable")
			assert.is_same({ "romeo@montague.lit/r unavailable" }, presences.taken(gateway))
			send("romeo", "nurse", "dnd")
			send("romeo", "nurse", "unavailable")
			assert.is_same({}, presences.taken(gateway))
		end)

		it("B12.5 show what another of them gets when the one through whom it was told does not see it any more", function()
			send("romeo", "peter", "dnd")
			send("romeo", "juliet", "xa")
			assert.is_same({ "romeo@montague.lit/r dnd", "romeo@montague.lit/r xa" }, presences.taken(gateway))
			send("romeo", "juliet", "unavailable")
			assert.is_same({ "romeo@montague.lit/r dnd" }, presences.taken(gateway))
			send("romeo", "peter", "unavailable")
			assert.is_same({ "romeo@montague.lit/r unavailable" }, presences.taken(gateway))
		end)

		it("B12.8 show the entity what they got when a reload narrows or widens the grant", function()
			send("romeo", "juliet", "dnd")
			send("romeo", "nurse", "xa")
			assert.is_same({ "romeo@montague.lit/r dnd" }, presences.taken(gateway))
			server:reload_config(config '"all"')
			assert.is_same({ "romeo@montague.lit/r xa" }, presences.caught_up(gateway))
			server:reload_config(config '{ "juliet" }')
			assert.is_same({ "romeo@montague.lit/r dnd" }, presences.caught_up(gateway))
			server:reload_config(config '{ "nurse" }')
			-- the end through juliet, the beginning through the nurse
			local list = presences.caught_up(gateway)
			assert.is_same({ "romeo@montague.lit/r unavailable", "romeo@montague.lit/r xa" }, list)
			server:reload_config(config '"all"')
			presences.caught_up(gateway)
			server:reload_config(config '{ "peter" }')
			assert.is_same({ "romeo@montague.lit/r unavailable" }, presences.caught_up(gateway))
			send("romeo", "nurse", "unavailable")
			send("romeo", "juliet", "unavailable")
			assert.is_same({}, presences.taken(gateway))
		end)
	end)

	describe("who are many", function()
		local count = 2000

		after_each(function()
			server:stop()
		end)

		it("B11 cost no more for a presence that one of them gets, however many see the contact", function()
			local rosters = { ["other@verona.lit"] = {} }
			for i = 1, count do
				rosters[("u%05d@capulet.lit"):format(i)] =
					{ ["romeo@montague.lit"] = { subscription = "both" }, ["few@montague.lit"] = { subscription = "both" } }
			end
			start('"opted-in"', rosters, { log_level = "info", all = "none" })
			local text = {}
			for i = 1, count do
				text[i] = ("<presence from='romeo@montague.lit/r' to='u%05d@capulet.lit'/>"):format(i)
			end
			for i = 1, count, 200 do
				remote:send(table.concat(text, "", i, i + 199))
				remote:sync()
			end
			-- The processor time that the server takes; the clock on the wall would tell how busy the machine is.
			local function time(from)
				local began = server:eval "return os.clock()"
				for i = 1, 100 do
					remote:send(
						("<presence from='%s@montague.lit/r' to='u00001@capulet.lit'><status>%d</status></presence>"):format(from, i)
					)
				end
				remote:sync()
				return server:eval "return os.clock()" - began
			end
			time "few"
			local few, many = math.huge, math.huge
			for _ = 1, 3 do
				few, many = math.min(few, time "few"), math.min(many, time "romeo")
			end
			assert.is_true(many < 3 * few + 0.02, ("%d viewers: %g s, one: %g s"):format(count, many, few))
		end)
	end)

	describe("who have many contacts", function()
		local count = 4000
		local juliet

		before_each(function()
			start('"opted-in"', { ["juliet@capulet.lit"] = contacts(count + 500) }, { log_level = "info", all = "none" })
			juliet = server:client("juliet@capulet.lit/balcony", { presence = false })
			local text = {}
			for i = 1, count do
				table.insert(
					text,
					("<presence from='c%05d@montague.lit/r' to='juliet@capulet.lit/balcony'><status>%s</status></presence>"):format(
						i,
						("x"):rep(300)
					)
				)
				if #text == 500 then
					remote:send(table.concat(text))
					remote:sync()
					juliet:sync():drain()
					text = {}
				end
			end
		end)

		after_each(function()
			server:stop()
		end)

		-- Whom the entity takes for available, by what it gets until nothing more comes
		local function picture(known)
			local got = 0
			repeat
				presences.settle(server, 0.1)
				local list = presences.taken(gateway)
				for _, line in ipairs(list) do
					local from, kind = line:match "^(%S+) ?(%S*)"
					if from:find "@montague.lit" then
						known[from] = kind ~= "unavailable" or nil
						got = got + 1
					end
				end
			until #list == 0
			local available = 0
			for _ in pairs(known) do
				available = available + 1
			end
			return available, got
		end

		-- Waits until the entity is told of the first contact
		local function first_told(known)
			local stanza = gateway:expect { name = "presence" }
			known[stanza.attr.from] = true
		end

		it("B12.5 show nothing any more once they opted out, though the entity was just being told", function()
			juliet:send(opt_in .. opt_out)
			juliet:sync()
			local known = {}
			assert.is_equal(0, (picture(known)))
			send("c00001", "juliet", "dnd")
			assert.is_same({}, presences.taken(gateway))
			-- between two slices of it
			server:eval(([[
				local session = prosody.full_sessions["juliet@capulet.lit/balcony"];
				local stanza = require "util.xml".parse(%q);
				module:hook("pre-message/host", function ()
					module:add_timer(0.006, function ()
						stanza.attr.xmlns = nil;
						prosody.core_process_stanza(session, stanza);
						-- who comes online now is not to be told of any more
						for i = 4001, 4500 do
							local from = ("c%%05d@montague.lit/r"):format(i);
							prosody.core_post_stanza(prosody.hosts["montague.lit"], require "util.stanza".presence({ from = from, to = session.full_jid }), true);
						end
					end);
				end);
			]]):format(opt_out))
			juliet:send(opt_in)
			juliet:sync()
			assert.is_equal(0, (picture(known)))
			send("c00001", "juliet", "chat")
			assert.is_same({}, presences.taken(gateway))
		end)

		it("B12.5 are told of completely when they opt in for good in the midst of it", function()
			local known = {}
			juliet:send(opt_in)
			first_told(known)
			juliet:send(opt_out .. opt_in .. opt_out .. opt_in)
			juliet:sync()
			assert.is_equal(count, (picture(known)))
		end)

		it("B11 opt out and in again and again without keeping the server busy", function()
			local known = {}
			juliet:send(opt_in)
			juliet:sync()
			assert.is_equal(count, (picture(known)))
			-- the most processor time that the server took while its timers had to wait
			server:eval [[
				local last = os.clock();
				prosody.spec_longest = 0;
				module:add_timer(0.001, function ()
					local now = os.clock();
					prosody.spec_longest, last = math.max(prosody.spec_longest, now - last), now;
					return 0.001;
				end);
			]]
			juliet:send(opt_out)
			juliet:sync()
			local available, got = picture(known)
			assert.is_equal(0, available)
			assert.is_equal(count, got)
			juliet:send((opt_in .. opt_out):rep(20) .. opt_in)
			juliet:sync()
			available, got = picture(known)
			assert.is_equal(count, available)
			assert.is_true(got <= 2 * count, "stanzas: " .. got)
			local longest = server:eval "return prosody.spec_longest"
			assert.is_true(longest > 0 and longest < 0.1, "s: " .. longest)
		end)
	end)

	describe("who lose contacts or opt out while the entity is being told", function()
		local both = { ["romeo@montague.lit"] = { subscription = "both" } }
		-- All that one domain has ends; at the first roster that is read, before the entity is told of any contact
		local end_at_roster = [[
			prosody.spec_fail = { roster_get = function ()
				prosody.spec_fail = nil;
				prosody.hosts["montague.lit"].events.fire_event("component-disconnected", { session = prosody.hosts["montague.lit"].modules.component.session });
			end };
		]]
		-- What a client sends, for code that has to run before any timer
		local act = [[
			local function act(text)
				local stanza = require "util.xml".parse(text);
				stanza.attr.xmlns = nil;
				prosody.core_process_stanza(prosody.full_sessions["juliet@capulet.lit/balcony"], stanza);
			end
		]]

		after_each(function()
			server:stop()
		end)

		local function start_with(users)
			start(users, { ["juliet@capulet.lit"] = both, ["nurse@capulet.lit"] = both, ["peter@capulet.lit"] = {} })
		end

		-- Has a user opt in who sees a contact, as the entity is told
		local function opt_in_juliet()
			start_with '"opted-in"'
			server:client("juliet@capulet.lit/balcony", { presence = false }):send(opt_in):sync()
			send("romeo", "juliet")
			assert.is_same({ "romeo@montague.lit/r" }, presences.caught_up(gateway))
		end

		it("B12.8 leave no ghost where a reload widens the grant", function()
			start_with '{ "juliet" }'
			send("romeo", "juliet")
			assert.is_same({ "romeo@montague.lit/r" }, presences.taken(gateway))
			server:eval(end_at_roster)
			server:reload_config(config '"all"')
			assert.is_same({ "romeo@montague.lit/r unavailable" }, presences.caught_up(gateway))
		end)

		it("B12.5 leave no ghost where the module is reloaded", function()
			start_with '{ "juliet" }'
			send("romeo", "juliet")
			assert.is_same({ "romeo@montague.lit/r" }, presences.taken(gateway))
			server:eval(end_at_roster)
			server:reload_module "privilege"
			assert.is_same({ "romeo@montague.lit/r unavailable" }, presences.caught_up(gateway))
		end)

		it("B12.5 leave no ghost where the module is reloaded before the entity is told", function()
			opt_in_juliet()
			server:eval((act .. [[
				act(%q);
				require "core.modulemanager".reload("capulet.lit", "privilege");
			]]):format(opt_out))
			assert.is_same({ "romeo@montague.lit/r unavailable" }, presences.caught_up(gateway))
		end)

		it("B8.4 stay known over a reload of the module where those who opted in cannot be listed", function()
			opt_in_juliet()
			server:eval [[
				module:hook("store-opened", function (event)
					if event.store_name == "privilege" then
						event.store.users = false;
					end
				end);
			]]
			server:reload_module "privilege"
			assert.is_same({}, presences.of_contacts(presences.caught_up(gateway)))
			send("romeo", "juliet", "unavailable")
			assert.is_same({ "romeo@montague.lit/r unavailable" }, presences.taken(gateway))
		end)

		it("B12.8 leave no ghost where the module is reloaded together with a configuration that narrows the grant", function()
			start_with '"all"'
			send("romeo", "nurse")
			send("ben", "juliet") -- who is a stranger
			assert.is_same({ "romeo@montague.lit/r" }, presences.taken(gateway))
			server:eval [[
				module:hook_global("config-reloaded", function ()
					require "core.modulemanager".reload("capulet.lit", "privilege");
				end, -1);
			]]
			server:reload_config(config '{ "juliet" }')
			assert.is_same({ "romeo@montague.lit/r unavailable" }, presences.caught_up(gateway))
		end)

		it("B12.5 show what a contact sent in between when they opt out and in again at once", function()
			opt_in_juliet()
			server:eval((act .. [[
				act(%q);
				local stanza = require "util.stanza".presence({ from = "romeo@montague.lit/r", to = "juliet@capulet.lit" });
				prosody.core_post_stanza(prosody.hosts["montague.lit"], stanza:tag("show"):text("dnd"):reset());
				act(%q);
			]]):format(opt_out, opt_in))
			local list = presences.caught_up(gateway)
			assert.is_same({ "romeo@montague.lit/r dnd" }, presences.believed(presences.of_contacts(list)))
		end)
	end)

	describe("who see more resources of a contact than are remembered", function()
		local both = { ["romeo@montague.lit"] = { subscription = "both" } }
		local count = 50
		-- The resources, and what the entity was told of them
		local all_of_them, list

		before_each(function()
			all_of_them, list = {}, {}
			for i = 1, count do
				all_of_them[i] = ("romeo@montague.lit/%02d"):format(i)
			end
		end)

		after_each(function()
			server:stop()
		end)

		local function start_with(users)
			start(users, { ["juliet@capulet.lit"] = both, ["nurse@capulet.lit"] = both, ["peter@capulet.lit"] = both })
		end

		-- Has the contact send a user presences from the resources with these numbers
		local function send_all(to, first, last, kind)
			local text = {}
			for i = first, last do
				local status = kind == "" and ("<status>%s</status>"):format(("x"):rep(300)) or ""
				table.insert(text, ("<presence from='%s' to='%s@capulet.lit'%s>%s</presence>"):format(all_of_them[i], to, kind, status))
			end
			remote:send(table.concat(text)):sync()
		end

		-- Whom the entity takes for available by now
		local function believed()
			for _, description in ipairs(presences.taken(gateway)) do
				table.insert(list, description)
			end
			return presences.believed(list)
		end

		local function believed_after_timers()
			presences.settle(server)
			return believed()
		end

		it("B8.3 show each of them, and the end of each", function()
			start_with '{ "juliet" }'
			send_all("juliet", 1, count, "")
			assert.is_same(all_of_them, believed())
			send_all("nurse", 40, count, " type='unavailable'")
			assert.is_same(all_of_them, believed())
			send_all("juliet", 40, count, " type='unavailable'")
			assert.is_equal(39, #believed())
			send_all("juliet", 1, 39, " type='unavailable'")
			assert.is_same({}, believed())
		end)

		it("B12.8 leave no ghost where a reload narrows the grant", function()
			start_with '"all"'
			send_all("juliet", 1, count, "")
			assert.is_same(all_of_them, believed())
			server:reload_config(config '{ "nurse" }')
			assert.is_same({}, believed_after_timers())
		end)

		it("B12.8 show only what others see, too, where a reload narrows the grant", function()
			start_with '"all"'
			send_all("juliet", 1, count, "")
			send_all("nurse", 1, 2, "")
			server:reload_config(config '{ "nurse" }')
			assert.is_same({ all_of_them[1], all_of_them[2] }, believed_after_timers())
			send_all("nurse", 1, 2, " type='unavailable'")
			assert.is_same({}, believed())
		end)

		for users, left in pairs { ['{ "juliet", "peter" }'] = 0, ['"all"'] = 2 } do
			it("B8.3 leave no ghost when they remove the contact, whoever else sees it, users = " .. users, function()
				start_with(users)
				local remove = "<query xmlns='jabber:iq:roster'><item jid='romeo@montague.lit' subscription='remove'/></query>"
				for _, username in ipairs { "juliet", "nurse", "peter" } do
					send_all(username, 1, 2, "")
				end
				send_all("juliet", 3, count, "")
				assert.is_same(all_of_them, believed())
				server:client("juliet@capulet.lit/balcony", { presence = false }):iq { type = "set", remove }
				assert.is_same({ all_of_them[1], all_of_them[2] }, believed())
				server:client("peter@capulet.lit/balcony", { presence = false }):iq { type = "set", remove }
				-- what the nurse sees
				assert.is_equal(left, #believed())
			end)
		end

		it("B12.5 leave no ghost when they opt out, whoever else sees the contact", function()
			start_with '"opted-in"'
			local clients = {}
			for _, username in ipairs { "juliet", "peter" } do
				clients[username] = server:client(username .. "@capulet.lit/balcony", { presence = false })
				clients[username]:send(opt_in):sync()
				send_all(username, 1, 2, "")
			end
			send_all("juliet", 3, count, "")
			believed()
			clients.juliet:send(opt_out):sync()
			assert.is_same({ all_of_them[1], all_of_them[2] }, presences.of_contacts(believed_after_timers()))
			send_all("juliet", 3, count, "")
			assert.is_same({ all_of_them[1], all_of_them[2] }, presences.of_contacts(believed_after_timers()))
			clients.peter:send(opt_out):sync()
			assert.is_same({}, presences.of_contacts(believed_after_timers()))
		end)

		it("B8.3 show them still after a reload of the module, and the end of each", function()
			start_with '{ "juliet" }'
			send_all("juliet", 1, count, "")
			server:reload_module "privilege"
			assert.is_same(all_of_them, believed_after_timers())
			send_all("juliet", 1, count, " type='unavailable'")
			assert.is_same({}, believed())
		end)
	end)

	it("B8.4 are told of in full where another module fails to load one roster", function()
		local rosters = {}
		for _, username in ipairs { "juliet", "nurse", "peter" } do
			rosters[username .. "@capulet.lit"] = { [username .. "-friend@montague.lit"] = { subscription = "both" } }
		end
		start('"all"', rosters)
		for _, username in ipairs { "juliet", "nurse", "peter" } do
			send(username .. "-friend", username)
		end
		gateway:close()
		server:eval "module:hook('roster-load', function (event) if prosody.spec_fail == event.username then error('spec says no') end end)"
		for _, username in ipairs { "juliet", "nurse", "peter" } do
			server:eval("prosody.spec_fail = '" .. username .. "'")
			local mark = server:mark()
			gateway = server:component "gateway.capulet.lit"
			assert.is_same(
				{ "juliet-friend@montague.lit/r", "nurse-friend@montague.lit/r", "peter-friend@montague.lit/r" },
				presences.caught_up(gateway)
			)
			assert.is_truthy(server:log_since(mark):find("Another module failed while the roster of " .. username .. " was read", 1, true))
			server:eval "prosody.spec_fail = nil"
			gateway:close()
		end
		-- what was told is not taken for untold: catch-ups have ended
		gateway = server:component "gateway.capulet.lit"
		presences.caught_up(gateway)
		remote:close()
		assert.is_same({
			"juliet-friend@montague.lit/r unavailable",
			"nurse-friend@montague.lit/r unavailable",
			"peter-friend@montague.lit/r unavailable",
		}, presences.caught_up(gateway))
		server:stop()
	end)
end)
