/** How many letters have to be inserted, deleted or replaced to turn one word into another (Levenshtein distance). */
function edit_distance(a: string, b: string): number {
	let previous: number[] = [];
	for (const j of $range(0, b.length)) {
		previous[j] = j;
	}
	for (const i of $range(1, a.length)) {
		const current: number[] = [i];
		for (const j of $range(1, b.length)) {
			const replaced = previous[j - 1]! + (string.byte(a, i) === string.byte(b, j) ? 0 : 1);
			current[j] = math.min(replaced, previous[j]! + 1, current[j - 1]! + 1);
		}
		previous = current;
	}
	return previous[b.length]!;
}

/** The question ` (did you mean "…"?)` with a suggestion; an empty text where there is none. */
export function did_you_mean(meant: string | undefined): string {
	return meant !== undefined ? string.format(' (did you mean "%s"?)', meant) : "";
}

/**
 * The word that was probably meant by a misspelt one; nil where no word is similar.
 *
 * @param words to choose from, as keys, in lower case
 */
export function suggest(word: string, words: Record<string, unknown>): string | undefined {
	let nearest: string | undefined;
	let least = math.min(3, math.floor(word.length / 4) + 1) + 1;
	for (const [candidate] of pairs(words)) {
		if (math.abs(candidate.length - word.length) < least) {
			const distance = edit_distance(string.lower(word), candidate);
			if (distance < least || (distance === least && nearest !== undefined && candidate < nearest)) {
				least = distance;
				nearest = candidate;
			}
		}
	}
	return nearest;
}
