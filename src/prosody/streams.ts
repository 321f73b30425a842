/**
 * The JID that the server authenticated on a stream: an external component's own domain, or the bare JID of a
 * bound client. Nil for all else: other servers, internal components (their session is the host itself) and
 * sessions that modules make up. The addresses in stanzas play no part.
 *
 * A component's stream counts while its host is active and has no other one: Prosody keeps the stream of a
 * deactivated host open, and goes on to handle what comes over it.
 */
export function authenticated_jid(session: Session): string | undefined {
	if (session.type === "component") {
		const host = prosody.hosts.get(session.host) as Host | undefined;
		const component = host && (host.modules.get("component") as ComponentModule | undefined);
		// COMPAT: mod_component of Prosody 0.9 does not say which stream is its own.
		const is_current = component && (component.session === session || (component.session === undefined && component.connected));
		return is_current ? session.host : undefined;
	}
	if (session.type === "c2s" && session.full_jid !== undefined && prosody.full_sessions.get(session.full_jid) === session) {
		return session.username! + "@" + session.host;
	}
	return undefined;
}
