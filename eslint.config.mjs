// What the compiler does not check. For src/ that is above all what TypeScriptToLua would translate into something that
// does not read like Lua, or that does not mean in Lua what it means in TypeScript.

import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";
import lua from "./scripts/eslint-lua.mjs";

const restricted_syntax = [
	["ClassDeclaration, ClassExpression", "use a function that returns a table of functions"],
	["NewExpression[callee.name!=/^Lua(Table|Map|Set)$/]", "there are no classes; `new` makes LuaTable, LuaMap and LuaSet only"],
	["SpreadElement", "needs TypeScriptToLua's library"],
	["UnaryExpression[operator='delete']", "assign undefined, or use the table's delete()"],
	["SwitchStatement", "use if, or a table of functions"],
	["ContinueStatement", "turn the condition around"],
	["LabeledStatement", "use a function of its own"],
	["TryStatement", "use pcall"],
	["DoWhileStatement", "use while: Lua's repeat has its condition the other way round"],
	["ForInStatement", "use pairs or ipairs"],
	["ObjectPattern", "take fields one by one: destructuring needs temporaries"],
	[":function > ArrayPattern", "take fields one by one: destructuring needs temporaries"],
	["AssignmentExpression > ArrayPattern", "assign one by one, or declare: const [a, b] = f()"],
	["RestElement", "declare the parameters"],
	["TSEnumDeclaration", "use a union of strings"],
	["TSModuleDeclaration[kind='namespace']", "use a file"],
	["YieldExpression, AwaitExpression, :function[async=true]", "Prosody's modules are called back"],
	["TaggedTemplateExpression", "use string.format"],
	["Literal[raw='null']", "nil is undefined"],
	[
		"ImportDeclaration[source.value=/^[^.]/][importKind!='type'] > ImportSpecifier[importKind!='type']",
		"import * as name from Prosody's modules: anything else needs temporaries",
	],
	[
		"ImportDefaultSpecifier, ExportDefaultDeclaration, ExportAllDeclaration, ExportNamedDeclaration[declaration=null], TSExportAssignment",
		"export declarations, and import them by name",
	],
	[
		"ImportDeclaration[source.value=/^[.]/] > ImportNamespaceSpecifier, ImportDeclaration[specifiers.length=0]",
		"the sources are joined into one file: import what is used by its name",
	],
	["ImportSpecifier[importKind='type']", "import type { … }"],
].map(([selector, message]) => ({ selector, message }));

const restricted_globals = [
	"Array",
	"Boolean",
	"JSON",
	"Map",
	"Math",
	"Number",
	"Object",
	"Promise",
	"RegExp",
	"Set",
	"String",
	"Symbol",
	"console",
	"globalThis",
	"isNaN",
	"parseFloat",
	"parseInt",
].map((name) => ({ name, message: "Lua has its own" }));

// Each folder of src/ imports only what stands under it; src/mod_privilege.ts alone stands above them all.
const parts = ["message", "iq", "roster", "presence", "admin"];
const layers = [
	["prosody", []],
	["grants", ["prosody"]],
	["entities", ["prosody", "grants"]],
	...parts.map((part) => [part, ["prosody", "grants", "entities"]]),
];
const layer_rules = layers.map(([folder, below]) => ({
	files: [`src/${folder}/**/*.ts`],
	rules: {
		"no-restricted-imports": [
			"error",
			{
				patterns: [
					{
						group: ["../*", ...below.map((name) => `!../${name}`)],
						message: `src/${folder}/ imports ${below.length > 0 ? `from ${below.join(", ")} and ` : ""}from itself only`,
					},
				],
			},
		],
	},
}));

export default defineConfig(
	{ ignores: ["build/", "lua-out/", "node_modules/"] },
	{ linterOptions: { reportUnusedDisableDirectives: "error" } },
	{
		files: ["**/*.ts"],
		extends: [tseslint.configs.strictTypeChecked],
		languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
		rules: {
			"eqeqeq": "error",
			"no-var": "error",
			"prefer-const": "error",
			"@typescript-eslint/consistent-type-imports": ["error", { disallowTypeAnnotations: false }],
			"@typescript-eslint/explicit-module-boundary-types": "error",
			"@typescript-eslint/no-shadow": "error",
			"@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", destructuredArrayIgnorePattern: "^_" }],
		},
	},
	{
		files: ["src/**/*.ts", "types/**/*.ts"],
		plugins: { lua },
		rules: {
			"lua/no-library-method": "error",
			"lua/no-renamed-import": "error",
			"lua/no-false-fallback": "error",
			"lua/no-off-by-one": "error",
			// TypeScriptToLua would move the definition to the top.
			"@typescript-eslint/no-use-before-define": ["error", { typedefs: false }],
			"no-restricted-globals": ["error", ...restricted_globals],
			"no-restricted-syntax": ["error", ...restricted_syntax],
			// "" and 0 are true in Lua.
			"@typescript-eslint/strict-boolean-expressions": [
				"error",
				{
					allowString: false,
					allowNumber: false,
					allowNullableObject: true,
					allowNullableBoolean: true,
					allowNullableString: false,
					allowNullableNumber: false,
					allowNullableEnum: false,
					allowAny: false,
				},
			],
			// What the compiler cannot know about Prosody's tables has to be said somehow.
			"@typescript-eslint/no-non-null-assertion": "off",
			// `return f()` passes on what a handler returns; `this: void` says how Prosody calls a function.
			"@typescript-eslint/no-confusing-void-expression": "off",
			"@typescript-eslint/no-invalid-void-type": ["error", { allowAsThisParameter: true }],
			// A part's type is what its factory returns.
			"@typescript-eslint/explicit-module-boundary-types": "off",
			// Metatables, and functions that Prosody calls without the table that they are in.
			"@typescript-eslint/unbound-method": "off",
			// With anything but strings and numbers, TypeScriptToLua calls tostring().
			"@typescript-eslint/restrict-plus-operands": [
				"error",
				{
					allowAny: false,
					allowBoolean: false,
					allowNullish: false,
					allowNumberAndString: true,
					allowRegExp: false,
				},
			],
			// LuaTable.get() says that there is always a value.
			"@typescript-eslint/no-unnecessary-condition": "off",
		},
	},
	...layer_rules,
	{
		// Declarations describe what is there.
		files: ["types/**/*.d.ts"],
		rules: {
			"no-restricted-syntax": "off",
			"@typescript-eslint/no-shadow": "off",
			"@typescript-eslint/no-unnecessary-type-parameters": "off",
			"@typescript-eslint/unified-signatures": "off",
		},
	},
	{
		files: ["demo/**/*.ts", "examples/**/*.ts", "bench/**/*.ts"],
		rules: {
			"@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
			// Steps of the demonstration are typed by what they are put into.
			"@typescript-eslint/explicit-module-boundary-types": "off",
		},
	},
	{
		files: ["**/*.mjs"],
		extends: [tseslint.configs.base],
		rules: {
			"eqeqeq": "error",
			"no-var": "error",
			"prefer-const": "error",
			"@typescript-eslint/no-shadow": "error",
			"@typescript-eslint/no-unused-vars": "error",
		},
	},
);
