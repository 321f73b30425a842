/**
 * Prosody's module API: the global `module` of a module's file.
 */

interface Module {
	/** The host that the module is loaded on, "*" for none. */
	host: string;
	name: string;
	/** The file that the module was loaded from. */
	path: string;
	/** True while the module is loaded or unloaded as part of a reload. */
	reloading?: boolean | undefined;
	/** What `save` returned, while the module is loaded as part of a reload. */
	saved_state?: object | undefined;
	_log: Log;

	/** What `prosodyctl mod_NAME` calls, with the words after that; a number is the exit status. */
	command?: (this: void, args: string[]) => number;
	/** Called when the module is unloaded, also at a reload. */
	unload?: (this: void) => void;
	/** What it returns is handed to `restore` after a reload. */
	save?: (this: void) => object;
	/** Called after a reload. */
	restore?: (this: void, saved: object) => void;

	/** "local" for a virtual host, "component", "global". */
	get_host_type(): string | undefined;
	log(level: LogLevel, format: string, ...values: unknown[]): void;
	/** An option of the host, or of the global section where the host has none. */
	get_option(name: string, fallback?: unknown): unknown;
	/** As text, also where it is a number or a boolean; of a list the first item. */
	get_option_string(name: string, fallback: string): string;
	get_option_string(name: string): string | undefined;
	/** A copy; an option that is no list comes as the only item of one. */
	get_option_array<T = unknown>(name: string, fallback: T[]): T[];
	get_option_array<T = unknown>(name: string): T[] | undefined;
	/** Nil where the option is something else, or is not set and there is no fallback. */
	get_option_boolean(name: string, fallback?: boolean): boolean | undefined;
	/** Nil where the option is something else, or is not set and there is no fallback. */
	get_option_number(name: string, fallback?: number): number | undefined;

	/** Handles a stanza to or, with `pre-`, from users of the module's host; higher priorities are called first, 0 is the usual one. */
	hook(event: StanzaEventName, handler: (this: void, event: StanzaEvent) => Handled, priority?: number): void;
	/** Handles another event of the module's host. */
	hook<E extends object>(event: string, handler: (this: void, event: E) => Handled, priority?: number): void;
	/** Handles an event of the server as a whole. */
	hook_global<E>(event: string, handler: (this: void, event: E) => Handled, priority?: number): void;
	/** Handles an event of another host, say. */
	hook_object_event<E extends object>(events: Events, event: string, handler: (this: void, event: E) => Handled, priority?: number): void;
	unhook_object_event<E extends object>(events: Events, event: string, handler: (this: void, event: E) => Handled): void;
	/** Fires an event on the module's host; gives what the handler that ended it returned. */
	fire_event(event: string, data?: object): unknown;
	/** Sends a stanza as the host, or as the session that is told. */
	send(stanza: Stanza, origin?: Session): void;
	/** Loads another module, and gives its environment; raises an error where that fails. */
	depends(name: string): object;
	/** What service discovery (XEP-0030) tells of the host while the module is loaded. */
	add_feature(namespace: string): void;
	add_identity(category: string, type: string, name?: string): void;
	/** Offers something of a kind that others look for, such as the pages of "http". */
	provides(kind: string, provider: object): void;
	/** A table that modules share, by path: "/HOST/MODULE/NAME", "*" for global modules. */
	shared<T extends object>(path: string): T;
	/** A metric; "counter" gives a function that counts on. 0.10 and later. */
	measure?(name: string, kind: "counter"): (this: void, more: number) => void;
	/** A family of metrics (OpenMetrics), told apart by labels; that of the host is added. 0.12 and later. */
	metric?(kind: "counter" | "gauge", name: string, unit: string, help: string, label_keys: string[]): MetricFamily;
	/** What `prosodyctl shell module info` and the like show of the module; with `override` also in place of an error. 0.12 and later. */
	set_status?(level: "error" | "warn" | "info" | "core", text: string, override?: boolean): void;
	/** Calls back after so many seconds, and again after as many as that returns. Not after the module was unloaded. */
	add_timer(delay: number, callback: (this: void) => number | undefined): void;
}

/** Metrics of one name. */
interface MetricFamily {
	/** The metric with these values of the labels; always the same one. */
	with_labels(...labels: string[]): Counter;
}

/** A metric that counts. */
interface Counter {
	add(more: number): void;
	set(value: number): void;
}

declare const module: Module;
