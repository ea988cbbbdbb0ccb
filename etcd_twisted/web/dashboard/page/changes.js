// The list of watched changes, the newest first.
//
// Must never grow without bound: older changes are only counted.

import { Unauthorized, address } from "./api.js";
import { button, element, write } from "./dom.js";
import { sentence } from "./sentences.js";
import { Watch } from "./watch.js";

const STOP = "Stop watching";
const MOST = 200; // changes that are shown
const PREVIEW = 200; // characters of a value

export class Changes {
    // It calls "changed" with each event, "missed" with the key when some events are lost, and "closed" when it is no
    // longer shown.
    constructor({ changed, missed, closed }) {
        Object.assign(this, { changed, missed, closed });
        this.watch = null;
        this.seen = 0;
        this.heading = element("h2");
        this.words = element("p", { class: "muted", role: "status" });
        this.stopping = button(STOP, () => (this.watch ? this.stop() : this.close()));
        this.list = element("ol", { class: "changes" });
        this.element = element(
            "section",
            { class: "card watched", "aria-label": "Watched changes", hidden: true },
            element("header", {}, this.heading, this.stopping),
            this.words,
            element("div", { class: "scroll", role: "log", "aria-label": "Changes", tabindex: "0" }, this.list),
        );
    }

    // Watch a key, or everything below a directory.
    start(entry, from) {
        this.stop();
        this.seen = 0;
        this.list.replaceChildren();
        this.element.hidden = false;
        write(this.stopping, STOP);
        write(this.heading, entry.dir ? `Changes under ${entry.key}` : `Changes to ${entry.key}`);
        this.say(`Watching from index ${from} on.`);
        this.watch = new Watch(entry.key, entry.dir, {
            changed: (event) => this.add(event),
            missed: () => this.skip(entry.key),
            troubled: (error) => this.say(error ? `${sentence(error)}${hope(error)}` : this.summary()),
        });
        this.watch.run(from);
        this.element.scrollIntoView({ block: "nearest" });
    }

    stop() {
        if (this.watch) {
            this.watch.stop();
            this.watch = null;
            write(this.stopping, "Close");
            this.say(`Stopped. ${this.summary()}`);
        }
    }

    close() {
        this.element.hidden = true;
        this.closed();
    }

    say(text) {
        write(this.words, text);
    }

    summary() {
        if (this.seen === 0) {
            return "No changes so far.";
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
        const words = "Too much has changed at once for the machine to remember: some changes are not listed.";
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

function hope(error) {
    return error instanceof Unauthorized ? "" : " Trying again.";
}
