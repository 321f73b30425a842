-- The tables of what was measured.

local environment = require "spec.support.environment"
local measure = require "bench.measure"
local serialization = require "util.serialization"

local report = {}

-- A number with as many digits as tell something
local function round(number)
	return (number >= 100 and "%.0f" or number >= 10 and "%.1f" or number >= 0.1 and "%.2f" or "%.4f"):format(number)
end

local function summary(list, divisor)
	local median, least, greatest = measure.summary(list)
	return { median / divisor, least / divisor, greatest / divisor }
end

--- Makes the result of a work.
-- @param work see bench.works
-- @param boots list of what measure.boot gave, empty when the work fails
-- @return table: work; boots, how many there were; figures and ratios, [variant] = { median, least, greatest }; is_good, whether the target is met, nil if there is none
function report.result(work, boots)
	local result = { work = work, boots = #boots, figures = {}, ratios = {} }
	local has = boots[1] or {}
	for variant in pairs(has) do
		result.figures[variant] = summary(measure.medians(boots, variant), work.pieces or 1)
		if work.basis and variant ~= work.basis and has[work.basis] then
			result.ratios[variant] = summary(measure.medians(boots, variant, work.basis), 1)
		end
	end
	if work.target and result.ratios.module then
		result.is_good = result.ratios.module[1] <= work.target
	elseif work.limit and result.figures.module then
		result.is_good = result.figures.module[1] <= work.limit
	end
	return result
end

local function spread(values)
	if values[2] == values[3] then
		return round(values[1])
	end
	return ("%s (%s–%s)"):format(round(values[1]), round(values[2]), round(values[3]))
end

-- A figure as it stands in the table
local function figure_cell(result, variant)
	local values = result.figures[variant]
	if not values then
		local is_wanted = table.concat(result.work.variants, " "):find(variant, 1, true)
		return is_wanted and (result.figures.module or variant == "module") and "fails" or ""
	end
	local unit = result.work.unit or "µs"
	if unit == "µs" and values[1] >= 100000 then
		return spread { values[1] / 1000, values[2] / 1000, values[3] / 1000 } .. " ms"
	end
	return spread(values) .. " " .. unit
end

local basis_names = { native = "without", community = "community", all = "for all" }

-- A ratio as it stands in the table, or the figure of a work that is compared with none
local function ratio_cell(result, variant)
	local basis, values = result.work.basis, result.ratios[variant]
	local text = figure_cell(result, variant)
	if basis and variant == basis and result.figures[basis] then
		return "1"
	elseif values then
		text = spread(values) .. (variant == "module" and " × " .. basis_names[basis] or "")
	end
	return text .. (variant == "module" and result.is_good == false and ", **missed**" or "")
end

local function target_cell(work)
	if work.target then
		return ("≤ %.2f"):format(work.target)
	end
	return work.limit and ("≤ %d %s"):format(work.limit, work.unit) or ""
end

--- Says in a few words what a work's result is.
function report.brief(result)
	return ratio_cell(result, "module") .. (result.is_good and ", met" or "")
end

-- Characters, not bytes
local function width(text)
	return select(2, text:gsub("[^\128-\191]", ""))
end

-- A table in Markdown whose columns line up
local function lay_out(rows)
	local widths = {}
	for _, row in ipairs(rows) do
		for i, cell in ipairs(row) do
			widths[i] = math.max(widths[i] or 3, width(cell))
		end
	end
	local lines = {}
	for n, row in ipairs(rows) do
		local cells, rules = {}, {}
		for i, cell in ipairs(row) do
			local padding = (" "):rep(widths[i] - width(cell))
			cells[i] = i == 1 and cell .. padding or padding .. cell
			rules[i] = ("-"):rep(widths[i] - (i == 1 and 0 or 1)) .. (i == 1 and "" or ":")
		end
		table.insert(lines, "| " .. table.concat(cells, " | ") .. " |")
		if n == 1 then
			table.insert(lines, "| " .. table.concat(rules, " | ") .. " |")
		end
	end
	return table.concat(lines, "\n")
end

local function first_line(command)
	local pipe = io.popen(command .. " 2>/dev/null")
	local line = pipe:read "*l"
	pipe:close()
	return line ~= "" and line or "unknown"
end

local function prosody_version()
	return (environment.read_file(environment.source_folder .. "/prosody.version") or "unknown"):match "%S+"
end

-- What all this was measured on
local function circumstances(results)
	local model = (environment.read_file "/proc/cpuinfo" or ""):match "model name%s*:%s*([^\n]+)" or "an unknown processor"
	local boots = {}
	for i, result in ipairs(results) do
		boots[i] = result.boots
	end
	local _, least, most = measure.summary(boots)
	return (
		"%s: mod_privilege %s and the community module of prosody-modules %s, with Prosody %s on %s, %s.\n"
		.. "Boots of new servers for each line: %s. The figures are medians of the boots, with the least and the greatest in brackets."
	):format(
		os.date "%Y-%m-%d",
		first_line "sed -n '1s/.* //p' lua-out/mod_privilege.lua",
		first_line "dpkg-query -W -f '${Version}' prosody-modules",
		prosody_version(),
		_VERSION,
		model,
		least == most and most or least .. " to " .. most
	)
end

--- Makes of the results what can be written to a file and stand beside others.
-- @param results list of what report.result gave
-- @return table: version, that of Prosody; circumstances, text; results, [key of the work] = the result without the work
function report.run(results)
	local run = { version = prosody_version(), circumstances = circumstances(results), results = {} }
	for _, result in ipairs(results) do
		run.results[result.work.key] = { boots = result.boots, figures = result.figures, ratios = result.ratios, is_good = result.is_good }
	end
	return run
end

--- Writes a run as Lua text, to be read with dofile.
function report.data(run)
	return "return " .. serialization.serialize(run) .. ";\n"
end

-- The ratios of some runs, with what each line is for
local function ratios(works, runs)
	local rows = { { "Work" } }
	local function add(row, cell, ...)
		for _, run in ipairs(runs) do
			table.insert(row, cell(run, ...))
		end
	end
	local version = runs[2] and function(run, title)
		return title .. ", " .. run.version
	end or function(_, title)
		return title
	end
	add(rows[1], version, "Ratio")
	add(rows[1], version, "Community")
	table.insert(rows[1], "Target")
	for _, work in ipairs(works) do
		local row = { work.name .. ": " .. work.why }
		local function cell(run, variant)
			local result = run.results[work.key]
			return result
					and ratio_cell({ work = work, figures = result.figures, ratios = result.ratios, is_good = result.is_good }, variant)
				or ""
		end
		add(row, cell, "module")
		add(row, cell, "community")
		table.insert(row, target_cell(work))
		table.insert(rows, row)
	end
	return lay_out(rows)
end

-- What the ratios were made of
local function times(results)
	local rows = { { "Work", "Without", "This module", "Community" } }
	for _, result in ipairs(results) do
		if result.work.basis then
			local without = result.figures.all and figure_cell(result, "all") .. " for all" or figure_cell(result, "native")
			table.insert(rows, { result.work.name, without, figure_cell(result, "module"), figure_cell(result, "community") })
		end
	end
	return rows[2] and lay_out(rows)
end

--- Writes the tables, with what is needed to read them, as Markdown.
-- @param results list of what report.result gave
-- @param others list of other runs, whose ratios stand beside these
-- @return the text
function report.text(results, others)
	local runs, works, parts = { report.run(results), table.unpack(others) }, {}, {}
	for i, result in ipairs(results) do
		works[i] = result.work
	end
	for i, run in ipairs(runs) do
		parts[i] = run.circumstances .. "\n"
	end
	table.insert(parts, ratios(works, runs) .. "\n")
	local table_of_times = times(results)
	if table_of_times then
		table.insert(
			parts,
			("What the ratios are made of, with Prosody %s: the server's own processor time for a piece of the work.\n"):format(
				prosody_version()
			) .. '"Without" is the same work without a privilege and without the module.\n'
		)
		table.insert(parts, table_of_times .. "\n")
	end
	return table.concat(parts, "\n")
end

return report
