// The view of the keys: it keeps the tree, the panel of the selected key and the watched changes in step.
//
// Must never show a key after the machine has said that it is gone.

import * as api from "./api.js";
import { Changes } from "./changes.js";
import { CreateDialog } from "./dialogs.js";
import { button, element, labelled, write } from "./dom.js";
import { Editor } from "./editor.js";
import { count } from "./format.js";
import { Missing } from "./missing.js";
import { sentence } from "./sentences.js";
import { title } from "./title.js";
import { Tree, clean, segments } from "./tree.js";
import { TreeView } from "./treeview.js";

const REMOVED = new Set(["delete", "expire", "compareAndDelete"]);

function isMissing(error) {
    return error instanceof api.ApiError && error.code === api.KEY_NOT_FOUND;
}

export class KeysView {
    constructor(place, observer) {
        this.observer = observer;
        this.opened = 0;
        this.unread = null; // the key that a machine which can't read its keys was asked for
        this.rereading = new Set();
        this.tree = new Tree();
        this.view = new TreeView(this.tree, {
            chosen: (entry) => this.go(entry.key),
            toggled: (entry) => this.toggle(entry),
            drawn: () => this.countRows(),
        });
        this.dialog = new CreateDialog((node) => {
            this.take(node);
            this.go(node.key);
            this.view.element.focus(); // the button that began it may be gone
        });
        this.editor = new Editor(observer, {
            saved: (node) => this.take(node),
            removed: (key) => this.drop(key),
            create: (entry) => this.dialog.open(entry.key),
            watch: (entry) => this.watch(entry),
            reload: (entry) => this.open(entry.key),
        });
        this.changes = new Changes({
            changed: ({ action, node }) => (REMOVED.has(action) ? this.drop(node.key) : this.take(node)),
            missed: (key) => this.rereadBelow(key),
            closed: () => this.view.element.focus(), // the button that did it is gone
        });
        this.failed = element("p", { class: "notice bad", role: "alert", hidden: true });
        this.missing = new Missing(observer, (key) => this.create(key));
        const plain = { autocomplete: "off", autocapitalize: "off", spellcheck: "false" };
        const typed = (event) => {
            event.preventDefault();
            this.go(clean(this.path.value));
        };
        this.path = element("input", { type: "text", placeholder: "/a/key, or a hidden one: /_etcd", ...plain });
        this.filter = element("input", { type: "search", input: () => this.view.filter(this.filter.value), ...plain });
        this.counted = element("p", { class: "counted", role: "status" });
        place.append(
            element("h1", {}, "Keys"),
            element(
                "div",
                { class: "tools" },
                element("form", { class: "goto", submit: typed }, labelled("Go to", this.path), button("Go")),
                labelled("Filter the tree by name", this.filter),
            ),
            this.counted,
            this.failed,
            this.missing.element,
            element("div", { class: "browser" }, this.view.element, this.editor.element, this.changes.element),
        );
    }

    // With a filter, say how much of the tree is shown, and what was not searched.
    countRows() {
        const { rows, wanted } = this.view;
        const all = count(this.tree.known - 1); // without the root, which stays
        const text = `${count(rows.length - 1)} of ${all} names are shown. Closed directories are not searched.`;
        write(this.counted, wanted === "" ? "" : text);
    }

    create(key) {
        const above = this.nearest(key).key;
        this.dialog.open(above, segments(key).slice(segments(above).length).join("/"));
    }

    // Put the key into the address, which opens it.
    go(key) {
        const hash = `#keys${api.address(key)}`;
        if (location.hash === hash) {
            this.open(key);
        } else {
            location.hash = hash;
        }
    }

    // Show a key as it is now, wherever it is in the tree.
    async open(key) {
        this.opened += 1;
        const mine = this.opened;
        let supposed = null;
        try {
            supposed = await this.expand(key);
            const read = await this.read(key, api.show);
            const entry = this.tree.find(key);
            if (entry && mine === this.opened) {
                this.show(entry);
            }
            return read;
        } catch (error) {
            if (isMissing(error)) {
                this.drop(error.cause);
            }
            if (supposed) {
                this.tree.forget(supposed);
                this.settle();
            }
            if (mine === this.opened) {
                this.showProblem(key, error);
            }
            return null;
        }
    }

    // Say why a key can't be shown. If nothing is shown yet, show its parents as far as they exist.
    showProblem(key, error) {
        if (!this.editor.entry && this.tree.root.children) {
            this.show(this.nearest(key));
        }
        this.unread = this.editor.entry || error instanceof api.Unauthorized ? null : key;
        this.path.value = key;
        this.fail(isMissing(error) ? "" : sentence(error));
        this.missing.show(isMissing(error) ? key : null);
    }

