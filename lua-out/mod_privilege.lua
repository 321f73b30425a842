-- mod_privilege 1.1.0
-- XEP-0356: Privileged Entity for Prosody
--
-- Copyright (c) 2026 the mod_privilege authors
-- This file is MIT licensed; see the LICENSE file of the project.
--
-- Generated from src/ by `make build`; do not edit.

local module_version = "1.1.0"

local configmanager = require("core.configmanager")
local rostermanager = require("core.rostermanager")
local storagemanager = require("core.storagemanager")
local usermanager = require("core.usermanager")
local hashes = require("util.hashes")
local jid = require("util.jid")
local logger = require("util.logger")
local st = require("util.stanza")
local uuid = require("util.uuid")

-- ==== src/prosody/log_text.ts ====

--- Control characters beyond ASCII, in UTF-8: U+0080 to U+009F, which terminals obey, and the line separators U+2028 and U+2029.
local later_controls = string.char(194) .. "[" .. string.char(128) .. "-" .. string.char(159) .. "]"
local line_separators = string.char(226, 128) .. "[" .. string.char(168, 169) .. "]"

--- Control characters of ASCII, and all bytes beyond it.
local not_plain = "[%c" .. string.char(128) .. "-" .. string.char(255) .. "]"

--- The first bytes of a longer text, at most so many, followed by dots.
local function cut(text, max_length)
	local last = max_length
	-- In UTF-8, the second and later bytes of a character are 128 to 191.
	while string.byte(text, last + 1) >= 128 and string.byte(text, last + 1) < 192 do
		last = last - 1
	end
	return string.sub(text, 1, last) .. "..."
end

--- Makes a text that an entity wrote (an address, a namespace, an id) fit for the log and for errors: one line of bounded
-- length without control characters.
local function printable(text)
	local max_length = 200
	local short = #text > max_length and cut(text, max_length) or text
	if string.find(short, not_plain) == nil then
		return short
	end
	local without_controls = string.gsub(short, "%c", "?")
	local without_later = string.gsub(without_controls, later_controls, "?")
	return (string.gsub(without_later, line_separators, "?"))
end

-- ==== src/prosody/protect.ts ====

--- The log for functions that do not get the log of a host.
local log_of_module = logger.init("privilege")

--- Calls a function that runs code of other modules, such as a storage. An error in it is logged and goes no further.
--
-- @param when says when the function is called, for the log, with %s for `subject`: "while a stanza was sent as %s"
-- @returns what the function returned; nil after an error
local function protect(log, when, subject, action)
	local ok, result = xpcall(action, tostring)
	if not ok then
		log("error", "Another module failed " .. when .. ": %s", subject, printable(result))
		return nil
	end
	return result
end

-- ==== src/prosody/recent.ts ====

--- Keeps values by name for a short time. There are two tables: values are added to the newer one, and the older one is
-- dropped when its time is over.
--
-- @param span seconds for which a value is kept at least, while there is room; it is kept for twice as long at most
-- @param max_values how many values each of the two tables has room for
local function create_recent(span, max_values)
	if max_values == nil then
		max_values = 10000
	end
	local newer = {}
	local older = {}
	local count = 0
	local rotate_at = 0

	--- Drops the older table if its time is over or the newer one is full.
	local function rotate()
		local now = os.time()
		-- The clock may have been set back.
		if now >= rotate_at or rotate_at > now + span or count >= max_values then
			older = now >= rotate_at + span and {} or newer
			newer = {}
			count = 0
			rotate_at = now + span
		end
	end

	--- The value of a name, nil where none is kept.
	local function get(name)
		rotate()
		return newer[name] or older[name]
	end

	local function set(name, value)
		rotate()
		if newer[name] == nil then
			count = count + 1
		end
		newer[name] = value
	end

	local function forget(name)
		newer[name] = nil
		older[name] = nil
	end

	--- The values that are kept, for `restore` after a reload of the module.
	local function save()
		return { newer = newer, older = older, count = count, rotate_at = rotate_at }
	end

	--- Takes over what `save` gave, instead of the values that are kept now.
	local function restore(saved)
		newer = saved.newer
		older = saved.older
		count = saved.count
		rotate_at = saved.rotate_at
	end

	return { get = get, set = set, forget = forget, save = save, restore = restore }
end

-- ==== src/prosody/accounts.ts ====

--- Seconds for which an account and its role are remembered at least; twice as long at most. An entity acts for the same
-- user many times in a row, and each lookup may be a request to a directory or a database.
local account_span = 2
-- By bare JID: the commands of the console ask about accounts of all hosts.
local existing = create_recent(account_span)
local roles = create_recent(account_span)
local enabled_accounts = create_recent(account_span)

--- Whether an account exists on a host. Asks the server anew: to be used before something is saved for the account. One that has a client online exists.
local function account_exists_now(username, host)
	local exists = protect(log_of_module, "while the account %s was looked for", username, function()
		return usermanager.user_exists(username, host)
	end) == true
	if exists then
		existing.set(username .. "@" .. host, true)
	else
		existing.forget(username .. "@" .. host)
	end
	return exists
end

--- Whether an account exists on a host. An account that another process deletes still exists here for less than five seconds.
local function account_exists(username, host)
	-- An account that has a client online exists.
	if prosody.hosts[host].sessions[username] ~= nil or existing.get(username .. "@" .. host) then
		return true
	end
	return account_exists_now(username, host)
end

--- Whether an admin has disabled an account, which need not exist (Prosody 13 and later).
local function account_disabled(username, host)
	if not usermanager.user_is_enabled then
		return false
	end
	local user = username .. "@" .. host
	if enabled_accounts.get(user) then
		return false
	end
	local is_enabled = protect(log_of_module, "while the account %s was looked for", username, function()
		return usermanager.user_is_enabled(username, host)
	end)
	-- Not every authentication can tell: only false means disabled. Nil may mean that the storage failed.
	if is_enabled ~= nil and is_enabled ~= false then
		enabled_accounts.set(user, true)
	end
	return is_enabled == false
end

--- The role of a user of a host, nil where the server has no roles (Prosody 0.12 and earlier).
local function user_role(username, host)
	local user = username .. "@" .. host
	local role = roles.get(user)
	if not role and usermanager.get_user_role then
		role = usermanager.get_user_role(username, host)
		if role then
			roles.set(user, role)
		end
	end
	return role
end

--- Forgets what is remembered of an account. To be called when the account is created, deleted, disabled or enabled, or gets another role.
local function forget_account(username, host)
	existing.forget(username .. "@" .. host)
	roles.forget(username .. "@" .. host)
	enabled_accounts.forget(username .. "@" .. host)
end

--- Drops an offline user's roster from the server's cache. The server itself only does so to make room, not even when the account
-- is deleted: it gives what the cache has to the next client that logs in under that name.
local function forget_roster(username, host)
	local owner = prosody.hosts[host]
	local cache = owner and owner.roster_cache
	if cache then
		cache:set(username .. "@" .. host, nil)
	end
end

--- Whether the server has a roster in memory that it could not read when the user logged in.
local function is_broken(roster)
	local metadata = roster[false]
	return metadata ~= nil and metadata.broken ~= nil
end

--- Reads a user's roster: from memory if the user is online, otherwise from the storage. An offline user's roster does not
-- stay in the server's cache.
--
-- @returns the roster, which is empty if the user does not exist; nil if the storage failed, now or when the user logged in
local function read_roster(username, host)
	forget_roster(username, host)
	local roster = protect(log_of_module, "while the roster of %s was read", username, function()
		local loaded, err = rostermanager.load_roster(username, host)
		return err == nil and loaded or nil
	end)
	forget_roster(username, host)
	return roster and not is_broken(roster) and roster or nil
end

--- Looks at a user's roster as the server does for a probe: an offline user's roster comes from the server's cache and stays
-- there. So this stays cheap when strangers cause it again and again, where `read_roster` would read the storage each time.
--
-- The cache may have an older roster than the storage if another process changed it or deleted the account. No client gets
-- such a roster: the module drops it when a client logs in and when an account is created or deleted (mod_privilege.ts).
--
-- @returns the roster, which is empty if the user does not exist; nil if the storage failed, now or when the user logged in
local function peek_roster(username, host)
	local roster = rostermanager.load_roster(username, host)
	if is_broken(roster) then
		-- The next one who asks has the storage read again.
		forget_roster(username, host)
		return nil
	end
	return roster
end

-- ==== src/prosody/act_as.ts ====

--- Sends stanzas in the name of users of a host, as clients of theirs would.
local function create_act_as(host, log)
	local when_sent = "while a stanza was sent as %s"

	local metatable = {
		-- Few handlers look at the roster, and an offline user's roster has to be loaded for that.
		__index = function(session, key)
			if key ~= "roster" then
				return nil
			end
			session.roster = rostermanager.load_roster(session.username, host)
			return session.roster
		end,
	}

	--- Ends such a session. Nobody has to be told.
	local function close()
		-- There is no connection.
	end

	--- Makes a session that acts for a user. The server's answers go to `send`.
	--
	-- It has the fields that handlers of stanzas read from a client's session. It is not one of the server's sessions, so it
	-- can never be an entity itself.
	local function act_as(username, send)
		return setmetatable({
			type = "c2s",
			username = username,
			host = host,
			full_jid = username .. "@" .. host,
			role = user_role(username, host),
			send = send,
			close = close,
			log = log,
		}, metatable)
	end

	-- The entries that `put_online` added and `take_offline` has not removed yet, by their (empty) tables of clients.
	local entries = {}

	local user_metatable = {
		__index = function(user, key)
			local entry = entries[user.sessions]
			return key == "roster" and entry and entry.session.roster or nil
		end,
	}

	local clients_metatable = {
		-- If the user logs in meanwhile, the server goes on with the entry.
		__newindex = function(clients, resource, client)
			rawset(clients, resource, client)
			local entry = entries[clients]
			if entry then
				rawset(prosody.bare_sessions, entry.session.full_jid, entry.user)
				entries[clients] = nil
			end
		end,
	}

	--- Adds an entry without clients for an offline user to the host's sessions.
	local function put_online(session)
		local clients = setmetatable({}, clients_metatable)
		local user = setmetatable({ sessions = clients }, user_metatable)
		entries[clients] = { session = session, user = user }
		rawset(prosody.hosts[host].sessions, session.username, user)
		return user
	end

	--- Removes that entry again, unless the user has logged in meanwhile.
	local function take_offline(username, user)
		entries[user.sessions] = nil
		local owner = prosody.hosts[host]
		local users = owner and owner.sessions
		if users and users[username] == user and next(user.sessions) == nil then
			users[username] = nil
		end
	end

	--- Sends a stanza in a user's name, whether the user is online or not.
	--
	-- Handlers of clients' stanzas expect the sender in the host's sessions (mod_blocklist), with the roster (save_roster). So an
	-- offline user has an entry without clients there while the stanza is handled. Afterwards nothing of the user stays in
	-- memory, nor does the roster.
	--
	-- @param send takes the server's answers; it may be called later, too
	-- @returns false if a handler of another module raised an error
	local function send_as(username, stanza, send)
		local session = act_as(username, send)
		local is_online = prosody.hosts[host].sessions[username] ~= nil
		local user = not is_online and put_online(session) or nil
		local done = protect(log, when_sent, session.full_jid, function()
			prosody.core_post_stanza(session, stanza, true)
			-- mod_register puts a `close` of its own into the session, in which it answers the removal of the account.
			session:close()
			return true
		end)
		if user then
			take_offline(username, user)
			forget_roster(username, host)
		end
		return done == true
	end

	--- Sends a stanza in the host's name. Returns false if a handler of another module raised an error.
	local function send_as_host(stanza)
		return protect(log, when_sent, host, function()
			prosody.core_post_stanza(prosody.hosts[host], stanza)
			return true
		end) == true
	end

	return { act_as = act_as, send_as = send_as, send_as_host = send_as_host }
end

-- ==== src/prosody/namespaces.ts ====

--- Since version 0.4 of XEP-0356.
local xmlns_privilege = "urn:xmpp:privilege:2"
--- Up to version 0.3 of XEP-0356, which has neither iqs nor roster pushes.
local xmlns_privilege_legacy = "urn:xmpp:privilege:1"
--- XEP-0297 (Stanza Forwarding).
local xmlns_forward = "urn:xmpp:forward:0"
local xmlns_client = "jabber:client"
local xmlns_roster = "jabber:iq:roster"

-- ==== src/prosody/client_stanzas.ts ====

--- Takes the namespace jabber:client off a stanza and off its descendants. Inside the server, stanzas have no
-- namespace of their own. Below an element of another namespace, such as a forwarded message, it stays.
local function strip_client_namespace(element)
	if element.attr.xmlns == xmlns_client then
		element.attr.xmlns = nil
		for _, child in ipairs(element.tags) do
			strip_client_namespace(child)
		end
	end
end

--- Whether an element is a stanza of that name in the namespace jabber:client. On the stream of a client this is the
-- default namespace, and Prosody leaves it out.
local function is_client_stanza(element, name, session)
	return element ~= nil
		and element.name == name
		and (element.attr.xmlns == xmlns_client or element.attr.xmlns == nil and session.type == "c2s")
end

--- The prepared form of an address, nil where it is no JID.
local function prepared(address)
	-- What the server knows by this address is prepared already.
	if prosody.bare_sessions[address] ~= nil or prosody.hosts[address] ~= nil or prosody.full_sessions[address] ~= nil then
		return address
	end
	return jid.prep(address)
end

-- ==== src/prosody/compatibility.ts ====

--- Loads a Lua module that some versions of Prosody do not have; nil where there is none.
local function optional_module(name)
	local is_there, found = pcall(require, name)
	return is_there and found or nil
end

--- Whether this is Prosody 0.10 or later. That version brought the events `store-opened` and `roster-item-removed`, which
-- cannot be looked for, and `util.cache`, which can.
local since_0_10 = optional_module("util.cache") ~= nil

--- The time as `os.time` gives it, with fractions of a second; nil where there is no `util.time` (Prosody 0.9).
local precise_time = (optional_module("util.time") or {}).now

-- ==== src/prosody/fifo.ts ====

