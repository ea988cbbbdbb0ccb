"""
Measures whether a write costs more the more keys there are: the requests per second of one machine that has many keys,
and before, when it has a thousand.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import load
from benchmarks.comparison import AtLeast, Figures, Line, Part
from benchmarks.growth import Shape, fill
from benchmarks.servers import KINDS, Server
from benchmarks.throughput import Cell, figures, lines

CELL = Cell("PUT", 64)
FEW = Shape(connections=CELL.connections)

TARGETS = {100_000: AtLeast(1.0, 1.25), 1_000_000: AtLeast(1.0, 1.2)}
FLAT_TARGETS = {100_000: AtLeast(0.85, 0.95, own=True), 1_000_000: AtLeast(0.7, 0.85, own=True)}
"""The targets, by the number of keys."""


def parts(counts: Sequence[int], seconds: int) -> list[Part]:
    """
    Returns what is measured.

    @param counts: the numbers of keys.
    @param seconds: how long a server is loaded, each time.
    @raise BenchmarkError: there is no program to load it with.
    """
    load.executable()
    return [
        Part(
            (
                *lines(f"{count:,} keys", CELL, TARGETS.get(count)),
                flat_line(count),
            ),
            partial(_measure, count, seconds),
        )
        for count in counts
    ]


def flat_line(count: int) -> Line:
    """Returns the line of what is left with so many keys of the rate with few."""
    return Line(f"{count:,} keys, {CELL}, to 1,000 keys", "", 2, FLAT_TARGETS.get(count), compared=False)


def _measure(count: int, seconds: int, name: str, directory: Path) -> Figures:
    with KINDS[name](directory) as server:
        server.start()
        few = _loaded(server, FEW, seconds)
        many = _loaded(server, Shape(keys=count, connections=CELL.connections), seconds)
        return *figures(CELL, many), many.rate / few.rate


def _loaded(server: Server, shape: Shape, seconds: int) -> load.Throughput:
    fill(server, shape)
    return load.warmed(server.url, "growth", shape.connections, seconds, shape.environment(CELL.verb))
