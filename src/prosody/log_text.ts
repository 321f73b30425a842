/** Control characters beyond ASCII in UTF-8: U+0080 to U+009F, with which terminals can be told things, and the separators of lines U+2028 and U+2029. */
const later_controls = string.char(194) + "[" + string.char(128) + "-" + string.char(159) + "]";
const separators = string.char(226, 128) + "[" + string.char(168, 169) + "]";

/** What is not plain ASCII without control characters. */
const not_plain = "[%c" + string.char(128) + "-" + string.char(255) + "]";

/** The first bytes of a longer text, at most so many, and dots. */
function cut(text: string, max_length: number): string {
	let last = max_length;
	// Not within a character of UTF-8, whose later bytes are 128 to 191.
	while (string.byte(text, last + 1) >= 128 && string.byte(text, last + 1) < 192) {
		last = last - 1;
	}
	return string.sub(text, 1, last) + "...";
}

/**
 * What an entity wrote (an address, a namespace, an id) as it may stand in the log or in an error:
 * in one line and of bounded length.
 */
export function shown(text: string): string {
	/** How many bytes of what others wrote a line of the log has at most. */
	const max_shown = 200;

	const short = text.length > max_shown ? cut(text, max_shown) : text;
	if (string.find(short, not_plain)[0] === undefined) {
		return short;
	}
	const [without_controls] = string.gsub(short, "%c", "?");
	const [without_later] = string.gsub(without_controls, later_controls, "?");
	return string.gsub(without_later, separators, "?")[0];
}
