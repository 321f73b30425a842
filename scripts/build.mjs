// Makes lua-out/mod_privilege.lua out of src/*.ts.
//
//   node scripts/build.mjs           writes the file
//   node scripts/build.mjs --check   fails when the file is not what would be written
//
// The sources are joined into one text (join-sources.mjs), which TypeScriptToLua checks and translates (lua-plugin.mjs);
// StyLua formats the Lua (stylua.mjs). Whether each source imports what it uses is for `tsc` to check, see make lint.

import fs from "node:fs";
import path from "node:path";
import ts from "typescript";
import tstl from "typescript-to-lua";
import { join_sources } from "./join-sources.mjs";
import { lost_comments } from "./lua-comments.mjs";
import { create_plugin } from "./lua-plugin.mjs";
import { format_lua } from "./stylua.mjs";

const root = path.resolve(import.meta.dirname, "..");
const out = "lua-out/mod_privilege.lua";

function header() {
	const { name, version, description } = JSON.parse(fs.readFileSync("package.json", "utf8"));
	return `-- ${name} ${version}
-- ${description}
--
-- Copyright (c) 2026 the ${name} authors
-- This file is MIT licensed; see the LICENSE file of the project.
--
-- Generated from src/ by \`make build\`; do not edit.

local module_version = "${version}"

`;
}

/** Gives the Lua, and what is wrong with the sources as `{ position, message }`, the position one in the joined text. */
function translate({ text, sections }, declarations, options) {
	const source_file = ts.createSourceFile("src/(joined).ts", text, options.target, true);
	const host = ts.createCompilerHost(options);
	const { getSourceFile } = host;
	host.getSourceFile = (name, ...rest) => (name === source_file.fileName ? source_file : getSourceFile(name, ...rest));
	const program = ts.createProgram([...declarations, source_file.fileName], options, host);
	const { plugin, problems } = create_plugin(source_file, sections);
	const task = { program, sourceFiles: [source_file], plugins: [plugin] };
	const { diagnostics, transpiledFiles } = tstl.getProgramTranspileResult(ts.sys, () => {}, task);
	for (const { file, start, messageText } of diagnostics) {
		problems.push({ position: file === source_file ? start : -1, message: ts.flattenDiagnosticMessageText(messageText, "\n") });
	}
	if (problems.length > 0) return { problems };
	const lua = format_lua(header() + transpiledFiles[0].code);
	return { lua, problems: lost_comments(source_file, lua) };
}

/** A problem with its place in the sources. */
function describe({ position, message }, { text, sections }) {
	const section = sections.findLast(({ start }) => start <= position);
	if (!section) return message;
	const lines = text.slice(section.start, position).split("\n");
	return `${section.file}:${lines.length}:${lines.at(-1).length + 1}: ${message}`;
}

function main(is_check) {
	process.chdir(root);
	const { fileNames, options } = tstl.parseConfigFileWithSystem(path.resolve("tsconfig.json"));
	const files = fileNames.map((name) => path.relative(root, name));
	const is_declaration = (file) => file.endsWith(".d.ts");
	const joined = join_sources(
		files.filter((file) => !is_declaration(file)),
		"src/mod_privilege.ts",
	);
	const { lua, problems } = translate(joined, files.filter(is_declaration), options);
	for (const problem of problems) console.error(describe(problem, joined));
	if (problems.length > 0) return 1;
	const is_same = fs.existsSync(out) && fs.readFileSync(out, "utf8") === lua;
	if (!is_check) fs.writeFileSync(out, lua);
	console.log(`${out} ${is_same ? "is" : is_check ? "is not" : "is now"} what src/ makes`);
	return is_same || !is_check ? 0 : 1;
}

const args = process.argv.slice(2);
if (args.some((arg) => arg !== "--check")) {
	console.error("Usage: node scripts/build.mjs [--check]");
	process.exit(2);
}
process.exitCode = main(args.length > 0);
