// A graph of one or two series over the last minutes, with its figures in words.
//
// Must never know what it shows: it gets series, and a function that formats their values.

import { element, shape, write } from "./dom.js";
import { duration } from "./format.js";
import { WINDOW } from "./series.js";

const WIDTH = 300;
const HEIGHT = 80;
const LEAST = 60; // seconds that are shown, however new the page is
const GAP = 5; // seconds without a sample, from which on there is none in the graph either

export class Chart {
    // Lines are {name, series, colour}. The name may be empty if there is only one line.
    constructor(title, format, lines) {
        this.title = title;
        this.format = format;
        this.lines = lines.map((line) => ({
            ...line,
            area: shape("path", { class: `area ${line.colour}` }),
            path: shape("path", { class: `line ${line.colour}` }),
            value: element("strong"),
        }));
        this.cursor = shape("path", { class: "cursor" });
        this.top = element("span", { class: "highest" });
        this.when = element("span", { class: "when" });
        this.pointed = null;
        this.picture = shape(
            "svg",
            { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
            shape("path", { class: "grid", d: `M0 .5H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 0.5}H${WIDTH}` }),
            ...this.lines.flatMap(({ area, path }) => [area, path]),
            this.cursor,
        );
        this.picture.addEventListener("pointermove", (event) => this.point(event));
        this.picture.addEventListener("pointerleave", () => this.point(null));
        const values = this.lines.map(({ name, value, colour }) =>
            element("span", { class: `value ${colour}` }, value, name && ` ${name}`),
        );
        this.element = element(
            "figure",
            { class: "chart" },
            element("figcaption", {}, element("span", { class: "title" }, title), ...values),
            element("div", { class: "plot" }, this.picture, this.top),
            element("p", { class: "times" }, this.when, element("span", {}, "now")),
        );
    }

    get highest() {
        return Math.max(...this.lines.map(({ series }) => series.highest));
    }

    // When the first sample was taken.
    get begun() {
        return Math.min(...this.lines.map(({ series }) => series.samples[0]?.[0] ?? Infinity));
    }

    // Draw the samples between two times, with a scale that reaches at least "highest".
    draw(begun, now, highest) {
        this.now = now;
        this.window = Math.min(WINDOW, Math.max(LEAST, now - begun));
        const top = niceTop(highest);
        for (const { series, path, area } of this.lines) {
            const runs = this.runs(series.samples, top);
            path.setAttribute("d", runs.map((run) => `M${run.join("L")}`).join(""));
            area.setAttribute("d", runs.map(closed).join(""));
        }
        const known = this.lines.some(({ series }) => series.last !== null);
        write(this.top, known ? this.format(top) : "");
        this.say();
    }

    // The points of each part without a gap.
    runs(samples, top) {
        const runs = [];
        let previous = -Infinity;
        for (const [time, value] of samples) {
            if (value === null) {
                continue;
            }
            if (time - previous > GAP) {
                runs.push([]);
            }
            const y = HEIGHT - 1 - (value / top) * (HEIGHT - 4);
            runs.at(-1).push(`${this.x(time).toFixed(1)} ${y.toFixed(1)}`);
            previous = time;
        }
        return runs;
    }

    x(time) {
        return WIDTH * (1 - (this.now - time) / this.window);
    }

    point(event) {
        const box = this.picture.getBoundingClientRect();
        this.pointed = event && this.window * (1 - (event.clientX - box.left) / box.width);
        this.say();
    }

    // The values at the time under the pointer, or the current ones.
    say() {
        const time = this.pointed === null ? this.now : this.now - this.pointed;
        const shown = this.lines.map(({ series }) => (this.pointed === null ? [time, series.last] : series.at(time)));
        this.lines.forEach(({ value }, number) => {
            write(value, this.format(shown[number]?.[1]));
            value.classList.toggle("nothing", !shown[number]?.[1]);
        });
        const ago = this.now - (shown[0]?.[0] ?? this.now);
        write(this.when, this.pointed === null ? `${duration(this.window)} ago` : `${duration(ago)} ago`);
        this.cursor.setAttribute("d", this.pointed === null ? "" : `M${this.x(this.now - ago).toFixed(1)} 0V${HEIGHT}`);
        const values = this.lines.map(({ name, series }) => `${name} ${this.format(series.last)}`.trim()).join(", ");
        const label = `${this.title} over the last ${duration(this.window)}. Now: ${values}.`;
        this.picture.setAttribute("aria-label", label);
    }
}

// Draw several graphs over the same time. Graphs with the same title have the same scale, so that they can be compared.
export function drawAlike(charts, now) {
    const begun = Math.min(...charts.map((chart) => chart.begun));
    const highest = new Map();
    for (const { title, highest: own } of charts) {
        highest.set(title, Math.max(own, highest.get(title) ?? 0));
    }
    charts.forEach((chart) => chart.draw(begun, now, highest.get(chart.title)));
}

function closed(run) {
    const [first, last] = [run[0], run.at(-1)].map((point) => point.split(" ")[0]);
    return `M${first} ${HEIGHT}L${run.join("L")}L${last} ${HEIGHT}Z`;
}

// The next round number.
function niceTop(highest) {
    if (highest <= 0) {
        return 1;
    }
    const power = 10 ** Math.floor(Math.log10(highest));
    return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= highest);
}
