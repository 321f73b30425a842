// Finds ports to listen on.

import { createServer } from "node:net";
import { address } from "./configuration.js";

/** Gives the port if it is free, else undefined; for 0 any free port. */
function try_port(port: number): Promise<number | undefined> {
	return new Promise((resolve) => {
		const listener = createServer();
		listener.on("error", () => {
			resolve(undefined);
		});
		listener.listen({ host: address, port, exclusive: true }, () => {
			const bound = listener.address();
			listener.close(() => {
				resolve(bound !== null && typeof bound === "object" ? bound.port : undefined);
			});
		});
	});
}

/** Gives a free port: the preferred one if it can be had. */
export async function free_port(preferred = 0): Promise<number> {
	const port = (await try_port(preferred)) ?? (await try_port(0));
	if (port === undefined) throw new Error(`There is no free port on ${address}`);
	return port;
}
