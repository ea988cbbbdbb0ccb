// What this machine knows of the cluster, asked for again and again and kept for the graphs.
//
// Must never be the load that it shows: one round a second, and none while nobody looks.

import * as api from "./api.js";
import { parseMetrics } from "./metrics.js";
import { Rate, Series } from "./series.js";

const PAUSE = 1000; // between rounds, in milliseconds
const SELDOM = 5; // every so many rounds the machines are asked for
const SILENT = 3; // seconds without an answer, after which a follower is silent

const WRITES = ["sets", "create", "update", "delete", "compareAndSwap", "compareAndDelete"];

// A machine that follows this one, as this one sees it.
class Follower {
    constructor() {
        this.latency = new Series();
        this.failures = new Rate();
        this.answered = -1;
        this.heard = 0;
    }

    add(now, { latency, counts }) {
        if (counts.success !== this.answered) {
            this.answered = counts.success;
            this.heard = now;
        }
        this.silentFor = now - this.heard >= SILENT ? now - this.heard : 0;
        this.latencies = latency;
        this.counts = counts;
        this.latency.add(now, this.silentFor || !counts.success ? null : latency.current);
        this.failures.add(now, counts.fail);
    }
}

export class Observer {
    // It tells of each round by calling "noticed"; what went wrong is in "trouble", null if nothing did.
    constructor(noticed) {
        this.noticed = noticed;
        this.trouble = null;
        this.known = null; // when all this was so
        this.self = null;
        this.status = null;
        this.store = null;
        this.machines = [];
        this.index = this.raftIndex = this.term = null;
        this.followers = new Map();
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
        return this.self?.state === "leader";
    }

    // The machine that leads, as it is registered; undefined if none is known.
    get leader() {
        const name = this.self?.leaderInfo.leader;
        return this.machines.find((machine) => machine.name === name);
    }

    get follower() {
        return this.self !== null && !this.leads;
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
        const [self, store, metrics, status] = await Promise.all([
            api.json("v2/stats/self"),
            api.json("v2/stats/store"),
            this.askMetrics(),
            api.json("mod/dashboard/status"),
        ]);
        const followers = self.state === "leader" ? await this.askFollowers() : {};
        const led = self.leaderInfo.leader;
        if (this.round % SELDOM === 0 || led !== this.self?.leaderInfo.leader || !this.leader) {
            this.machines = await api.machines();
            if (metrics.get("etcd_server_has_leader") !== 0) {
                Object.assign(this, await api.position());
            }
        }
        this.round += 1;
        Object.assign(this, { self, store, metrics, status });
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

    // It may have stopped leading between two questions.
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
        const { self, store, metrics } = this;
        this.reads.add(now, store.getsSuccess + store.getsFail);
        this.writes.add(now, WRITES.reduce((sum, name) => sum + store[`${name}Success`] + store[`${name}Fail`], 0));
        this.commits.add(now, metrics.get("etcd_server_proposals_committed_total"));
        this.watchers.add(now, store.watchers);
        this.messages.add(now, self.sendPkgRate ?? self.recvPkgRate);
        this.traffic.add(now, self.sendBandwidthRate ?? self.recvBandwidthRate);
        this.logSize.add(now, metrics.get("etcd_twisted_wal_size_bytes"));
        this.snapshotSize.add(now, metrics.get("etcd_twisted_snapshot_size_bytes"));
        for (const [name, statistics] of Object.entries(followers)) {
            if (!this.followers.has(name)) {
                this.followers.set(name, new Follower());
            }
            this.followers.get(name).add(now, statistics);
        }
        for (const name of this.followers.keys()) {
            if (!(name in followers)) {
                this.followers.delete(name);
            }
        }
    }
}
