/** util.human.io has tables since Prosody 0.12. */
const [has_human_io, human_io_module] = pcall(require, "util.human.io");
const human_io = human_io_module as typeof import("util.human.io");

/** Prints a table whose columns are as wide as what stands in them; before Prosody 0.12 a plain one. */
export function print_table(print_line: (this: void, line: string) => void, titles: string[], rows: string[][]): void {
	if (!has_human_io) {
		print_line(table.concat(titles, "\t"));
		for (const [, row] of ipairs(rows)) {
			print_line(table.concat(row, "\t"));
		}
		return;
	}
	const columns: Array<import("util.human.io").Column> = [];
	let total = 0;
	for (const i of $range(0, titles.length - 1)) {
		let width = titles[i]!.length + 1;
		for (const [, row] of ipairs(rows)) {
			width = math.max(width, row[i]!.length);
		}
		columns.push({ title: titles[i]!, width: width });
		total = total + width + " | ".length;
	}
	const format_row = human_io.table(columns, total);
	print_line(format_row());
	for (const [, row] of ipairs(rows)) {
		print_line(format_row(row));
	}
}
