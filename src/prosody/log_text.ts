/** Control characters beyond ASCII, in UTF-8: U+0080 to U+009F, which terminals obey, and the line separators U+2028 and U+2029. */
const later_controls = string.char(194) + "[" + string.char(128) + "-" + string.char(159) + "]";
const line_separators = string.char(226, 128) + "[" + string.char(168, 169) + "]";

/** Control characters of ASCII, and all bytes beyond it. */
const not_plain = "[%c" + string.char(128) + "-" + string.char(255) + "]";

/** The first bytes of a longer text, at most so many, followed by dots. */
function cut(text: string, max_length: number): string {
	let last = max_length;
	// In UTF-8, the second and later bytes of a character are 128 to 191.
	while (string.byte(text, last + 1) >= 128 && string.byte(text, last + 1) < 192) {
		last = last - 1;
	}
	return string.sub(text, 1, last) + "...";
}

/**
 * Makes a text that an entity wrote (an address, a namespace, an id) fit for the log and for errors: one line of bounded
 * length without control characters.
 */
export function printable(text: string): string {
	const max_length = 200;
	const short = text.length > max_length ? cut(text, max_length) : text;
	if (string.find(short, not_plain)[0] === undefined) {
		return short;
	}
	const [without_controls] = string.gsub(short, "%c", "?");
	const [without_later] = string.gsub(without_controls, later_controls, "?");
	return string.gsub(without_later, line_separators, "?")[0];
}
