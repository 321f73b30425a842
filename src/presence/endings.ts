import { create_fifo } from "../prosody/fifo";
import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";

/** What is to end: all that is known of a contact, or what one user sees of it. */
export interface Ending {
	contact: string;
	/** The user's name, "" for everybody. */
	viewer: string;
}

/**
 * Ends contacts in slices, since a gateway or a user may have thousands.
 *
 * @param finish ends one: forgets it and tells so
 */
export function create_endings(add_timer: AddTimer, finish: (this: void, ending: Ending) => void) {
	// Of how many contacts the end is told at once.
	const at_once = 100;
	// In the order in which they end.
	const queue = create_fifo<Ending>();
	// The contacts that are to end yet, as keys, by viewer.
	let waiting = new LuaTable<string, LuaTable<string, true>>();

	/** Whether that is to end yet. */
	function is_waiting(contact: string, viewer: string): boolean {
		const contacts = waiting.get(viewer) as LuaTable<string, true> | undefined;
		return contacts !== undefined && contacts.has(contact);
	}

	/** Ends one if it is to end yet. */
	function finish_waiting(contact: string, viewer: string): void {
		if (is_waiting(contact, viewer)) {
			waiting.get(viewer).delete(contact);
			finish({ contact: contact, viewer: viewer });
		}
	}

	/** Ends what is to end yet of a contact, and of what a user sees of it: before it is there again. */
	function settle(contact: string, username: string): void {
		finish_waiting(contact, "");
		finish_waiting(contact, username);
	}

	/** Ends one more in a slice; false when none is left. */
	function step(): boolean {
		const ending = queue.pop();
		if (!ending) {
			waiting = new LuaTable();
			return false;
		}
		finish_waiting(ending.contact, ending.viewer);
		return true;
	}

	/** Ends all at once that is to end yet: before a reload, after which nobody knows which entity was told what. */
	function finish_all(): void {
		let more = queue.count() > 0;
		while (more) {
			more = step();
		}
	}

	/** Has contacts end for a viewer: some at once, the rest in slices. */
	function add(contacts: string[], viewer: string): void {
		const is_idle = queue.count() === 0;
		for (const [i, contact] of ipairs(contacts)) {
			const ending: Ending = { contact: contact, viewer: viewer };
			if (i <= at_once) {
				finish(ending);
			} else {
				const waiting_for = (waiting.get(viewer) as LuaTable<string, true> | undefined) ?? new LuaTable<string, true>();
				waiting_for.set(contact, true);
				waiting.set(viewer, waiting_for);
				queue.push(ending);
			}
		}
		if (is_idle && queue.count() > 0) {
			in_slices(add_timer, step, () => undefined);
		}
	}

	return { is_waiting, settle, add, finish_all };
}
