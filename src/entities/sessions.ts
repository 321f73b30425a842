import * as jid from "util.jid";
import { since_0_10 } from "../prosody/compatibility";
import { drop_undelivered_at } from "../prosody/send";
import { grants_anything } from "../grants/permissions";
import type { Entities, Entity } from "./entities";

interface SessionsService {
	api: Module;
	entities: Entities;
	arrived: (this: void, entity: Entity, session: Session) => void;
	unavailable: (this: void, session: Session) => void;
	gone: (this: void, session: Session) => void;
}

/**
 * Watches the streams of entities, on all hosts of this server.
 *
 * `service.arrived` is called when a component has authenticated or the client of a user becomes available,
 * `service.unavailable` when such a client becomes unavailable, and `service.gone` when a stream has ended or does not
 * count any more. `service.api` is the module that hooks the events.
 */
export function create_sessions(service: SessionsService) {
	// Seconds after a handshake within which the server has to fire component-authenticated.
	const handshake_grace = 1;

	const api = service.api;
	const entities = service.entities;
	// The events objects with our hooks, by host. A host gets a new object whenever it is activated.
	const watched = new LuaTable<string, Events>();
	// The events objects with the handler that stays when the module is unloaded, as keys.
	const has_drop = api.shared<LuaTable<Events, true>>("/*/privilege/undelivered");

	/** Reports a stream if it belongs to an entity. */
	function authenticated(session: Session): void {
		const entity = entities.of(session);
		if (entity) {
			service.arrived(entity, session);
		}
	}

	function component_authenticated(event: SessionEvent): Handled {
		authenticated(event.session);
		return undefined;
	}

	function client_available(event: StanzaEvent): Handled {
		authenticated(event.origin);
		return undefined;
	}

	/** Handles the presence that a client broadcasts. */
	function client_broadcast(event: StanzaEvent): Handled {
		const session = event.origin;
		const attr = event.stanza.attr;
		if (attr.to !== undefined || !entities.of(session)) {
			return undefined;
		}
		if (attr.type === "unavailable") {
			service.unavailable(session);
		} else if (!since_0_10 && attr.type === undefined && !session.presence) {
			// COMPAT: Prosody 0.9 does not fire presence/initial. When the timer goes off, the client is available.
			api.add_timer(0, () => {
				authenticated(session);
				return undefined;
			});
		}
		return undefined;
	}

	function stream_ended(event: SessionEvent): Handled {
		service.gone(event.session);
		return undefined;
	}

	function is_known(entity: Entity, session: Session): boolean {
		for (const [, connection] of ipairs(entity.connections)) {
			if (connection.session === session) {
				return true;
			}
		}
		return false;
	}

	/** COMPAT: Prosody before 0.9.9 does not fire component-authenticated unless it was patched. Tells the admin so. */
	function component_handshake(event: StanzaEvent): Handled {
		const session = event.origin;
		api.add_timer(handshake_grace, () => {
			const entity = entities.of(session);
			if (entity && grants_anything(entity.permissions) && !is_known(entity, session)) {
				api.log(
					"error",
					"%s is connected and was not told its permissions: this server's mod_component does not fire component-authenticated, apply patches/component-authenticated.patch of mod_privilege to it",
					entity.jid,
				);
			}
			return undefined;
		});
		return undefined;
	}

	const handlers: Record<string, (this: void, event: never) => Handled> = {
		"component-authenticated": component_authenticated,
		"component-disconnected": stream_ended,
		"presence/initial": client_available,
		"presence/bare": client_broadcast,
		"resource-unbind": stream_ended,
		"stanza/jabber:component:accept:handshake": component_handshake,
	};

	function unwatch(host: string): void {
		const events = watched.get(host) as Events | undefined;
		if (events) {
			for (const [event, handler] of pairs(handlers)) {
				api.unhook_object_event(events, event, handler);
			}
			watched.delete(host);
		}
	}

	/** Handles `host-deactivated`: the stream of an external component does not end with its host. */
	function host_deactivated(host: string): Handled {
		unwatch(host);
		for (const [, entity] of pairs(entities.all())) {
			for (const i of $range(entity.connections.length, 1, -1)) {
				const session = entity.connections[i - 1]!.session;
				if (session.type === "component" && session.host === host) {
					service.gone(session);
				}
			}
		}
		return undefined;
	}

	function watch_host(name: string): void {
		const host = prosody.hosts.get(name) as Host | undefined;
		if (host && watched.get(name) !== host.events) {
			unwatch(name);
			watched.set(name, host.events);
			drop_undelivered_at(host.events, has_drop);
			for (const [event, handler] of pairs(handlers)) {
				// Before mod_presence and mod_smacks, after which no other handler is called.
				api.hook_object_event(host.events, event, handler, 1);
			}
		}
	}

	/** Watches the hosts of all entities. Has to be called after the configuration was read. */
	function watch(): Handled {
		for (const [entity_jid] of pairs(entities.all())) {
			const [, host] = jid.split(entity_jid);
			watch_host(host!);
		}
		return undefined;
	}

	/** Reports those streams of entities that have authenticated before they were watched. */
	function find(): void {
		const streams = api.shared<LuaTable<object, Session>>("/*/component/sessions");
		for (const [, session] of pairs(streams)) {
			const entity = entities.of(session);
			if (entity && !is_known(entity, session)) {
				service.arrived(entity, session);
			}
		}
		for (const [entity_jid, entity] of pairs(entities.all())) {
			const user = prosody.bare_sessions.get(entity_jid) as User | undefined;
			if (user) {
				for (const [, session] of pairs(user.sessions)) {
					if (session.presence && !is_known(entity, session)) {
						service.arrived(entity, session);
					}
				}
			}
		}
	}

	api.hook_global("host-activated", watch);
	api.hook_global("host-deactivated", host_deactivated);
	return { watch: watch, find: find };
}
