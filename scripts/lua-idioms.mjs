// Translations that TypeScriptToLua makes with temporary names or parentheses, and that Lua has a plain expression for.
// ESLint sees to it that what would become nil by `and … or nil`, or give way to a default, is never false.

import ts from "typescript";
import tstl from "typescript-to-lua";

const { AndOperator, ConcatOperator, EqualityOperator, InequalityOperator, NotOperator, OrOperator } = tstl.SyntaxKind;

/** Translates in a scope of its own; undefined when the translation is more than an expression. */
function plain(context, node) {
	context.pushPrecedingStatements();
	const expression = context.transformExpression(node);
	return context.popPrecedingStatements().length === 0 ? first_result(expression) : undefined;
}

/** `(f())` takes the first result of f; where there is room for one value only, `f()` does as well. */
function first_result(expression) {
	const inner = tstl.isParenthesizedExpression(expression) ? expression.expression : expression;
	return tstl.isCallExpression(inner) || tstl.isMethodCallExpression(inner) ? inner : expression;
}

function negate(condition) {
	const { operator, operand, left, right } = condition;
	if (operator === NotOperator) return operand;
	if (operator === EqualityOperator) return tstl.createBinaryExpression(left, right, InequalityOperator);
	if (operator === InequalityOperator) return tstl.createBinaryExpression(left, right, EqualityOperator);
	return tstl.createUnaryExpression(condition, NotOperator);
}

/** `c ? x : undefined` is `c and x or nil`, and `c ? undefined : x` is `not c and x or nil`, whether x can be nil or not. */
function nil_unless(node, context) {
	const is_undefined = (branch) => ts.isIdentifier(branch) && branch.text === "undefined";
	if (!is_undefined(node.whenFalse) && !is_undefined(node.whenTrue)) return undefined;
	const condition = context.transformExpression(node.condition);
	const value = plain(context, is_undefined(node.whenFalse) ? node.whenTrue : node.whenFalse);
	if (!value) return undefined;
	const both = tstl.createBinaryExpression(is_undefined(node.whenFalse) ? condition : negate(condition), value, AndOperator, node);
	return tstl.createBinaryExpression(both, tstl.createNilLiteral(), OrOperator, node);
}

/** `x ?? y` is `x or y`; TypeScriptToLua thinks that x may be false where it may be true. */
function or_default(node, context) {
	if (node.operatorToken.kind !== ts.SyntaxKind.QuestionQuestionToken) return undefined;
	const value = context.transformExpression(node.left);
	const fallback = plain(context, node.right);
	return fallback && tstl.createBinaryExpression(value, fallback, OrOperator, node);
}

/** `(a .. b) .. c` is `a .. b .. c`: Lua joins from the right. */
function join_strings(left, right) {
	if (left.operator !== ConcatOperator) return tstl.createBinaryExpression(left, right, ConcatOperator);
	return tstl.createBinaryExpression(left.left, join_strings(left.right, right), ConcatOperator);
}

/** The translation of an expression, TypeScriptToLua's where there is nothing better. */
export function translate_expression(node, context) {
	const expression =
		(ts.isConditionalExpression(node) && nil_unless(node, context))
		|| (ts.isBinaryExpression(node) && or_default(node, context))
		|| context.superTransformExpression(node);
	if (expression.operator === NotOperator && tstl.isBinaryExpression(expression.operand)) return negate(expression.operand);
	if (!tstl.isBinaryExpression(expression)) return expression;
	expression.left = first_result(expression.left);
	expression.right = first_result(expression.right);
	return expression.operator === ConcatOperator ? join_strings(expression.left, expression.right) : expression;
}

/** `a.b.push(x);` is `table.insert(a.b, x)`. */
function insert_into_path(node, context) {
	const call = node.expression;
	if (!ts.isCallExpression(call) || !/^\w+(\.\w+)+\.push$/.test(call.expression.getText())) return undefined;
	const list = call.expression.expression;
	const item = context.checker.isArrayType(context.checker.getTypeAtLocation(list)) && plain(context, call.arguments[0]);
	const insert = tstl.createTableIndexExpression(tstl.createIdentifier("table"), tstl.createStringLiteral("insert"));
	return item && [tstl.createExpressionStatement(tstl.createCallExpression(insert, [context.transformExpression(list), item], node), node)];
}

/** The translation of a statement, TypeScriptToLua's where there is nothing better. */
export function translate_statement(node, context) {
	const statements = (ts.isExpressionStatement(node) && insert_into_path(node, context)) || context.superTransformNode(node);
	const { left, right } = statements.at(-1) ?? {};
	if (left?.length === 1 && right?.length === 1) right[0] = first_result(right[0]);
	return statements;
}
