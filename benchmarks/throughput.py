"""
Measures the requests per second of one machine: PUT and GET of 64 bytes at several numbers of connections.

Each figure is from a new server, filled with the same keys and warmed by the same load.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import attrs

from benchmarks import crowd, load
from benchmarks.comparison import AtLeast, Line, Part
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
    Cell("PUT", 1): AtLeast(0.9, 1.2),
    Cell("PUT", 64): AtLeast(1.25, 1.5),
    Cell("PUT", 256): AtLeast(1.25, 1.5),
    Cell("GET", 64): AtLeast(0.9, 1.2),
}


def parts(connections: Sequence[int], seconds: int) -> list[Part]:
    """
    Returns what is measured.

    @param seconds: how long a server is loaded.
    @raise BenchmarkError: there is no program to load it with.
    """
    load.executable()
    return [
        Part((Line(f"1 machine, {cell}", "/s", target=TARGETS.get(cell)),), partial(_measure, cell, seconds))
        for cell in (Cell(verb, count) for verb in VERBS for count in connections)
    ]


def _measure(cell: Cell, seconds: int, name: str, directory: Path) -> list[float]:
    with KINDS[name](directory) as server:
        server.start()
        fill(server, load.KEYS)
        return [load.warmed(server.url, cell.verb, cell.connections, seconds).rate]


def fill(server: Server, keys: int) -> None:
    """
    Writes the keys C{/bench/k0} and up.

    @raise BenchmarkError: the server does not accept them all.
    """
    value = "x" * load.VALUE_BYTES
    written = crowd.write_all(server.port, (crowd.put(f"/v2/keys/bench/k{each}", value) for each in range(keys)))
    if written != keys:
        raise BenchmarkError(f"{server.name} took {written} of {keys} keys")
