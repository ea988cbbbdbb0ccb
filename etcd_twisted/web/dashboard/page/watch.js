// Waits for changes of a key or below a directory, one long poll after the other.
//
// Must never miss a change without saying so, nor go on after it was stopped.

import * as api from "./api.js";
import * as session from "./session.js";

const PAUSE = 25; // between two answers, in milliseconds: many changes shall not keep the machine busy with telling us
const AGAIN = 1000; // after a failure

export class Watch {
    // It calls "changed" with each event, "missed" when some events are lost, and "troubled" with an error or null.
    constructor(key, recursive, { changed, missed, troubled }) {
        Object.assign(this, { key, recursive, changed, missed, troubled });
        this.stopping = new AbortController();
    }

    // Wait from an index on.
    async run(from) {
        let next = from;
        while (!this.stopping.signal.aborted) {
            try {
                const { event } = await api.change(this.key, this.recursive, next, this.stopping.signal);
                if (this.stopping.signal.aborted) {
                    return;
                }
                this.troubled(null);
                if (event === null) {
                    await pause(AGAIN); // the machine stops
                    continue;
                }
                next = event.node.modifiedIndex + 1;
                this.changed(event);
                await pause(PAUSE);
            } catch (error) {
                next = await this.recover(error, next);
            }
        }
    }

    async recover(error, next) {
        if (this.stopping.signal.aborted) {
            return next;
        }
        if (error instanceof api.ApiError && error.code === api.OUTDATED) {
            this.missed();
            return error.index + 1;
        }
        this.troubled(error);
        await (error instanceof api.Unauthorized ? session.changed() : pause(AGAIN));
        return next;
    }

    stop() {
        this.stopping.abort();
    }
}

function pause(milliseconds) {
    return new Promise((over) => setTimeout(over, milliseconds));
}
