// Joins the project's source files into one TypeScript text, so that TypeScriptToLua can make one Lua file without a
// bundle runtime out of them.
//
// Imports between the project's own files and the word `export` are blanked out, character by character: every line of
// the joined text is a line of exactly one source file, which is what maps a diagnostic back to where it belongs.

import path from "node:path";
import ts from "typescript";

export class BuildError extends Error {
	constructor(problems) {
		super(problems.map((problem) => problem.message).join("\n"));
		this.problems = problems;
	}
}

/** A problem at a place in a source file, as `{ message, file, line, column }`. */
function problem_at(source_file, node, message) {
	const { line, character } = source_file.getLineAndCharacterOfPosition(node.getStart(source_file));
	return { message, file: source_file.fileName, line: line + 1, column: character + 1 };
}

function is_relative(specifier) {
	return specifier.startsWith("./") || specifier.startsWith("../");
}

/** True for `import type …` and for `import { type A, type B } …`: nothing of it is left at run time. */
function is_type_only(declaration) {
	const clause = declaration.importClause;
	if (!clause) return false;
	if (clause.isTypeOnly) return true;
	const bindings = clause.namedBindings;
	return !clause.name && !!bindings && ts.isNamedImports(bindings) && bindings.elements.length > 0
		&& bindings.elements.every((element) => element.isTypeOnly);
}

/** Reads one file: its imports from other files of the project, its imports from Prosody, and what to blank out. */
function read_source(source_file, program, problems) {
	const source = { source_file, values: [], types: [], external: [], blanks: [] };
	const complain = (node, message) => problems.push(problem_at(source_file, node, message));

	for (const statement of source_file.statements) {
		if (ts.isImportDeclaration(statement)) {
			const specifier = statement.moduleSpecifier.text;
			source.blanks.push([statement.getStart(source_file), statement.end]);
			if (!is_relative(specifier)) {
				source.external.push(statement);
				continue;
			}
			const clause = statement.importClause;
			if (!clause || clause.name || !clause.namedBindings || !ts.isNamedImports(clause.namedBindings)) {
				complain(statement, "files of the project are imported by name only: import { a, b } from \"./file\"");
			} else {
				for (const element of clause.namedBindings.elements) {
					if (element.propertyName) complain(element, "an import from the project's own files cannot be renamed");
				}
			}
			const target = resolve_import(program, source_file, statement.moduleSpecifier);
			if (target) (is_type_only(statement) ? source.types : source.values).push([target, statement]);
		} else if (ts.isExportDeclaration(statement) || ts.isExportAssignment(statement)) {
			complain(statement, "only declarations are exported: export function …, export const …, export interface …");
		} else if (ts.canHaveModifiers(statement)) {
			for (const modifier of ts.getModifiers(statement) ?? []) {
				if (modifier.kind === ts.SyntaxKind.DefaultKeyword) complain(modifier, "nothing is exported as default");
				if (modifier.kind !== ts.SyntaxKind.ExportKeyword) continue;
				const end = modifier.end + (source_file.text.slice(modifier.end).match(/^[ \t]*/)?.[0].length ?? 0);
				source.blanks.push([modifier.getStart(source_file), end]);
			}
		}
	}
	return source;
}

function resolve_import(program, source_file, specifier) {
	const { resolvedModule } = ts.resolveModuleName(specifier.text, source_file.fileName, program.getCompilerOptions(), ts.sys);
	return resolvedModule?.resolvedFileName;
}

