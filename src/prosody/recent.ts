/** What `create_recent` keeps, to be restored after a reload of the module. */
export interface SavedRecent<V> {
	newer: LuaTable<string, V>;
	older: LuaTable<string, V>;
	count: number;
	rotate_at: number;
}

/**
 * Keeps values by name for a short time. There are two tables: values are added to the newer one, and the older one is
 * dropped when its time is over.
 *
 * @param span seconds for which a value is kept at least, while there is room; it is kept for twice as long at most
 * @param max_values how many values each of the two tables has room for
 */
export function create_recent<V extends string | number | true | object>(span: number, max_values = 10000) {
	let newer = new LuaTable<string, V>();
	let older = new LuaTable<string, V>();
	let count = 0;
	let rotate_at = 0;

	/** Drops the older table if its time is over or the newer one is full. */
	function rotate(): void {
		const now = os.time();
		// The clock may have been set back.
		if (now >= rotate_at || rotate_at > now + span || count >= max_values) {
			older = now >= rotate_at + span ? new LuaTable() : newer;
			newer = new LuaTable();
			count = 0;
			rotate_at = now + span;
		}
	}

	/** The value of a name, nil where none is kept. */
	function get(name: string): V | undefined {
		rotate();
		return newer.get(name) ?? older.get(name);
	}

	function set(name: string, value: V): void {
		rotate();
		if (!newer.has(name)) {
			count = count + 1;
		}
		newer.set(name, value);
	}

	function forget(name: string): void {
		newer.delete(name);
		older.delete(name);
	}

	/** The values that are kept, for `restore` after a reload of the module. */
	function save(): SavedRecent<V> {
		return { newer, older, count, rotate_at };
	}

	/** Takes over what `save` gave, instead of the values that are kept now. */
	function restore(saved: SavedRecent<V>): void {
		newer = saved.newer;
		older = saved.older;
		count = saved.count;
		rotate_at = saved.rotate_at;
	}

	return { get, set, forget, save, restore };
}
