"""
Measures the requests per second of one machine: PUT and GET of 64 bytes at several numbers of connections.

Each figure is from a new server, filled with the same keys and warmed by the same load.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import attrs

from benchmarks import crowd, load
from benchmarks.comparison import AtLeast, AtMost, Figures, Line, Part
from benchmarks.errors import BenchmarkError
from benchmarks.servers import KINDS, Server

VERBS = ("PUT", "GET")
CONNECTIONS = (1, 64, 256)


@attrs.frozen
class Cell:
    """One kind of load."""

    verb: str
    connections: int

    def __str__(self) -> str:
        return f"{self.verb}, {self.connections} connection{'' if self.connections == 1 else 's'}"


TARGETS = {
    Cell("PUT", 1): AtLeast(0.85, 1.2),
    Cell("PUT", 64): AtLeast(1.25, 1.5),
    Cell("PUT", 256): AtLeast(1.25, 1.5),
    Cell("GET", 64): AtLeast(1.7, 2.0),
}
P99_TARGETS = {Cell("PUT", 64): AtMost(0.6, 0.5)}


def lines(work: str, cell: Cell, target: AtLeast | None = None) -> tuple[Line, ...]:
    """
    Returns the lines of a load: its rate, and for writes the time within which 99 of 100 were answered, and for a
    lone writer half of them.

    @param work: what is loaded.
    @param target: of the rate; without one, the other lines have none either.
    """
    name = f"{work}, {cell}"
    shown = [Line(name, "/s", target=target)]
    if cell.verb == "PUT" and cell.connections == 1:
        shown.append(Line(f"{name}, p50", " ms", 2))
    if cell.verb == "PUT":
        shown.append(Line(f"{name}, p99", " ms", 2, None if target is None else P99_TARGETS.get(cell)))
    return tuple(shown)


def figures(cell: Cell, result: load.Throughput) -> Figures:
    """Returns the figures for L{lines}."""
    if cell.verb != "PUT":
        return (result.rate,)
    return (result.rate, result.p50, result.p99) if cell.connections == 1 else (result.rate, result.p99)


def parts(connections: Sequence[int], seconds: int) -> list[Part]:
    """
    Returns what is measured.

    @param seconds: how long a server is loaded.
    @raise BenchmarkError: there is no program to load it with.
    """
    load.executable()
    return [
        Part(lines("1 machine", cell, TARGETS.get(cell)), partial(_measure, cell, seconds))
        for cell in (Cell(verb, count) for verb in VERBS for count in connections)
    ]


def _measure(cell: Cell, seconds: int, name: str, directory: Path) -> Figures:
    with KINDS[name](directory) as server:
        server.start()
        fill(server, load.KEYS)
        return figures(cell, load.warmed(server.url, cell.verb, cell.connections, seconds))


def fill(server: Server, keys: int) -> None:
    """
    Writes the keys C{/bench/k0} and up.

    @raise BenchmarkError: the server does not accept them all.
    """
    value = "x" * load.VALUE_BYTES
    written = crowd.write_all(server.port, (crowd.put(f"/v2/keys/bench/k{each}", value) for each in range(keys)))
    if written != keys:
        raise BenchmarkError(f"{server.name} took {written} of {keys} keys")
