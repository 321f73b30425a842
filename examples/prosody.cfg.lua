-- What the examples need in Prosody's configuration: a host that grants a component its permissions, and the component.

VirtualHost "capulet.lit"
modules_enabled = { "privilege" } -- beside what is there
privileged_entities = {
	["gateway.capulet.lit"] = {
		roster = "both",
		message = "outgoing",
		iq = { ["http://jabber.org/protocol/pubsub"] = "set" }, -- for bookmarks
	},
}

Component "gateway.capulet.lit"
component_secret = "secret"
