import { precise_time } from "./compatibility";
import { log_of_module, protect } from "./protect";

/** Calls back after so many seconds, and again after as many as that returns. */
export type AddTimer = (this: void, delay: number, callback: (this: void) => number | undefined) => void;

/**
 * Does long work in slices, so that the server is never kept busy for long, with a pause after each as long as the slice was.
 *
 * An error in a step is logged, and the work goes on with the next step. A step has to move on before it does what may fail.
 *
 * @param step does a little of the work; false when nothing is left, or when the work is to end
 * @param slice_end called after each slice, with whether the work goes on
 * @param task the work in words for the log: "the users of capulet.lit were counted"
 */
export function in_slices(
	add_timer: AddTimer,
	step: (this: void) => boolean,
	slice_end: (this: void, goes_on: boolean) => void,
	task = "a long task was done",
): void {
	/** Seconds with fractions, by the clock on the wall where that can be had: a server that waits for its storage uses no processor time. */
	const clock = precise_time ?? os.clock;

	/** Seconds that a slice takes, or as long as its first step does. */
	const slice_time = 0.001;

	/** That where timers go off only once a second, as in Prosody 0.9 and 0.10 without libevent. */
	const rare_slice_time = 0.05;

	/** The least time between two slices, for others to be served. Not 0: Prosody runs what is due in one go. */
	const slice_pause = 0.001;

	const when = "while %s";
	let last = os.time();
	let late = 0;
	let goes_on = true;

	function end_slice(): void {
		slice_end(goes_on);
	}

	add_timer(slice_pause, () => {
		const second = os.time();
		late = second > last ? late + 1 : 0;
		last = second;
		const began = clock();
		const stop_at = began + (late > 2 ? rare_slice_time : slice_time);
		let time = began;
		// The clock may be set back.
		while (goes_on && time >= began && time < stop_at) {
			goes_on = protect(log_of_module, when, task, step) !== false;
			time = clock();
		}
		protect(log_of_module, when, task, end_slice);
		return goes_on ? math.max(slice_pause, clock() - began) : undefined;
	});
}
