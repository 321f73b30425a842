import { precise_time } from "../prosody/compatibility";
import { attribute } from "../prosody/send";
import type { AddTimer } from "../prosody/timers";
import type { Entity } from "../entities/entities";

const now = precise_time ?? os.time;

/** An iq that was sent for an entity and has no answer yet. */
export interface Query {
	/** The id that it was sent with. */
	id: string;
	/** The id that the entity gave it. */
	inner_id: string;
	/** The user in whose name it was sent, a bare JID. */
	user: string;
	/** Whom it was sent to, the only one who may answer. */
	asked: string;
	entity: Entity;
	/** The stream that the answer goes down. */
	session: Session;
	/** Type, id and addresses of the entity's iq. */
	outer: Attributes;
	/** The namespace of what was asked. */
	namespace: string;
}

/** The start of the answer to an entity's iq, up to the forwarded one's children (XEP-0356, 6.3). */
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
 * Keeps the iqs that are under way.
 *
 * @param expired is called with each that got no answer in time
 */
export function create_pending(add_timer: AddTimer, expired: (this: void, query: Query) => void) {
	/** Seconds between two looks at whether answers are overdue. */
	const sweep_interval = 1;
	/** How many are given up in one go, and the seconds before the next ones: the server has others to serve, too. */
	const max_given_up = 500;
	const sweep_pause = 0.01;

	const queries = new LuaTable<string, Query>();
	/** When to give up, as now() has it, by id. */
	const deadlines = new LuaTable<string, number>();
	const counts = new LuaTable<Entity, number>();
	let timer_runs = false;

	/** How many are under way for an entity. */
	function count(entity: Entity): number {
		return counts.get(entity) ?? 0;
	}

	function remove(query: Query): void {
		queries.delete(query.id);
		deadlines.delete(query.id);
		const left = count(query.entity) - 1;
		counts.set(query.entity, left > 0 ? left : (undefined as never));
	}

	/** Gives up those that had to be answered by a time, at most so many; returns whether there may be more. */
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

	/** Adds one that is given up after `timeout` seconds, or up to a second later. */
	function add(query: Query, timeout: number): void {
		queries.set(query.id, query);
		deadlines.set(query.id, now() + timeout);
		counts.set(query.entity, count(query.entity) + 1);
		if (!timer_runs) {
			timer_runs = true;
			add_timer(sweep_interval, sweep);
		}
	}

	/** Takes out the one that `answerer` answers to `user`; nil where there is none. */
	function take(id: string | undefined, user: string, answerer: string): Query | undefined {
		const query = id !== undefined ? (queries.get(id) as Query | undefined) : undefined;
		if (!query || query.user !== user || query.asked !== answerer) {
			return undefined;
		}
		remove(query);
		return query;
	}

	/** Forgets those of a stream. */
	function forget(session: Session): void {
		for (const [, query] of pairs(queries)) {
			if (query.session === session) {
				remove(query);
			}
		}
	}

	/** Gives up all. */
	function give_up(): void {
		give_up_until(math.huge, math.huge);
	}

	return { count: count, add: add, take: take, forget: forget, give_up: give_up };
}
