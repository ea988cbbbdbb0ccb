"""
Measures how a large key space affects answers: a recursive listing of it, and the stall of a snapshot.

Each server is measured alone, while the other one does not run.
"""

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from benchmarks import crowd, load, probe, tables
from benchmarks.errors import BenchmarkError
from benchmarks.servers import KINDS, Server
from benchmarks.throughput import fill

LISTING = "/v2/keys/bench?recursive=true"
LISTINGS = 3
PROBE_SECONDS = 5

NO_SNAPSHOT = 100_000_000
"""A snapshot count that a measurement never reaches."""

_MEGABYTE = 1e6


@attrs.frozen
class Result:
    """
    One server's figures; answer times in milliseconds.

    @ivar listing: seconds until the whole body of a recursive listing was read, the median of a few.
    @ivar listing_bytes: the size of that body.
    @ivar listed_memory: resident memory, in bytes, after the listings.
    @ivar snapshots: how many were taken while C{snapshotting} was measured.
    """

    listing: float
    listing_bytes: int
    listed_memory: int
    quiet: probe.Answers
    writing: probe.Answers
    snapshotting: probe.Answers
    snapshots: int


def listing(server: Server, keys: int) -> tuple[float, int]:
    """
    Returns the median time of a few recursive listings, in seconds, and a listing's size in bytes.

    @raise BenchmarkError: a listing does not hold all keys.
    """
    times = []
    with crowd.Connection(server.port) as connection:
        for _ in range(LISTINGS):
            times.append(connection.ask(crowd.get(LISTING)))
            listed = connection.body.count(b'"key":"/bench/k')
            if listed != keys:
                raise BenchmarkError(f"{server.name} listed {listed} of {keys} keys")
    return statistics.median(times), len(connection.body)


def measure(server: Server, keys: int, snapshot_count: int) -> Result:
    """
    Fills one server and takes all its figures.

    @param snapshot_count: how many writes lead from one snapshot to the next while stalls are measured.
    """
    say(server, f"writing {keys:,} keys")
    server.start()
    fill(server, keys)
    say(server, "listing")
    seconds, size = listing(server, keys)
    listed_memory = server.resident_bytes()
    server.stop()
    say(server, "answer times")
    server.start(["--snapshot-count", str(NO_SNAPSHOT)], ready=probe.PATH)
    quiet = probe.quiet(server, PROBE_SECONDS)
    writing, _none = probe.writing(server, PROBE_SECONDS)
    server.stop()
    server.start(["--snapshot-count", str(snapshot_count)], ready=probe.PATH)
    snapshotting, snapshots = probe.snapshotting(server, PROBE_SECONDS)
    server.stop()
    return Result(seconds, size, listed_memory, quiet, writing, snapshotting, snapshots)


def say(server: Server, what: str) -> None:
    """Prints what goes on, for whoever waits."""
    print(f"{time.strftime('%H:%M:%S')} {server.name}: {what}", file=sys.stderr)


def table(results: Sequence[Result], heads: Sequence[str], keys: int) -> str:
    """Returns a table with one line for each figure."""

    def line(work: str, decimals: int, *figures: float) -> tables.Line:
        return tables.Line(work, figures, decimals)

    lines = [
        line("resident memory after listing, MB", 0, *(each.listed_memory / _MEGABYTE for each in results)),
        line("recursive listing, s", 3, *(each.listing for each in results)),
        line("size of the listing, MB", 1, *(each.listing_bytes / _MEGABYTE for each in results)),
        line("slowest answer, quiet, ms", 1, *(each.quiet.slowest for each in results)),
        line("slowest answer, writes, ms", 1, *(each.writing.slowest for each in results)),
        line("slowest answer, writes and snapshots, ms", 1, *(each.snapshotting.slowest for each in results)),
        line("median answer, writes and snapshots, ms", 2, *(each.snapshotting.median for each in results)),
        line("snapshots taken meanwhile", 0, *(each.snapshots for each in results)),
    ]
    return f"{keys:,} keys of {load.VALUE_BYTES} bytes\n{tables.compared(lines, heads)}"


def run(names: Sequence[str], directory: Path, keys: int, snapshot_count: int) -> str:
    """
    Measures one server after the other.

    @param names: of L{KINDS}.
    @return: the table.
    """
    results = []
    for name in names:
        with KINDS[name](directory) as server:
            results.append(measure(server, keys, snapshot_count))
    return table(results, [KINDS[name].version() for name in names], keys)
