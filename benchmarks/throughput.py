"""
Requests per second and latency: PUT and GET of 64 bytes at several numbers of connections, servers taking turns.

All servers run for the whole of it, one loaded at a time, so that a slow minute of the machine hurts them alike.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from benchmarks import crowd, load, tables
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


def middle(runs: Sequence[load.Throughput]) -> load.Throughput:
    """The median of each figure of several runs."""
    return load.Throughput(
        rate=statistics.median(run.rate for run in runs),
        mean=statistics.median(run.mean for run in runs),
        p99=statistics.median(run.p99 for run in runs),
    )


def measure(
    names: Sequence[str], cells: Sequence[Cell], rounds: int, drive: Callable[[str, Cell], load.Throughput]
) -> dict[Cell, list[load.Throughput]]:
    """
    Load running servers in turns, round by round.

    @param names: of the servers.
    @param drive: loads the named server.
    @return: the medians over the rounds for each cell, in the order of the servers.
    """
    runs: dict[tuple[Cell, str], list[load.Throughput]] = {}
    for turn in range(rounds):
        for cell in cells:
            # Who goes first changes, so that being first is no advantage.
            for name in names if turn % 2 == 0 else reversed(names):
                result = drive(name, cell)
                runs.setdefault((cell, name), []).append(result)
                print(f"round {turn + 1}: {cell}: {name} {result.rate:,.0f}/s", file=sys.stderr)
    return {cell: [middle(runs[cell, name]) for name in names] for cell in cells}


def table(measured: dict[Cell, list[load.Throughput]], heads: Sequence[str]) -> str:
    """One line for each cell: the servers' rates and, of two, the ratio; then each one's 99th percentile."""
    ratios = ["ratio"] if len(heads) == 2 else []
    rows = [["", *(f"{head} /s" for head in heads), *ratios, *(f"{head} p99 ms" for head in heads)]]
    for cell, results in measured.items():
        rates = tables.Line(str(cell), tuple(result.rate for result in results))
        tails = tables.Line(str(cell), tuple(result.p99 for result in results), decimals=2)
        rows.append([rates.work, *rates.cells(), *rates.ratios(), *tails.cells()])
    return tables.aligned(rows)


def run(names: Sequence[str], directory: Path, rounds: int, seconds: int, connections: Sequence[int]) -> str:
    """
    Start the servers, measure, stop them.

    @param names: of L{KINDS}.
    @param seconds: how long each server is loaded for each cell and round.
    @return: the table.
    """
    load.executable()
    cells = [Cell(verb, count) for verb in VERBS for count in connections]
    with ExitStack() as stack:
        servers = {name: stack.enter_context(KINDS[name](directory)) for name in names}
        for server in servers.values():
            server.start()
            fill(server, load.KEYS)

        def drive(name: str, cell: Cell) -> load.Throughput:
            return load.run(servers[name].url, cell.verb, cell.connections, seconds)

        measured = measure(names, cells, rounds, drive)
    return table(measured, [KINDS[name].version() for name in names])


def fill(server: Server, keys: int) -> None:
    """
    Write the keys C{/bench/k0} and up.

    @raise BenchmarkError: when the server does not take them all.
    """
    value = "x" * load.VALUE_BYTES
    written = crowd.write_all(server.port, (crowd.put(f"/v2/keys/bench/k{each}", value) for each in range(keys)))
    if written != keys:
        raise BenchmarkError(f"{server.name} took {written} of {keys} keys")
