import { shown } from "../prosody/log_text";
import { covers } from "../grants/permissions";
import type { Entity } from "./entities";
import { about, refusals, saying } from "./refusals";
import type { Refusal } from "./refusals";

/*
 * What an entity may do with which account. Every such question is asked here, with the account that
 * it is about, so that there is one place that knows what a grant covers.
 */

/** Why an entity may not send an iq in a user's name (XEP-0356, 6), nil if it may. @param user a bare JID */
export function iq_refusal(entity: Entity, user: string, iq_type: string, namespace: string): Refusal | undefined {
	if (covers(entity.permissions.iq.get(namespace), iq_type)) {
		return undefined;
	}
	return saying(refusals.iq, string.format('iq["%s"] = "%s", for %s', shown(namespace), iq_type, shown(user)));
}

/** Why an entity may not send a message in somebody's name (XEP-0356, 5), nil if it may. @param sender as the message names it */
export function message_refusal(entity: Entity, sender: string | undefined): Refusal | undefined {
	return entity.permissions.message === "outgoing" ? undefined : about(refusals.message, sender ?? "there is no sender");
}
