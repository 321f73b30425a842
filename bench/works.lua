-- The works that are measured.
--
-- A work is a table:
-- key and name, and why: what it is for in a gateway's day;
-- short: its name in the picture; without it, it is not drawn;
-- variants: a list of names; basis: the one that the others are compared with; target: the greatest ratio that is wanted of this module;
-- count: how many pieces of work are done with each boot of a server, and slice: how many of these in a turn;
-- pieces: by how many the figures are divided; boots, quick_boots and quick_count: where they are not as usual;
-- what bench.variants needs to start the servers;
-- start: a function that is called before they are;
-- open: a function that gets a server and the variant's name and gives the function that does the pieces numbered first to last.
-- That one checks that all has been done, and may return a function that cleans up;
-- thorough: it is not done where that takes too long.
-- A work without slice gives its figures itself, count of them with each boot: unit is what they are in, limit the greatest that is wanted.
-- The other fields are what the work's kind wants.

local kinds = require "bench.kinds"

return {
	kinds.message {
		key = "message",
		name = "Privileged message, user online",
		short = "Message, user online",
		why = "what the user writes in the other network's own app",
		target = 1.45,
	},

	kinds.message {
		key = "message-offline",
		name = "Privileged message, user offline",
		short = "Message, user offline",
		why = "the same while no XMPP client of theirs is connected; compared with the message of a client that is online",
		target = 1.5,
		offline = true,
	},

	kinds.iq {
		key = "iq",
		name = "Privileged iq (ping), user online",
		short = "Iq, user online",
		why = "bookmarks and read markers that are kept on the user's server",
	},

	kinds.iq {
		key = "iq-offline",
		name = "Privileged iq (ping), user offline",
		short = "Iq, user offline",
		why = "the same while no client is connected; compared with the iq of a client that is online",
		offline = true,
	},

	kinds.roster_get {
		key = "roster-get",
		name = "Roster get of 1000 items",
		why = "the contacts that are there when a gateway starts",
	},

	kinds.roster_set {
		key = "roster-single",
		name = "Roster of 1000 items, set one at a time",
		short = "Roster set, one at a time",
		why = "contacts of the other network brought up to date when a gateway waits for each answer, as slidge does",
		items = 1000,
		single = true,
	},

	kinds.roster_set {
		key = "roster-single-push",
		name = "Roster of 1000 items, set one at a time, with pushes",
		short = "One at a time, with pushes",
		why = "the same for a gateway that is pushed what changes",
		items = 1000,
		single = true,
		pushes = true,
		target = 0.9,
	},

	kinds.roster_set {
		key = "roster-burst",
		name = "Roster of 1000 items, set in bursts of 20",
		short = "Roster set, in a burst",
		why = "a contact list that is imported in one go",
		items = 1000,
	},

	kinds.roster_set {
		key = "roster-small-single",
		name = "Roster of 100 items, set one at a time",
		why = "the same for a user with fewer contacts",
		items = 100,
		single = true,
	},

	kinds.roster_set {
		key = "roster-small-burst",
		name = "Roster of 100 items, set in bursts of 20, with pushes",
		why = "an import by a gateway that is pushed what changes",
		items = 100,
		pushes = true,
	},

	kinds.roster_set {
		key = "roster-offline-single",
		name = "Roster of 100 items, user offline, set one at a time",
		short = "One at a time, user offline",
		why = "contacts brought up to date while no client is connected",
		items = 100,
		single = true,
		offline = true,
	},

	kinds.roster_set {
		key = "roster-offline-burst",
		name = "Roster of 100 items, user offline, set in bursts of 20",
		short = "In a burst, user offline",
		why = "an import while no client is connected",
		items = 100,
		offline = true,
	},

	kinds.roster_set {
		key = "roster-sql",
		name = "Roster of 100 items in SQL, set in bursts of 20",
		why = "an import where storage can write single items",
		items = 100,
		storage = "sql",
		target = 0.6,
	},

	kinds.presence {
		key = "presence",
		name = "Presence change seen by four entities",
		short = "Presence, to 4 entities",
		why = "a user comes, goes or is away; compared with four components as contacts of a user",
		target = 0.7,
		names = { "pubsub", "gateway", "archive", "games" },
		permissions = "presence = 'managed_entity'",
		covered = true,
	},

	kinds.contact {
		key = "contact",
		name = "A remote contact's presence to 50 users, each",
		short = "Contact's presence, to 50 users",
		why = "somebody who is in 50 users' rosters comes, goes or is away",
	},

	kinds.presence {
		key = "opted-presence",
		name = "Presence change of a user who has not opted in",
		why = "everybody who does not use the gateway; the community module tells it all the same",
		names = { "pubsub" },
		permissions = "presence = 'roster', roster = 'get', users = 'opted-in'",
	},

	kinds.catch_up {
		key = "catch-up-300",
		name = "Catch-up with 300 users who are online, each",
		why = "a gateway of a small server connects again",
		online = 300,
		count = 3000,
		quick_count = 1500,
	},

	kinds.catch_up {
		key = "catch-up-10000",
		name = "Catch-up with 10000 users who are online, each",
		short = "Catch-up, 10000 users",
		why = "a gateway of a large one connects again",
		online = 10000,
		count = 10000,
		boots = 3,
		quick_boots = 1,
	},

	kinds.catch_up {
		key = "catch-up-first",
		name = "The same for the first time",
		why = "the module was loaded when these users were there",
		first = true,
		online = 10000,
		count = 10000,
		boots = 3,
		quick_boots = 1,
	},

	kinds.opted_catch_up {
		key = "opted-catch-up",
		name = "Catch-up for 50 who opted in, 10000 online, 60000 accounts",
		why = "a gateway connects that few of many users use; compared with a grant for all of them",
		target = 0.01,
		accounts = 60000,
		online = 10000,
		opted_in = 50,
	},

	kinds.wait {
		key = "wait",
		name = "Longest wait of a ping while 10000 users are caught up with",
		why = "how long all others wait when a gateway connects",
		limit = 50,
		online = 10000,
		accounts = 0,
		contacts = 0,
		permissions = "presence = 'managed_entity'",
	},

	kinds.wait {
		key = "wait-contacts",
		name = "The same with the contacts of these and of 1000 users who are offline",
		why = "the same for a gateway that sees contacts",
		thorough = true,
		online = 10000,
		accounts = 11000,
		contacts = 20,
		permissions = "roster = 'get', presence = 'roster'",
	},

	kinds.message {
		key = "bystander",
		name = "A bystander's message to a component",
		short = "Bystander's message",
		why = "everybody who uses no gateway",
		target = 1.03,
		bystander = true,
		count = 4000,
		slice = 50,
		quick_count = 3000,
		entities = { pubsub = "roster = 'both', message = 'outgoing', presence = 'managed_entity', iq = { ['urn:xmpp:ping'] = 'both' }" },
	},

	kinds.memory {
		key = "memory",
		name = "Memory for a contact whose presence is known",
		why = "each contact who is online, in many users' rosters or in one",
		limit = 1024,
		contacts = 10000,
		resources = 1,
	},

	kinds.memory {
		key = "memory-resources",
		name = "Memory for a contact with 100 resources",
		why = "somebody who tries to fill the server's memory",
		limit = 16 * 1024,
		contacts = 20,
		resources = 100,
	},
}
