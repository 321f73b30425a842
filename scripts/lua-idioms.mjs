// Translations that TypeScriptToLua makes with temporaries, and that Lua has a plain expression for.

import ts from "typescript";
import tstl from "typescript-to-lua";

const may_be_false = ts.TypeFlags.BooleanLike | ts.TypeFlags.Unknown | ts.TypeFlags.Any | ts.TypeFlags.Never | ts.TypeFlags.Void;

function can_be_false(checker, type) {
	const constraint = checker.getBaseConstraintOfType(type) ?? type;
	if (constraint.isTypeParameter()) return true;
	const parts = constraint.isUnion() ? constraint.types : [constraint];
	return parts.some((part) => (part.flags & may_be_false) !== 0 && checker.typeToString(part) !== "true");
}

function is_undefined(node) {
	return ts.isIdentifier(node) && node.text === "undefined";
}

/** `a`, `a.b`, `a.b.c`: what can be evaluated anywhere and always gives the same. */
function is_path(node) {
	return ts.isIdentifier(node) || (ts.isPropertyAccessExpression(node) && !node.questionDotToken && is_path(node.expression));
}

/** Translates in a scope of its own; undefined when the translation is more than an expression. */
function plain(context, node) {
	context.pushPrecedingStatements();
	const expression = context.transformExpression(node);
	return context.popPrecedingStatements().length === 0 ? expression : undefined;
}

function negate(condition) {
	if (tstl.isUnaryExpression(condition) && condition.operator === tstl.SyntaxKind.NotOperator) return condition.operand;
	if (tstl.isBinaryExpression(condition)) {
		const { operator, left, right } = condition;
		if (operator === tstl.SyntaxKind.EqualityOperator) return tstl.createBinaryExpression(left, right, tstl.SyntaxKind.InequalityOperator);
		if (operator === tstl.SyntaxKind.InequalityOperator) return tstl.createBinaryExpression(left, right, tstl.SyntaxKind.EqualityOperator);
	}
	return tstl.createUnaryExpression(condition, tstl.SyntaxKind.NotOperator);
}

/**
 * `condition ? x : undefined` is `condition and x or nil`, and `condition ? undefined : x` is `not condition and x or nil`,
 * whether x can be nil or not; only false would become nil.
 *
 * Returns undefined for what is none of that.
 */
export function nil_unless(node, context) {
	const is_else_nil = is_undefined(node.whenFalse);
	if (!is_else_nil && !is_undefined(node.whenTrue)) return undefined;
	const kept = is_else_nil ? node.whenTrue : node.whenFalse;
	if (can_be_false(context.checker, context.checker.getTypeAtLocation(kept))) return undefined;
	const condition = context.transformExpression(node.condition);
	const value = plain(context, kept);
	if (!value) return undefined;
	const both = tstl.createBinaryExpression(is_else_nil ? condition : negate(condition), value, tstl.SyntaxKind.AndOperator, node);
	return tstl.createBinaryExpression(both, tstl.createNilLiteral(), tstl.SyntaxKind.OrOperator, node);
}

/** `x ?? y` is `x or y` where x is never false; TypeScriptToLua thinks that it may be where it is true. */
export function or_default(node, context) {
	if (node.operatorToken.kind !== ts.SyntaxKind.QuestionQuestionToken) return undefined;
	if (can_be_false(context.checker, context.checker.getTypeAtLocation(node.left))) return undefined;
	const value = context.transformExpression(node.left);
	const fallback = plain(context, node.right);
	return fallback && tstl.createBinaryExpression(value, fallback, tstl.SyntaxKind.OrOperator, node);
}

/** `a.b.push(x);` is `table.insert(a.b, x)`. */
export function insert_into_path(node, context) {
	const call = node.expression;
	if (!ts.isCallExpression(call) || call.arguments.length !== 1 || ts.isSpreadElement(call.arguments[0])) return undefined;
	const callee = call.expression;
	if (!ts.isPropertyAccessExpression(callee) || callee.name.text !== "push" || callee.questionDotToken) return undefined;
	if (ts.isIdentifier(callee.expression) || !is_path(callee.expression)) return undefined;
	if (!context.checker.isArrayType(context.checker.getTypeAtLocation(callee.expression))) return undefined;
	const insert = tstl.createTableIndexExpression(tstl.createIdentifier("table"), tstl.createStringLiteral("insert"));
	const list = context.transformExpression(callee.expression);
	const item = plain(context, call.arguments[0]);
	return item && [tstl.createExpressionStatement(tstl.createCallExpression(insert, [list, item], node), node)];
}
