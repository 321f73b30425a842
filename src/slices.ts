/** Calls back after so many seconds, and again after as many as that returns. */
export type AddTimer = (this: void, delay: number, callback: (this: void) => number | undefined) => void;

/** Time between two slices, for others to be served. Not 0: Prosody runs what is due in one go. */
const slice_pause = 0.001;

/**
 * Goes through a list in slices, so that the server is never kept busy for long.
 *
 * @param size how many items a slice has
 * @param each called with each item; false ends it all
 * @param done called after the last one
 */
export function in_slices<T>(add_timer: AddTimer, list: T[], size: number, each: (this: void, item: T) => boolean, done: (this: void) => void): void {
	let position = 0;
	add_timer(slice_pause, () => {
		const slice_end = math.min(position + size, list.length);
		while (position < slice_end) {
			if (!each(list[position]!)) {
				return undefined;
			}
			position = position + 1;
		}
		if (position < list.length) {
			return slice_pause;
		}
		done();
		return undefined;
	});
}
