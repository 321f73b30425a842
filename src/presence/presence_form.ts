import * as hashes from "util.hashes";
import * as st from "util.stanza";
import { attribute, is_well_formed } from "../prosody/send";

/** The part of a form that is sent: XML text behind `<presence to='…' from='…'`. */
export function presence_of(form: string): string {
	return string.sub(form, string.find(form, "[ >]")[0]);
}

/** The XML text of a remembered presence behind `<presence to='…'`, with its sender's JID. */
export function form_rest(from: string, form: string): string {
	return attribute("from", from) + presence_of(form);
}

/** Writes presences in the form in which they are remembered: as XML text without addresses, id and time. */
export function create_presence_forms() {
	/** The length in bytes from which a presence is remembered in short. With its tables, a contact needs less than a kibibyte. */
	const max_length = 500;

	// The presence that was written last. A contact's server sends the same one to each of its viewers.
	let last: { stanza: Stanza; form: string } | undefined;

	/** Whether another element has all attributes of an element. */
	function has_attributes_of(element: Stanza, other: Stanza): boolean {
		for (const [name, value] of pairs(other.attr)) {
			if (element.attr[name] !== value) {
				return false;
			}
		}
		return true;
	}

	/** Whether two elements have the same children. */
	function has_children_of(a: Stanza, b: Stanza): boolean {
		let count = 0;
		for (const [i, child] of ipairs(a as unknown as ArrayLike<Stanza | string>)) {
			const other = b[i];
			if (child !== other) {
				if (typeof child === "string" || other === undefined || typeof other === "string" || child.name !== other.name) {
					return false;
				}
				if (!has_attributes_of(child, other) || !has_attributes_of(other, child) || !has_children_of(child, other)) {
					return false;
				}
			}
			count = i;
		}
		return b[count + 1] === undefined;
	}

	/** A presence's form at full length, and its children that stay when it is shortened. */
	function write(stanza: Stanza): LuaMultiReturn<[string, string]> {
		const lang = stanza.attr["xml:lang"];
		const parts = [lang !== undefined ? " xml:lang='" + st.xml_escape(lang) + "'>" : ">"];
		let essence = "";
		for (const [, child] of ipairs(stanza.tags)) {
			if (child.attr.xmlns !== "urn:xmpp:delay") {
				const written = tostring(child);
				const text = is_well_formed(written) ? written : "";
				parts.push(text);
				if (essence.length + text.length < 100 && (child.name === "show" || child.name === "priority")) {
					essence = essence + text;
				}
			}
		}
		parts.push("</presence>");
		return $multi(table.concat(parts), essence);
	}

	/** A shortened form. The hash of the whole one tells whether the same presence comes again. */
	function shorten(whole: string, essence: string): string {
		return hashes.sha1(whole, true) + ">" + essence + "</presence>";
	}

	/** The shortened form of a presence. */
	function short_form(stanza: Stanza): string {
		const [whole, essence] = write(stanza);
		return shorten(whole, essence);
	}

	/** The form of a presence, which is shortened if it is long. */
	function form(stanza: Stanza): string {
		if (!last || last.stanza.attr["xml:lang"] !== stanza.attr["xml:lang"] || !has_children_of(last.stanza, stanza)) {
			const [whole, essence] = write(stanza);
			last = { stanza: stanza, form: whole.length <= max_length ? whole : shorten(whole, essence) };
		}
		return last.form;
	}

	/** Forgets the presence that was written last. To be called when the contact may be remembered no more. */
	function forget(): void {
		last = undefined;
	}

	return { form, short_form, forget };
}