/** The files in the order in which they are written: what is imported comes before what imports it, each folder as a whole. */
function order_sources(entry, sources, problems) {
	const ordered = [];
	const state = new Map();

	/** All files of the folder of `target`, none where it is that of `file` too. */
	function folder_of(target, file) {
		const folder = path.dirname(target);
		return folder === path.dirname(file) ? [] : [...sources.keys()].filter((name) => path.dirname(name) === folder).sort();
	}

	function visit(file, trail) {
		const source = sources.get(file);
		if (!source || state.get(file) === "done") return;
		state.set(file, "open");
		for (const [target, statement] of source.values) {
			if (state.get(target) === "open") {
				const names = [...trail.slice(trail.indexOf(target)), target].map((name) => path.basename(name));
				problems.push(problem_at(source.source_file, statement, `import cycle: ${names.join(" -> ")}`));
			} else {
				for (const sibling of folder_of(target, file)) {
					if (state.get(sibling) !== "open") visit(sibling, [...trail, sibling]);
				}
				visit(target, [...trail, target]);
			}
		}
		state.set(file, "done");
		ordered.push(source);
	}

	visit(entry, [entry]);
	// What is imported for its types only need not come first, but its types are part of the text.
	for (let i = 0; i < ordered.length; i++) {
		for (const [target] of ordered[i].types) visit(target, [target]);
	}
	for (const [file, source] of sources) {
		if (state.has(file)) continue;
		problems.push({ message: "no file imports this one", file: source.source_file.fileName, line: 1, column: 1 });
	}
	return ordered;
}

/** Prosody's modules, each required once at the top of the file. */
function merge_external_imports(ordered, problems) {
	const requires = new Map();
	const types = new Map();
	for (const { source_file, external } of ordered) {
		for (const statement of external) {
			const specifier = statement.moduleSpecifier.text;
			const bindings = statement.importClause?.namedBindings;
			if (bindings && ts.isNamespaceImport(bindings) && !statement.importClause.name) {
				const type_word = statement.importClause.isTypeOnly ? "type " : "";
				const line = `import ${type_word}* as ${bindings.name.text} from ${JSON.stringify(specifier)};`;
				requires.set(`${type_word}${specifier} ${bindings.name.text}`, line);
			} else if (bindings && ts.isNamedImports(bindings) && is_type_only(statement)) {
				for (const element of bindings.elements) {
					const text = element.getText(source_file).replace(/^type\s+/, "");
					types.set(`${specifier} ${text}`, `import type { ${text} } from ${JSON.stringify(specifier)};`);
				}
			} else {
				problems.push(problem_at(source_file, statement,
					"values of Prosody's modules are reached through a name: import * as jid from \"util.jid\""));
			}
		}
	}
	// A module that is imported for its value somewhere serves the type-only imports under the same name as well.
	for (const key of [...requires.keys()]) {
		if (key.startsWith("type ") && requires.has(key.slice("type ".length))) requires.delete(key);
	}
	const by_text = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
	const from = (line) => line.slice(line.indexOf(" from "));
	return [...requires.values()].sort((a, b) => by_text(from(a), from(b)) || by_text(a, b)).concat([...types.values()].sort(by_text));
}

function blank_out(text, ranges) {
	let result = text;
	for (const [start, end] of ranges) {
		result = result.slice(0, start) + result.slice(start, end).replace(/[^\n]/g, " ") + result.slice(end);
	}
	return result;
}

/**
 * Joins the files of `program` under `source_dir` that `entry` reaches.
 *
 * Returns the text and `sections`, one for each file: `{ name, file, line, start, end, first, first_is_import }`, where
 * `line` counts from 0 and the others are offsets into the text.
 */
export function join_sources(program, entry, source_dir) {
	const problems = [];
	const sources = new Map();
	for (const source_file of program.getSourceFiles()) {
		if (source_file.isDeclarationFile || !source_file.fileName.startsWith(`${source_dir}/`)) continue;
		sources.set(source_file.fileName, read_source(source_file, program, problems));
	}
	const ordered = order_sources(entry, sources, problems);
	const imports = merge_external_imports(ordered, problems);
	if (problems.length > 0) throw new BuildError(problems);

	let text = imports.map((line) => `${line}\n`).join("");
	const sections = [];
	for (const { source_file, blanks } of ordered) {
		const own = blank_out(source_file.text.replace(/\s*$/, "\n"), blanks);
		const first = source_file.statements[0];
		sections.push({
			name: path.posix.join(path.basename(source_dir), path.posix.relative(source_dir, source_file.fileName)),
			file: source_file.fileName,
			line: text.split("\n").length - 1,
			start: text.length,
			end: text.length + own.length,
			first: text.length + (first ? first.getStart(source_file, false) : own.length),
			first_is_import: !!first && ts.isImportDeclaration(first),
		});
		text += own;
	}
	return { text, sections };
}
