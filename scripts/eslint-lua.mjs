// Rules for ESLint about TypeScript that becomes Lua, where the types decide.

import ts from "typescript";
import { ESLintUtils } from "@typescript-eslint/utils";

/** What TypeScriptToLua translates without its library, by kind of receiver. */
const plain_methods = { array: new Set(["push"]), string: new Set() };

function receiver_kind(checker, type) {
	const plain = checker.getNonNullableType(type);
	const parts = plain.isUnion() ? plain.types : [plain];
	if (parts.every((part) => (part.flags & ts.TypeFlags.StringLike) !== 0)) return "string";
	if (parts.some((part) => checker.isArrayType(part) || checker.isTupleType(part))) return "array";
	return undefined;
}

const no_library_method = {
	meta: {
		type: "problem",
		schema: [],
		messages: { method: "{{name}}() of {{kind}}s needs TypeScriptToLua's library; use Lua's {{instead}}" },
	},
	create(context) {
		const services = ESLintUtils.getParserServices(context);
		const checker = services.program.getTypeChecker();
		return {
			"CallExpression > MemberExpression.callee"(node) {
				const kind = receiver_kind(checker, services.getTypeAtLocation(node.object));
				if (!kind || node.property.type !== "Identifier") return;
				const { name } = node.property;
				if (plain_methods[kind].has(name) && node.parent.arguments.length === 1) return;
				context.report({
					node: node.property,
					messageId: "method",
					data: { name, kind, instead: kind === "array" ? "table functions or a loop" : "string functions" },
				});
			},
		};
	},
};

const no_renamed_import = {
	meta: { type: "problem", schema: [], messages: { renamed: "the sources are joined into one file: import {{name}} under its own name" } },
	create(context) {
		return {
			ImportSpecifier(node) {
				if (!node.parent.source.value.startsWith(".") || node.imported.name === node.local.name) return;
				context.report({ node, messageId: "renamed", data: { name: node.imported.name } });
			},
		};
	},
};

const falsy_types = ts.TypeFlags.BooleanLike | ts.TypeFlags.Unknown | ts.TypeFlags.Any | ts.TypeFlags.Never | ts.TypeFlags.Void;

function may_be_false(checker, type) {
	const constraint = checker.getBaseConstraintOfType(type) ?? type;
	const parts = constraint.isUnion() ? constraint.types : [constraint];
	return constraint.isTypeParameter() || parts.some((part) => (part.flags & falsy_types) !== 0 && checker.typeToString(part) !== "true");
}

const no_false_fallback = {
	meta: {
		type: "problem",
		schema: [],
		messages: {
			fallback: "`or` in Lua would replace false as well; compare with undefined",
			branch: "`and … or nil` in Lua would make nil of false; use if",
		},
	},
	create(context) {
		const services = ESLintUtils.getParserServices(context);
		const checker = services.program.getTypeChecker();
		const is_undefined = (node) => node.type === "Identifier" && node.name === "undefined";
		function check(node, messageId) {
			if (may_be_false(checker, services.getTypeAtLocation(node))) context.report({ node, messageId });
		}
		return {
			"LogicalExpression[operator='??'], AssignmentExpression[operator='??=']"(node) {
				check(node.left, "fallback");
			},
			ConditionalExpression({ consequent, alternate }) {
				if (is_undefined(alternate)) check(consequent, "branch");
				else if (is_undefined(consequent)) check(alternate, "branch");
			},
		};
	},
};

const no_off_by_one = {
	meta: {
		type: "problem",
		schema: [],
		messages: { index: "ipairs counts from 1 and TypeScript's arrays from 0: use the value that the loop gives" },
	},
	create(context) {
		return {
			"ForOfStatement[right.callee.name='ipairs'] > VariableDeclaration > VariableDeclarator > ArrayPattern"(node) {
				const [index] = node.elements;
				const list = node.parent.parent.parent.right.arguments[0];
				if (!index || index.type !== "Identifier" || list?.type !== "Identifier") return;
				const variable = context.sourceCode.getDeclaredVariables(node.parent.parent).find(({ name }) => name === index.name);
				for (const { identifier } of variable?.references ?? []) {
					const access = identifier.parent;
					if (access.type === "MemberExpression" && access.computed && access.property === identifier && access.object.name === list.name) {
						context.report({ node: access, messageId: "index" });
					}
				}
			},
		};
	},
};

export default {
	rules: {
		"no-library-method": no_library_method,
		"no-renamed-import": no_renamed_import,
		"no-false-fallback": no_false_fallback,
		"no-off-by-one": no_off_by_one,
	},
};
