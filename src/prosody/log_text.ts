/** How many bytes of what others wrote a line of the log has at most. */
const max_shown = 200;

/**
 * What an entity wrote (an address, a namespace, an id) as it may stand in the log or in an error:
 * in one line and of bounded length.
 */
export function shown(text: string): string {
	if (text.length <= max_shown && string.find(text, "%c")[0] === undefined) {
		return text;
	}
	let cut = text;
	if (text.length > max_shown) {
		let last = max_shown;
		// Not within a character of UTF-8, whose later bytes are 128 to 191.
		while (string.byte(text, last + 1) >= 128 && string.byte(text, last + 1) < 192) {
			last = last - 1;
		}
		cut = string.sub(text, 1, last) + "...";
	}
	return string.gsub(cut, "%c", "?")[0];
}
