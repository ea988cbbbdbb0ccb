"""
Measures what the client library costs: a C{get} beside a bare C{treq.get}, a watch's memory, and the import.

The client has a process of its own, and so has the server.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import files, tables
from benchmarks.client_work import Costs
from benchmarks.errors import BenchmarkError
from benchmarks.servers import REPOSITORY, EtcdTwisted

MOST_RATIO = 1.3
"""How much longer than a bare C{treq.get} a C{get} may take."""

MOST_WATCH_KB = 20.0
MOST_IMPORT_SECONDS = 0.25

_IMPORT = """\
import time, treq
began = time.process_time()
import etcd_twisted.client
print(time.process_time() - began)
"""


def run(directory: Path, rounds: int, requests: int, watches: int) -> str:
    """
    Starts a server, measures, and stops it.

    @param requests: how many requests of each kind are made in each round.
    @param watches: how many watches one client has.
    @return: the table.
    """
    files.allow(watches)
    with EtcdTwisted(directory) as server:
        server.start()
        files.check(server, watches)
        numbers = [str(each) for each in (rounds, requests, watches)]
        costs = Costs(**json.loads(_program("-m", "benchmarks.client_work", server.url, *numbers)))
    seconds = statistics.median(float(_program("-c", _IMPORT)) for _ in range(rounds))
    kilobytes = costs.watch_bytes / 1e3
    rows = [
        ["", "figure", "at most", "reached"],
        _compared("get, processor time, to treq.get", costs.client_seconds, costs.treq_seconds),
        _compared("get, time, to treq.get", costs.client_elapsed_seconds, costs.treq_elapsed_seconds),
        [f"{watches:,} watches, memory of each", *_line(kilobytes, MOST_WATCH_KB, " kB", 1)],
        ["import, processor time, beyond treq's", *_line(seconds, MOST_IMPORT_SECONDS, " s", 2)],
    ]
    micro = [f"{statistics.median(each) * 1e6:,.0f}" for each in (costs.client_seconds, costs.treq_seconds)]
    return f"a get takes {micro[0]} us of the processor, a bare treq.get {micro[1]} us\n\n{tables.aligned(rows)}"


def _compared(work: str, ours: Sequence[float], theirs: Sequence[float]) -> list[str]:
    """Returns a line with the median of the ratios of the rounds, which differ by what else the machine does."""
    ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    return [work, *_line(ratio, MOST_RATIO, "", 2)]


def _line(figure: float, most: float, unit: str, decimals: int) -> list[str]:
    reached = "yes" if figure <= most else "no"
    return [f"{figure:.{decimals}f}{unit}", f"{most:.{decimals}f}{unit}", reached]


def _program(*arguments: str) -> str:
    """
    Returns what a Python program prints.

    @raise BenchmarkError: it fails.
    """
    done = subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        raise BenchmarkError(f"python {' '.join(arguments)} has failed: {done.stderr}")
    return done.stdout
