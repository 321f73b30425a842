import * as rostermanager from "core.rostermanager";
import * as storagemanager from "core.storagemanager";
import { account_exists_now, read_roster } from "../prosody/accounts";
import { since_0_10 } from "../prosody/compatibility";
import { copy_of } from "../prosody/keys";
import { xmlns_roster } from "../prosody/namespaces";
import { protect } from "../prosody/protect";
import type { AddTimer } from "../prosody/timers";
import { refusals } from "../entities/refusals";
import type { Refusal } from "../entities/refusals";
import type { ChangeWatch } from "./change_watch";
import { updated_item } from "./item";

/** A change of a roster that an entity has requested. */
export interface RosterChange {
	/** The stream over which the request came. */
	session: Session;
	username: string;
	/** The bare JID of the contact. */
	contact: string;
	/** The `<item/>` of the roster set. */
	element: Stanza;
	/** Is called when the change was saved, with the item before and after it (nil for none) and the roster's new version. */
	saved: (this: void, old: RosterItem | undefined, item: RosterItem | undefined, version: number | true | undefined) => void;
	/** Is called when the change was refused, and the roster is as before. */
	refused: (this: void, refusal: Refusal) => void;
}

/** The outcome of a change. */
interface Outcome {
	change: RosterChange;
	/** Nil if the change was made. */
	refusal?: Refusal;
	item?: RosterItem | undefined;
	old?: RosterItem | undefined;
	/** The contact's request for a subscription that the user had not answered. */
	request?: unknown;
	/** The version of the roster with this change. */
	version?: number | true | undefined;
}

/** For each stream with changes that wait: the function that saves and answers them. All hosts share this table. */
export type WaitingStreams = LuaTable<Session, (this: void) => void>;

interface WriteQueueService {
	host: string;
	log: Log;
	add_timer: AddTimer;
	change_watch: ChangeWatch;
	waiting_streams: WaitingStreams;
}

/**
 * Saves roster changes that arrive together in one go. A gateway may set its whole contact list at once, and a storage of whole
 * rosters would write the whole roster for each contact.
 *
 * Until a change is saved, it is only in the queue. Changes are saved and answered when the server has handled everything that it
 * has read from the connection, or before anything else is sent by `session.send`, as answers are. So these come in the order of the
 * requests. What the server routes to a component does not wait.
 */
