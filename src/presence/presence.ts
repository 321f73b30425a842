import type { AddTimer } from "../prosody/timers";
import type { Options } from "../grants/configuration";
import type { Users } from "../grants/users";
import type { Entities } from "../entities/entities";
import type { OtherHosts } from "../entities/served_hosts";
import type { Statistics } from "../entities/statistics";
import { create_catch_up } from "./catch_up";
import { create_contact_cache } from "./contact_cache";
import type { SavedContacts } from "./contact_cache";
import { create_contact_presence } from "./contacts";
import { create_covered_contacts } from "./covered_contacts";
import type { Pictures } from "./covered_contacts";
import { create_delivery } from "./delivery";
import { create_heard } from "./heard";
import { watch_local_domains } from "./local_domains";
import { create_probes } from "./probes";
import type { SavedProbes } from "./probes";
import { create_user_presence } from "./users";
import type { EarlierSessions } from "./users";

/** The state that is kept over a reload of the module. */
export interface SavedPresence {
	contacts: SavedContacts;
	probes: SavedProbes;
	earlier: EarlierSessions | undefined;
	/** Not there after an update from a version that does not keep it. */
	pictures?: Pictures;
}

/** What telling of presences needs. */
interface PresenceService {
	api: Module;
	host: string;
	options: Options;
	entities: Entities;
	coverage: Users;
	add_timer: AddTimer;
	statistics: Statistics;
	other_hosts: OtherHosts;
}

/** Puts together the parts that tell entities of presences (XEP-0356, section 7). */
export function create_presence(service: PresenceService) {
	const host = service.host;
	const entities = service.entities;
	const coverage = service.coverage;
	const add_timer = service.add_timer;
	const heard = create_heard();
	const delivery = create_delivery(host, entities, coverage, heard, service.statistics, service.other_hosts);
	const users = create_user_presence(host, entities, add_timer, delivery);
	const cache = create_contact_cache();
	const probes = create_probes(host, service.options, add_timer, users.probes_contacts, delivery.shows_more);
	const covered_contacts = create_covered_contacts(entities, cache, delivery);
	const contacts = create_contact_presence({ host, entities, cache, probes, add_timer, delivery, covered_contacts });
	const catch_up = create_catch_up({
		host,
		entities,
		heard,
		delivery,
		coverage,
		users,
		covered_contacts,
		contacts,
		cache,
		probes,
		add_timer,
		other_hosts: service.other_hosts,
	});

	probes.on_end(contacts.probe_ended);
	watch_local_domains(service.api, contacts.domain_gone);

	/** Whether roster changes matter, for `create_change_watch`, of which this is a listener. */
	function is_watching(): boolean {
		return contacts.is_wanted() || entities.receivers("presence").length > 0;
	}

	function roster_changed(
		username: string,
		contact: string,
		item: RosterItem | undefined,
		_version: unknown,
		before: RosterItem | undefined,
	): void {
		contacts.roster_changed(username, contact, item);
		users.roster_changed(username, contact, item, before);
	}

	/** Begins to remember presences when an entity is granted to see contacts; forgets all when none is any more. */
	function configured(): void {
		if (contacts.is_wanted()) {
			users.begin();
		} else {
			users.restore(undefined);
			cache.clear();
			probes.clear();
		}
	}

	function save(): SavedPresence {
		contacts.finish_endings();
		return { contacts: cache.save(), probes: probes.save(), earlier: users.save(), pictures: covered_contacts.save() };
	}

	function restore(saved: SavedPresence): void {
		if (saved.earlier && contacts.is_wanted()) {
			cache.restore(saved.contacts);
			probes.restore(saved.probes);
			users.restore(saved.earlier);
			if (saved.pictures) {
				for (const [, connection] of ipairs(covered_contacts.restore(saved.pictures))) {
					heard.note_earlier(connection);
				}
			}
		}
	}

	return {
		broadcast: users.broadcast,
		receive_available: contacts.receive_available,
		receive_dropped: contacts.receive_dropped,
		receive_end: contacts.receive_end,
		user_deleted: contacts.user_deleted,
		is_watching,
		roster_changed,
		catch_up: catch_up.start,
		user_covered: catch_up.user_covered,
		user_uncovered: catch_up.user_uncovered,
		show_users_of: catch_up.show_users_of,
		configured,
		save,
		restore,
	};
}
