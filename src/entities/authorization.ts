import { printable } from "../prosody/log_text";
import { allows } from "../grants/permissions";
import type { Users } from "../grants/users";
import type { Entity } from "./entities";
import { about, refusals, saying } from "./refusals";
import type { Refusal } from "./refusals";

/**
 * Says what an entity may do with which account of the host. Every such question is asked here, with the account that
 * it is about, so that there is one place that knows what a grant covers.
 */
export function create_authorization(host: string, users: Users) {
	/** Why an entity may not do something with an account that its permissions allow; nil if it may. Says nothing of whether there is such an account. */
	function coverage_refusal(entity: Entity, username: string): Refusal | undefined {
		return users.covers(entity.jid, entity.permissions.users, username) ? undefined : about(refusals.not_covered, username + "@" + host);
	}

	/** Why an entity may not get or set a user's roster (XEP-0356, 4), nil if it may. */
	function roster_refusal(entity: Entity, username: string, iq_type: "get" | "set"): Refusal | undefined {
		if (!allows(entity.permissions.roster, iq_type)) {
			return iq_type === "get" ? refusals.roster_get : refusals.roster_set;
		}
		return coverage_refusal(entity, username);
	}

	/** Why an entity may not send an iq in a user's name (XEP-0356, 6), nil if it may. */
	function iq_refusal(entity: Entity, username: string, iq_type: string, namespace: string): Refusal | undefined {
		if (allows(entity.permissions.iq.get(namespace), iq_type)) {
			return coverage_refusal(entity, username);
		}
		return saying(refusals.iq, string.format('iq["%s"] = "%s", for %s', printable(namespace), iq_type, printable(username + "@" + host)));
	}

	/**
	 * Why an entity may not send a message in somebody's name (XEP-0356, 5), nil if it may.
	 *
	 * @param sender as the message names it, nil where it does not
	 * @param username of a sender who is a user of the host
	 */
	function message_refusal(entity: Entity, sender: string | undefined, username: string | undefined): Refusal | undefined {
		if (entity.permissions.message !== "outgoing") {
			return about(refusals.message, sender ?? "there is no sender");
		}
		return username !== undefined ? coverage_refusal(entity, username) : undefined;
	}

	return { roster_refusal, iq_refusal, message_refusal };
}
export type Authorization = ReturnType<typeof create_authorization>;
