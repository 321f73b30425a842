// @xmpp/component has no types of its own, and there are none on npm. What the demo uses of it is like @xmpp/client.

declare module "@xmpp/component" {
	import type { Client } from "@xmpp/client";

	export interface Options {
		/** Where the server listens for components: `xmpp://HOST:PORT` */
		service: string;
		/** The component's own domain */
		domain: string;
		/** The `component_secret` of the server's configuration */
		password: string;
	}

	export type Component = Pick<Client, "iqCallee" | "on" | "reconnect" | "send" | "start" | "stop">;

	export function component(options: Options): Component;
}
