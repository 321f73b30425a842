import { precise_time } from "../prosody/compatibility";
import { attribute } from "../prosody/send";
import { in_slices } from "../prosody/timers";
import type { AddTimer } from "../prosody/timers";
import type { Entity } from "../entities/entities";

const now = precise_time ?? os.time;

/** An iq that was sent for an entity and waits for its answer. */
export interface Query {
	/** The id with which it was sent. */
	id: string;
	/** The id that the entity gave the inner iq. */
	inner_id: string;
	/** The bare JID of the user in whose name it was sent. */
	user: string;
	/** The JID to which it was sent. Only an answer from there counts. */
	asked: string;
	entity: Entity;
	/** The entity's stream, to which the answer goes. */
	session: Session;
	/** Type, id and addresses of the entity's privileged iq. */
	outer: Attributes;
	/** The namespace of the inner iq's payload. */
	namespace: string;
}

/** The start of the answer to a privileged iq, up to the children of the forwarded iq (XEP-0356, 6.3). */
export function answer_start(query: Query, answer_type: string | undefined): string {
	const outer = query.outer;
	return (
		"<iq type='result'"
		+ attribute("id", outer.id)
		+ attribute("from", outer.to)
		+ attribute("to", outer.from)
		+ "><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client'"
		+ attribute("type", answer_type)
		+ attribute("id", query.inner_id)
		+ attribute("from", query.asked)
		+ attribute("to", query.user)
		+ ">"
	);
}

/**
 * Keeps the iqs that wait for their answers.
 *
 * @param expired is called with each iq that gets no answer in time
 */
export function create_pending(add_timer: AddTimer, expired: (this: void, query: Query) => void) {
	/** Seconds between two looks for overdue answers. */
	const sweep_interval = 1;

	const queries = new LuaTable<string, Query>();
	/** When to give up, by id, as `now` returns it. */
	const deadlines = new LuaTable<string, number>();
	const counts = new LuaTable<Entity, number>();
	let timer_runs = false;

	/** How many iqs of an entity wait. */
	function count(entity: Entity): number {
		return counts.get(entity) ?? 0;
	}

	function remove(query: Query): void {
		queries.delete(query.id);
		deadlines.delete(query.id);
		const left = count(query.entity) - 1;
		counts.set(query.entity, left > 0 ? left : (undefined as never));
	}

	/** Gives up an iq that still waits. */
	function expire(query: Query): void {
		if (queries.get(query.id) === query) {
			remove(query);
			expired(query);
		}
	}

	/** Gives up the overdue iqs. Many of them may be due at once, and the server has others to serve meanwhile. */
	function sweep(): undefined {
		const time = now();
		const overdue: Query[] = [];
		for (const [id, deadline] of pairs(deadlines)) {
			if (deadline <= time) {
				overdue.push(queries.get(id));
			}
		}

		function step(): boolean {
			const query = table.remove(overdue);
			if (query) {
				expire(query);
			}
			return query !== undefined;
		}

		function slice_end(goes_on: boolean): void {
			if (!goes_on) {
				timer_runs = next(queries)[0] !== undefined;
				if (timer_runs) {
					add_timer(sweep_interval, sweep);
				}
			}
		}

		in_slices(add_timer, step, slice_end, "iqs were given up");
		return undefined;
	}

	/** Adds an iq, which is given up after `timeout` seconds or up to a second later. */
	function add(query: Query, timeout: number): void {
		queries.set(query.id, query);
		deadlines.set(query.id, now() + timeout);
		counts.set(query.entity, count(query.entity) + 1);
		if (!timer_runs) {
			timer_runs = true;
			add_timer(sweep_interval, sweep);
		}
	}

	/** Takes out the iq of that id which was sent from `user` to `answerer`; nil if there is none. */
	function take(id: string | undefined, user: string, answerer: string): Query | undefined {
		const query = id !== undefined ? (queries.get(id) as Query | undefined) : undefined;
		if (!query || query.user !== user || query.asked !== answerer) {
			return undefined;
		}
		remove(query);
		return query;
	}

	/** Forgets the iqs of a stream. */
	function forget(session: Session): void {
		for (const [, query] of pairs(queries)) {
			if (query.session === session) {
				remove(query);
			}
		}
	}

	/** Gives up all iqs. */
	function give_up(): void {
		for (const [, query] of pairs(queries)) {
			expire(query);
		}
	}

	return { count: count, add: add, take: take, forget: forget, give_up: give_up };
}
