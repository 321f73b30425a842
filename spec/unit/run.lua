-- Runs the unit specs with the Lua that runs this file, and prints what failed and one line that sums up.

local root = arg[0]:match "^(.*)spec/unit/run%.lua$" or ""
package.path = root .. "?.lua;" .. package.path

local luaunit = require "luaunit"
local support = require "spec.unit.support"

for _, area in ipairs {
	"config",
	"users",
	"recent",
	"fifo",
	"probes",
	"spelling",
	"permissions",
	"advertisement",
	"contact_cache",
	"presence_texts",
	"roster",
	"stanzas",
	"refusals",
	"timers",
	"bounces",
	"command",
} do
	require("spec.unit." .. area .. "_test")
end

local runner = luaunit.LuaUnit.new()
runner:setOutputType(os.getenv "LUAUNIT_OUTPUT" or "nil")
-- COMPAT: LuaUnit 3.5 runs only suites whose names begin so.
runner.testPrefix = ""
runner:runSuiteByInstances(support.suites)

-- LuaUnit 3.3, which Debian 11 has, knows these by other names.
local result = runner.result
local failed = result.notSuccessCount or result.notPassedCount
for _, list in ipairs { result.failedTests or result.failures, result.errorTests or result.errors } do
	for _, node in ipairs(list) do
		print(("%s\n%s\n%s\n"):format(node.testName, tostring(node.msg), tostring(node.stackTrace)))
	end
end
print(("%d unit specs, %d failed"):format(result.runCount, failed))
os.exit((failed == 0 and result.runCount > 0) and 0 or 1)
