// The panel beside the tree: it shows a key or a directory, and changes it.
//
// Must never overwrite what a person has not seen: a key is changed only if it is still as it was read, and text that is
// not saved stays until it is, or until the person discards it.

import * as api from "./api.js";
import { confirmed } from "./dialogs.js";
import { button, element, grouped, labelled, write } from "./dom.js";
import { count, duration } from "./format.js";
import { LifetimeField } from "./lifetime.js";
import { sentence } from "./sentences.js";
import { segments } from "./tree.js";

const LONGEST = 100000; // characters that can be edited: a field with millions of them stands still

const FIRST = `curl -L -X PUT ${location.origin}/v2/keys/greeting -d value=hello`;

const GONE = 0; // what a draft is based on when its key was deleted

export class Editor {
    // It calls "saved" with a node, "removed" with a key, and "create" and "watch" with the entry that is shown.
    constructor(observer, { saved, removed, create, watch, reload }) {
        Object.assign(this, { observer, saved, removed });
        this.drafts = new Map(); // by key: the text, and the index that it was based on
        this.busy = false;
        this.path = element("nav", { class: "path", "aria-label": "Path" });
        this.facts = element("dl", { class: "facts" });
        this.left = element("dd");
        this.elsewhere = element("p", { class: "notice", hidden: true });
        this.conflict = this.makeConflict();
        this.note = element("p", { class: "notice", hidden: true });
        this.empty = element(
            "div",
            { class: "notice", hidden: true },
            element("p", {}, "Nothing is stored here yet. Create the first key below, or from a shell:"),
            element("pre", { tabindex: "0", "aria-label": "Command" }, FIRST),
        );
        this.value = element("textarea", { rows: "9", spellcheck: "false", input: () => this.typed() });
        this.valueField = labelled("Value", this.value);
        this.lifetime = new LifetimeField(() => this.arrange());
        this.lifetimeField = grouped("Expires", this.lifetime.element);
        this.save = element("button", { class: "main" }, "Save");
        this.drop = button("Discard my changes", () => this.dropDraft());
        this.create = button("Create a key here…", () => create(this.entry));
        this.remove = button("Delete…", () => this.work(() => this.delete()), "danger");
        const watching = button("Watch", () => watch(this.entry));
        const reading = button("Reload", () => reload(this.entry));
        this.said = element("p", { class: "said", role: "status" });
        this.failed = element("p", { class: "notice bad", role: "alert", hidden: true });
        this.element = element(
            "article",
            { class: "panel card", "aria-label": "Selected key", hidden: true },
            this.path,
            this.facts,
            this.elsewhere,
            this.conflict,
            this.note,
            this.empty,
            element(
                "form",
                { submit: (event) => this.submit(event) },
                this.valueField,
                this.lifetimeField,
                buttons(this.save, this.drop, this.create, watching, reading, this.remove),
            ),
            this.failed,
            this.said,
        );
    }

    makeConflict() {
        this.theirs = element("pre", { tabindex: "0", "aria-label": "The current value" });
        return element(
            "div",
            { class: "notice bad", role: "alert", hidden: true },
            element("p", {}, "Somebody else has changed this key since you began to edit it. Its value is now:"),
            this.theirs,
            buttons(
                button("Keep my text", () => this.keepMine()),
                button("Use the new value", () => this.dropDraft()),
            ),
        );
    }

    get draft() {
        return this.drafts.get(this.entry.key);
    }

    // Show another entry.
    show(entry) {
        this.entry = entry;
        this.element.hidden = false;
        this.lifetime.show(entry);
        this.say("");
        this.shownIndex = null;
        this.showPath();
        this.update();
    }

    showPath() {
        const names = segments(this.entry.key);
        const steps = names.map((name, depth) => [name, `/${names.slice(0, depth + 1).join("/")}`]);
        this.path.replaceChildren(
            ...[["/", "/"], ...steps].map(([name, key], number, all) =>
                element(
                    "a",
                    { href: `#keys${api.address(key)}`, "aria-current": number === all.length - 1 ? "page" : null },
                    name,
                ),
            ),
        );
    }

    // The entry has changed, or the machine's role in the cluster.
    update() {
        if (!this.entry) {
            return;
        }
        const { entry } = this;
        if (!entry.dir && this.shownIndex !== entry.modifiedIndex) {
            this.shownIndex = entry.modifiedIndex;
            this.showValue();
            if (!this.lifetime.changed) {
                this.lifetime.show(entry);
            }
        }
        this.showFacts();
        this.arrange();
    }

