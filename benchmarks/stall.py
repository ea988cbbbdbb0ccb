"""
The longest time for which the reactor is held while a snapshot is taken, measured in the server's own process.

Runs the server through L{benchmarks.turns}. L{benchmarks.probe} is the same question asked from outside.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from benchmarks import load, probe, tables, turns
from benchmarks.errors import BenchmarkError
from benchmarks.keys import NO_SNAPSHOT, PROBE_SECONDS, say
from benchmarks.servers import EtcdTwisted
from benchmarks.throughput import fill


class Observed(EtcdTwisted):
    """The server, with its reactor's turns written down."""

    def command(self) -> list[str]:
        _twistd, *arguments = super().command()
        return [sys.executable, "-m", "benchmarks.turns", str(self.notes), *arguments]

    @property
    def notes(self) -> Path:
        """Where L{turns} writes."""
        return self.directory / "turns"


@attrs.frozen
class Window:
    """
    A while in which something was going on.

    @ivar what: for people.
    @ivar began: in seconds of C{time.monotonic}.
    @ivar ended: likewise.
    """

    what: str
    began: float
    ended: float


@attrs.frozen
class Longest:
    """
    The worst of a window, in seconds; the two need not be of the same turn.

    @ivar gap: between two calls.
    @ivar cpu: the processor time that the reactor's thread took between two calls.
    """

    gap: float
    cpu: float


def longest(noted: Sequence[turns.Turn], window: Window) -> Longest:
    """
    The worst of the turns that lie in a window, wholly or in part.

    @raise BenchmarkError: when there is none.
    """
    inside = [turn for turn in noted if turn.ended >= window.began and turn.ended - turn.gap <= window.ended]
    if not inside:
        raise BenchmarkError(f"no turn of the reactor was noted: {window.what}")
    return Longest(max(turn.gap for turn in inside), max(turn.cpu for turn in inside))


def measure(server: Observed, keys: int, snapshot_count: int) -> list[tuple[Window, Longest]]:
    """
    Fill a server, then look at it idle, writing, and writing across snapshots.

    @raise BenchmarkError: when there was no snapshot where there should be.
    """
    say(server, f"writing {keys:,} keys")
    server.start()
    fill(server, keys)
    server.stop()
    say(server, "the reactor's turns")
    server.start(["--snapshot-count", str(NO_SNAPSHOT)], ready=probe.PATH)
    began = time.monotonic()
    server.rest(PROBE_SECONDS)
    windows = [Window("idle", began, time.monotonic())]
    windows.append(_writing(server, "writes"))
    server.stop()
    noted = turns.read(server.notes)
    before = server.snapshots()
    server.start(["--snapshot-count", str(snapshot_count)], ready=probe.PATH)
    windows.append(_writing(server, "writes and snapshots"))
    if not server.snapshots() - before:
        raise BenchmarkError(f"no snapshot in {PROBE_SECONDS} s of writing: use a smaller --snapshot-count")
    server.stop()
    noted += turns.read(server.notes)
    return [(window, longest(noted, window)) for window in windows]


def _writing(server: Observed, what: str) -> Window:
    began = time.monotonic()
    load.run(server.url, "PUT", probe.WRITERS, PROBE_SECONDS)
    return Window(what, began, time.monotonic())


def run(directory: Path, keys: int, snapshot_count: int) -> str:
    """
    Measure in a server of its own.

    @return: the table.
    """
    with Observed(directory) as server:
        measured = measure(server, keys, snapshot_count)
    rows = [["reactor", "longest turn, ms", "most processor time in a turn, ms"]]
    rows += [[window.what, f"{worst.gap * 1000:.1f}", f"{worst.cpu * 1000:.1f}"] for window, worst in measured]
    return f"{keys:,} keys of {load.VALUE_BYTES} bytes\n{tables.aligned(rows)}"
