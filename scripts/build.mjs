// Makes lua-out/mod_privilege.lua out of src/*.ts.
//
//   node scripts/build.mjs           writes the file
//   node scripts/build.mjs --check   fails when the file is not what would be written
//
// The sources are type-checked as they are, then joined into one text (join-sources.mjs), which TypeScriptToLua
// translates and lua-style.mjs prints.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import tstl from "typescript-to-lua";
import { BuildError, join_sources } from "./join-sources.mjs";
import { lua_style } from "./lua-style.mjs";

const default_root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

function read_config(root) {
	const config = tstl.parseConfigFileWithSystem(path.join(root, "tsconfig.json"));
	if (config.errors.length > 0) throw new BuildError(config.errors.map(problem_of));
	return { files: config.fileNames, options: { ...config.options, noEmit: false } };
}

/** A compiler's diagnostic as `{ message, file, line, column }`. */
function problem_of(diagnostic) {
	const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n");
	const text = typeof diagnostic.code === "number" && diagnostic.code > 0 ? `${message} [TS${diagnostic.code}]` : message;
	if (!diagnostic.file || diagnostic.start === undefined) return { message: text };
	const { line, character } = diagnostic.file.getLineAndCharacterOfPosition(diagnostic.start);
	return { message: text, file: diagnostic.file.fileName, line: line + 1, column: character + 1 };
}

function type_check(program) {
	const diagnostics = ts.sortAndDeduplicateDiagnostics(ts.getPreEmitDiagnostics(program));
	if (diagnostics.length > 0) throw new BuildError(diagnostics.map(problem_of));
}

/** A compiler host that knows one file more than the disk does. */
function host_with(options, file, text) {
	const host = ts.createCompilerHost(options);
	const { fileExists, readFile, getSourceFile } = host;
	host.fileExists = (name) => name === file || fileExists(name);
	host.readFile = (name) => (name === file ? text : readFile(name));
	host.getSourceFile = (name, version, ...rest) =>
		name === file ? ts.createSourceFile(name, text, version, true) : getSourceFile(name, version, ...rest);
	return host;
}

/** Turns a place in the joined text into a place in a source file. */
function in_sources(problem, joined_file, sections) {
	if (problem.file !== joined_file) return problem;
	const section = sections.findLast(({ line }) => line < problem.line);
	if (!section) return { message: problem.message };
	return { ...problem, file: section.file, line: problem.line - section.line };
}

function header(root) {
	const { name, version, description } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"));
	return [
		`-- ${name} ${version}`,
		`-- ${description}`,
		"--",
		`-- Copyright (c) 2026 the ${name} authors`,
		"-- This file is MIT licensed; see the LICENSE file of the project.",
		"--",
		"-- Generated from src/ by `make build`; do not edit.",
		"",
		`local module_version = "${version}"`,
		"",
	].map((line) => `${line}\n`).join("");
}

export function build(root = default_root) {
	const { files, options } = read_config(root);
	const program = ts.createProgram(files, options);
	type_check(program);

	const source_dir = path.join(root, "src");
	const joined = join_sources(program, path.join(source_dir, "mod_privilege.ts"), source_dir);
	const joined_file = path.join(source_dir, "(joined).ts");
	const declarations = files.filter((file) => file.endsWith(".d.ts"));

	try {
		const joined_program = ts.createProgram([...declarations, joined_file], options, host_with(options, joined_file, joined.text));
		type_check(joined_program);
		const style = lua_style(joined.sections);
		const { diagnostics } = tstl.getProgramTranspileResult(ts.sys, () => {}, {
			program: joined_program,
			sourceFiles: [joined_program.getSourceFile(joined_file)],
			plugins: [style.plugin],
		});
		const problems = [...ts.sortAndDeduplicateDiagnostics(diagnostics).map(problem_of), ...style.problems()];
		if (problems.length > 0) throw new BuildError(problems);
		return header(root) + style.lua();
	} catch (error) {
		if (!(error instanceof BuildError)) throw error;
		throw new BuildError(error.problems.map((problem) => in_sources(problem, joined_file, joined.sections)));
	}
}

function print_problems(root, problems) {
	const seen = new Set();
	for (const { message, file, line, column } of problems) {
		const place = file ? `${path.relative(root, file)}:${line}:${column}: ` : "";
		const text = `${place}${message}`;
		if (!seen.has(text)) console.error(text);
		seen.add(text);
	}
	console.error(`build: ${seen.size} problem${seen.size === 1 ? "" : "s"}`);
}

function main(args) {
	const check = args.includes("--check");
	const root = path.resolve(args.find((arg) => !arg.startsWith("--")) ?? default_root);
	const out = path.join(root, "lua-out", "mod_privilege.lua");
	const name = path.relative(root, out);

	let lua;
	try {
		lua = build(root);
	} catch (error) {
		if (!(error instanceof BuildError)) throw error;
		print_problems(root, error.problems);
		return 1;
	}

	const committed = fs.existsSync(out) ? fs.readFileSync(out, "utf8") : undefined;
	if (check) {
		if (committed === lua) {
			console.log(`${name} is what src/ makes`);
			return 0;
		}
		console.error(committed === undefined ? `${name} is missing; run make build` : `${name} is not what src/ makes: ${first_difference(committed, lua)}; run make build`);
		return 1;
	}
	fs.mkdirSync(path.dirname(out), { recursive: true });
	if (committed !== lua) fs.writeFileSync(out, lua);
	console.log(`${name}: ${lua.split("\n").length - 1} lines${committed === lua ? ", unchanged" : ""}`);
	return 0;
}

function first_difference(before, after) {
	const a = before.split("\n");
	const b = after.split("\n");
	const line = a.findIndex((text, index) => text !== b[index]);
	return `they differ from line ${line < 0 ? a.length : line + 1} on`;
}

process.exitCode = main(process.argv.slice(2));
