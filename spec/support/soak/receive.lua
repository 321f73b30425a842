-- What becomes of the stanzas that users and entities of a soak get: each is entered in the books, or is an error.

local grants = require "spec.support.grants"
local rosters = require "spec.support.rosters"
local st = require "util.stanza"

local xmlns_forward, xmlns_carbons, xmlns_privilege = "urn:xmpp:forward:0", "urn:xmpp:carbons:2", "urn:xmpp:privilege:2"

local receive = { xmlns_echo = "urn:spec:echo" }

--- Writes a contact's item as a line, as rosters.line does; a nil item as one that was removed.
function receive.line(contact, item)
	local groups = {}
	for group in pairs(item and item.groups or {}) do
		table.insert(groups, group)
	end
	table.sort(groups)
	return contact
		.. (item and " " .. item.subscription or " remove")
		.. (item and item.ask and " ask=subscribe" or "")
		.. (item and item.name and " name=" .. item.name or "")
		.. (groups[1] and " {" .. table.concat(groups, "|") .. "}" or "")
end

-- Streams that are closed may still be read
local function reply(stream, stanza)
	if not stream.closed then
		stream:send(stanza)
	end
end

local function unexpected(stream, stanza)
	error(("%s got what nobody sent: %s"):format(stream.jid, tostring(stanza)), 0)
end

local function error_key(stanza)
	return "error " .. tostring(grants.outcome(stanza))
end

local function host_of(jid)
	return (jid:match "^[^/]+":match "[^@]+$")
end

-- By which host's grant an entity gets a presence: its user's own host's, or for contacts that of the one with contacts
local function granting_host(entity, from)
	return entity.variants[host_of(from)] and host_of(from) or "capulet.lit"
end

-- Reads what a host told of its grants; presences that an entity hears again, or no longer, begin anew
local function told(stream, stanza, privilege)
	local host, text = stanza.attr.from, grants.describe(privilege)
	stream.told[host] = (" " .. text .. " "):gsub(" roster=none push=%S+", ""):gsub(" %S+=none%f[ ]", ""):match "^%s*(.-)%s*$"
	local presence = text:match "presence=(%S+)"
	for from, known in pairs(stream.presences) do
		local by_host = host_of(from) == host
		if known.host == host and (presence == nil or presence == "none" or presence ~= "roster" and not by_host) then
			stream.presences[from] = nil
		else
			known.again = known.host == host
		end
	end
end

-- Presences come in the order they were sent in, and each once, but for those that are told again with a grant
local function presence_by_grant(world, stream, stanza)
	local owner, from = stream.owner, stanza.attr.from
	local known, status = stream.presences[from], tonumber(stanza:get_child_text "status")
	local host = granting_host(owner, from)
	world.figures.presences = world.figures.presences + 1
	world.ledger:count(("%s %s presences"):format(host, owner.jid), 1)
	if stanza.attr.type == "unavailable" then
		-- What the gateway's contacts were ends without a word when it leaves
		local is_left = known and from:find("@irc.lit/", 1, true) and not world.ledger.open["u" .. from]
		if not is_left then
			world.ledger:arrived("u" .. from, stream, "presence")
		end
		stream.presences[from] = nil
		return
	end
	if not status or known and (status < known.status or status == known.status and not known.again) then
		unexpected(stream, stanza)
	end
	world.ledger:arrived("p" .. status, stream, "presence", true)
	stream.presences[from] = { status = status, host = host }
end

-- What a gateway gets for its contacts
local function presence_for_contact(world, stream, stanza)
	local contact, from, kind = stanza.attr.to, stanza.attr.from, stanza.attr.type
	if kind == "probe" then
		world.figures.probes = world.figures.probes + 1
		reply(stream, world:contact_stanza(contact, from))
	elseif kind == "subscribe" or kind == "unsubscribe" or kind == "unsubscribed" then
		local id = world.touched[from:match "^[^/]+" .. " " .. contact]
		local act = world.ledger.open[id]
		-- Requests are sent again when the user comes online
		if kind ~= "subscribe" or act and act.kind == "subscription asked for" then
			world.ledger:arrived(id, stream, kind, kind == "subscribe")
		end
	elseif not contact:find("@irc.lit", 1, true) then
		unexpected(stream, stanza)
	end
