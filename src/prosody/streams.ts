/** Whether a session is the stream of a client that has bound a resource, and not one that a module made up. */
export function is_client_stream(session: Session): boolean {
	return session.type === "c2s" && session.full_jid !== undefined && prosody.full_sessions.get(session.full_jid) === session;
}

/**
 * The JID that the server authenticated on a stream: the domain of an external component, or the bare JID of a client
 * that has bound a resource. Nil for everything else: other servers, internal components (their session is the host
 * itself) and sessions that modules make up. The addresses in stanzas play no part.
 *
 * The stream of a component counts while its host is active and has no newer stream. When a host is deactivated, Prosody
 * keeps the stream open and goes on to handle its stanzas.
 */
export function authenticated_jid(session: Session): string | undefined {
	if (session.type === "component") {
		const host = prosody.hosts.get(session.host) as Host | undefined;
		const component = host && (host.modules.get("component") as ComponentModule | undefined);
		// COMPAT: mod_component of Prosody 0.9 has no `session`, only whether a stream is connected.
		const is_current = component && (component.session === session || (component.session === undefined && component.connected));
		return is_current ? session.host : undefined;
	}
	return is_client_stream(session) ? session.username! + "@" + session.host : undefined;
}
