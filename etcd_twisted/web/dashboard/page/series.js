// Samples over the last minutes, and rates from counters.
//
// Must never make up a value: an unknown one is null, and a gap in the graph.

export const WINDOW = 300; // in seconds

export class Series {
    constructor() {
        this.samples = []; // [seconds, value or null], oldest first
    }

    add(now, value) {
        this.samples.push([now, value ?? null]);
        const outdated = this.samples.findIndex(([time]) => time >= now - WINDOW);
        this.samples.splice(0, outdated);
    }

    get last() {
        return this.samples.at(-1)?.[1] ?? null;
    }

    get highest() {
        return this.samples.reduce((highest, [, value]) => Math.max(highest, value ?? 0), 0);
    }

    // The sample that is closest to a time.
    at(time) {
        let closest = null;
        for (const sample of this.samples) {
            if (closest === null || Math.abs(sample[0] - time) < Math.abs(closest[0] - time)) {
                closest = sample;
            }
        }
        return closest;
    }
}

// A series of a counter's rate per second. A counter that goes down has begun anew.
export class Rate extends Series {
    add(now, counter) {
        const known = counter ?? null;
        const before = this.before;
        this.before = known === null ? null : [now, known];
        const goesOn = before && known !== null && known >= before[1] && now > before[0];
        super.add(now, goesOn ? (known - before[1]) / (now - before[0]) : null);
    }
}
