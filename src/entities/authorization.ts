import { account_disabled } from "../prosody/accounts";
import { printable } from "../prosody/log_text";
import { allows } from "../grants/permissions";
import type { Users } from "../grants/users";
import type { Entity } from "./entities";
import { about, refusals, with_detail } from "./refusals";
import type { Refusal } from "./refusals";

/**
 * Decides what an entity may do with which account of the host. Its functions give the refusal of a request; nil where it
 * is allowed.
 */
export function create_authorization(host: string, users: Users) {
	/** The refusal where the grant does not cover an account, which need not exist. */
	function coverage_refusal(entity: Entity, username: string): Refusal | undefined {
		return users.covers(entity.jid, entity.permissions.users, username) ? undefined : about(refusals.not_covered, username + "@" + host);
	}

	/** The refusal where an admin has disabled an account, which need not exist. */
	function disabled_refusal(username: string): Refusal | undefined {
		return account_disabled(username, host) ? about(refusals.account_disabled, username + "@" + host) : undefined;
	}

	/** The refusal of a request to read the roster of a user (XEP-0356, 4.2). */
	function roster_get_refusal(entity: Entity, username: string): Refusal | undefined {
		if (!allows(entity.permissions.roster, "get")) {
			return refusals.roster_get;
		}
		return coverage_refusal(entity, username);
	}

	/** The refusal of a request to change the roster of a user (XEP-0356, 4.3). */
	function roster_set_refusal(entity: Entity, username: string): Refusal | undefined {
		if (!allows(entity.permissions.roster, "set")) {
			return refusals.roster_set;
		}
		return coverage_refusal(entity, username) ?? disabled_refusal(username);
	}

	/** The refusal of the answer to an iq that was sent in a user's name: the grant may have changed since. */
	function iq_answer_refusal(entity: Entity, username: string, iq_type: string, namespace: string): Refusal | undefined {
		if (allows(entity.permissions.iq.get(namespace), iq_type)) {
			return coverage_refusal(entity, username);
		}
		return with_detail(
			refusals.iq,
			string.format('iq["%s"] = "%s", for %s', printable(namespace), iq_type, printable(username + "@" + host)),
		);
	}

	/** The refusal of an iq in a user's name (XEP-0356, 6). */
	function iq_refusal(entity: Entity, username: string, iq_type: string, namespace: string): Refusal | undefined {
		return iq_answer_refusal(entity, username, iq_type, namespace) ?? disabled_refusal(username);
	}

	/**
	 * The refusal of a message in the name of a user or of the host (XEP-0356, 5).
	 *
	 * @param sender the 'from' of the message, nil where it has none
	 * @param username the name of a sender who is a user of the host, else nil
	 */
	function message_refusal(entity: Entity, sender: string | undefined, username: string | undefined): Refusal | undefined {
		if (entity.permissions.message !== "outgoing") {
			return about(refusals.message, sender ?? "there is no sender");
		}
		if (username === undefined) {
			return undefined;
		}
		return coverage_refusal(entity, username) ?? disabled_refusal(username);
	}

	return { roster_get_refusal, roster_set_refusal, iq_refusal, iq_answer_refusal, message_refusal };
}
export type Authorization = ReturnType<typeof create_authorization>;
