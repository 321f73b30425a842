-- What the examples need in the configuration of Prosody: a host that grants a component its privileges, and the component.

VirtualHost "capulet.lit"
	modules_enabled = { "privilege" } -- beside what is there
	privileged_entities = {
		["gateway.capulet.lit"] = {
			roster = "both";
			message = "outgoing";
		};
	}

Component "gateway.capulet.lit"
	component_secret = "secret"
