// Runs a Prosody with mod_privilege until it is interrupted: `make serve`.

import { address, gateway, grants, host, juliet, romeo } from "./configuration.js";
import { free_port } from "./ports.js";
import { start_server } from "./server.js";
import { bold, cyan, faint, print, print_indented, red } from "./terminal.js";

const ports = { clients: await free_port(5222), components: await free_port(5347) };
const server = await start_server(ports, grants);

print(bold("A Prosody with mod_privilege runs until you press Ctrl-C."));
print();
print(`Clients:    ${cyan(`${address}:${ports.clients}`)}, without TLS`);
for (const { username, password } of [juliet, romeo]) print(`            ${username}@${host}, password ${password}`);
print(`Component:  ${cyan(`${address}:${ports.components}`)}`);
print(`            ${gateway.domain}, secret ${gateway.secret}`);
print();
print("Start one of the examples beside it, in another terminal:");
print();
const environment = ports.components === 5347 ? "" : `GATEWAY_SERVER=${address}:${ports.components} `;
print(`      node_modules/.bin/tsc -p examples/typescript && ${environment}node build/examples/gateway.js ${juliet.username}@${host}`);
print(`      ${environment}python3 examples/python/gateway.py ${juliet.username}@${host}`);
print();
print(`Its configuration is ${server.config_file}:`);
print();
print_indented(grants, faint);
print();
print("Change it and reload it while the component is connected:");
print();
print(`      kill -HUP ${server.pid}`);
print();
print(`The log is ${server.log_file}`);

// Here this is how it ends.
process.prependListener("SIGINT", () => {
	print("\nStopped. Nothing is left behind.");
	process.exit(0);
});

await server.ended;
print(red(["Prosody has ended.", ...server.complaints()].join("\n")));
process.exit(1);
