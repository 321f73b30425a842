/** Keeps values in their order: the first one in is the first one out, and then takes no more memory. */
export function create_fifo<V extends AnyNotNil>() {
	// Prosody's util.queue has room for a fixed number, which it takes at once.
	let values = new LuaTable<number, V>();
	let first = 1;
	let last = 0;

	function count(): number {
		return last - first + 1;
	}

	function push(value: V): void {
		last = last + 1;
		values.set(last, value);
	}

	/** The first value, nil where there is none. */
	function peek(): V | undefined {
		return values.get(first);
	}

	/** Takes the first value out. */
	function pop(): V | undefined {
		const value = peek();
		if (value !== undefined) {
			values.delete(first);
			first = first + 1;
		}
		return value;
	}

	function clear(): void {
		values = new LuaTable();
		first = 1;
		last = 0;
	}

	/** All values in a list. */
	function list(): V[] {
		const all: V[] = [];
		for (const i of $range(first, last)) {
			all.push(values.get(i));
		}
		return all;
	}

	return { count, push, peek, pop, clear, list };
}
