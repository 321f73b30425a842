import * as rostermanager from "core.rostermanager";
import * as storagemanager from "core.storagemanager";
import { account_exists_now, read_roster } from "../prosody/accounts";
import { since_0_10 } from "../prosody/compatibility";
import { xmlns_roster } from "../prosody/namespaces";
import { protect } from "../prosody/protect";
import type { AddTimer } from "../prosody/timers";
import { refusals } from "../entities/refusals";
import type { Refusal } from "../entities/refusals";
import type { ChangeWatch } from "./change_watch";
import { updated_item } from "./item";

/** A change of a roster that an entity asks for. */
export interface RosterChange {
	/** The stream that it came over. */
	session: Session;
	username: string;
	/** The contact's bare JID. */
	contact: string;
	/** The `<item/>` of the roster set. */
	element: Stanza;
	/** Called when it is saved; the item before and after it, nil for none, and the roster's version since then. */
	saved: (this: void, old: RosterItem | undefined, item: RosterItem | undefined, version: number | true | undefined) => void;
	/** Called when it is not made, and the roster is as it was. */
	refused: (this: void, refusal: Refusal) => void;
}

/** What became of a change. */
interface Outcome {
	change: RosterChange;
	/** Why it is not made, nil where it is. */
	refusal?: Refusal;
	item?: RosterItem | undefined;
	old?: RosterItem | undefined;
	/** The contact's request for a subscription that waited for the user's answer. */
	request?: unknown;
	/** The roster's version with it. */
	version?: number | true | undefined;
}

interface WriteQueueService {
	host: string;
	log: Log;
	add_timer: AddTimer;
	change_watch: ChangeWatch;
}

/**
 * Saves changes of rosters that arrive together together: a storage of whole rosters writes all of one for
 * each change that is saved, and a gateway may set its whole contact list in one go.
 *
 * Until it is saved, a change is nowhere but in the queue. It is saved, and answered, when the server has handled what it
 * has read, or before anything else is sent on the entity's stream: so the answers to an entity's requests come in their order.
 */
