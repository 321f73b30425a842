-- What entities are told of their permissions, and what comes of it when they use them.

local privileged = require "spec.support.privileged"

local xmlns_forward = "urn:xmpp:forward:0"
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"

local grants = {}

local last_id = 0
local function new_id()
	last_id = last_id + 1
	return "attempt-" .. last_id
end

-- Looks through the perms of a <privilege/>: each has to be of its own kind
local function perms_of(privilege)
	local perms = {}
	for _, perm in ipairs(privilege.tags) do
		local access = perm.attr.access
		assert(perm.name == "perm" and access and not perms[access], "wrong or twice: " .. tostring(privilege))
		assert(access == "iq" or perm.attr.type and #perm.tags == 0, "a perm without a type or with children: " .. tostring(privilege))
		perms[access] = perm
	end
	return perms
end

--- Describes a <privilege/> like "roster=get push=true message=outgoing presence=roster iq(urn:example)=set".
-- The permissions come in this order, the namespaces of iqs in the one they stand in. An error is raised for anything else in it.
-- @param privilege the element
-- @return the text
function grants.describe(privilege)
	local perms, parts = perms_of(privilege), {}
	for _, access in ipairs { "roster", "message", "presence" } do
		local perm = perms[access]
		parts[#parts + 1] = perm and access .. "=" .. perm.attr.type
		parts[#parts + 1] = perm and perm.attr.push and "push=" .. perm.attr.push
		perms[access] = nil
	end
	for _, namespace in ipairs(perms.iq and perms.iq.tags or {}) do
		assert(namespace.name == "namespace" and namespace.attr.xmlns == privilege.attr.xmlns, "no <namespace/>: " .. tostring(privilege))
		parts[#parts + 1] = ("iq(%s)=%s"):format(namespace.attr.ns, namespace.attr.type)
	end
	perms.iq = nil
	assert(not next(perms), "an unknown permission: " .. tostring(privilege))
	return table.concat(parts, " ")
end

-- Takes the privilege messages out of the queue
local function take_told(stream, xmlns)
	local found, rest = {}, {}
	for _, stanza in ipairs(stream.queue) do
		local privilege = stanza.name == "message" and stanza:get_child("privilege", xmlns)
		if privilege then
			assert(#stanza.tags == 1 and stanza.attr.id and stanza.attr.to == stream.jid, "not as it has to be: " .. tostring(stanza))
			found[#found + 1] = stanza.attr.from .. ": " .. grants.describe(privilege)
		else
			rest[#rest + 1] = stanza
		end
	end
	stream.queue = rest
	table.sort(found)
	return found
end

--- Takes what a stream was told of its permissions out of its queue, after a round trip.
-- @param stream a client or a component
-- @return a list of texts like "capulet.lit: roster=get push=true", sorted, and such a list for the legacy namespace
function grants.told(stream)
	stream:sync()
	return take_told(stream, privileged.xmlns), take_told(stream, privileged.xmlns_legacy)
end

--- Permissions for all that attempt tries, and for iqs of urn:example, without pushes; as text for a configuration.
grants.everything =
	'{ roster = "both", roster_push = false, message = "outgoing", iq = { ["urn:xmpp:ping"] = "both", ["urn:example"] = "both" } }'

--- Tells what came of a request.
-- @param answer a stanza
-- @return "result" or the condition of the error
function grants.outcome(answer)
	if answer.attr.type ~= "error" then
		return "result"
	end
	for _, child in ipairs(answer:get_child("error").tags) do
		if child.attr.xmlns == xmlns_stanzas and child.name ~= "text" then
			return child.name
		end
	end
end

-- Has a message sent to the stream itself
local function attempt_message(stream, user, host, from, xmlns)
	local id = new_id()
	stream:send(
		privileged.message(
			{ id = id, from = from, to = host, xmlns = xmlns },
			{ from = user, to = stream.jid, "<body>" .. id .. "</body>" }
		)
	)
	local received = stream:expect(function(stanza)
		return stanza.name == "message" and (stanza.attr.id == id and stanza.attr.type == "error" or stanza:get_child_text "body" == id)
	end)
	return grants.outcome(received)
end

local attempts = {
	roster_get = function(stream, user, _, from)
		return grants.outcome(stream:iq { type = "get", from = from, to = user, "<query xmlns='jabber:iq:roster'/>" })
	end,
	roster_set = function(stream, user, _, from)
		return grants.outcome(stream:iq {
			type = "set",
			from = from,
			to = user,
			"<query xmlns='jabber:iq:roster'><item jid='added@contact.lit'/></query>",
		})
	end,
	message = attempt_message,
	legacy_message = function(stream, user, host, from)
		return attempt_message(stream, user, host, from, privileged.xmlns_legacy)
	end,
	iq = function(stream, user, host, from)
		local id = new_id()
		stream:send(privileged.iq({ id = id, from = from, to = user }, { from = user, to = host, "<ping xmlns='urn:xmpp:ping'/>" }))
		local answer = stream:expect { name = "iq", id = id }
		local privilege = answer:get_child("privilege", privileged.xmlns)
		local forwarded = privilege and privilege:get_child("forwarded", xmlns_forward)
		return grants.outcome(forwarded and forwarded.tags[1] or answer)
	end,
}

--- Tries to do what takes permissions: to get and to change a user's roster, to send a message in the user's name, and
-- to ping the user's host (an iq of type get in urn:xmpp:ping).
-- @param stream a client or a component
-- @param user the user's bare JID
-- @param from the address that a component writes on its stanzas, default its JID
-- @return a table with roster_get, roster_set, message, legacy_message and iq, each "result" or the condition of an error
function grants.attempt(stream, user, from)
	local outcomes = {}
	if not from and stream.kind == "component" then
		from = stream.jid
	end
	for name, attempt in pairs(attempts) do
		outcomes[name] = attempt(stream, user, user:match "@(.*)$", from)
	end
	return outcomes
end

--- Makes the table that attempt returns when all attempts end in the same way.
-- @param condition "result" or the condition of an error
-- @param others the exceptions
function grants.all(condition, others)
	local outcomes = {}
	for name in pairs(attempts) do
		outcomes[name] = others and others[name] or condition
	end
	return outcomes
end

--- Makes the table that attempt returns for who is not listed on the host: requests for rosters are answered by the server, the
-- others can only be meant for the module.
-- @param others the exceptions
function grants.unlisted(others)
	local outcomes = grants.all("forbidden", { roster_get = "service-unavailable", roster_set = "service-unavailable" })
	for name, outcome in pairs(others or {}) do
		outcomes[name] = outcome
	end
	return outcomes
end

--- Finds the lines that the module logged.
-- @param log text of the log
-- @param level "debug", "info", "warn" or "error"
-- @param ... plain texts that a line has to hold, all of them
-- @return the list of the lines' messages
function grants.logged(log, level, ...)
	local found = {}
	for message in log:gmatch("[^\n]*:privilege%s+" .. level .. "\t([^\n]*)") do
		local matches = true
		for _, text in ipairs { ... } do
			matches = matches and message:find(text, 1, true) ~= nil
		end
		if matches then
			found[#found + 1] = message
		end
	end
	return found
end

return grants
