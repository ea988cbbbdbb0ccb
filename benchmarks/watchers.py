"""
What waiting watchers cost: memory for each, and how long until the last of them is told of one change.

All watch the same key by long poll, each on its own connection; each server is measured alone.
"""

import gc
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from benchmarks import crowd, tables
from benchmarks.errors import BenchmarkError
from benchmarks.servers import KINDS, Server

PATH = "/v2/keys/watched"
WATCH = crowd.get(f"{PATH}?wait=true")

SPARE_FILES = 200
"""Descriptors that a process needs beside one for each watcher."""

BATCH = 50
"""Fewer than a listening socket's usual queue of new connections."""

WAIT_SECONDS = 60.0
"""The longest wait for any one thing."""


@attrs.frozen
class Result:
    """
    One server's figures.

    @ivar memory: resident memory for each watcher, in bytes.
    @ivar told: for each change, seconds from sending it until the last watcher had its whole answer.
    """

    memory: float
    told: list[float]


def allow_files(count: int) -> None:
    """
    Raise this process's limit of open files, and so that of the servers that it starts.

    @raise BenchmarkError: when the hard limit forbids it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchmarkError(
            f"{count} open files are needed, the hard limit is {hard}: raise it (ulimit -Hn) or use fewer --watchers"
        )
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def check_files(server: Server, count: int) -> None:
    """
    See that a server that runs may open as many files.

    @raise BenchmarkError: when it may not.
    """
    soft, _hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        raise BenchmarkError(f"{server.name} may open {soft} files, {count} are needed: raise the limit (ulimit -n)")


def arm(watchers: crowd.Crowd, waiting: Sequence[crowd.Connection]) -> None:
    """Send a watch on each connection, and wait until all are accepted: a watch's headers are sent when it waits."""
    left = {connection: connection.accepted + 1 for connection in waiting}
    for connection in waiting:
        connection.send(WATCH)
    for connection in watchers.read_until(lambda: not left, WAIT_SECONDS):
        if connection.accepted == left.get(connection):
            del left[connection]


def gather(watchers: crowd.Crowd, count: int) -> list[crowd.Connection]:
    """Connect and arm as many watchers, a few at a time, so that no queue of new connections overflows."""
    gathered: list[crowd.Connection] = []
    while len(gathered) < count:
        batch = [watchers.connect() for _ in range(min(BATCH, count - len(gathered)))]
        arm(watchers, batch)
        gathered += batch
    return gathered


def tell(watchers: crowd.Crowd, writer: crowd.Connection, value: str) -> float:
    """
    Change the key, and wait until everybody in the crowd has one whole answer: the writer and all watchers.

    @param writer: a connection of the crowd that does not watch.
    @return: seconds from before the change was sent.
    @raise BenchmarkError: when somebody was told something else.
    """
    left = {connection: connection.answered + 1 for connection in watchers}
    began = time.perf_counter()
    writer.send(crowd.put(PATH, value))
    for connection in watchers.read_until(lambda: not left, WAIT_SECONDS):
        if connection.answered == left.get(connection):
            del left[connection]
    took = time.perf_counter() - began
    wrong = [connection.body for connection in watchers if f'"value":"{value}"'.encode() not in connection.body]
    if wrong:
        raise BenchmarkError(f"{len(wrong)} of {len(watchers)} were not told of the change but {wrong[0]!r}")
    return took


def measure(server: Server, count: int, changes: int) -> Result:
    """
    Take one server's figures.

    @param count: how many watchers.
    @param changes: how many times they are told, and armed again before each.
    """
    server.start()
    check_files(server, count + SPARE_FILES)
    with crowd.Crowd(server.port) as watchers:
        writer = watchers.connect()
        writer.ask(crowd.put(PATH, "first"))
        before = server.resident_bytes()
        waiting = gather(watchers, count)
        memory = (server.resident_bytes() - before) / count
        # What the watchers are made of stays, so that no collection has to look at it while they are told.
        gc.freeze()
        told = []
        for change in range(changes):
            if change:
                arm(watchers, waiting)
            told.append(tell(watchers, writer, f"change{change}"))
            print(f"{server.name}: last of {count:,} told after {told[-1] * 1000:.0f} ms", file=sys.stderr)
    gc.unfreeze()
    server.stop()
    return Result(memory, told)


def table(results: Sequence[Result], heads: Sequence[str], count: int) -> str:
    """One line for each figure."""
    told = [each.told for each in results]
    lines = [
        tables.Line("memory for each, kB", tuple(each.memory / 1000 for each in results), 1),
        tables.Line("last one told, median, ms", tuple(statistics.median(times) * 1000 for times in told)),
        tables.Line("last one told, slowest, ms", tuple(max(times) * 1000 for times in told)),
    ]
    return f"{count:,} waiting watchers\n{tables.compared(lines, heads)}"


def run(names: Sequence[str], directory: Path, count: int, changes: int) -> str:
    """
    Measure one server after the other.

    @param names: of L{KINDS}.
    @return: the table.
    """
    allow_files(count + SPARE_FILES)
    results = []
    for name in names:
        with KINDS[name](directory) as server:
            results.append(measure(server, count, changes))
    return table(results, [KINDS[name].version() for name in names], count)
