import { optional_module } from "../prosody/compatibility";

/**
 * Prints a table. Before Prosody 0.12, its cells are only separated by tabs.
 *
 * @param max_width the width of its lines, which has to have room for the titles; longer cells are wrapped
 */
export function print_table(print_line: (this: void, line: string) => void, titles: string[], rows: string[][], max_width: number): void {
	const separator = " | ";

	/** Whether a byte is the second or a later one of a character in UTF-8. */
	function continues_character(text: string, position: number): boolean {
		const byte = string.byte(text, position);
		return byte >= 0x80 && byte < 0xc0;
	}

	/** Breaks a text into lines of at most `width` bytes, at spaces where there are any. */
	function wrap(text: string, width: number): string[] {
		const lines: string[] = [];
		let rest = text;
		while (rest.length > width) {
			const [words] = string.match(string.sub(rest, 1, width + 1), "^(.+) ");
			let line = words;
			if (line === undefined) {
				let last = width;
				while (last > 1 && continues_character(rest, last + 1)) {
					last = last - 1;
				}
				line = string.sub(rest, 1, last);
			}
			lines.push(line);
			rest = string.gsub(string.sub(rest, line.length + 1), "^ +", "")[0];
		}
		lines.push(rest);
		return lines;
	}

	/** The width of each column is that of its widest cell. While the table is too wide, its widest column gets narrower. */
	function column_widths(): number[] {
		const widths: number[] = [];
		let total = -separator.length;
		for (const [i, title] of ipairs(titles)) {
			let width = title.length + 1;
			for (const [, row] of ipairs(rows)) {
				width = math.max(width, row[i - 1]!.length);
			}
			widths.push(width);
			total = total + width + separator.length;
		}
		while (total > max_width) {
			let widest = 1;
			for (const [i, width] of ipairs(widths)) {
				if (width > widths[widest - 1]!) {
					widest = i;
				}
			}
			widths[widest - 1] = widths[widest - 1]! - 1;
			total = total - 1;
		}
		return widths;
	}

	/** Prints a row, in as many lines as its longest cell needs. */
	function print_row(row: string[], widths: number[], format_row: (this: void, row?: string[]) => string): void {
		const cells: string[][] = [];
		let height = 1;
		for (const [i, width] of ipairs(widths)) {
			const lines = wrap(row[i - 1]!, width);
			cells.push(lines);
			height = math.max(height, lines.length);
		}
		for (const line of $range(1, height)) {
			const texts: string[] = [];
			for (const [, lines] of ipairs(cells)) {
				texts.push(lines[line - 1] ?? "");
			}
			print_line(format_row(texts));
		}
	}

	// Since Prosody 0.12
	const human_io = optional_module("util.human.io") as typeof import("util.human.io") | undefined;
	if (!human_io) {
		print_line(table.concat(titles, "\t"));
		for (const [, row] of ipairs(rows)) {
			print_line(table.concat(row, "\t"));
		}
		return;
	}
	const widths = column_widths();
	const columns: Array<import("util.human.io").Column> = [];
	for (const [i, width] of ipairs(widths)) {
		columns.push({ title: titles[i - 1]!, width: width });
	}
	const format_row = human_io.table(columns, max_width);
	print_line(format_row());
	for (const [, row] of ipairs(rows)) {
		print_row(row, widths, format_row);
	}
}
