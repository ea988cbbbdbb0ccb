// The tree on the screen. Only the visible rows are elements, however many rows there are.
//
// Must never keep an element for a row that is out of sight, nor move the focus away from the tree.

import { element, write } from "./dom.js";
import { duration } from "./format.js";
import { place } from "./tree.js";

const BEYOND = 6; // rows that are drawn above and below those that can be seen
const PREVIEW = 120; // characters of a value
const TYPING = 800; // milliseconds between letters of one word

function preview(entry) {
    return entry.dir ? String(entry.children?.length ?? "") : entry.value.slice(0, PREVIEW);
}

export class TreeView {
    // It calls "chosen" with the entry that a person wants to see, "toggled" with one to open or close, and "drawn" when
    // the rows may have changed.
    constructor(tree, { chosen, toggled, drawn }) {
        Object.assign(this, { tree, chosen, toggled, told: drawn });
        this.wanted = "";
        this.rows = [];
        this.active = tree.root;
        this.selected = null;
        this.typed = "";
        this.typedAt = 0;
        this.list = element("div", { class: "rows", role: "none" });
        this.space = element("div", { class: "space", role: "none" }, this.list);
        this.element = element(
            "div",
            {
                class: "tree",
                role: "tree",
                tabindex: "0",
                "aria-label": "Key tree",
                keydown: (event) => this.press(event),
                click: (event) => this.click(event),
                scroll: () => this.drawSoon(),
            },
            this.space,
        );
        new ResizeObserver(() => this.drawSoon()).observe(this.element);
    }

    get height() {
        return parseFloat(getComputedStyle(this.element).getPropertyValue("--row"));
    }

    // Show only the entries whose names contain this text, and the directories above them.
    filter(text) {
        this.wanted = text;
        this.update();
        this.refresh();
        if (!this.rows.includes(this.active)) {
            this.active = this.tree.root;
        }
        this.element.scrollTop = 0;
    }

    // Whether an entry is one of the rows.
    has(entry) {
        this.refresh();
        return this.rows.includes(entry);
    }

    // The tree has changed.
    update() {
        this.stale = true;
        this.drawSoon();
    }

    drawSoon() {
        this.drawing ??= requestAnimationFrame(() => {
            this.drawing = null;
            this.draw();
        });
    }

    refresh() {
        if (this.stale) {
            this.rows = this.tree.rows(this.wanted);
            this.stale = false;
            this.told();
        }
    }

    draw() {
        this.refresh();
        const height = this.height;
        const first = Math.max(0, Math.floor(this.element.scrollTop / height) - BEYOND);
        const last = Math.ceil((this.element.scrollTop + this.element.clientHeight) / height) + BEYOND;
        const shown = this.rows.slice(first, last);
        this.space.style.height = `${this.rows.length * height}px`;
        this.list.style.transform = `translateY(${first * height}px)`;
        this.drawn = shown.map((entry, number) => ({ entry, row: this.row(entry, first + number) }));
        this.list.replaceChildren(...this.drawn.map(({ row }) => row));
        const active = shown.indexOf(this.active);
        if (active >= 0) {
            this.element.setAttribute("aria-activedescendant", this.drawn[active].row.id);
        } else {
            this.element.removeAttribute("aria-activedescendant");
        }
        this.tick();
    }

    row(entry, number) {
        const siblings = this.tree.beside(entry);
        const classes = ["row", entry === this.active && "active", entry.hidden && "hidden-node"].filter(Boolean);
        const row = element(
            "div",
            {
                id: `row${number}`,
                class: classes.join(" "),
                role: "treeitem",
                "aria-level": entry.level + 1,
                "aria-setsize": siblings.length,
                "aria-posinset": place(siblings, entry.name) + 1,
                "aria-selected": String(entry === this.selected),
                "aria-expanded": entry.dir ? String(entry.open) : null,
            },
            element("span", { class: entry.dir ? "arrow" : "arrow none", "aria-hidden": "true" }),
            element("span", { class: entry.dir ? "name directory" : "name" }, entry.name),
            element("span", { class: entry.dir ? "preview size" : "preview" }, preview(entry)),
            element("span", { class: "left" }),
        );
        row.style.setProperty("--level", entry.level);
        return row;
    }

    // Count down the TTLs. Returns the entries whose TTL has ended.
    tick() {
        const over = [];
        for (const { entry, row } of this.drawn ?? []) {
            const left = entry.left;
            write(row.lastChild, left === null ? "" : left > 0 ? duration(Math.ceil(left)) : "expired");
            row.classList.toggle("over", left === 0);
            if (left === 0) {
                over.push(entry);
            }
        }
        return over;
    }

    select(entry) {
        this.selected = entry;
        this.activate(entry);
    }

    activate(entry) {
        this.active = entry;
        this.refresh();
        const top = this.rows.indexOf(entry) * this.height;
        const { scrollTop, clientHeight } = this.element;
        if (top < scrollTop) {
            this.element.scrollTop = top;
        } else if (top + this.height > scrollTop + clientHeight) {
            this.element.scrollTop = top + this.height - clientHeight;
        }
        this.drawSoon();
    }

    click(event) {
        this.refresh();
        const entry = this.rows[Math.floor((event.clientY - this.space.getBoundingClientRect().top) / this.height)];
        if (!entry) {
            return;
        }
        this.activate(entry);
        if (entry.dir && (event.target.classList.contains("arrow") || entry === this.selected)) {
            this.toggled(entry);
        } else {
            this.chosen(entry);
        }
    }

    press(event) {
        if (event.altKey || event.ctrlKey || event.metaKey) {
            return;
        }
        this.refresh();
        const entry = this.active;
        const at = Math.max(0, this.rows.indexOf(entry));
        const page = Math.max(1, Math.floor(this.element.clientHeight / this.height) - 1);
        const to = (index) => this.activate(this.rows[Math.min(this.rows.length - 1, Math.max(0, index))]);
        const keys = {
            ArrowDown: () => to(at + 1),
            ArrowUp: () => to(at - 1),
            PageDown: () => to(at + page),
            PageUp: () => to(at - page),
            Home: () => to(0),
            End: () => to(this.rows.length - 1),
            ArrowRight: () => (entry.dir && !entry.open ? this.toggled(entry) : this.holds(entry) && to(at + 1)),
            ArrowLeft: () => (entry.open ? this.toggled(entry) : entry.parent && this.activate(entry.parent)),
            Enter: () => this.chosen(entry),
            " ": () => this.chosen(entry),
        };
        if (event.key in keys) {
            keys[event.key]();
        } else if (event.key.length === 1) {
            this.type(event.key, at);
        } else {
            return;
        }
        event.preventDefault();
    }

    // Whether any entry below this one is a row.
    holds(entry) {
        return this.tree.shown.get(entry)?.length > 0;
    }

    // Go to the next row whose name begins with the typed text.
    type(letter, at) {
        const now = performance.now();
        this.typed = now - this.typedAt < TYPING ? this.typed + letter : letter;
        this.typedAt = now;
        const start = this.typed.length === 1 ? at + 1 : at;
        const rows = [...this.rows.slice(start), ...this.rows.slice(0, start)];
        const found = rows.find((entry) => entry.name.startsWith(this.typed));
        if (found) {
            this.activate(found);
        }
    }
}
