import * as hashes from "util.hashes";
import * as jid from "util.jid";
import * as st from "util.stanza";
import * as uuid from "util.uuid";
import { create_fifo } from "../prosody/fifo";
import { log_of_module, protect } from "../prosody/protect";
import { create_recent } from "../prosody/recent";
import type { AddTimer } from "../prosody/timers";
import type { Options } from "../grants/configuration";
import { is_at } from "./contact_cache";

/** Seconds between two batches of probes. */
const probe_pause = 0.1;

/** Seconds for which an answer counts: the contact is not probed again in that time. */
export const answer_age = 3600;

/** Seconds in which a probe without an answer is not repeated, in any user's name. */
const repeat_after = 5;

/** Seconds for which a probe waits for its answer. */
const answer_time = 60;

/** Seconds for which it is remembered that a user got no presence, at least; twice as long at most. */
const refusal_age = 1800;

/** In how many users' names a contact can be waiting to be probed. */
const max_names = 20;

/**
 * What comes of a probe: a presence, available or not; that the user in whose name it was sent does not see the contact; an
 * error about the contact, which other users may not get; or an error that all users get.
 */
export type ProbeOutcome = "presence" | "refusal" | "error" | "unreachable";

/** A probe that was sent. */
interface Probe {
	contact: string;
	/** The user in whose name it was sent. */
	username: string;
	sent_at: number;
	/** The users in whose names the contact is probed one after the other, as long as no presence comes. */
	others: string[];
	/** What came first; nil as long as nothing has come. */
	outcome?: ProbeOutcome;
}

/** A presence that came as the answer to a probe. */
interface ProbeAnswer {
	time: number;
	/** The user who got it. */
	username: string;
}

/** The state that is kept over a reload of the module. */
export interface SavedProbes {
	secret: string;
	/** Not there after an update from a version that keeps something else, as the next two. */
	probes?: Probe[];
	answers?: LuaTable<string, ProbeAnswer>;
	answers_before?: LuaTable<string, ProbeAnswer>;
}

/** Takes a name out of a list. */
function remove_name(names: string[], username: string): void {
	for (const i of $range(names.length, 1, -1)) {
		if (names[i - 1] === username) {
			table.remove(names, i);
		}
	}
}

/**
 * Probes contacts of users who are offline, so that no client of theirs does (RFC 6121, 4.3).
 *
 * Probes come from full JIDs that no client has, so that their answers reach no client. Contacts are given by their bare
 * JIDs, users by their names.
 *
 * A contact is probed in one user's name. If that user gets no presence, another one may: it is probed in the names of the
 * others for whom a catch-up requested it, one at a time. Servers refuse probes of users who are not subscribed with
 * `unsubscribed` or, as Prosody, not at all.
 *
 * @param is_probed_by_client whether a user has come online meanwhile, with a client that probes
 * @param shows_more whether an entity is told what the second of two users gets, and not what the first one gets
 */
