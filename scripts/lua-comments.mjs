// The comments of the joined sources, and the statements (or table fields) that they belong to.
//
// TypeScriptToLua keeps documentation comments of declarations only. Here every comment finds an owner: the statement,
// field or array element that it stands before, or that it follows on the same line. Comments of what leaves no trace in
// Lua (interfaces, types, ambient declarations) go with it, and so do instructions to the tools.

import ts from "typescript";

/** Comments that speak to a tool, not to a reader. */
const tool_comment = /^\W*(eslint|@ts-|prettier-|@noSelf|@luaTable|@customName|@noResolution|global |istanbul |c8 )/;

/** A comment's text as lines of Lua comments. */
function lua_lines(text) {
	if (text.startsWith("//")) return [`--${text.slice(2).trimEnd()}`];
	const is_doc = text.startsWith("/**");
	const lines = text.slice(is_doc ? 3 : 2, -2).split("\n").map((line, index) => (index === 0 ? line : line.replace(/^\s*\* ?/, "")).trimEnd());
	lines[0] = lines[0].trimStart();
	while (lines.length > 0 && lines[0] === "") lines.shift();
	while (lines.length > 0 && lines.at(-1).trim() === "") lines.pop();
	return lines.map((line, index) => {
		const dashes = is_doc && index === 0 ? "---" : "--";
		const content = line.replace(/\{@link\s+([^}|]+?)\s*(?:\|\s*([^}]+?)\s*)?\}/g, (_, target, label) => label ?? target);
		return content === "" ? dashes : `${dashes} ${content}`;
	});
}

/** Every comment of the file, in order; `//` comments on consecutive lines of their own are one. */
function read_comments(source_file, sections) {
	const text = source_file.text;
	const ranges = new Map();
	const note = (found) => {
		for (const range of found ?? []) ranges.set(range.pos, range);
	};
	(function visit(node) {
		if (node.kind >= ts.SyntaxKind.FirstJSDocNode && node.kind <= ts.SyntaxKind.LastJSDocNode) return;
		const children = node.getChildren(source_file);
		if (children.length > 0) {
			children.forEach(visit);
		} else if (node.kind !== ts.SyntaxKind.JsxText) {
			note(ts.getLeadingCommentRanges(text, node.pos));
			note(ts.getTrailingCommentRanges(text, node.end));
		}
	})(source_file);

	const comments = [];
	for (const { pos, end } of [...ranges.values()].sort((a, b) => a.pos - b.pos)) {
		const content = text.slice(pos, end);
		const own_line = /(^|\n)[ \t]*$/.test(text.slice(0, pos));
		const previous = comments.at(-1);
		if (previous && own_line && previous.own_line && content.startsWith("//") && previous.is_line
			&& /^[ \t]*\n[ \t]*$/.test(text.slice(previous.end, pos)) && !sections.some(({ start }) => previous.end <= start && start <= pos)) {
			if (!tool_comment.test(content)) previous.lines.push(...lua_lines(content));
			previous.end = end;
			continue;
		}
		comments.push({ pos, end, own_line, is_line: content.startsWith("//"), lines: tool_comment.test(content) ? [] : lua_lines(content) });
	}
	return comments;
}

function is_erased(node) {
	return ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) || ts.isImportDeclaration(node) || ts.isEmptyStatement(node)
		|| (ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some(({ kind }) => kind === ts.SyntaxKind.DeclareKeyword))
		|| (ts.isFunctionDeclaration(node) && !node.body);
}

/** What a node lists: statements, fields, elements; undefined for nodes that own no list. */
function items_of(node) {
	if (ts.isSourceFile(node) || ts.isBlock(node)) return node.statements;
	if (ts.isObjectLiteralExpression(node)) return node.properties;
	if (ts.isArrayLiteralExpression(node)) return node.elements;
	return undefined;
}

const has_blank_line = (text) => /\n[ \t]*\n/.test(text);

/**
 * Reads the layout of the file.
 *
 * Returns a map from a statement, field or element to its notes: `{ blank_before, leading, gap, same_line, after, section }`,
 * where `leading` is a list of `{ lines, blank_before }` and `gap` says that a blank line follows the last of them. Notes of
 * what is erased are not in the map. `empty_blocks` has the comments that are all there is in a block, `lost` those that no
 * owner was found for.
 */
