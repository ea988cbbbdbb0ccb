// The view of the cluster: its machines, its leader, and its load.
//
// Must never request anything: it shows what the observer knows.

import { dashboard } from "./api.js";
import { Chart, drawAlike } from "./chart.js";
import { element, write } from "./dom.js";
import { bytes, bytesPerSecond, count, duration, goSeconds, milliseconds, number, perSecond } from "./format.js";

const OPERATIONS = [
    ["Get", "gets"],
    ["Set", "sets"],
    ["Create", "create"],
    ["Update", "update"],
    ["Delete", "delete"],
    ["Compare and swap", "compareAndSwap"],
    ["Compare and delete", "compareAndDelete"],
];

const SAME = 0.1; // seconds by which clocks may differ that agree

const WHOSE = "Writes and commits count for the whole cluster; reads, watchers and disk for this machine.";

// A machine of the cluster, and how it follows this machine if this one leads.
class Card {
    constructor(name) {
        this.role = element("span", { class: "badge" });
        this.here = element("span", { class: "badge plain", hidden: true }, "this machine");
        this.client = element("a");
        this.peer = element("span");
        this.graphs = element("div", { class: "graphs" });
        this.charts = [];
        this.words = element("p", { class: "muted" });
        this.facts = element("dl", { class: "state" });
        this.element = element(
            "li",
            { class: "card machine" },
            element("h3", {}, name, this.role, this.here),
            element("p", { class: "urls" }, this.client, element("span", { class: "muted" }, "peer address ", this.peer)),
            this.words,
            this.facts,
            this.graphs,
        );
    }

    update(machine, observer) {
        const { self } = observer;
        const leads = machine.id === self.leaderInfo.leader;
        const other = observer.others.get(machine.name);
        const silent = other?.state?.reachable === false;
        const role = leads ? "leader" : other?.state?.role || "follower";
        write(this.role, silent ? "not answering" : role);
        this.role.className = `badge ${silent ? "bad" : leads ? "good" : ""}`;
        this.here.hidden = machine.name !== self.name;
        write(this.client, machine.client);
        point(this.client, dashboard(machine));
        write(this.peer, machine.peer);
        write(this.words, this.said(machine, leads, other, silent, self));
        this.showFacts(other?.state, observer);
        this.choose(observer, other);
    }

    said(machine, leads, other, silent, self) {
        if (silent) {
            const { lasted, problem } = other.state;
            return `Has not answered for ${duration(lasted)}: ${problem}.`;
        }
        if (other?.counts?.success) {
            const { average, minimum, maximum, standardDeviation } = other.latencies;
            return (
                `Answers in ${milliseconds(average)} on average (± ${milliseconds(standardDeviation)}, ` +
                `${milliseconds(minimum)} to ${milliseconds(maximum)}). ${failures(other)}`
            );
        }
        const words = [];
        if (leads) {
            words.push(`Has led for ${duration(goSeconds(self.leaderInfo.uptime))}.`);
        }
        if (machine.name === self.name) {
            words.push(`Started ${new Date(self.startTime).toLocaleString("en-GB")}.`);
        }
        return words.join(" ");
    }

    // What the machine last reported of itself, and how far its clock differs.
    showFacts(state, { status }) {
        const facts = state ? known(state, status) : [];
        while (this.facts.childElementCount > facts.length) {
            this.facts.lastChild.remove();
        }
        facts.forEach(([name, text], number) => {
            if (number === this.facts.childElementCount) {
                this.facts.append(element("div", {}, element("dt"), element("dd")));
            }
            const [term, value] = this.facts.children[number].children;
            write(term, name);
            write(value, text);
        });
    }

    // The graphs: for this machine, its traffic with followers or with its leader; for a follower, how it answers.
    choose(observer, other) {
        const kind = !this.here.hidden ? "own" : other?.counts ? "follower" : "other";
        if (this.kind !== kind || this.source !== other) {
            Object.assign(this, { kind, source: other });
            const graphs = { own: () => own(observer), follower: () => followers(other), other: () => others(other) };
            this.charts = other ? graphs[kind]() : [];
            this.graphs.replaceChildren(...this.charts.map((chart) => chart.element));
        }
    }
}

function known(state, { name, version, machines }) {
    const facts = [];
    if (state.applied !== undefined) {
        const furthest = Math.max(...machines.map(({ applied }) => applied ?? 0));
        const behind = furthest - state.applied;
        facts.push(["Applied index", count(state.applied) + (behind ? ` (${count(behind)} behind)` : "")]);
    }
    if (state.uptime !== undefined && state.reachable) {
        facts.push(["Uptime", duration(state.uptime)]);
    }
    if (state.clockAhead !== undefined && state.name !== name) {
        facts.push(["Clock", clock(state.clockAhead)]);
    }
    if (state.version && state.version !== version) {
        facts.push(["Version", state.version]);
    }
    return facts;
}

function clock(ahead) {
    const seconds = Math.abs(ahead);
    return seconds < SAME ? "agrees" : `${number(seconds)} s ${ahead > 0 ? "ahead" : "behind"}`;
}

function ofQuota(size, quota) {
    return quota ? `${bytes(size)} of ${bytes(quota)}` : bytes(size);
}

function others({ roundTrip }) {
    return [one("Round trip", milliseconds, roundTrip)];
}

function own({ messages, traffic }) {
    return [one("Messages", perSecond, messages), one("Bytes", bytesPerSecond, traffic)];
}

function followers({ latency, failures: failed }) {
    return [one("Latency", milliseconds, latency), one("Failures", perSecond, failed, "bad")];
}

function failures({ counts }) {
    return counts.fail === 1 ? "One failure in all." : `${count(counts.fail)} failures in all.`;
}

