// What the admin of the demo's server has in its configuration.

export interface Account {
	username: string;
	password: string;
}

export interface Ports {
	clients: number;
	components: number;
}

export const address = "127.0.0.1";
export const host = "capulet.lit";
export const juliet: Account = { username: "juliet", password: "balcony" };
export const romeo: Account = { username: "romeo", password: "orchard" };
export const gateway = { domain: `gateway.${host}`, secret: "secret" };

/** What the gateway is granted at first. */
export const grants = `\
VirtualHost "${host}"
    modules_enabled = { "privilege" }
    privileged_entities = {
        ["${gateway.domain}"] = {
            roster = "both",
            message = "outgoing",
            presence = "managed_entity",
            iq = {
                ["http://jabber.org/protocol/pubsub"] = "set",
                ["urn:xmpp:ping"] = "get",
            },
        },
    }
`;

/** What is left of it after a change. */
export const fewer_grants = `\
VirtualHost "${host}"
    modules_enabled = { "privilege" }
    privileged_entities = {
        ["${gateway.domain}"] = {
            roster = "get",
            presence = "managed_entity",
        },
    }
`;

/** The same, limited to users who have dealt with the gateway themselves. */
export const opted_in_grants = fewer_grants.replace('roster = "get",', 'users = "opted-in",\n            roster = "get",');

/** The whole of prosody.cfg.lua: on loopback, by itself, with all data in one folder. */
export function configuration(folder: string, module_folder: string, ports: Ports, virtual_host: string): string {
	const text = (value: string) => JSON.stringify(value);
	return `\
run_as_root = true -- only where it is started by root
pidfile = ${text(`${folder}/prosody.pid`)}
data_path = ${text(`${folder}/data`)}
certificates = ${text(folder)}
plugin_paths = { ${text(module_folder)} }
log = { info = ${text(`${folder}/prosody.log`)} }

interfaces = { "${address}" }
c2s_ports = { ${ports.clients} }
component_ports = { ${ports.components} }
component_interfaces = { "${address}" }
modules_enabled = { "roster", "saslauth", "disco", "version", "ping", "carbons", "pep" }
modules_disabled = { "s2s", "tls" }
authentication = "internal_plain"
storage = "internal"

-- Nobody else can listen on loopback, so there is no TLS here. Elsewhere, let these alone.
c2s_require_encryption = false
allow_unencrypted_plain_auth = true

${virtual_host}
Component "${gateway.domain}"
    component_secret = "${gateway.secret}"
`;
}