end

local function presence(world, stream, stanza)
	local owner, kind, bare = stream.owner, stanza.attr.type, stanza.attr.from:match "^[^/]+"
	local of_gateway = bare:find("@irc.lit", 1, true)
	if owner == world.gateway then
		presence_for_contact(world, stream, stanza)
	elseif owner.grants and bare ~= owner.jid and (kind == nil or kind == "unavailable") then
		presence_by_grant(world, stream, stanza)
	elseif kind == "error" or kind == "subscribed" then
		if not owner.roster or not of_gateway then
			unexpected(stream, stanza)
		end
	elseif bare ~= owner.jid and not (owner.fixed and (owner.fixed[bare] or of_gateway)) then
		unexpected(stream, stanza)
	end
end

local function message(world, stream, stanza)
	local privilege = stanza:get_child("privilege", xmlns_privilege)
	if privilege and stanza.attr.type ~= "error" then
		return told(stream, stanza, privilege)
	end
	if stanza:get_child("privilege", "urn:xmpp:privilege:1") and stanza.attr.type ~= "error" then
		return
	end
	local id, key = stanza.attr.id, "message"
	for _, direction in ipairs { "sent", "received" } do
		local carbon = stanza:get_child(direction, xmlns_carbons)
		if carbon then
			id, key = carbon:get_child("forwarded", xmlns_forward).tags[1].attr.id, direction
		end
	end
	world.ledger:arrived(id, stream, stanza.attr.type == "error" and error_key(stanza) or key)
end

-- An iq in the name of a user: answered as it asks for
local function asked(world, stream, stanza, query)
	world.ledger:arrived(query.attr.act, stream, "asked")
	local mode = query.attr.mode
	if mode == "result" then
		reply(stream, st.reply(stanza):tag("query", { xmlns = receive.xmlns_echo }))
	elseif mode == "error" then
		reply(stream, st.error_reply(stanza, "cancel", "not-acceptable"))
	end
end

local function push(world, stream, from, item)
	local user, contact, line, owner = from:match "^[^/]+", item.attr.jid, rosters.line(item), stream.owner
	if owner.grants then
		world.ledger:count(("%s %s pushes"):format(host_of(user), owner.jid), 1)
	elseif item.attr.ask and line == receive.line(contact, owner.roster[contact]) then
		-- Clients hear of requests again when another one comes
		return
	end
	world.ledger:arrived(world.touched[user .. " " .. contact], stream, "push " .. line, not owner.grants and item.attr.ask)
end

local function iq(world, stream, stanza)
	local owner, kind, query = stream.owner, stanza.attr.type, stanza.tags[1]
	local xmlns = query and query.attr.xmlns
	if kind == "set" and xmlns == "jabber:iq:roster" then
		push(world, stream, stanza.attr.from or owner.jid, query.tags[1])
		reply(stream, st.reply(stanza))
	elseif (kind == "get" or kind == "set") and xmlns == receive.xmlns_echo then
		asked(world, stream, stanza, query)
	elseif kind == "error" then
		world.ledger:arrived(stanza.attr.id, stream, error_key(stanza))
	elseif kind == "result" then
		local key, privilege = "result", stanza:get_child("privilege", xmlns_privilege)
		if privilege then
			local inner = privilege.tags[1].tags[1]
			key = "answer " .. grants.outcome(inner)
			if inner.attr.id ~= "same" then
				unexpected(stream, stanza)
			end
		end
		world.ledger:arrived(stanza.attr.id, stream, key)
	else
		unexpected(stream, stanza)
	end
end

--- Takes a stanza that came on a stream.
function receive.stanza(world, stream, stanza)
	if stanza.name == "presence" then
		presence(world, stream, stanza)
	elseif stanza.name == "message" then
		message(world, stream, stanza)
	elseif stanza.name == "iq" then
		iq(world, stream, stanza)
	else
		unexpected(stream, stanza)
	end
end

return receive
