/**
 * Keeps values for a short time, in two tables that take turns.
 *
 * @param span seconds that a value is kept at least, unless there are too many; it is kept twice as long at most
 * @param max_values how many values each of the two tables has room for
 */
export function create_recent<V extends AnyNotNil>(span: number, max_values = 10000) {
	let recent = new LuaTable<string, V>();
	let earlier = new LuaTable<string, V>();
	let count = 0;
	let turn_at = 0;

	/** Drops the older half when it is time. */
	function turn(): void {
		const now = os.time();
		// The clock may have been put back.
		if (now >= turn_at || turn_at > now + span || count >= max_values) {
			earlier = now >= turn_at + span ? new LuaTable() : recent;
			recent = new LuaTable();
			count = 0;
			turn_at = now + span;
		}
	}

	/** The value of a name, nil where none is kept; it may be false. */
	function get(name: string): V | undefined {
		turn();
		if (recent.has(name)) {
			return recent.get(name);
		}
		return earlier.get(name);
	}

	function set(name: string, value: V): void {
		turn();
		if (!recent.has(name)) {
			count = count + 1;
		}
		recent.set(name, value);
	}

	function forget(name: string): void {
		recent.delete(name);
		earlier.delete(name);
	}

	return { get, set, forget };
}
