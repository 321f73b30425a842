-- Behaviour 12: a grant that covers those who opted in, or the listed users.

local grants = require "spec.support.grants"
local presences = require "spec.support.presences"
local privileged = require "spec.support.privileged"
local prosody = require "spec.support.prosody"
local rosters = require "spec.support.rosters"

local permissions = [[roster = "both", message = "outgoing", presence = "roster", iq = { ["urn:xmpp:ping"] = "get" }]]
local all = grants.all "result"
local none = grants.all "forbidden"

-- The clients' stanzas that opt in to an address, and out
local opt_in = {
	["a registration"] = "<iq type='set' id='act' to='%s'><query xmlns='jabber:iq:register'><username>x</username></query></iq>",
	["a command"] = "<iq type='set' id='act' to='%s'><command xmlns='http://jabber.org/protocol/commands' node='register' action='execute'/></iq>",
	["a message"] = "<message id='act' to='%s'><body>register</body></message>",
	["a subscription request"] = "<presence type='subscribe' id='act' to='%s'/>",
	["an approved subscription"] = "<presence type='subscribed' id='act' to='%s'/>",
}
local opt_out = {
	["ending the subscription"] = "<presence type='unsubscribe' id='act' to='%s'/>",
	["ending the entity's subscription"] = "<presence type='unsubscribed' id='act' to='%s'/>",
}

-- From now on, work in slices, which begin after a millisecond, waits as long as prosody.spec_pause is true
local function pause_slices(server)
	server:eval [[
		local timer = require "util.timer";
		local add_task = timer.add_task;
		prosody.spec_pause = true;
		function timer.add_task(delay, callback, ...)
			return add_task(delay, function (...)
				if delay == 0.001 and prosody.spec_pause then
					return delay;
				end
				return callback(...);
			end, ...);
		end
	]]
end

