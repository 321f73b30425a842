import { precise_time } from "./compatibility";
import { create_fifo } from "./fifo";
import { log_of_module, protect } from "./protect";

/** Calls `callback` after `delay` seconds, and again after as many seconds as it returns. */
export type AddTimer = (this: void, delay: number, callback: (this: void) => number | undefined) => void;

/** Long work that is under way. */
interface Work {
	step: (this: void) => boolean;
	slice_end: (this: void, goes_on: boolean) => void;
	task: string;
}

// The works that wait for their next slices, by the function that sets the timers.
const works_by_timer = new LuaTable<AddTimer, ReturnType<typeof create_fifo<Work>>>();

/**
 * Does long work in slices. After each slice the server handles what has come in meanwhile. Works whose timers are set by the
 * same function take turns.
 *
 * An error in a step is logged, and the work goes on with the next step. A step therefore moves on before it does what may fail.
 *
 * @param step does a little of the work; returns false when nothing is left to do, or when the work is to end
 * @param slice_end is called after each slice, with whether the work goes on
 * @param task names the work for the log, as a clause in the past tense: "the users of capulet.lit were counted"
 */
export function in_slices(
	add_timer: AddTimer,
	step: (this: void) => boolean,
	slice_end: (this: void, goes_on: boolean) => void,
	task: string,
): void {
	// Seconds. Where there is one, a clock that also runs while the server waits for its storage; else processor time.
	const clock = precise_time ?? os.clock;
	// Seconds that a slice may take; its first step may take longer.
	const slice_time = 0.001;
	// That where timers go off only once a second, as in Prosody 0.9 and 0.10 without libevent.
	const rare_slice_time = 0.05;
	// From the beginning of a slice to that of the next one, which comes later if the slice takes longer. Not 0: Prosody calls all
	// timers that are due before it reads from connections again.
	const slice_pause = 0.001;
	const when = "while %s";

	const work: Work = { step: step, slice_end: slice_end, task: task };
	const waiting = works_by_timer.get(add_timer) as ReturnType<typeof create_fifo<Work>> | undefined;
	if (waiting) {
		waiting.push(work);
		return;
	}
	const works = create_fifo<Work>();
	works.push(work);
	works_by_timer.set(add_timer, works);

	let last_second = os.time();
	// How many slices in a row have begun in another second than the one before.
	let slow_count = 0;

	/** Does work for so many seconds. Returns false when it has ended. */
	function do_slice(current: Work, seconds: number): boolean {
		const began = clock();
		let time = began;
		let goes_on = true;
		// The clock may be set back meanwhile.
		while (goes_on && time >= began && time < began + seconds) {
			goes_on = protect(log_of_module, when, current.task, current.step) !== false;
			time = clock();
		}
		protect(log_of_module, when, current.task, () => current.slice_end(goes_on));
		return goes_on;
	}

	add_timer(slice_pause, () => {
		const second = os.time();
		slow_count = second > last_second ? slow_count + 1 : 0;
		last_second = second;
		const current = works.pop()!;
		if (do_slice(current, slow_count > 2 ? rare_slice_time : slice_time)) {
			works.push(current);
		}
		if (works.count() > 0) {
			return slice_pause;
		}
		works_by_timer.delete(add_timer);
		return undefined;
	});
}
