import * as configmanager from "core.configmanager";
import * as storagemanager from "core.storagemanager";
import * as jid from "util.jid";
import { forget_account, forget_roster, read_roster } from "./prosody/accounts";
import { create_act_as } from "./prosody/act_as";
import { since_0_10 } from "./prosody/compatibility";
import type { SavedRecent } from "./prosody/recent";
import type { AddTimer } from "./prosody/timers";
import { describe_empty_entries, describe_problem, read_configuration } from "./grants/configuration";
import type { Options } from "./grants/configuration";
import { grants_anything, grants_any_entity } from "./grants/permissions";
import { create_users } from "./grants/users";
import type { SavedUsers, UserRecords } from "./grants/users";
import { create_adoption } from "./entities/adoption";
import { create_advertisement } from "./entities/advertisement";
import { create_authorization } from "./entities/authorization";
import { create_covered_count } from "./entities/covered_count";
import { create_entities, describe_entities } from "./entities/entities";
import type { Entity, SavedConnections } from "./entities/entities";
import { create_opting } from "./entities/opting";
import { create_refusing } from "./entities/refusals";
import { create_other_hosts } from "./entities/served_hosts";
import type { ServedHosts } from "./entities/served_hosts";
import { create_sessions } from "./entities/sessions";
import { create_statistics } from "./entities/statistics";
import { create_error_filter } from "./message/error_filter";
import { create_message } from "./message/message";
import { create_iq } from "./iq/iq";
import { create_change_watch } from "./roster/change_watch";
import type { RosterListener } from "./roster/change_watch";
import { create_roster_push } from "./roster/push";
import { create_roster_requests } from "./roster/requests";
import { create_write_queue } from "./roster/write_queue";
import type { WaitingStreams } from "./roster/write_queue";
import { create_presence } from "./presence/presence";
import type { SavedPresence } from "./presence/presence";
import { create_check } from "./admin/check";
import { count_of } from "./admin/words";
import { ask_running_server } from "./admin/running_server";
import { add_shell_commands, remove_shell_commands } from "./admin/shell";

/** The state that is kept over a reload of the module. It is empty where another module of this name was loaded before. */
interface SavedState {
	presence?: SavedPresence;
	/** Not there after an update from a version that does not keep it; neither are the next ones. */
	connections?: SavedConnections;
	senders?: SavedRecent<true>;
	users?: SavedUsers;
}