export function create_write_queue(service: WriteQueueService) {
	/** How many changes wait at most: what the server does in one go when they are saved is bounded by it. */
	const max_waiting = 100;

	const host = service.host;
	let waiting: RosterChange[] = [];
	let timer_runs = false;
	// What a stream's `send` was, and what stands in its place, while changes that it asked for wait.
	const replaced = new LuaTable<Session, { send: Session["send"]; in_order: Session["send"] }>();

	/** Puts a change into a roster in memory. */
	function apply(roster: Roster, outcome: Outcome): void {
		const contact = outcome.change.contact;
		const element = outcome.change.element;
		const pending = (roster.get(false) ?? {}).pending;
		outcome.old = roster.get(contact);
		outcome.item = element.attr.subscription !== "remove" ? updated_item(element, outcome.old) : undefined;
		outcome.request = pending && pending.get(contact);
		roster.set(contact, outcome.item as RosterItem);
		// A contact that is subscribed now asks for nothing more.
		if (pending && outcome.item && (outcome.item.subscription === "from" || outcome.item.subscription === "both")) {
			pending.set(contact, undefined);
		}
	}

	/** Takes changes out of a roster in memory again. */
	function revert(roster: Roster, applied: Outcome[]): void {
		const pending = (roster.get(false) ?? {}).pending;
		for (const i of $range(applied.length, 1, -1)) {
			const outcome = applied[i - 1]!;
			const contact = outcome.change.contact;
			// Unless somebody else has changed it meanwhile.
			if (roster.get(contact) === outcome.item) {
				roster.set(contact, outcome.old as RosterItem);
				if (pending) {
					pending.set(contact, outcome.request);
				}
			}
		}
	}

	function copy(roster: Roster): Roster {
		const copied = new LuaTable() as unknown as Roster;
		for (const [key, item] of pairs(roster as LuaTable<string, RosterItem>)) {
			copied.set(key, item);
		}
		return copied;
	}

	/** What is saved of a roster: mod_groups puts contacts into rosters that are not. */
	function saved_part(roster: Roster): Roster {
		let part: Roster | undefined;
		for (const [contact, item] of pairs(roster as LuaTable<string, RosterItem>)) {
			if (item.persist === false) {
				part = part ?? copy(roster);
				part.delete(contact);
			}
		}
		return part ?? roster;
	}

	/** Writes the items of a roster, or its changed ones where the storage has single items. */
	function write(username: string, roster: Roster, metadata: RosterMetadata, applied: Outcome[]): boolean {
		if (!since_0_10) {
			// It counts the version up itself.
			return rostermanager.save_roster(username, host, roster) === true;
		}
		const store = storagemanager.open(host, "roster", "map");
		if (type(store.keyval_store) === "table") {
			// To save an item it would read all that the roster in memory has.
			const whole = saved_part(roster);
			return service.change_watch.unheard(whole, () => storagemanager.open(host, "roster", "keyval").set(username, whole)[0]) === true;
		}
		const keys = new LuaTable<string | false, unknown>();
		keys.set(false, metadata);
		for (const [, outcome] of ipairs(applied)) {
			const contact = outcome.change.contact;
			keys.set(contact, roster.get(contact) ?? store.remove);
		}
		return service.change_watch.unheard(keys, () => store.set_keys(username, keys)[0]) === true;
	}

	/** Saves a roster that has changes; where that fails, it is as it was before them. */
	function save(username: string, roster: Roster, applied: Outcome[]): boolean {
		const metadata = roster.get(false) ?? {};
		roster.set(false, metadata);
		const version = metadata.version;
		if (since_0_10 && version !== true) {
			// mod_roster gives clients a roster that was never saved as version 1: the first change must be a later one.
			metadata.version = (version ?? 1) + applied.length;
		}
		if (protect(service.log, "while the roster of %s was saved", username, () => write(username, roster, metadata, applied)) === true) {
			return true;
		}
		metadata.version = version as number;
		revert(roster, applied);
		return false;
	}

	function refuse_all(outcomes: Outcome[], refusal: Refusal): void {
		for (const [, outcome] of ipairs(outcomes)) {
			outcome.refusal = refusal;
		}
	}

	/** Makes changes of one user's roster. */
	function make(username: string, outcomes: Outcome[]): void {
		if (!account_exists_now(username, host)) {
			return refuse_all(outcomes, refusals.no_such_user);
		}
		const roster = read_roster(username, host);
		if (!roster) {
			return refuse_all(outcomes, refusals.roster_not_loaded);
		}
		const applied: Outcome[] = [];
		for (const [, outcome] of ipairs(outcomes)) {
			if (outcome.change.element.attr.subscription === "remove" && !roster.has(outcome.change.contact)) {
				outcome.refusal = refusals.roster_no_item;
			} else {
				apply(roster, outcome);
				applied.push(outcome);
			}
		}
		if (applied.length > 0 && !save(username, roster, applied)) {
			return refuse_all(applied, refusals.roster_not_saved);
		}
		const version = (roster.get(false) ?? {}).version;
		for (const [i, outcome] of ipairs(applied)) {
			// Each has a version of its own: who hears of the first ones only does not have the last.
			outcome.version = type(version) === "number" ? (version as number) - applied.length + i : version;
		}
	}

	/** Makes changes, those of one roster together, and answers them in their order. */
	function make_all(changes: RosterChange[]): void {
		const outcomes: Outcome[] = [];
		const usernames: string[] = [];
		const by_username = new LuaTable<string, Outcome[]>();
		for (const [, change] of ipairs(changes)) {
			const outcome: Outcome = { change: change };
			outcomes.push(outcome);
			const list = by_username.get(change.username) as Outcome[] | undefined;
			if (list) {
				list.push(outcome);
			} else {
				usernames.push(change.username);
				by_username.set(change.username, [outcome]);
			}
		}
		for (const [, username] of ipairs(usernames)) {
			make(username, by_username.get(username));
		}
		for (const [, outcome] of ipairs(outcomes)) {
			if (outcome.refusal) {
				outcome.change.refused(outcome.refusal);
			} else {
				outcome.change.saved(outcome.old, outcome.item, outcome.version);
			}
		}
	}

	/** Makes and answers all changes that wait. */
	function flush(): undefined {
		for (const [session, functions] of pairs(replaced)) {
			// Unless the stream has ended, or somebody else has put another in its place.
			if (session.send === functions.in_order) {
				session.send = functions.send;
			}
			replaced.delete(session);
		}
		const changes = waiting;
		if (changes.length > 0) {
			waiting = [];
			make_all(changes);
		}
		return undefined;
	}

	/** Has whatever is sent on a stream come after the answers to the changes that it asked for. */
	function keep_order(session: Session): void {
		if (replaced.has(session)) {
			return;
		}
		const send = session.send;
		function in_order(this: void, stanza: Stanza | string): boolean | undefined {
			flush();
			return send(stanza);
		}
		replaced.set(session, { send: send, in_order: in_order });
		session.send = in_order;
	}

	/**
	 * Handles `presence/bare`, `message/bare`, `iq/bare` and those to full JIDs, before anything else does: what comes
	 * behind a roster set, such as a presence of the contact that was set, finds the roster with it.
	 */
	function before_stanza(event: StanzaEvent): Handled {
		if (waiting.length > 0) {
			const stanza = event.stanza;
			const payload = stanza.name === "iq" && stanza.attr.type === "set" ? stanza.tags[0] : undefined;
			if (!payload || payload.attr.xmlns !== xmlns_roster) {
				flush();
			}
		}
		return undefined;
	}

	/** Adds a change, which is made and answered now or later. */
	function add(change: RosterChange): void {
		if (change.session.type === "c2s" || !since_0_10) {
			// A client's handlers may wait for an asynchronous storage, what a timer runs may not;
			// COMPAT: the timers of Prosody 0.9 run once a second.
			return make_all([change]);
		}
		keep_order(change.session);
		waiting.push(change);
		if (waiting.length >= max_waiting) {
			flush();
		} else if (!timer_runs) {
			timer_runs = true;
			service.add_timer(0, () => {
				timer_runs = false;
				return flush();
			});
		}
	}

	return { add, flush, before_stanza };
}
export type WriteQueue = ReturnType<typeof create_write_queue>;
