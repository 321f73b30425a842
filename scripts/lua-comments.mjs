// The comments and blank lines of the joined sources, for the Lua.
//
// TypeScriptToLua keeps documentation comments of declarations only, and no blank lines. Comments of what leaves no trace
// in Lua (interfaces, types, ambient declarations) go with it, and so do instructions to the tools.

import ts from "typescript";

/** Stands among comments for a blank line. */
export const blank_line = Symbol("blank line");

/** Comments that speak to a tool, not to a reader. */
const tool_comment = /^\W*(eslint|@ts-|prettier-|@noSelf|@luaTable|@customName|@noResolution)/;

const has_blank_line = (text) => /\n[ \t]*\n/.test(text);

/** A comment of TypeScript as lines of Lua comments, without the two dashes before each. */
function lua_lines(comment) {
	if (tool_comment.test(comment)) return [];
	if (comment.startsWith("//")) return [comment.slice(2).trimEnd()];
	const is_doc = comment.startsWith("/**");
	const text = comment.replace(/^\/\*+|\*\/$/g, "").trim();
	return text.split("\n").map((line, index) => `${is_doc && index === 0 ? "-" : ""} ${line.replace(/^\s*\* ?/, "")}`.trimEnd());
}

/** True for what leaves no trace in Lua. */
function is_erased(node) {
	const is_ambient = ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.DeclareKeyword);
	return is_ambient || ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node);
}

/** The comments on lines of their own, and the blank lines, between the end of one thing and the start of the next. */
export function lines_between(from, to, { text }) {
	const lines = [];
	let end = from;
	for (const comment of ts.getLeadingCommentRanges(text, from) ?? []) {
		if (has_blank_line(text.slice(end, comment.pos))) lines.push(blank_line);
		lines.push(...lua_lines(text.slice(comment.pos, comment.end)));
		end = comment.end;
	}
	if (has_blank_line(text.slice(end, to))) lines.push(blank_line);
	return lines;
}

/** Every comment that has to reach the Lua. */
function expected_comments(source_file) {
	const { text } = source_file;
	const found = new Map();
	const note = (comments) => comments?.forEach((comment) => found.set(comment.pos, comment));
	(function visit(node) {
		const leading = ts.getLeadingCommentRanges(text, node.pos);
		if (is_erased(node)) {
			// A comment above a blank line is not one on the type.
			note(leading?.filter(({ end }) => has_blank_line(text.slice(end, node.getStart(source_file)))));
		} else if (!ts.isJSDoc(node)) {
			note(leading);
			note(ts.getTrailingCommentRanges(text, node.end));
			node.getChildren(source_file).forEach(visit);
		}
	})(source_file);
	return [...found.values()].sort((a, b) => a.pos - b.pos);
}

/** A problem for each comment that is not in the Lua, in its place among the others. */
export function lost_comments(source_file, lua) {
	const message =
		"the Lua would be without this comment; put it on lines of its own before a statement or a field, or at the end of a function";
	let found = 0;
	function is_lost(line) {
		const at = lua.indexOf(`--${line}\n`, found);
		found = Math.max(found, at + 1);
		return at < 0;
	}
	const lost = expected_comments(source_file).filter(({ pos, end }) => lua_lines(source_file.text.slice(pos, end)).some(is_lost));
	return lost.map(({ pos }) => ({ position: pos, message }));
}
