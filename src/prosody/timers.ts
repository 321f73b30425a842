/** Calls back after so many seconds, and again after as many as that returns. */
export type AddTimer = (this: void, delay: number, callback: (this: void) => number | undefined) => void;

/** Processor time that a slice takes, in seconds. */
const slice_time = 0.001;

/** That where timers go off only once a second, as in Prosody 0.9 and 0.10 without libevent. */
const rare_slice_time = 0.05;

/** Time between two slices, for others to be served. Not 0: Prosody runs what is due in one go. */
const slice_pause = 0.001;

/**
 * Goes through a list in slices, so that the server is never kept busy for long.
 *
 * @param each called with each item; false ends it all
 * @param slice_end called after each slice
 * @param done called after the last one
 */
export function in_slices<T>(
	add_timer: AddTimer, list: T[], each: (this: void, item: T) => boolean,
	slice_end: (this: void) => void, done: (this: void) => void,
): void {
	let position = 0;
	let last = os.time();
	let late = 0;
	add_timer(slice_pause, () => {
		const time = os.time();
		late = time > last ? late + 1 : 0;
		last = time;
		const stop_at = os.clock() + (late > 2 ? rare_slice_time : slice_time);
		while (position < list.length) {
			if (!each(list[position]!)) {
				return undefined;
			}
			position = position + 1;
			if (os.clock() >= stop_at) {
				break;
			}
		}
		slice_end();
		if (position < list.length) {
			return slice_pause;
		}
		done();
		return undefined;
	});
}