for _, storage in ipairs { "internal", "sql" } do
	describe("users (" .. storage .. ")", function()
		local server, gateway, other, juliet, nurse
		local config = ([[
			VirtualHost "capulet.lit"
				privilege_probe_rate = 0
				privileged_entities = {
					["gateway.capulet.lit"] = { users = "opted-in", %s };
					["listed.capulet.lit"] = { users = { "nurse", "peter@capulet.lit" }, %s };
					["other.capulet.lit"] = { message = "outgoing", roster = "both", roster_push = false;
						iq = { ["jabber:iq:register"] = "set", ["http://jabber.org/protocol/commands"] = "set" } };
					["friar@capulet.lit"] = { users = "opted-in", %s };
				}
			VirtualHost "verona.lit"
			Component "gateway.capulet.lit" component_secret = "secret"
			Component "listed.capulet.lit" component_secret = "secret"
			Component "other.capulet.lit" component_secret = "secret"
		]]):format(permissions, permissions, permissions)

		local function connect()
			gateway = server:component "gateway.capulet.lit"
			other = server:component "other.capulet.lit"
			juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
			nurse = server:client("nurse@capulet.lit/kitchen", { roster = true })
		end

		setup(function()
			server = prosody.start {
				storage = storage,
				config = config,
				users = {
					"juliet@capulet.lit",
					"nurse@capulet.lit",
					"peter@capulet.lit",
					"friar@capulet.lit",
					"earlier@capulet.lit",
					"romeo@verona.lit",
					"mercutio@verona.lit",
					"tybalt@verona.lit",
				},
				rosters = {
					["juliet@capulet.lit"] = {
						["romeo@verona.lit"] = { subscription = "both" },
						["mercutio@verona.lit"] = { subscription = "both" },
					},
					["nurse@capulet.lit"] = {
						["romeo@verona.lit"] = { subscription = "both" },
						["tybalt@verona.lit"] = { subscription = "both" },
					},
					["romeo@verona.lit"] = {
						["juliet@capulet.lit"] = { subscription = "both" },
						["nurse@capulet.lit"] = { subscription = "both" },
					},
					["mercutio@verona.lit"] = { ["juliet@capulet.lit"] = { subscription = "both" } },
					["tybalt@verona.lit"] = { ["nurse@capulet.lit"] = { subscription = "both" } },
				},
			}
			connect()
		end)

		teardown(function()
			server:stop()
		end)

		local function forget_all()
			server:eval [[
				local store = require "core.storagemanager".open(module.host, "privilege", "keyval");
				for _, username in ipairs { "juliet", "nurse", "peter", "friar", "earlier" } do
					assert(store:set(username, nil));
				end
			]]
			server:reload_module "privilege"
		end

		after_each(function()
			for i = #server.streams, 1, -1 do
				local stream = server.streams[i]
				if stream ~= gateway and stream ~= other and stream ~= juliet and stream ~= nurse and not stream.closed then
					stream:close()
				end
			end
			for _, client in ipairs { juliet, nurse } do
				client:send "<presence/>"
			end
		end)

		before_each(function()
			forget_all()
			server:drain()
		end)

		local function attempts(stream, username)
			local outcomes = grants.attempt(stream, username .. "@capulet.lit")
			server:drain()
			return outcomes
		end

		-- The presences that tell who is where, without those about subscriptions
		local function caught_up()
			local list = {}
			for _, line in ipairs(presences.caught_up(gateway)) do
				if not line:find "subscribed?$" then
					table.insert(list, line)
				end
			end
			return list
		end

		local function act(client, text, address)
			client:send(text:format(address or "gateway.capulet.lit"))
			client:sync()
		end

		it("B12.5 that are not covered are refused alike, whether or not there is such an account", function()
			assert.is_same(none, attempts(gateway, "juliet"))
			assert.is_same(none, attempts(gateway, "nobody"))
			local texts = {}
			for _, username in ipairs { "juliet", "nobody" } do
				local user = username .. "@capulet.lit"
				for _, stanza in ipairs {
					("<iq type='get' id='x' from='%s' to='%s'><query xmlns='jabber:iq:roster'/></iq>"):format(gateway.jid, user),
					("<iq type='set' id='x' from='%s' to='%s'><query xmlns='jabber:iq:roster'><item jid='a@b'/></query></iq>"):format(
						gateway.jid,
						user
					),
					privileged.iq({ id = "x", from = gateway.jid, to = user }, { to = "capulet.lit", "<ping xmlns='urn:xmpp:ping'/>" }),
					privileged.message({ id = "x", from = gateway.jid, to = "capulet.lit" }, { from = user, to = gateway.jid, "<body/>" }),
				} do
					gateway:send(stanza)
					local answer = gateway:expect { id = "x", type = "error" }
					texts[username] = (texts[username] or "") .. tostring(answer:get_child "error"):gsub(username, "USER")
				end
			end
			assert.is_truthy(texts.juliet:find "does not cover")
			assert.is_equal(texts.juliet, texts.nobody)
		end)

		for what, stanza in pairs(opt_in) do
			it("B12.2 opt in by " .. what .. ", before the entity gets it", function()
				local mark = server:mark()
				juliet:send(stanza:format "gateway.capulet.lit")
				-- of a subscription that was not asked for the server tells nobody
				if what ~= "an approved subscription" then
					gateway:expect { id = "act" }
				end
				juliet:sync()
				assert.is_equal(
					"result",
					rosters.set(gateway, "juliet@capulet.lit", "<item jid='gateway.capulet.lit' subscription='both'/>")
				)
				assert.is_same(all, attempts(gateway, "juliet"))
				assert.is_same(none, attempts(gateway, "nurse"))
				assert.is_equal(1, #grants.logged(server:log_since(mark), "info", "juliet@capulet.lit opted in to gateway.capulet.lit"))
				assert.is_equal(
					"result",
					rosters.set(gateway, "juliet@capulet.lit", "<item jid='gateway.capulet.lit' subscription='remove'/>")
				)
				-- what the entity does opts nobody out
				assert.is_same(all, attempts(gateway, "juliet"))
			end)
		end

		for what, stanza in pairs(opt_out) do
			it("B12.3 opt out by " .. what, function()
				act(juliet, opt_in["a message"])
				assert.is_same(all, attempts(gateway, "juliet"))
				local mark = server:mark()
				act(juliet, stanza)
				assert.is_same(none, attempts(gateway, "juliet"))
				assert.is_equal(1, #grants.logged(server:log_since(mark), "info", "juliet@capulet.lit opted out of gateway.capulet.lit"))
			end)
		end

		it("B12.3 opt out by removing the entity from the roster", function()
			act(juliet, opt_in["a subscription request"])
			assert.is_same(all, attempts(gateway, "juliet"))
			assert.is_equal("result", rosters.set(juliet, nil, "<item jid='gateway.capulet.lit' subscription='remove'/>"))
			assert.is_same(none, attempts(gateway, "juliet"))
		end)

		for _, outcome in ipairs { "result", "error" } do
			it("B12.3 opt out by unregistering, once the entity has answered with " .. outcome, function()
				act(juliet, opt_in["a registration"])
				juliet:send "<iq type='set' id='out' to='gateway.capulet.lit'><query xmlns='jabber:iq:register'><remove/></query></iq>"
				gateway:expect { id = "out" }
				assert.is_equal("result", rosters.set(gateway, "juliet@capulet.lit", "<item jid='x@gateway.capulet.lit'/>"))
				assert.is_equal(
					"result",
					rosters.set(gateway, "juliet@capulet.lit", "<item jid='x@gateway.capulet.lit' subscription='remove'/>")
				)
				-- answers of others count for nothing
				other:send("<iq type='result' id='out' from='other.capulet.lit' to='juliet@capulet.lit/balcony'/>")
				other:sync()
				assert.is_same(all, attempts(gateway, "juliet"))
				gateway:send(("<iq type='%s' id='out' from='gateway.capulet.lit' to='juliet@capulet.lit/balcony'/>"):format(outcome))
				gateway:sync()
				assert.is_same(none, attempts(gateway, "juliet"))
			end)
		end

		it("B12.3 stay in who register again before the entity has answered that they unregistered", function()
			act(juliet, opt_in["a registration"])
			act(juliet, "<iq type='set' id='out' to='%s'><query xmlns='jabber:iq:register'><remove/></query></iq>")
			act(juliet, opt_in["a registration"])
			gateway:send "<iq type='result' id='out' from='gateway.capulet.lit' to='juliet@capulet.lit/balcony'/>"
			gateway:sync()
			assert.is_same(all, attempts(gateway, "juliet"))
		end)

		it("B12.3 opt out by unregistering, whatever else their clients send before the entity has answered", function()
			local phone = server:client "juliet@capulet.lit/phone"
			act(juliet, opt_in["a registration"])
			act(juliet, "<iq type='set' id='out' to='%s'><query xmlns='jabber:iq:register'><remove/></query></iq>")
			act(juliet, opt_in["a command"])
			act(phone, opt_in["a message"])
			assert.is_same(all, attempts(gateway, "juliet"))
			gateway:send "<iq type='result' id='out' from='gateway.capulet.lit' to='juliet@capulet.lit/balcony'/>"
			gateway:sync()
			assert.is_same(none, attempts(gateway, "juliet"))
		end)

		-- What must not opt juliet in
		local nothing = {
			["a registration that ends one"] = function()
				act(juliet, "<iq type='set' id='act' to='%s'><query xmlns='jabber:iq:register'><remove/></query></iq>")
			end,
			["asking for the registration form"] = function()
				act(juliet, "<iq type='get' id='act' to='%s'><query xmlns='jabber:iq:register'/></iq>")
			end,
			["disco, presence, probes, an error and a message without a body"] = function()
				act(juliet, "<iq type='get' id='act' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
				act(juliet, "<presence to='%s'/>")
				act(juliet, "<presence type='probe' to='%s'/>")
				act(juliet, "<message type='error' to='%s'><body>x</body></message>")
				act(juliet, "<message to='%s'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
			end,
			["a message to an address at the entity"] = function()
				act(juliet, opt_in["a message"], "contact@gateway.capulet.lit")
			end,
			["what is sent to somebody else"] = function()
				for _, stanza in pairs(opt_in) do
					act(juliet, stanza, "other.capulet.lit")
				end
			end,
			["messages in her name"] = function()
				other:send(
					privileged.message(
						{ id = "w", from = other.jid, to = "capulet.lit" },
						{ from = "juliet@capulet.lit", to = "gateway.capulet.lit", "<body>register</body>" }
					)
				)
				gateway:expect { name = "message", from = "juliet@capulet.lit" }
			end,
			["iqs in her name"] = function()
				for _, payload in ipairs {
					"<query xmlns='jabber:iq:register'><username>x</username></query>",
					"<command xmlns='http://jabber.org/protocol/commands' node='n'/>",
				} do
					other:send(
						privileged.iq(
							{ id = "q", type = "set", from = other.jid, to = "juliet@capulet.lit" },
							{ to = "gateway.capulet.lit", payload }
						)
					)
					gateway:expect { name = "iq", from = "juliet@capulet.lit", type = "set" }
				end
			end,
			["a roster item that another entity sets"] = function()
				assert.is_equal("result", rosters.set(other, "juliet@capulet.lit", "<item jid='gateway.capulet.lit' subscription='both'/>"))
				server:reload_module "privilege"
				server:drain()
				assert.is_equal("forbidden", attempts(gateway, "juliet").roster_get)
				assert.is_equal(
					"result",
					rosters.set(other, "juliet@capulet.lit", "<item jid='gateway.capulet.lit' subscription='remove'/>")
				)
			end,
			["what the entity itself sends"] = function()
				gateway:send "<presence type='subscribe' from='gateway.capulet.lit' to='juliet@capulet.lit'/>"
				gateway:send "<presence type='subscribed' from='gateway.capulet.lit' to='juliet@capulet.lit'/>"
				gateway:send "<presence from='gateway.capulet.lit/x' to='juliet@capulet.lit'/>"
				gateway:send "<message from='gateway.capulet.lit' to='juliet@capulet.lit'><body>register</body></message>"
				gateway:send "<message from='juliet@capulet.lit' to='gateway.capulet.lit'><body>register</body></message>"
				pcall(gateway.sync, gateway)
				if gateway.closed then
					gateway = server:component "gateway.capulet.lit"
				end
			end,
			["another user of her name"] = function()
				local romeo = server:client "romeo@verona.lit/x"
				act(romeo, opt_in["a message"])
				act(romeo, "<message id='act' to='%s' from='juliet@capulet.lit/balcony'><body>register</body></message>")
				romeo:close()
				server:eval(([[
					local stanza = require "util.xml".parse(%q);
					prosody.core_process_stanza({ type = "s2sin", from_host = "far.lit", to_host = module.host, hosts = { ["far.lit"] = { authed = true } },
						log = module._log, send = function () end }, stanza);
				]]):format "<message from='juliet@far.lit/x' to='gateway.capulet.lit'><body>register</body></message>")
			end,
			["a session that a module made up"] = function()
				server:eval(([[
					local stanza = require "util.xml".parse(%q);
					local session = { type = "c2s", username = "juliet", host = "capulet.lit", full_jid = "juliet@capulet.lit/balcony", log = module._log, send = function () end };
					prosody.core_post_stanza(session, stanza, true);
				]]):format "<message from='juliet@capulet.lit/balcony' to='gateway.capulet.lit'><body>register</body></message>")
			end,
		}
		for what, attempt in pairs(nothing) do
			it("B12.2 are not opted in by " .. what, function()
				attempt()
				assert.is_same(none, attempts(gateway, "juliet"))
				assert.is_same(none, attempts(gateway, "nurse"))
			end)
		end

		it("B12.2 are not opted in by what the server repeats for them when they log in", function()
			act(juliet, opt_in["a subscription request"])
			act(juliet, "<iq type='set' id='out' to='%s'><query xmlns='jabber:iq:register'><remove/></query></iq>")
			gateway:send "<iq type='result' id='out' from='gateway.capulet.lit' to='juliet@capulet.lit/balcony'/>"
			gateway:sync()
			assert.is_same(none, attempts(gateway, "juliet"))
			juliet:close()
			juliet = server:client("juliet@capulet.lit/balcony", { roster = true })
			gateway:expect { type = "subscribe", from = "juliet@capulet.lit" }
			assert.is_same(none, attempts(gateway, "juliet"))
			assert.is_equal("result", rosters.set(juliet, nil, "<item jid='gateway.capulet.lit' subscription='remove'/>"))
		end)

		it("B12.2 are not opted in by what the server refuses, and out by what they sent", function()
			server:eval [[
				prosody.spec_refused = true;
				for _, name in ipairs { "iq", "message", "presence" } do
					for _, kind in ipairs { "host", "bare" } do
						-- like mod_firewall
						module:hook(("pre-%s/%s"):format(name, kind), function (event)
							return prosody.spec_refused and event.stanza.attr.to == "gateway.capulet.lit" or nil;
						end, 0.1);
					end
				end
			]]
			for what, text in pairs(opt_in) do
				act(juliet, text)
				assert.is_same(none, attempts(gateway, "juliet"), what)
			end
			server:eval "prosody.spec_refused = false"
			act(juliet, opt_in["a message"])
			server:eval "prosody.spec_refused = true"
			act(juliet, opt_out["ending the subscription"])
			server:eval "prosody.spec_refused = nil"
			assert.is_same(none, attempts(gateway, "juliet"))
		end)

		it("B12.3 are out who were unregistering when the server stopped", function()
			act(juliet, opt_in["a message"])
			act(juliet, "<iq type='set' id='out' to='%s'><query xmlns='jabber:iq:register'><remove/></query></iq>")
			assert.is_same(all, attempts(gateway, "juliet"))
			server:restart()
			connect()
			assert.is_same(none, attempts(gateway, "juliet"))
		end)

		it("B12.3 are out who were unregistering when the module was reloaded", function()
			act(juliet, opt_in["a registration"])
			act(juliet, "<iq type='set' id='out' to='%s'><query xmlns='jabber:iq:register'><remove/></query></iq>")
			server:reload_module "privilege"
			assert.is_same(none, attempts(gateway, "juliet"))
		end)

		it("B12.3 are not covered when the account was deleted and made again by another process, whatever they opt in to", function()
			local peter = server:client "peter@capulet.lit/x"
			act(peter, opt_in["a message"])
			peter:close()
			server:eval [[
				for _, store in ipairs { "accounts", "roster", "privilege" } do
					assert(require "core.storagemanager".open(module.host, store, "keyval"):set("peter", nil));
				end
				assert(require "core.storagemanager".open(module.host, "accounts", "keyval"):set("peter", { password = "secret" }));
			]]
			peter = server:client "peter@capulet.lit/x"
			act(peter, opt_in["a message"], "friar@capulet.lit")
			assert.is_nil(
				server:eval [[return require "core.storagemanager".open(module.host, "privilege", "keyval"):get("peter")["gateway.capulet.lit"] ]]
			)
			peter:close()
		end)

		it("B12.2 opt in to an entity that is a user by what they send to its bare JID", function()
			local friar = server:client "friar@capulet.lit/cell"
			assert.is_same(none, attempts(friar, "juliet"))
			act(juliet, opt_in["a message"], "friar@capulet.lit")
			assert.is_same(all, attempts(friar, "juliet"))
			assert.is_same(none, attempts(gateway, "juliet"))
			friar:close()
		end)

		it("B12.5 that opt out are ended on all streams of an entity, also where sending closes one of them", function()
			local one, two = server:client "friar@capulet.lit/one", server:client "friar@capulet.lit/two"
			act(juliet, opt_in["a message"], "friar@capulet.lit")
			presences.caught_up(two)
			server:eval [[
				local session = prosody.full_sessions["friar@capulet.lit/one"];
				function session.send()
					session.send = function () end;
					require "core.sessionmanager".destroy_session(session);
				end
			]]
			act(juliet, opt_out["ending the subscription"], "friar@capulet.lit")
			local ended = {}
			for _, line in ipairs(presences.caught_up(two)) do
				ended[line] = true
			end
			assert.is_true(ended["juliet@capulet.lit/balcony unavailable"])
			one:cut()
			two:close()
		end)

		it("B12.1 that are listed are covered, and no others", function()
			local listed = server:component "listed.capulet.lit"
			for _, username in ipairs { "nurse", "peter" } do
				assert.is_same(all, attempts(listed, username))
			end
			act(juliet, opt_in["a message"], "listed.capulet.lit")
			assert.is_same(none, attempts(listed, "juliet"))
			listed:close()
		end)

		it("B12.5 that opted in have their roster changes pushed, and no others", function()
			act(juliet, opt_in["a message"])
			server:drain()
			for _, client in ipairs { juliet, nurse } do
				assert.is_equal("result", rosters.set(client, nil, "<item jid='pushed@verona.lit'/>"))
				assert.is_equal("result", rosters.set(client, nil, "<item jid='pushed@verona.lit' subscription='remove'/>"))
			end
			assert.is_same(
				{ "juliet@capulet.lit: pushed@verona.lit none", "juliet@capulet.lit: pushed@verona.lit remove" },
				(rosters.pushes(gateway))
			)
		end)

		it("B12.5 that opt in show their presence and what they see from then on, until they opt out", function()
			local romeo = server:client "romeo@verona.lit/street"
			local mercutio = server:client "mercutio@verona.lit/street"
			local tybalt = server:client "tybalt@verona.lit/street"
			assert.is_same({}, caught_up())
			act(juliet, opt_in["a message"])
			assert.is_same({ "juliet@capulet.lit/balcony", "mercutio@verona.lit/street", "romeo@verona.lit/street" }, caught_up())
			-- changes
			juliet:send "<presence><show>away</show></presence>"
			nurse:send "<presence><show>away</show></presence>"
			romeo:send "<presence><show>dnd</show></presence>"
			tybalt:send "<presence><show>dnd</show></presence>"
			for _, stream in ipairs { juliet, nurse, romeo, tybalt } do
				stream:sync()
			end
			assert.is_same({ "juliet@capulet.lit/balcony away", "romeo@verona.lit/street dnd" }, caught_up())
			-- romeo is seen by the nurse as well, who is not covered
			act(juliet, opt_out["ending the subscription"])
			assert.is_same({
				"juliet@capulet.lit/balcony unavailable",
				"mercutio@verona.lit/street unavailable",
				"romeo@verona.lit/street unavailable",
			}, caught_up())
			juliet:send "<presence/>"
			romeo:send "<presence/>"
			assert.is_same({}, caught_up())
			-- both are covered, one leaves
			act(juliet, opt_in["a message"])
			act(nurse, opt_in["a message"])
			assert.is_same(5, #caught_up())
			act(juliet, opt_out["ending the subscription"])
			assert.is_same({ "juliet@capulet.lit/balcony unavailable", "mercutio@verona.lit/street unavailable" }, caught_up())
			romeo:close()
			assert.is_same({ "romeo@verona.lit/street unavailable" }, caught_up())
			mercutio:close()
			tybalt:close()
			nurse:send "<presence/>"
			nurse:sync()
		end)

		it("B12.5 that are covered are the only ones that a catch-up tells of", function()
			local romeo = server:client "romeo@verona.lit/street"
			local tybalt = server:client "tybalt@verona.lit/street"
			act(juliet, opt_in["a message"])
			gateway:close()
			gateway = server:component "gateway.capulet.lit"
			assert.is_same({ "juliet@capulet.lit/balcony", "romeo@verona.lit/street" }, caught_up())
			romeo:close()
			tybalt:close()
			assert.is_same({ "romeo@verona.lit/street unavailable" }, caught_up())
		end)

		it("B12.5 that are covered are told of as far as is known where they cannot be listed, and a reload goes on", function()
			act(juliet, opt_in["a message"])
			server:eval "prosody.spec_fail = { privilege_users = true }"
			gateway:close()
			gateway = server:component "gateway.capulet.lit"
			assert.is_same({ "juliet@capulet.lit/balcony" }, caught_up())
			server:reload_config((config:gsub('users = "opted%-in"', 'users = { "nurse" }')))
			assert.is_same({ "juliet@capulet.lit/balcony unavailable", "nurse@capulet.lit/kitchen" }, caught_up())
			assert.is_same(none, attempts(gateway, "juliet"))
			server:reload_config(config)
			assert.is_same({ "juliet@capulet.lit/balcony", "nurse@capulet.lit/kitchen unavailable" }, caught_up())
			server:eval "prosody.spec_fail = nil"
		end)

		it("B12.8 are told of at once where a reload widens or narrows whom a grant covers", function()
			act(juliet, opt_in["a message"])
			caught_up()
			server:reload_config((config:gsub('users = "opted%-in"', 'users = "all"')))
			assert.is_same({ "nurse@capulet.lit/kitchen" }, caught_up())
			assert.is_same(all, attempts(gateway, "nurse"))
			server:reload_config((config:gsub('users = "opted%-in"', 'users = { "nurse" }')))
			assert.is_same({ "juliet@capulet.lit/balcony unavailable" }, caught_up())
			assert.is_same(none, attempts(gateway, "juliet"))
			server:reload_config(config)
			assert.is_same({ "juliet@capulet.lit/balcony", "nurse@capulet.lit/kitchen unavailable" }, caught_up())
			assert.is_same(all, attempts(gateway, "juliet"))
			assert.is_same(none, attempts(gateway, "nurse"))
			gateway:nothing { name = "message" }
		end)

		it("B12.8 who go offline while a reload narrows whom a grant covers are told of once", function()
			server:reload_config((config:gsub('users = "opted%-in"', 'users = "all"')))
			caught_up()
			pause_slices(server)
			server:reload_config((config:gsub('users = "opted%-in"', 'users = { "peter" }')))
			-- The first user to be ended takes a slice, and the second one has to wait
			server:eval [[
				for _, user in pairs(prosody.hosts[module.host].sessions) do
					for _, session in pairs(user.sessions) do
						setmetatable(session.roster, { __index = function (_, contact)
							local start = os.clock();
							prosody.spec_pause = contact == "gateway.capulet.lit" or prosody.spec_pause;
							while contact == "gateway.capulet.lit" and os.clock() - start < 0.005 do end
						end });
					end
				end
				prosody.spec_pause = false;
			]]
			local first = gateway:expect({ name = "presence" }).attr
			act(juliet, "<presence type='unavailable'/>")
			act(nurse, "<presence type='unavailable'/>")
			local gone = caught_up()
			table.insert(gone, first.from .. " " .. first.type)
			server:eval [[
				for _, user in pairs(prosody.hosts[module.host].sessions) do
					for _, session in pairs(user.sessions) do
						setmetatable(session.roster, nil);
					end
				end
				prosody.spec_pause = false;
			]]
			server:drain()
			for _, line in ipairs(caught_up()) do
				table.insert(gone, line)
			end
			table.sort(gone)
			server:reload_config(config)
			assert.is_same({ "juliet@capulet.lit/balcony unavailable", "nurse@capulet.lit/kitchen unavailable" }, gone)
		end)

		it("B12.4 that opted in stay so when the module is reloaded, and when the server is killed right after", function()
			act(juliet, opt_in["a message"])
			server:reload_module "privilege"
			assert.is_same(all, attempts(gateway, "juliet"))
			nurse:send(opt_in["a registration"]:format "gateway.capulet.lit")
			gateway:expect { name = "iq", id = "act" }
			server:kill()
			server:restart()
			connect()
			assert.is_same(all, attempts(gateway, "juliet"))
			assert.is_same(all, attempts(gateway, "nurse"))
			act(juliet, opt_out["ending the subscription"])
			server:restart()
			connect()
			assert.is_same(none, attempts(gateway, "juliet"))
			assert.is_same(all, attempts(gateway, "nurse"))
		end)

		it("B12.3 are out with their account: who registers the name again is not covered", function()
			local function create()
				server:eval [[assert(require "core.usermanager".create_user("peter", "secret", module.host))]]
			end
			local function delete()
				server:eval [[assert(require "core.usermanager".delete_user("peter", module.host))]]
			end
			delete()
			create()
			local peter = server:client "peter@capulet.lit/x"
			act(peter, opt_in["a message"])
			assert.is_same({ "peter@capulet.lit/x" }, caught_up())
			delete()
			peter:cut()
			assert.is_same({ "peter@capulet.lit/x unavailable" }, caught_up())
			create()
			assert.is_same(none, attempts(gateway, "peter"))
			peter = server:client "peter@capulet.lit/x"
			assert.is_same({}, caught_up())
			peter:close()
		end)

		it("B12.3 leave nothing behind with an account that is deleted while a request to unregister waits", function()
			local peter = server:client "peter@capulet.lit/x"
			act(peter, opt_in["a message"])
			act(peter, "<iq type='set' id='out' to='%s'><query xmlns='jabber:iq:register'><remove/></query></iq>")
			server:eval [[
				local usermanager = require "core.usermanager";
				assert(usermanager.delete_user("peter", module.host));
				assert(usermanager.create_user("peter", "secret", module.host));
			]]
			gateway:send "<iq type='result' id='out' from='gateway.capulet.lit' to='peter@capulet.lit/x'/>"
			gateway:sync()
			server:reload_module "privilege"
			assert.is_nil(server:eval [[return require "core.storagemanager".open(module.host, "privilege", "keyval"):get "peter"]])
		end)
	end)
end

for _, storage in ipairs { "internal", "sql" } do
	describe("users who have the entity in the roster before the option is read (" .. storage .. ")", function()
		local config = [[
			VirtualHost "capulet.lit"
				privileged_entities = { ["gateway.capulet.lit"] = { users = "opted-in", roster = "both", presence = "managed_entity" } }
			Component "gateway.capulet.lit" component_secret = "secret"
			Component "other.capulet.lit" component_secret = "secret"
		]]
		local users = {
			subscribed = { subscription = "to" },
			seen = { subscription = "from" },
			asked = { subscription = "none", ask = "subscribe" },
			named = { subscription = "none" },
		}
		local server, gateway

		setup(function()
			local options =
				{ storage = storage, config = (config:gsub('"opted%-in"', '"all"')), users = { "nobody@capulet.lit" }, rosters = {} }
			for username, item in pairs(users) do
				table.insert(options.users, username .. "@capulet.lit")
				options.rosters[username .. "@capulet.lit"] = { ["gateway.capulet.lit"] = item }
			end
			server = prosody.start(options)
			gateway = server:component "gateway.capulet.lit"
		end)

		teardown(function()
			server:stop()
		end)

		local function covered(username)
			return rosters.outcome(
				gateway:iq { type = "get", to = username .. "@capulet.lit", "<query xmlns='jabber:iq:roster' ver='1'/>" }
			) == "result"
		end

		it("B12.2 have opted in, once", function()
			local mark = server:mark()
			server:reload_config(config)
			for _, username in ipairs { "subscribed", "seen", "asked" } do
				server:wait_log(username .. "@capulet.lit opted in to gateway.capulet.lit by having it in the roster", nil, mark)
			end
			presences.settle(server, 0.3)
			for username in pairs(users) do
				assert.is_equal(username ~= "named", covered(username))
			end
			assert.is_false(covered "nobody")
			-- They can leave, and what changes later is the client's to say.
			local client = server:client "subscribed@capulet.lit/x"
			client:send "<presence type='unsubscribed' to='gateway.capulet.lit'/>"
			client:sync()
			assert.is_false(covered "subscribed")
			server:eval [[
				local rostermanager = require "core.rostermanager";
				for _, username in ipairs { "subscribed", "nobody" } do
					local roster = rostermanager.load_roster(username, module.host);
					roster["gateway.capulet.lit"] = { subscription = "both", groups = {} };
					assert(rostermanager.save_roster(username, module.host, roster));
				end
			]]
			server:reload_module "privilege"
			server:reload_config((config:gsub('"opted%-in"', '"all"')))
			server:reload_config(config)
			presences.settle(server, 0.3)
			assert.is_false(covered "subscribed")
			assert.is_false(covered "nobody")
			assert.is_true(covered "asked")
			client:close()
		end)
	end)
end

describe("users who have the entity in the roster, where storage raises errors", function()
	local config = [[
		VirtualHost "capulet.lit"
			privileged_entities = { ["gateway.capulet.lit"] = { users = "opted-in", roster = "get" } }
		Component "gateway.capulet.lit" component_secret = "secret"
	]]
	local names = { "abram", "gregory", "juliet", "nurse", "peter", "samson" }
	local server

	before_each(function()
		local options = { config = (config:gsub('"opted%-in"', '"all"')), users = {}, rosters = {} }
		for i, username in ipairs(names) do
			options.users[i] = username .. "@capulet.lit"
			options.rosters[username .. "@capulet.lit"] = { ["gateway.capulet.lit"] = { subscription = "to" } }
		end
		server = prosody.start(options)
		-- The module opens its storage again, which can fail from now on
		server:eval ""
		server:reload_module "privilege"
	end)

	after_each(function()
		server:stop()
	end)

	local function wait_opted_in(mark, users)
		for _, username in ipairs(users) do
			server:wait_log(username .. "@capulet.lit opted in to gateway.capulet.lit by having it in the roster", nil, mark)
		end
	end

	it("B12.2 have opted in but for those whose records cannot be read", function()
		server:eval [[
			prosody.spec_fail = { privilege_get = function (_, username) return username == "juliet" and error "spec failure" end }
		]]
		local mark = server:mark()
		server:reload_config(config)
		wait_opted_in(mark, { "abram", "gregory", "nurse", "peter", "samson" })
		server:wait_log("the entities of juliet were looked for: [^\n]*spec failure", nil, mark)
		assert.is_nil(server:log_since(mark):find("juliet@capulet.lit opted in", 1, true))
	end)

	local function fail_for(roster_of, records_of)
		server:allow_log "spec failure"
		server:eval(([[
			prosody.spec_fail = {
				roster_get = function (_, username) return username == %q end;
				privilege_get = function (_, username) return username == %q end;
			};
		]]):format(roster_of, records_of))
	end

	it("B12.2 have opted in whose roster or records could not be read at first", function()
		fail_for("juliet", "nurse")
		local mark = server:mark()
		server:reload_config(config)
		wait_opted_in(mark, { "abram", "gregory", "peter", "samson" })
		presences.settle(server)
		server:eval "prosody.spec_fail = nil"
		wait_opted_in(mark, { "juliet", "nurse" })
	end)

	it("B12.2 have to opt in themselves, and are in the log, whose roster or records could not be read for a minute", function()
		server:eval [[
			local timer = require "util.timer";
			local add_task = timer.add_task;
			function timer.add_task(delay, callback, ...)
				return add_task(delay == 5 and 0.01 or delay, function (...)
					local again = callback(...);
					return again == 5 and 0.01 or again;
				end, ...);
			end
		]]
		fail_for("juliet", "nurse")
		local mark = server:mark()
		server:reload_config(config)
		server:wait_log("Cannot read whether 2 users of capulet.lit have gateway.capulet.lit in the roster[^\n]*: juliet, nurse", nil, mark)
		server:eval "prosody.spec_fail = nil"
		server:reload_config(config)
		presences.settle(server)
		server:reload_module "privilege"
		presences.settle(server)
		for _, username in ipairs { "juliet", "nurse" } do
			assert.is_nil(server:log_since(mark):find(username .. "@capulet.lit opted in", 1, true))
		end
		wait_opted_in(mark, { "abram", "gregory", "peter", "samson" })
	end)

	it("B12.2 have opted in when the configuration is read again, where the accounts could not be listed to the end", function()
		server:eval [[
			local provider = require "core.usermanager".get_provider(module.host);
			local users = provider.users;
			function provider.users(...)
				local next_user, state, start = users(...);
				local left = 3;
				provider.users = users;
				return function (...)
					left = left - 1;
					if left < 0 then
						error "spec failure";
					end
					return next_user(...);
				end, state, start;
			end
		]]
		local mark = server:mark()
		server:reload_config(config)
		server:wait_log("were looked for on capulet.lit: [^\n]*spec failure", nil, mark)
		server:reload_config(config)
		wait_opted_in(mark, names)
	end)
end)

describe("users who opt out while the accounts are looked through for those who have the entity in the roster", function()
	local config = [[
		VirtualHost "capulet.lit"
			privileged_entities = { ["gateway.capulet.lit"] = { users = "opted-in", roster = "both", roster_push = false } }
		Component "gateway.capulet.lit" component_secret = "secret"
	]]
	local everyone = (config:gsub('"opted%-in"', '"all"'))
	local names = { "gregory", "juliet", "nurse", "peter", "samson" }
	local unregister = "<iq type='set' id='out' to='%s'><query xmlns='jabber:iq:register'><remove/></query></iq>"
	local adopted = "@capulet.lit opted in to gateway.capulet.lit by having it in the roster"
	local server, gateway, clients, mark

	before_each(function()
		local options = { config = everyone, users = {}, rosters = {}, log_level = "info" }
		for i, username in ipairs(names) do
			options.users[i] = username .. "@capulet.lit"
			if username ~= "peter" then
				options.rosters[username .. "@capulet.lit"] = { ["gateway.capulet.lit"] = { subscription = "both" } }
			end
		end
		server = prosody.start(options)
		-- From now on, storage can fail, and the list of accounts does not end before it is told to
		server:eval [[
			prosody.spec_listed = false;
			local provider = require "core.usermanager".get_provider(module.host);
			function provider.users()
				local names, i = { "gregory", "juliet", "nurse", "peter", "samson" }, 0;
				return function ()
					if not prosody.spec_listed then
						return "nobody";
					end
					i = i + 1;
					return names[i];
				end
			end
		]]
		server:reload_module "privilege"
		gateway = server:component "gateway.capulet.lit"
		clients = {}
		for _, username in ipairs(names) do
			clients[username] = server:client(username .. "@capulet.lit/x", { roster = true })
		end
		mark = server:mark()
	end)

	after_each(function()
		server:stop()
	end)

	local function send(username, text)
		clients[username]:send(text:format "gateway.capulet.lit")
		clients[username]:sync()
	end

	local function finish()
		server:eval "prosody.spec_listed = true"
		server:wait_log("samson" .. adopted, nil, mark)
		presences.settle(server)
	end

	local function answer(username)
		gateway:send(("<iq type='result' id='out' from='gateway.capulet.lit' to='%s@capulet.lit/x'/>"):format(username))
		gateway:sync()
	end

	local function covered()
		local found = {}
		for _, username in ipairs(names) do
			local query = "<query xmlns='jabber:iq:roster'/>"
			if gateway:iq({ type = "get", to = username .. "@capulet.lit", query }).attr.type == "result" then
				found[#found + 1] = username
			end
		end
		return found
	end

	it("B12.3 stay out, and can opt in", function()
		server:reload_config(config)
		send("gregory", opt_in["a registration"])
		send("gregory", unregister)
		send("juliet", unregister)
		send("nurse", opt_out["ending the subscription"])
		finish()
		assert.is_same({ "gregory", "samson" }, covered())
		answer "gregory"
		answer "juliet"
		assert.is_same({ "samson" }, covered())
		send("nurse", opt_in["a message"])
		assert.is_same({ "nurse", "samson" }, covered())
	end)

	it("B12.3 stay out when the module is reloaded meanwhile", function()
		server:reload_config(config)
		send("gregory", opt_in["a registration"])
		send("gregory", opt_out["ending the entity's subscription"])
		send("juliet", unregister)
		assert.is_equal("result", rosters.set(clients.nurse, nil, "<item jid='gateway.capulet.lit' subscription='remove'/>"))
		server:reload_module "privilege"
		finish()
		assert.is_same({ "samson" }, covered())
	end)

	it("B12.3 stay out, and nobody else comes in, where it cannot be saved that the accounts were looked through", function()
		local failed = "Cannot save that the users of gateway.capulet.lit were adopted: spec failure"
		server:allow_log "spec failure"
		server:eval "prosody.spec_fail = { adopted_set = true }"
		server:reload_config(config)
		finish()
		server:wait_log(failed, nil, mark)
		send("juliet", opt_out["ending the entity's subscription"])
		send("nurse", unregister)
		answer "nurse"
		mark = server:mark()
		server:reload_module "privilege"
		server:wait_log(failed, nil, mark)
		assert.is_same({ "gregory", "samson" }, covered())
		-- what is in rosters from now on, entities may have set
		server:eval [[
			local rostermanager = require "core.rostermanager";
			local roster = rostermanager.load_roster("peter", module.host);
			roster["gateway.capulet.lit"] = { subscription = "both", groups = {} };
			assert(rostermanager.save_roster("peter", module.host, roster));
			prosody.spec_fail = nil;
		]]
		server:reload_config(config)
		presences.settle(server)
		server:reload_module "privilege"
		presences.settle(server)
		assert.is_same({ "gregory", "samson" }, covered())
	end)

	it("B12.2 are not looked for where it cannot be read whether they were", function()
		server:allow_log "spec failure"
		server:eval "prosody.spec_fail, prosody.spec_listed = { adopted_get = true }, true"
		server:reload_config(config)
		server:wait_log("Cannot read whose users were adopted on capulet.lit: spec failure", nil, mark)
		presences.settle(server)
		assert.is_same({}, covered())
		server:eval "prosody.spec_fail = nil"
		server:reload_config(config)
		finish()
		assert.is_same({ "gregory", "juliet", "nurse", "samson" }, covered())
	end)

	it("B12.2 are looked for again where the entity loses its grant and gets it back between two slices of the search", function()
		pause_slices(server)
		server:reload_config(config)
		server:reload_config((config:gsub("privileged_entities = %b{}", "")))
		server:reload_config(config)
		server:eval "prosody.spec_pause = false"
		finish()
		assert.is_same({ "gregory", "juliet", "nurse", "samson" }, covered())
	end)
end)

describe("users who opt in at the same time", function()
	local count = 40
	local server

	setup(function()
		local options = {
			config = [[
				VirtualHost "capulet.lit"
					privilege_probe_rate = 0
					privileged_entities = { ["gateway.capulet.lit"] = { users = "opted-in", roster = "get", roster_push = false, presence = "roster" } }
				Component "gateway.capulet.lit" component_secret = "secret"
			]],
			users = {},
			rosters = {},
		}
		for i = 1, count do
			local user = ("user%d@capulet.lit"):format(i)
			options.users[i] = user
			options.rosters[user] = { [("contact%d@verona.lit"):format(i)] = { subscription = "both" } }
		end
		server = prosody.start(options)
		server:eval ""
		server:reload_module "privilege"
	end)

	teardown(function()
		server:stop()
	end)

	it("B11 leave time for others where storage is slow, and each shows what they get", function()
		local gateway = server:component "gateway.capulet.lit"
		presences.settle(server)
		server:eval(([[
			for i = 1, %d do
				local stanza = require "util.stanza".presence({ from = ("contact%%d@verona.lit/x"):format(i), to = ("user%%d@capulet.lit"):format(i) });
				prosody.core_post_stanza(prosody.hosts["capulet.lit"], stanza);
			end
			prosody.hosts[module.host].roster_cache = nil;
			%s
			local served = module:shared "/*/privilege/served_hosts"[module.host];
			for i = 1, %d do
				assert(served.opting.allow(served.entities.get "gateway.capulet.lit", "user" .. i));
			end
		]]):format(count, presences.slow_rosters, count))
		local told = {}
		for _ = 1, count do
			local stanza = gateway:expect { name = "presence" }
			told[stanza.attr.from] = true
		end
		for i = 1, count do
			assert.is_true(told[("contact%d@verona.lit/x"):format(i)])
		end
		local most = server:eval "prosody.spec_fail = nil; return prosody.spec_most"
		-- which take 50 ms
		assert.is_true(most <= 5, ("%d rosters were read in one go"):format(most))
	end)
end)
