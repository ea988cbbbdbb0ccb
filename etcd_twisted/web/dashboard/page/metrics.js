// Figures out of the Prometheus text of /metrics.

// The values by name. Of a metric with labels, the sum; a machine that has none of a name has no entry.
export function parseMetrics(text) {
    const values = new Map();
    for (const line of text.split("\n")) {
        const parts = /^([a-zA-Z_:][\w:]*)(?:\{.*\})? (\S+)/.exec(line);
        const value = parts ? Number(parts[2]) : NaN;
        if (!Number.isNaN(value)) {
            values.set(parts[1], (values.get(parts[1]) ?? 0) + value);
        }
    }
    return values;
}
