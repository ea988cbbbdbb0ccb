// Reads figures from the Prometheus text of /metrics.

// The values by name: for a metric with labels, their sum. A name that the machine does not have has no entry.
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
