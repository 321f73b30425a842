-- The table of what was measured.

local environment = require "spec.support.environment";
local measure = require "bench.measure";

local report = {};

local titles = { native = "Without", module = "This module", community = "Community module" };
local order = { "native", "module", "community" };

-- A number with as many digits as tell something
local function round(number)
	return (number >= 100 and "%.0f" or number >= 10 and "%.1f" or "%.2f"):format(number);
end

local function summary(list, divisor)
	local median, least, greatest = measure.summary(list);
	return { median / divisor, least / divisor, greatest / divisor };
end

--- Makes the result of a work.
-- @param work see bench.works
-- @param rounds see measure.rounds
-- @return table: work; figures and ratios, [variant] = { median, least, greatest }; is_good, whether the target is met, nil if there is none
function report.result(work, rounds)
	local result = { work = work, figures = {}, ratios = {} };
	for _, variant in ipairs(work.variants) do
		if rounds[1][variant] then
			result.figures[variant] = summary(measure.medians(rounds, variant), work.pieces or 1);
			if work.basis and variant ~= work.basis and rounds[1][work.basis] then
				result.ratios[variant] = summary(measure.medians(rounds, variant, work.basis), 1);
			end
		end
	end
	if work.target and result.ratios.module then
		result.is_good = result.ratios.module[1] <= work.target;
	elseif work.limit then
		result.is_good = result.figures.module[1] <= work.limit;
	end
	return result;
end

local function spread(values)
	if values[2] == values[3] then
		return round(values[1]);
	end
	return ("%s (%s–%s)"):format(round(values[1]), round(values[2]), round(values[3]));
end

-- A figure as it stands in the table
local function figure_cell(result, variant)
	local values = result.figures[variant];
	if not values then
		for _, wanted in ipairs(result.work.variants) do
			if wanted == variant then
				return "fails";
			end
		end
	end
	return values and spread(values) .. " " .. (result.work.unit or "µs") or "";
end

local basis_names = { native = "without", community = "community" };

-- A ratio as it stands in the table
local function ratio_cell(result, variant)
	local values = result.ratios[variant];
	return values and spread(values) .. " × " .. basis_names[result.work.basis] or "";
end

local function target_cell(result)
	local work = result.work;
	if not work.target and not work.limit then
		return "";
	end
	local goal = work.target and ("≤ %.2f"):format(work.target) or ("≤ %d %s"):format(work.limit, work.unit);
	if result.is_good == nil then
		return goal;
	end
	return goal .. (result.is_good and ", met" or ", **missed**");
end

--- Says in a few words what a work's result is.
function report.brief(result)
	local text = result.ratios.module and ratio_cell(result, "module") or figure_cell(result, "module");
	local target = target_cell(result);
	return target ~= "" and text .. ", " .. target or text;
end

-- Characters, not bytes
local function width(text)
	return select(2, text:gsub("[^\128-\191]", ""));
end

-- A table in Markdown whose columns line up
local function lay_out(rows)
	local widths = {};
	for _, row in ipairs(rows) do
		for i, cell in ipairs(row) do
			widths[i] = math.max(widths[i] or 3, width(cell));
		end
	end
	local lines = {};
	for n, row in ipairs(rows) do
		local cells, rules = {}, {};
		for i, cell in ipairs(row) do
			local padding = (" "):rep(widths[i] - width(cell));
			cells[i] = i == 1 and cell .. padding or padding .. cell;
			rules[i] = ("-"):rep(widths[i] - (i == 1 and 0 or 1)) .. (i == 1 and "" or ":");
		end
		table.insert(lines, "| " .. table.concat(cells, " | ") .. " |");
		if n == 1 then
			table.insert(lines, "| " .. table.concat(rules, " | ") .. " |");
		end
	end
	return table.concat(lines, "\n");
end

local function first_line(command)
	local pipe = io.popen(command .. " 2>/dev/null");
	local line = pipe:read "*l";
	pipe:close();
	return line ~= "" and line or "unknown";
end

-- What all this was measured on
local function circumstances(rounds)
	local version = environment.read_file(environment.source_folder .. "/prosody.version") or "unknown";
	local model = (environment.read_file "/proc/cpuinfo" or ""):match "model name%s*:%s*([^\n]+)" or "an unknown processor";
	return ("%s: mod_privilege %s and the community module of prosody-modules %s, with Prosody %s on %s, %s.\n"
		.. "Medians of %d rounds, least and greatest in brackets."):format(
		os.date "%Y-%m-%d", first_line "sed -n '1s/.* //p' lua-out/mod_privilege.lua", first_line "dpkg-query -W -f '${Version}' prosody-modules",
		version:match "%S+", _VERSION, model, rounds);
end

--- Writes the table, with what is needed to read it, as Markdown.
-- @param results list of what report.result gave
-- @param rounds how many were made
-- @return the text
function report.text(results, rounds)
	local rows = { { "Work", titles.native, titles.module, titles.community, "Ratio", "Community module's ratio", "Target" } };
	for _, result in ipairs(results) do
		local row = { result.work.name };
		for _, variant in ipairs(order) do
			table.insert(row, figure_cell(result, variant));
		end
		table.insert(row, ratio_cell(result, "module"));
		table.insert(row, ratio_cell(result, "community"));
		table.insert(row, target_cell(result));
		table.insert(rows, row);
	end
	return circumstances(rounds) .. "\n"
		.. "Times are the server's own processor time for a piece of the work, \"without\" is the same work without a privilege and without the module.\n\n"
		.. lay_out(rows) .. "\n";
end

return report;
