// The page: which view is shown, and what all views have above them.
//
// Must never ask the machine anything itself.

import { NotLeader } from "./api.js";
import { ClusterView } from "./cluster.js";
import { element, write } from "./dom.js";
import { KeysView } from "./keys.js";
import { Observer } from "./observer.js";
import { sentence } from "./sentences.js";

const SECOND = 1000;

const places = { cluster: document.getElementById("cluster"), keys: document.getElementById("keys") };
const links = { cluster: document.getElementById("to-cluster"), keys: document.getElementById("to-keys") };
const trouble = document.getElementById("trouble");
const machine = element("span");
const role = element("span", { class: "badge" });
document.querySelector(".here").append(machine, role);

const observer = new Observer(noticed);
const cluster = new ClusterView(places.cluster, observer);
const keys = new KeysView(places.keys, observer);

function noticed() {
    if (observer.self) {
        write(machine, observer.self.name);
        write(role, observer.self.state);
        role.className = `badge ${observer.leads ? "good" : ""}`;
    }
    trouble.hidden = observer.trouble === null;
    if (observer.trouble instanceof NotLeader) {
        write(trouble, "This machine has become a standby and shows nothing. Reload the page to go to the leader's.");
    } else if (observer.trouble) {
        const time = observer.known?.toLocaleTimeString("en-GB");
        const shown = time ? ` This page shows what was so at ${time}.` : "";
        write(trouble, `${sentence(observer.trouble)}${shown} Trying again.`);
    }
    cluster.update();
    keys.update();
}

// "#keys/a/b" shows the key /a/b, all else the cluster.
function route() {
    const path = /^#keys(\/.*)?$/.exec(location.hash);
    const name = path ? "keys" : "cluster";
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
        write(document.querySelector("title"), "Cluster – etcd_twisted");
    }
}

function decoded(path) {
    const names = path.split("/").filter((name) => name !== "");
    return `/${names.map(unescaped).join("/")}`;
}

// What somebody has typed into the address need not be encoded.
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