export function create_write_queue(service: WriteQueueService) {
	// So many changes are saved in one go at most, which bounds the time for which the server is busy.
	const max_waiting = 100;

	const host = service.host;
	const waiting_streams = service.waiting_streams;
	let waiting: RosterChange[] = [];
	let timer_runs = false;
	// For each stream with changes that wait: its own `send`, and the function in its place.
	const replaced = new LuaTable<Session, { send: Session["send"]; in_order: Session["send"] }>();

	/** Makes a change to a roster in memory. */
	function apply(roster: Roster, outcome: Outcome): void {
		const contact = outcome.change.contact;
		const element = outcome.change.element;
		const pending = (roster.get(false) ?? {}).pending;
		outcome.old = roster.get(contact);
		outcome.item = element.attr.subscription !== "remove" ? updated_item(element, outcome.old) : undefined;
		outcome.request = pending && pending.get(contact);
		roster.set(contact, outcome.item as RosterItem);
		// A contact who is subscribed now has no request any more.
		if (pending && outcome.item && (outcome.item.subscription === "from" || outcome.item.subscription === "both")) {
			pending.set(contact, undefined);
		}
	}

	/** Undoes changes to a roster in memory. */
	function revert(roster: Roster, applied: Outcome[]): void {
		const pending = (roster.get(false) ?? {}).pending;
		for (const i of $range(applied.length, 1, -1)) {
			const outcome = applied[i - 1]!;
			const contact = outcome.change.contact;
			// Somebody else may have changed it meanwhile.
			if (roster.get(contact) === outcome.item) {
				roster.set(contact, outcome.old as RosterItem);
				if (pending) {
					pending.set(contact, outcome.request);
				}
			}
		}
	}

	/** Whether mod_groups has added contacts to a roster in memory, or has marked the user's own as if it had. */
	function has_group_contacts(roster: Roster): boolean {
		for (const [, item] of pairs(roster as LuaTable<string, RosterItem>)) {
			if (item.persist === false) {
				return true;
			}
		}
		return false;
	}

	/** The whole of a roster as it is to be saved; nil where the storage fails. */
	function saved_roster(
		store: storagemanager.KeyvalStore<Roster>,
		username: string,
		roster: Roster,
		metadata: RosterMetadata,
		applied: Outcome[],
	): Roster | undefined {
		if (!has_group_contacts(roster)) {
			return roster;
		}
		const [stored, err] = store.get(username);
		if (err !== undefined) {
			return undefined;
		}
		const saved = (stored ? copy_of(stored as unknown as LuaTable<string, RosterItem>) : new LuaTable()) as unknown as Roster;
		saved.set(false, metadata);
		for (const [, outcome] of ipairs(applied)) {
			saved.set(outcome.change.contact, roster.get(outcome.change.contact));
		}
		return saved;
	}

	/** Writes a roster to the storage: the changed items if the storage has single items, else the whole. */
	function write(username: string, roster: Roster, metadata: RosterMetadata, applied: Outcome[]): boolean {
		if (!since_0_10) {
			// COMPAT: Prosody 0.9 has no `store-opened`. This function increments the version itself.
			return rostermanager.save_roster(username, host, roster) === true;
		}
		const store = storagemanager.open(host, "roster", "map");
		if (type(store.keyval_store) === "table") {
			// This store would read the whole roster to save one item, and the roster is in memory already.
			const whole_store = storagemanager.open<Roster>(host, "roster", "keyval");
			const whole = saved_roster(whole_store, username, roster, metadata, applied);
			return whole !== undefined && service.change_watch.save_without_comparing(whole, () => whole_store.set(username, whole)[0]) === true;
		}
		const keys = new LuaTable<string | false, unknown>();
		keys.set(false, metadata);
		for (const [, outcome] of ipairs(applied)) {
			const contact = outcome.change.contact;
			keys.set(contact, roster.get(contact) ?? store.remove);
		}
		return service.change_watch.save_without_comparing(keys, () => store.set_keys(username, keys)[0]) === true;
	}

	/** Saves a changed roster. If that fails, the changes are undone. */
	function save(username: string, roster: Roster, applied: Outcome[]): boolean {
		const metadata = roster.get(false) ?? {};
		roster.set(false, metadata);
		const version = metadata.version;
		if (since_0_10 && version !== true) {
			// mod_roster gives a roster that was never saved the version 1, so the first change must have a later one.
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

	/** Makes and saves the changes of one roster. */
	function change_roster(username: string, outcomes: Outcome[]): void {
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
			// Each change has a version of its own: a reader who has missed the last change must not have the last version.
			outcome.version = type(version) === "number" ? (version as number) - applied.length + i : version;
		}
	}

	/** Makes changes, those of the same roster together, and answers them in their order. */
	function change_rosters(changes: RosterChange[]): void {
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
			change_roster(username, by_username.get(username));
		}
		for (const [, outcome] of ipairs(outcomes)) {
			if (outcome.refusal) {
				outcome.change.refused(outcome.refusal);
			} else {
				outcome.change.saved(outcome.old, outcome.item, outcome.version);
			}
		}
	}

	/** Saves and answers all changes that wait. */
	function flush(): undefined {
		for (const [session, functions] of pairs(replaced)) {
			// The stream may have ended, or another module may have replaced the function in turn.
			if (session.send === functions.in_order) {
				session.send = functions.send;
			}
			replaced.delete(session);
			waiting_streams.delete(session);
		}
		const changes = waiting;
		if (changes.length > 0) {
			waiting = [];
			change_rosters(changes);
		}
		return undefined;
	}

	/** Sees to it that the changes of a stream are answered before anything else is sent on it. */
	function keep_order(session: Session): void {
		const flush_waiting = waiting_streams.get(session) as ((this: void) => void) | undefined;
		if (flush_waiting === flush) {
			return;
		}
		if (flush_waiting) {
			// Changes for another host came first.
			flush_waiting();
		}
		waiting_streams.set(session, flush);
		const send = session.send;
		function in_order(this: void, stanza: Stanza | string): boolean | undefined {
			flush();
			return send(stanza);
		}
		replaced.set(session, { send: send, in_order: in_order });
		session.send = in_order;
	}

	/**
	 * Handles `presence/bare`, `message/bare`, `iq/bare`, the same events for full JIDs, and `message/host`, before all other
	 * handlers. What follows a roster set, such as a roster get, a privileged message or iq, or a presence of the new contact, has
	 * to find the roster changed.
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

	/** Adds a change, which is saved and answered now or later. */
	function add(change: RosterChange): void {
		if (change.session.type === "c2s" || !since_0_10) {
			// The handlers of a client's stanzas may wait for an asynchronous storage, the callback of a timer may not.
			// COMPAT: in Prosody 0.9, timers go off only once a second.
			return change_rosters([change]);
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
