-- What many spec files begin with: a server, and who is connected to it from before the first spec to after the last; and specs
-- that cannot run everywhere.

local busted = require "busted"
local prosody = require "spec.support.prosody"

local fixture = {}

--- Writes the sections of components at capulet.lit, whose secret is "secret".
-- @param ... the names before ".capulet.lit"
-- @return text for the end of a configuration
function fixture.components(...)
	local sections = {}
	for i, name in ipairs { ... } do
		sections[i] = ('Component "%s.capulet.lit"\n\tcomponent_secret = "secret"\n'):format(name)
	end
	return table.concat(sections)
end

local function connect(server, address)
	local jid, options = address, nil
	if type(address) == "table" then
		jid, options = address[1], address
	end
	return jid:find("@", 1, true) and server:client(jid, options) or server:component(jid)
end

--- Has a server run for the specs of the block that calls this.
-- @param options what prosody.start takes
-- @param addresses who connects, in this order: domains of components, and full JIDs of clients; a client that takes
-- options (see stream.client) is a table of its JID and these
-- @param started function that gets the server, and then the streams in the order of their addresses
-- @return a function that gives the list of the streams
function fixture.running(options, addresses, started)
	local server, streams

	busted.setup(function()
		server, streams = prosody.start(options), {}
		for i, address in ipairs(addresses) do
			streams[i] = connect(server, address)
		end
		started(server, table.unpack(streams))
	end)

	busted.teardown(function()
		server:stop()
	end)

	return function()
		return streams
	end
end

--- The same, and each spec begins with the server at rest and nothing in the queues of its streams.
function fixture.drained(options, addresses, started)
	local server
	local streams = fixture.running(options, addresses, function(running, ...)
		server = running
		started(running, ...)
	end)

	busted.before_each(function()
		server:drain()
	end)

	return streams
end

--- Makes a function that defines specs, which are pending where something is missing that they need.
-- @param has whether it is there
-- @param what what it is, such as "Prosody 0.12"
-- @return a function with the parameters of busted's it
function fixture.specs(has, what)
	return function(name, spec)
		if has then
			return busted.it(name, spec) -- a tail call, so that busted says where the spec stands
		end
		return busted.pending(("%s (needs %s)"):format(name, what), spec)
	end
end

return fixture
