import { precise_time } from "../prosody/compatibility";
import { attribute } from "../prosody/send";
import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";
import type { Entity } from "../entities/entities";

const now = precise_time ?? os.time;

/** An iq that was sent for an entity and waits for its answer. */
export interface PendingIq {
	/** The id with which it was sent. */
	id: string;
	/** The id that the entity gave the inner iq. */
	inner_id: string;
	/** The bare JID of the user in whose name it was sent. */
	user: string;
	/** The JID to which it was sent. Only an answer from there counts. */
	addressee: string;
	entity: Entity;
	/** The entity's stream, to which the answer goes. */
	session: Session;
	/** Type, id and addresses of the entity's privileged iq. */
	outer: Attributes;
	/** The namespace of the inner iq's payload. */
	namespace: string;
	/** When to give up, as `now` returns it. Set when the iq is added. */
	deadline?: number;
}

/** The start of the answer to a privileged iq, up to the children of the forwarded iq (XEP-0356, 6.3). */
export function answer_start(pending_iq: PendingIq, answer_type: string | undefined): string {
	const outer = pending_iq.outer;
	return (
		"<iq type='result'"
		+ attribute("id", outer.id)
		+ attribute("from", outer.to)
		+ attribute("to", outer.from)
		+ "><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client'"
		+ attribute("type", answer_type)
		+ attribute("id", pending_iq.inner_id)
		+ attribute("from", pending_iq.addressee)
		+ attribute("to", pending_iq.user)
		+ ">"
	);
}

/**
 * Keeps the iqs that wait for their answers.
 *
 * @param expired is called with each iq that gets no answer in time
 */
export function create_pending(add_timer: AddTimer, expired: (this: void, pending_iq: PendingIq) => void) {
	/** Seconds between two looks for overdue answers. */
	const sweep_interval = 1;

	const iqs = new LuaTable<string, PendingIq>();
	const counts = new LuaTable<Entity, number>();
	let timer_runs = false;

	/** How many iqs of an entity wait. */
	function count(entity: Entity): number {
		return counts.get(entity) ?? 0;
	}

	function remove(pending_iq: PendingIq): void {
		iqs.delete(pending_iq.id);
		const left = count(pending_iq.entity) - 1;
		counts.set(pending_iq.entity, left > 0 ? left : (undefined as never));
	}

	/** Gives up an iq that still waits. */
	function expire(pending_iq: PendingIq): void {
		if (iqs.get(pending_iq.id) === pending_iq) {
			remove(pending_iq);
			expired(pending_iq);
		}
	}

	/** Gives up the overdue iqs. Many of them may be due at once, and the server has others to serve meanwhile. */
	function sweep(): undefined {
		const time = now();
		const overdue: PendingIq[] = [];
		for (const [, pending_iq] of pairs(iqs)) {
			if (pending_iq.deadline! <= time) {
				overdue.push(pending_iq);
			}
		}

		function step(): boolean {
			const pending_iq = table.remove(overdue);
			if (pending_iq) {
				expire(pending_iq);
			}
			return pending_iq !== undefined;
		}

		function slice_end(goes_on: boolean): void {
			if (!goes_on) {
				timer_runs = next(iqs)[0] !== undefined;
				if (timer_runs) {
					add_timer(sweep_interval, sweep);
				}
			}
		}

		in_slices(add_timer, step, slice_end, "iqs were given up");
		return undefined;
	}

	/** Adds an iq, which is given up after `timeout` seconds or up to a second later. */
	function add(pending_iq: PendingIq, timeout: number): void {
		pending_iq.deadline = now() + timeout;
		iqs.set(pending_iq.id, pending_iq);
		counts.set(pending_iq.entity, count(pending_iq.entity) + 1);
		if (!timer_runs) {
			timer_runs = true;
			add_timer(sweep_interval, sweep);
		}
	}

	/** Takes out the iq of that id which was sent from `user` to `answerer`; nil if there is none. */
	function take(id: string | undefined, user: string, answerer: string): PendingIq | undefined {
		const pending_iq = id !== undefined ? (iqs.get(id) as PendingIq | undefined) : undefined;
		if (!pending_iq || pending_iq.user !== user || pending_iq.addressee !== answerer) {
			return undefined;
		}
		remove(pending_iq);
		return pending_iq;
	}

	/** Forgets the iqs of a stream. */
	function forget(session: Session): void {
		for (const [, pending_iq] of pairs(iqs)) {
			if (pending_iq.session === session) {
				remove(pending_iq);
			}
		}
	}

	/** Gives up all iqs. */
	function give_up(): void {
		for (const [, pending_iq] of pairs(iqs)) {
			expire(pending_iq);
		}
	}

	return { count: count, add: add, take: take, forget: forget, give_up: give_up };
}
