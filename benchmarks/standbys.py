"""
Measures the requests per second through a standby: a machine without a copy, which passes the requests of its clients
on to a cluster of three. Of etcd, that is what it calls a proxy.
"""

from functools import partial
from pathlib import Path

from benchmarks import load
from benchmarks.clusters import MACHINES, started
from benchmarks.comparison import Line, Part
from benchmarks.servers import KINDS
from benchmarks.throughput import Cell, fill

CELLS = (Cell("PUT", 64), Cell("GET", 64))


def parts(seconds: int) -> list[Part]:
    """
    Returns what is measured.

    @param seconds: how long a standby is loaded.
    @raise BenchmarkError: there is no program to load it with.
    """
    load.executable()
    return [
        Part((Line(f"{MACHINES} machines, through a standby, {cell}", "/s"),), partial(_measure, cell, seconds))
        for cell in CELLS
    ]


def _measure(cell: Cell, seconds: int, name: str, directory: Path) -> list[float]:
    with started(name, directory) as cluster, KINDS[name](directory, "standby") as standby:
        leader = cluster.agree().leader
        leader.take_in_no_more(MACHINES)
        fill(leader, load.KEYS)
        standby.cluster = cluster.members
        standby.start()
        return [load.warmed(standby.url, cell.verb, cell.connections, seconds).rate]
