"""
How cost grows: requests per second as keys, directories, values and connections become many, or large.

One of these is varied at a time; a line whose figures fall faster than the work for one request grows shows something
that should not depend on it.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from benchmarks import crowd, load, tables
from benchmarks.errors import BenchmarkError
from benchmarks.servers import KINDS, Server
from benchmarks.throughput import middle

METHODS = ("PUT", "GET")


@attrs.frozen
class Shape:
    """
    What is there, and who asks.

    @ivar keys: how many there are.
    @ivar children: how many keys a directory has.
    @ivar value: how long each value is, in bytes.
    @ivar connections: how many there are.
    """

    keys: int = 1_000
    children: int = 1_000
    value: int = 64
    connections: int = 64

    def environment(self, method: str) -> dict[str, str]:
        """What C{growth.lua} is told."""
        return {
            "GROWTH_METHOD": method,
            "GROWTH_KEYS": str(self.keys),
            "GROWTH_CHILDREN": str(self.children),
            "GROWTH_VALUE": str(self.value),
        }

    def requests(self) -> Iterator[bytes]:
        """Those that write all keys."""
        value = "x" * self.value
        for number in range(self.keys):
            directory, child = divmod(number, self.children)
            yield crowd.put(f"/v2/keys/grow/d{directory}/k{child}", value)


def series(most_keys: int) -> dict[str, list[Shape]]:
    """
    What is varied, and how.

    @param most_keys: how many keys there are at the most.
    """
    counts = [count for count in (1_000, 100_000, 1_000_000) if count <= most_keys]
    return {
        "keys": [Shape(keys=count) for count in counts],
        "children": [Shape(keys=min(most_keys, 100_000), children=count) for count in (10, 1_000, 100_000)],
        "value": [Shape(value=length) for length in (64, 4_096, 100_000)],
        "connections": [Shape(connections=count) for count in (10, 100, 1_000, 10_000)],
    }


def run(names: Sequence[str], directory: Path, rounds: int, seconds: int, most_keys: int) -> str:
    """
    Measure, with a new server of each kind for each shape.

    @param names: of L{KINDS}.
    @param seconds: how long each server is loaded each time.
    @param most_keys: see L{series}.
    @return: the table.
    """
    load.executable()
    heads = [f"{KINDS[name].version()} {method} /s" for name in names for method in METHODS]
    rows = [["", *heads]]
    for varied, shapes in series(most_keys).items():
        for shape in shapes:
            at = f"{varied} {getattr(shape, varied):,}"
            rates = [rate for name in names for rate in _rates(name, directory / at, shape, rounds, seconds)]
            line = tables.Line(at, tuple(rates))
            rows.append([line.work, *line.cells()])
    return tables.aligned(rows)


def _rates(name: str, directory: Path, shape: Shape, rounds: int, seconds: int) -> list[float]:
    """The rates of each of L{METHODS}."""
    with ExitStack() as stack:
        server = stack.enter_context(KINDS[name](directory))
        server.start()
        _fill(server, shape)
        return [_rate(server, shape, method, rounds, seconds) for method in METHODS]


def _fill(server: Server, shape: Shape) -> None:
    written = crowd.write_all(server.port, shape.requests())
    if written != shape.keys:
        raise BenchmarkError(f"{server.name} took {written} of {shape.keys} keys")


def _rate(server: Server, shape: Shape, method: str, rounds: int, seconds: int) -> float:
    runs = [
        load.run(server.url, "growth", shape.connections, seconds, shape.environment(method)) for _ in range(rounds)
    ]
    rate = middle(runs).rate
    print(f"{shape}: {method}: {server.name} {rate:,.0f}/s", file=sys.stderr)
    return rate