export function create_probes(
	host: string,
	options: Options,
	add_timer: AddTimer,
	is_probed_by_client: (this: void, username: string) => boolean,
	shows_more: (this: void, username: string, other: string) => boolean,
) {
	let ended: (this: void, contact: string, username: string, sent_at: number, is_for_all: boolean) => void = () => undefined;
	let secret = uuid.generate();
	// The contacts to be probed in their order, and the users in whose names, by contact. Those without users were cancelled.
	const queue = create_fifo<string>();
	let queued = new LuaTable<string, string[]>();
	let is_sending = false;
	// Sends the next probes; set below, as the end of one probe may begin another.
	let send_next: (this: void) => number | undefined = () => undefined;
	// The probes of the last minute, and those of them without an answer by contact.
	const sent = create_fifo<Probe>();
	let is_ending = false;
	let unanswered = new LuaTable<string, Probe>();
	// The last answers by contact; those from before `answered_since` are in the second table.
	let answered = new LuaTable<string, ProbeAnswer>();
	let answered_before = new LuaTable<string, ProbeAnswer>();
	let answered_since = os.time();
	// The probes that have gone unanswered for less than `repeat_after`, and some older ones.
	const fresh = create_fifo<Probe>();
	// The users who were refused or got no answer, by contact and user, see `view_of`.
	let without = create_recent<"refusal" | "silence">(refusal_age);

	/**
	 * Sets the function that is called with each probe when its time is over: with the contact, the user, when it was sent, and
	 * whether the outcome holds for all users who see the contact.
	 */
	function on_end(handler: (this: void, contact: string, username: string, sent_at: number, is_for_all: boolean) => void): void {
		ended = handler;
	}

	/** The resource that a user's probes come from. Nobody can guess it. */
	function resource_of(username: string): string {
		return string.sub(hashes.sha1(secret + username, true), 1, 16);
	}

	/** Whether a user's probes come from a resource. */
	function is_own_resource(username: string, resource: string | undefined): boolean {
		return resource !== undefined && resource === resource_of(username);
	}

	/** Whether a user's probe of a contact waits for an answer. */
	function is_unanswered(contact: string, username: string): boolean {
		const probe = unanswered.get(contact) as Probe | undefined;
		return probe !== undefined && probe.username === username;
	}

	/** The key of what a user sees of a contact. */
	function view_of(contact: string, username: string): string {
		return contact + "\n" + username;
	}

	/** Has a contact probed in users' names, one after the other. Returns false if there are none, or no probes are sent. */
	function enqueue(contact: string, names: string[]): boolean {
		if (names.length === 0 || options.probe_rate <= 0) {
			return false;
		}
		if (!queued.has(contact)) {
			queue.push(contact);
			queued.set(contact, names);
		}
		if (!is_sending) {
			is_sending = true;
			add_timer(probe_pause, send_next);
		}
		return true;
	}

	/** Notes that a contact has answered with a presence. */
	function note_answer(contact: string, username: string): void {
		const time = os.time();
		if (time - answered_since > answer_age) {
			answered_before = answered;
			answered = new LuaTable();
			answered_since = time;
		}
		answered.set(contact, { time: time, username: username });
	}

	/** Notes what came of a user's probe, if one waits for it, and has the contact probed in the next user's name where needed. */
	function answer(contact: string, username: string, outcome: ProbeOutcome): void {
		const probe = unanswered.get(contact) as Probe | undefined;
		if (!probe || probe.username !== username) {
			return;
		}
		unanswered.delete(contact);
		probe.outcome = outcome;
		let others = probe.others;
		probe.others = [];
		if (outcome === "unreachable") {
			return;
		}
		if (outcome === "presence") {
			note_answer(contact, username);
			const showing: string[] = [];
			for (const [, other] of ipairs(others)) {
				if (shows_more(username, other)) {
					showing.push(other);
				}
			}
			others = showing;
		} else if (outcome === "refusal") {
			without.set(view_of(contact, username), "refusal");
		}
		enqueue(contact, others);
	}

	/**
	 * Whether a contact has to be probed in a user's name: no answer counts, and the user was not refused.
	 *
	 * @param counts whether what a user was answered counts
	 */
	function is_needed(contact: string, username: string, counts: (this: void, username: string) => boolean): boolean {
		const last = (answered.get(contact) ?? answered_before.get(contact)) as ProbeAnswer | undefined;
		const age = last && os.time() - last.time;
		if (age !== undefined && age <= answer_age && (age < repeat_after || counts(last!.username))) {
			return false;
		}
		return without.get(view_of(contact, username)) !== "refusal";
	}

	/** Notes that nothing has come of a probe. Returns the users in whose names the contact may be probed instead. */
	function give_way(probe: Probe): string[] {
		const others = probe.others;
		probe.others = [];
		without.set(view_of(probe.contact, probe.username), "silence");
		return others;
	}

	/** Has the contacts that have not answered probed in the next user's name, and ends the probes whose time is over. */
	function end_old(): number | undefined {
		const time = os.time();
		let probe = fresh.peek();
		while (probe && time - probe.sent_at >= repeat_after) {
			fresh.pop();
			if (unanswered.get(probe.contact) === probe && enqueue(probe.contact, give_way(probe))) {
				unanswered.delete(probe.contact);
			}
			probe = fresh.peek();
		}
		probe = sent.peek();
		while (probe && time - probe.sent_at >= answer_time) {
			sent.pop();
			let is_for_all = probe.outcome === "presence";
			if (unanswered.get(probe.contact) === probe) {
				unanswered.delete(probe.contact);
				is_for_all = !enqueue(probe.contact, probe.others);
			}
			ended(probe.contact, probe.username, probe.sent_at, is_for_all);
			probe = sent.peek();
		}
		is_ending = probe !== undefined;
		return is_ending ? 1 : undefined;
	}

	function send(contact: string, username: string, others: string[]): void {
		const probe: Probe = { contact: contact, username: username, sent_at: os.time(), others: others };
		sent.push(probe);
		fresh.push(probe);
		unanswered.set(contact, probe);
		if (!is_ending) {
			is_ending = true;
			add_timer(1, end_old);
		}
		const stanza = st.presence({ type: "probe", from: jid.join(username, host, resource_of(username)), to: contact });
		protect(log_of_module, "while a probe was sent to %s", contact, () => prosody.core_post_stanza(prosody.hosts.get(host), stanza));
	}

	/** Gives up the probes that were not sent yet. The next catch-up requests them again. */
	function give_up(): void {
		queue.clear();
		queued = new LuaTable();
	}

	send_next = () => {
		const rate = options.probe_rate;
		if (rate <= 0) {
			give_up();
		}
		const batch = math.max(1, math.floor(rate * probe_pause));
		let budget = batch;
		while (budget > 0 && queue.count() > 0) {
			const contact = queue.pop()!;
			const names = queued.get(contact) as string[] | undefined;
			queued.delete(contact);
			const username = names && table.remove(names, 1);
			if (username !== undefined && !is_probed_by_client(username)) {
				budget = budget - 1;
				send(contact, username, names!);
			}
		}
		if (queue.count() > 0) {
			return batch / rate;
		}
		give_up();
		is_sending = false;
		return undefined;
	};

	/** The users in whose names a contact will be probed; nil if it waits for nothing. */
	function names_of(contact: string): string[] | undefined {
		const probe = unanswered.get(contact) as Probe | undefined;
		return queued.get(contact) ?? (probe && probe.others);
	}

	/** Puts a user on a list of those in whose names a contact is probed: before those who got no answer lately, as far as there is room. */
	function add_name(names: string[], contact: string, username: string): void {
		remove_name(names, username);
		let others = names.length;
		if (without.get(view_of(contact, username)) === undefined) {
			while (others > 0 && without.get(view_of(contact, names[others - 1]!)) !== undefined) {
				others = others - 1;
			}
		}
		table.insert(names, others + 1, username);
		if (names.length > max_names) {
			table.remove(names);
		}
	}

	/**
	 * Requests a probe of a contact in a user's name. Probes are sent at the rate of the option. If the contact is being probed
	 * in another user's name, this user comes into question next.
	 */
	function request(contact: string, username: string): void {
		const probe = unanswered.get(contact) as Probe | undefined;
		const names = names_of(contact) ?? [];
		if (!queued.has(contact) && (!probe || os.time() - probe.sent_at >= repeat_after)) {
			const all = probe ? give_way(probe) : names;
			add_name(all, contact, username);
			enqueue(contact, all);
		} else if (queued.has(contact) || probe!.username !== username) {
			add_name(names, contact, username);
		}
	}

	/** Gives up a probe that was not sent yet, for a user who does not have the contact any more. */
	function cancel(contact: string, username: string): void {
		const names = names_of(contact);
		if (names) {
			remove_name(names, username);
		}
	}

	/** Gives up a user's probes that were not sent yet. */
	function forget_user(username: string): void {
		for (const [, names] of pairs(queued)) {
			remove_name(names, username);
		}
		for (const [, probe] of pairs(unanswered)) {
			remove_name(probe.others, username);
		}
	}

	/** Forgets the answer of a contact. */
	function forget_answer(contact: string): void {
		answered.delete(contact);
		answered_before.delete(contact);
	}

	/** Forgets the answers of all contacts at a domain. */
	function forget_answers_at(domain: string): void {
		for (const [, answers] of ipairs([answered, answered_before])) {
			for (const [contact] of pairs(answers)) {
				if (is_at(contact, domain)) {
					answers.delete(contact);
				}
			}
		}
	}

	function clear(): void {
		give_up();
		sent.clear();
		fresh.clear();
		unanswered = new LuaTable();
		answered = new LuaTable();
		answered_before = new LuaTable();
		without = create_recent<"refusal" | "silence">(refusal_age);
	}

	/** The state of the probes, to be restored after a reload. */
	function save(): SavedProbes {
		give_up();
		return { secret: secret, probes: sent.list(), answers: answered, answers_before: answered_before };
	}

	function restore(saved: SavedProbes): void {
		secret = saved.secret;
		answered = saved.answers ?? answered;
		answered_before = saved.answers_before ?? answered_before;
		for (const [, probe] of ipairs(saved.probes ?? [])) {
			sent.push(probe);
			fresh.push(probe);
			unanswered.set(probe.contact, probe);
			if (probe.outcome !== undefined) {
				unanswered.delete(probe.contact);
			}
		}
		if (sent.count() > 0) {
			is_ending = true;
			add_timer(1, end_old);
		}
	}

	return {
		on_end,
		is_own_resource,
		is_unanswered,
		answer,
		is_needed,
		request,
		cancel,
		forget_user,
		forget_answer,
		forget_answers_at,
		clear,
		save,
		restore,
	};
}

export type Probes = ReturnType<typeof create_probes>;
