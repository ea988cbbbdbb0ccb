// The view of users and roles.
//
// Must never change anything: it shows what the machine knows.

import * as api from "./api.js";
import { element, write } from "./dom.js";
import { sentence } from "./sentences.js";

const PAUSE = 5; // seconds between two looks

const OPEN = "Users are not enabled: everybody who reaches this machine may read and change every key.";
const NO_GUEST = "There is no role guest: who has not logged in may do nothing.";

export class UsersView {
    constructor(place, observer) {
        Object.assign(this, { place, observer });
        this.known = null;
        this.looked = -Infinity;
        this.summary = element("p", { class: "lead" });
        this.failed = element("p", { class: "notice bad", role: "alert", hidden: true });
        this.tables = element("div", { hidden: true });
        place.append(element("h1", {}, "Users and roles"), this.summary, this.failed, this.tables);
    }

    // The view was opened, or somebody has logged in.
    renew() {
        this.looked = -Infinity;
        this.update();
    }

    update() {
        const now = performance.now() / 1000;
        if (!this.place.hidden && now >= this.looked + PAUSE) {
            this.looked = now;
            this.look();
        }
    }

    async look() {
        try {
            const [{ users }, { roles }] = await Promise.all([api.json("v2/auth/users"), api.json("v2/auth/roles")]);
            this.failed.hidden = true;
            this.show(users ?? [], roles ?? []);
        } catch (error) {
            const root = error instanceof api.Unauthorized ? " Users and roles are shown to users with the role root." : "";
            write(this.failed, `${sentence(error)}${root}`);
            this.failed.hidden = false;
            this.known = null;
            write(this.summary, "");
            this.tables.hidden = true;
        }
    }

    show(users, roles) {
        const enabled = this.observer.status?.auth === "enabled";
        const guest = roles.some(({ role }) => role === "guest");
        write(this.summary, enabled ? (guest ? "" : NO_GUEST) : OPEN);
        const known = JSON.stringify([users, roles]);
        this.tables.hidden = false;
        if (known === this.known) {
            return; // so that a person can select text
        }
        this.known = known;
        const held = users.map(({ user, roles: own }) => [user, (own ?? []).map(({ role }) => role)]);
        const given = roles.map(({ role, permissions: { kv } }) => [role, kv.read ?? [], kv.write ?? []]);
        this.tables.replaceChildren(
            element("h2", {}, "Users"),
            users.length ? table(["User", "Roles"], held) : element("p", { class: "muted" }, "There are no users yet."),
            element("h2", {}, "Roles"),
            table(["Role", "May read", "May write"], given),
        );
    }
}

// A table whose cells are texts, or lists of texts.
function table(names, rows) {
    const columns = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
    const lines = rows.map(([name, ...lists]) =>
        element("tr", {}, element("th", { scope: "row" }, name), ...lists.map((texts) => cell(texts))),
    );
    return element(
        "div",
        { class: "card rights" },
        element("table", {}, element("thead", {}, columns), element("tbody", {}, ...lines)),
    );
}

function cell(texts) {
    const items = texts.map((text) => element("li", {}, element("code", {}, text)));
    return element("td", {}, items.length ? element("ul", {}, ...items) : "nothing");
}
