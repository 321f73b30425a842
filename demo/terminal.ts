// Writes the story to the terminal.

import type { Element, Listener } from "./peer.js";

const in_colour = process.stdout.isTTY && process.env["NO_COLOR"] === undefined;
const style =
	(code: string) =>
	(text: string): string =>
		in_colour ? `\u001B[${code}m${text}\u001B[0m` : text;

export const bold = style("1");
export const faint = style("2");
export const green = style("32");
export const red = style("31");
export const cyan = style("36");

const is_verbose = !["", "0", "no", undefined].includes(process.env["VERBOSE"]);

export function print(text = ""): void {
	process.stdout.write(`${text}\n`);
}

export function print_indented(text: string, colour: (line: string) => string = (line) => line, indent = "      "): void {
	for (const line of text.trimEnd().split("\n")) print(line === "" ? "" : `${indent}${colour(line)}`);
}

export function print_title(number: number, title: string): void {
	print();
	print(`${cyan(`${number}.`.padStart(3))} ${bold(title)}`);
}

/** A line of what happens: who, and what. A refusal is red, everything else that somebody gets is green. */
export function print_line(kind: "asks" | "gets" | "does" | "is refused", who: string, what: string): void {
	const lines = what.split("\n");
	const head = (kind === "does" ? who : kind === "is refused" ? `${who} gets` : `${who} ${kind}`).padEnd(14);
	const colour = kind === "gets" ? green : kind === "is refused" ? red : (text: string) => text;
	print(`    ${colour(head)} ${lines.join(`\n${" ".repeat(19)}`)}`);
}

/** An element on several lines; ltx' own would add to texts. */
function pretty(element: Element, indent = ""): string {
	const children = element.getChildElements();
	if (children.length === 0 || element.children.length !== children.length) return `${indent}${element.toString()}`;
	const whole = element.toString();
	const start = whole.slice(0, whole.indexOf(">") + 1);
	return [`${indent}${start}`, ...children.map((child) => pretty(child, `${indent}  `)), `${indent}</${element.name}>`].join("\n");
}

/** Prints stanzas as they go by, where that is wanted. */
export const print_stanza: Listener = (peer, direction, stanza) => {
	if (!is_verbose) return;
	print(faint(`    ${peer} ${direction === "->" ? "sends" : "receives"}`));
	print_indented(pretty(stanza), faint);
};
