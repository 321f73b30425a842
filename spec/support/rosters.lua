-- Rosters for the specs: asking for them, changing them, and telling in a comparable form what is in them.
--
-- A contact is told as one line, such as
--     nurse@capulet.lit both ask=subscribe name=Nurse {Friends|Servants}
-- with all attributes that its item has, so that nothing comes unnoticed.

local environment = require "spec.support.environment"

local lfs = require "lfs"
local st = require "util.stanza"

local xmlns_roster = "jabber:iq:roster"

local rosters = {}

--- Writes an item as a line.
function rosters.line(item)
	local parts, attributes, groups = { item.attr.jid or "-", item.attr.subscription or "-" }, {}, {}
	for name, value in pairs(item.attr) do
		-- Not every version shows pre-approval; roster_approved_spec has that.
		if name ~= "jid" and name ~= "subscription" and name ~= "xmlns" and name ~= "approved" then
			table.insert(attributes, name .. "=" .. value)
		end
	end
	table.sort(attributes)
	for _, child in ipairs(item.tags) do
		if child.name ~= "group" or child.attr.xmlns ~= xmlns_roster then
			error("not a group: " .. tostring(child), 0)
		end
		table.insert(groups, child:get_text() or "")
	end
	table.sort(groups)
	for _, attribute in ipairs(attributes) do
		table.insert(parts, attribute)
	end
	if groups[1] then
		table.insert(parts, "{" .. table.concat(groups, "|") .. "}")
	end
	return table.concat(parts, " ")
end

-- The items of a stanza's only child, a roster query, as sorted lines
local function lines(stanza)
	local query = stanza.tags[1]
	if #stanza.tags ~= 1 or query.name ~= "query" or query.attr.xmlns ~= xmlns_roster then
		error("no roster: " .. tostring(stanza), 0)
	end
	local list = {}
	for i, item in ipairs(query.tags) do
		if item.name ~= "item" or item.attr.xmlns ~= xmlns_roster then
			error("not an item: " .. tostring(item), 0)
		end
		list[i] = rosters.line(item)
	end
	table.sort(list)
	return list, query.attr.ver
end

--- Asks for a roster.
-- @param stream who asks
-- @param user whose roster; nil for the client's own
-- @param ver the version that is there already; nil for no attribute
-- @return the contacts as sorted lines, or nil if they were left out, and the version, or nil;
-- an error is raised for an error
function rosters.get(stream, user, ver)
	local answer = stream:iq { type = "get", to = user, st.stanza("query", { xmlns = xmlns_roster, ver = ver }) }
	if answer.attr.type ~= "result" then
		error("no result: " .. tostring(answer), 2)
	end
	if #answer.tags > 0 then
		return lines(answer)
	end
end

--- Sends a set.
-- @param stream who sends it
-- @param user whose roster; nil for the client's own
-- @param items XML text, what is inside the query
-- @return "result", or the type and the condition of the error, such as "cancel not-allowed"
function rosters.set(stream, user, items)
	return rosters.outcome(stream:iq { type = "set", to = user, "<query xmlns='jabber:iq:roster'>" .. items .. "</query>" })
end

--- Tells what an answer is: "result" if it is an empty one, or the type and the condition of the error.
function rosters.outcome(answer)
	if answer.attr.type == "error" then
		local kind, condition = answer:get_error()
		return kind .. " " .. condition
	elseif #answer.tags > 0 then
		error("not an empty result: " .. tostring(answer), 2)
	end
	return answer.attr.type
end

local function is_push(stanza)
	return stanza.name == "iq" and stanza.attr.type == "set" and stanza:get_child("query", xmlns_roster) ~= nil
end

--- Makes a round trip, and takes all roster pushes out of the queue.
-- Checks of each that it is addressed to the stream, has an id of its own and exactly one item.
-- @param stream who got them
-- @return a sorted list of texts, "USER: CONTACT …" (without "USER: " where the push is not from a user but
-- from the server itself), and the pushes as they came
function rosters.pushes(stream)
	local texts, stanzas, ids = {}, {}, {}
	local queue = stream:sync():drain()
	for _, stanza in ipairs(queue) do
		if is_push(stanza) then
			local items = lines(stanza)
			local id, to = stanza.attr.id, stanza.attr.to
			if #items ~= 1 or not id or ids[id] or to ~= stream.jid and not (to == nil and stanza.attr.from == nil) then
				error("not a good push: " .. tostring(stanza), 2)
			end
			ids[id] = true
			table.insert(texts, (stanza.attr.from and stanza.attr.from .. ": " or "") .. items[1])
			table.insert(stanzas, stanza)
		else
			table.insert(stream.queue, stanza)
		end
	end
	table.sort(texts)
	return texts, stanzas
end

local function read_folder(path, contents)
	for name in lfs.dir(path) do
		local full = path .. "/" .. name
		if name ~= "." and name ~= ".." then
			if lfs.attributes(full, "mode") == "directory" then
				read_folder(full, contents)
			else
				contents[full] = environment.read_file(full)
			end
		end
	end
	return contents
end

--- Gives what the storage has as a user's roster.
-- @param server a running server
-- @param username of the first virtual host
-- @return the roster as Prosody stores it, or nil
function rosters.stored(server, username)
	return server:eval(([[
		return require "core.storagemanager".open(module.host, "roster", "keyval"):get(%q);
	]]):format(username))
end

--- Gives all there is about rosters, to compare before and after.
-- @param server a running server
-- @param ... names of users of the first virtual host whose rosters in memory matter
-- @return table: stored rosters, those in memory, and the files of the data folder
function rosters.state(server, ...)
	local names = {}
	for i, name in ipairs { ... } do
		names[i] = ("%q"):format(name)
	end
	local stored, memory = server:eval(([[
		local store = require "core.storagemanager".open(module.host, "roster", "keyval");
		local stored, memory = {}, {};
		for username in store:users() do
			stored[username] = store:get(username);
		end
		for _, username in ipairs { %s } do
			memory[username] = require "core.rostermanager".load_roster(username, module.host);
		end
		return stored, memory;
	]]):format(table.concat(names, ", ")))
	return { stored = stored, memory = memory, files = read_folder(server.dir .. "/data", {}) }
end

return rosters
