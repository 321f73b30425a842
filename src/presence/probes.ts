import * as hashes from "util.hashes";
import * as jid from "util.jid";
import * as st from "util.stanza";
import * as uuid from "util.uuid";
import { create_fifo } from "../prosody/fifo";
import { log_of_module, protect } from "../prosody/protect";
import type { AddTimer } from "../prosody/timers";
import type { Options } from "../grants/configuration";
import { is_at } from "./contact_cache";

/** Seconds between two batches of probes. */
const probe_pause = 0.1;

/** Seconds for which an answer counts: the contact is not probed again in that time. */
export const answer_age = 3600;

/** Seconds in which a probe without an answer is not repeated. */
const repeat_after = 5;

/** Seconds for which a probe waits for its answer. */
const answer_time = 60;

/** A probe that was sent. */
interface Probe {
	contact: string;
	/** The user in whose name it was sent. */
	username: string;
	sent_at: number;
}

/** The state that is kept over a reload of the module. */
export interface SavedProbes {
	secret: string;
	sent: Probe[];
	answered: LuaTable<string, number>;
	answered_before: LuaTable<string, number>;
}

/**
 * Probes contacts of users who are offline, so that no client of theirs does (RFC 6121, 4.3).
 *
 * Probes come from full JIDs that no client has, so that their answers reach no client. Contacts are given by their bare
 * JIDs, users by their names.
 *
 * @param is_probed_by_client whether a user has come online meanwhile, with a client that probes
 */
export function create_probes(
	host: string,
	options: Options,
	add_timer: AddTimer,
	is_probed_by_client: (this: void, username: string) => boolean,
) {
	let ended: (this: void, contact: string, username: string, sent_at: number) => void = () => undefined;
	let secret = uuid.generate();
	// The contacts to be probed in their order, and the users in whose names, by contact. Those without a user were cancelled.
	const queue = create_fifo<string>();
	let queued = new LuaTable<string, string>();
	let is_sending = false;
	// The probes of the last minute, and those of them without an answer by contact.
	const sent = create_fifo<Probe>();
	let is_ending = false;
	let unanswered = new LuaTable<string, Probe>();
	// When contacts answered last, by contact; those from before `answered_since` are in the second table.
	let answered = new LuaTable<string, number>();
	let answered_before = new LuaTable<string, number>();
	let answered_since = os.time();

	/** Sets the function that is called with each probe when its time is over. */
	function on_end(handler: (this: void, contact: string, username: string, sent_at: number) => void): void {
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

	/** Notes the answer to a user's probe, if one waits for it. `failed` says that the answer is an error. */
	function answer(contact: string, username: string, failed: boolean): void {
		if (is_unanswered(contact, username)) {
			unanswered.delete(contact);
			if (!failed) {
				const time = os.time();
				if (time - answered_since > answer_age) {
					answered_before = answered;
					answered = new LuaTable();
					answered_since = time;
				}
				answered.set(contact, time);
			}
		}
	}

	/** Whether a contact has to be probed: no answer counts, and none is expected. */
	function is_needed(contact: string): boolean {
		const time = os.time();
		const probe = unanswered.get(contact) as Probe | undefined;
		const last: number | undefined = answered.has(contact) ? answered.get(contact) : answered_before.get(contact);
		return (
			!queued.has(contact)
			&& (probe === undefined || time - probe.sent_at >= repeat_after)
			&& (last === undefined || time - last > answer_age)
		);
	}

	/** Ends the probes whose time is over. */
	function end_old(): number | undefined {
		const time = os.time();
		let probe = sent.peek();
		while (probe && time - probe.sent_at >= answer_time) {
			sent.pop();
			if (unanswered.get(probe.contact) === probe) {
				unanswered.delete(probe.contact);
			}
			ended(probe.contact, probe.username, probe.sent_at);
			probe = sent.peek();
		}
		is_ending = probe !== undefined;
		return is_ending ? 1 : undefined;
	}

	function send(contact: string, username: string): void {
		const probe: Probe = { contact: contact, username: username, sent_at: os.time() };
		sent.push(probe);
		unanswered.set(contact, probe);
		if (!is_ending) {
			is_ending = true;
			add_timer(answer_time, end_old);
		}
		const stanza = st.presence({ type: "probe", from: jid.join(username, host, resource_of(username)), to: contact });
		protect(log_of_module, "while a probe was sent to %s", contact, () => prosody.core_post_stanza(prosody.hosts.get(host), stanza));
	}

	/** Gives up the probes that were not sent yet. The next catch-up requests them again. */
	function give_up(): void {
		queue.clear();
		queued = new LuaTable();
	}

	function send_batch(): number | undefined {
		const rate = options.probe_rate;
		if (rate <= 0) {
			give_up();
		}
		let budget = math.max(1, math.floor(rate * probe_pause));
		while (budget > 0 && queue.count() > 0) {
			const contact = queue.pop()!;
			const username = queued.get(contact) as string | undefined;
			if (username !== undefined) {
				queued.delete(contact);
				if (!is_probed_by_client(username)) {
					budget = budget - 1;
					send(contact, username);
				}
			}
		}
		if (queue.count() > 0) {
			return math.max(probe_pause, 1 / rate);
		}
		give_up();
		is_sending = false;
		return undefined;
	}

	/** Requests a probe of a contact in a user's name. Probes are sent at the rate of the option. */
	function request(contact: string, username: string): void {
		if (options.probe_rate > 0) {
			queue.push(contact);
			queued.set(contact, username);
			if (!is_sending) {
				is_sending = true;
				add_timer(probe_pause, send_batch);
			}
		}
	}

	/** Gives up a probe that was not sent yet, for a user who does not have the contact any more. */
	function cancel(contact: string, username: string): void {
		if (queued.get(contact) === username) {
			queued.delete(contact);
		}
	}

	/** Gives up a user's probes that were not sent yet. */
	function forget_user(username: string): void {
		for (const [contact, name] of pairs(queued)) {
			if (name === username) {
				queued.delete(contact);
			}
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
		unanswered = new LuaTable();
		answered = new LuaTable();
		answered_before = new LuaTable();
	}

	/** The state of the probes, to be restored after a reload. */
	function save(): SavedProbes {
		give_up();
		return { secret: secret, sent: sent.list(), answered: answered, answered_before: answered_before };
	}

	function restore(saved: SavedProbes): void {
		secret = saved.secret;
		answered = saved.answered;
		answered_before = saved.answered_before;
		for (const [, probe] of ipairs(saved.sent)) {
			sent.push(probe);
			if (!answered.has(probe.contact)) {
				unanswered.set(probe.contact, probe);
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
