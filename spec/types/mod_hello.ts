// A module of somebody else's, written with types/: types_spec.lua compiles it and loads it into a real server.

import * as jid from "util.jid";
import * as st from "util.stanza";

const xmlns = "urn:example:hello";
const greeting = module.get_option_string("hello_greeting", "Hello");

module.add_feature(xmlns);
module.depends("http");
module.provides("http", { route: { GET: () => greeting } });

module.hook(`iq-get/host/${xmlns}:query`, (event) => {
	const stanza = event.stanza;
	const name = stanza.find("{urn:example:hello}query/name#") ?? jid.node(stanza.attr.from);
	module.log("info", "%s is greeted", name);
	event.origin.send(
		st
			.reply(stanza)
			.query(xmlns)
			.text_tag("greeting", `${greeting}, ${name ?? "stranger"}`),
	);
	return true;
});

module.hook("message/host", (event) => {
	const body = event.stanza.get_child_text("body");
	if (body === undefined) {
		return undefined;
	}
	module.send(st.message({ from: module.host, to: event.stanza.attr.from, type: "chat" }, `${greeting}, you said: ${body}`));
	return true;
});