    // Open all directories above a key. The user may have no right to read them, and one to read the key. Says what is
    // shown now although it may not exist.
    async expand(key) {
        const names = segments(key);
        let supposed = null;
        for (let depth = 0; depth < names.length; depth += 1) {
            const above = `/${names.slice(0, depth).join("/")}`;
            if (!this.tree.find(above)?.children) {
                try {
                    await this.read(above);
                } catch (error) {
                    if (!(error instanceof api.Unauthorized)) {
                        throw error;
                    }
                    supposed ??= this.tree.suppose(`${above}/${names[depth]}`);
                }
            }
            this.tree.find(above).open = true;
        }
        return supposed;
    }

    async read(key, from = api.read) {
        const read = await from(key);
        const entry = key === "/" ? this.tree.root : this.tree.put(read.node);
        if (entry && read.node.dir) {
            this.tree.fill(entry, read.node.nodes);
        }
        this.settle();
        return read;
    }

    show(entry) {
        if (entry.dir) {
            entry.open = true;
        }
        this.fail("");
        this.missing.show(null);
        title({ view: entry.key });
        this.path.value = entry.key;
        this.editor.show(entry);
        this.view.update();
        if (!this.view.has(entry)) {
            this.filter.value = "";
            this.view.filter("");
        }
        this.view.select(entry);
    }

    async toggle(entry) {
        entry.open = !entry.open;
        this.view.update();
        if (entry.open && entry.children === null) {
            await this.reread(entry.key);
        }
    }

    fail(text) {
        write(this.failed, text);
        this.failed.hidden = text === "";
    }

    // What the machine says about a node

    take(node) {
        this.tree.put(node);
        this.settle();
    }

    drop(key) {
        this.tree.remove(key);
        this.settle();
    }

    // The tree has changed: an entry that is gone is no longer selected, unless there is a draft of it.
    settle() {
        this.view.update();
        this.view.active = this.nearest(this.view.active.key);
        const shown = this.editor.entry;
        if (!shown) {
            return;
        }
        const found = this.tree.find(shown.key);
        if (found) {
            this.editor.entry = this.view.selected = found;
            this.editor.update();
        } else if (!this.editor.lost()) {
            const above = this.nearest(shown.key);
            if (this.editor.element.contains(document.activeElement)) {
                this.view.element.focus(); // or it would be nowhere
            }
            history.replaceState(null, "", `#keys${api.address(above.key)}`);
            this.show(above);
            this.editor.say(`${shown.key} was deleted or has expired.`);
        }
    }

    nearest(key) {
        const names = segments(key);
        while (names.length && !this.tree.find(names.join("/"))) {
            names.pop();
        }
        return this.tree.find(names.join("/"));
    }

    async watch(entry) {
        const read = await this.open(entry.key);
        if (read) {
            this.changes.start(this.tree.find(entry.key), read.index + 1);
        }
    }

    // Count down the TTLs. When one has ended, ask the machine what is left.
    tick() {
        this.editor.tick();
        const over = new Set(this.view.tick());
        if (this.editor.entry?.left === 0) {
            over.add(this.editor.entry);
        }
        const keys = new Set([...over].map((entry) => (entry.hidden ? entry.key : entry.parent.key)));
        keys.forEach((key) => this.reread(key));
    }

    async reread(key) {
        if (this.rereading.has(key)) {
            return;
        }
        this.rereading.add(key);
        try {
            await this.read(key);
        } catch (error) {
            if (isMissing(error)) {
                this.drop(key);
            } else {
                this.fail(sentence(error));
            }
        } finally {
            this.rereading.delete(key);
        }
    }

    // Read everything again that was read below a key. A closed directory is read when it is opened.
    async rereadBelow(key) {
        await this.reread(key);
        for (const child of this.tree.find(key)?.children ?? []) {
            if (child.open) {
                await this.rereadBelow(child.key);
            } else {
                child.children = null;
            }
        }
    }

    update() {
        if (this.unread !== null && this.observer.status?.keys !== undefined) {
            this.open(this.unread);
            this.unread = null;
        }
        this.editor.update();
        this.missing.update();
    }

    // Somebody has logged in, who may read more.
    async renew() {
        if (this.tree.root.children) {
            await this.rereadBelow("/");
        }
    }

    // Whether anything would be lost if the page were closed.
    get unsaved() {
        return this.editor.drafts.size > 0;
    }
}
