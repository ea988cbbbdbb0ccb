// The field for when a key expires: as it does now, never, or after a number of seconds.

import { element } from "./dom.js";

const KEEP = "keep";
const EVER = "ever";
const SECONDS = "seconds";

export class LifetimeField {
    // It calls "changed" when a person has changed it.
    constructor(changed = () => {}) {
        const told = () => {
            this.arrange();
            changed();
        };
        this.keep = element("option", { value: KEEP }, "at the same time as before");
        this.choice = element(
            "select",
            { "aria-label": "Expires", change: told },
            element("option", { value: EVER }, "never"),
            element("option", { value: SECONDS }, "after a number of seconds"),
        );
        this.seconds = element("input", {
            type: "text",
            inputmode: "numeric",
            size: "8",
            "aria-label": "Seconds until it expires",
            input: changed,
        });
        this.element = element("div", { class: "lifetime" }, this.choice, this.seconds);
        this.show(null);
    }

    // Begin with the TTL of a node.
    show(entry) {
        this.entry = entry;
        if (entry?.ends != null) {
            this.choice.prepend(this.keep);
            this.choice.value = KEEP;
        } else {
            this.keep.remove();
            this.choice.value = EVER;
        }
        this.seconds.value = "";
        this.arrange();
    }

    arrange() {
        this.seconds.hidden = this.choice.value !== SECONDS;
    }

    get changed() {
        return this.choice.value !== (this.keep.parentNode ? KEEP : EVER);
    }

    // The parameter of the API; null for none. Less than a second counts as one: it will be over soon.
    get ttl() {
        if (this.choice.value === KEEP) {
            return String(Math.max(1, Math.ceil(this.entry.left)));
        }
        return this.choice.value === SECONDS ? this.seconds.value.trim() || "?" : null;
    }
}
