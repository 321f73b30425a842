import { authenticated_jid } from "../prosody/streams";

/**
 * Watches for the ends of domains on this server: contacts there are not available any more.
 *
 * Probes would not show that. The server answers for a component that is not connected, and no event tells of such answers.
 *
 * @param api the module that listens
 * @param gone is called with the domain of each component that disconnects and of each host that is deactivated
 */
export function watch_local_domains(api: Module, gone: (this: void, domain: string) => void): void {
	// The events objects with our handlers, by host. A host gets a new one each time it is activated.
	const watched = new LuaTable<string, Events>();
	const handlers = new LuaTable<string, (this: void, event: SessionEvent) => Handled>();

	function watch(domain: string): Handled {
		const host = prosody.hosts.get(domain) as Host | undefined;
		if (host && host.type === "component" && watched.get(domain) !== host.events) {
			const handler = (event: SessionEvent): Handled => {
				// The event also comes for streams that never authenticated, and for those that do not count any more.
				if (authenticated_jid(event.session) !== undefined) {
					gone(domain);
				}
				return undefined;
			};
			watched.set(domain, host.events);
			handlers.set(domain, handler);
			api.hook_object_event(host.events, "component-disconnected", handler);
		}
		return undefined;
	}

	function unwatch(domain: string): Handled {
		const events = watched.get(domain) as Events | undefined;
		if (events) {
			api.unhook_object_event(events, "component-disconnected", handlers.get(domain));
			watched.delete(domain);
			handlers.delete(domain);
		}
		gone(domain);
		return undefined;
	}

	for (const [domain] of pairs(prosody.hosts)) {
		watch(domain);
	}
	api.hook_global("host-activated", watch);
	api.hook_global("host-deactivated", unwatch);
}
