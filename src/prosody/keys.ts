/** The keys of a table in any order; none where the table is nil. */
export function keys_of<K extends AnyNotNil, V>(from: LuaTable<K, V> | undefined): K[] {
	const keys: K[] = [];
	if (from) {
		for (const [key] of pairs(from)) {
			keys.push(key);
		}
	}
	return keys;
}

/** The keys of a table, sorted as texts. */
export function sorted_keys<K extends AnyNotNil, V>(from: LuaTable<K, V>): K[] {
	const keys = keys_of(from);
	table.sort(keys, (a, b) => tostring(a) < tostring(b));
	return keys;
}

/** Whether two tables have the same keys. */
export function same_keys<K extends AnyNotNil, V>(a: LuaTable<K, V>, b: LuaTable<K, V>): boolean {
	for (const [key] of pairs(a)) {
		if (!b.has(key)) {
			return false;
		}
	}
	for (const [key] of pairs(b)) {
		if (!a.has(key)) {
			return false;
		}
	}
	return true;
}

/** A table with the same values under the same keys. */
export function copy_of<K extends AnyNotNil, V>(from: LuaTable<K, V>): LuaTable<K, V> {
	const copy = new LuaTable<K, V>();
	for (const [key, value] of pairs(from)) {
		copy.set(key, value);
	}
	return copy;
}
