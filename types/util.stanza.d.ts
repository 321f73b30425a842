/**
 * Prosody's `util.stanza`: XML elements as Lua tables.
 */
declare module "util.stanza" {
	/** Attributes of an element. A namespaced attribute has the key `NAMESPACE\1NAME`. */
	interface Attributes {
		id?: string | undefined;
		to?: string | undefined;
		from?: string | undefined;
		type?: string | undefined;
		/** Absent for the default namespace of the stream. */
		xmlns?: string | undefined;
		[name: string]: string | undefined;
	}

	/**
	 * An element. Its children, elements and text, are its list part, counted from 1;
	 * `tags` has the elements alone.
	 */
	interface Stanza {
		name: string;
		attr: Attributes;
		tags: Stanza[];
		/** The namespaces of prefixes in the XML that it was read from. Copies have them, XML text has not. */
		namespaces?: LuaTable<string, string> | undefined;
		[child: number]: Stanza | string | undefined;

		/** Appends an element and goes into it. */
		tag(name: string, attr?: Attributes): this;
		/** Appends an element that holds text, without going into it. 0.11 and later. */
		text_tag(name: string, text: string | undefined, attr?: Attributes): this;
		/** Appends a `<query/>` of a namespace and goes into it. */
		query(xmlns: string): this;
		/** Appends a `<body/>` that holds text, without going into it. */
		body(text: string | undefined): this;
		/** Appends text where the last `tag` went. */
		text(text: string | undefined): this;
		/** Goes out of the last `tag`. */
		up(): this;
		/** Goes back to the top. */
		reset(): this;
		/** Appends an element where the last `tag` went, without going into it. */
		add_child(child: Stanza | string): this;
		/** The first child element of that name and namespace, either may be left out. */
		get_child(name?: string, xmlns?: string): Stanza | undefined;
		/** The text of the first child element of that name and namespace. */
		get_child_text(name?: string, xmlns?: string): string | undefined;
		/** The child elements of that name and namespace, to loop over. */
		childtags(name?: string, xmlns?: string): LuaIterable<Stanza>;
		/**
		 * What stands at a path such as `{jabber:iq:version}query/name#`: an element, with `#` at the end the text
		 * in it, with `@NAME` an attribute.
		 */
		find(path: `${string}#` | `${string}@${string}`): string | undefined;
		find(path: string): Stanza | string | undefined;
		/** Of an error its type, condition and text; nil where it is none. */
		get_error(): LuaMultiReturn<[ErrorType | undefined, string | undefined, string | undefined]>;
		/** The text of an element that holds text. */
		get_text(): string | undefined;
		/** Calls back with each child element; what it returns stands in its place, nil removes it. */
		maptags(callback: (this: void, tag: Stanza) => Stanza | undefined): this;
	}

	type ErrorType = "auth" | "cancel" | "continue" | "modify" | "wait";

	/** 0.10 and later. */
	function is_stanza(value: unknown): value is Stanza;
	/** A new `<message/>`. */
	function message(attr?: Attributes, body?: string): Stanza;
	/** A new `<iq/>`. */
	function iq(attr: Attributes): Stanza;
	/** A new `<presence/>`. */
	function presence(attr?: Attributes): Stanza;
	/** A new element. */
	function stanza(name: string, attr?: Attributes): Stanza;
	/** The empty answer to a stanza: addresses turned round, same id, type result for an iq. */
	function reply(original: Stanza): Stanza;
	/** The error answer to a stanza (RFC 6120, 8.3). It must not itself be an error or a result. */
	function error_reply(original: Stanza, type: ErrorType, condition: string, text?: string): Stanza;
	/** A deep copy. */
	function clone(original: Stanza): Stanza;
	/** Text made fit for XML, in content and in attribute values. */
	function xml_escape(this: void, text: string): string;
}
