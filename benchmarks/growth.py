"""
Measures how cost grows: the requests per second as keys, directories, values and connections become many, or large.

One of these is varied at a time; a line whose figures fall faster than the work for one request grows shows something
that should not depend on it.
"""

import itertools
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from benchmarks import crowd, files, load, tables
from benchmarks.errors import BenchmarkError
from benchmarks.servers import KINDS, Server

METHODS = ("PUT", "GET")

FILL_SECONDS = 900.0
"""The longest time that a server may take to be filled."""


@attrs.frozen
class Shape:
    """
    The content of the key space, and the clients.

    @ivar keys: how many there are.
    @ivar children: how many keys a directory has.
    @ivar value: the length of each value, in bytes.
    @ivar connections: how many there are.
    """

    keys: int = 1_000
    children: int = 1_000
    value: int = 64
    connections: int = 64

    def environment(self, method: str) -> dict[str, str]:
        """Returns the environment of C{growth.lua}."""
        return {
            "GROWTH_METHOD": method,
            "GROWTH_KEYS": str(self.keys),
            "GROWTH_CHILDREN": str(self.children),
            "GROWTH_VALUE": str(self.value),
        }

    def requests(self) -> Iterator[bytes]:
        """Returns the requests that write all keys."""
        value = "x" * self.value
        for number in range(self.keys):
            directory, child = divmod(number, self.children)
            yield crowd.put(f"/v2/keys/grow/d{directory}/k{child}", value)


def series(most_keys: int) -> dict[str, list[Shape]]:
    """
    Returns what is varied, and how; the usual shape is in most of the series.

    @param most_keys: the largest number of keys.
    """
    many = min(most_keys, 100_000)
    return {
        "keys": [Shape(keys=count) for count in (1_000, 100_000, 1_000_000) if count <= most_keys],
        "children": [Shape(keys=many, children=count) for count in (10, 1_000, 100_000)],
        "value": [Shape(value=length) for length in (64, 4_096, 100_000)],
        "connections": [Shape(connections=count) for count in (10, 64, 1_000, 10_000)],
    }


def run(names: Sequence[str], directory: Path, rounds: int, seconds: int, most_keys: int) -> str:
    """
    Measures with a new server of each kind for each shape.

    @param names: of L{KINDS}.
    @param rounds: how often each server is loaded in each way; the median is shown.
    @param seconds: how long each time.
    @param most_keys: see L{series}.
    @return: the table.
    @raise BenchmarkError: a server can't be started or filled.
    """
    load.executable()
    varied = series(most_keys)
    shapes = list(dict.fromkeys(itertools.chain.from_iterable(varied.values())))
    files.allow(max(shape.connections for shape in shapes))
    measured = {
        shape: tuple(rate for name in names for rate in _rates(name, directory, shape, rounds, seconds))
        for shape in shapes
    }
    return table(varied, measured, [KINDS[name].version() for name in names])


def table(
    varied: Mapping[str, Sequence[Shape]], measured: Mapping[Shape, tuple[float | None, ...]], heads: Sequence[str]
) -> str:
    """
    Returns a table with one row for each shape of each series; with two servers, there is a ratio for each of
    L{METHODS}.

    @param measured: the rates of the servers, one after the other, by each of L{METHODS}.
    @param heads: the names of the servers.
    """
    ratios = [f"{method} ratio" for method in METHODS] if len(heads) == 2 else []
    rows = [["", *(f"{head} {method} /s" for head in heads for method in METHODS), *ratios]]
    for what, shapes in varied.items():
        for shape in shapes:
            rates = measured[shape]
            pairs = zip(rates[: len(METHODS)], rates[len(METHODS) :], strict=True) if ratios else ()
            cells = [*tables.Line(what, rates).cells(), *(tables.ratio(*pair) for pair in pairs)]
            rows.append([f"{what} {getattr(shape, what):,}", *cells])
    return tables.aligned(rows)


def _rates(name: str, directory: Path, shape: Shape, rounds: int, seconds: int) -> list[float | None]:
    """
    Returns the rates of each of L{METHODS}; C{None} where there is none, with the reason printed: half an hour is not
    lost for it.
    """
    with tempfile.TemporaryDirectory(dir=directory) as empty, KINDS[name](Path(empty)) as server:
        server.start()
        files.check(server, shape.connections)
        fill(server, shape)
        rates: list[float | None] = []
        for method in METHODS:
            try:
                rate = _rate(server, shape, method, rounds, seconds)
            except BenchmarkError as failure:
                rates.append(None)
                print(f"{shape}: {method}: {name}: {failure}", file=sys.stderr)
            else:
                rates.append(rate)
                print(f"{shape}: {method}: {name} {rate:,.0f}/s", file=sys.stderr)
        return rates


def fill(server: Server, shape: Shape) -> None:
    """
    Writes all keys of a shape.

    @raise BenchmarkError: the server does not accept them all.
    """
    print(f"{shape}: {server.name} is filled", file=sys.stderr)
    # As many values are in flight as elsewhere, but no more bytes than a server is willing to hold.
    window = max(1, min(16, 65_536 // shape.value))
    written = crowd.write_all(server.port, shape.requests(), window=window, seconds=FILL_SECONDS)
    if written != shape.keys:
        raise BenchmarkError(f"{server.name} took {written} of {shape.keys} keys")


def _rate(server: Server, shape: Shape, method: str, rounds: int, seconds: int) -> float:
    environment = shape.environment(method)
    return statistics.median(
        load.run(server.url, "growth", shape.connections, seconds, environment).rate for _ in range(rounds)
    )
