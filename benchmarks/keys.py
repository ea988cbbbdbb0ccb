"""
Measures what a large key space costs: memory, and a restart after a crash, also at the worst moment, when the next
snapshot is nearly due and the log since the last one is as long as it becomes.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks import crowd, load
from benchmarks.comparison import AtMost, Line, Part
from benchmarks.errors import BenchmarkError
from benchmarks.servers import KINDS, Server
from benchmarks.throughput import fill

SETTLE_SECONDS = 5.0
"""
How long a server is left alone after the last write, until a snapshot that the writes have caused is there.

etcd takes its first after 100,000 entries, seconds after the last of 100,000 keys was written.
"""

OPTIONS: tuple[str, ...] = ()
"""What the servers are started with."""

BATCH = 2_000
"""After how many writes the benchmark looks for a new snapshot."""

MOST_WRITES = 2_000_000
"""How many writes may have to come before a snapshot."""

ALMOST = 0.9
"""How much of the way to the next snapshot is the worst moment: not all, as the way is not always as long."""

MEMORY_TARGETS = {100_000: AtMost(1.0, 0.7)}
RESTART_TARGETS = {100_000: AtMost(1.0, 0.5)}
WORST_TARGETS = {100_000: AtMost(0.6, 0.4, limit=1.5)}
"""The lines, by the number of keys."""


def parts(counts: Sequence[int]) -> list[Part]:
    """
    Returns what is measured.

    @param counts: the numbers of keys.
    """
    return [Part(_lines(keys), partial(_measure, keys)) for keys in counts]


def _lines(keys: int) -> tuple[Line, ...]:
    restart = f"{keys:,} keys, restart after kill -9"
    return (
        Line(f"{keys:,} keys, resident memory", " MB", 0, MEMORY_TARGETS.get(keys)),
        Line(restart, " s", 2, RESTART_TARGETS.get(keys)),
        worst_line(keys),
    )


def worst_line(keys: int) -> Line:
    """Returns the line of a restart at the worst moment."""
    return Line(f"{keys:,} keys, restart after kill -9 at the worst moment", " s", 2, WORST_TARGETS.get(keys))


def _measure(keys: int, name: str, directory: Path) -> tuple[float, float, float]:
    """Returns megabytes, and twice the seconds from the start of the process until it serves the last key."""
    ready = f"/v2/keys/bench/k{keys - 1}"
    with KINDS[name](directory) as server:
        server.start(OPTIONS)
        fill(server, keys)
        server.rest(SETTLE_SECONDS)
        memory = server.resident_bytes()
        server.kill()
        restart = server.start(OPTIONS, ready)
        write_until_worst(server, keys)
        server.kill()
        return memory / 1e6, restart, server.start(OPTIONS, ready)


def write_until_worst(server: Server, keys: int) -> None:
    """
    Writes the keys again, until there was a snapshot, and then for most of the way to the next.

    @raise BenchmarkError: the server refuses a write, or takes no snapshot.
    """
    requests = _requests(keys)
    _until_snapshot(server, requests)
    written = _until_snapshot(server, requests)
    crowd.write_all(server.port, itertools.islice(requests, int(ALMOST * written)))


def _requests(keys: int) -> Iterator[bytes]:
    value = "y" * load.VALUE_BYTES
    return (crowd.put(f"/v2/keys/bench/k{each}", value) for each in itertools.cycle(range(keys)))


def _until_snapshot(server: Server, requests: Iterator[bytes]) -> int:
    """Writes until there is a new snapshot, and returns how many writes there were."""
    before = server.snapshots()
    written = 0
    while server.snapshots() <= before:
        if written >= MOST_WRITES:
            raise BenchmarkError(f"{server.name} took no snapshot in {written:,} writes")
        written += crowd.write_all(server.port, itertools.islice(requests, BATCH))
    return written
