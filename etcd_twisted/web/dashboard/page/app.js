// The page: which view is shown, and what is above every view.
//
// Must never ask the machine anything itself.

import { Unreachable, whenRefused } from "./api.js";
import { ClusterView } from "./cluster.js";
import { element, write } from "./dom.js";
import { KeysView } from "./keys.js";
import { Login } from "./login.js";
import { Observer } from "./observer.js";
import { sentence } from "./sentences.js";
import { title } from "./title.js";
import { UsersView } from "./users.js";

const SECOND = 1000;

let shownTexts = [];

const names = ["cluster", "keys", "users"];
const places = Object.fromEntries(names.map((name) => [name, document.getElementById(name)]));
const links = Object.fromEntries(names.map((name) => [name, document.getElementById(`to-${name}`)]));
const trouble = document.getElementById("trouble");
const health = document.getElementById("health");
const machine = element("span");
const role = element("span", { class: "badge" });
document.querySelector(".here").append(machine, role);

const observer = new Observer(noticed);
const cluster = new ClusterView(places.cluster, observer);
const keys = new KeysView(places.keys, observer);
const users = new UsersView(places.users, observer);
const login = new Login(document.querySelector(".user"), async () => {
    await keys.renew();
    route();
});
whenRefused(() => login.refused());

function noticed() {
    if (observer.status) {
        write(machine, observer.status.name);
        write(role, observer.status.role);
        role.className = `badge ${observer.status.role === "leader" ? "good" : ""}`;
    }
    // A standby refuses every other request. That it is a standby says more than these refusals.
    const refused = observer.status?.role === "standby" && !(observer.trouble instanceof Unreachable);
    trouble.hidden = observer.trouble === null || refused;
    if (!trouble.hidden) {
        const time = observer.known?.toLocaleTimeString("en-GB");
        const shown = time ? ` This page shows what was so at ${time}.` : "";
        write(trouble, `${sentence(observer.trouble)}${shown} Trying again.`);
    }
    showHealth();
    links.users.hidden = !observer.status?.auth; // there are users, or may be soon
    login.update(observer.status?.auth === "enabled");
    cluster.update();
    keys.update();
    users.update();
}

// Show what the machine says is wrong, which is unknown if it does not answer.
function showHealth() {
    const unknown = observer.trouble instanceof Unreachable;
    const problems = unknown ? [] : (observer.status?.problems ?? []);
    title({ problem: unknown ? "No answer" : (problems[0]?.title ?? "") });
    const texts = problems.map(({ text }) => text);
    health.hidden = texts.length === 0;
    if (texts.join("\n") !== shownTexts.join("\n")) {
        shownTexts = texts;
        health.replaceChildren(...texts.map((text) => element("li", {}, text)));
    }
}

// "#keys/a/b" shows the key /a/b, and "#users" the users; anything else shows the cluster.
function route() {
    const path = /^#keys(\/.*)?$/.exec(location.hash);
    const name = path ? "keys" : location.hash === "#users" ? "users" : "cluster";
    for (const each of Object.keys(places)) {
        places[each].hidden = each !== name;
        if (each === name) {
            links[each].setAttribute("aria-current", "page");
        } else {
            links[each].removeAttribute("aria-current");
        }
    }
    if (path) {
        keys.open(decoded(path[1] ?? "/"));
        links.keys.href = location.hash;
    } else {
        title({ view: name === "users" ? "Users" : "Cluster" });
        users.renew();
    }
}

function decoded(path) {
    const names = path.split("/").filter((name) => name !== "");
    return `/${names.map(unescaped).join("/")}`;
}

// A person may have typed the address without encoding it.
function unescaped(name) {
    try {
        return decodeURIComponent(name);
    } catch (error) {
        if (error instanceof URIError) {
            return name;
        }
        throw error;
    }
}

addEventListener("hashchange", route);
addEventListener("unhandledrejection", () => {
    trouble.hidden = false;
    write(trouble, "This page has failed. Please reload it.");
});
addEventListener("beforeunload", (event) => {
    if (keys.unsaved) {
        event.preventDefault();
    }
});
setInterval(() => keys.tick(), SECOND);
route();
observer.run();
