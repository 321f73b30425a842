// @xmpp/component has no types of its own, and there are none on npm. What is used of it here is like @xmpp/client.

declare module "@xmpp/component" {
	import type { Client, xml as client_xml } from "@xmpp/client";

	export interface Options {
		/** Where the server listens for components: `xmpp://HOST:PORT` */
		service: string;
		/** The component's own domain */
		domain: string;
		/** The `component_secret` of the server's configuration */
		password: string;
	}

	export type Component = Pick<Client, "iqCallee" | "iqCaller" | "on" | "reconnect" | "send" | "start" | "stop">;

	export type Element = ReturnType<typeof client_xml>;

	export function component(options: Options): Component;
	export const xml: typeof client_xml;
}
