import * as storagemanager from "core.storagemanager";
import * as usermanager from "core.usermanager";

/** Gives the next name, nil after the last one. */
export type NextName = (this: void) => string | undefined;

/**
 * Gives the names of all accounts of a host, one at a time; nil where they cannot be listed.
 *
 * Only names of Prosody's own files are read as they are asked for. All others are read at once: with
 * mod_storage_sql all lists of accounts share one prepared statement, which whoever asks next starts anew,
 * and which locks the database until its last row is taken.
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

	/** Whether the accounts are files in a folder, which is read name by name. */
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
	const [is_read, next_read] = pcall(read_ahead, next_name);
	return is_read ? next_read : undefined;
}
