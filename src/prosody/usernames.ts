import * as storagemanager from "core.storagemanager";
import * as usermanager from "core.usermanager";

/** Gives the next name; nil after the last one. */
export type NextName = (this: void) => string | undefined;

/**
 * Makes a function that gives the names of all accounts of a host, one with each call, and nil after the last one. Nil
 * where accounts cannot be listed.
 *
 * Where each account is a file, names are read as they are asked for. Other lists are read to their end at once: in
 * mod_storage_sql, all lists of accounts share one prepared statement. It starts anew for the next caller, and it locks
 * the database until its last row is read.
 */
export function list_usernames(host: string): NextName | undefined {
	function open_list(): NextName | undefined {
		const [next_name, state, start] = usermanager.users(host);
		if (!next_name) {
			return undefined;
		}
		let last = start as string | undefined;
		return () => {
			last = next_name(state, last);
			return last;
		};
	}

	/** Whether each account is a file in a folder, which is read name by name. */
	function is_lazy(): boolean {
		const provider = usermanager.get_provider(host);
		const [is_internal] = string.find(provider.name ?? "", "^internal_");
		const [, driver] = storagemanager.get_driver(host, "accounts");
		return is_internal !== undefined && driver === "internal";
	}

	/** Reads a list to its end, and gives its names one at a time. */
	function read_ahead(next_name: NextName): NextName {
		const names: string[] = [];
		let name = next_name();
		while (name !== undefined) {
			names.push(name);
			name = next_name();
		}
		let position = 0;
		return () => {
			position = position + 1;
			return names[position - 1];
		};
	}

	const [is_open, next_name] = pcall(open_list);
	if (!is_open || !next_name || is_lazy()) {
		return is_open ? next_name : undefined;
	}
	const [is_read, next_username] = pcall(read_ahead, next_name);
	return is_read ? next_username : undefined;
}