export function read_layout(source_file, sections) {
	const text = source_file.text;
	const notes = new Map();
	const lost = [];
	const comments = read_comments(source_file, sections);
	const section_at = (position) => sections.findLast(({ start }) => start <= position);

	const owner = new Map(comments.map((comment) => [comment, { list: source_file, items: source_file.statements }])); // the innermost list
	(function visit(node) {
		const items = items_of(node);
		if (items && node !== source_file) {
			for (const comment of comments) {
				if (comment.pos >= node.getStart(source_file, false) && comment.end <= node.end) owner.set(comment, { list: node, items });
			}
		}
		ts.forEachChild(node, visit);
	})(source_file);

	const before = new Map(); // item -> comments
	const same_line = new Map();
	const dangling = new Map(); // last item -> comments
	const empty_blocks = new Map(); // block without statements -> comments
	const push = (map, key, value) => map.set(key, [...(map.get(key) ?? []), value]);
	for (const comment of comments) {
		const { list, items } = owner.get(comment);
		const containing = items.find((item) => item.getStart(source_file, false) <= comment.pos && comment.end <= item.end);
		const previous = items.findLast((item) => item.end <= comment.pos);
		const next = items.find((item) => item.getStart(source_file, false) >= comment.end);
		if (comment.lines.length === 0) continue;
		if (containing) push(before, containing, comment);
		else if (previous && !text.slice(previous.end, comment.pos).includes("\n")) push(same_line, previous, comment);
		else if (next && (next.parent !== source_file || section_at(next.getStart(source_file, false)) === section_at(comment.pos))) push(before, next, comment);
		else if (previous) push(dangling, previous, comment);
		else if (ts.isBlock(list)) push(empty_blocks, list, comment);
		else lost.push(comment);
	}

	function note_list(list, items) {
		let blank = false; // a blank line since the last item that was kept
		let carried = []; // comments on top of a file, waiting for the first statement that is kept
		let section;
		let position = ts.isSourceFile(list) ? 0 : items.pos;
		for (const item of items) {
			const start = item.getStart(source_file, false);
			const here = ts.isSourceFile(list) ? section_at(start) : undefined;
			const is_new_section = here !== section;
			if (is_new_section) carried = [];
			section = here;
			let leading = before.get(item) ?? [];
			const first_start = Math.min(leading[0]?.pos ?? start, start);
			blank ||= has_blank_line(text.slice(position, first_start));
			const last_same_line = same_line.get(item)?.at(-1);
			position = Math.max(item.end, last_same_line?.end ?? 0);

			if (here && start >= here.first) {
				const on_top = leading.filter((comment) => comment.end <= here.first
					&& (here.first_is_import || has_blank_line(text.slice(comment.end, next_after(comment, leading, start)))));
				if (on_top.length > 0 && is_erased(item)) carried.push(...on_top);
			}
			if (is_erased(item)) continue;
			leading = [...carried, ...leading];
			carried = [];
			const last = leading.at(-1);
			notes.set(item, {
				blank_before: blank,
				leading: leading.map((comment, index) => ({
					lines: comment.lines,
					blank_before: index > 0 && has_blank_line(text.slice(leading[index - 1].end, comment.pos)),
				})),
				gap: !!last && last.end <= start && has_blank_line(text.slice(last.end, start)),
				same_line: (same_line.get(item) ?? []).flatMap(({ lines }) => lines).map((line) => line.replace(/^--+ ?/, "")).join(" "),
				after: [],
				section: here?.name,
				position: start,
			});
			blank = false;
		}
		for (const item of items) {
			const rest = dangling.get(item);
			if (!rest) continue;
			const kept = notes.get(item);
			if (!kept) {
				if (!is_erased(item)) lost.push(...rest);
				continue;
			}
			kept.after = rest.map((comment, index) => ({
				lines: comment.lines,
				blank_before: has_blank_line(text.slice(index > 0 ? rest[index - 1].end : item.end, comment.pos)),
			}));
		}
	}

	(function visit(node) {
		const items = items_of(node);
		if (items) note_list(node, items);
		ts.forEachChild(node, visit);
	})(source_file);
	return { notes, empty_blocks, lost };
}

function next_after(comment, comments, start) {
	const next = comments[comments.indexOf(comment) + 1];
	return next ? next.pos : start;
}
