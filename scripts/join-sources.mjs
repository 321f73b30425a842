// Joins the source files into one TypeScript text, so that TypeScriptToLua can make one Lua file without a bundle runtime
// out of them.
//
// Imports and the word `export` are blanked out, character by character: every line of the joined text is a line of exactly
// one source file, which is what maps a problem back to where it belongs. ESLint keeps both to the forms that this is
// right for.

import fs from "node:fs";
import path from "node:path";

const blank = (text) => text.replace(/[^\n]/g, " ");

/** Reads a file: its text without imports and exports, what it imports from other files, and its imports from Prosody. */
function read_source(file) {
	const imports = [];
	const external = [];
	const without_exports = fs.readFileSync(file, "utf8").replace(/^export /gm, blank);
	const text = without_exports.replace(/^import ([^;]+) from "([^"]+)";$/gm, (line, names, specifier) => {
		if (!specifier.startsWith(".")) external.push(line);
		else if (!names.startsWith("type ")) imports.push(path.join(path.dirname(file), `${specifier}.ts`));
		return blank(line);
	});
	return { text, imports, external };
}

/** The files in the order in which they are written: what is imported comes before what imports it, each folder as a whole. */
function order_files(entry, sources) {
	const files = [...sources.keys()].sort();
	const ordered = new Set();
	const folder_of = (file) => files.filter((name) => path.dirname(name) === path.dirname(file));

	function visit(file, trail) {
		if (ordered.has(file)) return;
		if (trail.includes(file)) {
			console.error(`import cycle: ${[...trail.slice(trail.indexOf(file)), file].join(" -> ")}`);
			process.exit(1);
		}
		for (const target of sources.get(file)?.imports ?? []) {
			const is_near = path.dirname(target) === path.dirname(file);
			for (const needed of is_near ? [target] : [...folder_of(target), target]) visit(needed, [...trail, file]);
		}
		ordered.add(file);
	}

	// Those after the first are imported for their types only, or not at all.
	for (const file of [entry, ...files]) visit(file, []);
	return [...ordered];
}

/** Prosody's modules, each required once at the top of the file, in alphabetical order. */
function shared_imports(sources) {
	const module_of = (line) => line.slice(line.indexOf(" from "));
	const lines = new Set([...sources.values()].flatMap(({ external }) => external));
	// Who imports the value has the types too.
	for (const line of lines) lines.delete(line.replace(/^import \*/, "import type *"));
	const sorted = [...lines].sort((a, b) => (module_of(a) < module_of(b) ? -1 : 1));
	return `${sorted.join("\n")}\n`;
}

/** Joins files; `entry` imports the others. Gives the text and its sections, as the file of each and where it starts. */
export function join_sources(files, entry) {
	const sources = new Map(files.map((file) => [file, read_source(file)]));
	const sections = [];
	let text = shared_imports(sources);
	for (const file of order_files(entry, sources)) {
		sections.push({ file, start: text.length });
		text += sources.get(file).text;
	}
	return { text, sections };
}