/** Serves the virtual host that the module is loaded on. */
function serve_host(): void {
	const host = module.host;
	const log = module._log;
	const add_timer: AddTimer = (delay, callback) => {
		module.add_timer(delay, callback);
	};

	const entities = create_entities();
	const served_hosts = module.shared<ServedHosts>("/*/privilege/served_hosts");
	const other_hosts = create_other_hosts(host, served_hosts);
	// The streams of entities with roster changes that wait to be saved, on all hosts.
	const waiting_streams = module.shared<WaitingStreams>("/*/privilege/waiting_streams");
	// The listeners for roster changes, by host.
	const roster_listeners = module.shared<LuaTable<string, RosterListener[]>>("/*/privilege/roster_listeners");

	const options = {} as Options;

	let problem_count = 0;

	/** Fills `options`. An option that is not set, or has a value of another type, has its default. */
	function read_options(): void {
		options.iq_timeout = math.max(1, module.get_option_number("privilege_iq_timeout") ?? 120);
		options.probe_rate = module.get_option_number("privilege_probe_rate") ?? 100;
		options.log_acts = module.get_option_boolean("privilege_log_acts") === true;
		options.legacy = module.get_option_boolean("privilege_legacy_namespace") !== false;
	}

	const statistics = create_statistics(module, options);
	const refusing = create_refusing(log, add_timer, statistics);
	const refuse = refusing.refuse;
	const acting = create_act_as(host, log);
	const users = create_users({ log, add_timer, store: storagemanager.open<UserRecords>(host, "privilege", "keyval") });
	const authorization = create_authorization(host, users);
	const change_watch = create_change_watch(() => roster_listeners.get(host));
	const roster_push = create_roster_push(host, entities, users, statistics);
	const write_queue = create_write_queue({ host, log, add_timer, change_watch, waiting_streams });
	const roster = create_roster_requests({
		host,
		log,
		entities,
		act_as: acting.act_as,
		refuse,
		statistics,
		authorization,
		change_watch,
		write_queue,
	});
	const error_filter = create_error_filter();
	const message = create_message({ host, options, entities, authorization, acting, refusing, statistics, error_filter });
	const iq = create_iq({
		host,
		options,
		entities,
		is_listed: other_hosts.is_listed,
		authorization,
		acting,
		refusing,
		add_timer,
		statistics,
	});
	const presence = create_presence({
		api: module,
		host,
		options,
		entities,
		coverage: users,
		add_timer,
		statistics,
		other_hosts,
	});
	const covered_count = create_covered_count({ add_timer, entities, users, counted: statistics.covered });
	const advertisement = create_advertisement({ host, log, options, changed: presence.catch_up });
	const opting = create_opting({
		host,
		log,
		add_timer,
		entities,
		users,
		covered: (entity, username) => {
			covered_count.changed(entity, username, true);
			presence.user_covered(entity, username);
		},
		uncovered: (entity, username) => {
			covered_count.changed(entity, username, false);
			presence.user_uncovered(entity, username);
		},
	});
	served_hosts.set(host, { entities, users, opting, covered_count, show_users_of: presence.show_users_of });
	add_shell_commands(module, served_hosts);
	const adoption = create_adoption({ host, log, add_timer, entities, opting });

	/** Sets the status that `prosodyctl shell module list` shows. */
	function update_status(): void {
		if (!module.set_status) {
			return;
		}
		const text = describe_entities(entities) + ", version " + module_version;
		if (problem_count > 0) {
			module.set_status("error", text + "; " + count_of(problem_count, "error", "errors") + " in the configuration, see the log", true);
		} else {
			module.set_status("info", text, true);
		}
	}

	function arrived(entity: Entity, session: Session): void {
		if (grants_anything(entity.permissions)) {
			advertisement.advertise(entities.connect(entity, session));
			update_status();
		}
	}

	function unavailable(session: Session): void {
		entities.disconnect(session);
		update_status();
	}

	function gone(session: Session): void {
		unavailable(session);
		iq.forget(session);
	}

	const sessions = create_sessions({ api: module, entities, arrived, unavailable, gone });

	/** Reads the configuration and puts it into effect. */
	function configure(): void {
		read_options();
		const configuration = read_configuration(module.get_option("privileged_entities"), jid.prep, host);
		problem_count = configuration.problems.length;
		for (const [, problem] of ipairs(configuration.problems)) {
			log("error", "%s", describe_problem(host, problem));
		}
		if (grants_any_entity(configuration.grants)) {
			for (const [, sentence] of ipairs(describe_empty_entries(host, configuration))) {
				log("warn", "%s", sentence);
			}
		} else {
			log("warn", "%s", create_check().explain_no_grants(host, configmanager.getconfig()));
		}
		if (!since_0_10) {
			// COMPAT: Prosody 0.9 does not tell of roster changes.
			for (const [, permissions] of pairs(configuration.grants)) {
				permissions.push = false;
			}
		}
		for (const [, entity] of ipairs(entities.grant(configuration.grants))) {
			advertisement.advertise_to(entity);
		}
		for (const [, entity] of pairs(entities.all())) {
			statistics.announce(entity);
			advertisement.advertise_to(entity);
		}
		presence.configured();
		covered_count.configured();
		adoption.configured();
		sessions.watch();
		sessions.find();
		update_status();
	}

	/** Handles the end of an account before mod_roster does: the roster is dropped without being saved, so listeners are told here. */
	function account_deleted(event: UserEvent): Handled {
		if (event.host === host) {
			covered_count.forget(event.username);
			if (change_watch.is_watched()) {
				change_watch.compare(event.username, read_roster(event.username, host), undefined);
			}
		}
		return undefined;
	}

	/** Drops what is in memory of an account that was disabled or enabled, or whose role changed. */
	function account_changed(event: UserEvent): Handled {
		if (event.host === host) {
			forget_account(event.username, host);
			forget_roster(event.username, host);
		}
		return undefined;
	}

	/** Drops what is in memory of an account that was created or deleted. */
	function account_replaced(event: UserEvent): Handled {
		if (event.host === host) {
			opting.forget(event.username);
			users.forget(event.username);
		}
		return account_changed(event);
	}

	/** Gives a client that logs in the roster from the storage: the server's cache may have that of an account which another process deleted. */
	function client_logs_in(event: SessionEvent): Handled {
		forget_roster(event.session.username!, host);
		return undefined;
	}

	/** Saves that users opt out where that was put off. */
	function save_opting(): Handled {
		opting.finish_all();
		users.save_unsaved();
		return undefined;
	}

	let reload_waits = false;

	/**
	 * Reads the configuration again in a moment. COMPAT: Prosody up to 0.12 handles SIGHUP in the middle of other work, and
	 * stanzas that are sent then may be lost.
	 */
	function config_reloaded(): Handled {
		if (!reload_waits) {
			reload_waits = true;
			add_timer(0, () => {
				reload_waits = false;
				configure();
				return undefined;
			});
		}
		return undefined;
	}

	// Before the server's own modules, which have 0, and after mod_firewall, which has 0.1: what it drops or refuses has not come.
	const after_firewall = 0.05;

	// Rosters
	for (const [, kind] of ipairs([
		"presence/bare",
		"presence/full",
		"message/host",
		"message/bare",
		"message/full",
		"iq/bare",
		"iq/full",
	] as const)) {
		module.hook(kind, write_queue.before_stanza, 1000);
	}
	module.hook("iq-get/bare/jabber:iq:roster:query", roster.get, 1);
	module.hook("iq-set/bare/jabber:iq:roster:query", roster.set, 1);
	roster_listeners.set(host, [roster_push, presence]);
	module.hook("store-opened", change_watch.opened);
	module.hook_global("user-deleted", account_deleted, 301);
	// After all other handlers, which may read something of the account; before a client can ask for the next account of that name.
	module.hook_global("user-deleted", account_replaced, -1000);
	module.hook("user-registered", account_replaced, 1000);
	module.hook_global("user-role-changed", account_changed);
	module.hook_global("user-disabled", account_changed);
	module.hook_global("user-enabled", account_changed);
	module.hook("pre-resource-bind", client_logs_in, 1000);
	// Messages
	module.hook("message/host", message, 1);
	module.hook("message/bare", error_filter.receive, 1);
	// Iqs: answers before mod_iq handles them
	module.hook("iq/bare/urn:xmpp:privilege:2:privileged_iq", iq.request);
	module.hook("iq/host/urn:xmpp:privilege:2:privileged_iq", iq.to_host);
	module.hook("iq/full", iq.to_client, 1);
	module.hook("iq/bare", iq.answer, 1);
	// Presences: ends of presences and answers to probes before mod_blocklist drops them
	module.hook("presence/bare", presence.broadcast, after_firewall);
	module.hook("presence/bare", presence.receive_available, after_firewall);
	module.hook("presence/full", presence.receive_available, after_firewall);
	module.hook("presence/full", presence.receive_dropped, 200);
	module.hook("presence/bare", presence.receive_end, 200);
	module.hook("presence/full", presence.receive_end, 200);
	module.hook_global("user-deleted", presence.user_deleted, 302);
	// Opting in and out
	for (const [, kind] of ipairs(["host", "bare", "full"])) {
		module.hook(`pre-iq/${kind}`, opting.leaving_iq, 1);
		module.hook(`pre-presence/${kind}`, opting.leaving_presence, 1);
		module.hook(`pre-iq/${kind}`, opting.joining_iq, after_firewall);
		module.hook(`pre-message/${kind}`, opting.joining_message, after_firewall);
		module.hook(`pre-presence/${kind}`, opting.joining_presence, after_firewall);
	}
	module.hook("iq/full", opting.entity_answer, 1);
	module.hook("roster-item-removed", opting.roster_item_removed, 1);

	module.hook_global("config-reloaded", config_reloaded);
	// Modules are not unloaded when the server stops.
	module.hook_global("server-stopping", save_opting);

	module.save = () => ({
		presence: presence.save(),
		connections: entities.save(),
		senders: error_filter.save(),
		users: users.save(),
	});
	module.restore = (state: SavedState) => {
		if (state.presence) {
			presence.restore(state.presence);
		}
		if (state.senders) {
			error_filter.restore(state.senders);
		}
		if (state.users) {
			users.restore(state.users);
		}
	};
	module.unload = () => {
		write_queue.flush();
		save_opting();
		iq.give_up();
		served_hosts.delete(host);
		roster_listeners.delete(host);
		if (next(served_hosts)[0] === undefined) {
			remove_shell_commands(module);
		}
		if (!module.reloading) {
			for (const [, entity] of ipairs(entities.grant(new LuaTable()))) {
				advertisement.advertise_to(entity);
			}
		}
	};

	// Before the configuration takes effect, so that entities are told what they have lost since.
	const saved = module.saved_state as SavedState | undefined;
	if (saved && saved.connections) {
		entities.restore(saved.connections);
	}
	configure();
}

module.command = (args) => create_check().run_command(args, configmanager.getconfig, module.path, ask_running_server);

if (module.get_host_type() === "local") {
	serve_host();
}
