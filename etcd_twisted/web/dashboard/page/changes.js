// The list of changes of what is watched, the newest first.
//
// Must never grow for ever: of the older ones there is only a number.

import { address } from "./api.js";
import { element, write } from "./dom.js";
import { sentence } from "./sentences.js";
import { Watch } from "./watch.js";

const MOST = 200; // changes that are shown
const PREVIEW = 200; // characters of a value

export class Changes {
    // It calls "changed" with each event, and "missed" with the key when some are lost.
    constructor({ changed, missed }) {
        Object.assign(this, { changed, missed });
        this.watch = null;
        this.seen = 0;
        this.heading = element("h2");
        this.words = element("p", { class: "muted", role: "status" });
        this.stopping = element("button", { type: "button", click: () => this.stop() }, "Stop watching");
        this.list = element("ol", { class: "changes", role: "log", "aria-label": "Changes", tabindex: "0" });
        this.element = element(
            "section",
            { class: "card watched", "aria-label": "Watched changes", hidden: true },
            element("header", {}, this.heading, this.stopping),
            this.words,
            this.list,
        );
    }

    // Watch a key, or all that is below a directory.
    start(entry, from) {
        this.stop();
        this.seen = 0;
        this.list.replaceChildren();
        this.element.hidden = false;
        this.stopping.hidden = false;
        write(this.heading, entry.dir ? `Changes below ${entry.key}` : `Changes of ${entry.key}`);
        this.say(`Watching from index ${from} on.`);
        this.watch = new Watch(entry.key, entry.dir, {
            changed: (event) => this.add(event),
            missed: () => this.skip(entry.key),
            troubled: (error) => this.say(error ? `${sentence(error)} Trying again.` : this.summary()),
        });
        this.watch.run(from);
    }

    stop() {
        if (this.watch) {
            this.watch.stop();
            this.watch = null;
            this.stopping.hidden = true;
            this.say(`Stopped. ${this.summary()}`);
        }
    }

    say(text) {
        write(this.words, text);
    }

    summary() {
        if (this.seen === 0) {
            return "Nothing has changed so far.";
        }
        return this.seen === 1 ? "One change so far." : `${this.seen} changes so far.`;
    }

    add(event) {
        const { action, node, prevNode } = event;
        this.seen += 1;
        this.say(this.summary());
        this.prepend(
            element("span", { class: `badge ${node.value === undefined && !node.dir ? "bad" : "good"}` }, action),
            element("a", { href: `#keys${address(node.key)}` }, node.key),
            element("code", {}, (node.value ?? prevNode?.value ?? "").slice(0, PREVIEW)),
            element("span", { class: "muted" }, `index ${node.modifiedIndex}`),
        );
        this.changed(event);
    }

    skip(key) {
        const words = "More has changed at once than the machine remembers: some changes are not listed.";
        this.prepend(element("strong", {}, words));
        this.missed(key);
    }

    prepend(...parts) {
        const time = new Date().toLocaleTimeString("en-GB");
        this.list.prepend(element("li", {}, element("time", {}, time), ...parts));
        if (this.list.childElementCount > MOST) {
            this.list.lastChild.remove();
        }
    }
}
