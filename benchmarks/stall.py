"""
Measures the longest time for which the reactor is held up while a snapshot is taken, in the server's own process.

The server runs through L{benchmarks.turns}. L{benchmarks.probe} measures the same from outside.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from benchmarks import load, probe, tables, turns
from benchmarks.answers import NO_SNAPSHOT, PROBE_SECONDS, say
from benchmarks.errors import BenchmarkError
from benchmarks.servers import EtcdTwisted
from benchmarks.throughput import fill


class Observed(EtcdTwisted):
    """The server, with its reactor's turns written down."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "benchmarks.turns", str(self.notes), *self.arguments()]

    @property
    def notes(self) -> Path:
        """The path of the notes of L{turns}."""
        return self.directory / "turns"


@attrs.frozen
class Window:
    """
    A period in which something was going on.

    @ivar what: its name, for people.
    @ivar began: in seconds of C{time.monotonic}.
    @ivar ended: likewise.
    """

    what: str
    began: float
    ended: float


@attrs.frozen
class Longest:
    """
    The worst of a period, in seconds; the two need not be of the same turn.

    @ivar gap: between two calls.
    @ivar cpu: the processor time that the reactor's thread took between two calls.
    """

    gap: float
    cpu: float


def longest(noted: Sequence[turns.Turn], window: Window) -> Longest:
    """
    Returns the worst of the turns that lie in a period, wholly or in part.

    @raise BenchmarkError: there is none.
    """
    inside = [turn for turn in noted if turn.ended >= window.began and turn.ended - turn.gap <= window.ended]
    if not inside:
        raise BenchmarkError(f"no turn of the reactor was noted: {window.what}")
    return Longest(max(turn.gap for turn in inside), max(turn.cpu for turn in inside))


def measure(server: Observed, keys: int, snapshot_count: int) -> list[tuple[Window, Longest]]:
    """
    Fills a server and goes on writing, with snapshots and in one process, so that the garbage collector has to look at
    what was just written. Then, for comparison, writes without snapshots.

    @raise BenchmarkError: there was no snapshot where there should be.
    """
    server.start(["--snapshot-count", str(snapshot_count)])
    windows = [_window(server, f"{keys:,} keys are written, with snapshots", lambda: fill(server, keys))]
    windows.append(_window(server, "idle", lambda: server.rest(PROBE_SECONDS)))
    before = server.snapshots()
    windows.append(_window(server, "writes and snapshots", lambda: _write(server)))
    if not server.snapshots() - before:
        raise BenchmarkError(f"no snapshot in {PROBE_SECONDS} s of writing: use a smaller --snapshot-count")
    server.stop()
    noted = turns.read(server.notes)
    server.start(["--snapshot-count", str(NO_SNAPSHOT)], ready=probe.PATH)
    windows.append(_window(server, "writes, no snapshot, after a restart", lambda: _write(server)))
    server.stop()
    noted += turns.read(server.notes)
    return [(window, longest(noted, window)) for window in windows]


def _window(server: Observed, what: str, work: Callable[[], object]) -> Window:
    say(server, what)
    began = time.monotonic()
    work()
    return Window(what, began, time.monotonic())


def _write(server: Observed) -> None:
    load.run(server.url, "PUT", probe.WRITERS, PROBE_SECONDS)


def run(directory: Path, keys: int, snapshot_count: int) -> str:
    """
    Measures in a server of its own.

    @return: the table.
    """
    with Observed(directory) as server:
        measured = measure(server, keys, snapshot_count)
    rows = [["what went on", "longest turn, ms", "most processor time in a turn, ms"]]
    rows += [[window.what, f"{worst.gap * 1000:.1f}", f"{worst.cpu * 1000:.1f}"] for window, worst in measured]
    return f"{keys:,} keys of {load.VALUE_BYTES} bytes\n{tables.aligned(rows)}"