function one(title, format, series, colour = "one") {
    return new Chart(title, format, [{ name: "", series, colour }]);
}

function carded(chart) {
    return element("div", { class: "card" }, chart.element);
}

function point(link, address) {
    if (address !== null && link.href !== address) {
        link.href = address;
    }
}

export class ClusterView {
    constructor(place, observer) {
        this.observer = observer;
        this.cards = new Map();
        this.figures = new Map();
        this.summary = element("p", { class: "lead" });
        this.elsewhere = element("p", { class: "notice", hidden: true });
        this.firstFigures = element("dl", { class: "figures first" });
        this.moreFigures = element("dl", { class: "figures" });
        this.machines = element("ul", { class: "machines" });
        this.counts = element("tbody");
        this.charts = [
            new Chart("Requests", perSecond, [
                { name: "reads", series: observer.reads, colour: "one" },
                { name: "writes", series: observer.writes, colour: "two" },
            ]),
            one("Commits", perSecond, observer.commits),
            one("Watchers", count, observer.watchers),
            new Chart("Disk", bytes, [
                { name: "log", series: observer.logSize, colour: "one" },
                { name: "snapshot", series: observer.snapshotSize, colour: "two" },
            ]),
        ];
        const names = ["Operation", "Succeeded", "Failed"];
        const columns = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
        this.body = element(
            "div",
            { hidden: true },
            this.elsewhere,
            this.firstFigures,
            this.moreFigures,
            element("h2", {}, "Machines"),
            this.machines,
            element("h2", {}, "Activity"),
            element("p", { class: "muted" }, WHOSE),
            element("div", { class: "charts" }, ...this.charts.map(carded)),
            element("h2", {}, "Operations since the start"),
            element("div", { class: "card counts" }, element("table", {}, element("thead", {}, columns), this.counts)),
        );
        place.append(element("h1", {}, "Cluster"), this.summary, this.body);
    }

    update() {
        const { observer } = this;
        if (observer.self === null) {
            const standby = observer.status?.role === "standby";
            write(this.summary, standby ? "Only members of the cluster have figures to show." : "Asking the machine…");
            return;
        }
        this.body.hidden = false;
        const now = performance.now() / 1000;
        this.summarize();
        this.showFigures();
        this.showMachines();
        drawAlike([...this.charts, ...[...this.cards.values()].flatMap((card) => card.charts)], now);
        this.showCounts();
    }

    summarize() {
        const { self, machines, awaited, leader, leads } = this.observer;
        const size = machines.length === 1 ? "One machine" : `${machines.length} machines`;
        const led = leader && `${leader.name} has led for ${duration(goSeconds(self.leaderInfo.uptime))}`;
        const missing = awaited.length ? ` Awaited: ${awaited.join(", ")}.` : "";
        write(this.summary, `${size}; ${led ?? "no leader at the moment"}.${missing}`);
        this.elsewhere.hidden = leads || !leader;
        if (!this.elsewhere.hidden && this.told !== leader.client) {
            this.told = leader.client;
            this.elsewhere.replaceChildren(
                `This is the page of ${self.name}, a follower. How fast each follower answers its leader is on `,
                element("a", { href: dashboard(leader) }, `the page of ${leader.name}`),
                ".",
            );
        }
    }

    showFigures() {
        const { status, metrics, store, logSize, snapshotSize } = this.observer;
        this.show(this.firstFigures, [
            ["Version", status.version],
            ["Keys", status.keys, count],
            ["Uptime", status.uptime, duration],
            ["Memory", metrics.get("process_resident_memory_bytes"), bytes],
            ["Workers", status.workers?.map(({ memory }) => bytes(memory)).join(", ")],
        ]);
        this.show(this.moreFigures, [
            ["Term", status.term, count],
            ["Key space index", status.index, count],
            ["Raft index", status.raftIndex, count],
            ["Watchers", store.watchers, count],
            ["Key space", status.sizeBytes, (size) => ofQuota(size, status.quotaBytes)],
            ["Log", logSize.last, bytes],
            ["Snapshot", snapshotSize.last, bytes],
        ]);
    }

    // Leave out figures that are not known.
    show(strip, figures) {
        const known = figures.filter(([, value]) => value !== undefined && value !== null);
        const cards = known.map(([name, value, format = String]) => this.figure(name, format(value)));
        if (cards.length !== strip.childElementCount) {
            strip.replaceChildren(...cards);
        }
    }

    figure(name, text) {
        if (!this.figures.has(name)) {
            const card = element("div", { class: "card" }, element("dt", {}, name), element("dd"));
            this.figures.set(name, card);
        }
        write(this.figures.get(name).lastChild, text);
        return this.figures.get(name);
    }

    showMachines() {
        const { machines } = this.observer;
        const names = machines.map((machine) => machine.name);
        if (names.join("\n") !== [...this.cards.keys()].join("\n")) {
            const cards = names.map((name) => [name, this.cards.get(name) ?? new Card(name)]);
            this.cards = new Map(cards);
            this.machines.replaceChildren(...cards.map(([, card]) => card.element));
        }
        machines.forEach((machine) => this.cards.get(machine.name).update(machine, this.observer));
    }

    showCounts() {
        const { store } = this.observer;
        if (!this.counts.childElementCount) {
            this.counts.append(
                ...[...OPERATIONS, ["Expire", "expire"]].map(([name]) =>
                    element("tr", {}, element("th", { scope: "row" }, name), element("td"), element("td")),
                ),
            );
        }
        [...this.counts.rows].forEach((row, number) => {
            const operation = OPERATIONS[number];
            write(row.cells[1], count(operation ? store[`${operation[1]}Success`] : store.expireCount));
            write(row.cells[2], operation ? count(store[`${operation[1]}Fail`]) : "–");
        });
    }
}
