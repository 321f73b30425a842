-- The table of what was measured.

local environment = require "spec.support.environment";
local measure = require "bench.measure";

local report = {};

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
-- @param boots list of what measure.boot gave, empty when the work fails
-- @return table: work; boots, how many there were; figures and ratios, [variant] = { median, least, greatest }; is_good, whether the target is met, nil if there is none
function report.result(work, boots)
	local result = { work = work, boots = #boots, figures = {}, ratios = {} };
	local has = boots[1] or {};
	for variant in pairs(has) do
		result.figures[variant] = summary(measure.medians(boots, variant), work.pieces or 1);
		if work.basis and variant ~= work.basis and has[work.basis] then
			result.ratios[variant] = summary(measure.medians(boots, variant, work.basis), 1);
		end
	end
	if work.target and result.ratios.module then
		result.is_good = result.ratios.module[1] <= work.target;
	elseif work.limit and result.figures.module then
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

local function is_measured(work, variant)
	for _, wanted in ipairs(work.variants) do
		if wanted == variant then
			return true;
		end
	end
	return false;
end

-- A figure as it stands in the table
local function figure_cell(result, variant)
	local values = result.figures[variant];
	if not values then
		return is_measured(result.work, variant) and "fails" or "";
	end
	return spread(values) .. " " .. (result.work.unit or "µs");
end

local basis_names = { native = "without", community = "community", all = "for all" };

-- A ratio as it stands in the table, or the figure of a work that is compared with none
local function ratio_cell(result, variant)
	local basis, values = result.work.basis, result.ratios[variant];
	if not basis or not result.figures[variant] then
		return figure_cell(result, variant);
	elseif variant == basis then
		return "1";
	end
	return values and spread(values) .. (variant == "module" and " × " .. basis_names[basis] or "") or "";
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
	local text = ratio_cell(result, "module");
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
local function circumstances(results)
	local version = environment.read_file(environment.source_folder .. "/prosody.version") or "unknown";
	local model = (environment.read_file "/proc/cpuinfo" or ""):match "model name%s*:%s*([^\n]+)" or "an unknown processor";
	local boots = {};
	for i, result in ipairs(results) do
		boots[i] = result.boots;
	end
	local _, least, most = measure.summary(boots);
	return ("%s: mod_privilege %s and the community module of prosody-modules %s, with Prosody %s on %s, %s.\n"
		.. "Boots of new servers for each line: %s. The figures are medians of the boots, with the least and the greatest in brackets."):format(
		os.date "%Y-%m-%d", first_line "sed -n '1s/.* //p' lua-out/mod_privilege.lua", first_line "dpkg-query -W -f '${Version}' prosody-modules",
		version:match "%S+", _VERSION, model, least == most and most or least .. " to " .. most);
end

-- The ratios, with what each line is for
local function ratios(results)
	local rows = { { "Work", "Ratio", "Community", "Target" } };
	for _, result in ipairs(results) do
		local work = result.work;
		table.insert(rows, { work.name .. ": " .. work.why, ratio_cell(result, "module"), ratio_cell(result, "community"), target_cell(result) });
	end
	return lay_out(rows);
end

-- What the ratios were made of
local function times(results)
	local rows = { { "Work", "Without", "This module", "Community" } };
	for _, result in ipairs(results) do
		if result.work.basis then
			local without = result.work.basis == "all" and figure_cell(result, "all") .. " for all" or figure_cell(result, "native");
			table.insert(rows, { result.work.name, without, figure_cell(result, "module"), figure_cell(result, "community") });
		end
	end
	return rows[2] and lay_out(rows);
end

--- Writes the tables, with what is needed to read them, as Markdown.
-- @param results list of what report.result gave
-- @return the text
function report.text(results)
	local table_of_times = times(results);
	return circumstances(results) .. "\n\n" .. ratios(results) .. "\n"
		.. (table_of_times and "\nWhat the ratios are made of: the server's own processor time for a piece of the work.\n"
			.. "\"Without\" is the same work without a privilege and without the module.\n\n" .. table_of_times .. "\n" or "");
end

return report;
