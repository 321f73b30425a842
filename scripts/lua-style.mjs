// How the generated Lua looks, and what it must not contain: a plugin for TypeScriptToLua.
//
// The visitors carry comments, blank lines and line breaks of the source over to the Lua syntax tree; the printer writes
// them, with tabs. Whatever TypeScriptToLua would need its own library, temporaries or hoisting for is reported with the
// place in the source.

import ts from "typescript";
import tstl from "typescript-to-lua";
import { read_layout } from "./lua-comments.mjs";
import { insert_into_path, nil_unless, or_default } from "./lua-idioms.mjs";

const INDENT = "\t";

/** A function with more characters does not stand on one line. */
const longest_one_liner = 80;

function problem_at(source_file, position, message) {
	const { line, character } = source_file.getLineAndCharacterOfPosition(position);
	return { message, file: source_file.fileName, line: line + 1, column: character + 1 };
}

/** Kinds of nodes that have a standard visitor and that may be the reason for a library function or a temporary. */
const watched_kinds = Object.entries({
	statements: "VariableStatement FunctionDeclaration ExpressionStatement IfStatement ForStatement ForOfStatement ForInStatement WhileStatement "
		+ "DoStatement ReturnStatement BreakStatement ContinueStatement SwitchStatement ThrowStatement TryStatement Block ClassDeclaration "
		+ "EnumDeclaration ImportDeclaration ModuleDeclaration LabeledStatement",
	expressions: "CallExpression NewExpression BinaryExpression ConditionalExpression ObjectLiteralExpression ArrayLiteralExpression "
		+ "ArrowFunction FunctionExpression PropertyAccessExpression ElementAccessExpression TemplateExpression DeleteExpression "
		+ "PrefixUnaryExpression PostfixUnaryExpression SpreadElement TypeOfExpression ParenthesizedExpression",
}).flatMap(([group, names]) => names.split(" ").map((name) => [ts.SyntaxKind[name], group]));

/** A use of a function or variable before its definition makes TypeScriptToLua move definitions to the top of the file. */
function find_forward_uses(source_file, checker, problems) {
	(function visit(node) {
		if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) return;
		if (ts.isIdentifier(node)) {
			const symbol = ts.isShorthandPropertyAssignment(node.parent) ? checker.getShorthandAssignmentValueSymbol(node.parent) : checker.getSymbolAtLocation(node);
			const declaration = symbol?.valueDeclaration;
			if (declaration && declaration.getSourceFile() === source_file && node.pos < declaration.pos
				&& (ts.isFunctionDeclaration(declaration) || ts.isVariableDeclaration(declaration))) {
				problems.push(problem_at(source_file, node.getStart(source_file), `${node.text} is used before its definition; define it first`));
			}
		}
		ts.forEachChild(node, visit);
	})(source_file);
}

const opposites = new Map([
	[tstl.SyntaxKind.EqualityOperator, tstl.SyntaxKind.InequalityOperator],
	[tstl.SyntaxKind.InequalityOperator, tstl.SyntaxKind.EqualityOperator],
]);

/** `(f())` takes the first result of f; where there is room for one value only, `f()` does as well. */
function without_truncation(expression) {
	if (!tstl.isParenthesizedExpression(expression)) return expression;
	const inner = expression.expression;
	return tstl.isCallExpression(inner) || tstl.isMethodCallExpression(inner) ? inner : expression;
}

/** True when a line break of the source stands between the two positions. */
function breaks_between(source_file, from, to) {
	return source_file.text.slice(from, to).includes("\n");
}

/** Where the source declares a name that TypeScriptToLua does not leave as it is. */
function find_renamed(source_file, name) {
	return ts.forEachChild(source_file, function visit(node) {
		if (ts.isIdentifier(node) && node.text === name && node.parent.name === node && !ts.isPropertyAccessExpression(node.parent)) {
			return { position: node.getStart(source_file), hint: `\`${name}\` is a name that Lua has already; ` };
		}
		return ts.forEachChild(node, visit);
	});
}

