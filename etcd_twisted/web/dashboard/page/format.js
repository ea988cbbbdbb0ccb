// Figures and times as people read them.

const UNKNOWN = "unknown";
const PLAIN = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

// A number with as many digits as are meaningful: 0.42, 4.2, 42, 4,200.
export function number(value) {
    if (value === null || value === undefined) {
        return UNKNOWN;
    }
    const size = Math.abs(value);
    if (Number.isInteger(value) || size >= 100) {
        return PLAIN.format(value);
    }
    return value.toFixed(size >= 10 ? 1 : 2);
}

export function count(value) {
    return value === null || value === undefined ? UNKNOWN : PLAIN.format(value);
}

export function perSecond(value) {
    return value === null || value === undefined ? UNKNOWN : `${number(value)} /s`;
}

export function milliseconds(value) {
    return value === null || value === undefined ? UNKNOWN : `${number(value)} ms`;
}

export function bytes(value) {
    if (value === null || value === undefined) {
        return UNKNOWN;
    }
    let size = value;
    for (const unit of ["B", "kB", "MB", "GB"]) {
        if (size < 1000) {
            return `${unit === "B" ? PLAIN.format(size) : number(size)} ${unit}`;
        }
        size /= 1000;
    }
    return `${number(size)} TB`;
}

export function bytesPerSecond(value) {
    return value === null || value === undefined ? UNKNOWN : `${bytes(value)}/s`;
}

// A number of seconds, in its two largest units.
export function duration(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    const parts = [
        [Math.floor(whole / 86400), "d"],
        [Math.floor(whole / 3600) % 24, "h"],
        [Math.floor(whole / 60) % 60, "min"],
        [whole % 60, "s"],
    ];
    const first = parts.findIndex(([amount]) => amount > 0);
    if (first < 0) {
        return "0 s";
    }
    const shown = parts.slice(first, first + 2).filter(([amount]) => amount > 0);
    return shown.map(([amount, unit]) => `${amount} ${unit}`).join(" ");
}

// The seconds of a duration in Go's format, like "1m18.5s".
export function goSeconds(text) {
    const sizes = { h: 3600, m: 60, s: 1, ms: 1e-3, "µs": 1e-6, ns: 1e-9 };
    return [...text.matchAll(/([\d.]+)(ms|µs|ns|h|m|s)/g)].reduce((sum, part) => sum + part[1] * sizes[part[2]], 0);
}
