// A plugin for TypeScriptToLua: idioms and comments in its translation, and nothing that needs its library or temporary
// names. How the Lua is laid out is StyLua's work.

import ts from "typescript";
import tstl from "typescript-to-lua";
import { blank_line, lines_between } from "./lua-comments.mjs";
import { translate_expression, translate_statement } from "./lua-idioms.mjs";

/** Makes the plugin, and the list of problems that it finds, as `{ position, message }`; a section is `{ file, start }`. */
export function create_plugin(source_file, sections) {
	const problems = [];
	const begun = new Set();
	const long_lists = new WeakSet();

	/** Comments at the end of a function are most of all those that say why it is empty. */
	function note_end({ body }, lua_function) {
		if (body?.statements && lua_function) lua_function.body.comments = lines_between(body.statements.end, body.end - 1, source_file);
		return lua_function;
	}

	function statement(node, context) {
		const translated = translate_statement(node, context);
		if (ts.isFunctionDeclaration(node)) note_end(node, translated.at(-1)?.right?.[0]);
		if (translated.length === 0 || !node.parent?.statements) return translated;
		const start = node.getStart(source_file);
		const section = sections.findLast((other) => other.start <= start);
		// The line break before a section ends the one before it.
		const lines = lines_between(Math.max(node.pos, section.start - 1), start, source_file);
		if (node.parent === source_file && !begun.has(section)) {
			lines.unshift(blank_line, ` ==== ${section.file} ====`, blank_line);
			begun.add(section);
		}
		if (lines.length > 0) translated[0].leadingComments = lines;
		return translated;
	}

	function table(node, context) {
		const translated = context.superTransformExpression(node);
		const items = node.properties ?? node.elements;
		for (const [index, item] of items.entries()) {
			const start = item.getStart(source_file);
			const lines = lines_between(item.pos, start, source_file);
			translated.fields[index].leadingComments = lines;
			const begins_line = source_file.text.slice(item.pos, start).includes("\n");
			if (lines.length > 0 || (index === 0 && begins_line)) long_lists.add(translated.fields);
		}
		return translated;
	}

	class Printer extends tstl.LuaPrinter {
		print_comments(lines = []) {
			return this.concatNodes(...lines.flatMap((line) => [this.printComment(line), "\n"]));
		}

		printTableFieldExpression(field) {
			return this.concatNodes(this.print_comments(field.leadingComments), super.printTableFieldExpression(field));
		}

		printBlock(block) {
			return this.concatNodes(super.printBlock(block), this.print_comments(block.comments));
		}

		printComment(comment) {
			return comment === blank_line ? "" : super.printComment(comment);
		}

		/** A table has several lines where it has them in the source; all else is up to StyLua. */
		isSimpleExpressionList(list) {
			return !long_lists.has(list);
		}

		/** A value that is not wanted is `_` in Lua. */
		printIdentifier(identifier) {
			return identifier.text === "____" ? this.createSourceNode(identifier, "_") : super.printIdentifier(identifier);
		}
	}

	function printer(program, emit_host, file_name, file) {
		const is_exports = (list) => list?.[0]?.text === "____exports";
		file.statements = file.statements.filter(({ left, expressions }) => !is_exports(left) && !is_exports(expressions));
		const printed = new Printer(emit_host, program, file_name).print(file);
		let position = 0;
		printed.sourceMapNode.walk((chunk, { line, column }) => {
			if (line) position = source_file.getPositionOfLineAndCharacter(line - 1, column);
			const [helper] = chunk.match(/\b__(TS__|__)\w+/) ?? [];
			if (helper) problems.push({ position, message: `this does not come out as plain Lua, it would need \`${helper}\`` });
		});
		return printed;
	}

	const visitors = {};
	function visit(kinds, transform) {
		for (const kind of kinds.split(" ")) visitors[ts.SyntaxKind[kind]] = transform;
	}
	visit("VariableStatement FunctionDeclaration ExpressionStatement ReturnStatement BreakStatement", statement);
	visit("IfStatement WhileStatement ForStatement ForOfStatement", statement);
	visit("BinaryExpression ConditionalExpression PrefixUnaryExpression TemplateExpression", translate_expression);
	visit("ArrowFunction FunctionExpression", (node, context) => note_end(node, context.superTransformExpression(node)));
	visit("ObjectLiteralExpression ArrayLiteralExpression", table);
	return { plugin: { visitors, printer }, problems };
}
