"""
The lines about many keys and many watchers, in as few minutes as five rounds allow: C{python -m benchmarks large}.

What takes long is done once for each server: it is filled with keys, and has the data from which it is restarted. A
server that was filled stands still (C{SIGSTOP}) while another one is measured, so here too only one runs at a time.
This module must never leave one of them behind.
"""

import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import keys, load
from benchmarks.comparison import Figures, Line, Part
from benchmarks.growth import Shape, fill
from benchmarks.many import CELL, FEW, TARGETS, flat_line
from benchmarks.servers import KINDS, Server
from benchmarks.throughput import figures, lines
from benchmarks.throughput import fill as fill_one_directory


class Large:
    """The servers that are kept for all rounds, from C{with} to its end."""

    def __init__(self, directory: Path) -> None:
        """
        @param directory: where their data goes.
        """
        self._directory = directory
        self._filled: dict[tuple[str, int], Server] = {}
        self._killed: dict[tuple[str, int], Server] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with ExitStack() as ends:  # each of them ends, whatever becomes of the others
            for server in self._filled.values():
                ends.callback(server.kill)

    def parts(self, counts: Sequence[int], seconds: int, restarted: int) -> list[Part]:
        """
        Returns what is measured.

        @param counts: numbers of keys, for writes.
        @param seconds: how long a server is loaded, each time.
        @param restarted: how many keys a server has that is restarted.
        @raise BenchmarkError: there is no program to load it with.
        """
        load.executable()
        shown: list[Line] = []
        for count in counts:
            shown += lines(f"{count:,} keys", CELL, TARGETS.get(count))
            shown.append(flat_line(count))
        return [
            Part(tuple(shown), partial(self._loads, counts, seconds)),
            Part((keys.worst_line(restarted),), partial(self._restart, restarted)),
        ]

    def _loads(self, counts: Sequence[int], seconds: int, name: str, _directory: Path) -> Figures:
        few = self._loaded(FEW, seconds, name)
        found: list[float | None] = []
        for count in counts:
            many = self._loaded(Shape(keys=count, connections=CELL.connections), seconds, name)
            found += [*figures(CELL, many), many.rate / few.rate]
        return found

    def _loaded(self, shape: Shape, seconds: int, name: str) -> load.Throughput:
        kept = self._filled.pop((name, shape.keys), None)
        server = kept or KINDS[name](self._directory / f"filled{shape.keys}")
        with _removed_after_failure(server):
            if kept is None:
                server.start()
                fill(server, shape)
            else:
                server.send_signal(signal.SIGCONT)
                server.wait_until_serving()
            found = load.warmed(server.url, "growth", shape.connections, seconds, shape.environment(CELL.verb))
            server.send_signal(signal.SIGSTOP)
        self._filled[name, shape.keys] = server
        return found

    def _restart(self, count: int, name: str, _directory: Path) -> Figures:
        """Returns the seconds from the start of the process, with data of the worst moment, until it serves."""
        server = self._killed.get((name, count))
        if server is None:
            server = KINDS[name](self._directory / f"killed{count}")
            with _removed_after_failure(server):
                server.start(keys.OPTIONS)
                fill_one_directory(server, count)
                keys.write_until_worst(server, count)
                server.kill()
                server.data.rename(server.directory / "kept")
            self._killed[name, count] = server
        shutil.copytree(server.directory / "kept", server.data)
        try:
            took = server.start(keys.OPTIONS, f"/v2/keys/bench/k{count - 1}")
            server.kill()
            return (took,)
        finally:
            shutil.rmtree(server.data)


@contextmanager
def _removed_after_failure(server: Server) -> Iterator[None]:
    """Kill a server that has failed, and remove its data, so that another one can be tried."""
    try:
        yield
    except BaseException:
        if server.running:
            server.kill()
        shutil.rmtree(server.directory)
        raise
