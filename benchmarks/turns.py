"""
Runs C{etcd-twisted} and measures its reactor from inside: C{python -m benchmarks.turns FILE [its arguments]}.

The service is the real one, started as always; beside it a timed call notes when it is called, and how much processor
time the reactor's thread took since the call before. The notes are written to FILE when the service stops, and are
read by L{benchmarks.stall}. This costs the service a few microseconds each millisecond, and must never do more while
it runs: no output, nothing that makes the garbage collector work.
"""

import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import attrs
from twisted.internet.interfaces import IReactorCore, IReactorTime

from etcd_twisted.__main__ import main as run_machine

PAUSE_SECONDS = 0.001


@attrs.frozen
class Turn:
    """
    What happened between two calls.

    @ivar ended: when the later one came, in seconds of C{time.monotonic}, which all processes share.
    @ivar gap: seconds between them; at least L{PAUSE_SECONDS}.
    @ivar cpu: the processor time that the reactor's thread took meanwhile, in seconds. A gap that is much longer was
        spent waiting: for a core, for the interpreter's lock, or for the disk.
    """

    ended: float
    gap: float
    cpu: float


class Notes:
    """The times of all calls."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._ended = array("d")
        self._cpu = array("d")

    def note(self) -> None:
        """Writes down this moment, and arranges for the next one."""
        self._ended.append(time.monotonic())
        self._cpu.append(time.thread_time())
        self._clock.callLater(PAUSE_SECONDS, self.note)

    def save(self, path: Path) -> None:
        """Writes the notes to the file."""
        with path.open("wb") as file:
            self._ended.tofile(file)
            self._cpu.tofile(file)


def read(path: Path) -> list[Turn]:
    """
    Reads what L{Notes.save} wrote.

    @raise OSError: nothing was saved.
    """
    both = array("d", path.read_bytes())
    half = len(both) // 2
    ended, cpu = both[:half], both[half:]
    return [Turn(ended[i], ended[i] - ended[i - 1], cpu[i] - cpu[i - 1]) for i in range(1, half)]


def main(path: Path, arguments: Sequence[str]) -> None:
    """
    Runs a machine, and saves the notes when its reactor has stopped.

    @param arguments: those of C{etcd-twisted}.
    """
    # To import this installs a reactor, which a test must not do.
    from twisted.internet import reactor  # noqa: PLC0415

    notes = Notes(cast(IReactorTime, reactor))
    core = cast(IReactorCore, reactor)
    core.callWhenRunning(notes.note)
    core.addSystemEventTrigger("after", "shutdown", notes.save, path)
    sys.argv = ["etcd-twisted", *arguments]
    run_machine()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