export function lua_style(sections) {
	const problems = [];
	const statement_notes = new WeakMap(); // Lua statement -> notes
	const table_notes = new WeakMap(); // Lua table -> { broken, fields }
	const call_notes = new WeakMap(); // Lua call -> { broken_arguments, broken_chain }
	const operator_notes = new WeakMap(); // Lua binary expression -> "before" | "after"
	const body_comments = new WeakMap(); // Lua function with an empty body -> comments
	const temporaries = new Map(); // name -> { position, hint }
	const printed_sections = new Set();
	let source_file;
	let layout;
	let lua = "";

	function watch_context(context, stack) {
		const position = () => (stack.at(-1) ?? source_file).getStart(source_file, false);
		const { usedLuaLibFeatures } = context;
		const add = usedLuaLibFeatures.add.bind(usedLuaLibFeatures);
		usedLuaLibFeatures.add = (feature) => {
			problems.push(problem_at(source_file, position(), `this needs TypeScriptToLua's library (${feature}); write it in terms of Lua`));
			return add(feature);
		};
		const create_temp_name = context.createTempName.bind(context);
		context.createTempName = (prefix) => {
			const name = create_temp_name(prefix);
			temporaries.set(name, { position: position(), hint: hint_for(stack.at(-1)) });
			return name;
		};
	}

	function hint_for(node) {
		if (!node) return "";
		if (ts.isConditionalExpression(node)) return "`c ? x : y` works if x can be neither false nor nil, else it takes an if; ";
		if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.QuestionQuestionToken) {
			return "`x ?? y` works if x cannot be false, else it takes an if; ";
		}
		if (ts.isOptionalChain(node)) return "`a?.b` works if a is a variable; ";
		return "";
	}

	function note_statements(node, statements) {
		const notes = layout.notes.get(node);
		if (!notes || statements.length === 0) return;
		if (ts.isFunctionDeclaration(node)) note_function(node, statements.at(-1).right?.[0]);
		const first = statements[0];
		const last = statements.at(-1);
		const { same_line, after, ...before } = notes;
		statement_notes.set(first, { ...statement_notes.get(first), ...before });
		statement_notes.set(last, { ...statement_notes.get(last), same_line, after });
		notes.used = true;
	}

	function note_function(node, expression) {
		const comments = node.body && layout.empty_blocks.get(node.body);
		if (!comments || !tstl.isFunctionExpression(expression)) return;
		layout.empty_blocks.delete(node.body);
		body_comments.set(expression, comments);
	}

	function note_expression(node, expression) {
		note_function(node, expression);
		if ((ts.isObjectLiteralExpression(node) || ts.isArrayLiteralExpression(node)) && tstl.isTableExpression(expression)) {
			const items = ts.isObjectLiteralExpression(node) ? node.properties : node.elements;
			const fields = items.map((item) => layout.notes.get(item));
			if (expression.fields.length !== items.length) return;
			const has_comments = fields.some((field) => field.leading.length > 0 || field.same_line !== "" || field.after.length > 0);
			const broken = items.length > 0 && breaks_between(source_file, node.getStart(source_file), items[0].getStart(source_file, false));
			table_notes.set(expression, { broken: broken || has_comments, fields });
			for (const field of fields) field.used = true;
		} else if (ts.isCallExpression(node) && (tstl.isCallExpression(expression) || tstl.isMethodCallExpression(expression))) {
			const first = node.arguments[0];
			const callee = node.expression;
			call_notes.set(expression, {
				broken_arguments: !!first && breaks_between(source_file, node.arguments.pos, first.getStart(source_file)),
				broken_chain: ts.isPropertyAccessExpression(callee) && breaks_between(source_file, callee.expression.end, callee.name.getStart(source_file)),
			});
		} else if (ts.isBinaryExpression(node) && tstl.isBinaryExpression(expression)) {
			const operator = node.operatorToken;
			if (breaks_between(source_file, node.left.end, operator.getStart(source_file))) operator_notes.set(expression, "before");
			else if (breaks_between(source_file, operator.end, node.right.getStart(source_file))) operator_notes.set(expression, "after");
		} else if (ts.isConditionalExpression(node) && tstl.isBinaryExpression(expression)) {
			// condition and when_true or when_false
			if (breaks_between(source_file, node.condition.end, node.whenTrue.getStart(source_file))) operator_notes.set(expression.left, "before");
			if (breaks_between(source_file, node.whenTrue.end, node.whenFalse.getStart(source_file))) operator_notes.set(expression, "before");
		}
	}

	const stack = [];
	const visitors = {
		[ts.SyntaxKind.SourceFile]: {
			priority: 1,
			transform(node, context) {
				source_file = context.sourceFile;
				layout = read_layout(source_file, sections);
				find_forward_uses(source_file, context.checker, problems);
				watch_context(context, stack);
				return context.superTransformNode(node);
			},
		},
	};
	for (const [kind, group] of watched_kinds) {
		visitors[kind] = {
			priority: 1,
			transform(node, context) {
				stack.push(node);
				try {
					if (group === "statements") {
						const statements = (ts.isExpressionStatement(node) && insert_into_path(node, context)) || context.superTransformNode(node);
						note_statements(node, statements);
						return statements;
					}
					const expression = (ts.isConditionalExpression(node) && nil_unless(node, context))
						|| (ts.isBinaryExpression(node) && or_default(node, context))
						|| context.superTransformExpression(node);
					note_expression(node, expression);
					return expression;
				} finally {
					stack.pop();
				}
			},
		};
	}

	class Printer extends tstl.LuaPrinter {
		/** True while an expression goes on after a line break, so that its lines are indented once only. */
		continued = false;

		pushIndent() {
			this.currentIndent += INDENT;
		}

		popIndent() {
			this.currentIndent = this.currentIndent.slice(INDENT.length);
		}

		/** Prints what starts an indentation of its own, such as a function within an expression that goes on. */
		afresh(print) {
			const { continued } = this;
			this.continued = false;
			const result = print();
			this.continued = continued;
			return result;
		}

		printFile(file) {
			const is_exports = (node) => tstl.isIdentifier(node) && node.text === "____exports";
			const statements = file.statements.filter((statement) =>
				!(tstl.isVariableDeclarationStatement(statement) && is_exports(statement.left[0]))
				&& !(tstl.isReturnStatement(statement) && statement.expressions.length === 1 && is_exports(statement.expressions[0])));
			this.at_top = true;
			return this.concatNodes(...this.printStatementArray(statements));
		}

		comment(lines) {
			return lines.map((line) => `${this.currentIndent}${line}\n`).join("");
		}

		section_line(notes) {
			if (!notes?.section || printed_sections.has(notes.section)) return "";
			printed_sections.add(notes.section);
			return `-- ==== ${notes.section} ====\n`;
		}

		printStatementArray(statements) {
			const at_top = this.at_top;
			this.at_top = false;
			const chunks = [];
			let previous;
			for (const [index, statement] of statements.entries()) {
				const notes = statement_notes.get(statement);
				const node = this.printStatementExcludingComments(statement);
				const section = at_top ? this.section_line(notes) : "";
				const is_function = (other) => other
					&& (tstl.isVariableDeclarationStatement(other) || tstl.isAssignmentStatement(other)) && tstl.isFunctionDefinition(other);
				const blank = notes?.blank_before || section !== "" || (at_top && (is_function(statement) || is_function(previous)));
				if (previous && this.statementMayRequireSemiColon(previous) && this.nodeStartsWithParenthesis(node)) {
					chunks[chunks.length - 1] = ";\n";
				}
				if (blank && index > 0) chunks.push("\n");
				if (section !== "") chunks.push(section, "\n");
				for (const { lines, blank_before } of notes?.leading ?? []) {
					if (blank_before) chunks.push("\n");
					chunks.push(this.comment(lines));
				}
				if (notes?.gap) chunks.push("\n");
				chunks.push(node);
				if (notes?.same_line) chunks.push(` -- ${notes.same_line}`);
				chunks.push("\n");
				for (const { lines, blank_before } of notes?.after ?? []) {
					if (blank_before) chunks.push("\n");
					chunks.push(this.comment(lines));
				}
				previous = statement;
				if (tstl.isReturnStatement(statement) || tstl.isBreakStatement(statement)) break;
			}
			return chunks;
		}

		printFunctionExpression(expression) {
			return this.afresh(() => {
				if (expression.body.statements.length > 0) {
					const printed = super.printFunctionExpression(expression);
					if (!tstl.isInlineFunctionExpression(expression) || printed.toString().length <= longest_one_liner) return printed;
					return super.printFunctionExpression({ ...expression, flags: expression.flags & ~tstl.NodeFlags.Inline });
				}
				return this.createSourceNode(expression, ["function(", ...this.printFunctionParameters(expression), ")", ...this.empty_body(expression)]);
			});
		}

		printFunctionDefinition(statement) {
			return this.afresh(() => {
				const expression = statement.right[0];
				if (expression.body.statements.length > 0) return super.printFunctionDefinition(statement);
				const name = this.printExpression(statement.left[0]);
				return this.createSourceNode(expression, ["function ", name, "(", ...this.printFunctionParameters(expression), ")", ...this.empty_body(expression)]);
			});
		}

		empty_body(expression) {
			const comments = body_comments.get(expression);
			if (!comments) return [" end"];
			this.pushIndent();
			const lines = comments.map((comment) => this.comment(comment.lines)).join("");
			this.popIndent();
			return ["\n", lines, this.indent(), "end"];
		}

		printTableExpression(expression) {
			if (expression.fields.length === 0) return this.createSourceNode(expression, "{}");
			const notes = table_notes.get(expression);
			const broken = notes ? notes.broken : !this.isSimpleExpressionList(expression.fields);
			return this.afresh(() => {
				if (!broken) {
					const fields = this.joinChunksWithComma(expression.fields.map((field) => this.printExpression(field)));
					return this.createSourceNode(expression, ["{ ", ...fields, " }"]);
				}
				const chunks = ["{\n"];
				this.pushIndent();
				for (const [index, field] of expression.fields.entries()) {
					const note = notes?.fields[index];
					if (note?.blank_before && index > 0) chunks.push("\n");
					for (const { lines } of note?.leading ?? []) chunks.push(this.comment(lines));
					chunks.push(this.indent(), this.printExpression(field), ",");
					if (note?.same_line) chunks.push(` -- ${note.same_line}`);
					chunks.push("\n");
					for (const { lines } of note?.after ?? []) chunks.push(this.comment(lines));
				}
				this.popIndent();
				chunks.push(this.indent(), "}");
				return this.createSourceNode(expression, chunks);
			});
		}

		argument_list(expression, notes) {
			const list = expression.params ?? [];
			return this.afresh(() => {
				if (!notes?.broken_arguments) return this.joinChunksWithComma(list.map((argument) => this.printExpression(argument)));
				const chunks = ["\n"];
				this.pushIndent();
				for (const [index, argument] of list.entries()) {
					chunks.push(this.indent(), this.printExpression(argument), index < list.length - 1 ? ",\n" : "\n");
				}
				this.popIndent();
				chunks.push(this.indent());
				return chunks;
			});
		}

		printCallExpression(expression) {
			const callee = this.printExpressionInParenthesesIfNeeded(expression.expression);
			const list = this.argument_list(expression, call_notes.get(expression));
			return this.createSourceNode(expression, [callee, "(", ...list, ")"]);
		}

		printMethodCallExpression(expression) {
			const notes = call_notes.get(expression);
			const object = expression.prefixExpression;
			const in_parentheses = this.needsParenthesis(object) || tstl.isStringLiteral(object);
			const chunks = in_parentheses ? ["(", this.printExpression(object), ")"] : [this.printExpression(object)];
			const print_call = () => [":", this.printIdentifier(expression.name), "(", ...this.argument_list(expression, notes), ")"];
			if (notes?.broken_chain) chunks.push(...this.on_next_line(print_call));
			else chunks.push(...print_call());
			return this.createSourceNode(expression, chunks);
		}

		/** Prints the rest of an expression on the next line, a step deeper than the statement. */
		on_next_line(print) {
			const { continued } = this;
			if (!continued) this.pushIndent();
			this.continued = true;
			const chunks = ["\n", this.currentIndent, ...print()];
			this.continued = continued;
			if (!continued) this.popIndent();
			return chunks;
		}

		printBinaryExpression(expression) {
			const { operator } = expression;
			const precedence = tstl.LuaPrinter.operatorPrecedence[operator];
			const is_right_associative = tstl.LuaPrinter.rightAssociativeOperators.has(operator);
			// Strings are concatenated in any order, so `a .. b .. c` needs no parentheses either way.
			const left_precedence = is_right_associative && operator !== tstl.SyntaxKind.ConcatOperator ? precedence + 1 : precedence;
			const left = this.printExpressionInParenthesesIfNeeded(without_truncation(expression.left), left_precedence);
			const print_right = () =>
				this.printExpressionInParenthesesIfNeeded(without_truncation(expression.right), is_right_associative ? precedence : precedence + 1);
			const word = this.printOperator(operator);
			const breaks = operator_notes.get(expression);
			if (!breaks) return this.createSourceNode(expression, [left, " ", word, " ", print_right()]);
			const rest = breaks === "before"
				? this.on_next_line(() => [word, " ", print_right()])
				: [" ", word, ...this.on_next_line(() => [print_right()])];
			return this.createSourceNode(expression, [left, ...rest]);
		}

		/** `not (a == b)` is `a ~= b`; a minus of a minus must not begin a comment. */
		printUnaryExpression(expression) {
			const { operator, operand } = expression;
			if (operator === tstl.SyntaxKind.NotOperator && tstl.isBinaryExpression(operand) && opposites.has(operand.operator)) {
				const opposite = tstl.createBinaryExpression(operand.left, operand.right, opposites.get(operand.operator));
				if (operator_notes.has(operand)) operator_notes.set(opposite, operator_notes.get(operand));
				return this.printExpression(opposite);
			}
			const printed = super.printUnaryExpression(expression);
			if (!printed.toString().startsWith("--")) return printed;
			return this.createSourceNode(expression, ["-(", this.printExpression(operand), ")"]);
		}

		/** A comparison in place of `not` binds less than `not` does. Tables and functions are fine as operands. */
		needsParenthesis(expression, min_precedence) {
			if (min_precedence !== undefined) {
				if (tstl.isFunctionExpression(expression) || tstl.isTableExpression(expression)) return false;
				if (tstl.isUnaryExpression(expression) && expression.operator === tstl.SyntaxKind.NotOperator
					&& tstl.isBinaryExpression(expression.operand) && opposites.has(expression.operand.operator)) {
					return tstl.LuaPrinter.operatorPrecedence[expression.operand.operator] < min_precedence;
				}
			}
			return super.needsParenthesis(expression, min_precedence);
		}

		printVariableDeclarationStatement(statement) {
			if (statement.left.length === 1 && statement.right?.length === 1) statement.right[0] = without_truncation(statement.right[0]);
			return super.printVariableDeclarationStatement(statement);
		}

		/** Single quotes spare the escapes of double ones. */
		printStringLiteral(expression) {
			const { value } = expression;
			if (!value.includes('"') || value.includes("'")) return super.printStringLiteral(expression);
			const quoted = tstl.escapeString(value.replaceAll('"', "'"));
			return this.createSourceNode(expression, `'${quoted.slice(1, -1).replaceAll("'", '"')}'`);
		}

		/** A value that is not wanted is `_` in Lua. */
		printIdentifier(expression) {
			return expression.text === "____" ? this.createSourceNode(expression, "_") : super.printIdentifier(expression);
		}
	}

	/** What must not be in the file, whatever brought it there. */
	function check_printed() {
		for (const { pos } of [...layout.lost, ...[...layout.empty_blocks.values()].flat()]) {
			problems.push(problem_at(source_file, pos, "this comment has no statement to go with and would be lost"));
		}
		for (const [, notes] of layout.notes) {
			if (!notes.used && (notes.leading.length > 0 || notes.same_line !== "" || notes.after.length > 0)) {
				problems.push(problem_at(source_file, notes.position, "the comment of this would be lost"));
			}
		}
		for (const name of new Set(lua.match(/____\w+/g) ?? [])) {
			const { position, hint = "" } = temporaries.get(name) ?? find_renamed(source_file, name.slice("____".length)) ?? {};
			const line = lua.split("\n").find((text) => text.includes(name))?.trim();
			const message = `this does not come out as plain Lua: ${hint}it would be \`${line}\``;
			problems.push(position === undefined ? { message } : problem_at(source_file, position, message));
		}
		if (problems.length === 0 && /__TS__/.test(lua)) problems.push({ message: "the Lua calls TypeScriptToLua's library" });
	}

	const plugin = {
		visitors,
		printer(program, emit_host, file_name, file) {
			const result = new Printer(emit_host, program, file_name).print(file);
			lua = result.code.replace(/[ \t]+$/gm, "").replace(/^\n+/, "").replace(/\n*$/, "\n");
			check_printed();
			return { ...result, code: lua };
		},
	};
	return { plugin, problems: () => problems, lua: () => lua };
}
