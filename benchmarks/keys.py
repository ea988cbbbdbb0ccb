"""
Measures what a large key space costs: memory, and a restart after a crash. Each figure is from a new server.
"""

from functools import partial
from pathlib import Path

from benchmarks.comparison import AtMost, Line, Part
from benchmarks.servers import KINDS
from benchmarks.throughput import fill

SETTLE_SECONDS = 5.0
"""
How long a server is left alone after the last write, until a snapshot that the writes have caused is there.

etcd takes its first after 100,000 entries, seconds after the last of 100,000 keys was written.
"""

MEMORY_TARGETS = {100_000: AtMost(1.0, 0.7)}
RESTART_TARGETS = {100_000: AtMost(1.0, 0.5)}
"""The lines, by the number of keys."""


def parts(keys: int) -> list[Part]:
    """Returns what is measured."""
    lines = (
        Line(f"{keys:,} keys, resident memory", " MB", 0, MEMORY_TARGETS.get(keys)),
        Line(f"{keys:,} keys, restart after kill -9", " s", 2, RESTART_TARGETS.get(keys)),
    )
    return [Part(lines, partial(_measure, keys))]


def _measure(keys: int, name: str, directory: Path) -> tuple[float, float]:
    """Returns megabytes, and the seconds from the start of the process until it serves the last key."""
    with KINDS[name](directory) as server:
        server.start()
        fill(server, keys)
        server.rest(SETTLE_SECONDS)
        memory = server.resident_bytes()
        server.kill()
        return memory / 1e6, server.start(ready=f"/v2/keys/bench/k{keys - 1}")
