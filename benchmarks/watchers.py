"""
Measures what waiting watchers cost: memory for each, and how long until the last of them sees one change.

All watch the same key by long poll, each on its own connection.
"""

import gc
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import crowd, files
from benchmarks.comparison import AtMost, Line, Part
from benchmarks.errors import BenchmarkError
from benchmarks.servers import KINDS

PATH = "/v2/keys/watched"
WATCH = crowd.get(f"{PATH}?wait=true")

BATCH = 50
"""Fewer than a listening socket's usual queue of new connections."""

WAIT_SECONDS = 60.0
"""The longest wait for any one thing."""

MEMORY_TARGETS = {5_000: AtMost(0.6, 0.4)}
TOLD_TARGETS = {5_000: AtMost(0.9, 0.7)}
"""The lines, by the number of watchers."""


def arm(watchers: crowd.Crowd, waiting: Sequence[crowd.Connection]) -> None:
    """Sends a watch on each connection, and waits until all are accepted: a watch's headers are sent when it waits."""
    left = {connection: connection.accepted + 1 for connection in waiting}
    for connection in waiting:
        connection.send(WATCH)
    for connection in watchers.read_until(lambda: not left, WAIT_SECONDS):
        if connection.accepted == left.get(connection):
            del left[connection]


def gather(watchers: crowd.Crowd, count: int) -> list[crowd.Connection]:
    """Connects and arms as many watchers, a few at a time, so that no queue of new connections overflows."""
    gathered: list[crowd.Connection] = []
    while len(gathered) < count:
        batch = [watchers.connect() for _ in range(min(BATCH, count - len(gathered)))]
        arm(watchers, batch)
        gathered += batch
    return gathered


def tell(watchers: crowd.Crowd, writer: crowd.Connection, value: str) -> float:
    """
    Changes the key, and waits until every connection in the crowd has one whole answer: the writer and all watchers.

    @param writer: a connection of the crowd that does not watch.
    @return: seconds from before the change was sent.
    @raise BenchmarkError: an answer has something else.
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


def parts(count: int, changes: int) -> list[Part]:
    """
    Returns what is measured, of a new server each time.

    @param count: how many watchers.
    @param changes: how many changes they see, and are armed again before each.
    @raise BenchmarkError: this process may not open as many files.
    """
    files.allow(count)
    lines = (
        Line(f"{count:,} watchers, memory for each", " kB", 1, MEMORY_TARGETS.get(count)),
        Line(f"{count:,} watchers, the last one told", " ms", 0, TOLD_TARGETS.get(count)),
    )
    return [Part(lines, partial(_measure, count, changes))]


def _measure(count: int, changes: int, name: str, directory: Path) -> tuple[float, float]:
    """
    Returns kilobytes for each watcher, and milliseconds until the last one sees a change: the median of the changes.
    """
    with KINDS[name](directory) as server, crowd.Crowd(server.port) as watchers:
        server.start()
        files.check(server, count)
        writer = watchers.connect()
        writer.ask(crowd.put(PATH, "first"))
        before = server.resident_bytes()
        waiting = gather(watchers, count)
        memory = (server.resident_bytes() - before) / count
        told = statistics.median(_told(watchers, writer, waiting, changes))
    return memory / 1e3, told * 1e3


def _told(
    watchers: crowd.Crowd, writer: crowd.Connection, waiting: Sequence[crowd.Connection], changes: int
) -> list[float]:
    """Returns the seconds of each change, while the watchers wait already."""
    # What the watchers are made of is frozen, so that no collection has to look at it meanwhile.
    gc.freeze()
    try:
        times = [tell(watchers, writer, "change0")]
        for change in range(1, changes):
            arm(watchers, waiting)
            times.append(tell(watchers, writer, f"change{change}"))
    finally:
        gc.unfreeze()
    return times
