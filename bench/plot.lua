-- The ratios that matter most as a picture: bars, with a mark where the target is. It is readable on light and on dark pages.

local plot = {}

local width, label_width, scale_width = 760, 236, 440
local greatest = 2.5 -- what is longer is cut off
local bar, gap, spacing = 11, 2, 13

local panels = {
	{ basis = "native", title = "Compared with the same work without a privilege and without the module" },
	{ basis = "community", title = "Compared with the community module" },
}

local style = [[
	<style>
		svg { color-scheme: light dark; }
		text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
		.card { fill: #ffffff; stroke: #d1d9e0; }
		.title { font-weight: 600; }
		.small { font-size: 11px; fill: #59636e; }
		.module { fill: #0969da; }
		.community { fill: #afb8c1; }
		.one { stroke: #59636e; }
		.grid { stroke: #d1d9e0; }
		.target { stroke: #bc4c00; stroke-width: 2.5; }
		.cut { stroke: #ffffff; stroke-width: 3; }
		@media (prefers-color-scheme: dark) {
			text { fill: #f0f6fc; }
			.card { fill: #0d1117; stroke: #3d444d; }
			.small { fill: #9198a1; }
			.module { fill: #4493f8; }
			.community { fill: #656c76; }
			.one { stroke: #9198a1; }
			.grid { stroke: #2a313a; }
			.target { stroke: #f0883e; }
			.cut { stroke: #0d1117; }
		}
	</style>]]

local function number(value)
	return (("%.1f"):format(value):gsub("%.0$", ""))
end

local function x_of(ratio)
	return label_width + math.min(ratio, greatest) / greatest * scale_width
end

-- Collects elements
local function canvas()
	local lines = {}
	local self = {}
	function self.add(element, ...)
		table.insert(lines, "\t" .. element:format(...))
	end
	function self.text(x, y, class, anchor, text)
		self.add('<text x="%s" y="%s" class="%s" text-anchor="%s">%s</text>', number(x), number(y), class, anchor, text)
	end
	function self.line(class, x, y1, y2)
		self.add('<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>', class, number(x), number(y1), number(x), number(y2))
	end
	function self.content()
		return table.concat(lines, "\n")
	end
	return self
end

-- A bar; the number behind it keeps clear of the target's mark
local function draw_bar(page, variant, ratio, y, target)
	local right = x_of(ratio)
	local mark = target and x_of(target) or 0
	local text_x = mark > right - 6 and mark < right + 38 and mark + 6 or right + 6
	page.add(
		'<rect class="%s" x="%d" y="%s" width="%s" height="%d" rx="2"/>',
		variant,
		label_width,
		number(y),
		number(right - label_width),
		bar
	)
	if ratio > greatest then
		page.add('<path class="cut" d="M%s %s l-5 %d"/>', number(right - 18), number(y - 1), bar + 2)
	end
	page.text(text_x, y + bar - 1.5, variant == "module" and "" or "small", "start", ("%.2f"):format(ratio))
end

-- Draws one work; gives where the next one goes
local function draw_work(page, result, y)
	local variants = {}
	for _, variant in ipairs { "module", "community" } do
		if result.ratios[variant] then
			table.insert(variants, variant)
		end
	end
	local height = #variants * (bar + gap) - gap
	page.text(label_width - 12, y + height / 2 + 4.5, "", "end", result.work.short)
	for i, variant in ipairs(variants) do
		draw_bar(page, variant, result.ratios[variant][1], y + (i - 1) * (bar + gap), variant == "module" and result.work.target)
	end
	if result.work.target then
		page.line("target", x_of(result.work.target), y - 3, y + bar + 3)
	end
	return y + height + spacing
end

-- Draws what is compared with the same variant; gives where the next panel goes
local function draw_panel(page, panel, results, y)
	page.text(24, y, "title", "start", panel.title)
	local top, bottom = y + 14, y + 20
	local rows = canvas()
	for _, result in ipairs(results) do
		bottom = draw_work(rows, result, bottom)
	end
	bottom = bottom - spacing + 6
	for i = 0, 2 * greatest do
		local ratio = i / 2
		page.line(ratio == 1 and "one" or "grid", x_of(ratio), top, bottom)
		page.text(x_of(ratio), bottom + 14, "small", "middle", ratio == 1 and "1 ×" or ("%g"):format(ratio))
	end
	page.add("%s", rows.content():gsub("^\t", ""))
	return bottom + 46
end

local function draw_legend(page, y)
	local x = 24
	for _, entry in ipairs { { "module", "this module" }, { "community", "community module" } } do
		page.add('<rect class="%s" x="%s" y="%s" width="12" height="12" rx="2"/>', entry[1], number(x), number(y - 11))
		page.text(x + 18, y, "", "start", entry[2])
		x = x + 44 + #entry[2] * 7.5
	end
	page.line("target", x + 6, y - 12, y + 2)
	page.text(x + 16, y, "", "start", "target: the module is to end left of it")
end

--- Draws the ratios.
-- @param results list of what report.result gave
-- @return the picture, as SVG
function plot.draw(results)
	local page = canvas()
	local y = 32
	page.text(24, y, "title", "start", "What mod_privilege costs: the server's processor time, shorter is better")
	draw_legend(page, y + 26)
	y = y + 62
	for _, panel in ipairs(panels) do
		local shown = {}
		for _, result in ipairs(results) do
			if result.work.short and result.work.basis == panel.basis and result.ratios.module then
				table.insert(shown, result)
			end
		end
		if shown[1] then
			y = draw_panel(page, panel, shown, y)
		end
	end
	local height = y - 22
	return table.concat({
		('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="What mod_privilege costs">'):format(
			width,
			height,
			width,
			height
		),
		style,
		('\t<rect class="card" x="0.5" y="0.5" width="%d" height="%d" rx="8"/>'):format(width - 1, height - 1),
		page.content(),
		"</svg>\n",
	}, "\n")
end

return plot
