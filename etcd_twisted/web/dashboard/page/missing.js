// The offer to create a key that does not exist.
//
// Must never create anything itself.

import { address, dashboard } from "./api.js";
import { button, element } from "./dom.js";

export class Missing {
    // It calls "create" with the key that a person wants to create.
    constructor(observer, create) {
        this.observer = observer;
        this.key = null;
        this.create = button("Create it…", () => create(this.key));
        this.element = element("div", { class: "notice", role: "alert", hidden: true });
    }

    // Say that there is no such key; null for no message.
    show(key) {
        this.key = key;
        this.element.hidden = key === null;
        this.told = null;
        this.update();
    }

    // The machine's role in the cluster may have changed: it may not be able to create a key now.
    update() {
        const { readOnly, leader } = this.observer;
        if (this.key === null) {
            return;
        }
        const elsewhere = leader ? dashboard(leader, `#keys${address(this.key)}`) : null;
        const to = readOnly ? (elsewhere ?? "") : "here";
        if (this.told === to) {
            return;
        }
        this.told = to;
        this.element.replaceChildren(`There is no key ${this.key}. `, ...this.offer(to));
    }

    offer(to) {
        if (to === "here") {
            return [this.create];
        }
        return to ? [element("a", { href: to }, `Create it on ${this.observer.leader.name}, which leads`), "."] : [];
    }
}
