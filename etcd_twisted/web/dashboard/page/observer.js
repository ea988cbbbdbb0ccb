// Asks this machine again and again what it knows of the cluster, and keeps the answers for the graphs.
//
// Must never cause the load that it shows: one round a second, and none while the page is hidden.

import * as api from "./api.js";
import { parseMetrics } from "./metrics.js";
import { Rate, Series } from "./series.js";

const PAUSE = 1000; // between rounds, in milliseconds
const SELDOM = 5; // every so many rounds the machines are asked for

const WRITES = ["sets", "create", "update", "delete", "compareAndSwap", "compareAndDelete"];

// Another machine as this one sees it, and how it follows if this one leads.
class Other {
    constructor() {
        this.state = null;
        this.counts = null;
        this.latency = new Series();
        this.failures = new Rate();
        this.roundTrip = new Series();
    }

    add(now, state, followed) {
        const answers = state?.reachable !== false;
        this.state = state ?? null;
        this.latencies = followed?.latency;
        this.counts = followed?.counts ?? null;
        this.latency.add(now, answers && followed?.counts.success ? followed.latency.current : null);
        this.failures.add(now, followed?.counts.fail);
        this.roundTrip.add(now, answers ? state?.roundTrip : null);
    }
}

export class Observer {
    // It calls "noticed" after each round. What went wrong is in "trouble", which is null if nothing did.
    constructor(noticed) {
        this.noticed = noticed;
        this.trouble = null;
        this.known = null; // when all this was so
        this.self = null;
        this.status = null;
        this.store = null;
        this.machines = [];
        this.awaited = []; // the peer URLs of the machines that were added and have not come yet
        this.others = new Map();
        this.metrics = new Map();
        this.reads = new Rate();
        this.writes = new Rate();
        this.commits = new Rate();
        this.watchers = new Series();
        this.messages = new Series();
        this.traffic = new Series();
        this.logSize = new Series();
        this.snapshotSize = new Series();
        this.round = 0;
    }

    get leads() {
        return this.self !== null && this.status.role === "leader";
    }

    // The machine that leads, as it is registered; undefined if none is known.
    get leader() {
        const led = this.self?.leaderInfo.leader;
        return this.machines.find(({ id }) => id === led);
    }

    // Whether keys can't be changed here: this machine does not lead, and has no leader make the changes.
    get readOnly() {
        return this.self !== null && !this.leads && !(this.status?.forwards && this.leader);
    }

    async run() {
        for (;;) {
            if (document.hidden) {
                await new Promise((shown) => document.addEventListener("visibilitychange", shown, { once: true }));
            } else {
                await this.look();
                await new Promise((over) => setTimeout(over, PAUSE));
            }
        }
    }

    async look() {
        try {
            await this.ask(performance.now() / 1000);
            this.trouble = null;
            this.known = new Date();
        } catch (error) {
            this.trouble = error;
        }
        this.noticed();
    }

    async ask(now) {
        this.status = await api.json("mod/dashboard/status");
        const [self, store, metrics] = await Promise.all([
            api.json("v2/stats/self"),
            api.json("v2/stats/store"),
            this.askMetrics(),
        ]);
        const followers = this.status.role === "leader" ? await this.askFollowers() : {};
        const led = self.leaderInfo.leader;
        if (this.round % SELDOM === 0 || led !== this.self?.leaderInfo.leader || !this.leader) {
            const listed = await api.machines();
            this.machines = listed.filter(({ name }) => name);
            this.awaited = listed.filter(({ name }) => !name).map(({ peer }) => peer);
        }
        this.round += 1;
        Object.assign(this, { self, store, metrics });
        this.keep(now, followers);
    }

    // A machine of another version may have no metrics: then they are unknown.
    async askMetrics() {
        try {
            return parseMetrics(await api.text("metrics"));
        } catch (error) {
            if (error instanceof api.BadAnswer && error.status === 404) {
                return new Map();
            }
            throw error;
        }
    }

    // The machine may have stopped leading between two requests.
    async askFollowers() {
        try {
            return (await api.json("v2/stats/leader")).followers;
        } catch (error) {
            if (error instanceof api.BadAnswer && error.status === 403) {
                return {};
            }
            throw error;
        }
    }

    keep(now, followers) {
        const { self, store, metrics, status, machines } = this;
        this.reads.add(now, store.getsSuccess + store.getsFail);
        this.writes.add(now, WRITES.reduce((sum, name) => sum + store[`${name}Success`] + store[`${name}Fail`], 0));
        this.commits.add(now, metrics.get("etcd_server_proposals_committed_total"));
        this.watchers.add(now, store.watchers);
        this.messages.add(now, self.sendPkgRate ?? self.recvPkgRate);
        this.traffic.add(now, self.sendBandwidthRate ?? self.recvBandwidthRate);
        this.logSize.add(now, metrics.get("etcd_twisted_wal_size_bytes"));
        this.snapshotSize.add(now, metrics.get("etcd_twisted_snapshot_size_bytes"));
        const states = new Map(status.machines.map((state) => [state.name, state]));
        const before = this.others;
        this.others = new Map(machines.map(({ name }) => [name, before.get(name) ?? new Other()]));
        machines.forEach(({ id, name }) => this.others.get(name).add(now, states.get(name), followers[id]));
    }
}
