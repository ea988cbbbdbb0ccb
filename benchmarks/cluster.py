"""
Measures the requests per second of clusters: PUT at several numbers of connections and quorum GET, all to the leader.

Each figure is from a new cluster. No figure is returned of a run in which another machine took the lead: the rest of
the load would have been redirects, which cost nothing.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import load
from benchmarks.clusters import MACHINES, Cluster, started
from benchmarks.comparison import AtLeast, Line, Part
from benchmarks.errors import BenchmarkError
from benchmarks.throughput import Cell, fill

QUORUM_CONNECTIONS = 64

TARGETS = {
    Cell("PUT", 1): AtLeast(0.9, 1.2),
    Cell("PUT", 64): AtLeast(1.0, 1.3),
    Cell("PUT", 256): AtLeast(0.8, 1.0),
    Cell("quorum GET", QUORUM_CONNECTIONS): AtLeast(2.0, 4.0),
}


def cells(connections: Sequence[int]) -> list[Cell]:
    """
    Returns the kinds of load.

    @param connections: of the writes.
    """
    return [*(Cell("PUT", count) for count in connections), Cell("quorum GET", QUORUM_CONNECTIONS)]


def parts(connections: Sequence[int], seconds: int) -> list[Part]:
    """
    Returns what is measured.

    @param connections: see L{cells}.
    @param seconds: how long a leader is loaded.
    @raise BenchmarkError: there is no program to load it with.
    """
    load.executable()
    return [
        Part((Line(f"{MACHINES} machines, {cell}", "/s", target=TARGETS.get(cell)),), partial(_measure, cell, seconds))
        for cell in cells(connections)
    ]


def _measure(cell: Cell, seconds: int, name: str, directory: Path) -> list[float]:
    with started(name, directory) as cluster:
        fill(cluster.agree().leader, load.KEYS)
        return [drive(cluster, cell, seconds).rate]


def drive(cluster: Cluster, cell: Cell, seconds: int) -> load.Throughput:
    """
    Loads a cluster's leader.

    @raise BenchmarkError: a request failed, or the leader or the term changed.
    """
    before = cluster.agree()
    result = load.warmed(before.leader.url, cell.verb, cell.connections, seconds)
    after = cluster.agree()
    if after != before:
        raise BenchmarkError(
            f"{cluster.name}: {before.leader.machine} led in term {before.term}, and after {cell}"
            f" {after.leader.machine} in term {after.term}: give the machines more of a processor"
        )
    return result