    // A value that can't be edited is cut short. A draft stays.
    showValue() {
        const { value } = this.entry;
        this.tooLong = value.length > LONGEST;
        this.value.value = this.draft ? this.draft.text : value.slice(0, LONGEST);
        this.plain = value.slice(0, LONGEST).replace(/\r\n?/g, "\n"); // as the field gives it back
    }

    showFacts() {
        const { entry } = this;
        const facts = [["Type", entry.dir ? "directory" : "key"]];
        if (entry.dir) {
            facts.push(["Entries", entry.children === null ? "unknown" : count(entry.children.length)]);
        }
        if (entry.parent) {
            facts.push(["Created at index", count(entry.createdIndex)]);
            facts.push(["Modified at index", count(entry.modifiedIndex)]);
        }
        const terms = facts.map(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]);
        if (entry.parent) {
            terms.push([element("dt", {}, "Expires"), this.left]);
        }
        this.facts.replaceChildren(...terms.map((term) => element("div", {}, ...term)));
        this.tick();
    }

    tick() {
        if (this.entry) {
            const { left } = this.entry;
            write(this.left, left === null ? "never" : left > 0 ? `in ${duration(Math.ceil(left))}` : "now");
        }
    }

    arrange() {
        const { entry, draft, observer } = this;
        const editable = !observer.readOnly;
        const gone = draft?.basis === GONE;
        const conflict = draft !== undefined && !gone && draft.basis !== entry.modifiedIndex;
        this.valueField.hidden = entry.dir;
        this.value.readOnly = !editable || this.tooLong;
        this.lifetimeField.hidden = !editable || !entry.parent || (this.tooLong && !entry.dir);
        this.save.hidden = this.lifetimeField.hidden;
        this.save.disabled = conflict || !(draft || this.lifetime.changed);
        this.drop.hidden = !draft || conflict;
        this.create.hidden = !editable || !entry.dir;
        this.remove.hidden = !editable || !entry.parent || gone;
        this.empty.hidden = !editable || entry.parent !== null || entry.children?.length !== 0;
        this.create.classList.toggle("main", !this.empty.hidden);
        this.conflict.hidden = !conflict;
        write(this.theirs, conflict ? entry.value.slice(0, LONGEST) : "");
        this.showNote();
        this.showElsewhere(editable);
    }

    showNote() {
        const { entry } = this;
        let text = "";
        if (!entry.dir && this.tooLong) {
            const [all, shown] = [count(entry.value.length), count(LONGEST)];
            text = `The value has ${all} characters, too many to edit here. The first ${shown} are shown.`;
        } else if (!entry.dir && mixed(entry.value)) {
            text = "The value mixes several kinds of line endings. If you edit it here, all become line feeds.";
        }
        write(this.note, text);
        this.note.hidden = text === "";
    }

    showElsewhere(editable) {
        this.elsewhere.hidden = editable;
        const { leader, self } = this.observer;
        const to = leader && api.dashboard(leader, `#keys${api.address(this.entry.key)}`);
        if (editable || this.told === (to ?? "")) {
            return;
        }
        this.told = to ?? "";
        if (to) {
            const link = element("a", { href: to }, `open it on ${leader.name}`);
            this.elsewhere.replaceChildren(`This is the copy of ${self.name}. To change it, `, link, ", which leads.");
        } else {
            this.elsewhere.replaceChildren("The cluster has no leader at the moment, so nothing can be changed.");
        }
    }

    // Drafts

    typed() {
        const { draft, entry } = this;
        if (this.value.value === this.plain && (draft?.basis ?? entry.modifiedIndex) === entry.modifiedIndex) {
            this.drafts.delete(entry.key);
        } else {
            this.drafts.set(entry.key, { text: this.value.value, basis: draft?.basis ?? entry.modifiedIndex });
        }
        this.arrange();
    }

    dropDraft() {
        this.drafts.delete(this.entry.key);
        this.showValue();
        this.lifetime.show(this.entry);
        this.arrange();
        this.value.focus();
    }

    // Overwrite after all: the person has now seen what is overwritten.
    keepMine() {
        this.draft.basis = this.entry.modifiedIndex;
        this.arrange();
        this.save.focus();
    }

    // The key no longer exists. Says whether the panel still shows it, because there is a draft.
    lost() {
        if (!this.draft || this.entry.dir) {
            return false;
        }
        this.draft.basis = GONE;
        this.fail("Somebody else has deleted this key. Your text is still here: save it to create the key again.");
        this.arrange();
        return true;
    }

    // Changing

    say(text) {
        write(this.said, text);
        this.fail("");
    }

    fail(text) {
        write(this.failed, text);
        this.failed.hidden = text === "";
        if (text !== "") {
            write(this.said, "");
        }
    }

    // Do one thing at a time, and show why it failed if it did.
    async work(todo) {
        if (this.busy) {
            return;
        }
        this.busy = true;
        try {
            await todo();
        } catch (error) {
            this.fail(sentence(error));
        } finally {
            this.busy = false;
        }
    }

    submit(event) {
        event.preventDefault();
        this.work(() => (this.entry.dir ? this.saveDirectory() : this.saveKey()));
    }

    async saveDirectory() {
        const { key } = this.entry;
        const { node } = await api.put(key, { dir: "true", prevExist: "true", ttl: this.lifetime.ttl ?? "" });
        this.finish(key, node);
    }

    async saveKey() {
        const { entry, draft } = this;
        const basis = draft?.basis ?? entry.modifiedIndex;
        const condition = basis === GONE ? { prevExist: "false" } : { prevIndex: basis };
        const form = { value: this.text(), ...condition };
        if (this.lifetime.ttl !== null) {
            form.ttl = this.lifetime.ttl;
        }
        try {
            const { node } = await api.put(entry.key, form);
            this.drafts.delete(entry.key);
            this.finish(entry.key, node);
        } catch (error) {
            await this.overtaken(entry, form.value, basis, error);
        }
    }

    // The text is still a draft. Show the current value beside it.
    async overtaken(entry, text, basis, error) {
        if (error instanceof api.ApiError && error.code === api.COMPARE_FAILED) {
            this.drafts.set(entry.key, { text, basis });
            this.saved((await api.read(entry.key)).node);
        } else if (error instanceof api.ApiError && error.code === api.KEY_NOT_FOUND) {
            this.drafts.set(entry.key, { text, basis });
            this.removed(entry.key);
        } else {
            throw error;
        }
    }

    // The text to write, with the line endings that the value had.
    text() {
        const { value } = this.entry;
        const text = this.value.value;
        if (text === this.plain) {
            return value;
        }
        return value.includes("\r") && !mixed(value) ? text.replaceAll("\n", "\r\n") : text;
    }

    finish(key, node) {
        this.saved(node);
        if (this.entry.key === key) {
            this.lifetime.show(this.entry);
            this.shownIndex = null;
            this.update();
            this.say(`Saved at index ${count(node.modifiedIndex)}.`);
        }
    }

    async delete() {
        const { entry } = this;
        const held = entry.dir ? await api.count(entry.key) : null;
        const empty = held !== null && held.keys + held.directories === 0;
        const consequence = entry.dir ? whatGoes(held) : "It is deleted only if nobody else changes it first.";
        if (!(await confirmed(`Delete ${entry.key}?`, consequence, "Delete"))) {
            return;
        }
        const wholly = empty ? { dir: "true" } : { recursive: "true" };
        try {
            await api.remove(entry.key, entry.dir ? wholly : { prevIndex: entry.modifiedIndex });
        } catch (error) {
            if (error instanceof api.ApiError && error.code === api.COMPARE_FAILED) {
                this.saved((await api.read(entry.key)).node);
            }
            throw error;
        }
        this.drafts.delete(entry.key);
        this.removed(entry.key);
    }
}

function buttons(...all) {
    return element("div", { class: "buttons" }, ...all);
}

// What is deleted with a directory, including whatever is written into it until then.
function whatGoes({ keys, directories, hidden }) {
    if (keys + directories === 0) {
        return "It is empty.";
    }
    const parts = [plural(keys, "key", "keys"), plural(directories, "directory", "directories")];
    const all = parts.filter((part) => !part.startsWith("0 ")).join(" and ");
    const unseen = hidden === 0 ? "" : ` (${count(hidden)} of them hidden)`;
    return `This also deletes ${all} in it${unseen}, and whatever is written into it before you confirm.`;
}

function plural(number, one, many) {
    return `${count(number)} ${number === 1 ? one : many}`;
}

// Whether the text has carriage returns, and either one without a line feed after it or a line feed without one.
function mixed(text) {
    return text.includes("\r") && /\r(?!\n)|(?<!\r)\n/.test(text);
}
