import { create_fifo } from "../prosody/fifo";
import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";

/** A contact that ends, for all users or for one. */
export interface Ending {
	contact: string;
	/** The user's name, "" for all users. */
	viewer: string;
}

/**
 * Ends contacts in slices, as a user or a gateway may have thousands.
 *
 * @param finish ends one: forgets it and tells entities
 */
export function create_endings(add_timer: AddTimer, finish: (this: void, ending: Ending) => void) {
	// How many contacts end at once; the rest do in slices.
	const at_once = 100;
	// Those that have not ended yet, in their order. Some may have ended out of turn.
	const queue = create_fifo<Ending>();
	// The contacts that have not ended yet, as keys, by viewer.
	let waiting = new LuaTable<string, LuaTable<string, true>>();

	/** Whether a contact has not ended yet for a viewer. */
	function is_waiting(contact: string, viewer: string): boolean {
		const contacts = waiting.get(viewer) as LuaTable<string, true> | undefined;
		return contacts !== undefined && contacts.has(contact);
	}

	/** Ends a contact for a viewer if it has not ended yet. */
	function finish_waiting(contact: string, viewer: string): void {
		if (is_waiting(contact, viewer)) {
			waiting.get(viewer).delete(contact);
			finish({ contact: contact, viewer: viewer });
		}
	}

	/** Ends a contact for all users and for one, if it has not ended yet. To be called before a presence says that it is available again. */
	function settle(contact: string, username: string): void {
		finish_waiting(contact, "");
		finish_waiting(contact, username);
	}

	/** Ends the next one. Returns false when none is left. */
	function step(): boolean {
		const ending = queue.pop();
		if (!ending) {
			waiting = new LuaTable();
			return false;
		}
		finish_waiting(ending.contact, ending.viewer);
		return true;
	}

	/** Ends all at once. To be called before a reload, after which nobody knows what entities were told. */
	function finish_all(): void {
		let more = queue.count() > 0;
		while (more) {
			more = step();
		}
	}

	/** Ends contacts for a viewer: the first ones at once, the rest in slices. */
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
			in_slices(add_timer, step, () => undefined, "contacts were ended");
		}
	}

	return { is_waiting, settle, add, finish_all };
}
