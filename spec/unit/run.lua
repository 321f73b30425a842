-- Runs the unit specs with the Lua that runs this file, and prints what failed and one line that sums up.

local root = arg[0]:match "^(.*)spec/unit/run%.lua$" or "";
package.path = root .. "?.lua;" .. package.path;

local luaunit = require "luaunit";
local support = require "spec.unit.support";

for _, area in ipairs { "config", "spelling", "permissions", "advertisement", "contact_memory", "roster", "stanzas", "refusals", "slices", "bounces", "command" } do
	require("spec.unit." .. area .. "_test");
end

local runner = luaunit.LuaUnit.new();
runner:setOutputType "nil";
runner:runSuiteByInstances(support.suites);

local result = runner.result;
for _, list in ipairs { result.failedTests, result.errorTests } do
	for _, node in ipairs(list) do
		print(("%s\n%s\n%s\n"):format(node.testName, tostring(node.msg), tostring(node.stackTrace)));
	end
end
print(("%d unit specs, %d failed"):format(result.runCount, result.notSuccessCount));
os.exit((result.notSuccessCount == 0 and result.runCount > 0) and 0 or 1);
