"""
Measures what workers take off the consensus process, and what they cost in all: the processor time of a request
without workers and with them, of one machine.

It also measures the requests per second, where there are cores for the workers. Where there are not, these would only
show how processes get in each other's way. Processor time is from C{/proc}, and counts in hundredths of a second.
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import attrs

from benchmarks import load
from benchmarks.comparison import AtMost, Figures, Line, Part
from benchmarks.servers import KINDS, EtcdTwisted, Server
from benchmarks.throughput import Cell, fill

CELLS = (Cell("PUT", 256), Cell("GET", 256))
CONSENSUS_TARGETS = {Cell("PUT", 256): AtMost(0.5, 0.35, own=True)}
"""The targets, for two workers."""


def has_cores(workers: int) -> bool:
    """Returns whether each worker, the consensus process and the load can have a core."""
    return len(os.sched_getaffinity(0)) >= workers + 2


def parts(workers: int, seconds: int) -> list[Part]:
    """
    Returns what is measured.

    @param workers: how many there are.
    @param seconds: how long a server is loaded, each time.
    @raise BenchmarkError: there is no program to load it with.
    """
    load.executable()
    return [Part(_lines(workers, cell), partial(_measure, workers, cell, seconds)) for cell in CELLS]


def _lines(workers: int, cell: Cell) -> tuple[Line, ...]:
    work, with_workers = f"1 machine, {cell}", f"with {workers} worker{'' if workers == 1 else 's'}"
    time = "processor time of a request"
    return (
        Line(f"{work}, {time}", " us", 1),
        Line(f"{work}, {with_workers}, {time}, all processes", " us", 1),
        Line(f"{work}, {with_workers}, {time}, consensus process", " us", 1),
        Line(
            f"{work}, {with_workers}, {time}, consensus process, to without workers",
            "",
            2,
            CONSENSUS_TARGETS.get(cell) if workers == 2 else None,
            compared=False,
        ),
        *([Line(f"{work}, {with_workers}", "/s")] if has_cores(workers) else []),
    )


@attrs.frozen
class Cost:
    """
    What requests cost.

    @ivar rate: requests per second.
    @ivar all_us: the processor time of each, of all processes, in microseconds.
    @ivar main_us: the same, of the process that was started first.
    """

    rate: float
    all_us: float
    main_us: float


def _measure(workers: int, cell: Cell, seconds: int, name: str, directory: Path) -> Figures:
    without = _cost(name, directory / "without", (), cell, seconds)
    if name != EtcdTwisted.name:
        return without.all_us, None, None, None, *([without.rate] if has_cores(workers) else [])
    with_workers = _cost(name, directory / "with", ("--workers", str(workers)), cell, seconds)
    return (
        without.all_us,
        with_workers.all_us,
        with_workers.main_us,
        with_workers.main_us / without.main_us,
        *([with_workers.rate] if has_cores(workers) else []),
    )


def _cost(name: str, directory: Path, options: Sequence[str], cell: Cell, seconds: int) -> Cost:
    with KINDS[name](directory) as server:
        server.start(options)
        fill(server, load.KEYS)
        load.run(server.url, "quorum GET", cell.connections, load.WARM_SECONDS)  # so that all copies have all keys
        load.run(server.url, cell.verb, cell.connections, load.WARM_SECONDS)
        before = _taken(server)
        result = load.run(server.url, cell.verb, cell.connections, seconds)
        spent = [
            (after - earlier) / result.requests * 1e6 for after, earlier in zip(_taken(server), before, strict=True)
        ]
        return Cost(result.rate, *spent)


def _taken(server: Server) -> tuple[float, float]:
    return server.family_processor_seconds(), server.processor_seconds()
