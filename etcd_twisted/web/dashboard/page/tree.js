// The part of the key space that was read, as rows.
//
// Must never request anything from the machine, nor know how a row looks.

const WHOLE = /^[0-9]+$/;

// The order of sorted=true: whole numbers first, by value, then the rest by code point.
export function compareNames(one, other) {
    const [oneWhole, otherWhole] = [WHOLE.test(one), WHOLE.test(other)];
    if (oneWhole !== otherWhole) {
        return oneWhole ? -1 : 1;
    }
    if (oneWhole) {
        const [digits, otherDigits] = [one, other].map((name) => name.replace(/^0+/, ""));
        const byValue = digits.length - otherDigits.length || compareTexts(digits, otherDigits);
        return byValue || compareTexts(one, other);
    }
    return compareTexts(one, other);
}

function compareTexts(one, other) {
    for (let at = 0; at < one.length && at < other.length; at += 1) {
        const [point, otherPoint] = [one.codePointAt(at), other.codePointAt(at)];
        if (point !== otherPoint) {
            return point - otherPoint;
        }
    }
    return one.length - other.length;
}

// The position of a name among sorted entries, or the position where it belongs.
export function place(entries, name) {
    let [low, high] = [0, entries.length];
    while (low < high) {
        const middle = (low + high) >> 1;
        if (compareNames(entries[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// A node of the key space, as the machine last showed it.
export class Entry {
    constructor(parent, name) {
        this.parent = parent;
        this.name = name;
        this.level = parent ? parent.level + 1 : 0;
        this.key = parent ? `${parent.key === "/" ? "" : parent.key}/${name}` : "/";
        this.dir = false;
        this.open = false;
        this.children = null; // of a directory that was read
        this.ends = null; // when the time to live is over, in milliseconds of performance.now()
    }

    take({ dir = false, value = "", ttl, modifiedIndex = 0, createdIndex = 0 }) {
        const ends = ttl === undefined ? null : performance.now() + ttl * 1000;
        if (dir !== this.dir) {
            this.open = false;
            this.children = null;
        }
        Object.assign(this, { dir, value, modifiedIndex, createdIndex, ends });
        return this;
    }

    get hidden() {
        return this.name.startsWith("_");
    }

    // The seconds that are left of its TTL; null without a TTL.
    get left() {
        return this.ends === null ? null : Math.max(0, (this.ends - performance.now()) / 1000);
    }

    // The position of a child among the others, or the position where it belongs.
    place(name) {
        return place(this.children, name);
    }

    child(name) {
        const found = this.children?.[this.place(name)];
        return found?.name === name ? found : undefined;
    }
}

export function segments(key) {
    return key.split("/").filter((name) => name !== "");
}

// The key that the machine would take for what a person has typed.
export function clean(typed) {
    const names = [];
    for (const name of segments(typed)) {
        if (name === "..") {
            names.pop();
        } else if (name !== ".") {
            names.push(name);
        }
    }
    return `/${names.join("/")}`;
}

export class Tree {
    constructor() {
        this.root = new Entry(null, "/").take({ dir: true });
        this.root.open = true;
    }

    find(key) {
        return segments(key).reduce((entry, name) => entry?.child(name), this.root);
    }

    // All visible entries, from top to bottom. With a filter, these are the entries whose names contain it, in upper or
    // lower case, with everything in them and all directories above them.
    rows(filter = "") {
        const wanted = filter.toLowerCase();
        const rows = [];
        this.shown = new Map();
        this.known = 0;
        const add = (entry, within) => {
            const all = within || (entry.parent !== null && entry.name.toLowerCase().includes(wanted));
            this.known += 1;
            rows.push(entry);
            const children = entry.open && entry.children ? entry.children.filter((child) => add(child, all)) : [];
            const stays = all || children.length > 0 || entry.parent === null;
            if (stays) {
                this.shown.set(entry, children);
            } else {
                rows.pop();
            }
            return stays;
        };
        add(this.root, wanted === "");
        return rows;
    }

    // An entry and its siblings that were rows last.
    beside(entry) {
        return (entry.parent && this.shown.get(entry.parent)) ?? [entry];
    }

    // Take the sorted listing of a directory. Hidden nodes are in no listing, so those that were read by key stay.
    fill(entry, nodes = []) {
        const known = new Map((entry.children ?? []).map((child) => [child.name, child]));
        entry.children = nodes.map((node) => {
            const name = node.key.slice(node.key.lastIndexOf("/") + 1);
            const child = known.get(name) ?? new Entry(entry, name);
            known.delete(name);
            return child.take(node);
        });
        for (const child of known.values()) {
            if (child.hidden) {
                entry.children.splice(entry.place(child.name), 0, child);
            }
        }
    }

    // Take a node as it is now, and its parents as far as the directories that hold them were read.
    put(node) {
        const names = segments(node.key);
        let entry = this.root;
        for (const [depth, name] of names.entries()) {
            if (entry.children === null) {
                return null;
            }
            let child = entry.child(name);
            if (!child) {
                child = new Entry(entry, name).take({ dir: depth < names.length - 1 });
                entry.children.splice(entry.place(name), 0, child);
            }
            entry = child;
        }
        return entry.take(node);
    }

    // Suppose that a key exists, and all directories above it. Returns the first entry that was not known; or null.
    suppose(key) {
        let entry = this.root;
        let first = null;
        for (const name of segments(key)) {
            entry.children ??= [];
            let child = entry.child(name);
            if (!child) {
                child = new Entry(entry, name).take({ dir: true });
                first ??= child;
                entry.children.splice(entry.place(name), 0, child);
            }
            entry = child;
        }
        return first;
    }

    // Something that was supposed is not there, or can't be seen either.
    forget(entry) {
        this.remove(entry.key);
        if (entry.parent.children.length === 0) {
            entry.parent.children = null;
        }
    }

    remove(key) {
        const entry = this.find(key);
        if (entry?.parent) {
            entry.parent.children.splice(entry.parent.place(entry.name), 1);
        }
    }
}
