"""
The longest time for which the reactor is held while a snapshot is taken, measured in the server's own process.

Runs the server through L{benchmarks.turns}. L{benchmarks.probe} is the same question asked from outside.
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
from etcd_twisted.testing.machine_process import TWISTD


class Observed(EtcdTwisted):
    """The server, with its reactor's turns written down."""

    def command(self) -> list[str]:
        arguments = super().command()[len(TWISTD) :]
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
    Fill a server and go on writing, with snapshots and in one process: what was just written is what the garbage
    collector has to look at. Then, for comparison, write without snapshots.

    @raise BenchmarkError: when there was no snapshot where there should be.
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
    Measure in a server of its own.

    @return: the table.
    """
    with Observed(directory) as server:
        measured = measure(server, keys, snapshot_count)
    rows = [["what went on", "longest turn, ms", "most processor time in a turn, ms"]]
    rows += [[window.what, f"{worst.gap * 1000:.1f}", f"{worst.cpu * 1000:.1f}"] for window, worst in measured]
    return f"{keys:,} keys of {load.VALUE_BYTES} bytes\n{tables.aligned(rows)}"
