-- Guessing what was meant by a word that is none (behaviour 1.3).

local luaunit = require "luaunit"
local support = require "spec.unit.support"

local equal = luaunit.assertEquals
local edit_distance, suggest = support.parts.edit_distance, support.parts.suggest
local test = support.suite "spelling"

local access = { none = true, get = true, set = true, both = true }
local options = { roster = true, roster_push = true, message = true, presence = true, iq = true }

test("counts the letters to put in, leave out or replace", function()
	for _, case in ipairs {
		{ "", "", 0 },
		{ "", "get", 3 },
		{ "get", "", 3 },
		{ "get", "get", 0 },
		{ "get", "set", 1 },
		{ "gett", "get", 1 },
		{ "et", "get", 1 },
		{ "gte", "get", 2 },
		{ "kitten", "sitting", 3 },
		{ "saturday", "sunday", 3 },
	} do
		equal(edit_distance(case[1], case[2]), case[3])
	end
end)

test("B1.3 finds the word in another case or misspelt", function()
	for _, case in ipairs {
		{ "GET", access, "get" },
		{ "bot", access, "both" },
		{ "boht", access, "both" },
		{ "nnoe", access, "none" },
		{ "rosters", options, "roster" },
		{ "RosterPush", options, "roster_push" },
		{ "roster-push", options, "roster_push" },
		{ "messages", options, "message" },
		{ "messaging", options, "message" },
		{ "mesage", options, "message" },
		{ "presense", options, "presence" },
		{ "iqs", options, "iq" },
	} do
		equal(suggest(case[1], case[2]), case[3])
	end
end)

test("B1.3 finds nothing where nothing is alike", function()
	for _, word in ipairs { "", "x", "all", "gte", "everything", "read", ("get"):rep(1000) } do
		equal(suggest(word, access), nil)
	end
	for _, word in ipairs { "1", "push", "pubsub", "presents-of-all" } do
		equal(suggest(word, options), nil)
	end
	equal(suggest("get", {}), nil)
end)

test("B1.3 of words that are as near it takes the first in the alphabet", function()
	local words = {}
	for letter in ("zaymbx"):gmatch "." do
		words[letter .. "et"] = true
	end
	equal(suggest("get", words), "aet")
	equal(suggest("bet", access), "get")
	-- and a nearer one before that
	words.get = true
	equal(suggest("get", words), "get")
end)
