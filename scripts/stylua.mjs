// StyLua with the options of stylua.toml: for the build, and for all other Lua as a plugin of Prettier.

import fs from "node:fs";
import { CallParenType, Config, OutputVerification, formatCode } from "@johnnymorganz/stylua";

const options = fs.readFileSync(new URL("../stylua.toml", import.meta.url), "utf8");

function run_stylua(text) {
	const config = Config.new();
	config.column_width = Number(options.match(/^column_width = (\d+)$/m)[1]);
	config.call_parentheses = CallParenType[options.match(/^call_parentheses = "(\w+)"$/m)[1]];
	return formatCode(text, config, undefined, OutputVerification.Full);
}

/** Formats Lua; twice, since StyLua lays out a table anew that it has broken up before. */
export function format_lua(text) {
	return run_stylua(run_stylua(text));
}

export const languages = [{ name: "Lua", parsers: ["stylua"], extensions: [".lua"] }];
export const parsers = { stylua: { astFormat: "stylua", parse: format_lua, locStart: () => 0, locEnd: (text) => text.length } };
export const printers = { stylua: { print: ({ node }) => node } };
