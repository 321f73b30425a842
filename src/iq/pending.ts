import { precise_time } from "../prosody/compatibility";
import { attribute } from "../prosody/send";
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
	/** How many are given up in one go, and the seconds until the next ones: the server has others to serve, too. */
	const max_given_up = 500;
	const sweep_pause = 0.01;

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

	/** Gives up the iqs whose deadline is not after a time, at most `most` of them. Returns whether there may be more. */
	function give_up_until(time: number, most: number): boolean {
		let found = 0;
		for (const [id, deadline] of pairs(deadlines)) {
			if (deadline <= time) {
				if (found === most) {
					return true;
				}
				found = found + 1;
				const query = queries.get(id);
				remove(query);
				expired(query);
			}
		}
		return false;
	}

	function sweep(): number | undefined {
		if (give_up_until(now(), max_given_up)) {
			return sweep_pause;
		}
		timer_runs = next(queries)[0] !== undefined;
		return timer_runs ? sweep_interval : undefined;
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
		give_up_until(math.huge, math.huge);
	}

	return { count: count, add: add, take: take, forget: forget, give_up: give_up };
}