--- Keeps values in their order: the first one in is the first one out, and then takes no more memory.
local function create_fifo()
	-- Prosody's util.queue has room for a fixed number, which it takes at once.
	local values = {}
	local first = 1
	local last = 0

	local function count()
		return last - first + 1
	end

	local function push(value)
		last = last + 1
		values[last] = value
	end

	--- The first value, nil where there is none.
	local function peek()
		return values[first]
	end

	--- Takes the first value out.
	local function pop()
		local value = peek()
		if value ~= nil then
			values[first] = nil
			first = first + 1
		end
		return value
	end

	local function clear()
		values = {}
		first = 1
		last = 0
	end

	--- All values in a list.
	local function list()
		local all = {}
		for i = first, last do
			all[#all + 1] = values[i]
		end
		return all
	end

	return { count = count, push = push, peek = peek, pop = pop, clear = clear, list = list }
end

-- ==== src/prosody/keys.ts ====

--- The keys of a table in any order; none where the table is nil.
local function keys_of(from)
	local keys = {}
	if from then
		for key in pairs(from) do
			keys[#keys + 1] = key
		end
	end
	return keys
end

--- The keys of a table, sorted as texts.
local function sorted_keys(from)
	local keys = keys_of(from)
	table.sort(keys, function(a, b)
		return tostring(a) < tostring(b)
	end)
	return keys
end

--- Whether two tables have the same keys.
local function same_keys(a, b)
	for key in pairs(a) do
		if b[key] == nil then
			return false
		end
	end
	for key in pairs(b) do
		if a[key] == nil then
			return false
		end
	end
	return true
end

--- A table with the same values under the same keys.
local function copy_of(from)
	local copy = {}
	for key, value in pairs(from) do
		copy[key] = value
	end
	return copy
end

-- ==== src/prosody/send.ts ====

--- `util.xml`, since Prosody 0.10.
local xml = optional_module("util.xml")

--- An attribute as XML text, with a space before it; an empty text where it has no value.
local function attribute(name, value)
	return value ~= nil and " " .. name .. "='" .. st.xml_escape(value) .. "'" or ""
end

--- The key that marks the stanzas that we send, in their `namespaces`: copies keep it there. No prefix has spaces.
local own_mark = "sent by mod_privilege"

--- Sends a stanza on a stream unless the stream has ended.
--
-- Any call may end it: Prosody 13 closes the connection of a client that does not read when too much waits to be sent.
local function send_stanza(session, stanza)
	if not session.destroyed then
		if type(stanza) ~= "string" then
			stanza.namespaces = stanza.namespaces or {}
			stanza.namespaces[own_mark] = ""
		end
		session.send(stanza)
	end
end

--- Handles `delivery/failure` on a host, in which mod_smacks gives up what a client has not acknowledged (XEP-0198). Nothing that
-- we sent goes back to its sender as an error, and none is kept for the user's next client, which is told its own permissions.
--
-- The handler stays when the module is unloaded, as a client may be gone later.
--
-- @param handled the events objects that have the handler, as keys: a shared table, the same one each time
local function drop_undelivered_at(events, handled)
	if handled[events] ~= nil then
		return
	end

	--- Handles the event. Refers to the shared table, so that this lasts as long as the handler.
	local function drop_undelivered(event)
		local namespaces = event.stanza.namespaces
		return namespaces and namespaces[own_mark] ~= nil and handled[events] ~= nil and true or nil
	end

	local set_environment = rawget(_G, "setfenv")
	if set_environment then
		-- COMPAT: In Lua 5.1 a function refers to its environment, here that of the module, which would stay in memory.
		set_environment(drop_undelivered, {})
	end
	setmetatable(handled, { __mode = "k" })
	handled[events] = true
	-- Before mod_smacks, after which no other handler is called.
	events.add_handler("delivery/failure", drop_undelivered, 1)
end

--- Whether a stanza that Prosody wrote as XML text declares a namespace. A text or another attribute may mention it.
local function declares(text, namespace)
	if string.find(text, namespace, 1, true) == nil then
		return false
	end
	local literal = string.gsub(namespace, "%.", "%%.")
	return string.find(text, " xmlns[^ =]*='" .. literal .. "'") ~= nil
end

--- Whether a stanza that Prosody wrote as XML text is well-formed. Prosody lets elements in the reserved namespaces of XML
-- through and declares these namespaces, and a receiver ends the stream at such a declaration.
local function is_well_formed(text)
	return not declares(text, "http://www.w3.org/XML/1998/namespace") and not declares(text, "http://www.w3.org/2000/xmlns/")
end

--- Sends a stanza that is XML text, which takes a fraction of the time that it takes to build a stanza.
--
-- The stream of a component takes text. That of a client has filters that want a stanza, such as the counter of XEP-0198.
local function send_text(session, text)
	if session.type == "component" or not xml then
		send_stanza(session, text)
		return
	end
	local stanza = xml.parse(text)
	if stanza then
		send_stanza(session, stanza)
	end
end

--- Collects stanzas as XML text, to write several to a session in one go; `flush` writes those that are left.
local function create_batch(session)
	--- How many stanzas are written in one go. More would save little time and leave long texts to collect as garbage.
	local batch_size = 20

	local texts = {}
	local count = 0

	--- Writes what is left.
	local function flush()
		if count > 0 then
			send_stanza(session, table.concat(texts))
			texts = {}
			count = 0
		end
	end

	--- Adds a stanza in two parts, which are put together once for all that are written.
	local function add(start, rest)
		if session.type ~= "component" then
			send_text(session, start .. rest)
			return
		end
		texts[#texts + 1] = start
		texts[#texts + 1] = rest
		count = count + 1
		if count == batch_size then
			flush()
		end
	end

	return { add = add, flush = flush }
end

-- ==== src/prosody/streams.ts ====

--- Whether a session is the stream of a client that has bound a resource, and not one that a module made up.
local function is_client_stream(session)
	return session.type == "c2s" and session.full_jid ~= nil and prosody.full_sessions[session.full_jid] == session
end

--- The JID that the server authenticated on a stream: the domain of an external component, or the bare JID of a client
-- that has bound a resource. Nil for everything else: other servers, internal components (their session is the host
-- itself) and sessions that modules make up. The addresses in stanzas play no part.
--
-- The stream of a component counts while its host is active and has no newer stream. When a host is deactivated, Prosody
-- keeps the stream open and goes on to handle its stanzas.
local function authenticated_jid(session)
	if session.type == "component" then
		local host = prosody.hosts[session.host]
		local component = host and host.modules.component
		-- COMPAT: mod_component of Prosody 0.9 has no `session`, only whether a stream is connected.
		local is_current = component and (component.session == session or component.session == nil and component.connected)
		return is_current and session.host or nil
	end
	return is_client_stream(session) and session.username .. "@" .. session.host or nil
end

-- ==== src/prosody/timers.ts ====

-- The works that wait for their next slices, by the function that sets the timers.
local works_by_timer = {}

--- Does long work in slices. After each slice the server handles what has come in meanwhile. Works whose timers are set by the
-- same function take turns.
--
-- An error in a step is logged, and the work goes on with the next step. A step therefore moves on before it does what may fail.
--
-- @param step does a little of the work; returns false when nothing is left to do, or when the work is to end
-- @param slice_end is called after each slice, with whether the work goes on
-- @param task names the work for the log, as a clause in the past tense: "the users of capulet.lit were counted"
local function in_slices(add_timer, step, slice_end, task)
	-- Seconds. Where there is one, a clock that also runs while the server waits for its storage; else processor time.
	local clock = precise_time or os.clock
	-- Seconds that a slice may take; its first step may take longer.
	local slice_time = 0.001
	-- That where timers go off only once a second, as in Prosody 0.9 and 0.10 without libevent.
	local rare_slice_time = 0.05
	-- From the beginning of a slice to that of the next one, which comes later if the slice takes longer. Not 0: Prosody calls all
	-- timers that are due before it reads from connections again.
	local slice_pause = 0.001
	local when = "while %s"

	local work = { step = step, slice_end = slice_end, task = task }
	local waiting = works_by_timer[add_timer]
	if waiting then
		waiting.push(work)
		return
	end
	local works = create_fifo()
	works.push(work)
	works_by_timer[add_timer] = works

	local last_second = os.time()
	-- How many slices in a row have begun in another second than the one before.
	local slow_count = 0

	--- Does work for so many seconds. Returns false when it has ended.
	local function do_slice(current, seconds)
		local began = clock()
		local time = began
		local goes_on = true
		-- The clock may be set back meanwhile.
		while goes_on and time >= began and time < began + seconds do
			goes_on = protect(log_of_module, when, current.task, current.step) ~= false
			time = clock()
		end
		protect(log_of_module, when, current.task, function()
			return current.slice_end(goes_on)
		end)
		return goes_on
	end

	add_timer(slice_pause, function()
		local second = os.time()
		slow_count = second > last_second and slow_count + 1 or 0
		last_second = second
		local current = works.pop()
		if do_slice(current, slow_count > 2 and rare_slice_time or slice_time) then
			works.push(current)
		end
		if works.count() > 0 then
			return slice_pause
		end
		works_by_timer[add_timer] = nil
		return nil
	end)
end

-- ==== src/prosody/usernames.ts ====

--- Makes a function that gives the names of all accounts of a host, one with each call, and nil after the last one. Nil
-- where accounts cannot be listed.
--
-- Where each account is a file, names are read as they are asked for. Other lists are read to their end at once: in
-- mod_storage_sql, all lists of accounts share one prepared statement. It starts anew for the next caller, and it locks
-- the database until its last row is read.
local function list_usernames(host)
	local function open_list()
		local next_name, state, start = usermanager.users(host)
		if not next_name then
			return nil
		end
		local last = start
		return function()
			last = next_name(state, last)
			return last
		end
	end

	--- Whether each account is a file in a folder, which is read name by name.
	local function is_lazy()
		local provider = usermanager.get_provider(host)
		local is_internal = string.find(provider.name or "", "^internal_")
		local _, driver = storagemanager.get_driver(host, "accounts")
		return is_internal ~= nil and driver == "internal"
	end

	--- Reads a list to its end, and gives its names one at a time.
	local function read_ahead(next_name)
		local names = {}
		local name = next_name()
		while name ~= nil do
			names[#names + 1] = name
			name = next_name()
		end
		local position = 0
		return function()
			position = position + 1
			return names[position]
		end
	end

	local is_open, next_name = pcall(open_list)
	if not is_open or not next_name or is_lazy() then
		return is_open and next_name or nil
	end
	local is_read, next_username = pcall(read_ahead, next_name)
	return is_read and next_username or nil
end

-- ==== src/grants/permissions.ts ====

local function no_permissions()
	return { roster = "none", push = false, message = "none", presence = "none", iq = {}, users = "all" }
end

--- Whether an access allows an iq of type "get" or "set"; it allows no iq of another type.
local function allows(access, iq_type)
	return access ~= nil and (access == iq_type or access == "both" and (iq_type == "get" or iq_type == "set"))
end

local function grants_anything(permissions)
	return permissions.roster ~= "none" or permissions.message ~= "none" or permissions.presence ~= "none" or next(permissions.iq) ~= nil
end

--- Whether the grants of a host, by entity, grant anything to anybody.
local function grants_any_entity(grants)
	for _, permissions in pairs(grants) do
		if grants_anything(permissions) then
			return true
		end
	end
	return false
end

--- The users whom a grant covers, for the log: `all`, `opted-in`, their names (`juliet nurse`) or `nobody`.
local function describe_coverage(users)
	if users == "all" or users == "opted-in" then
		return users
	end
	local names = sorted_keys(users)
	return #names > 0 and table.concat(names, " ") or "nobody"
end

--- Whether two grants cover the same users by their configuration.
local function same_coverage(a, b)
	if type(a) == "string" or type(b) == "string" then
		return a == b
	end
	return same_keys(a, b)
end

--- The permissions of an entity, without its users, for the log: `roster=both roster_push message=outgoing iq(urn:example)=set`.
local function describe_permissions(permissions)
	local parts = {}
	if permissions.roster ~= "none" then
		parts[#parts + 1] = "roster=" .. permissions.roster
	end
	if permissions.push then
		parts[#parts + 1] = "roster_push"
	end
	if permissions.message ~= "none" then
		parts[#parts + 1] = "message=" .. permissions.message
	end
	if permissions.presence ~= "none" then
		parts[#parts + 1] = "presence=" .. permissions.presence
	end
	for _, namespace in ipairs(sorted_keys(permissions.iq)) do
		parts[#parts + 1] = string.format("iq(%s)=%s", namespace, permissions.iq[namespace])
	end
	return #parts > 0 and table.concat(parts, " ") or "nothing"
end

--- Whether two permissions are the same for the entity. It is not told which users they cover, so that may differ.
local function same_permissions(a, b)
	-- The description has everything else in it.
	return describe_permissions(a) == describe_permissions(b)
end

-- ==== src/grants/suggestion.ts ====

--- How many letters have to be inserted, deleted or replaced to turn one word into another (Levenshtein distance).
local function edit_distance(a, b)
	local previous = {}
	for j = 0, #b do
		previous[j + 1] = j
	end
	for i = 1, #a do
		local current = { i }
		for j = 1, #b do
			local replaced = previous[j] + (string.byte(a, i) == string.byte(b, j) and 0 or 1)
			current[j + 1] = math.min(replaced, previous[j + 1] + 1, current[j] + 1)
		end
		previous = current
	end
	return previous[#b + 1]
end

--- The question ` (did you mean "…"?)` with a suggestion; an empty text where there is none.
local function did_you_mean(meant)
	return meant ~= nil and string.format(' (did you mean "%s"?)', meant) or ""
end

--- The word that was probably meant by a misspelt one; nil where no word is similar.
--
-- @param words to choose from, as keys, in lower case
local function suggest(word, words)
	local nearest
	local least = math.min(3, math.floor(#word / 4) + 1) + 1
	for candidate in pairs(words) do
		if math.abs(#candidate - #word) < least then
			local distance = edit_distance(string.lower(word), candidate)
			if distance < least or distance == least and nearest ~= nil and candidate < nearest then
				least = distance
				nearest = candidate
			end
		end
	end
	return nearest
end

-- ==== src/grants/configuration.ts ====

--- A value of the configuration in a form that the admin recognises.
local function show_value(value)
	if type(value) == "string" then
		-- %q breaks the line where the text has a line break.
		return (string.gsub(string.format("%q", value), "\n", "n"))
	end
	if type(value) == "table" then
		local key, first = next(value)
		if key == 1 and type(first) == "string" then
			local more = next(value, key)
			return string.format("{ %s%s }", show_value(first), more ~= nil and ", …" or "")
		end
		return "a table"
	end
	return tostring(value)
end

--- Reads the option `privileged_entities`. A mistake grants nothing and is listed as a problem; everything else is granted.
--
-- @param option its value, of any type
-- @param prepare gives the prepared form of a JID, and nil for what is no JID (util.jid.prep)
-- @param host the host that grants the permissions
local function read_configuration(option, prepare, host)
	local access_choices = { none = true, get = true, set = true, both = true }
	local access_allowed = '"none", "get", "set" or "both"'
	local message_choices = { none = true, outgoing = true }
	local presence_choices = { none = true, managed_entity = true, roster = true }
	local users_choices = { all = true, ["opted-in"] = true }
	local known_options = {
		roster = true,
		roster_push = true,
		message = true,
		presence = true,
		iq = true,
		users = true,
	}

	--- Gives `value` if it is one of the choices, else "none"; adds a problem unless it is nil.
	local function choose(choices, name, value, allowed, add_problem)
		if value == nil then
			return "none"
		end
		if type(value) == "string" and choices[value] then
			return value
		end
		add_problem(name, value, "expected " .. allowed, type(value) == "string" and suggest(value, choices) or nil)
		return "none"
	end

	--- Reads the option `iq`, into the access by namespace.
	local function read_iq(value, add_problem)
		local granted = {}
		if value == nil then
			return granted
		end
		if type(value) ~= "table" then
			add_problem("iq", value, 'expected a table of namespaces, { ["NAMESPACE"] = "set" }')
			return granted
		end
		local namespaces = value
		for _, key in ipairs(sorted_keys(namespaces)) do
			local namespace = tostring(key)
			-- A namespace is a URI. Other characters might not even be allowed in XML.
			if type(key) == "string" and string.find(namespace, "^[!-~]+$") ~= nil then
				local name = string.format('iq["%s"]', namespace)
				local access = choose(access_choices, name, namespaces[namespace], access_allowed, add_problem)
				if access ~= "none" then
					granted[namespace] = access
				end
			else
				add_problem("iq", namespaces[key], 'expected a namespace as key, { ["NAMESPACE"] = "set" }')
			end
		end
		return granted
	end

	--- Reads the option `users`. One that is not understood covers nobody.
	local function read_users(value, add_problem)
		if value == nil or value == "all" then
			return "all"
		end
		if value == "opted-in" then
			return value
		end
		local listed = {}
		if type(value) ~= "table" then
			add_problem("users", value, 'expected "all", "opted-in" or a list of users', suggest(tostring(value), users_choices))
			return listed
		end
		local list = value
		for _, key in ipairs(sorted_keys(list)) do
			local user = list[key]
			local name = type(key) == "number" and type(user) == "string" and user or ""
			local prepared_jid = prepare(string.find(name, "@", 1, true) ~= nil and name or name .. "@" .. host)
			local username, user_host = string.match(prepared_jid or "", "^([^@/]+)@([^@/]+)$")
			if users_choices[name] then
				add_problem("users", list, string.format("write users = %s, or the user with the host", show_value(name)))
			elseif username ~= nil and user_host == host then
				listed[username] = true
			elseif type(key) == "number" then
				add_problem("users", user, string.format('expected users of %s, { "NAME", "NAME@%s" }', host, host))
			else
				local shown = tostring(key)
				add_problem("users", list, string.format('write { "%s" } instead of { %s = %s }', shown, shown, show_value(user)))
			end
		end
		return listed
	end

	--- Reads what the entry of an entity grants.
	local function read_permissions(entry, add_problem)
		local permissions = no_permissions()
		permissions.users = read_users(entry.users, add_problem)
		permissions.roster = choose(access_choices, "roster", entry.roster, access_allowed, add_problem)
		permissions.message = choose(message_choices, "message", entry.message, '"none" or "outgoing"', add_problem)
		permissions.presence = choose(presence_choices, "presence", entry.presence, '"none", "managed_entity" or "roster"', add_problem)
		permissions.iq = read_iq(entry.iq, add_problem)

		local readable = permissions.roster == "get" or permissions.roster == "both"
		-- XEP-0356, 7.4: the server must reject this.
		if permissions.presence == "roster" and not readable then
			add_problem("presence", "roster", 'expected "none" or "managed_entity"', nil, 'roster = "get" or "both"')
			permissions.presence = "none"
		end

		local push = entry.roster_push
		permissions.push = readable
		if push ~= nil then
			permissions.push = push == true and readable
			if type(push) ~= "boolean" then
				add_problem("roster_push", push, "expected true or false")
			elseif push == true and not readable then
				add_problem("roster_push", push, "expected false", nil, 'roster = "get" or "both"')
			end
		end

		for _, key in ipairs(sorted_keys(entry)) do
			local name = tostring(key)
			if type(key) ~= "string" or known_options[name] == nil then
				add_problem(
					name,
					entry[key],
					"the options are roster, roster_push, message, presence, iq and users",
					suggest(name, known_options)
				)
			end
		end
		return permissions
	end

	local grants = {}
	local problems = {}

	--- The prepared JID of an entity, a domain or a bare JID; nil where a value is none.
	local function entity_jid(value)
		local entity_name = type(value) == "string" and prepare(value) or nil
		return entity_name ~= nil and string.find(entity_name, "/", 1, true) == nil and entity_name or nil
	end

	--- Reads the entry of one entity.
	local function read_entry(key, value)
		local entity = entity_jid(key)
		local shown_key = show_value(key)
		if type(key) == "number" and entity_jid(value) ~= nil then
			local shown = show_value(value)
			problems[#problems + 1] = {
				setting = string.format("privileged_entities = { %s }", shown),
				advice = string.format("write [%s] = { … }", shown),
			}
		elseif entity == nil then
			problems[#problems + 1] =
				{ setting = "the key " .. shown_key .. " of privileged_entities", advice = "expected a domain or a bare JID" }
		elseif grants[entity] ~= nil then
			problems[#problems + 1] = {
				setting = "the key " .. shown_key .. " of privileged_entities",
				advice = "expected each entity once; " .. entity .. " stands there in another spelling",
			}
		elseif type(value) ~= "table" then
			problems[#problems + 1] = {
				setting = string.format("privileged_entities = { [%s] = %s }", shown_key, show_value(value)),
				advice = "expected a table of permissions for the entity",
			}
		else
			local function add_problem(option_name, wrong, advice, meant, needs)
				problems[#problems + 1] = {
					entity = tostring(key),
					setting = option_name .. " = " .. show_value(wrong),
					advice = advice,
					meant = meant,
					needs = needs,
				}
			end
			grants[entity] = read_permissions(value, add_problem)
		end
	end

	if type(option) == "table" then
		local entries = option
		for _, key in ipairs(sorted_keys(entries)) do
			read_entry(key, entries[key])
		end
	elseif option ~= nil then
		problems[#problems + 1] = {
			setting = "privileged_entities = " .. show_value(option),
			advice = 'expected a table of entities, { ["JID"] = { … } }',
		}
	end
	return { grants = grants, problems = problems }
end

--- A problem as a sentence for the log.
local function describe_problem(host, problem)
	local entity = problem.entity ~= nil and string.format(' entity "%s":', problem.entity) or ""
	local setting = string.format('VirtualHost "%s":%s %s', host, entity, problem.setting)
	if problem.needs ~= nil then
		return setting .. " needs " .. problem.needs
	end
	return string.format("%s grants nothing, %s%s", setting, problem.advice, did_you_mean(problem.meant))
end

--- Sentences about those entries that grant nothing although no problem was found in them.
local function describe_empty_entries(host, configuration)
	local has_problem = {}
	for _, problem in ipairs(configuration.problems) do
		if problem.entity ~= nil then
			has_problem[string.lower(problem.entity)] = true
		end
	end
	local sentences = {}
	for _, entity in ipairs(sorted_keys(configuration.grants)) do
		if not has_problem[entity] and not grants_anything(configuration.grants[entity]) then
			sentences[#sentences + 1] =
				string.format('VirtualHost "%s": entity "%s": the entry grants nothing. Values need quotes: roster = "both"', host, entity)
		end
	end
	return sentences
end

-- ==== src/grants/users.ts ====

--- Keeps in Prosody's storage which users opted in to which entities (option `users`). The records of a user go with the
-- account when it is deleted.
--
-- Where the storage fails, requests of entities are refused. That a user opts out counts all the same, and is saved later.
local function create_users(service)
	-- Seconds. Changes that other processes make to the storage are noticed within twice this time.
	local cache_span = 2
	-- Seconds after which it is tried again to save what could not be saved.
	local retry_pause = 5
	local cached = create_recent(cache_span)
	local known = {}
	local unsaved = {}
	local timer_runs = false

	--- Whether a user is covered who has such a record.
	local function is_covering(found)
		return found ~= nil and found.state ~= "out" and found.state ~= "revoked"
	end

	--- Whether a record is replaced where the user opts out: what the admin has revoked stays revoked.
	local function may_leave(before)
		return before == nil or is_covering(before)
	end

	--- Puts the records of a user in memory, as the storage has them or is to have them.
	local function note(username, records)
		cached.set(username, records)
		known[username] = next(records) ~= nil and records or nil
	end

	--- The records of a user as the storage has them, with those of opting out that are not saved yet. Forgets such as are not needed any more.
	local function with_unsaved(username, stored)
		local missing = unsaved[username]
		if not missing then
			return stored
		end
		local records = copy_of(stored)
		for entity, missing_record in pairs(missing) do
			if may_leave(stored[entity]) then
				records[entity] = missing_record
			else
				missing[entity] = nil
			end
		end
		if next(missing) == nil then
			unsaved[username] = nil
		end
		return records
	end

	--- Reads the records of a user from the storage; nil where that fails.
	local function stored_records(username)
		local stored = protect(service.log, "while the entities of %s were looked for", username, function()
			local found, err = service.store:get(username)
			if err ~= nil then
				service.log("error", "Cannot read which entities %s opted in to: %s", username, err)
				return nil
			end
			return found or {}
		end)
		if not stored then
			return nil
		end
		local records = with_unsaved(username, stored)
		note(username, records)
		return records
	end

	--- Saves the records of a user. False where that failed, and nothing has changed.
	local function save_records(username, records)
		local saved = protect(service.log, "while the entities of %s were saved", username, function()
			local ok, err = service.store:set(username, records)
			if not ok then
				service.log("error", "Cannot save which entities %s opted in to: %s", username, err)
			end
			return ok
		end)
		if not saved then
			return false
		end
		unsaved[username] = nil
		note(username, records)
		return true
	end

	--- The record of a user and an entity, nil where there is none or the user has opted out.
	local function record(entity, username)
		local records = cached.get(username) or stored_records(username)
		local found = records and records[entity]
		return found and found.state ~= "out" and found or nil
	end

	--- Whether the grant of an entity covers a user, for all that the entity asks. It does not matter whether that user exists.
	local function covers(entity, coverage, username)
		if coverage == "all" then
			return true
		end
		if coverage ~= "opted-in" then
			return coverage[username] ~= nil
		end
		return is_covering(record(entity, username))
	end

	--- Whether the grant of an entity covers a user; or did when the storage was read last, where it fails now. For the presences that
	-- the entity is told: if it were not told that a user or contact has gone, they would stay available for it.
	local function covers_as_known(entity, coverage, username)
		if coverage ~= "opted-in" then
			return covers(entity, coverage, username)
		end
		local records = cached.get(username) or stored_records(username) or known[username]
		local missing = unsaved[username]
		return is_covering(records and records[entity]) and not (missing and missing[entity] ~= nil)
	end

	--- Saves the record of a user and an entity. False where the record must not be replaced, nil where the storage failed; then nothing has changed.
	local function keep(entity, username, new_record, may_replace)
		-- The records in memory may be those of an account that another process has deleted.
		local before = stored_records(username)
		if not before then
			return nil
		end
		if may_replace and not may_replace(before[entity]) then
			return false
		end
		local records = copy_of(before)
		records[entity] = new_record
		return save_records(username, records) and true or nil
	end

	--- Tries to save that a user opted out. Returns whether nothing of the user is left to be saved.
	local function save_unsaved_of(username)
		local records = stored_records(username)
		return records ~= nil and (unsaved[username] == nil or save_records(username, records))
	end

	--- Tries to save who opted out. Has to be called when the module is unloaded.
	local function save_unsaved()
		for _, username in ipairs(keys_of(unsaved)) do
			if save_unsaved_of(username) then
				service.log("info", "It is saved now which entities %s opted out of", username)
			end
		end
	end

	--- Sees to it that a timer saves who opted out.
	local function save_later()
		if not timer_runs then
			timer_runs = true
			service.add_timer(retry_pause, function()
				save_unsaved()
				timer_runs = next(unsaved) ~= nil
				return timer_runs and retry_pause or nil
			end)
		end
	end

	--- Opts a user out, unless the admin has revoked it. It counts at once, and is saved again and again until that succeeds. There is a record then of a user who was not in, too.
	local function leave(entity, username)
		local missing = unsaved[username] or {}
		missing[entity] = { state = "out", since = os.time() }
		unsaved[username] = missing
		cached.forget(username)
		if not save_unsaved_of(username) then
			save_later()
		end
	end

	--- Drops what is in memory of a user whose account was made or deleted.
	local function forget(username)
		cached.forget(username)
		known[username] = nil
		unsaved[username] = nil
	end

	--- The state to be restored after a reload. Who opts out after this call is in it, too.
	local function save()
		return { known = known, unsaved = unsaved }
	end

	--- Restores that state.
	local function restore(saved)
		known = saved.known
		unsaved = saved.unsaved
		for username in pairs(unsaved) do
			cached.forget(username)
			save_later()
		end
	end

	--- The names of all users who have a record about any entity. Raises an error where the storage does.
	local function recorded_usernames()
		local names = {}
		-- COMPAT: Prosody 0.9 cannot list them.
		if service.store.users then
			-- The list is read to its end before anything else is read: in mod_storage_sql, all lists share one statement.
			local next_user, state, start = service.store:users()
			if type(next_user) ~= "function" then
				error(tostring(state), 0)
			end
			local username = next_user(state, start)
			while username ~= nil do
				names[#names + 1] = username
				username = next_user(state, username)
			end
		end
		return names
	end

	--- The names of the users whom a grant may cover, for `covers_as_known` to decide; nil where it covers all users of the host.
	-- Those who opted in are as many as is known, where they cannot be listed.
	local function candidates(coverage)
		if coverage == "all" then
			return nil
		end
		if coverage == "opted-in" then
			return protect(service.log, "while %s", "the users who opted in were listed", recorded_usernames) or keys_of(known)
		end
		return keys_of(coverage)
	end

	--- Whether the records of a user are in memory, as they are after `covers` unless the storage failed.
	local function has_records(username)
		return cached.get(username) ~= nil
	end

	return {
		covers = covers,
		covers_as_known = covers_as_known,
		record = record,
		keep = keep,
		leave = leave,
		save_unsaved = save_unsaved,
		forget = forget,
		recorded_usernames = recorded_usernames,
		candidates = candidates,
		has_records = has_records,
		save = save,
		restore = restore,
	}
end

-- ==== src/entities/adoption.ts ====

--- Adopts the users of an entity the first time that its grant is limited to users who opted in: those who have the entity
-- in their rosters are opted in. This happens once for each entity. Later changes of rosters, which other entities may make,
-- opt nobody in.
local function create_adoption(service)
	-- Where the storage fails, users are looked at again after so many seconds, so many times. Not for longer: entities may change
	-- rosters meanwhile.
	local retry_pause = 5
	local max_retries = 12

	local host = service.host
	local store = storagemanager.open(host, "privilege_entities", "keyval")
	-- The adoptions since the module was loaded. One that is done has to be saved yet where the storage failed. An entity that
	-- loses its grant and gets it back is a new one.
	local progress = setmetatable({}, { __mode = "k" })

	--- Whether an entity is still one that users opt in to.
	local function is_wanted(entity)
		return service.entities.get(entity.jid) == entity and entity.permissions.users == "opted-in"
	end

	--- Opts a user in who has an entity in the roster, with a subscription or a request for one. False where the storage failed.
	local function adopt_user(entity, username)
		local roster = read_roster(username, host)
		local item = roster and roster[entity.jid]
		if item and (item.subscription ~= "none" or item.ask ~= nil) then
			return service.opting.adopt(entity, username)
		end
		return roster ~= nil
	end

	--- Reads which entities' users were adopted; nil where that fails.
	local function read_adopted()
		return protect(service.log, "while the adoptions of %s were looked up", host, function()
			local adopted, err = store:get(nil)
			if err ~= nil then
				service.log("error", "Cannot read whose users were adopted on %s: %s", host, err)
				return nil
			end
			return adopted or {}
		end)
	end

	--- Ends the adoption of an entity's users and saves that. Where saving fails, the next `configured` tries it again.
	local function finish(entity)
		progress[entity] = "done"
		local adopted = read_adopted()
		if not adopted then
			return
		end
		adopted[entity.jid] = os.time()
		protect(service.log, "while the adoptions of %s were saved", host, function()
			local ok, err = store:set(nil, adopted)
			if not ok then
				service.log("error", "Cannot save that the users of %s were adopted: %s", entity.jid, err)
			end
		end)
	end

	--- Says which users are not opted in because the storage failed.
	local function report(entity, usernames)
		local max_names = 10
		table.sort(usernames)
		service.log(
			"error",
			"Cannot read whether %d users of %s have %s in the roster, they have to opt in to it: %s%s",
			#usernames,
			host,
			entity.jid,
			table.concat(usernames, ", ", 1, math.min(max_names, #usernames)),
			#usernames > max_names and " and others" or ""
		)
	end

	--- Looks through users, in slices, for those of an entity. Where the storage fails for some, it looks at them again in a while, so many times.
	local function search(entity, retries, next_username)
		local failed = {}
		local may_go_on = true

		--- Looks through the users again for whom the storage failed.
		local function search_again()
			local position = 0
			search(entity, retries - 1, function()
				position = position + 1
				return failed[position]
			end)
			return nil
		end

		--- Ends the adoption, or begins to wait.
		local function end_search()
			if #failed > 0 and retries > 0 then
				progress[entity] = "waiting"
				service.add_timer(retry_pause, search_again)
				return
			end
			if #failed > 0 then
				report(entity, failed)
			end
			finish(entity)
		end
		progress[entity] = "under way"
		in_slices(service.add_timer, function()
			if not is_wanted(entity) or not may_go_on then
				return false
			end
			-- Where the list raises an error, the work ends here, and the next `configured` begins it anew.
			may_go_on = false
			local username = next_username()
			if username == nil then
				end_search()
				return false
			end
			may_go_on = true
			if not adopt_user(entity, username) then
				failed[#failed + 1] = username
			end
			return true
		end, function(goes_on)
			if not goes_on and progress[entity] == "under way" then
				progress[entity] = nil
			end
		end, string.format("the users of %s were looked for on %s", entity.jid, host))
	end

	--- Looks through all accounts of the host for the users of an entity.
	local function adopt(entity)
		local next_username = list_usernames(host)
		if not next_username then
			service.log(
				"warn",
				"The accounts of %s cannot be listed: users who have %s in the roster have to opt in to it",
				host,
				entity.jid
			)
			return finish(entity)
		end
		search(entity, max_retries, next_username)
	end

	--- Adopts the users of those entities that need it. Has to be called after the configuration was read.
	local function configured()
		local adopted = read_adopted()
		for _, entity in pairs(service.entities.all()) do
			if adopted and entity.permissions.users == "opted-in" and adopted[entity.jid] == nil then
				local before = progress[entity]
				if before == "done" then
					finish(entity)
				elseif before == nil then
					adopt(entity)
				end
			end
		end
	end

	return { configured = configured }
end

-- ==== src/entities/entities.ts ====

local function no_counts()
	return { messages = 0, iqs = 0, roster_gets = 0, roster_sets = 0, pushes = 0, presences = 0, refusals = 0 }
end

--- An entity that is granted nothing yet.
local function new_entity(name)
	return { jid = name, permissions = no_permissions(), connections = {}, counts = no_counts() }
end

--- Whether an entity is still there: its stream counts (see `authenticated_jid`); for a user, the client is available.
local function is_connected(connection)
	local session = connection.session
	if session.type == "component" then
		return authenticated_jid(session) ~= nil
	end
	return session.type == "c2s" and session.presence ~= nil
end

--- Calls a function with each connection of an entity that is still there. From the last one to the first, since sending may end a
-- connection, which is then removed from the list.
local function each_connection(entity, visit)
	for i = #entity.connections, 1, -1 do
		local connection = entity.connections[i]
		if connection and is_connected(connection) then
			visit(connection)
		end
	end
end

--- Holds the entities of a host: their permissions, their connections and their counts.
local function create_entities()
	local by_jid = {}
	local has_opt_ins = false
	local receivers_by_kind

	--- The entity with a JID, nil where there is none.
	local function get(name)
		return by_jid[name]
	end

	--- The entity that authenticated on a stream, nil where that is no entity of this host.
	local function of(session)
		local name = authenticated_jid(session)
		return name ~= nil and by_jid[name] or nil
	end

	--- All entities by JID.
	local function all()
		return by_jid
	end

	--- Whether users can opt in to any entity.
	local function takes_opt_ins()
		return has_opt_ins
	end

	--- Replaces all grants, which come by JID. Entities that stay keep their connections. Returns those that have no grant any more.
	local function grant(grants)
		local granted = {}
		has_opt_ins = false
		for name, permissions in pairs(grants) do
			local entity = by_jid[name] or new_entity(name)
			entity.permissions = permissions
			has_opt_ins = has_opt_ins or permissions.users == "opted-in"
			granted[name] = entity
		end
		local gone = {}
		for name, entity in pairs(by_jid) do
			if granted[name] == nil then
				entity.permissions = no_permissions()
				gone[#gone + 1] = entity
			end
		end
		by_jid = granted
		receivers_by_kind = nil
		return gone
	end

	--- Removes those connections of an entity that pass a test.
	local function remove_connections(entity, test)
		local connections = entity.connections
		for i = #connections, 1, -1 do
			if test(connections[i]) then
				table.remove(connections, i)
				receivers_by_kind = nil
			end
		end
	end

	--- Removes the connection that belongs to a stream.
	local function disconnect(session)
		for _, entity in pairs(by_jid) do
			remove_connections(entity, function(connection)
				return connection.session == session
			end)
		end
	end

	--- Adds a stream of an entity, and removes connections that do not count any more.
	local function connect(entity, session)
		remove_connections(entity, function(connection)
			return connection.session == session or not is_connected(connection)
		end)
		local address = session.full_jid or session.host
		local connection = {
			entity = entity,
			session = session,
			address = address,
			to = attribute("to", address),
			advertised = {},
			is_restored = false,
			ending = {},
			since = os.time(),
		}
		table.insert(entity.connections, connection)
		receivers_by_kind = nil
		return connection
	end

	local function sort_receivers()
		local sorted = { presence = {}, contacts = {}, covered_contacts = {}, push = {} }
		for _, entity in pairs(by_jid) do
			for _, connection in ipairs(entity.connections) do
				if entity.permissions.presence ~= "none" then
					table.insert(sorted.presence, connection)
				end
				if entity.permissions.presence == "roster" and entity.permissions.users == "all" then
					table.insert(sorted.contacts, connection)
				elseif entity.permissions.presence == "roster" then
					table.insert(sorted.covered_contacts, connection)
				end
				if entity.permissions.push then
					table.insert(sorted.push, connection)
				end
			end
		end
		return sorted
	end

	--- The connections that get presences or pushes of a kind. The list is cached until a connection or a permission changes.
	local function receivers(kind)
		receivers_by_kind = receivers_by_kind or sort_receivers()
		return receivers_by_kind[kind]
	end

	--- The state of the connections, for `restore` after a reload of the module.
	local function save()
		local saved = {}
		for _, entity in pairs(by_jid) do
			for _, connection in ipairs(entity.connections) do
				saved[connection.session] = {
					advertised = connection.advertised,
					ending = connection.ending,
					since = connection.since,
				}
			end
		end
		return saved
	end

	--- Takes over what `save` gave, where no entity is there yet. These are granted nothing until `grant` is called.
	local function restore(saved)
		for session, before in pairs(saved) do
			local name = authenticated_jid(session)
			if name ~= nil then
				local entity = by_jid[name] or new_entity(name)
				by_jid[name] = entity
				local connection = connect(entity, session)
				connection.advertised = before.advertised
				connection.ending = before.ending
				connection.since = before.since
				connection.is_restored = true
			end
		end
	end

	return {
		get = get,
		of = of,
		all = all,
		takes_opt_ins = takes_opt_ins,
		grant = grant,
		connect = connect,
		disconnect = disconnect,
		receivers = receivers,
		save = save,
		restore = restore,
	}
end

--- How many entities there are and how many of them are connected, for the status of the module.
local function describe_entities(entities)
	local granted = 0
	local connected = 0
	for _, entity in pairs(entities.all()) do
		granted = granted + (grants_anything(entity.permissions) and 1 or 0)
		connected = connected + (#entity.connections > 0 and 1 or 0)
	end
	return string.format("%d granted, %d connected", granted, connected)
end

-- ==== src/entities/advertisement.ts ====

--- The `<privilege/>` that tells an entity its permissions (XEP-0356, 4.2, 5.2, 6.2 and 7.2); nil where there is nothing
-- to tell.
--
-- @param permissions the permissions that it has now
-- @param before those that it was told last; the ones that it has lost are told with the type 'none'
-- @param xmlns the namespace of the element; in the legacy one there are neither iqs nor pushes
local function privilege_element(permissions, before, xmlns)
	if not grants_anything(permissions) and not grants_anything(before) then
		return nil
	end
	local is_current = xmlns == xmlns_privilege
	local privilege = st.stanza("privilege", { xmlns = xmlns })

	--- Adds a `<perm/>` unless the permission is 'none' and was 'none' before.
	local function add_perm(access, permission, permission_before, push)
		if permission ~= "none" or permission_before ~= "none" then
			privilege:tag("perm", { access = access, type = permission, push = push })
			privilege:up()
		end
	end

	add_perm("roster", permissions.roster, before.roster, is_current and tostring(permissions.push) or nil)
	add_perm("message", permissions.message, before.message)
	if is_current then
		local namespaces = keys_of(permissions.iq)
		for namespace in pairs(before.iq) do
			if permissions.iq[namespace] == nil then
				namespaces[#namespaces + 1] = namespace
			end
		end
		table.sort(namespaces)
		if #namespaces > 0 then
			privilege:tag("perm", { access = "iq" })
			for _, namespace in ipairs(namespaces) do
				privilege:tag("namespace", { ns = namespace, type = permissions.iq[namespace] or "none" }):up()
			end
			privilege:up()
		end
	end
	add_perm("presence", permissions.presence, before.presence)
	return #privilege.tags > 0 and privilege or nil
end

--- Tells entities their permissions (XEP-0356, 4.2, 5.2, 6.2 and 7.2), in both namespaces.
--
-- When the permissions of a connection have changed, `service.changed` is called with it and the permissions before; also
-- when they are told again after a reload of the module, with true.
local function create_advertisement(service)
	--- Tells an entity its permissions in a namespace unless it knows them and need not be told again; returns the permissions that it was told before.
	local function advertise_in(connection, xmlns, permissions)
		local before = connection.advertised[xmlns] or no_permissions()
		local is_known = not connection.is_restored and same_permissions(permissions, before)
		local privilege = not is_known and privilege_element(permissions, before, xmlns) or nil
		connection.advertised[xmlns] = permissions
		if privilege then
			local attributes = { from = service.host, to = connection.address, id = uuid.generate() }
			send_stanza(connection.session, st.message(attributes):add_child(privilege))
		end
		return before
	end

	--- Tells an entity its permissions on one of its connections, as far as they have changed.
	local function advertise(connection)
		local permissions = connection.entity.permissions
		local before = advertise_in(connection, xmlns_privilege, permissions)
		advertise_in(connection, xmlns_privilege_legacy, service.options.legacy and permissions or no_permissions())
		local is_restored = connection.is_restored and (grants_anything(permissions) or grants_anything(before))
		connection.is_restored = false
		if is_restored or not same_permissions(permissions, before) or not same_coverage(permissions.users, before.users) then
			service.log(
				"info",
				"%s is granted %s%s",
				connection.address,
				describe_permissions(permissions),
				grants_anything(permissions) and ", users: " .. describe_coverage(permissions.users) or ""
			)
			service.changed(connection, before, is_restored)
		end
	end

	--- Tells an entity its permissions on all its connections.
	local function advertise_to(entity)
		each_connection(entity, advertise)
	end

	return { advertise = advertise, advertise_to = advertise_to }
end

-- ==== src/entities/refusals.ts ====

local function forbidden(text)
	return { type = "auth", condition = "forbidden", text = text }
end

local function bad_request(text)
	return { type = "modify", condition = "bad-request", text = text }
end

local refusals = {
	not_listed = forbidden("This entity is not listed in the host's privileged_entities"),
	no_such_user = { type = "cancel", condition = "item-not-found", text = "There is no such user", about_recipient = true },
	module_failed = { type = "wait", condition = "internal-server-error", text = "Another part of the server failed" },

	not_covered = forbidden("The grant does not cover this user"),
	account_disabled = forbidden("The account is disabled"),

	roster_get = {
		type = "auth",
		condition = "forbidden",
		text = 'Reading rosters needs roster = "get"',
		about_recipient = true,
	},
	roster_set = {
		type = "auth",
		condition = "forbidden",
		text = 'Changing rosters needs roster = "set"',
		about_recipient = true,
	},
	roster_not_loaded = { type = "wait", condition = "internal-server-error", text = "Unable to load roster" },
	roster_not_saved = { type = "wait", condition = "internal-server-error", text = "Unable to save roster" },
	roster_not_one_item = bad_request("A roster set has exactly one item"),
	roster_no_jid = bad_request("The item has no JID"),
	roster_bad_jid = { type = "modify", condition = "jid-malformed", text = "The item's JID is malformed" },
	roster_full_jid = bad_request("The item's JID has a resource"),
	roster_own_jid = { type = "cancel", condition = "not-allowed", text = "Users cannot be in their own roster" },
	roster_reserved_jid = { type = "cancel", condition = "not-allowed", text = "The server keeps this name to itself" },
	roster_no_item = { type = "modify", condition = "item-not-found", text = "There is no such item in the roster" },

	message = forbidden('Sending messages needs message = "outgoing"'),
	message_not_one = bad_request("A privilege has exactly one forwarded message of namespace jabber:client"),
	message_sender = forbidden("The sender must be this host or the bare JID of one of its users"),
	malformed_recipient = { type = "modify", condition = "jid-malformed", text = "The recipient's address is malformed" },

	iq = forbidden("Iqs of this type and namespace are not granted"),
	iq_not_a_user = forbidden("A privileged iq goes to the bare JID of a user"),
	iq_sender = forbidden("The iq's sender must be the user it is addressed to"),
	iq_not_one = bad_request("A privileged_iq has exactly one iq of namespace jabber:client"),
	iq_no_id = bad_request("The iq has no id"),
	iq_long_id = bad_request("An id is longer than 1024 bytes"),
	iq_no_payload = bad_request("The iq must have exactly one payload, with a namespace"),
	iq_type = bad_request("The two iqs differ in type"),
	iq_timeout = { type = "wait", condition = "remote-server-timeout", text = "There was no answer" },
	iq_bad_answer = { type = "cancel", condition = "internal-server-error", text = "The answer cannot be written as XML" },
	iq_too_many = { type = "wait", condition = "resource-constraint", text = "Too many iqs are under way" },
}

--- A refusal with a detail after its text, which has to be `printable`.
local function with_detail(refusal, detail)
	return { type = refusal.type, condition = refusal.condition, text = refusal.text, detail = detail }
end

--- A refusal with an address after its text.
local function about(refusal, address)
	return with_detail(refusal, printable(address))
end

--- The text of the refusal of a request, which names its recipient where nothing else is named and `names_recipient` is true.
local function refusal_text(refusal, stanza, names_recipient)
	if refusal.detail ~= nil then
		return refusal.text .. ": " .. refusal.detail
	end
	return names_recipient and stanza.attr.to ~= nil and refusal.text .. ": " .. printable(stanza.attr.to) or refusal.text
end

--- Answers a request with an error unless its stream has ended.
local function answer_error(session, stanza, refusal)
	send_stanza(
		session,
		st.error_reply(stanza, refusal.type, refusal.condition, refusal_text(refusal, stanza, refusal.about_recipient == true))
	)
end

--- Makes the functions that refuse requests.
--
-- For each entity and reason, the log gets at most one line in a second. Further refusals are counted, and the next line says how many.
local function create_refusing(log, add_timer, statistics)
	-- How many pairs of entity and reason are counted apart, for the memory that they take: any number of users may be refused.
	local max_reasons = 1000

	local suppressed = {}
	local reason_count = 0

	local function log_refusal(requester, reason, text)
		local who = requester
		local key = who .. " " .. reason
		if suppressed[key] == nil and reason_count >= max_reasons then
			who = "others"
			key = who
		end
		local before = suppressed[key]
		if before then
			before.count = before.count + 1
			before.text = text
			return
		end
		log("warn", "Refused a request from %s: %s", who, text)
		local since = { count = 0, text = text }
		suppressed[key] = since
		reason_count = reason_count + 1
		add_timer(1, function()
			if since.count == 0 then
				suppressed[key] = nil
				reason_count = reason_count - 1
				return nil
			end
			log("warn", "Refused %d more from %s, the last one: %s", since.count, who, since.text)
			since.count = 0
			return 1
		end)
	end

	--- Refuses a request of an entity: counts that, logs it and answers with an error. Returns true, as handlers of events do.
	local function refuse(entity, session, stanza, refusal)
		statistics.count(entity, "refusals")
		log_refusal(entity.jid, refusal.text, refusal_text(refusal, stanza, true))
		answer_error(session, stanza, refusal)
		return true
	end

	--- Refuses a request of a component or user without an entry in the host's `privileged_entities`. Returns nil where the
	-- stanza came from elsewhere, such as another server: the server then handles it as if the module were not there.
	local function refuse_unlisted(session, stanza)
		local requester = authenticated_jid(session)
		if requester == nil then
			return nil
		end
		local refusal = about(refusals.not_listed, requester)
		log_refusal(requester, refusal.text, refusal_text(refusal, stanza, true))
		answer_error(session, stanza, refusal)
		return true
	end

	return { refuse = refuse, refuse_unlisted = refuse_unlisted }
end

-- ==== src/entities/authorization.ts ====

--- Decides what an entity may do with which account of the host. Its functions give the refusal of a request; nil where it
-- is allowed.
local function create_authorization(host, users)
	--- The refusal where the grant does not cover an account, which need not exist.
	local function coverage_refusal(entity, username)
		return not users.covers(entity.jid, entity.permissions.users, username) and about(refusals.not_covered, username .. "@" .. host)
			or nil
	end

	--- The refusal where an admin has disabled an account, which need not exist.
	local function disabled_refusal(username)
		return account_disabled(username, host) and about(refusals.account_disabled, username .. "@" .. host) or nil
	end

	--- The refusal of a request to read the roster of a user (XEP-0356, 4.2).
	local function roster_get_refusal(entity, username)
		if not allows(entity.permissions.roster, "get") then
			return refusals.roster_get
		end
		return coverage_refusal(entity, username)
	end

	--- The refusal of a request to change the roster of a user (XEP-0356, 4.3).
	local function roster_set_refusal(entity, username)
		if not allows(entity.permissions.roster, "set") then
			return refusals.roster_set
		end
		return coverage_refusal(entity, username) or disabled_refusal(username)
	end

	--- The refusal of the answer to an iq that was sent in a user's name: the grant may have changed since.
	local function iq_answer_refusal(entity, username, iq_type, namespace)
		if allows(entity.permissions.iq[namespace], iq_type) then
			return coverage_refusal(entity, username)
		end
		return with_detail(
			refusals.iq,
			string.format('iq["%s"] = "%s", for %s', printable(namespace), iq_type, printable(username .. "@" .. host))
		)
	end

	--- The refusal of an iq in a user's name (XEP-0356, 6).
	local function iq_refusal(entity, username, iq_type, namespace)
		return iq_answer_refusal(entity, username, iq_type, namespace) or disabled_refusal(username)
	end

	--- The refusal of a message in the name of a user or of the host (XEP-0356, 5).
	--
	-- @param sender the 'from' of the message, nil where it has none
	-- @param username the name of a sender who is a user of the host, else nil
	local function message_refusal(entity, sender, username)
		if entity.permissions.message ~= "outgoing" then
			return about(refusals.message, sender or "there is no sender")
		end
		if username == nil then
			return nil
		end
		return coverage_refusal(entity, username) or disabled_refusal(username)
	end

	return {
		roster_get_refusal = roster_get_refusal,
		roster_set_refusal = roster_set_refusal,
		iq_refusal = iq_refusal,
		iq_answer_refusal = iq_answer_refusal,
		message_refusal = message_refusal,
	}
end

-- ==== src/entities/covered_count.ts ====

--- For each grant that is limited to users who opted in, counts the users whom it covers.
local function create_covered_count(service)
	local counts = {}

	--- How many users the grant of an entity covers; nil where they are not counted, or not to the end yet.
	local function number_of(entity)
		local count = counts[entity]
		return count and count.complete and count.number or nil
	end

	--- Adds a user to a count or removes it, unless that has happened already.
	local function note(entity, count, username, is_covered)
		local was_covered = count.names[username] ~= nil
		if was_covered ~= is_covered then
			count.names[username] = is_covered and true or nil
			count.number = count.number + (is_covered and 1 or -1)
			if count.complete then
				service.counted(entity, count.number)
			end
		end
	end

	--- Has to be called when the grant of an entity begins or ceases to cover a user.
	local function changed(entity, username, is_covered)
		local count = counts[entity.jid]
		if count then
			note(entity.jid, count, username, is_covered)
		end
	end

	--- Removes a user from all counts, since the account was deleted.
	local function forget(username)
		for entity, count in pairs(counts) do
			note(entity, count, username, false)
		end
	end

	--- Completes the counts of several entities, or drops them if the storage failed, for the next `configured` to begin anew.
	local function finish(begun, is_complete)
		for entity, count in pairs(begun) do
			-- The grant may have changed meanwhile.
			if counts[entity] == count then
				if is_complete then
					count.complete = true
					service.counted(entity, count.number)
				else
					counts[entity] = nil
				end
			end
		end
	end

	--- Counts the users of several entities in the storage, in slices.
	local function count_all(begun)
		local is_listed = false
		local names
		local position = 0
		local has_failed = false
		in_slices(service.add_timer, function()
			if not is_listed then
				-- Before the list is read: where that raises an error, it is not read again.
				is_listed = true
				names = service.users.recorded_usernames()
			end
			local username = names and names[position + 1]
			position = position + 1
			if username ~= nil then
				for entity, count in pairs(begun) do
					note(entity, count, username, service.users.covers(entity, "opted-in", username))
				end
				has_failed = has_failed or not service.users.has_records(username)
			end
			return username ~= nil
		end, function(goes_on)
			if not goes_on then
				finish(begun, names ~= nil and not has_failed)
			end
		end, "the users who opted in were counted")
	end

	--- Begins the counts of grants that are limited to users who opted in, and drops the counts of others. Has to be called after the configuration was read.
	local function configured()
		local begun = {}
		local granted = service.entities.all()
		for name, entity in pairs(granted) do
			if entity.permissions.users == "opted-in" and counts[name] == nil then
				local count = { names = {}, number = 0, complete = false }
				begun[name] = count
				counts[name] = count
			end
		end
		for name in pairs(counts) do
			local entity = granted[name]
			if not entity or entity.permissions.users ~= "opted-in" then
				counts[name] = nil
				service.counted(name, 0)
			end
		end
		if next(begun) ~= nil then
			count_all(begun)
		end
	end

	return { number_of = number_of, changed = changed, forget = forget, configured = configured }
end

-- ==== src/entities/opting.ts ====

--- Lets users opt in to entities whose grants are limited to those who opted in, and opt out again.
--
-- Only stanzas that a client sends to the entity on its own stream count. Whatever an entity sends, also in a user's name, does
-- not come over the stream of a client of that user.
local function create_opting(service)
	-- Seconds after which a user who unregisters is opted out although the entity has not answered.
	local unregister_timeout = 60
	-- So many changes of a user are logged at level info in about so many seconds: users should not be able to fill the log.
	local max_logged_changes = 10
	local change_span = 60

	local host = service.host
	local users = service.users
	-- The last request to unregister of each user that the entity has not answered, by `user_key`.
	local unregistering = {}
	local timer_runs = false
	-- How often users opted in and out lately, by `user_key`.
	local change_counts = create_recent(change_span)

	local function user_key(entity, username)
		return entity .. " " .. username
	end

	--- Counts that a user opted in or out, and gives the level at which to log that.
	local function log_level(entity, username)
		local key = user_key(entity.jid, username)
		local count = (change_counts.get(key) or 0) + 1
		change_counts.set(key, count)
		return count <= max_logged_changes and "info" or "debug"
	end

	--- Saves that a user is in, unless there is a record that must not be replaced. False where the storage failed.
	local function enter(entity, username, by, may_replace)
		local kept = users.keep(entity.jid, username, { state = "in", since = os.time(), by = by }, may_replace)
		if kept then
			service.log(log_level(entity, username), "%s@%s opted in to %s by %s", username, host, entity.jid, by)
			service.covered(entity, username)
		end
		return kept ~= nil
	end

	--- Opts a user in, unless that has happened already or the admin has revoked it.
	local function opt_in(entity, username, by)
		if not users.record(entity.jid, username) then
			enter(entity, username, by, function(before)
				return before == nil or before.state == "out"
			end)
		end
	end

	--- Opts a user in who has the entity in the roster, unless the user or the admin has decided before. False where the storage failed.
	local function adopt(entity, username)
		return unregistering[user_key(entity.jid, username)] ~= nil
			or enter(entity, username, "having it in the roster", function(before)
				return before == nil
			end)
	end

	--- Opts a user out; what the admin has revoked stays revoked. There is a record then of users who were not in, too: they are not adopted.
	local function opt_out(entity, username, by)
		local was_covered = users.covers_as_known(entity.jid, "opted-in", username)
		users.leave(entity.jid, username)
		if was_covered then
			service.log(log_level(entity, username), "%s@%s opted out of %s by %s", username, host, entity.jid, by)
			service.uncovered(entity, username)
		end
	end

	--- Lets an entity act for a user, by command of the admin; false where that could not be saved.
	local function allow(entity, username)
		unregistering[user_key(entity.jid, username)] = nil
		if not users.keep(entity.jid, username, { state = "allowed", since = os.time(), by = "the admin" }) then
			return false
		end
		service.log("info", "The admin allowed %s to act for %s@%s", entity.jid, username, host)
		service.covered(entity, username)
		return true
	end

	--- Keeps an entity from acting for a user until the admin allows it; false where that could not be saved.
	local function revoke(entity, username)
		local was_covered = users.covers_as_known(entity.jid, entity.permissions.users, username)
		if not users.keep(entity.jid, username, { state = "revoked", since = os.time(), by = "the admin" }) then
			return false
		end
		service.log("info", "The admin forbade %s to act for %s@%s", entity.jid, username, host)
		if was_covered then
			service.uncovered(entity, username)
		end
		return true
	end

	--- The entity with an address, nil where there is none that users can opt in to.
	local function entity_of(to)
		local entity = service.entities.get(jid.bare(to))
		return entity and entity.permissions.users == "opted-in" and entity or nil
	end

	--- The entity to which a client sends a stanza; nil where users cannot opt in to it, or where the stanza did not come over the
	-- client's own stream. Stanzas that the server repeats there, such as an unanswered request for a subscription, are from the bare JID.
	local function opt_in_entity(session, stanza)
		local to = stanza.attr.to
		if not service.entities.takes_opt_ins() or to == nil or not is_client_stream(session) or stanza.attr.from ~= session.full_jid then
			return nil
		end
		return entity_of(to)
	end

	--- Opts a user out if the request to unregister still waits.
	local function finish_unregistering(entity, username)
		local key = user_key(entity.jid, username)
		if unregistering[key] ~= nil then
			unregistering[key] = nil
			opt_out(entity, username, "unregistering")
		end
	end

	--- Carries out the requests to unregister whose deadlines have passed at a time.
	local function finish_until(time)
		for _, request in pairs(unregistering) do
			if request.deadline <= time then
				finish_unregistering(request.entity, request.username)
			end
		end
	end

	--- Drops the requests to unregister of a user whose account was made or deleted.
	local function forget(username)
		for key, request in pairs(unregistering) do
			if request.username == username then
				unregistering[key] = nil
			end
		end
	end

	--- Carries out all requests to unregister that wait. Has to be called when the module is unloaded, since it misses the answers.
	local function finish_all()
		finish_until(math.huge)
	end

	--- Is called by a timer, every second while requests to unregister wait.
	local function finish_overdue()
		finish_until(os.time())
		timer_runs = next(unregistering) ~= nil
		return timer_runs and 1 or nil
	end

	--- Begins to opt a user out. It ends with the entity's answer, so that the entity can clean up the user's roster before.
	local function unregister(entity, username, id)
		local deadline = os.time() + unregister_timeout
		unregistering[user_key(entity.jid, username)] = { entity = entity, username = username, id = id, deadline = deadline }
		if not timer_runs then
			timer_runs = true
			service.add_timer(1, finish_overdue)
		end
	end

	--- Opts a user in who registers, also while a request to unregister waits. Nothing else that clients send ends such a request.
	local function register(entity, username)
		unregistering[user_key(entity.jid, username)] = nil
		opt_in(entity, username, "registration")
	end

	local function is_registration(payload)
		return payload.name == "query" and payload.attr.xmlns == "jabber:iq:register"
	end

	--- Handles `pre-iq/host`, `pre-iq/bare` and `pre-iq/full`: requests to unregister (XEP-0077).
	local function leaving_iq(event)
		local stanza = event.stanza
		local payload = stanza.tags[1]
		if stanza.attr.type == "set" and payload and is_registration(payload) and payload:get_child("remove") then
			local entity = opt_in_entity(event.origin, stanza)
			if entity then
				unregister(entity, event.origin.username, stanza.attr.id or "")
			end
		end
		return nil
	end

	--- Handles `pre-iq/host`, `pre-iq/bare` and `pre-iq/full`: registrations (XEP-0077) and commands (XEP-0050).
	local function joining_iq(event)
		local stanza = event.stanza
		local payload = stanza.tags[1]
		local entity = stanza.attr.type == "set" and payload and opt_in_entity(event.origin, stanza) or nil
		if entity and payload then
			local username = event.origin.username
			if is_registration(payload) and not payload:get_child("remove") then
				register(entity, username)
			elseif payload.name == "command" and payload.attr.xmlns == "http://jabber.org/protocol/commands" then
				opt_in(entity, username, "a command")
			end
		end
		return nil
	end

	--- Handles `iq/full`: answers of entities to requests to unregister.
	local function entity_answer(event)
		local attr = event.stanza.attr
		if next(unregistering) == nil or attr.type ~= "result" and attr.type ~= "error" or attr.from == nil then
			return nil
		end
		local entity = service.entities.get(jid.bare(attr.from))
		local username = jid.split(attr.to)
		if entity and username ~= nil then
			local request = unregistering[user_key(entity.jid, username)]
			if request and request.id == attr.id then
				finish_unregistering(entity, username)
			end
		end
		return nil
	end

	--- Handles `pre-message/host`, `pre-message/bare` and `pre-message/full`: messages with a body.
	local function joining_message(event)
		local stanza = event.stanza
		local entity = stanza.attr.type ~= "error" and opt_in_entity(event.origin, stanza) or nil
		if entity and stanza:get_child("body") then
			opt_in(entity, event.origin.username, "a message")
		end
		return nil
	end

	--- Handles `pre-presence/host`, `pre-presence/bare` and `pre-presence/full`: ends of subscriptions (RFC 6121, 3).
	local function leaving_presence(event)
		local presence_type = event.stanza.attr.type
		if presence_type == "unsubscribe" or presence_type == "unsubscribed" then
			local entity = opt_in_entity(event.origin, event.stanza)
			if entity then
				opt_out(entity, event.origin.username, "ending a subscription")
			end
		end
		return nil
	end

	--- Handles the same events: subscriptions.
	local function joining_presence(event)
		local presence_type = event.stanza.attr.type
		if presence_type == "subscribe" or presence_type == "subscribed" then
			local entity = opt_in_entity(event.origin, event.stanza)
			if entity then
				opt_in(entity, event.origin.username, "a subscription")
			end
		end
		return nil
	end

	--- Handles `roster-item-removed`: a client of the user removes the entity from the roster.
	local function roster_item_removed(event)
		local entity = event.origin and is_client_stream(event.origin) and entity_of(event.jid) or nil
		if entity then
			-- COMPAT: in Prosody 0.11, the username of the event is that of the contact.
			opt_out(entity, event.origin.username, "removing it from the roster")
		end
		return nil
	end

	return {
		leaving_iq = leaving_iq,
		joining_iq = joining_iq,
		entity_answer = entity_answer,
		joining_message = joining_message,
		leaving_presence = leaving_presence,
		joining_presence = joining_presence,
		roster_item_removed = roster_item_removed,
		adopt = adopt,
		forget = forget,
		finish_all = finish_all,
		allow = allow,
		revoke = revoke,
	}
end

-- ==== src/entities/served_hosts.ts ====

--- Makes the functions by which one host asks the others.
local function create_other_hosts(host, served_hosts)
	--- Whether any host of this server lists the JID that a stream authenticated as.
	local function is_listed(session)
		for _, served in pairs(served_hosts) do
			if served.entities.of(session) then
				return true
			end
		end
		return false
	end

	--- Whether another host of this server tells an entity the presence of a user of its own.
	local function is_told_elsewhere(entity, username, user_host)
		if user_host == host or served_hosts[user_host] == nil then
			return false
		end
		local other = served_hosts[user_host]
		local granted = other.entities.get(entity)
		return granted ~= nil
			and granted.permissions.presence ~= "none"
			and other.users.covers_as_known(entity, granted.permissions.users, username)
	end

	--- Has other hosts tell an entity again of a user of this host, nil for all of them, whom users there have as a contact.
	local function show_elsewhere(entity, username)
		for other_host, served in pairs(served_hosts) do
			if other_host ~= host then
				served.show_users_of(entity, host, username)
			end
		end
	end

	return { is_listed = is_listed, is_told_elsewhere = is_told_elsewhere, show_elsewhere = show_elsewhere }
end

-- ==== src/entities/sessions.ts ====

--- Watches the streams of entities, on all hosts of this server.
--
-- `service.arrived` is called when a component has authenticated or the client of a user becomes available,
-- `service.unavailable` when such a client becomes unavailable, and `service.gone` when a stream has ended or does not
-- count any more. `service.api` is the module that hooks the events.
local function create_sessions(service)
	-- Seconds after a handshake within which the server has to fire component-authenticated.
	local handshake_grace = 1

	local api = service.api
	local entities = service.entities
	-- The events objects with our hooks, by host. A host gets a new object whenever it is activated.
	local watched = {}
	-- The events objects with the handler that stays when the module is unloaded, as keys.
	local has_drop = api:shared("/*/privilege/undelivered")

	--- Reports a stream if it belongs to an entity.
	local function authenticated(session)
		local entity = entities.of(session)
		if entity then
			service.arrived(entity, session)
		end
	end

	local function component_authenticated(event)
		authenticated(event.session)
		return nil
	end

	local function client_available(event)
		authenticated(event.origin)
		return nil
	end

	--- Handles the presence that a client broadcasts.
	local function client_broadcast(event)
		local session = event.origin
		local attr = event.stanza.attr
		if attr.to ~= nil or not entities.of(session) then
			return nil
		end
		if attr.type == "unavailable" then
			service.unavailable(session)
		elseif not since_0_10 and attr.type == nil and not session.presence then
			-- COMPAT: Prosody 0.9 does not fire presence/initial. When the timer goes off, the client is available.
			api:add_timer(0, function()
				authenticated(session)
				return nil
			end)
		end
		return nil
	end

	local function stream_ended(event)
		service.gone(event.session)
		return nil
	end

	local function is_known(entity, session)
		for _, connection in ipairs(entity.connections) do
			if connection.session == session then
				return true
			end
		end
		return false
	end

	--- COMPAT: Prosody before 0.9.9 does not fire component-authenticated unless it was patched. Tells the admin so.
	local function component_handshake(event)
		local session = event.origin
		api:add_timer(handshake_grace, function()
			local entity = entities.of(session)
			if entity and grants_anything(entity.permissions) and not is_known(entity, session) then
				api:log(
					"error",
					"%s is connected and was not told its permissions: this server's mod_component does not fire component-authenticated, apply patches/component-authenticated.patch of mod_privilege to it",
					entity.jid
				)
			end
			return nil
		end)
		return nil
	end

	local handlers = {
		["component-authenticated"] = component_authenticated,
		["component-disconnected"] = stream_ended,
		["presence/initial"] = client_available,
		["presence/bare"] = client_broadcast,
		["resource-unbind"] = stream_ended,
		["stanza/jabber:component:accept:handshake"] = component_handshake,
	}

	local function unwatch(host)
		local events = watched[host]
		if events then
			for event, handler in pairs(handlers) do
				api:unhook_object_event(events, event, handler)
			end
			watched[host] = nil
		end
	end

	--- Handles `host-deactivated`: the stream of an external component does not end with its host.
	local function host_deactivated(host)
		unwatch(host)
		for _, entity in pairs(entities.all()) do
			for i = #entity.connections, 1, -1 do
				local session = entity.connections[i].session
				if session.type == "component" and session.host == host then
					service.gone(session)
				end
			end
		end
		return nil
	end

	local function watch_host(name)
		local host = prosody.hosts[name]
		if host and watched[name] ~= host.events then
			unwatch(name)
			watched[name] = host.events
			drop_undelivered_at(host.events, has_drop)
			for event, handler in pairs(handlers) do
				-- Before mod_presence and mod_smacks, after which no other handler is called.
				api:hook_object_event(host.events, event, handler, 1)
			end
		end
	end

	--- Watches the hosts of all entities. Has to be called after the configuration was read.
	local function watch()
		for entity_jid in pairs(entities.all()) do
			local _, host = jid.split(entity_jid)
			watch_host(host)
		end
		return nil
	end

	--- Reports those streams of entities that have authenticated before they were watched.
	local function find()
		local streams = api:shared("/*/component/sessions")
		for _, session in pairs(streams) do
			local entity = entities.of(session)
			if entity and not is_known(entity, session) then
				service.arrived(entity, session)
			end
		end
		for entity_jid, entity in pairs(entities.all()) do
			local user = prosody.bare_sessions[entity_jid]
			if user then
				for _, session in pairs(user.sessions) do
					if session.presence and not is_known(entity, session) then
						service.arrived(entity, session)
					end
				end
			end
		end
	end

	api:hook_global("host-activated", watch)
	api:hook_global("host-deactivated", host_deactivated)
	return { watch = watch, find = find }
end

-- ==== src/entities/statistics.ts ====

--- Counts and logs what entities do.
local function create_statistics(api, options)
	--- The descriptions of the metrics.
	local metric_help = {
		messages = "Messages that an entity sent in the name of a user or of the host.",
		iqs = "IQ requests that an entity sent in the name of a user.",
		roster_gets = "Rosters that an entity read.",
		roster_sets = "Roster items that an entity set or removed.",
		pushes = "Roster changes that were pushed to an entity.",
		presences = "Presences of users and contacts that were forwarded to an entity.",
		refusals = "Requests of an entity that were refused.",
	}

	local covered_help = "Users who opted in to an entity or were allowed by the admin."

	-- Prosody 0.12 and later has a metric for each entity, 0.10 and 0.11 have one for the host.
	local families = {}
	-- The metrics of each entity, as long as the entity exists.
	local metrics = setmetatable({}, { __mode = "k" })
	local measures = {}
	for act, help in pairs(metric_help) do
		if api.metric then
			families[act] = api:metric("counter", act, "", help, { "entity" })
		elseif api.measure then
			measures[act] = api:measure(act, "counter")
		end
	end

	local covered_family = api.metric and api:metric("gauge", "covered_users", "", covered_help, { "entity" })

	--- Sets the gauge of covered users, for an entity whose grant is limited to users who opted in.
	local function covered(entity, number)
		if covered_family then
			covered_family:with_labels(entity):set(number)
		end
	end

	--- Makes the metrics of an entity, with its counts as their values, so that they exist before there is anything to count.
	local function announce(entity)
		local own = {}
		for act, family in pairs(families) do
			local metric = family:with_labels(entity.jid)
			metric:set(entity.counts[act])
			own[act] = metric
		end
		metrics[entity] = own
	end

	--- Counts one act of an entity.
	local function count(entity, act)
		entity.counts[act] = entity.counts[act] + 1
		local own = metrics[entity]
		local metric = own and own[act]
		local measure = measures[act]
		if metric then
			metric:add(1)
		elseif measure then
			measure(1)
		end
	end

	--- Counts something that an entity did in a user's name and logs it: at level info with `privilege_log_acts`, else at debug.
	--
	-- @param what a format for the log, with %s for the entity and two JIDs: "%s sent a message as %s to %s"
	-- @param id the id of the stanza, as the entity wrote it
	local function record(entity, act, what, jid1, jid2, id)
		count(entity, act)
		if options.log_acts then
			api:log("info", what .. ", id %s", entity.jid, printable(jid1), printable(jid2), printable(id or "none"))
		else
			api:log("debug", what, entity.jid, printable(jid1), printable(jid2))
		end
	end

	return { announce = announce, count = count, record = record, covered = covered }
end

-- ==== src/message/error_filter.ts ====

--- Keeps the users' clients from seeing bounces of messages that entities sent in the users' names.
--
-- Such a bounce comes to the user's bare JID. The server discards errors there, but some modules show them to
-- clients before (mod_carbons copies them). Only errors for users in whose names an entity sent something lately are
-- dropped; all others go their usual way.
local function create_error_filter()
	--- Seconds for which a user counts as a sender, at least. A message comes back when the recipient's client has had its time to resume (XEP-0198).
	local bounce_span = 24 * 60 * 60

	-- By bare JID. There are no more of them than accounts, so their number needs no limit.
	local senders = create_recent(bounce_span, math.huge)

	--- Notes that a message was sent in a user's name. Takes a bare JID.
	local function sent(user)
		senders.set(user, true)
	end

	--- Handles messages to bare JIDs.
	local function receive(event)
		local attr = event.stanza.attr
		if attr.type ~= "error" or attr.to == nil then
			return nil
		end
		return senders.get(attr.to)
	end

	return { sent = sent, receive = receive, save = senders.save, restore = senders.restore }
end

-- ==== src/message/message.ts ====

--- The message in `<privilege><forwarded><message/></forwarded></privilege>`; nil unless there is exactly one.
local function forwarded_message(privilege, session)
	local forwarded = privilege.tags[1]
	if not forwarded or #privilege.tags ~= 1 or forwarded.name ~= "forwarded" or forwarded.attr.xmlns ~= xmlns_forward then
		return nil
	end
	local message
	for _, child in ipairs(forwarded.tags) do
		-- There may be a <delay/> beside it (XEP-0297, 3.1).
		if child.name == "message" then
			if message or not is_client_stanza(child, "message", session) then
				return nil
			end
			message = child
		end
	end
	return message
end

--- Makes the handler of privileged messages: messages to the host that carry another one to be sent (XEP-0356, section 5).
local function create_message(service)
	local host = service.host
	local acting = service.acting
	local refuse = service.refusing.refuse

	--- Drops what the server answers the sender: an error that a client would get does not go to a bare JID.
	local function discard()
		return true
	end

	--- Sends a message in a user's name, or in the host's where `username` is nil. Returns false if that failed.
	local function send(message, username)
		if username == nil then
			return acting.send_as_host(message)
		end
		return acting.send_as(username, message, discard)
	end

	--- The first `<privilege/>` in a namespace that the module serves, and the number of them.
	local function privilege_of(stanza)
		local privilege
		local found = 0
		for _, child in ipairs(stanza.tags) do
			local xmlns = child.attr.xmlns
			if child.name == "privilege" and (xmlns == xmlns_privilege or xmlns == xmlns_privilege_legacy and service.options.legacy) then
				privilege = privilege or child
				found = found + 1
			end
		end
		return privilege, found
	end

	--- Handles `message/host`.
	local function receive(event)
		local origin = event.origin
		local stanza = event.stanza
		local privilege, privileges = privilege_of(stanza)
		if not privilege or stanza.attr.type == "error" then
			return nil
		end
		local entity = service.entities.of(origin)
		if not entity then
			return privilege:get_child("forwarded", xmlns_forward) and service.refusing.refuse_unlisted(origin, stanza)
		end
		local message = privileges == 1 and forwarded_message(privilege, origin) or nil
		local sender = message and message.attr.from
		local username, sender_host, resource = jid.split(sender ~= nil and prepared(sender) or nil)
		local refusal = service.authorization.message_refusal(entity, sender, sender_host == host and username or nil)
		if refusal then
			return refuse(entity, origin, stanza, refusal)
		end
		if not message then
			return refuse(entity, origin, stanza, refusals.message_not_one)
		end
		if sender_host ~= host or resource ~= nil or username ~= nil and not account_exists(username, host) then
			return refuse(entity, origin, stanza, about(refusals.message_sender, sender or "there is none"))
		end
		message.attr.from = username ~= nil and username .. "@" .. host or host
		local recipient = message.attr.to
		if recipient ~= nil then
			message.attr.to = prepared(recipient)
			if message.attr.to == nil then
				return refuse(entity, origin, stanza, about(refusals.malformed_recipient, recipient))
			end
		elseif username == nil then
			message.attr.to = host
		end
		strip_client_namespace(message)
		if username ~= nil then
			service.error_filter.sent(message.attr.from)
		end
		service.statistics.record(
			entity,
			"messages",
			"%s sent a message as %s to %s",
			message.attr.from,
			message.attr.to or message.attr.from,
			message.attr.id
		)
		if not send(message, username) then
			return refuse(entity, origin, stanza, refusals.module_failed)
		end
		return true
	end

	return receive
end

-- ==== src/iq/pending.ts ====

local now = precise_time or os.time

--- The start of the answer to a privileged iq, up to the children of the forwarded iq (XEP-0356, 6.3).
local function answer_start(pending_iq, answer_type)
	local outer = pending_iq.outer
	return "<iq type='result'"
		.. attribute("id", outer.id)
		.. attribute("from", outer.to)
		.. attribute("to", outer.from)
		.. "><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client'"
		.. attribute("type", answer_type)
		.. attribute("id", pending_iq.inner_id)
		.. attribute("from", pending_iq.addressee)
		.. attribute("to", pending_iq.user)
		.. ">"
end

--- Keeps the iqs that wait for their answers.
--
-- @param expired is called with each iq that gets no answer in time
local function create_pending(add_timer, expired)
	--- Seconds between two looks for overdue answers.
	local sweep_interval = 1

	local iqs = {}
	local counts = {}
	local timer_runs = false

	--- How many iqs of an entity wait.
	local function count(entity)
		return counts[entity] or 0
	end

	local function remove(pending_iq)
		iqs[pending_iq.id] = nil
		local left = count(pending_iq.entity) - 1
		counts[pending_iq.entity] = left > 0 and left or nil
	end

	--- Gives up an iq that still waits.
	local function expire(pending_iq)
		if iqs[pending_iq.id] == pending_iq then
			remove(pending_iq)
			expired(pending_iq)
		end
	end

	--- Gives up the overdue iqs. Many of them may be due at once, and the server has others to serve meanwhile.
	local function sweep()
		local time = now()
		local overdue = {}
		for _, pending_iq in pairs(iqs) do
			if pending_iq.deadline <= time then
				overdue[#overdue + 1] = pending_iq
			end
		end

		local function step()
			local pending_iq = table.remove(overdue)
			if pending_iq then
				expire(pending_iq)
			end
			return pending_iq ~= nil
		end

		local function slice_end(goes_on)
			if not goes_on then
				timer_runs = next(iqs) ~= nil
				if timer_runs then
					add_timer(sweep_interval, sweep)
				end
			end
		end

		in_slices(add_timer, step, slice_end, "iqs were given up")
		return nil
	end

	--- Adds an iq, which is given up after `timeout` seconds or up to a second later.
	local function add(pending_iq, timeout)
		pending_iq.deadline = now() + timeout
		iqs[pending_iq.id] = pending_iq
		counts[pending_iq.entity] = count(pending_iq.entity) + 1
		if not timer_runs then
			timer_runs = true
			add_timer(sweep_interval, sweep)
		end
	end

	--- Takes out the iq of that id which was sent from `user` to `answerer`; nil if there is none.
	local function take(id, user, answerer)
		local pending_iq = id ~= nil and iqs[id] or nil
		if not pending_iq or pending_iq.user ~= user or pending_iq.addressee ~= answerer then
			return nil
		end
		remove(pending_iq)
		return pending_iq
	end

	--- Forgets the iqs of a stream.
	local function forget(session)
		for _, pending_iq in pairs(iqs) do
			if pending_iq.session == session then
				remove(pending_iq)
			end
		end
	end

	--- Gives up all iqs.
	local function give_up()
		for _, pending_iq in pairs(iqs) do
			expire(pending_iq)
		end
	end

	return { count = count, add = add, take = take, forget = forget, give_up = give_up }
end

-- ==== src/iq/iq.ts ====

--- In bytes. Both ids are kept until the answer comes, for up to 10,000 iqs of an entity.
local max_id_length = 1024

--- The iq inside of a privileged iq; or nil and why it is refused.
local function encapsulated_iq(stanza, session)
	local wrapper = stanza.tags[1]
	local iq = wrapper.tags[1]
	if not iq or #wrapper.tags ~= 1 or not is_client_stanza(iq, "iq", session) then
		return nil, refusals.iq_not_one
	end
	-- The server asks clients for an id, components need not have one.
	if iq.attr.id == nil or stanza.attr.id == nil then
		return nil, refusals.iq_no_id
	end
	if #iq.attr.id > max_id_length or #stanza.attr.id > max_id_length then
		return nil, refusals.iq_long_id
	end
	local payload = iq.tags[1]
	if not payload or #iq.tags ~= 1 or payload.attr.xmlns == nil or payload.attr.xmlns == "" or payload.attr.xmlns == xmlns_client then
		return nil, refusals.iq_no_payload
	end
	if iq.attr.type ~= stanza.attr.type then
		return nil, refusals.iq_type
	end
	return iq, nil
end

--- Makes the handlers of privileged iqs, which are sent in users' names (XEP-0356, section 6).
--
-- `service.is_listed` tells whether any host of this server lists the JID that a stream authenticated as.
local function create_iq(service)
	--- How many iqs of one entity may wait for their answers.
	local max_pending = 10000

	local refuse = service.refusing.refuse

	--- Answers an entity that its iq got no answer in time.
	local function expired(pending_iq)
		if authenticated_jid(pending_iq.session) ~= nil then
			answer_error(pending_iq.session, st.iq(pending_iq.outer), about(refusals.iq_timeout, pending_iq.addressee))
		end
	end

	local pending = create_pending(service.add_timer, expired)

	-- The ids need not be secret: an answer also has to come from the JID that the iq was sent to.
	local id_prefix = uuid.generate() .. "-"
	local id_count = 0

	--- Passes an answer on to the entity that waits for it (XEP-0356, 6.3). Returns false if none does.
	local function deliver(answer, user)
		local pending_iq = pending.take(answer.attr.id, user, answer.attr.from or user)
		if not pending_iq then
			return false
		end
		local entity = pending_iq.entity
		local session = pending_iq.session
		if authenticated_jid(session) == nil then
			return true
		end
		local username = jid.split(user)
		local refusal = service.authorization.iq_answer_refusal(entity, username, pending_iq.outer.type, pending_iq.namespace)
		if refusal and account_exists(username, service.host) then
			-- The permission was taken away meanwhile. If the account is gone, the iq itself may have removed it: that is no reason to refuse.
			return refuse(entity, session, st.iq(pending_iq.outer), refusal)
		end
		local reply = { answer_start(pending_iq, answer.attr.type) }
		for _, child in ipairs(answer.tags) do
			reply[#reply + 1] = tostring(child)
		end
		reply[#reply + 1] = "</iq></forwarded></privilege></iq>"
		local text = table.concat(reply)
		if not is_well_formed(text) then
			return refuse(entity, session, st.iq(pending_iq.outer), refusals.iq_bad_answer)
		end
		send_text(session, text)
		return true
	end

	local function is_answer(stanza)
		return stanza.attr.type == "result" or stanza.attr.type == "error"
	end

	--- Takes the answers of handlers in this server, which go to the session that acts for the user.
	local function answered_by_server(answer)
		local stanza = answer
		return type(answer) == "table" and is_answer(stanza) and stanza.attr.to ~= nil and deliver(stanza, stanza.attr.to)
	end

	--- Handles `iq/bare/urn:xmpp:privilege:2:privileged_iq`.
	local function request(event)
		local origin = event.origin
		local stanza = event.stanza
		local entity = service.entities.of(origin)
		if not entity then
			return service.refusing.refuse_unlisted(origin, stanza)
		end
		local user = stanza.attr.to or origin.username .. "@" .. service.host
		local iq, malformed = encapsulated_iq(stanza, origin)
		if iq == nil then
			return refuse(entity, origin, stanza, malformed)
		end
		local namespace = iq.tags[1].attr.xmlns
		local username = jid.split(user)
		local refusal = service.authorization.iq_refusal(entity, username, iq.attr.type, namespace)
		if refusal then
			return refuse(entity, origin, stanza, refusal)
		end
		if not account_exists(username, service.host) then
			return refuse(entity, origin, stanza, about(refusals.no_such_user, user))
		end
		if iq.attr.from ~= nil and jid.prep(iq.attr.from) ~= user then
			return refuse(entity, origin, stanza, about(refusals.iq_sender, iq.attr.from))
		end
		local addressee = prepared(iq.attr.to or user)
		if addressee == nil then
			return refuse(entity, origin, stanza, about(refusals.malformed_recipient, iq.attr.to))
		end
		if pending.count(entity) >= max_pending then
			return refuse(entity, origin, stanza, refusals.iq_too_many)
		end

		id_count = id_count + 1
		local id = id_prefix .. tostring(id_count)
		pending.add({
			id = id,
			inner_id = iq.attr.id,
			user = user,
			addressee = addressee,
			entity = entity,
			session = origin,
			namespace = namespace,
			outer = { type = stanza.attr.type, id = stanza.attr.id, from = stanza.attr.from, to = stanza.attr.to },
		}, service.options.iq_timeout)
		service.statistics.record(entity, "iqs", "%s sent an iq as %s to %s", user, addressee, iq.attr.id)
		strip_client_namespace(iq)
		iq.attr.id = id
		iq.attr.from = user
		iq.attr.to = addressee
		if not service.acting.send_as(username, iq, answered_by_server) and pending.take(id, user, addressee) then
			return refuse(entity, origin, stanza, refusals.module_failed)
		end
		return true
	end

	local function is_privileged_iq(stanza)
		local payload = stanza.tags[1]
		return payload ~= nil and payload.name == "privileged_iq" and payload.attr.xmlns == xmlns_privilege and not is_answer(stanza)
	end

	--- Handles privileged iqs to the host, `iq/host/urn:xmpp:privilege:2:privileged_iq`: they are refused.
	local function to_host(event)
		local entity = service.entities.of(event.origin)
		if not entity then
			return service.refusing.refuse_unlisted(event.origin, event.stanza)
		end
		return refuse(entity, event.origin, event.stanza, refusals.iq_not_a_user)
	end

	--- Handles `iq/full`: an entity's privileged iq to a client is refused, since no client understands it. Such an iq of
	-- anybody else goes to the client like every other stanza.
	local function to_client(event)
		if not is_privileged_iq(event.stanza) or not service.is_listed(event.origin) then
			return nil
		end
		return to_host(event)
	end

	--- Handles `iq/bare`: takes the answers to the iqs that were sent in users' names.
	local function take_answer(event)
		local stanza = event.stanza
		if not is_answer(stanza) then
			return nil
		end
		local username = event.origin.username
		-- Where a client answers its own account, the stanza has no 'to' here. Nor has the error in which mod_smacks returns a roster push: its origin is the host.
		local user = stanza.attr.to or (username ~= nil and username .. "@" .. event.origin.host or nil)
		return user ~= nil and deliver(stanza, user) or nil
	end

	return {
		request = request,
		to_host = to_host,
		to_client = to_client,
		answer = take_answer,
		--- Forgets the iqs of a stream.
		forget = pending.forget,
		--- Gives up all iqs.
		give_up = pending.give_up,
	}
end

-- ==== src/roster/item.ts ====

--- Whether the server itself shows pre-approved contacts in roster answers and pushes (RFC 6121, 3.4).
-- COMPAT: Prosody does since 13.0.7; its function for roster pushes then has the name of the attribute in its code.
local is_lua, push_code = pcall(string.dump, rostermanager.roster_push)
local shows_approved = is_lua and string.find(push_code, "approved", 1, true) ~= nil

--- The `<item/>` of a contact as XML text (RFC 6121, 2.1.2). A nil item stands for a contact that was removed.
local function item_text(contact, item)
	local start = "<item" .. attribute("jid", contact)
	if not item then
		return start .. " subscription='remove'/>"
	end
	local text = start
		.. attribute("subscription", item.subscription)
		.. attribute("ask", item.ask)
		.. attribute("name", item.name)
		.. attribute("approved", shows_approved and item.approved or nil)
	if next(item.groups) == nil then
		return text .. "/>"
	end
	local groups = ""
	for group in pairs(item.groups) do
		groups = groups .. "<group>" .. st.xml_escape(group) .. "</group>"
	end
	return text .. ">" .. groups .. "</item>"
end

--- A roster push of one item as XML text, without its beginning: `<iq` and the attributes 'from' and 'to' go before it.
--
-- @param version the version of the roster; nil or true where its storage keeps none
local function push_text(id, contact, item, version)
	local ver = version ~= nil and version ~= true and tostring(version) or nil
	return string.format(
		" type='set'%s><query xmlns='jabber:iq:roster'%s>%s</query></iq>",
		attribute("id", id),
		attribute("ver", ver),
		item_text(contact, item)
	)
end

--- Whether a roster has a contact under a key. Metadata is under the key `false`, and in old rosters under "pending".
local function is_contact(key, item)
	return key ~= false and item ~= nil and type(item.subscription) == "string"
end

--- The version of a roster as clients get it (RFC 6121, 2.6); nil where its storage keeps none.
local function roster_version(roster)
	local metadata = roster[false]
	local version = metadata and metadata.version
	if version == true then
		return nil
	end
	if version == nil then
		-- If there are contacts, mod_groups has removed the version. Otherwise the roster was never saved. mod_roster gives
		-- clients the version 1 then, but the first change that the server itself saves has that version, too.
		for contact, item in pairs(roster) do
			if is_contact(contact, item) then
				return nil
			end
		end
		return "0"
	end
	return tostring(version)
end

--- The item of a contact after a roster set. Name and groups are replaced; the subscription and the rest stay as they were
-- unless the set has them.
local function updated_item(element, old)
	local asked = element.attr.subscription
	local item = { subscription = "none", groups = {} }
	if old then
		item.subscription = old.subscription
		item.ask = old.ask
		item.approved = old.approved
	end
	if asked == "none" or asked == "to" or asked == "from" or asked == "both" then
		item.subscription = asked
	end
	if item.subscription == "to" or item.subscription == "both" then
		-- The contact has granted what `ask` asks for.
		item.ask = nil
	end
	if element.attr.name ~= "" then
		item.name = element.attr.name
	end
	for _, child in ipairs(element.tags) do
		local group = child:get_text()
		if child.name == "group" and group ~= nil and group ~= "" then
			item.groups[group] = true
		end
	end
	return item
end

--- Whether two items look the same to a reader of the roster.
local function same_item(a, b)
	if not a or not b then
		return a == b
	end
	return a.name == b.name
		and a.subscription == b.subscription
		and a.ask == b.ask
		and (not shows_approved or a.approved == b.approved)
		and same_keys(a.groups, b.groups)
end

-- ==== src/roster/change_watch.ts ====

--- Watches rosters for changes, by wrapping the stores through which they are saved.
--
-- All changes are saved through such a store, whoever makes them. The difference is found by comparing what is saved with what
-- the storage had before, since that is the state of which listeners know.
--
-- @param listeners gives the present listeners, nil for none: a store may outlive the module that wrapped it
local function create_change_watch(listeners)
	-- Data that is being saved by `save_without_comparing`.
	local not_compared = {}

	--- Whether any listener needs changes now.
	local function is_watched()
		for _, listener in ipairs(listeners() or {}) do
			if listener.is_watching() then
				return true
			end
		end
		return false
	end

	--- Tells the listeners that an item was saved.
	local function changed(username, contact, item, version, before)
		for _, listener in ipairs(listeners() or {}) do
			if listener.is_watching() then
				listener.roster_changed(username, contact, item, version, before)
			end
		end
	end

	--- Whether changes in data that is being saved have to be found by comparing.
	local function is_compared(data)
		return is_watched() and not (data ~= nil and not_compared[data] ~= nil)
	end

	--- Saves data, a whole roster or a table of items, for callers that know the changes and call `changed` themselves.
	local function save_without_comparing(data, save)
		not_compared[data] = true
		local ok, result = pcall(save)
		not_compared[data] = nil
		if not ok then
			error(result, 0)
		end
		return result
	end

	--- The item that is saved in a roster under a key; nil where there is none, or where it is not that of a contact.
	local function item_of(roster, key)
		local item = roster and roster[key]
		-- mod_groups adds contacts to rosters in memory that are not saved.
		return item and is_contact(key, item) and item.persist ~= false and item or nil
	end

	--- Tells the listeners the differences between two states of a roster.
	local function compare(username, before, after)
		local contacts = {}
		if before then
			for contact in pairs(before) do
				if item_of(before, contact) and not item_of(after, contact) then
					contacts[#contacts + 1] = contact
				end
			end
		end
		if after then
			for contact in pairs(after) do
				local item = item_of(after, contact)
				if item and not same_item(item_of(before, contact), item) then
					contacts[#contacts + 1] = contact
				end
			end
		end
		local metadata = after and after[false]
		local version = metadata and metadata.version
		for i, contact in ipairs(contacts) do
			-- Only the last change comes with the new version: a reader who has missed it must not have that version.
			local is_earlier = i < #contacts and type(version) == "number"
			changed(username, contact, item_of(after, contact), is_earlier and version - 1 or version, item_of(before, contact))
		end
	end

	--- Saves a whole roster in a store, and tells the listeners what has changed.
	local function save_whole(store, username, roster)
		if not is_compared(roster) then
			return store:set(username, roster)
		end
		local before = store:get(username)
		local ok, err = store:set(username, roster)
		if ok then
			compare(username, before, roster)
		end
		return ok, err
	end

	--- Wraps a store of whole rosters.
	local function wrap_keyval(store)
		local wrapper = {
			on_read = false,
			get = function(self, username)
				local roster, err = store:get(username)
				if self.on_read ~= false then
					self.on_read(roster)
				end
				return roster, err
			end,
			set = function(self, username, roster)
				if self.on_read ~= false then
					return store:set(username, roster)
				end
				return save_whole(store, username, roster)
			end,
		}
		return setmetatable(wrapper, { __index = store })
	end

	--- The items under the keys of what is to be saved, as `get` gives them.
	local function items_under(keys, get)
		local items = {}
		for key in pairs(keys) do
			if key ~= false then
				items[key] = get(key)
			end
		end
		return items
	end

	--- Tells the listeners which of some items that were saved have changed.
	local function compare_keys(username, before, keys, removed)
		local after = {}
		for key, item in pairs(keys) do
			if item ~= removed then
				after[key] = item
			end
		end
		compare(username, before, after)
	end

	--- Removes a contact from all rosters, and tells the listeners. `get_all` gives the items of the contact, by username.
	local function remove_from_all(contact, get_all, remove)
		local before = is_watched() and get_all() or nil
		local ok, err = remove()
		if ok and before then
			for username, item in pairs(before) do
				if is_contact(contact, item) then
					changed(username, contact, nil, nil, item)
				end
			end
		end
		return ok, err
	end

	local function single_key(key, item, removed)
		local keys = {}
		keys[key] = item or removed
		return keys
	end

	--- Wraps a store of single items.
	local function wrap_map(store)
		local keyval_store = type(store.keyval_store) == "table" and store.keyval_store or nil
		local wrapper = {
			set = function(self, username, key, item)
				return self:set_keys(username, single_key(key, item, store.remove))
			end,
			set_keys = function(self, username, keys)
				if not is_compared(keys) then
					return store:set_keys(username, keys)
				end
				local before = {}
				if keyval_store then
					-- The store reads the whole roster anyway, so this need not be done twice.
					keyval_store.on_read = function(roster)
						before = items_under(keys, function(key)
							return roster and roster[key]
						end)
					end
				else
					before = items_under(keys, function(key)
						return (store:get(username, key))
					end)
				end
				local ok, err = store:set_keys(username, keys)
				if keyval_store then
					keyval_store.on_read = false
				end
				if ok then
					compare_keys(username, before, keys, store.remove)
				end
				return ok, err
			end,
		}
		-- A store of whole rosters beneath it is wrapped itself.
		if store.delete_all and not keyval_store then
			wrapper.delete_all = function(self, key)
				return remove_from_all(key, function()
					return (store:get_all(key))
				end, function()
					return store:delete_all(key)
				end)
			end
		end
		return setmetatable(wrapper, { __index = store })
	end

	--- Wraps a store with both interfaces.
	local function wrap_combined(store)
		local wrapper = {
			set = function(self, username, roster)
				return save_whole(store, username, roster)
			end,
			set_key = function(self, username, key, item)
				return self:set_keys(username, single_key(key, item, store.remove))
			end,
			set_keys = function(self, username, keys)
				if not is_compared(keys) then
					return store:set_keys(username, keys)
				end
				local before = items_under(keys, function(key)
					return (store:get_key(username, key))
				end)
				local ok, err = store:set_keys(username, keys)
				if ok then
					compare_keys(username, before, keys, store.remove)
				end
				return ok, err
			end,
			delete_key_from_all = function(self, key)
				return remove_from_all(key, function()
					return (store:get_key_from_all(key))
				end, function()
					return store:delete_key_from_all(key)
				end)
			end,
		}
		return setmetatable(wrapper, { __index = store })
	end

	--- Handles `store-opened`: wraps the store if it is one of rosters.
	local function opened(event)
		if event.store_name == "roster" then
			if event.store_type == "map" then
				event.store = wrap_map(event.store)
			elseif event.store_type == "keyval+" then
				event.store = wrap_combined(event.store)
			elseif event.store_type == nil or event.store_type == "keyval" then
				event.store = wrap_keyval(event.store)
			end
		end
		return nil
	end

	return {
		opened = opened,
		compare = compare,
		is_watched = is_watched,
		changed = changed,
		save_without_comparing = save_without_comparing,
	}
end

-- ==== src/roster/push.ts ====

--- Sends roster pushes to entities (XEP-0356, 4.4). This is a listener for `create_change_watch`.
local function create_roster_push(host, entities, users, statistics)
	local function receivers()
		return entities.receivers("push")
	end

	--- Whether any connected entity receives roster pushes.
	local function is_watching()
		return #receivers() > 0
	end

	--- Pushes an item to all connected entities that receive pushes of this user; nil for an item that was removed.
	local function push(username, contact, item, version)
		-- The same for all of them but the 'to' in between
		local start
		local rest = ""
		for _, connection in ipairs(receivers()) do
			local entity = connection.entity
			if is_connected(connection) and users.covers(entity.jid, entity.permissions.users, username) then
				if start == nil then
					start = "<iq" .. attribute("from", username .. "@" .. host)
					rest = push_text(uuid.generate(), contact, item, version)
				end
				send_text(connection.session, start .. connection.to .. rest)
				statistics.count(entity, "pushes")
			end
		end
	end

	return { is_watching = is_watching, roster_changed = push }
end

-- ==== src/roster/requests.ts ====

--- The contact in a roster set, or the refusal of the set.
local function set_contact(query, owner)
	local element = query.tags[1]
	if not element or #query.tags ~= 1 or element.name ~= "item" or element.attr.xmlns ~= xmlns_roster then
		return nil, refusals.roster_not_one_item
	end
	if element.attr.jid == nil then
		return nil, refusals.roster_no_jid
	end
	local contact = jid.prep(element.attr.jid)
	if contact == nil then
		return nil, refusals.roster_bad_jid
	end
	if string.find(contact, "/", 1, true) ~= nil then
		return nil, refusals.roster_full_jid
	end
	if contact == owner then
		return nil, refusals.roster_own_jid
	end
	if contact == "pending" then
		-- Old rosters have metadata under this key.
		return nil, refusals.roster_reserved_jid
	end
	return contact, nil
end

--- Handles the roster requests of entities (XEP-0356, section 4).
local function create_roster_requests(service)
	local host = service.host
	local refuse = service.refuse

	--- The entity that requests the roster of somebody else; nil for all other requests. A request for one's own roster has
	-- no 'to' here.
	local function requester(event)
		return event.stanza.attr.to ~= nil and service.entities.of(event.origin) or nil
	end

	--- Handles `iq-get/bare/jabber:iq:roster:query` (XEP-0356, 4.2).
	local function get(event)
		local entity = requester(event)
		if not entity then
			return nil
		end
		local origin = event.origin
		local stanza = event.stanza
		local username = jid.split(stanza.attr.to)
		local not_allowed = service.authorization.roster_get_refusal(entity, username)
		if not_allowed then
			return refuse(entity, origin, stanza, not_allowed)
		end
		if not account_exists(username, host) then
			return refuse(entity, origin, stanza, refusals.no_such_user)
		end
		local roster = read_roster(username, host)
		if not roster then
			return refuse(entity, origin, stanza, refusals.roster_not_loaded)
		end
		service.statistics.count(entity, "roster_gets")
		local version = roster_version(roster)
		if version ~= nil and stanza.tags[1].attr.ver == version then
			send_stanza(origin, st.reply(stanza))
			return true
		end
		local reply = {
			string.format(
				"<iq type='result'%s%s%s><query xmlns='jabber:iq:roster'%s>",
				attribute("id", stanza.attr.id),
				attribute("from", stanza.attr.to),
				attribute("to", stanza.attr.from),
				attribute("ver", version)
			),
		}
		for contact, item in pairs(roster) do
			if is_contact(contact, item) then
				reply[#reply + 1] = item_text(contact, item)
			end
		end
		reply[#reply + 1] = "</query></iq>"
		send_text(origin, table.concat(reply))
		return true
	end

	--- Ends the subscriptions between a user and a removed contact (RFC 6121, 2.5.2).
	local function end_subscriptions(username, contact, item)
		local session = service.act_as(username, function()
			return true
		end)
		if since_0_10 then
			prosody.hosts[host].events.fire_event("roster-item-removed", {
				username = username,
				jid = contact,
				item = item,
				origin = session,
				roster = session.roster,
			})
			return
		end
		-- COMPAT: Prosody 0.9 has no such event.
		if item.subscription == "both" or item.subscription == "from" then
			prosody.core_post_stanza(session, st.presence({ type = "unsubscribed", from = session.full_jid, to = contact }))
		end
		if item.subscription == "both" or item.subscription == "to" or item.ask ~= nil then
			prosody.core_post_stanza(session, st.presence({ type = "unsubscribe", from = session.full_jid, to = contact }))
		end
	end

	--- Pushes an item to the interested clients of the user (RFC 6121, 2.1.6).
	local function push_to_clients(username, contact, item, version)
		local user = prosody.hosts[host].sessions[username]
		if user then
			local text = "<iq" .. push_text(uuid.generate(), contact, item, version)
			for _, session in pairs(user.sessions) do
				if session.interested then
					send_text(session, text)
				end
			end
		end
	end

	--- Handles `iq-set/bare/jabber:iq:roster:query` (XEP-0356, 4.3).
	local function set(event)
		local entity = requester(event)
		if not entity then
			return nil
		end
		local origin = event.origin
		local stanza = event.stanza
		local user = stanza.attr.to
		local username = jid.split(user)
		local not_allowed = service.authorization.roster_set_refusal(entity, username)
		if not_allowed then
			return refuse(entity, origin, stanza, not_allowed)
		end
		local contact, refusal = set_contact(stanza.tags[1], user)
		if contact == nil then
			return refuse(entity, origin, stanza, account_exists(username, host) and refusal or refusals.no_such_user)
		end

		--- Answers the set, then tells the others. An error in one of them does not keep the rest from being told.
		local function saved(old, item, version)
			local what = item and "%s set contact %s in the roster of %s" or "%s removed contact %s from the roster of %s"
			service.statistics.record(entity, "roster_sets", what, contact, user, stanza.attr.id)
			send_stanza(origin, st.reply(stanza))
			if not item and old then
				protect(service.log, "while a contact of %s was removed", user, function()
					return end_subscriptions(username, contact, old)
				end)
				forget_roster(username, host)
			end
			protect(service.log, "while the roster of %s was pushed", user, function()
				return push_to_clients(username, contact, item, version)
			end)
			if not same_item(old, item) then
				protect(service.log, "while the roster of %s was pushed", user, function()
					return service.change_watch.changed(username, contact, item, version, old)
				end)
			end
		end

		local function refused(reason)
			refuse(entity, origin, stanza, reason)
		end

		service.write_queue.add({
			session = origin,
			username = username,
			contact = contact,
			element = stanza.tags[1].tags[1],
			saved = saved,
			refused = refused,
		})
		return true
	end

	return { get = get, set = set }
end

-- ==== src/roster/write_queue.ts ====

--- Saves roster changes that arrive together in one go. A gateway may set its whole contact list at once, and a storage of whole
-- rosters would write the whole roster for each contact.
--
-- Until a change is saved, it is only in the queue. Changes are saved and answered when the server has handled everything that it
-- has read from the connection, or before anything else is sent by `session.send`, as answers are. So these come in the order of the
-- requests. What the server routes to a component does not wait.
local function create_write_queue(service)
	-- So many changes are saved in one go at most, which bounds the time for which the server is busy.
	local max_waiting = 100

	local host = service.host
	local waiting_streams = service.waiting_streams
	local waiting = {}
	local timer_runs = false
	-- For each stream with changes that wait: its own `send`, and the function in its place.
	local replaced = {}

	--- Makes a change to a roster in memory.
	local function apply(roster, outcome)
		local contact = outcome.change.contact
		local element = outcome.change.element
		local pending = (roster[false] or {}).pending
		outcome.old = roster[contact]
		outcome.item = element.attr.subscription ~= "remove" and updated_item(element, outcome.old) or nil
		outcome.request = pending and pending[contact]
		roster[contact] = outcome.item
		-- A contact who is subscribed now has no request any more.
		if pending and outcome.item and (outcome.item.subscription == "from" or outcome.item.subscription == "both") then
			pending[contact] = nil
		end
	end

	--- Undoes changes to a roster in memory.
	local function revert(roster, applied)
		local pending = (roster[false] or {}).pending
		for i = #applied, 1, -1 do
			local outcome = applied[i]
			local contact = outcome.change.contact
			-- Somebody else may have changed it meanwhile.
			if roster[contact] == outcome.item then
				roster[contact] = outcome.old
				if pending then
					pending[contact] = outcome.request
				end
			end
		end
	end

	--- Whether mod_groups has added contacts to a roster in memory, or has marked the user's own as if it had.
	local function has_group_contacts(roster)
		for _, item in pairs(roster) do
			if item.persist == false then
				return true
			end
		end
		return false
	end

	--- The whole of a roster as it is to be saved; nil where the storage fails.
	local function saved_roster(store, username, roster, metadata, applied)
		if not has_group_contacts(roster) then
			return roster
		end
		local stored, err = store:get(username)
		if err ~= nil then
			return nil
		end
		local saved = stored and copy_of(stored) or {}
		saved[false] = metadata
		for _, outcome in ipairs(applied) do
			saved[outcome.change.contact] = roster[outcome.change.contact]
		end
		return saved
	end

	--- Writes a roster to the storage: the changed items if the storage has single items, else the whole.
	local function write(username, roster, metadata, applied)
		if not since_0_10 then
			-- COMPAT: Prosody 0.9 has no `store-opened`. This function increments the version itself.
			return rostermanager.save_roster(username, host, roster) == true
		end
		local store = storagemanager.open(host, "roster", "map")
		if type(store.keyval_store) == "table" then
			-- This store would read the whole roster to save one item, and the roster is in memory already.
			local whole_store = storagemanager.open(host, "roster", "keyval")
			local whole = saved_roster(whole_store, username, roster, metadata, applied)
			return whole ~= nil
				and service.change_watch.save_without_comparing(whole, function()
						return (whole_store:set(username, whole))
					end)
					== true
		end
		local keys = {}
		keys[false] = metadata
		for _, outcome in ipairs(applied) do
			local contact = outcome.change.contact
			keys[contact] = roster[contact] or store.remove
		end
		return service.change_watch.save_without_comparing(keys, function()
			return (store:set_keys(username, keys))
		end) == true
	end

	--- Saves a changed roster. If that fails, the changes are undone.
	local function save(username, roster, applied)
		local metadata = roster[false] or {}
		roster[false] = metadata
		local version = metadata.version
		if since_0_10 and version ~= true then
			-- mod_roster gives a roster that was never saved the version 1, so the first change must have a later one.
			metadata.version = (version or 1) + #applied
		end
		if
			protect(service.log, "while the roster of %s was saved", username, function()
				return write(username, roster, metadata, applied)
			end) == true
		then
			return true
		end
		metadata.version = version
		revert(roster, applied)
		return false
	end

	local function refuse_all(outcomes, refusal)
		for _, outcome in ipairs(outcomes) do
			outcome.refusal = refusal
		end
	end

	--- Makes and saves the changes of one roster.
	local function change_roster(username, outcomes)
		if not account_exists_now(username, host) then
			return refuse_all(outcomes, refusals.no_such_user)
		end
		local roster = read_roster(username, host)
		if not roster then
			return refuse_all(outcomes, refusals.roster_not_loaded)
		end
		local applied = {}
		for _, outcome in ipairs(outcomes) do
			if outcome.change.element.attr.subscription == "remove" and roster[outcome.change.contact] == nil then
				outcome.refusal = refusals.roster_no_item
			else
				apply(roster, outcome)
				applied[#applied + 1] = outcome
			end
		end
		if #applied > 0 and not save(username, roster, applied) then
			return refuse_all(applied, refusals.roster_not_saved)
		end
		local version = (roster[false] or {}).version
		for i, outcome in ipairs(applied) do
			-- Each change has a version of its own: a reader who has missed the last change must not have the last version.
			outcome.version = type(version) == "number" and version - #applied + i or version
		end
	end

	--- Makes changes, those of the same roster together, and answers them in their order.
	local function change_rosters(changes)
		local outcomes = {}
		local usernames = {}
		local by_username = {}
		for _, change in ipairs(changes) do
			local outcome = { change = change }
			outcomes[#outcomes + 1] = outcome
			local list = by_username[change.username]
			if list then
				list[#list + 1] = outcome
			else
				usernames[#usernames + 1] = change.username
				by_username[change.username] = { outcome }
			end
		end
		for _, username in ipairs(usernames) do
			change_roster(username, by_username[username])
		end
		for _, outcome in ipairs(outcomes) do
			if outcome.refusal then
				outcome.change.refused(outcome.refusal)
			else
				outcome.change.saved(outcome.old, outcome.item, outcome.version)
			end
		end
	end

	--- Saves and answers all changes that wait.
	local function flush()
		for session, functions in pairs(replaced) do
			-- The stream may have ended, or another module may have replaced the function in turn.
			if session.send == functions.in_order then
				session.send = functions.send
			end
			replaced[session] = nil
			waiting_streams[session] = nil
		end
		local changes = waiting
		if #changes > 0 then
			waiting = {}
			change_rosters(changes)
		end
		return nil
	end

	--- Sees to it that the changes of a stream are answered before anything else is sent on it.
	local function keep_order(session)
		local flush_waiting = waiting_streams[session]
		if flush_waiting == flush then
			return
		end
		if flush_waiting then
			-- Changes for another host came first.
			flush_waiting()
		end
		waiting_streams[session] = flush
		local send = session.send
		local function in_order(stanza)
			flush()
			return send(stanza)
		end
		replaced[session] = { send = send, in_order = in_order }
		session.send = in_order
	end

	--- Handles `presence/bare`, `message/bare`, `iq/bare`, the same events for full JIDs, and `message/host`, before all other
	-- handlers. What follows a roster set, such as a roster get, a privileged message or iq, or a presence of the new contact, has
	-- to find the roster changed.
	local function before_stanza(event)
		if #waiting > 0 then
			local stanza = event.stanza
			local payload = stanza.name == "iq" and stanza.attr.type == "set" and stanza.tags[1] or nil
			if not payload or payload.attr.xmlns ~= xmlns_roster then
				flush()
			end
		end
		return nil
	end

	--- Adds a change, which is saved and answered now or later.
	local function add(change)
		if change.session.type == "c2s" or not since_0_10 then
			-- The handlers of a client's stanzas may wait for an asynchronous storage, the callback of a timer may not.
			-- COMPAT: in Prosody 0.9, timers go off only once a second.
			return change_rosters({ change })
		end
		keep_order(change.session)
		waiting[#waiting + 1] = change
		if #waiting >= max_waiting then
			flush()
		elseif not timer_runs then
			timer_runs = true
			service.add_timer(0, function()
				timer_runs = false
				return flush()
			end)
		end
	end

	return { add = add, flush = flush, before_stanza = before_stanza }
end

-- ==== src/presence/presence_form.ts ====

--- The part of a form that is sent: XML text behind `<presence to='…' from='…'`.
local function presence_of(form)
	return string.sub(form, (string.find(form, "[ >]")))
end

--- The XML text of a remembered presence behind `<presence to='…'`, with its sender's JID.
local function form_rest(from, form)
	return attribute("from", from) .. presence_of(form)
end

--- Writes presences in the form in which they are remembered: as XML text without addresses, id and time.
local function create_presence_forms()
	--- The length in bytes from which a presence is remembered in short. With its tables, a contact needs less than a kibibyte.
	local max_length = 500

	-- The presence that was written last. A contact's server sends the same one to each of its viewers.
	local last

	--- Whether another element has all attributes of an element.
	local function has_attributes_of(element, other)
		for name, value in pairs(other.attr) do
			if element.attr[name] ~= value then
				return false
			end
		end
		return true
	end

	--- Whether two elements have the same children.
	local function has_children_of(a, b)
		local count = 0
		for i, child in ipairs(a) do
			local other = b[i]
			if child ~= other then
				if type(child) == "string" or other == nil or type(other) == "string" or child.name ~= other.name then
					return false
				end
				if not has_attributes_of(child, other) or not has_attributes_of(other, child) or not has_children_of(child, other) then
					return false
				end
			end
			count = i
		end
		return b[count + 1] == nil
	end

	--- A presence's form at full length, and its children that stay when it is shortened.
	local function write(stanza)
		local lang = stanza.attr["xml:lang"]
		local parts = { lang ~= nil and " xml:lang='" .. st.xml_escape(lang) .. "'>" or ">" }
		local essence = ""
		for _, child in ipairs(stanza.tags) do
			if child.attr.xmlns ~= "urn:xmpp:delay" then
				local written = tostring(child)
				local text = is_well_formed(written) and written or ""
				parts[#parts + 1] = text
				if #essence + #text < 100 and (child.name == "show" or child.name == "priority") then
					essence = essence .. text
				end
			end
		end
		parts[#parts + 1] = "</presence>"
		return table.concat(parts), essence
	end

	--- A shortened form. The hash of the whole one tells whether the same presence comes again.
	local function shorten(whole, essence)
		return hashes.sha1(whole, true) .. ">" .. essence .. "</presence>"
	end

	--- The shortened form of a presence.
	local function short_form(stanza)
		local whole, essence = write(stanza)
		return shorten(whole, essence)
	end

	--- The form of a presence, which is shortened if it is long.
	local function form(stanza)
		if not last or last.stanza.attr["xml:lang"] ~= stanza.attr["xml:lang"] or not has_children_of(last.stanza, stanza) then
			local whole, essence = write(stanza)
			last = { stanza = stanza, form = #whole <= max_length and whole or shorten(whole, essence) }
		end
		return last.form
	end

	--- Forgets the presence that was written last. To be called when the contact may be remembered no more.
	local function forget()
		last = nil
	end

	return { form = form, short_form = short_form, forget = forget }
end

-- ==== src/presence/contact_cache.ts ====

--- How much is remembered of one contact, in bytes: a contact with a server of its own can make up any number of resources.
local max_kept = 10000

--- How much memory a resource needs beside its texts, in bytes, roughly.
local resource_cost = 300

--- Whether a user sees a resource.
local function is_seen_by(remembered, username)
	local users = remembered.seen_by
	if type(users) == "string" then
		return users == username
	end
	return users[username] ~= nil
end

--- Whether a contact is at a domain, or is the domain itself.
local function is_at(contact, domain)
	return contact == domain or string.sub(contact, -(#domain + 1)) == "@" .. domain
end

--- Remembers the presences of contacts that users of the host see, for entities that connect later. A user who sees a contact
-- is a viewer of it; a resource is forgotten when its last viewer is gone.
--
-- Contacts are given by their bare JIDs, users by their names.
local function create_contact_cache()
	local forms = create_presence_forms()
	local contacts = {}
	-- The contacts that each user sees, by user.
	local users = {}
	-- The contacts that have more resources than are remembered.
	local crowded = {}

	--- Stands for a presence that is not kept because two newer ones went to other viewers: a contact may send each viewer another one.
	local lost_form = "?></presence>"

	--- The presence of a resource that a user got last, in the form that `presence_of` takes; nil if the user does not see it.
	local function form_seen_by(remembered, username)
		local viewers = remembered.seen_by
		if type(viewers) == "string" then
			return viewers == username and remembered.form or nil
		end
		local form = viewers[username]
		return form and form.text
	end

	--- Notes the presence that a user got last. Other viewers keep what they got.
	local function set_form(remembered, username, text)
		local viewers = remembered.seen_by
		if viewers ~= username then
			local current = remembered.current or { text = remembered.form }
			if type(viewers) == "string" then
				local only_viewer = viewers
				viewers = {}
				viewers[only_viewer] = current
				remembered.seen_by = viewers
			end
			if current.text ~= text then
				local before = remembered.previous
				remembered.previous = current
				if before and before.text == text then
					current = before
				else
					if before then
						before.text = lost_form
					end
					current = { text = text }
				end
			end
			remembered.current = current
			viewers[username] = current
		end
		remembered.form = text
	end

	--- The resources of a contact; nil if there are none.
	local function of(contact)
		return contacts[contact]
	end

	--- The presence of a contact's resource that a user got last, in the form that `presence_of` takes; nil if the user does not see it.
	local function form_of(contact, resource, username)
		local resources = of(contact)
		local remembered = resources and resources[resource]
		return remembered and form_seen_by(remembered, username)
	end

	--- The users who see any resource of a contact, as keys.
	local function viewers_of(contact)
		local names = {}
		for _, remembered in pairs(of(contact) or {}) do
			if type(remembered.seen_by) == "string" then
				names[remembered.seen_by] = true
			else
				for username in pairs(remembered.seen_by) do
					names[username] = true
				end
			end
		end
		return names
	end

	--- Whether a user sees any resource of a contact.
	local function sees(username, contact)
		local seen = users[username]
		return seen ~= nil and seen[contact] ~= nil
	end

	--- Whether a contact has resources that are not remembered.
	local function is_crowded(contact)
		return crowded[contact] ~= nil
	end

	local function note_user(remembered, contact, username, form)
		set_form(remembered, username, form)
		local seen = users[username] or {}
		seen[contact] = true
		users[username] = seen
	end

	--- How much memory the resources of a contact need, in bytes, roughly.
	local function kept_bytes(resources)
		local bytes = 0
		for resource, remembered in pairs(resources) do
			bytes = bytes + #resource + #remembered.form + resource_cost
		end
		return bytes
	end

	--- Notes an available presence that a user got.
	-- @returns false if it is the one that came last, to whichever viewer
	local function available(contact, resource, username, stanza)
		local resources = of(contact) or {}
		local before = resources[resource]
		local form = forms.form(stanza)
		if before and before.form == form then
			before.heard_at = os.time()
			note_user(before, contact, username, before.form)
			return false
		end
		local room = max_kept - kept_bytes(resources)
		if before then
			if #form - #before.form > room then
				form = forms.short_form(stanza)
			end
			local is_new = before.form ~= form
			before.heard_at = os.time()
			note_user(before, contact, username, form)
			return is_new
		end
		if #resource + #form + resource_cost > room then
			if of(contact) then
				crowded[contact] = true
			end
			forms.forget()
			return true
		end
		local remembered = { form = form, heard_at = os.time(), seen_by = username }
		resources[resource] = remembered
		contacts[contact] = resources
		note_user(remembered, contact, username, form)
		return true
	end

	--- Takes a contact off a user's list if the user does not see any resource of it.
	local function unlist(contact, username)
		local seen = users[username]
		if not seen then
			return
		end
		for _, remembered in pairs(of(contact) or {}) do
			if is_seen_by(remembered, username) then
				return
			end
		end
		seen[contact] = nil
		if next(seen) == nil then
			users[username] = nil
		end
	end

	--- Forgets a resource of a contact.
	local function drop(contact, resources, resource)
		local names = resources[resource].seen_by
		forms.forget()
		resources[resource] = nil
		if next(resources) == nil then
			contacts[contact] = nil
			crowded[contact] = nil
		end
		if type(names) == "string" then
			unlist(contact, names)
		else
			for username in pairs(names) do
				unlist(contact, username)
			end
		end
	end

	--- Takes a user off the viewers of a resource. Returns whether there are others.
	local function hide(remembered, username)
		local names = remembered.seen_by
		if type(names) == "string" then
			return names ~= username
		end
		names[username] = nil
		return next(names) ~= nil
	end

	--- Forgets one resource of a contact, or all where `resource` is nil, if `is_over` returns true for it.
	-- @returns the resources that are forgotten
	local function end_some(contact, resource, is_over)
		local ended = {}
		local resources = of(contact)
		if resources then
			for _, name in ipairs(resource ~= nil and { resource } or keys_of(resources)) do
				local remembered = resources[name]
				if remembered and is_over(remembered) then
					drop(contact, resources, name)
					ended[#ended + 1] = name
				end
			end
		end
		return ended
	end

	--- Notes that a user does not see a resource of a contact any more, or does not see any where it is nil.
	-- @returns the resources that nobody sees any more
	local function unseen(contact, resource, username)
		local ended = end_some(contact, resource, function(remembered)
			return is_seen_by(remembered, username) and not hide(remembered, username)
		end)
		unlist(contact, username)
		return ended
	end

	--- Notes that a resource of a contact, or all where it is nil, is not available any more, for any viewer.
	--
	-- @param username nil, or a user who must see the resource
	-- @param before nil, or a time before which its last presence must have come
	-- @returns the resources that were forgotten
	local function gone(contact, resource, username, before)
		return end_some(contact, resource, function(remembered)
			return (username == nil or is_seen_by(remembered, username)) and (before == nil or remembered.heard_at < before)
		end)
	end

	--- Whether the last presence of any resource of a contact that a user sees came before a time.
	local function is_older(contact, username, time)
		for _, remembered in pairs(of(contact) or {}) do
			if remembered.heard_at < time and is_seen_by(remembered, username) then
				return true
			end
		end
		return false
	end

	--- The contacts that a user sees.
	local function contacts_of(username)
		return keys_of(users[username])
	end

	--- The contacts at a domain.
	local function contacts_at(domain)
		local list = {}
		for contact in pairs(contacts) do
			if is_at(contact, domain) then
				list[#list + 1] = contact
			end
		end
		return list
	end

	--- All contacts that are remembered.
	local function all_contacts()
		return keys_of(contacts)
	end

	--- The users who see any contact, as keys.
	local function watchers()
		local names = {}
		for username in pairs(users) do
			names[username] = true
		end
		return names
	end

	local function clear()
		forms.forget()
		contacts = {}
		users = {}
		crowded = {}
	end

	--- All that is remembered, to be restored after a reload.
	local function save()
		return { contacts = contacts, users = users, crowded = crowded }
	end

	local function restore(saved)
		contacts = saved.contacts
		users = saved.users
		crowded = saved.crowded
	end

	return {
		of = of,
		form_of = form_of,
		viewers_of = viewers_of,
		sees = sees,
		is_crowded = is_crowded,
		available = available,
		unseen = unseen,
		gone = gone,
		is_older = is_older,
		contacts_of = contacts_of,
		contacts_at = contacts_at,
		all_contacts = all_contacts,
		watchers = watchers,
		clear = clear,
		save = save,
		restore = restore,
	}
end

-- ==== src/presence/delivery.ts ====

--- The XML text of a presence behind `<presence to='…'`, which goes to all receivers.
local function presence_rest(stanza)
	local to = stanza.attr.to
	stanza.attr.to = nil
	local text = tostring(stanza)
	stanza.attr.to = to
	if not is_well_formed(text) then
		-- Without the children. That the JID is available, or is not, can be told all the same.
		return attribute("from", stanza.attr.from) .. attribute("type", stanza.attr.type) .. "/>"
	end
	return string.sub(text, #"<presence" + 1)
end

--- Writes presences of users' clients in that form. Keeps each text as long as the server keeps the stanza.
local function create_presence_texts()
	local end_tag = "</presence>"

	--- The texts by stanza, with the number of children that the stanza had.
	local kept = setmetatable({}, { __mode = "k" })

	--- A kept text with the children that were added to the stanza since; nil if it has to be written anew.
	local function extended(stanza, rest, children)
		if string.sub(rest, -#end_tag) ~= end_tag then
			return nil
		end
		local parts = { string.sub(rest, 1, -#end_tag - 1) }
		for i, child in ipairs(stanza) do
			if i > children then
				parts[#parts + 1] = type(child) == "string" and st.xml_escape(child) or tostring(child)
			end
		end
		parts[#parts + 1] = end_tag
		local text = table.concat(parts)
		return is_well_formed(text) and text or nil
	end

	--- The text of a presence. The server may add children to the stanza between two calls: mod_presence adds the time.
	local function rest_of(stanza)
		local children = #stanza
		local before = kept[stanza]
		if before and before.children == children then
			return before.rest
		end
		local longer = before and before.children < children and extended(stanza, before.rest, before.children) or nil
		local rest = longer or presence_rest(stanza)
		kept[stanza] = { children = children, rest = rest }
		return rest
	end

	return { rest_of = rest_of }
end

--- An unavailable presence in that form.
local function unavailable_rest(from)
	return attribute("from", from) .. " type='unavailable'/>"
end

--- Whether a user with such a roster item sees the contact's presence.
local function sees_contact(item)
	return item ~= nil and (item.subscription == "both" or item.subscription == "to")
end

--- Whether the contact of such a roster item sees the user's presence.
local function is_seen_by_contact(item)
	return item ~= nil and (item.subscription == "both" or item.subscription == "from")
end

--- Decides which connections are told a presence, and tells them.
local function create_delivery(host, entities, users, heard, statistics, other_hosts)
	local texts = create_presence_texts()

	--- Whether the grant of a connection's entity covers a user, as far as that is known.
	local function covers(connection, username)
		return users.covers_as_known(connection.entity.jid, connection.entity.permissions.users, username)
	end

	--- Whether a connection was told of a user whom its entity's grant does not cover any more, and was not told yet that the user is unavailable.
	local function waits_for_end(connection, username)
		for ending in pairs(connection.ending) do
			if ending.done[username] == nil and users.covers_as_known(connection.entity.jid, ending.coverage, username) then
				return true
			end
		end
		return false
	end

	--- Whether a connection is a client whose user has a JID as a contact, so that the server sends it these presences anyway.
	local function is_own_contact(connection, contact)
		local roster = connection.session.roster
		return roster ~= nil and sees_contact(roster[contact])
	end

	--- Whether a connection gets the presence of a user if its grant covers the user: not its own one, and none that the server sends it anyway.
	local function may_tell_of(connection, username)
		local user = username .. "@" .. host
		return is_connected(connection)
			and connection.entity.permissions.presence ~= "none"
			and connection.entity.jid ~= user
			and not is_own_contact(connection, user)
	end

	--- Whether a connection gets the presence of a user who is there already.
	local function may_tell_user(connection, username)
		return may_tell_of(connection, username) and covers(connection, username)
	end

	--- Whether a connection gets the presence that a user's client broadcasts.
	local function may_tell_broadcast(connection, session, is_unavailable)
		local name = connection.entity.jid
		local username = session.username
		if not is_connected(connection) or name == username .. "@" .. host then
			return false
		end
		if not covers(connection, username) and not (is_unavailable and waits_for_end(connection, username)) then
			return false
		end
		-- The server itself sends it to those who are subscribed to the user.
		return not is_seen_by_contact(session.roster and session.roster[name])
	end

	--- Whether a connection gets presences of a contact, if a user sees the contact whom its grant covers.
	local function may_tell_contact(connection, contact)
		local name = connection.entity.jid
		local node, contact_host = jid.split(contact)
		return is_connected(connection)
			and connection.entity.permissions.presence == "roster"
			and contact ~= name
			and contact_host ~= name
			and not is_own_contact(connection, contact)
			and not (node ~= nil and other_hosts.is_told_elsewhere(name, node, contact_host))
	end

	--- Whether any connection gets what a contact sends to the second of two users, and not what it sends to the first one.
	local function shows_more(username, other)
		for _, connection in ipairs(entities.receivers("covered_contacts")) do
			if covers(connection, other) and not covers(connection, username) then
				return true
			end
		end
		return false
	end

	--- Tells a connection a presence of a JID. `rest` is its XML text as `presence_rest` returns it.
	local function tell(connection, from, rest)
		send_text(connection.session, "<presence" .. connection.to .. rest)
		statistics.count(connection.entity, "presences")
		heard.note(connection, from)
	end

	--- Tells a connection that a user's client is unavailable. The same catch-up may tell of that client again, if the grant covers the user again.
	local function tell_uncovered(connection, from)
		tell(connection, from, unavailable_rest(from))
		heard.drop(connection, from)
	end

	--- Tells all connections that get it the presence that a user's client broadcasts.
	local function tell_broadcast(session, stanza)
		local is_unavailable = stanza.attr.type == "unavailable"
		local directed = is_unavailable and session.directed or nil
		local rest
		for _, connection in ipairs(entities.receivers("presence")) do
			if may_tell_broadcast(connection, session, is_unavailable) then
				rest = rest or texts.rest_of(stanza)
				tell(connection, session.full_jid, rest)
				-- The server would send this to the addresses that the client directed presence to, except to those that the user has blocked since. So it is told here.
				if directed then
					directed[connection.address] = nil
					directed[connection.entity.jid] = nil
				end
			end
		end
	end

	--- Tells all connections that get it a contact's presence, as far as their grants cover all users.
	--
	-- @param from the contact's bare or full JID
	-- @param stanza the presence; nil for an unavailable one
	local function tell_contact(contact, from, stanza)
		local rest
		for _, connection in ipairs(entities.receivers("contacts")) do
			if may_tell_contact(connection, contact) and (stanza ~= nil or not heard.is_unaware(connection, from)) then
				rest = rest or (stanza and presence_rest(stanza) or unavailable_rest(from))
				tell(connection, from, rest)
			end
		end
	end

	--- Tells these connections a contact's presence again, as it is remembered.
	local function tell_contact_again(contact, from, form)
		for _, connection in ipairs(entities.receivers("contacts")) do
			if may_tell_contact(connection, contact) then
				tell(connection, from, form_rest(from, form))
			end
		end
	end

	--- Collects presences that are there already for one connection, which gets several at a time. `add` and `write` take what
	-- `tell` takes; `add` skips JIDs that the connection was told of. `flush` sends those that are left.
	local function create_collection(connection)
		local batch = create_batch(connection.session)
		local start = "<presence" .. connection.to

		local function write(from, rest)
			batch.add(start, rest)
			statistics.count(connection.entity, "presences")
			heard.note(connection, from)
		end

		local function add(from, rest)
			if not heard.has(connection, from) then
				write(from, rest)
			end
		end

		return { add = add, write = write, flush = batch.flush }
	end

	return {
		rest_of = texts.rest_of,
		covers = covers,
		may_tell_of = may_tell_of,
		may_tell_user = may_tell_user,
		may_tell_contact = may_tell_contact,
		shows_more = shows_more,
		tell = tell,
		tell_uncovered = tell_uncovered,
		tell_broadcast = tell_broadcast,
		tell_contact = tell_contact,
		tell_contact_again = tell_contact_again,
		create_collection = create_collection,
	}
end

-- ==== src/presence/covered_contacts.ts ====

--- Stands for users who are not known. No user has this name.
local anyone = ""

--- The JID of a contact's resource, which is "" for the bare JID.
local function full_jid(contact, resource)
	return resource ~= "" and contact .. "/" .. resource or contact
end

--- Tells entities whose grant is limited to some users (option `users`) of these users' contacts. Such an entity gets the
-- presences that a covered user gets, and none that a contact sends to others only.
--
-- A presence costs the same work however many users see the contact.
local function create_covered_contacts(entities, cache, delivery)
	local pictures = setmetatable({}, { __mode = "k" })

	local function begin_picture(connection)
		local picture = { contacts = {}, others = {}, crowded = {} }
		pictures[connection] = picture
		return picture
	end

	local function picture_of(connection)
		return pictures[connection] or begin_picture(connection)
	end

	--- The resources of a contact that a connection was told of.
	local function told_of(connection, contact)
		return picture_of(connection).contacts[contact]
	end

	--- Makes a function that sends presences to a connection at once.
	local function direct(connection)
		return function(from, rest)
			delivery.tell(connection, from, rest)
		end
	end

	--- Whether a resource is one of those that `end_others` would end. It is none any more, unless these may be any.
	local function take_other(connection, contact, resource)
		local others = picture_of(connection).others[contact]
		if others == nil or others == true then
			return others == true
		end
		local is_other = others[resource] ~= nil
		others[resource] = nil
		return is_other
	end

	--- Puts a resource into a connection's picture.
	local function put_told(connection, contact, resource, told)
		local contacts = picture_of(connection).contacts
		local resources = contacts[contact] or {}
		take_other(connection, contact, resource)
		resources[resource] = told
		contacts[contact] = resources
	end

	--- Notes that a connection was told the presence of a resource that a user got.
	local function note_told(connection, contact, resource, form, username)
		local resources = told_of(connection, contact)
		local before = resources and resources[resource]
		local told = before or { form = form, through = username, viewers = {} }
		told.form = form
		told.through = username
		told.viewers[username] = true
		if not before then
			put_told(connection, contact, resource, told)
		end
	end

	--- Tells a connection that a resource is not available, if it may see the contact.
	local function tell_unavailable(connection, contact, resource, tell)
		if delivery.may_tell_contact(connection, contact) then
			local from = full_jid(contact, resource)
			tell(from, unavailable_rest(from))
		end
	end

	--- Whether a connection was told of resources of a contact that are not remembered, as a user got them.
	local function was_told_rest(connection, contact, username)
		local users = picture_of(connection).crowded[contact]
		return users ~= nil and (users[username] ~= nil or users[anyone] ~= nil)
	end

	--- Tells a connection that the resources of a contact that are not remembered are unavailable, if it was told of any. As
	-- they are not known, the presence of the bare JID has to stand for them. It ends all, so the others are told again.
	local function end_rest(connection, contact, tell)
		local picture = picture_of(connection)
		if picture.crowded[contact] == nil then
			return
		end
		picture.crowded[contact] = nil
		picture.others[contact] = nil
		tell_unavailable(connection, contact, "", tell)
		for resource, told in pairs(told_of(connection, contact) or {}) do
			if delivery.may_tell_contact(connection, contact) then
				local from = full_jid(contact, resource)
				tell(from, form_rest(from, told.form))
			end
		end
	end

	--- Tells a connection that a resource is not available any more.
	local function tell_gone(connection, contact, resource, tell)
		local contacts = picture_of(connection).contacts
		local resources = contacts[contact]
		resources[resource] = nil
		tell_unavailable(connection, contact, resource, tell)
		if next(resources) == nil then
			contacts[contact] = nil
			end_rest(connection, contact, tell)
		end
	end

	--- A viewer whom the grant covers, nil if there is none. Those who are not covered any more are taken off the viewers on the way.
	local function covered_viewer(connection, told)
		for username in pairs(told.viewers) do
			if delivery.covers(connection, username) then
				return username
			end
			told.viewers[username] = nil
		end
		return nil
	end

	--- Tells a connection the presence that a covered viewer of a resource got, if it differs from what it was told, or the end if there is no such viewer.
	local function tell_of_viewer(connection, contact, resource, told, tell)
		local other = covered_viewer(connection, told)
		local form = other ~= nil and cache.form_of(contact, resource, other) or nil
		if other == nil or form == nil then
			tell_gone(connection, contact, resource, tell)
			return
		end
		if form ~= told.form and delivery.may_tell_contact(connection, contact) then
			local from = full_jid(contact, resource)
			tell(from, form_rest(from, form))
		end
		note_told(connection, contact, resource, form, other)
	end

	--- Takes a user off the viewers of a resource. Tells the connection the presence of another covered viewer, if it differs, or the end if there is none.
	local function remove_viewer(connection, contact, resource, told, username, tell)
		told.viewers[username] = nil
		if told.through == username or next(told.viewers) == nil then
			tell_of_viewer(connection, contact, resource, told, tell)
		end
	end

	--- Tells a connection an available presence that a user got, unless it was told the same one before.
	local function tell_available(connection, contact, resource, form, username, stanza)
		if not delivery.covers(connection, username) or not delivery.may_tell_contact(connection, contact) then
			return
		end
		local resources = told_of(connection, contact)
		local told = resources and resources[resource]
		if told and told.form == form then
			told.viewers[username] = true
		else
			note_told(connection, contact, resource, form, username)
			delivery.tell(connection, stanza.attr.from, presence_rest(stanza))
		end
	end

	--- Tells a connection an available presence that a user got, of a resource that is not remembered.
	local function tell_crowded(connection, contact, username, stanza)
		if delivery.covers(connection, username) and delivery.may_tell_contact(connection, contact) then
			local crowded = picture_of(connection).crowded
			local users = crowded[contact] or {}
			users[username] = true
			crowded[contact] = users
			delivery.tell(connection, stanza.attr.from, presence_rest(stanza))
		end
	end

	--- Tells a connection which resources of a contact ended, for all users or for one.
	local function tell_ended(connection, contact, ended, username)
		local resources = told_of(connection, contact)
		for _, resource in ipairs(ended) do
			if take_other(connection, contact, resource) and not (resources and resources[resource] ~= nil) then
				tell_unavailable(connection, contact, resource, direct(connection))
			end
		end
		for _, resource in ipairs(keys_of(resources)) do
			local told = resources[resource]
			local available = cache.of(contact)
			if not available or available[resource] == nil then
				tell_gone(connection, contact, resource, direct(connection))
			elseif username ~= nil and told.viewers[username] ~= nil and cache.form_of(contact, resource, username) == nil then
				remove_viewer(connection, contact, resource, told, username, direct(connection))
			end
		end
		if not cache.of(contact) then
			end_rest(connection, contact, direct(connection))
		end
	end

	--- Tells such entities of an available presence that a user got. To be called when the cache has it.
	local function receive_available(contact, resource, username, stanza)
		local connections = entities.receivers("covered_contacts")
		local form = #connections > 0 and cache.form_of(contact, resource, username) or nil
		for _, connection in ipairs(connections) do
			if form ~= nil then
				tell_available(connection, contact, resource, form, username, stanza)
			else
				tell_crowded(connection, contact, username, stanza)
			end
		end
	end

	--- Tells such entities that resources of a contact ended for a user, or for all. To be called when the cache has forgotten them.
	--
	-- @param ended the resources that nobody sees any more
	-- @param username nil if they ended for all users
	local function receive_end(contact, ended, username)
		for _, connection in ipairs(entities.receivers("covered_contacts")) do
			tell_ended(connection, contact, ended, username)
		end
	end

	--- Tells such entities that a resource that is not remembered ended for a user.
	local function receive_rest_end(contact, resource, username)
		for _, connection in ipairs(entities.receivers("covered_contacts")) do
			if was_told_rest(connection, contact, username) then
				tell_unavailable(connection, contact, resource, direct(connection))
			end
		end
	end

	--- Tells such entities that a user does not see a contact any more. `ended` is as in `receive_end`.
	local function receive_unseen(contact, ended, username)
		receive_end(contact, ended, username)
		for _, connection in ipairs(entities.receivers("covered_contacts")) do
			if was_told_rest(connection, contact, username) then
				end_rest(connection, contact, direct(connection))
			end
		end
	end

	--- Tells a connection the resources of a contact that a covered user sees and that it was not told of, or whose presence came to this user while the grant did not cover the user.
	local function show(connection, username, contact, tell)
		for _, resource in ipairs(keys_of(cache.of(contact))) do
			local form = cache.form_of(contact, resource, username)
			local resources = told_of(connection, contact)
			local told = resources and resources[resource]
			if form ~= nil and told and (told.form == form or told.through ~= username) then
				told.viewers[username] = true
			elseif form ~= nil then
				local from = full_jid(contact, resource)
				note_told(connection, contact, resource, form, username)
				tell(from, form_rest(from, form))
			end
		end
	end

	--- Tells a connection the resources of a contact that covered users see, whatever it was told of them before.
	local function show_again(connection, contact)
		picture_of(connection).contacts[contact] = nil
		for username in pairs(cache.viewers_of(contact)) do
			if delivery.covers(connection, username) then
				show(connection, username, contact, direct(connection))
			end
		end
	end

	--- Ends, for a connection, the resources of a contact that it sees only through a user whom its grant does not cover any more.
	local function hide(connection, username, contact, tell)
		local resources = told_of(connection, contact)
		for _, resource in ipairs(keys_of(resources)) do
			local told = resources[resource]
			if told.viewers[username] ~= nil then
				remove_viewer(connection, contact, resource, told, username, tell)
			end
		end
		if was_told_rest(connection, contact, username) then
			end_rest(connection, contact, tell)
		end
	end

	--- Begins to limit a connection to the contacts of covered users, after its grant covered all users. To be followed by `keep` and `end_others`.
	local function narrow(connection)
		local picture = begin_picture(connection)
		for _, contact in ipairs(cache.all_contacts()) do
			picture.others[contact] = true
			if cache.is_crowded(contact) then
				local users = {}
				users[anyone] = true
				picture.crowded[contact] = users
			end
		end
	end

	--- Keeps for a connection what it was told of a contact that a covered user sees, and tells it the presences that this user got, where they differ.
	local function keep(connection, username, contact, tell)
		local available = cache.of(contact)
		for _, resource in ipairs(picture_of(connection).others[contact] ~= nil and keys_of(available) or {}) do
			local form = available[resource].form
			local resources = told_of(connection, contact)
			if form == cache.form_of(contact, resource, username) and not (resources and resources[resource] ~= nil) then
				note_told(connection, contact, resource, form, username)
			end
		end
		show(connection, username, contact, tell)
	end

	--- The contacts for which `end_others` has to be called.
	local function others_of(connection)
		local picture = picture_of(connection)
		local contacts = keys_of(picture.others)
		for contact in pairs(picture.crowded) do
			if picture.others[contact] == nil then
				contacts[#contacts + 1] = contact
			end
		end
		return contacts
	end

	--- Ends, for a connection, the resources of a contact that it was told of before `narrow` or `restore` and that no covered user sees.
	local function end_others(connection, contact, tell)
		local picture = picture_of(connection)
		local others = picture.others[contact]
		local resources = told_of(connection, contact)
		picture.others[contact] = nil
		if others == true then
			for _, resource in ipairs(keys_of(cache.of(contact))) do
				if not (resources and resources[resource] ~= nil) then
					tell_unavailable(connection, contact, resource, tell)
				end
			end
		elseif others ~= nil then
			-- A user may see them of whom the catch-up did not know: if those who opted in could not be listed.
			for resource, told in pairs(others) do
				put_told(connection, contact, resource, told)
				tell_of_viewer(connection, contact, resource, told, tell)
			end
		end
		for username in pairs(picture.crowded[contact] or {}) do
			if not delivery.covers(connection, username) then
				end_rest(connection, contact, tell)
				return
			end
		end
	end

	--- Forgets all that a connection was told.
	local function forget(connection)
		pictures[connection] = nil
	end

	--- What all entities were told that see contacts, to be restored after a reload.
	local function save()
		local saved = {}
		for _, connection in ipairs(entities.receivers("contacts")) do
			saved[connection.session] = "all"
		end
		for _, connection in ipairs(entities.receivers("covered_contacts")) do
			saved[connection.session] = picture_of(connection)
		end
		return saved
	end

	--- Takes over what a connection was told before a reload. To be followed by `show` and `end_others`: grants may differ, and what was under way was lost.
	local function restore_picture(connection, saved)
		local picture = begin_picture(connection)
		picture.others = saved.others
		picture.crowded = saved.crowded
		for contact, resources in pairs(saved.contacts) do
			local before = saved.others[contact]
			if before == nil then
				saved.others[contact] = resources
			elseif before ~= true then
				for resource, told in pairs(resources) do
					before[resource] = told
				end
			end
		end
	end

	--- Takes over what `save` gave. Returns the connections that were told of contacts before.
	local function restore(saved)
		local connections = {}
		for _, connection in ipairs(entities.receivers("contacts")) do
			if saved[connection.session] ~= nil then
				connections[#connections + 1] = connection
			end
		end
		for _, connection in ipairs(entities.receivers("covered_contacts")) do
			local picture = saved[connection.session]
			if picture == "all" then
				narrow(connection)
			elseif picture ~= nil then
				restore_picture(connection, picture)
			end
			if picture ~= nil then
				connections[#connections + 1] = connection
			end
		end
		return connections
	end

	return {
		receive_available = receive_available,
		receive_end = receive_end,
		receive_rest_end = receive_rest_end,
		receive_unseen = receive_unseen,
		show = show,
		show_again = show_again,
		hide = hide,
		narrow = narrow,
		keep = keep,
		others_of = others_of,
		end_others = end_others,
		forget = forget,
		save = save,
		restore = restore,
	}
end

-- ==== src/presence/probes.ts ====

--- Seconds between two batches of probes.
local probe_pause = 0.1

--- Seconds for which an answer counts: the contact is not probed again in that time.
local answer_age = 3600

--- Seconds in which a probe without an answer is not repeated, in any user's name.
local repeat_after = 5

--- Seconds for which a probe waits for its answer.
local answer_time = 60

--- Seconds for which it is remembered that a user got no presence, at least; twice as long at most.
local refusal_age = 1800

--- In how many users' names a contact can be waiting to be probed.
local max_names = 20

--- Takes a name out of a list.
local function remove_name(names, username)
	for i = #names, 1, -1 do
		if names[i] == username then
			table.remove(names, i)
		end
	end
end

--- Probes contacts of users who are offline, so that no client of theirs does (RFC 6121, 4.3).
--
-- Probes come from full JIDs that no client has, so that their answers reach no client. Contacts are given by their bare
-- JIDs, users by their names.
--
-- A contact is probed in one user's name. If that user gets no presence, another one may: it is probed in the names of the
-- others for whom a catch-up requested it, one at a time. Servers refuse probes of users who are not subscribed with
-- `unsubscribed` or, as Prosody, not at all.
--
-- @param is_probed_by_client whether a user has come online meanwhile, with a client that probes
-- @param shows_more whether an entity is told what the second of two users gets, and not what the first one gets
local function create_probes(host, options, add_timer, is_probed_by_client, shows_more)
	local function ended()
		return nil
	end
	local secret = uuid.generate()
	-- The contacts to be probed in their order, and the users in whose names, by contact. Those without users were cancelled.
	local queue = create_fifo()
	local queued = {}
	local is_sending = false
	-- Sends the next probes; set below, as the end of one probe may begin another.
	local function send_next()
		return nil
	end
	-- The probes of the last minute, and those of them without an answer by contact.
	local sent = create_fifo()
	local is_ending = false
	local unanswered = {}
	-- The last answers by contact; those from before `answered_since` are in the second table.
	local answered = {}
	local answered_before = {}
	local answered_since = os.time()
	-- The probes that have gone unanswered for less than `repeat_after`, and some older ones.
	local fresh = create_fifo()
	-- The users who were refused or got no answer, by contact and user, see `view_of`.
	local without = create_recent(refusal_age)

	--- Sets the function that is called with each probe when its time is over: with the contact, the user, when it was sent, and
	-- whether the outcome holds for all users who see the contact.
	local function on_end(handler)
		ended = handler
	end

	--- The resource that a user's probes come from. Nobody can guess it.
	local function resource_of(username)
		return string.sub(hashes.sha1(secret .. username, true), 1, 16)
	end

	--- Whether a user's probes come from a resource.
	local function is_own_resource(username, resource)
		return resource ~= nil and resource == resource_of(username)
	end

	--- Whether a user's probe of a contact waits for an answer.
	local function is_unanswered(contact, username)
		local probe = unanswered[contact]
		return probe ~= nil and probe.username == username
	end

	--- The key of what a user sees of a contact.
	local function view_of(contact, username)
		return contact .. "\n" .. username
	end

	--- Has a contact probed in users' names, one after the other. Returns false if there are none, or no probes are sent.
	local function enqueue(contact, names)
		if #names == 0 or options.probe_rate <= 0 then
			return false
		end
		if queued[contact] == nil then
			queue.push(contact)
			queued[contact] = names
		end
		if not is_sending then
			is_sending = true
			add_timer(probe_pause, send_next)
		end
		return true
	end

	--- Notes that a contact has answered with a presence.
	local function note_answer(contact, username)
		local time = os.time()
		if time - answered_since > answer_age then
			answered_before = answered
			answered = {}
			answered_since = time
		end
		answered[contact] = { time = time, username = username }
	end

	--- Notes what came of a user's probe, if one waits for it, and has the contact probed in the next user's name where needed.
	local function answer(contact, username, outcome)
		local probe = unanswered[contact]
		if not probe or probe.username ~= username then
			return
		end
		unanswered[contact] = nil
		probe.outcome = outcome
		local others = probe.others
		probe.others = {}
		if outcome == "unreachable" then
			return
		end
		if outcome == "presence" then
			note_answer(contact, username)
			local showing = {}
			for _, other in ipairs(others) do
				if shows_more(username, other) then
					showing[#showing + 1] = other
				end
			end
			others = showing
		elseif outcome == "refusal" then
			without.set(view_of(contact, username), "refusal")
		end
		enqueue(contact, others)
	end

	--- Whether a contact has to be probed in a user's name: no answer counts, and the user was not refused.
	--
	-- @param counts whether what a user was answered counts
	local function is_needed(contact, username, counts)
		local last = answered[contact] or answered_before[contact]
		local age = last and os.time() - last.time
		if age ~= nil and age <= answer_age and (age < repeat_after or counts(last.username)) then
			return false
		end
		return without.get(view_of(contact, username)) ~= "refusal"
	end

	--- Notes that nothing has come of a probe. Returns the users in whose names the contact may be probed instead.
	local function give_way(probe)
		local others = probe.others
		probe.others = {}
		without.set(view_of(probe.contact, probe.username), "silence")
		return others
	end

	--- Has the contacts that have not answered probed in the next user's name, and ends the probes whose time is over.
	local function end_old()
		local time = os.time()
		local probe = fresh.peek()
		while probe and time - probe.sent_at >= repeat_after do
			fresh.pop()
			if unanswered[probe.contact] == probe and enqueue(probe.contact, give_way(probe)) then
				unanswered[probe.contact] = nil
			end
			probe = fresh.peek()
		end
		probe = sent.peek()
		while probe and time - probe.sent_at >= answer_time do
			sent.pop()
			local is_for_all = probe.outcome == "presence"
			if unanswered[probe.contact] == probe then
				unanswered[probe.contact] = nil
				is_for_all = not enqueue(probe.contact, probe.others)
			end
			ended(probe.contact, probe.username, probe.sent_at, is_for_all)
			probe = sent.peek()
		end
		is_ending = probe ~= nil
		return is_ending and 1 or nil
	end

	local function send(contact, username, others)
		local probe = { contact = contact, username = username, sent_at = os.time(), others = others }
		sent.push(probe)
		fresh.push(probe)
		unanswered[contact] = probe
		if not is_ending then
			is_ending = true
			add_timer(1, end_old)
		end
		local stanza = st.presence({ type = "probe", from = jid.join(username, host, resource_of(username)), to = contact })
		protect(log_of_module, "while a probe was sent to %s", contact, function()
			return prosody.core_post_stanza(prosody.hosts[host], stanza)
		end)
	end

	--- Gives up the probes that were not sent yet. The next catch-up requests them again.
	local function give_up()
		queue.clear()
		queued = {}
	end

	send_next = function()
		local rate = options.probe_rate
		if rate <= 0 then
			give_up()
		end
		local batch = math.max(1, math.floor(rate * probe_pause))
		local budget = batch
		while budget > 0 and queue.count() > 0 do
			local contact = queue.pop()
			local names = queued[contact]
			queued[contact] = nil
			local username = names and table.remove(names, 1)
			if username ~= nil and not is_probed_by_client(username) then
				budget = budget - 1
				send(contact, username, names)
			end
		end
		if queue.count() > 0 then
			return batch / rate
		end
		give_up()
		is_sending = false
		return nil
	end

	--- The users in whose names a contact will be probed; nil if it waits for nothing.
	local function names_of(contact)
		local probe = unanswered[contact]
		return queued[contact] or probe and probe.others
	end

	--- Puts a user on a list of those in whose names a contact is probed: before those who got no answer lately, as far as there is room.
	local function add_name(names, contact, username)
		remove_name(names, username)
		local others = #names
		if without.get(view_of(contact, username)) == nil then
			while others > 0 and without.get(view_of(contact, names[others])) ~= nil do
				others = others - 1
			end
		end
		table.insert(names, others + 1, username)
		if #names > max_names then
			table.remove(names)
		end
	end

	--- Requests a probe of a contact in a user's name. Probes are sent at the rate of the option. If the contact is being probed
	-- in another user's name, this user comes into question next.
	local function request(contact, username)
		local probe = unanswered[contact]
		local names = names_of(contact) or {}
		if queued[contact] == nil and (not probe or os.time() - probe.sent_at >= repeat_after) then
			local all = probe and give_way(probe) or names
			add_name(all, contact, username)
			enqueue(contact, all)
		elseif queued[contact] ~= nil or probe.username ~= username then
			add_name(names, contact, username)
		end
	end

	--- Gives up a probe that was not sent yet, for a user who does not have the contact any more.
	local function cancel(contact, username)
		local names = names_of(contact)
		if names then
			remove_name(names, username)
		end
	end

	--- Gives up a user's probes that were not sent yet.
	local function forget_user(username)
		for _, names in pairs(queued) do
			remove_name(names, username)
		end
		for _, probe in pairs(unanswered) do
			remove_name(probe.others, username)
		end
	end

	--- Forgets the answer of a contact.
	local function forget_answer(contact)
		answered[contact] = nil
		answered_before[contact] = nil
	end

	--- Forgets the answers of all contacts at a domain.
	local function forget_answers_at(domain)
		for _, answers in ipairs({ answered, answered_before }) do
			for contact in pairs(answers) do
				if is_at(contact, domain) then
					answers[contact] = nil
				end
			end
		end
	end

	local function clear()
		give_up()
		sent.clear()
		fresh.clear()
		unanswered = {}
		answered = {}
		answered_before = {}
		without = create_recent(refusal_age)
	end

	--- The state of the probes, to be restored after a reload.
	local function save()
		give_up()
		return { secret = secret, probes = sent.list(), answers = answered, answers_before = answered_before }
	end

	local function restore(saved)
		secret = saved.secret
		answered = saved.answers or answered
		answered_before = saved.answers_before or answered_before
		for _, probe in ipairs(saved.probes or {}) do
			sent.push(probe)
			fresh.push(probe)
			unanswered[probe.contact] = probe
			if probe.outcome ~= nil then
				unanswered[probe.contact] = nil
			end
		end
		if sent.count() > 0 then
			is_ending = true
			add_timer(1, end_old)
		end
	end

	return {
		on_end = on_end,
		is_own_resource = is_own_resource,
		is_unanswered = is_unanswered,
		answer = answer,
		is_needed = is_needed,
		request = request,
		cancel = cancel,
		forget_user = forget_user,
		forget_answer = forget_answer,
		forget_answers_at = forget_answers_at,
		clear = clear,
		save = save,
		restore = restore,
	}
end

-- ==== src/presence/walk.ts ====

--- The names of a host's users who have a client connected.
local function online_usernames(host)
	return keys_of(prosody.hosts[host].sessions)
end

--- Visits users of a host and their contacts, step by step.
--
-- @param usernames the names of the users; nil for all users of the host, those who are online first
local function create_walk(host, visitor, usernames)
	local online = usernames or online_usernames(host)
	local was_online = {}
	local next_online = 0
	local accounts
	local is_over = usernames ~= nil
	-- The user who was visited last, and the contacts of that user.
	local username = ""
	local contacts = {}
	local next_contact = 0

	--- Visits a user; the next steps visit the user's contacts.
	local function visit(name)
		username = name
		contacts = {}
		next_contact = 0
		local roster = read_roster(name, host)
		if roster then
			for contact, item in pairs(roster) do
				if sees_contact(item) then
					contacts[#contacts + 1] = contact
				end
			end
		end
		visitor.user(name, roster)
	end

	--- Visits the next account. Returns false after the last one.
	local function visit_account()
		local next_account = accounts or list_usernames(host)
		-- If the list fails, the walk is over and not complete.
		accounts = nil
		is_over = true
		local name = next_account and next_account()
		accounts = next_account
		if name == nil then
			return false
		end
		is_over = false
		if was_online[name] == nil and visitor.wants(name) then
			visit(name)
		end
		return true
	end

	--- Visits one user or one contact. Returns false when nobody is left.
	local function step()
		local contact = contacts[next_contact + 1]
		if contact ~= nil then
			next_contact = next_contact + 1
			visitor.contact(username, contact)
			return true
		end
		if next_online < #online then
			local name = online[next_online + 1]
			next_online = next_online + 1
			was_online[name] = true
			if visitor.wants(name) then
				visit(name)
			end
			return true
		end
		return not is_over and visit_account()
	end

	--- Whether all accounts were visited, as far as the walk is over: not if they cannot be listed.
	local function is_complete()
		return accounts ~= nil
	end

	return { step = step, visit = visit, is_complete = is_complete }
end

-- ==== src/presence/catch_up.ts ====

--- Tells entities the presences that are there already, when they connect or when their grants change (XEP-0356, 7). The
-- work is done in steps.
local function create_catch_up(service)
	local host = service.host
	local cache = service.cache
	local heard = service.heard
	local probes = service.probes
	local delivery = service.delivery
	local user_queues = setmetatable({}, { __mode = "k" })

	--- Adds the presences of a contact that a user sees.
	local function collect_contact(connection, collection, username, contact)
		if connection.entity.permissions.users ~= "all" then
			service.covered_contacts.show(connection, username, contact, collection.write)
			return
		end
		local resources = cache.of(contact)
		if resources then
			for resource, remembered in pairs(resources) do
				if is_seen_by(remembered, username) then
					local from = full_jid(contact, resource)
					collection.add(from, form_rest(from, remembered.form))
				end
			end
		end
	end

	--- Whether a contact has to be probed in a user's name because what a connection may know of it may be incomplete or old.
	local function is_uncertain(connection, username, contact)
		-- What only uncovered users see counts for nothing.
		local is_limited = connection.entity.permissions.users ~= "all"
		local is_known = is_limited and cache.sees(username, contact) or not is_limited and cache.of(contact) ~= nil
		-- A client that was online before the module was loaded may have got presences of which the module knows nothing.
		if is_known and not service.users.is_available(username) and not cache.is_older(contact, username, os.time() - answer_age) then
			return false
		end
		return probes.is_needed(contact, username, function(name)
			return delivery.covers(connection, name)
		end)
	end

	--- Ends the presences of contacts that a user does not have in the roster any more, whoever removed them.
	local function compare(username, roster)
		for _, contact in ipairs(cache.contacts_of(username)) do
			if not sees_contact(roster[contact]) then
				service.contacts.unseen(username, contact)
			end
		end
	end

	--- Makes the listing of the users whom a grant may cover; nil where it covers all users of the host. They are read when they are first asked for, and once.
	local function create_listing(users)
		local usernames
		if users == "all" then
			return nil
		end
		return function()
			usernames = usernames or service.coverage.candidates(users)
			return usernames
		end
	end

	--- Makes the function that gives the names of a listing one by one; where it is nil, those of the users who are online.
	local function create_names(listing)
		local usernames
		local position = 0
		return function()
			usernames = usernames or (listing and listing() or online_usernames(host))
			position = position + 1
			return usernames[position]
		end
	end

	--- Makes the step that tells a connection of the host's users.
	local function create_users_step(connection, collection, scope)
		local next_name = create_names(scope.listing)
		return function()
			local username = next_name()
			if username == nil then
				return false
			end
			if scope.wants(username) and delivery.may_tell_user(connection, username) then
				service.users.collect(connection, collection, username)
			end
			return true
		end
	end

	--- Makes the step that tells a connection of contacts, and has unknown ones probed. Contacts of users who are online are
	-- not probed, as the users' clients do that; these users come first.
	local function create_contacts_step(connection, collection, scope)
		local is_probed = {}
		-- The users who see contacts and were not visited yet. Those who are left after all accounts do not exist.
		local missing = {}
		local not_met
		local walk

		local function visit_user(username, roster)
			missing[username] = nil
			if roster then
				compare(username, roster)
				return
			end
			-- The roster cannot be read: what is known of it still holds.
			for _, contact in ipairs(cache.contacts_of(username)) do
				if delivery.may_tell_contact(connection, contact) then
					collect_contact(connection, collection, username, contact)
				end
			end
		end

		local function visit_contact(username, contact)
			local _, contact_host = jid.split(contact)
			-- The user may have opted out since the roster was read.
			if contact_host == host or not delivery.may_tell_contact(connection, contact) or not scope.wants(username) then
				return
			end
			collect_contact(connection, collection, username, contact)
			if service.users.probes_contacts(username) then
				is_probed[contact] = true
			elseif is_probed[contact] == nil and is_uncertain(connection, username, contact) then
				probes.request(contact, username)
			end
		end

		return function()
			if not walk then
				-- Not before: after a reload of the module, the cache is restored later than the configuration takes effect.
				missing = scope.listing and missing or cache.watchers()
				walk = create_walk(
					host,
					{ wants = scope.wants, user = visit_user, contact = visit_contact },
					scope.listing and scope.listing()
				)
			end
			if walk.step() then
				return true
			end
			if scope.listing then
				return false
			end
			not_met = not_met or keys_of(missing)
			local username = table.remove(not_met)
			if username == nil then
				return false
			end
			-- Users who are not wanted were not visited either.
			if scope.wants(username) then
				if walk.is_complete() then
					service.contacts.forget_user(username)
				else
					walk.visit(username)
				end
			end
			return true
		end
	end

	--- Makes the step that visits the contacts that some users see, as long as each user is wanted.
	local function create_seen_step(listing, wants, visit)
		local next_name = create_names(listing)
		local username = ""
		local contacts = {}
		return function()
			local contact = table.remove(contacts)
			if contact ~= nil then
				if wants(username) then
					visit(username, contact)
				end
				return true
			end
			local name = next_name()
			if name == nil then
				return false
			end
			username = name
			contacts = wants(name) and cache.contacts_of(name) or {}
			return true
		end
	end

	--- Makes the step that ends, for a connection, the contacts that it sees through some users whom its grant does not cover any more.
	local function create_hide_step(connection, collection, listing)
		return create_seen_step(listing, function(username)
			return not delivery.covers(connection, username)
		end, function(username, contact)
			service.covered_contacts.hide(connection, username, contact, collection.write)
		end)
	end

	--- Makes the step that ends, for a connection, the users whom its grant covered before and does not cover any more. The
	-- connection keeps that coverage until all have ended, as the module may be reloaded meanwhile.
	local function create_uncovered_step(connection, before, listing)
		local name = connection.entity.jid
		local next_name = create_names(listing)
		local users = { coverage = before, done = {} }
		connection.ending[users] = true
		return function()
			local username = next_name()
			if username == nil then
				connection.ending[users] = nil
				return false
			end
			users.done[username] = true
			if service.coverage.covers_as_known(name, before, username) and not delivery.covers(connection, username) then
				service.users.tell_uncovered(connection, username)
				service.other_hosts.show_elsewhere(name, username)
			end
			return true
		end
	end

	--- Makes the steps that end, for a connection, the users whom its grant covered before a reload of the module and does not cover any more.
	local function create_reload_steps(connection, told)
		local unfinished = connection.ending
		connection.ending = {}
		local steps = {}
		for users in pairs(unfinished) do
			steps[#steps + 1] = create_uncovered_step(connection, users.coverage, create_listing(users.coverage))
		end
		if told.presence ~= "none" and not same_coverage(told.users, connection.entity.permissions.users) then
			steps[#steps + 1] = create_uncovered_step(connection, told.users, create_listing(told.users))
		end
		return steps
	end

	--- Makes the step that ends, for a connection, what it was told of contacts before and that no user sees whom its grant covers now. To come when it was told all that such users see.
	local function create_others_step(connection, collection)
		local contacts
		return function()
			contacts = contacts or service.covered_contacts.others_of(connection)
			local contact = table.remove(contacts)
			if contact == nil then
				return false
			end
			if connection.entity.permissions.users ~= "all" then
				service.covered_contacts.end_others(connection, contact, collection.write)
			end
			return true
		end
	end

	--- Makes the steps that end, for a connection, the contacts that no user sees whom its grant covers now.
	local function create_narrow_steps(connection, collection, listing_before, listing)
		local covered_contacts = service.covered_contacts
		if not listing then
			return {}
		end
		if listing_before then
			return { create_hide_step(connection, collection, listing_before) }
		end
		covered_contacts.narrow(connection)
		local keep_step = create_seen_step(listing, function(username)
			return delivery.covers(connection, username)
		end, function(username, contact)
			if delivery.may_tell_contact(connection, contact) then
				covered_contacts.keep(connection, username, contact, collection.write)
			end
		end)
		return { keep_step, create_others_step(connection, collection) }
	end

	--- Runs steps one after the other, until the connection ends or its catch-ups are ended. Returns the token of this catch-up.
	local function run(connection, collection, steps)
		local token = heard.begin(connection)
		local current = 0
		in_slices(service.add_timer, function()
			if not is_connected(connection) then
				heard.forget(connection)
			end
			if not heard.is_kept(connection, token) then
				return false
			end
			local step = steps[current + 1]
			if not step then
				heard.release(connection, token)
				return false
			end
			if not step() then
				current = current + 1
			end
			return true
		end, collection.flush, connection.address .. " was told presences")
		return token
	end

	--- Tells a connection the presences that it may see now and might not see before, and ends those that it may not see any more.
	--
	-- @param told the permissions that it was told before
	-- @param is_restored whether it was told them before a reload of the module; then it is told all presences again
	local function start(connection, told, is_restored)
		local permissions = connection.entity.permissions
		local before = is_restored and no_permissions() or told
		if permissions.presence ~= "roster" or permissions.users == "all" or before.presence ~= "roster" then
			service.covered_contacts.forget(connection)
		end
		if permissions.presence == "none" then
			heard.forget(connection)
			connection.ending = {}
			if told.presence ~= "none" then
				service.other_hosts.show_elsewhere(connection.entity.jid, nil)
			end
			return
		end
		if permissions.presence ~= "roster" then
			-- If it is granted to see contacts again, that catch-up tells of all of them.
			heard.forget_others(connection, host)
		end
		local collection = delivery.create_collection(connection)
		local listing = create_listing(permissions.users)
		local everything = {
			listing = listing,
			wants = function(username)
				return delivery.covers(connection, username)
			end,
		}
		local steps = is_restored and create_reload_steps(connection, told) or {}
		if before.presence == "none" then
			steps[#steps + 1] = create_users_step(connection, collection, everything)
		elseif not same_coverage(before.users, permissions.users) then
			local listing_before = create_listing(before.users)
			steps[#steps + 1] = create_uncovered_step(connection, before.users, listing_before)
			local gained = {
				listing = listing,
				wants = function(username)
					return delivery.covers(connection, username)
						and not service.coverage.covers_as_known(connection.entity.jid, before.users, username)
				end,
			}
			steps[#steps + 1] = create_users_step(connection, collection, gained)
			if permissions.presence == "roster" and before.presence == "roster" then
				for _, step in ipairs(create_narrow_steps(connection, collection, listing_before, listing)) do
					steps[#steps + 1] = step
				end
				steps[#steps + 1] = create_contacts_step(connection, collection, gained)
			end
		end
		if permissions.presence == "roster" and before.presence ~= "roster" then
			steps[#steps + 1] = create_contacts_step(connection, collection, everything)
			steps[#steps + 1] = create_others_step(connection, collection)
		end
		if #steps > 0 then
			run(connection, collection, steps)
			if before.presence == "roster" then
				heard.note_earlier(connection)
			end
		end
	end

	--- Makes the steps that tell a connection what it may see of a user and the user's contacts; or that end it, if its grant does not cover the user.
	local function create_user_steps(connection, collection, username)
		local function listing()
			return { username }
		end
		local scope = {
			listing = listing,
			wants = function(name)
				return delivery.covers(connection, name)
			end,
		}
		local is_covered = scope.wants(username)
		local steps = is_covered and { create_users_step(connection, collection, scope) } or {}
		if connection.entity.permissions.presence == "roster" then
			steps[#steps + 1] = is_covered and create_contacts_step(connection, collection, scope)
				or create_hide_step(connection, collection, listing)
		end
		return steps
	end

	--- Begins to catch a connection up with users, one after the other, as long as some are in the queue that it returns.
	local function begin_user_queue(connection)
		local names = create_fifo()
		local waiting = {}
		local collection = delivery.create_collection(connection)
		local steps = {}
		local token = run(connection, collection, {
			function()
				local step = steps[1]
				if step then
					if not step() then
						table.remove(steps, 1)
					end
					return true
				end
				local username = names.pop()
				if username == nil then
					user_queues[connection] = nil
					return false
				end
				waiting[username] = nil
				steps = create_user_steps(connection, collection, username)
				return true
			end,
		})
		local queue = { token = token, names = names, waiting = waiting }
		user_queues[connection] = queue
		return queue
	end

	--- Catches a connection up with a user who opted in or out. However many do at the same time, and however often one of
	-- them does, one catch-up at a time has its share of the server's time.
	local function catch_up_user(connection, username)
		local queue = user_queues[connection]
		if not queue or not heard.is_kept(connection, queue.token) then
			queue = begin_user_queue(connection)
		end
		if queue.waiting[username] == nil then
			queue.waiting[username] = true
			queue.names.push(username)
		end
	end

	--- Tells an entity what it may see of a user whom its grant covers from now on, and of the user's contacts.
	local function user_covered(entity, username)
		each_connection(entity, function(connection)
			if entity.permissions.presence ~= "none" then
				catch_up_user(connection, username)
			end
		end)
	end

	--- Ends, for an entity, a user whom its grant does not cover any more, and the contacts that it saw through that user.
	local function user_uncovered(entity, username)
		each_connection(entity, function(connection)
			if entity.permissions.presence ~= "none" then
				-- At once: a user who went offline during the catch-up would stay online for the entity.
				service.users.tell_uncovered(connection, username)
				catch_up_user(connection, username)
			end
		end)
		service.other_hosts.show_elsewhere(entity.jid, username)
	end

	--- Tells a connection a contact as the users see it whom its grant covers, whatever it was told before.
	local function show_again(connection, contact)
		if not delivery.may_tell_contact(connection, contact) then
			return
		end
		if connection.entity.permissions.users ~= "all" then
			service.covered_contacts.show_again(connection, contact)
			return
		end
		for resource, remembered in pairs(cache.of(contact) or {}) do
			local from = full_jid(contact, resource)
			delivery.tell(connection, from, form_rest(from, remembered.form))
		end
	end

	--- Makes the step that tells a connection again of contacts.
	local function create_again_step(connection, contacts)
		return function()
			local contact = table.remove(contacts)
			if contact == nil then
				return false
			end
			show_again(connection, contact)
			return true
		end
	end

	--- Tells an entity again of a user of another host, nil for all of them, as far as users of this host have them as contacts. To be
	-- called when that host does not tell the entity of them any more, and may have told it that they are unavailable.
	local function show_users_of(entity, user_host, username)
		local found = service.entities.get(entity)
		if not found or found.permissions.presence ~= "roster" then
			return
		end
		each_connection(found, function(connection)
			if username ~= nil then
				show_again(connection, username .. "@" .. user_host)
			else
				local collection = delivery.create_collection(connection)
				run(connection, collection, { create_again_step(connection, cache.contacts_at(user_host)) })
				heard.note_earlier(connection)
			end
		end)
	end

	return { start = start, user_covered = user_covered, user_uncovered = user_uncovered, show_users_of = show_users_of }
end

-- ==== src/presence/endings.ts ====

--- Ends contacts in slices, as a user or a gateway may have thousands.
--
-- @param finish ends one: forgets it and tells entities
local function create_endings(add_timer, finish)
	-- How many contacts end at once; the rest do in slices.
	local at_once = 100
	-- Those that have not ended yet, in their order. Some may have ended out of turn.
	local queue = create_fifo()
	-- The contacts that have not ended yet, as keys, by viewer.
	local waiting = {}

	--- Whether a contact has not ended yet for a viewer.
	local function is_waiting(contact, viewer)
		local contacts = waiting[viewer]
		return contacts ~= nil and contacts[contact] ~= nil
	end

	--- Ends a contact for a viewer if it has not ended yet.
	local function finish_waiting(contact, viewer)
		if is_waiting(contact, viewer) then
			waiting[viewer][contact] = nil
			finish({ contact = contact, viewer = viewer })
		end
	end

	--- Ends a contact for all users and for one, if it has not ended yet. To be called before a presence says that it is available again.
	local function settle(contact, username)
		finish_waiting(contact, "")
		finish_waiting(contact, username)
	end

	--- Ends the next one. Returns false when none is left.
	local function step()
		local ending = queue.pop()
		if not ending then
			waiting = {}
			return false
		end
		finish_waiting(ending.contact, ending.viewer)
		return true
	end

	--- Ends all at once. To be called before a reload, after which nobody knows what entities were told.
	local function finish_all()
		local more = queue.count() > 0
		while more do
			more = step()
		end
	end

	--- Ends contacts for a viewer: the first ones at once, the rest in slices.
	local function add(contacts, viewer)
		local is_idle = queue.count() == 0
		for i, contact in ipairs(contacts) do
			local ending = { contact = contact, viewer = viewer }
			if i <= at_once then
				finish(ending)
			else
				local waiting_for = waiting[viewer] or {}
				waiting_for[contact] = true
				waiting[viewer] = waiting_for
				queue.push(ending)
			end
		end
		if is_idle and queue.count() > 0 then
			in_slices(add_timer, step, function()
				return nil
			end, "contacts were ended")
		end
	end

	return { is_waiting = is_waiting, settle = settle, add = add, finish_all = finish_all }
end

-- ==== src/presence/contacts.ts ====

--- Errors that say what cannot be reached: the contact's server, which is so for all users; or the contact, which may be so
-- for the user who gets the error only, unless the contact is a domain.
local unreachable = {
	gone = "contact",
	["item-not-found"] = "contact",
	["remote-server-not-found"] = "server",
	["remote-server-timeout"] = "server",
	["service-unavailable"] = "contact",
}

--- Hears the presences of users' contacts and tells entities (XEP-0356, 7.4).
local function create_contact_presence(service)
	local host = service.host
	local cache = service.cache
	local probes = service.probes
	local delivery = service.delivery
	local covered = service.covered_contacts

	--- Whether any entity is granted to see contacts.
	local function is_wanted()
		for _, entity in pairs(service.entities.all()) do
			if entity.permissions.presence == "roster" then
				return true
			end
		end
		return false
	end

	--- The contact and the user of a presence; nil if it comes from a user of this host, or if no entity is granted to see contacts.
	local function received(stanza)
		local from = stanza.attr.from
		local to = stanza.attr.to
		if from == nil or to == nil or not is_wanted() then
			return nil
		end
		local node, contact_host, resource = jid.split(from)
		if contact_host == nil or contact_host == host then
			return nil
		end
		local username, _, user_resource = jid.split(to)
		return {
			stanza = stanza,
			contact = jid.join(node, contact_host),
			resource = resource or "",
			username = username,
			is_answer = prosody.full_sessions[to] == nil and probes.is_own_resource(username, user_resource),
		}
	end

	--- Whether a user is subscribed to the presence of a contact.
	local function has_contact(username, contact)
		-- COMPAT: with Prosody 0.9 the cache does not hear of roster changes.
		if since_0_10 and cache.sees(username, contact) then
			return true
		end
		local roster = peek_roster(username, host)
		return roster ~= nil and sees_contact(roster[contact])
	end

	--- Tells that the resources of a contact that are not remembered are unavailable. As they are not known, the presence of the bare JID has to stand for them, which ends all.
	local function tell_rest_gone(contact)
		delivery.tell_contact(contact, contact, st.presence({ type = "unavailable", from = contact }))
	end

	--- Tells that a contact with more resources than are remembered is unavailable, after the last remembered one has ended.
	local function tell_rest(contact, is_crowded)
		if is_crowded and not cache.of(contact) then
			tell_rest_gone(contact)
		end
	end

	--- Tells that resources of a contact are not available any more.
	--
	-- @param is_crowded whether the contact had more resources than are remembered
	local function tell_end(contact, resources, is_crowded)
		for _, resource in ipairs(resources) do
			delivery.tell_contact(contact, full_jid(contact, resource), nil)
		end
		tell_rest(contact, is_crowded)
	end

	--- Forgets the resources of a contact; where these are given, only those that a user sees and that came before a time. Returns them.
	local function gone(contact, username, before)
		local ended = cache.gone(contact, nil, username, before)
		covered.receive_end(contact, ended)
		return ended
	end

	--- Ends a contact for a user who does not see it any more, and for entities if nobody else does.
	local function unseen(username, contact)
		local is_crowded = cache.is_crowded(contact)
		local did_see = cache.sees(username, contact)
		local ended = cache.unseen(contact, nil, username)
		covered.receive_unseen(contact, ended, username)
		tell_end(contact, ended, is_crowded)
		local left = cache.of(contact)
		if is_crowded and did_see and left then
			-- Nobody else may see those that are not remembered.
			tell_rest_gone(contact)
			for resource, remembered in pairs(left) do
				delivery.tell_contact_again(contact, full_jid(contact, resource), remembered.form)
			end
		end
	end

	--- Ends a contact for all users, or for one.
	local function end_contact(ending)
		if ending.viewer ~= "" then
			unseen(ending.viewer, ending.contact)
		else
			local is_crowded = cache.is_crowded(ending.contact)
			tell_end(ending.contact, gone(ending.contact, nil, nil), is_crowded)
		end
	end

	local endings = create_endings(service.add_timer, end_contact)

	--- Handles an available presence that a user gets.
	local function receive_available(event)
		local presence = event.stanza.attr.type == nil and received(event.stanza) or nil
		if not presence then
			return nil
		end
		local contact = presence.contact
		local username = presence.username
		endings.settle(contact, username)
		if has_contact(username, contact) then
			probes.answer(contact, username, "presence")
			local is_new = cache.available(contact, presence.resource, username, event.stanza)
			covered.receive_available(contact, presence.resource, username, event.stanza)
			if is_new then
				delivery.tell_contact(contact, event.stanza.attr.from, event.stanza)
			end
		end
		return presence.is_answer and true or nil
	end

	--- Notes an answer to a probe that another module drops before `receive_available` gets it, as mod_blocklist does where the user
	-- has blocked the contact: this user does not see it, others may.
	local function receive_dropped(event)
		local attr = event.stanza.attr
		local presence = attr.type == nil and attr.to ~= nil and prosody.full_sessions[attr.to] == nil and received(event.stanza) or nil
		if presence and presence.is_answer and probes.is_unanswered(presence.contact, presence.username) then
			service.add_timer(0, function()
				-- The probe waits no more where `receive_available` got the answer.
				if probes.is_unanswered(presence.contact, presence.username) then
					probes.answer(presence.contact, presence.username, "refusal")
					unseen(presence.username, presence.contact)
				end
				return nil
			end)
		end
		return nil
	end

	--- What an error says that came as the answer to a probe.
	local function outcome_of_error(stanza, contact)
		local _, condition = stanza:get_error()
		local node = jid.split(contact)
		return condition ~= nil and unreachable[condition] ~= "server" and node ~= nil and "error" or "unreachable"
	end

	--- Forgets the resources that an error ends. Returns those that nobody sees any more.
	local function forget_failed(presence)
		local contact = presence.contact
		local resource = presence.resource ~= "" and presence.resource or nil
		local _, condition = presence.stanza:get_error()
		local what = condition ~= nil and unreachable[condition] or nil
		if what ~= nil then
			probes.forget_answer(contact)
			local node = jid.split(contact)
			if what == "server" or node == nil then
				return cache.gone(contact, resource, nil, nil)
			end
		end
		return cache.unseen(contact, resource, presence.username)
	end

	--- Forgets the resources that an unavailable presence ends. Returns those that nobody sees any more.
	local function forget_unavailable(presence)
		local resource = presence.resource ~= "" and presence.resource or nil
		if presence.is_answer then
			-- If only this user lost sight of it, the server would have been told. So it ended unheard for all viewers.
			return cache.gone(presence.contact, resource, presence.username, nil)
		end
		return cache.unseen(presence.contact, resource, presence.username)
	end

	--- Whether an error returns a presence that a user's client broadcast: one client of the contact did not acknowledge it (XEP-0198) and is gone, which says nothing of others.
	local function is_unacknowledged(presence)
		local _, condition = presence.stanza:get_error()
		return condition == "recipient-unavailable" and presence.resource == "" and not presence.is_answer
	end

	--- Handles an unavailable presence or an error, and tells which resources end by it.
	local function receive_ending(presence)
		local contact = presence.contact
		local resource = presence.resource
		local is_error = presence.stanza.attr.type == "error"
		local resources = cache.of(contact)
		local is_crowded = cache.is_crowded(contact)
		-- The resource may be one of those that are not remembered, and entities may have been told of it.
		local may_be_told = is_crowded and resource ~= "" and resources[resource] == nil and has_contact(presence.username, contact)
		local ended = is_error and forget_failed(presence) or forget_unavailable(presence)
		covered.receive_end(contact, ended, presence.username)
		if may_be_told then
			covered.receive_rest_end(contact, resource, presence.username)
		end
		local is_whole = resource == "" and #ended > 0 and not cache.of(contact)
		if not is_error and (is_whole or may_be_told or #ended == 1 and ended[1] == resource) then
			delivery.tell_contact(contact, presence.stanza.attr.from, presence.stanza)
			if not is_whole and #ended > 0 then
				tell_rest(contact, is_crowded)
			end
		elseif may_be_told then
			tell_end(contact, { resource }, false)
		else
			tell_end(contact, ended, is_crowded)
		end
	end

	--- Handles presences that end others: unavailable ones, errors and `unsubscribed`. Comes before mod_blocklist, as a contact
	-- that the user has blocked can become unavailable, too.
	--
	-- What is sent to the full JID of a probe stops here, so that no client and no roster gets it. What is sent to the user's
	-- bare JID goes on. So does `unsubscribed`, with which servers refuse probes: it says that the contact has ended the
	-- subscription, and the user's next client would get the same answer to its own probe.
	local function receive_end(event)
		local presence_type = event.stanza.attr.type
		if presence_type ~= "unavailable" and presence_type ~= "error" and presence_type ~= "unsubscribed" then
			return nil
		end
		local presence = received(event.stanza)
		if not presence then
			return nil
		end
		local contact = presence.contact
		local username = presence.username
		if presence_type == "error" then
			if is_unacknowledged(presence) then
				return nil
			end
			probes.answer(contact, username, outcome_of_error(event.stanza, contact))
		else
			probes.answer(contact, username, presence_type == "unavailable" and "presence" or "refusal")
		end
		if presence_type ~= "unsubscribed" then
			receive_ending(presence)
		elseif presence.is_answer then
			unseen(username, contact)
		end
		return presence.is_answer and true or nil
	end

	--- Handles a change of a user's roster.
	local function roster_changed(username, contact, item)
		if not sees_contact(item) then
			probes.cancel(contact, username)
			-- When an account is deleted this comes for each of its contacts, which end in slices then.
			if not endings.is_waiting(contact, username) then
				unseen(username, contact)
			end
		end
	end

	--- Ends all contacts of a user, in slices.
	local function forget_user(username)
		endings.add(cache.contacts_of(username), username)
	end

	--- Handles the end of an account, of this host or another one, before its roster is deleted.
	local function user_deleted(event)
		if event.host == host then
			probes.forget_user(event.username)
			forget_user(event.username)
		else
			end_contact({ contact = event.username .. "@" .. event.host, viewer = "" })
		end
		return nil
	end

	--- Handles the end of a domain on this server: a component that disconnected, or a host that was deactivated.
	local function domain_gone(domain)
		if domain ~= host then
			probes.forget_answers_at(domain)
			endings.add(cache.contacts_at(domain), "")
		end
	end

	--- Forgets, for a user, the resources of a contact that came before a time. Returns those that nobody sees any more.
	local function unseen_before(contact, username, time)
		local resources = cache.of(contact)
		local ended = {}
		for _, resource in ipairs(keys_of(resources)) do
			if resources[resource].heard_at < time and #cache.unseen(contact, resource, username) > 0 then
				ended[#ended + 1] = resource
			end
		end
		covered.receive_end(contact, ended, username)
		return ended
	end

	--- Handles the end of a probe: resources whose presences did not come again after it are not available any more, for all users
	-- or for the one in whose name it was sent.
	local function probe_ended(contact, username, sent_at, is_for_all)
		local is_crowded = cache.is_crowded(contact)
		local ended = is_for_all and gone(contact, username, sent_at) or unseen_before(contact, username, sent_at)
		tell_end(contact, ended, is_crowded)
	end

	return {
		is_wanted = is_wanted,
		receive_available = receive_available,
		receive_dropped = receive_dropped,
		receive_end = receive_end,
		roster_changed = roster_changed,
		unseen = unseen,
		forget_user = forget_user,
		user_deleted = user_deleted,
		domain_gone = domain_gone,
		probe_ended = probe_ended,
		finish_endings = endings.finish_all,
	}
end

-- ==== src/presence/heard.ts ====

--- Keeps the JIDs whose presences connections are told while they are being caught up. A catch-up skips these: what the
-- connection was told is the same presence or a newer one.
local function create_heard()
	local by_connection = {}

	--- What a connection was told since its catch-ups began; nil if none is running.
	local function of(connection)
		return by_connection[connection]
	end

	--- Begins to keep them for a catch-up. Returns a token for `is_kept` and `release`.
	local function begin(connection)
		local heard = of(connection) or { jids = {}, has_earlier = false, runs = 0 }
		heard.runs = heard.runs + 1
		by_connection[connection] = heard
		return heard
	end

	--- Whether the catch-up that got a token may go on.
	local function is_kept(connection, heard)
		return of(connection) == heard
	end

	--- Ends a catch-up.
	local function release(connection, heard)
		heard.runs = heard.runs - 1
		if heard.runs == 0 and is_kept(connection, heard) then
			by_connection[connection] = nil
		end
	end

	--- Forgets all that a connection was told, which ends its catch-ups.
	local function forget(connection)
		by_connection[connection] = nil
	end

	--- Forgets the JIDs of a connection that are not of a host.
	local function forget_others(connection, host)
		local heard = of(connection)
		if heard then
			for _, from in ipairs(keys_of(heard.jids)) do
				local _, from_host = jid.split(from)
				if from_host ~= host then
					heard.jids[from] = nil
				end
			end
		end
	end

	--- Notes that a connection was told of a JID, if it is being caught up.
	local function note(connection, from)
		local heard = of(connection)
		if heard then
			heard.jids[from] = true
		end
	end

	--- Forgets that a connection was told of a JID.
	local function drop(connection, from)
		local heard = of(connection)
		if heard then
			heard.jids[from] = nil
		end
	end

	--- Whether a connection is being caught up and was told of a JID meanwhile.
	local function has(connection, from)
		local heard = of(connection)
		return heard ~= nil and heard.jids[from] ~= nil
	end

	--- Notes that a connection was told of contacts before its catch-ups began, if any is running.
	local function note_earlier(connection)
		local heard = of(connection)
		if heard then
			heard.has_earlier = true
		end
	end

	--- Whether a connection is being caught up for the first time and was not told of a contact's JID yet.
	local function is_unaware(connection, from)
		local heard = of(connection)
		return heard ~= nil and not heard.has_earlier and heard.jids[from] == nil
	end

	return {
		begin = begin,
		is_kept = is_kept,
		release = release,
		forget = forget,
		forget_others = forget_others,
		note = note,
		drop = drop,
		has = has,
		note_earlier = note_earlier,
		is_unaware = is_unaware,
	}
end

-- ==== src/presence/local_domains.ts ====

--- Watches for the ends of domains on this server: contacts there are not available any more.
--
-- Probes would not show that. The server answers for a component that is not connected, and no event tells of such answers.
--
-- @param api the module that listens
-- @param gone is called with the domain of each component that disconnects and of each host that is deactivated
local function watch_local_domains(api, gone)
	-- The events objects with our handlers, by host. A host gets a new one each time it is activated.
	local watched = {}
	local handlers = {}

	local function watch(domain)
		local host = prosody.hosts[domain]
		if host and host.type == "component" and watched[domain] ~= host.events then
			local function handler(event)
				-- The event also comes for streams that never authenticated, and for those that do not count any more.
				if authenticated_jid(event.session) ~= nil then
					gone(domain)
				end
				return nil
			end
			watched[domain] = host.events
			handlers[domain] = handler
			api:hook_object_event(host.events, "component-disconnected", handler)
		end
		return nil
	end

	local function unwatch(domain)
		local events = watched[domain]
		if events then
			api:unhook_object_event(events, "component-disconnected", handlers[domain])
			watched[domain] = nil
			handlers[domain] = nil
		end
		gone(domain)
		return nil
	end

	for domain in pairs(prosody.hosts) do
		watch(domain)
	end
	api:hook_global("host-activated", watch)
	api:hook_global("host-deactivated", unwatch)
end

-- ==== src/presence/users.ts ====

--- Hears the presences of the host's users and tells entities (XEP-0356, 7.1).
local function create_user_presence(host, entities, add_timer, delivery)
	-- Clients that were online before the module listened, and whose probes were answered unheard. The keys are weak.
	local earlier

	--- Handles the presence that a client broadcasts.
	local function broadcast(event)
		local attr = event.stanza.attr
		local origin = event.origin
		-- A session that a module made up has no presence. When a client is gone, the server broadcasts the end in its name.
		local is_end = attr.type == "unavailable" and origin.full_jid ~= nil
		if attr.to == nil and (is_end or attr.type == nil and is_client_stream(origin)) then
			delivery.tell_broadcast(origin, event.stanza)
		end
		return nil
	end

	--- The available clients of a user.
	local function available_sessions(username)
		local sessions = {}
		local user = prosody.hosts[host].sessions[username]
		if user then
			for _, session in pairs(user.sessions) do
				if session.presence then
					sessions[#sessions + 1] = session
				end
			end
		end
		return sessions
	end

	local function is_available(username)
		return #available_sessions(username) > 0
	end

	--- Notes the clients that are available now as such clients, the first time that it is called.
	local function begin()
		if not earlier then
			local sessions = setmetatable({}, { __mode = "k" })
			for username in pairs(prosody.hosts[host].sessions) do
				for _, session in ipairs(available_sessions(username)) do
					sessions[session] = true
				end
			end
			earlier = sessions
		end
	end

	--- Whether a user has an available client that probed the user's contacts after `begin`.
	local function probes_contacts(username)
		for _, session in ipairs(available_sessions(username)) do
			if not earlier or earlier[session] == nil then
				return true
			end
		end
		return false
	end

	--- The state to be restored after a reload: the clients that `begin` noted.
	local function save()
		return earlier
	end

	--- Restores that state; nil forgets it, so that `begin` notes clients anew.
	local function restore(saved)
		earlier = saved
	end

	--- Has the server tell an entity the presences of a user's clients, as it does where the entity is subscribed to the user (RFC 6121, 4.3.2).
	local function probe(entity, username)
		local stanza = st.presence({ type = "probe", from = entity, to = username .. "@" .. host })
		protect(log_of_module, "while a probe was sent to %s", username, function()
			return prosody.core_post_stanza(prosody.hosts[host], stanza)
		end)
	end

	--- Tells a connection the presences of a user's clients: adds them to its collection, or has the server tell them.
	local function collect(connection, collection, username)
		local is_subscribed = false
		for _, session in ipairs(available_sessions(username)) do
			if is_seen_by_contact(session.roster and session.roster[connection.entity.jid]) then
				is_subscribed = true
			else
				collection.add(session.full_jid, delivery.rest_of(session.presence))
			end
		end
		if is_subscribed then
			-- The server tells changes, too. If the user blocks the entity, it tells nothing: the entity must not take the user for available.
			probe(connection.entity.jid, username)
		end
	end

	--- Tells a connection that a user is unavailable because its grant does not cover the user any more.
	local function tell_uncovered(connection, username)
		if delivery.may_tell_of(connection, username) then
			for _, session in ipairs(available_sessions(username)) do
				-- An entity that is subscribed to the user goes on to get the presence from the server.
				if not is_seen_by_contact(session.roster and session.roster[connection.entity.jid]) then
					delivery.tell_uncovered(connection, session.full_jid)
				end
			end
		end
	end

	--- Tells an entity again that a user is available, after the server told it that the user is not.
	local function tell_again(name, username)
		local entity = entities.get(name)
		if entity then
			each_connection(entity, function(connection)
				if delivery.may_tell_user(connection, username) then
					for _, session in ipairs(available_sessions(username)) do
						delivery.tell(connection, session.full_jid, delivery.rest_of(session.presence))
					end
				end
			end)
		end
	end

	--- Handles a change of a user's roster: the server sends `unavailable` to contacts that lose their subscription, which may be entities.
	local function roster_changed(username, contact, item, before)
		if entities.get(contact) and is_seen_by_contact(before) and not is_seen_by_contact(item) then
			-- The server may send it after it has saved the roster.
			add_timer(0, function()
				tell_again(contact, username)
				return nil
			end)
		end
	end

	return {
		broadcast = broadcast,
		is_available = is_available,
		begin = begin,
		probes_contacts = probes_contacts,
		save = save,
		restore = restore,
		collect = collect,
		tell_uncovered = tell_uncovered,
		roster_changed = roster_changed,
	}
end

-- ==== src/presence/presence.ts ====

--- Puts together the parts that tell entities of presences (XEP-0356, section 7).
local function create_presence(service)
	local host = service.host
	local entities = service.entities
	local coverage = service.coverage
	local add_timer = service.add_timer
	local heard = create_heard()
	local delivery = create_delivery(host, entities, coverage, heard, service.statistics, service.other_hosts)
	local users = create_user_presence(host, entities, add_timer, delivery)
	local cache = create_contact_cache()
	local probes = create_probes(host, service.options, add_timer, users.probes_contacts, delivery.shows_more)
	local covered_contacts = create_covered_contacts(entities, cache, delivery)
	local contacts = create_contact_presence({
		host = host,
		entities = entities,
		cache = cache,
		probes = probes,
		add_timer = add_timer,
		delivery = delivery,
		covered_contacts = covered_contacts,
	})
	local catch_up = create_catch_up({
		host = host,
		entities = entities,
		heard = heard,
		delivery = delivery,
		coverage = coverage,
		users = users,
		covered_contacts = covered_contacts,
		contacts = contacts,
		cache = cache,
		probes = probes,
		add_timer = add_timer,
		other_hosts = service.other_hosts,
	})

	probes.on_end(contacts.probe_ended)
	watch_local_domains(service.api, contacts.domain_gone)

	--- Whether roster changes matter, for `create_change_watch`, of which this is a listener.
	local function is_watching()
		return contacts.is_wanted() or #entities.receivers("presence") > 0
	end

	local function roster_changed(username, contact, item, _version, before)
		contacts.roster_changed(username, contact, item)
		users.roster_changed(username, contact, item, before)
	end

	--- Begins to remember presences when an entity is granted to see contacts; forgets all when none is any more.
	local function configured()
		if contacts.is_wanted() then
			users.begin()
		else
			users.restore(nil)
			cache.clear()
			probes.clear()
		end
	end

	local function save()
		contacts.finish_endings()
		return { contacts = cache.save(), probes = probes.save(), earlier = users.save(), pictures = covered_contacts.save() }
	end

	local function restore(saved)
		if saved.earlier and contacts.is_wanted() then
			cache.restore(saved.contacts)
			probes.restore(saved.probes)
			users.restore(saved.earlier)
			if saved.pictures then
				for _, connection in ipairs(covered_contacts.restore(saved.pictures)) do
					heard.note_earlier(connection)
				end
			end
		end
	end

	return {
		broadcast = users.broadcast,
		receive_available = contacts.receive_available,
		receive_dropped = contacts.receive_dropped,
		receive_end = contacts.receive_end,
		user_deleted = contacts.user_deleted,
		is_watching = is_watching,
		roster_changed = roster_changed,
		catch_up = catch_up.start,
		user_covered = catch_up.user_covered,
		user_uncovered = catch_up.user_uncovered,
		show_users_of = catch_up.show_users_of,
		configured = configured,
		save = save,
		restore = restore,
	}
end

-- ==== src/admin/print_table.ts ====

--- Prints a table. Before Prosody 0.12, its cells are only separated by tabs.
--
-- @param max_width the width of its lines, which has to have room for the titles; longer cells are wrapped
local function print_table(print_line, titles, rows, max_width)
	local separator = " | "

	--- Whether a byte is the second or a later one of a character in UTF-8.
	local function continues_character(text, position)
		local byte = string.byte(text, position)
		return byte >= 128 and byte < 192
	end

	--- Breaks a text into lines of at most `width` bytes, at spaces where there are any.
	local function wrap(text, width)
		local lines = {}
		local rest = text
		while #rest > width do
			local words = string.match(string.sub(rest, 1, width + 1), "^(.+) ")
			local line = words
			if line == nil then
				local last = width
				while last > 1 and continues_character(rest, last + 1) do
					last = last - 1
				end
				line = string.sub(rest, 1, last)
			end
			lines[#lines + 1] = line
			rest = string.gsub(string.sub(rest, #line + 1), "^ +", "")
		end
		lines[#lines + 1] = rest
		return lines
	end

	--- The width of each column is that of its widest cell. While the table is too wide, its widest column gets narrower.
	local function column_widths()
		local widths = {}
		local total = -#separator
		for i, title in ipairs(titles) do
			local width = #title + 1
			for _, row in ipairs(rows) do
				width = math.max(width, #row[i])
			end
			widths[#widths + 1] = width
			total = total + width + #separator
		end
		while total > max_width do
			local widest = 1
			for i, width in ipairs(widths) do
				if width > widths[widest] then
					widest = i
				end
			end
			widths[widest] = widths[widest] - 1
			total = total - 1
		end
		return widths
	end

	--- Prints a row, in as many lines as its longest cell needs.
	local function print_row(row, widths, format_row)
		local cells = {}
		local height = 1
		for i, width in ipairs(widths) do
			local lines = wrap(row[i], width)
			cells[#cells + 1] = lines
			height = math.max(height, #lines)
		end
		for line = 1, height do
			local texts = {}
			for _, lines in ipairs(cells) do
				texts[#texts + 1] = lines[line] or ""
			end
			print_line(format_row(texts))
		end
	end

	-- Since Prosody 0.12
	local human_io = optional_module("util.human.io")
	if not human_io then
		print_line(table.concat(titles, "\t"))
		for _, row in ipairs(rows) do
			print_line(table.concat(row, "\t"))
		end
		return
	end
	local widths = column_widths()
	local columns = {}
	for i, width in ipairs(widths) do
		columns[#columns + 1] = { title = titles[i], width = width }
	end
	local format_row = human_io.table(columns, max_width)
	print_line(format_row())
	for _, row in ipairs(rows) do
		print_row(row, widths, format_row)
	end
end

-- ==== src/admin/words.ts ====

--- `1 user`, `2 users`.
local function count_of(number, one, more)
	return tostring(number) .. " " .. (number == 1 and one or more)
end

--- The users whom a grant covers, for a table: `all`, `opted-in`, `opted-in: 7`, `listed: 2`.
--
-- @param number how many users opted in; nil where that is not known
local function describe_users(users, number)
	if users == "all" or users == "opted-in" then
		return number ~= nil and users .. ": " .. tostring(number) or users
	end
	return "listed: " .. tostring(#keys_of(users))
end

-- ==== src/admin/check.ts ====

--- Checks configurations, for `prosodyctl mod_privilege check` and for the log.
local function create_check()
	-- With iqs of these namespaces, an admin controls the server: commands (XEP-0050), accounts (XEP-0077) and chat rooms (XEP-0045).
	local powerful_namespaces = {
		"http://jabber.org/protocol/commands",
		"jabber:iq:register",
		"http://jabber.org/protocol/muc#admin",
		"http://jabber.org/protocol/muc#owner",
	}

	--- The options, with their types; for a number, its least value.
	local option_kinds = {
		privileged_entities = "table",
		privilege_iq_timeout = 1,
		privilege_probe_rate = 0,
		privilege_legacy_namespace = "boolean",
		privilege_log_acts = "boolean",
	}

	--- Looks up a key in a table itself. Prosody's tables of options have the global section behind them.
	local function own(from, key)
		return rawget(from, key)
	end

	local function section_name(host, section)
		if host == "*" then
			return "global section"
		end
		return string.format('%s "%s"', section.component_module ~= nil and "Component" or "VirtualHost", host)
	end

	--- Whether an option, which is a list or a single word, contains a word.
	local function contains(option, word)
		if type(option) == "table" then
			for _, listed in pairs(option) do
				if listed == word then
					return true
				end
			end
		end
		return option == word
	end

	--- Whether the module is enabled on the host of a section.
	local function is_enabled(sections, section)
		local everywhere = sections["*"]
		local enabled = contains(own(section, "modules_enabled"), "privilege") or contains(everywhere.modules_enabled, "privilege")
		return enabled and not contains(section.modules_disabled, "privilege")
	end

	--- Says which name in the `modules_enabled` of sections was probably meant to be "privilege"; an empty text where none was.
	local function instead(sections, names)
		for _, name in ipairs(names) do
			local enabled = own(own(sections, name), "modules_enabled")
			local modules = type(enabled) == "table" and enabled or nil
			for _, listed in pairs(modules or {}) do
				local plain = string.gsub(tostring(listed), "^mod_", "")
				if listed ~= "privilege" and suggest(plain, { privilege = true }) ~= nil then
					return ", write it instead of " .. show_value(listed)
				end
			end
		end
		return ""
	end

	--- The hosts whose sections pass a test, as keys.
	local function hosts_where(sections, test)
		local found = {}
		for host, section in pairs(sections) do
			if host ~= "*" and test(section) then
				found[host] = true
			end
		end
		return found
	end

	--- What is wrong with the JID of an entity, given the hosts of the configuration; nil if nothing is.
	local function entity_problem(entity, sections)
		local node, domain = jid.split(entity)
		local section = own(sections, domain)
		if node ~= nil then
			if section and section.component_module == nil then
				return nil
			end
			local virtual_hosts = hosts_where(sections, function(other)
				return other.component_module == nil
			end)
			return domain .. " is no VirtualHost of this configuration" .. did_you_mean(suggest(domain, virtual_hosts))
		end
		if not section then
			local components = hosts_where(sections, function(other)
				return other.component_module == "component"
			end)
			return "there is no such Component in this configuration" .. did_you_mean(suggest(domain, components))
		end
		local component_module = section.component_module
		if component_module == nil then
			return "it is a VirtualHost, an entity is a Component or a user"
		end
		if component_module ~= "component" then
			return "it is part of the server itself, an entity is an external Component"
		end
		return section.component_secret == nil and "its Component has no component_secret, so it cannot connect" or nil
	end

	local function permission_row(host, entity, permissions)
		local iqs = {}
		for _, namespace in ipairs(sorted_keys(permissions.iq)) do
			iqs[#iqs + 1] = namespace .. "=" .. permissions.iq[namespace]
		end
		return {
			host,
			entity,
			describe_users(permissions.users),
			permissions.roster,
			permissions.push and "yes" or "no",
			permissions.message,
			permissions.presence,
			#iqs > 0 and table.concat(iqs, " ") or "none",
		}
	end

	--- The bare JIDs of the admins of a host: by the option `admins` of the host and the global one, and by their roles where the server is running.
	local function admins_of(host, sections, server)
		local admins = {}
		for _, name in ipairs({ host, "*" }) do
			local option = sections[name].admins
			if type(option) == "table" then
				for _, listed in pairs(option) do
					local admin = type(listed) == "string" and jid.prep(listed) or nil
					if admin ~= nil then
						admins[admin] = true
					end
				end
			end
		end
		if server then
			for admin in pairs(server.admins) do
				admins[admin] = true
			end
		end
		return sorted_keys(admins)
	end

	--- Whether a grant of a host covers an account, a bare JID, by its configuration.
	local function covers_account(host, users, account)
		local username, domain = jid.split(account)
		return username ~= nil and domain == host and (users == "all" or users ~= "opted-in" and users[username] ~= nil)
	end

	--- Those of the granted permissions that are dangerous where a grant covers an admin's account.
	local function dangerous_permissions(permissions)
		local found = {}
		if permissions.message == "outgoing" then
			found[#found + 1] = "message"
		end
		for _, namespace in ipairs(powerful_namespaces) do
			if allows(permissions.iq[namespace], "set") then
				found[#found + 1] = string.format('iq["%s"]', namespace)
			end
		end
		return found
	end

	--- Warns if an entity can act as an admin.
	local function check_admins(host, entity, permissions, admins, report)
		local covered = {}
		for _, admin in ipairs(admins) do
			if admin ~= entity and covers_account(host, permissions.users, admin) then
				covered[#covered + 1] = admin
			end
		end
		local found = dangerous_permissions(permissions)
		if #covered > 0 and #found > 0 then
			table.insert(
				report.warnings,
				string.format(
					'VirtualHost "%s": entity "%s" can act as the admin %s by %s.%s',
					host,
					entity,
					table.concat(covered, ", "),
					table.concat(found, ", "),
					permissions.users == "all" and ' Limit it by users = "opted-in" or a list of users.' or ""
				)
			)
		end
	end

	--- What the value of an option has to be, in words; nil if it is that. Prosody takes numbers and booleans in quotes, too.
	local function expected_value(option, value)
		local kind = option_kinds[option]
		if type(kind) == "number" then
			local number = tonumber(value)
			return (number == nil or number < kind) and string.format("a number of at least %d", kind) or nil
		end
		local text = tostring(value)
		local is_boolean = text == "true" or text == "false" or value == 0 or value == 1
		return kind == "boolean" and not is_boolean and "true or false" or nil
	end

	local function check_options(host, section, problems)
		for _, option in ipairs(sorted_keys(section)) do
			local value = section[option]
			local expected = expected_value(option, value)
			if option_kinds[option] == nil then
				local meant = suggest(option, option_kinds)
				if meant ~= nil then
					problems[#problems + 1] =
						string.format("%s: there is no option %s%s", section_name(host, section), option, did_you_mean(meant))
				end
			elseif expected ~= nil then
				problems[#problems + 1] = string.format(
					"%s: %s = %s is not understood, expected %s",
					section_name(host, section),
					option,
					show_value(value),
					expected
				)
			elseif section.component_module ~= nil and option ~= "privileged_entities" then
				problems[#problems + 1] =
					string.format("%s: %s does nothing here, it belongs to a VirtualHost", section_name(host, section), option)
			end
		end
	end

	local function check_host(host, sections, server, report)
		local section = sections[host]
		local own_option = own(section, "privileged_entities")
		local option = own_option
		if option == nil then
			option = sections["*"].privileged_entities
		end
		if option == nil then
			return
		end
		local name = section_name(host, section)
		if section.component_module ~= nil then
			if own_option ~= nil then
				table.insert(report.problems, name .. ": privileged_entities grants nothing here, it belongs to a VirtualHost")
			end
			return
		end
		if not is_enabled(sections, section) then
			if own_option ~= nil then
				table.insert(
					report.problems,
					name
						.. ': privileged_entities grants nothing, "privilege" is not in modules_enabled'
						.. instead(sections, { host, "*" })
				)
			end
			return
		end
		local configuration = read_configuration(option, jid.prep, host)
		for _, problem in ipairs(configuration.problems) do
			table.insert(report.problems, describe_problem(host, problem))
		end
		for _, warning in ipairs(describe_empty_entries(host, configuration)) do
			table.insert(report.warnings, warning)
		end
		local admins = admins_of(host, sections, server)
		for _, entity in ipairs(sorted_keys(configuration.grants)) do
			local permissions = configuration.grants[entity]
			table.insert(report.rows, permission_row(host, entity, permissions))
			check_admins(host, entity, permissions, admins, report)
			local problem = entity_problem(entity, sections)
			if problem ~= nil then
				table.insert(report.problems, string.format('%s: entity "%s": %s', name, entity, problem))
			end
		end
	end

	--- The first option of a section that was probably meant to be `privileged_entities`; nil where there is none.
	local function misspelt_option(section)
		for _, option in ipairs(sorted_keys(section)) do
			if option_kinds[option] == nil and suggest(option, option_kinds) == "privileged_entities" then
				return option
			end
		end
		return nil
	end

	--- The reason why a virtual host with the module grants nothing, given the configuration.
	local function no_grants_reason(host, sections)
		local everywhere = sections["*"]
		local section = own(sections, host) or everywhere
		if own(section, "privileged_entities") ~= nil or own(everywhere, "privileged_entities") ~= nil then
			return "no entry of privileged_entities grants anything"
		end
		for _, name in ipairs({ host, "*" }) do
			local named = own(sections, name)
			local misspelt = named and misspelt_option(named)
			if named and misspelt ~= nil then
				return string.format("%s has %s%s", section_name(name, named), show_value(misspelt), did_you_mean("privileged_entities"))
			end
		end
		local components = hosts_where(sections, function(other)
			return other.component_module ~= nil and own(other, "privileged_entities") ~= nil
		end)
		local component = sorted_keys(components)[1]
		if component ~= nil then
			return string.format(
				"privileged_entities stands in the section of Component %s, it belongs to the VirtualHost's",
				show_value(component)
			)
		end
		return "there is no privileged_entities in its section, nor in the global one"
	end

	--- A sentence for the log about a virtual host that has the module and grants nothing.
	local function explain_no_grants(host, sections)
		return string.format('VirtualHost "%s": mod_privilege is enabled and grants nothing: %s', host, no_grants_reason(host, sections))
	end

	--- Checks what a configuration grants. If a server is running, it knows which users are admins by their role.
	local function check_configuration(sections, server)
		local report = { rows = {}, problems = {}, warnings = {} }
		local hosts_with_it = hosts_where(sections, function(section)
			return section.component_module == nil and is_enabled(sections, section)
		end)
		if own(sections["*"], "privileged_entities") ~= nil and next(hosts_with_it) == nil then
			table.insert(
				report.problems,
				'global section: privileged_entities grants nothing, "privilege" is in the modules_enabled of no VirtualHost'
					.. instead(sections, sorted_keys(sections))
			)
		end
		for _, host in ipairs(sorted_keys(sections)) do
			check_options(host, sections[host], report.problems)
			if host ~= "*" then
				check_host(host, sections, server, report)
			end
		end
		return report
	end

	--- What is wrong if a host has not loaded this file in this version, and the command that helps; nil if nothing is.
	local function check_loaded(loaded, path)
		if loaded.path == "" then
			return "has not loaded the module", "config reload && prosodyctl shell module load"
		end
		if loaded.path ~= path then
			return "has loaded " .. loaded.path, "module reload"
		end
		if loaded.version ~= module_version then
			local version = loaded.version ~= "" and "version " .. loaded.version or "another version"
			return string.format("has loaded %s, this is %s", version, module_version), "module reload"
		end
		return nil, ""
	end

	--- What is wrong with the module on a host of the running server, and what helps; nil if nothing is.
	local function host_warning(server, host, path)
		local problem, command = check_loaded(server.hosts[host], path)
		if problem == nil then
			return nil
		end
		-- A command would load the file that the server finds.
		return server.finds == path and string.format("%s. Run: prosodyctl shell %s privilege %s", problem, command, host) or problem .. "."
	end

	--- Warns where the running server differs from the configuration.
	--
	-- @param rows the rows of the report
	-- @param path the path of this file
	-- @returns sentences
	local function compare_running(server, sections, rows, path)
		local warnings = {}
		if server.finds == "" then
			warnings[#warnings + 1] = string.format("The running server does not find %s. Restart it if plugin_paths has changed.", path)
		elseif server.finds ~= path then
			warnings[#warnings + 1] = string.format(
				"The running server finds %s, not %s. Restart it if plugin_paths has changed, or remove the file that you do not want.",
				server.finds,
				path
			)
		end
		local compared = {}
		--- Warns of a host, or of the host of an entity, once.
		local function compare(host, grants)
			local section = own(sections, host)
			if not section or compared[host] then
				return
			end
			compared[host] = true
			local warning
			if server.hosts[host] == nil then
				warning = "does not have it. Run: prosodyctl shell config reload && prosodyctl shell host activate " .. host
			elseif grants then
				warning = host_warning(server, host, path)
			end
			if warning ~= nil then
				warnings[#warnings + 1] = string.format("%s: the running server %s", section_name(host, section), warning)
			end
		end
		for _, row in ipairs(rows) do
			compare(row[1], true)
		end
		for _, row in ipairs(rows) do
			local _, domain = jid.split(row[2])
			if entity_problem(row[2], sections) == nil then
				compare(domain, false)
			end
		end
		return warnings
	end

	--- Prints a report.
	local function print_report(report)
		if #report.rows > 0 then
			local titles = { "Host", "Entity", "Users", "Roster", "Pushes", "Message", "Presence", "IQ namespaces" }
			print_table(print, titles, report.rows, math.huge)
		else
			print("No entity is granted anything.")
		end
		if #report.problems > 0 then
			print("")
		elseif #report.rows > 0 then
			print("")
			local warned = #report.warnings > 0 and ", " .. count_of(#report.warnings, "warning", "warnings") or ""
			print("OK: no problems in " .. count_of(#report.rows, "grant", "grants") .. warned)
		end
		for _, problem in ipairs(report.problems) do
			print(problem)
		end
		for _, warning in ipairs(report.warnings) do
			print("Warning: " .. warning)
		end
	end

	--- Runs the command `prosodyctl mod_privilege`.
	--
	-- @param args the arguments after that
	-- @param get_sections gives the configuration
	-- @param path the path of this file
	-- @param ask_server asks the running server, given the option `admin_socket`; nil where no server runs
	-- @returns the exit status: 1 if something is wrong, else 0
	local function run_command(args, get_sections, path, ask_server)
		local command = args[1]
		local is_known = command == "check" or command == "version"
		if is_known and args[2] ~= nil then
			print(string.format("prosodyctl mod_privilege %s takes no arguments: %s", command, args[2]))
			return 1
		end
		if command == "version" then
			print("mod_privilege " .. module_version)
			return 0
		end
		if command ~= "check" then
			print("mod_privilege " .. module_version .. ": XEP-0356 (Privileged Entity) for Prosody")
			print("")
			print("Usage: prosodyctl mod_privilege check")
			print("       prosodyctl mod_privilege version")
			print("")
			print(
				"  check    shows what the configuration grants to which entities, what is wrong with it, and whether the server runs with it"
			)
			print("  version  shows the version of the module")
			local is_help = command == nil or command == "help" or command == "--help"
			if not is_help then
				print("")
				print("There is no command " .. command)
			end
			return is_help and 0 or 1
		end
		local sections = get_sections()
		local server = ask_server(sections["*"].admin_socket)
		local report = check_configuration(sections, server)
		if server then
			for _, warning in ipairs(compare_running(server, sections, report.rows, path)) do
				table.insert(report.warnings, warning)
			end
		end
		print_report(report)
		if not server then
			print("No running server answered, so only the configuration was checked.")
		end
		return #report.problems > 0 and 1 or 0
	end

	return {
		explain_no_grants = explain_no_grants,
		check_configuration = check_configuration,
		compare_running = compare_running,
		run_command = run_command,
	}
end

-- ==== src/admin/running_server.ts ====

--- Asks the server that runs with this configuration, by the socket of mod_admin_shell (Prosody 0.12 and later).
--
-- @param option the value of `admin_socket`
-- @returns nil where no server runs, or where it does not answer in time
local function ask_running_server(option)
	-- Seconds
	local answer_timeout = 2

	--- Lua code for the console of the server. It returns lines with tabs between their fields: the file that the server would
	-- load, each host with the path and the status of the module, and each admin.
	local server_question = table.concat({
		">(function ()",
		'local code, found = require "util.pluginloader".load_resource "privilege";',
		'local lines = { "finds\\t" .. (code and found or "") };',
		'local get_users = require "core.usermanager".get_users_with_role;',
		"for name, host in pairs(prosody.hosts) do",
		"local loaded = host.modules and host.modules.privilege;",
		"local api = loaded and loaded.module or {};",
		'lines[#lines + 1] = "host\\t" .. name .. "\\t" .. (api.path or "") .. "\\t" .. (api.status_message or "");',
		'for _, role in ipairs { "prosody:admin", "prosody:operator" } do',
		"local ok, users = pcall(get_users, role, name);",
		'for _, user in ipairs(ok and host.type == "local" and users or {}) do',
		'lines[#lines + 1] = "admin\\t" .. user .. "@" .. name;',
		"end",
		"end",
		"end",
		'return table.concat(lines, "\\n");',
		"end)()",
	}, " ")

	--- Sends a line to the console of the server and gives its answer; nil where there is none in time.
	local function ask_console(path, line)
		local unix = optional_module("socket.unix")
		local xml_parser = optional_module("util.xml")
		if unix == nil or not xml_parser then
			return nil
		end
		-- COMPAT: in some versions of LuaSocket, the module is the function itself.
		local open = type(unix) == "function" and unix or unix.stream
		local connection = open()
		connection:settimeout(answer_timeout, "t")
		local received
		if connection:connect(path) ~= nil then
			connection:send(
				"<stream:stream xmlns='xmpp:prosody.im/admin' xmlns:stream='http://etherx.jabber.org/streams'>"
					.. tostring(st.stanza("repl-input"):text(line))
					.. "</stream:stream>"
			)
			local all, _, some = connection:receive("*a")
			received = all or some
		end
		connection:close()
		local text = string.match(received or "", "<repl%-result.*</repl%-result>")
		local answer = text ~= nil and xml_parser.parse(text) or nil
		return answer and answer:get_text()
	end

	--- Reads the answer of the console.
	local function read_answer(answer)
		local finds = string.match(answer, "^Result: finds\t([^\n]*)")
		if finds == nil then
			return nil
		end
		local hosts = {}
		for host, path, status in string.gmatch(answer, "\nhost\t([^\t\n]*)\t([^\t\n]*)\t([^\n]*)") do
			hosts[host] = { path = path, version = string.match(status, "version ([^;]+)") or "" }
		end
		local admins = {}
		for admin in string.gmatch(answer, "\nadmin\t([^\n]*)") do
			admins[admin] = true
		end
		return { finds = finds, hosts = hosts, admins = admins }
	end

	local name = type(option) == "string" and option or "prosody.sock"
	local path = string.sub(name, 1, 1) == "/" and name or prosody.paths.data .. "/" .. name
	local _, answer = pcall(ask_console, path, server_question)
	return type(answer) == "string" and read_answer(answer) or nil
end

-- ==== src/admin/shell.ts ====

--- Adds commands to the console of mod_admin_shell, and to that of mod_admin_telnet before 0.12: `privilege:list(HOST)`,
-- `privilege:users(HOST, ENTITY)`, `privilege:allow(HOST, ENTITY, USER)` and `privilege:revoke(HOST, ENTITY, USER)`. In
-- `prosodyctl shell` they read `privilege list HOST` and so on. `list` without a host lists all hosts.
--
-- They go into the environment of the console, since commands that a host's module adds to it need a host.
local function add_shell_commands(api, everywhere)
	--- Since Prosody 0.11, `util.async` can tell whether the caller may wait.
	local async = optional_module("util.async")
	-- `prosodyctl` need not load it.
	local timer = optional_module("util.timer")

	-- The console puts "| " before each line, which makes 120 columns.
	local max_width = 118

	local list_titles = { "Host", "Entity", "Granted", "Users", "Connected since", "Activity" }
	local activities = {
		{ "messages", "messages" },
		{ "iqs", "iqs" },
		{ "roster_gets", "roster gets" },
		{ "roster_sets", "roster sets" },
		{ "pushes", "pushes" },
		{ "presences", "presences" },
		{ "refusals", "refused" },
	}

	local function time_text(time)
		return os.date("%Y-%m-%d %H:%M:%S", time)
	end

	--- For an entity that is not connected: the reason why it cannot connect; "no" where it can.
	local function absence(entity)
		local username, domain = jid.split(entity.jid)
		local host = prosody.hosts[domain]
		if username ~= nil then
			if not host or not host.sessions then
				return "no such host"
			end
			return account_exists_now(username, domain) and "no" or "no such user"
		end
		if not host then
			return "no such component"
		end
		return host.modules.component ~= nil and "no" or "no external component"
	end

	--- The times at which an entity connected, or the reason why it is not connected.
	local function connected_since(entity)
		local times = {}
		for _, connection in ipairs(entity.connections) do
			if is_connected(connection) then
				times[#times + 1] = time_text(connection.since)
			end
		end
		return #times > 0 and table.concat(times, ", ") or absence(entity)
	end

	--- The counts of an entity: `messages 3, refused 1`.
	local function describe_counts(counts)
		local parts = {}
		for _, activity in ipairs(activities) do
			local number = counts[activity[1]]
			if number > 0 then
				parts[#parts + 1] = activity[2] .. " " .. tostring(number)
			end
		end
		return #parts > 0 and table.concat(parts, ", ") or "none"
	end

	--- How a grant began or ceased to cover a user.
	local function describe_record(record)
		if record.state == "in" then
			return "opted in by " .. (record.by or "something")
		end
		return record.state .. " by " .. (record.by or "the admin")
	end

	--- Calls `step` until it returns false: in slices where the console can wait (Prosody 0.12 and later), else in one go.
	local function work_through(step)
		-- Consoles call commands by pcall, within which a coroutine of Lua 5.1 cannot yield.
		if async and timer and _VERSION ~= "Lua 5.1" and async.ready() then
			local wait, done = async.waiter()
			-- Not by timers of the module: after a reload of it these do not go off, and the console would wait for ever.
			in_slices(timer.add_task, step, function(goes_on)
				if not goes_on then
					done()
				end
			end, "users were listed for the console")
			wait()
			return
		end
		local more = true
		while more do
			more = step()
		end
	end

	--- Prepares the name of a host of a command; nil and an error where the module is not loaded there.
	local function find_host(name)
		local host = jid.prep(name) or name
		if everywhere[host] ~= nil then
			return host, ""
		end
		local known = prosody.hosts[host]
		if known and not known.sessions then
			return nil, host .. " is a Component, HOST is the VirtualHost that grants"
		end
		local meant = not known and suggest(host, everywhere) or nil
		return nil, string.format("mod_privilege is not loaded on %s%s", host, did_you_mean(meant))
	end

	--- Finds the host and the entity of a command; nil and an error where there is none.
	local function find_subject(host, name)
		local host_name, problem = find_host(host)
		if host_name == nil then
			return nil, problem
		end
		local served = everywhere[host_name]
		local entity_name = jid.prep(name) or name
		local entity = served.entities.get(entity_name)
		if not entity then
			local meant = suggest(entity_name, served.entities.all())
			return nil, string.format("%s grants nothing to %s%s", host_name, entity_name, did_you_mean(meant))
		end
		return { host = host_name, served = served, entity = entity }, ""
	end

	--- The name of a user whom the admin may allow or revoke; nil and an error for any other user.
	local function find_user(subject, user)
		local coverage = subject.entity.permissions.users
		if coverage ~= "opted-in" then
			return nil,
				string.format(
					'The grant of %s covers %s. Users can be allowed and revoked where it has users = "opted-in".',
					subject.entity.jid,
					coverage == "all" and "all users" or "the users in a list"
				)
		end
		local is_jid = string.find(user, "@", 1, true) ~= nil
		local username, host, resource = jid.split(jid.prep(is_jid and user or user .. "@" .. subject.host))
		if username == nil or host ~= subject.host or resource ~= nil then
			return nil, user .. " is no user of " .. subject.host
		end
		if not account_exists_now(username, subject.host) then
			return nil, string.format("There is no user %s@%s", username, subject.host)
		end
		return username, ""
	end

	--- The commands `allow` and `revoke`.
	local function change(allowed, host, name, user)
		if type(host) ~= "string" or type(name) ~= "string" or type(user) ~= "string" then
			return nil, string.format("Usage: privilege %s HOST ENTITY USER", allowed and "allow" or "revoke")
		end
		local subject, problem = find_subject(host, name)
		if not subject then
			return nil, problem
		end
		local username, user_problem = find_user(subject, user)
		if username == nil then
			return nil, user_problem
		end
		local entity = subject.entity
		local record = subject.served.users.record(entity.jid, username)
		local outcome = string.format("%s %s act for %s@%s", entity.jid, allowed and "may" or "may not", username, subject.host)
		local was_allowed = record and record.state ~= "revoked"
		if was_allowed == allowed then
			return true, outcome .. " already: " .. describe_record(record)
		end
		local opting = subject.served.opting
		local change_record = allowed and opting.allow or opting.revoke
		if not change_record(entity, username) then
			return nil, "This could not be saved, see the log"
		end
		return true, allowed and outcome or outcome .. " until you allow it"
	end

	--- Prints the users who are listed in the configuration; gives their number.
	local function print_listed(subject, listed, print_line)
		local rows = {}
		for _, username in ipairs(sorted_keys(listed)) do
			rows[#rows + 1] = {
				username .. "@" .. subject.host,
				account_exists_now(username, subject.host) and "listed in the configuration" or "listed, but no such user",
			}
		end
		print_table(print_line, { "User", "How" }, rows, max_width)
		return #rows
	end

	--- Prints the users with a record; gives how many of them are covered and how many are revoked.
	local function print_opted_in(subject, print_line)
		local names = subject.served.users.recorded_usernames()
		table.sort(names)
		local rows = {}
		local position = 0
		local revoked = 0
		work_through(function()
			local username = names[position + 1]
			position = position + 1
			local record = username ~= nil and subject.served.users.record(subject.entity.jid, username) or nil
			if username ~= nil and record then
				rows[#rows + 1] = { username .. "@" .. subject.host, time_text(record.since), describe_record(record) }
				revoked = revoked + (record.state == "revoked" and 1 or 0)
			end
			return username ~= nil
		end)
		print_table(print_line, { "User", "Since", "How" }, rows, max_width)
		return #rows - revoked, revoked
	end

	local section = {
		list = function(self, host)
			local only
			if host ~= nil then
				if type(host) ~= "string" then
					return nil, "Usage: privilege list HOST"
				end
				local host_name, problem = find_host(host)
				if host_name == nil then
					return nil, problem
				end
				only = host_name
			end
			local rows = {}
			for _, host_name in ipairs(sorted_keys(everywhere)) do
				if only == nil or only == host_name then
					local served = everywhere[host_name]
					local granted = served.entities.all()
					for _, name in ipairs(sorted_keys(granted)) do
						local entity = granted[name]
						rows[#rows + 1] = {
							host_name,
							name,
							describe_permissions(entity.permissions),
							describe_users(entity.permissions.users, served.covered_count.number_of(name)),
							connected_since(entity),
							describe_counts(entity.counts),
						}
					end
				end
			end
			print_table(self.session.print, list_titles, rows, max_width)
			return true, count_of(#rows, "entity", "entities")
		end,
		users = function(self, host, entity)
			if type(host) ~= "string" or type(entity) ~= "string" then
				return nil, "Usage: privilege users HOST ENTITY"
			end
			local subject, problem = find_subject(host, entity)
			if not subject then
				return nil, problem
			end
			local host_name = subject.host
			local coverage = subject.entity.permissions.users
			if coverage == "all" then
				return true, "The grant covers all users of " .. host_name
			end
			if coverage ~= "opted-in" then
				return true, count_of(print_listed(subject, coverage, self.session.print), "user", "users")
			end
			local covered, revoked = print_opted_in(subject, self.session.print)
			local also = revoked > 0 and string.format(", and %d revoked", revoked) or ""
			return true, count_of(covered, "user", "users") .. also
		end,
		allow = function(self, host, entity, user)
			return change(true, host, entity, user)
		end,
		revoke = function(self, host, entity, user)
			return change(false, host, entity, user)
		end,
	}

	--- Describes a command for `help privilege` (Prosody 13).
	local function command_help(desc, args)
		local described = {}
		for _, arg in ipairs(args) do
			described[#described + 1] = { name = arg, type = "string" }
		end
		return { desc = desc, args = described, module = "privilege" }
	end
	local help = {
		desc = "Entities with privileges (XEP-0356)",
		commands = {
			list = command_help("List the privileged entities of a host, or of all", { "host" }),
			users = command_help("List the users whom the grant of an entity covers", { "host", "entity" }),
			allow = command_help('Let an entity act for a user, where its grant has users = "opted-in"', { "host", "entity", "user" }),
			revoke = command_help("Keep an entity from acting for a user until that is allowed again", { "host", "entity", "user" }),
		},
	}
	for _, shell in ipairs({ "admin_shell", "admin_telnet" }) do
		local environment = api:shared("/*/" .. shell .. "/env")
		environment.privilege = setmetatable(section, { help = help })
	end
end

--- Removes the commands again.
local function remove_shell_commands(api)
	for _, shell in ipairs({ "admin_shell", "admin_telnet" }) do
		api:shared("/*/" .. shell .. "/env").privilege = nil
	end
end

-- ==== src/mod_privilege.ts ====

--- Serves the virtual host that the module is loaded on.
local function serve_host()
	local host = module.host
	local log = module._log
	local function add_timer(delay, callback)
		module:add_timer(delay, callback)
	end

	local entities = create_entities()
	local served_hosts = module:shared("/*/privilege/served_hosts")
	local other_hosts = create_other_hosts(host, served_hosts)
	-- The streams of entities with roster changes that wait to be saved, on all hosts.
	local waiting_streams = module:shared("/*/privilege/waiting_streams")
	-- The listeners for roster changes, by host.
	local roster_listeners = module:shared("/*/privilege/roster_listeners")

	local options = {}

	local problem_count = 0

	--- Fills `options`. An option that is not set, or has a value of another type, has its default.
	local function read_options()
		options.iq_timeout = math.max(1, module:get_option_number("privilege_iq_timeout") or 120)
		options.probe_rate = module:get_option_number("privilege_probe_rate") or 100
		options.log_acts = module:get_option_boolean("privilege_log_acts") == true
		options.legacy = module:get_option_boolean("privilege_legacy_namespace") ~= false
	end

	local statistics = create_statistics(module, options)
	local refusing = create_refusing(log, add_timer, statistics)
	local refuse = refusing.refuse
	local acting = create_act_as(host, log)
	local users = create_users({ log = log, add_timer = add_timer, store = storagemanager.open(host, "privilege", "keyval") })
	local authorization = create_authorization(host, users)
	local change_watch = create_change_watch(function()
		return roster_listeners[host]
	end)
	local roster_push = create_roster_push(host, entities, users, statistics)
	local write_queue = create_write_queue({
		host = host,
		log = log,
		add_timer = add_timer,
		change_watch = change_watch,
		waiting_streams = waiting_streams,
	})
	local roster = create_roster_requests({
		host = host,
		log = log,
		entities = entities,
		act_as = acting.act_as,
		refuse = refuse,
		statistics = statistics,
		authorization = authorization,
		change_watch = change_watch,
		write_queue = write_queue,
	})
	local error_filter = create_error_filter()
	local message = create_message({
		host = host,
		options = options,
		entities = entities,
		authorization = authorization,
		acting = acting,
		refusing = refusing,
		statistics = statistics,
		error_filter = error_filter,
	})
	local iq = create_iq({
		host = host,
		options = options,
		entities = entities,
		is_listed = other_hosts.is_listed,
		authorization = authorization,
		acting = acting,
		refusing = refusing,
		add_timer = add_timer,
		statistics = statistics,
	})
	local presence = create_presence({
		api = module,
		host = host,
		options = options,
		entities = entities,
		coverage = users,
		add_timer = add_timer,
		statistics = statistics,
		other_hosts = other_hosts,
	})
	local covered_count = create_covered_count({ add_timer = add_timer, entities = entities, users = users, counted = statistics.covered })
	local advertisement = create_advertisement({ host = host, log = log, options = options, changed = presence.catch_up })
	local opting = create_opting({
		host = host,
		log = log,
		add_timer = add_timer,
		entities = entities,
		users = users,
		covered = function(entity, username)
			covered_count.changed(entity, username, true)
			presence.user_covered(entity, username)
		end,
		uncovered = function(entity, username)
			covered_count.changed(entity, username, false)
			presence.user_uncovered(entity, username)
		end,
	})
	served_hosts[host] =
		{ entities = entities, users = users, opting = opting, covered_count = covered_count, show_users_of = presence.show_users_of }
	add_shell_commands(module, served_hosts)
	local adoption = create_adoption({ host = host, log = log, add_timer = add_timer, entities = entities, opting = opting })

	--- Sets the status that `prosodyctl shell module list` shows.
	local function update_status()
		if not module.set_status then
			return
		end
		local text = describe_entities(entities) .. ", version " .. module_version
		if problem_count > 0 then
			module:set_status(
				"error",
				text .. "; " .. count_of(problem_count, "error", "errors") .. " in the configuration, see the log",
				true
			)
		else
			module:set_status("info", text, true)
		end
	end

	local function arrived(entity, session)
		if grants_anything(entity.permissions) then
			advertisement.advertise(entities.connect(entity, session))
			update_status()
		end
	end

	local function unavailable(session)
		entities.disconnect(session)
		update_status()
	end

	local function gone(session)
		unavailable(session)
		iq.forget(session)
	end

	local sessions = create_sessions({ api = module, entities = entities, arrived = arrived, unavailable = unavailable, gone = gone })

	--- Reads the configuration and puts it into effect.
	local function configure()
		read_options()
		local configuration = read_configuration(module:get_option("privileged_entities"), jid.prep, host)
		problem_count = #configuration.problems
		for _, problem in ipairs(configuration.problems) do
			log("error", "%s", describe_problem(host, problem))
		end
		if grants_any_entity(configuration.grants) then
			for _, sentence in ipairs(describe_empty_entries(host, configuration)) do
				log("warn", "%s", sentence)
			end
		else
			log("warn", "%s", create_check().explain_no_grants(host, configmanager.getconfig()))
		end
		if not since_0_10 then
			-- COMPAT: Prosody 0.9 does not tell of roster changes.
			for _, permissions in pairs(configuration.grants) do
				permissions.push = false
			end
		end
		for _, entity in ipairs(entities.grant(configuration.grants)) do
			advertisement.advertise_to(entity)
		end
		for _, entity in pairs(entities.all()) do
			statistics.announce(entity)
			advertisement.advertise_to(entity)
		end
		presence.configured()
		covered_count.configured()
		adoption.configured()
		sessions.watch()
		sessions.find()
		update_status()
	end

	--- Handles the end of an account before mod_roster does: the roster is dropped without being saved, so listeners are told here.
	local function account_deleted(event)
		if event.host == host then
			covered_count.forget(event.username)
			if change_watch.is_watched() then
				change_watch.compare(event.username, read_roster(event.username, host), nil)
			end
		end
		return nil
	end

	--- Drops what is in memory of an account that was disabled or enabled, or whose role changed.
	local function account_changed(event)
		if event.host == host then
			forget_account(event.username, host)
			forget_roster(event.username, host)
		end
		return nil
	end

	--- Drops what is in memory of an account that was created or deleted.
	local function account_replaced(event)
		if event.host == host then
			opting.forget(event.username)
			users.forget(event.username)
		end
		return account_changed(event)
	end

	--- Gives a client that logs in the roster from the storage: the server's cache may have that of an account which another process deleted.
	local function client_logs_in(event)
		forget_roster(event.session.username, host)
		return nil
	end

	--- Saves that users opt out where that was put off.
	local function save_opting()
		opting.finish_all()
		users.save_unsaved()
		return nil
	end

	local reload_waits = false

	--- Reads the configuration again in a moment. COMPAT: Prosody up to 0.12 handles SIGHUP in the middle of other work, and
	-- stanzas that are sent then may be lost.
	local function config_reloaded()
		if not reload_waits then
			reload_waits = true
			add_timer(0, function()
				reload_waits = false
				configure()
				return nil
			end)
		end
		return nil
	end

	-- Before the server's own modules, which have 0, and after mod_firewall, which has 0.1: what it drops or refuses has not come.
	local after_firewall = 0.05

	-- Rosters
	for _, kind in ipairs({
		"presence/bare",
		"presence/full",
		"message/host",
		"message/bare",
		"message/full",
		"iq/bare",
		"iq/full",
	}) do
		module:hook(kind, write_queue.before_stanza, 1000)
	end
	module:hook("iq-get/bare/jabber:iq:roster:query", roster.get, 1)
	module:hook("iq-set/bare/jabber:iq:roster:query", roster.set, 1)
	roster_listeners[host] = { roster_push, presence }
	module:hook("store-opened", change_watch.opened)
	module:hook_global("user-deleted", account_deleted, 301)
	-- After all other handlers, which may read something of the account; before a client can ask for the next account of that name.
	module:hook_global("user-deleted", account_replaced, -1000)
	module:hook("user-registered", account_replaced, 1000)
	module:hook_global("user-role-changed", account_changed)
	module:hook_global("user-disabled", account_changed)
	module:hook_global("user-enabled", account_changed)
	module:hook("pre-resource-bind", client_logs_in, 1000)
	-- Messages
	module:hook("message/host", message, 1)
	module:hook("message/bare", error_filter.receive, 1)
	-- Iqs: answers before mod_iq handles them
	module:hook("iq/bare/urn:xmpp:privilege:2:privileged_iq", iq.request)
	module:hook("iq/host/urn:xmpp:privilege:2:privileged_iq", iq.to_host)
	module:hook("iq/full", iq.to_client, 1)
	module:hook("iq/bare", iq.answer, 1)
	-- Presences: ends of presences and answers to probes before mod_blocklist drops them
	module:hook("presence/bare", presence.broadcast, after_firewall)
	module:hook("presence/bare", presence.receive_available, after_firewall)
	module:hook("presence/full", presence.receive_available, after_firewall)
	module:hook("presence/full", presence.receive_dropped, 200)
	module:hook("presence/bare", presence.receive_end, 200)
	module:hook("presence/full", presence.receive_end, 200)
	module:hook_global("user-deleted", presence.user_deleted, 302)
	-- Opting in and out
	for _, kind in ipairs({ "host", "bare", "full" }) do
		module:hook("pre-iq/" .. kind, opting.leaving_iq, 1)
		module:hook("pre-presence/" .. kind, opting.leaving_presence, 1)
		module:hook("pre-iq/" .. kind, opting.joining_iq, after_firewall)
		module:hook("pre-message/" .. kind, opting.joining_message, after_firewall)
		module:hook("pre-presence/" .. kind, opting.joining_presence, after_firewall)
	end
	module:hook("iq/full", opting.entity_answer, 1)
	module:hook("roster-item-removed", opting.roster_item_removed, 1)

	module:hook_global("config-reloaded", config_reloaded)
	-- Modules are not unloaded when the server stops.
	module:hook_global("server-stopping", save_opting)

	module.save = function()
		return {
			presence = presence.save(),
			connections = entities.save(),
			senders = error_filter.save(),
			users = users.save(),
		}
	end
	module.restore = function(state)
		if state.presence then
			presence.restore(state.presence)
		end
		if state.senders then
			error_filter.restore(state.senders)
		end
		if state.users then
			users.restore(state.users)
		end
	end
	module.unload = function()
		write_queue.flush()
		save_opting()
		iq.give_up()
		served_hosts[host] = nil
		roster_listeners[host] = nil
		if next(served_hosts) == nil then
			remove_shell_commands(module)
		end
		if not module.reloading then
			for _, entity in ipairs(entities.grant({})) do
				advertisement.advertise_to(entity)
			end
		end
	end

	-- Before the configuration takes effect, so that entities are told what they have lost since.
	local saved = module.saved_state
	if saved and saved.connections then
		entities.restore(saved.connections)
	end
	configure()
end

module.command = function(args)
	return create_check().run_command(args, configmanager.getconfig, module.path, ask_running_server)
end

if module:get_host_type() == "local" then
	serve_host()
end
