"""
Measures the requests per second of clusters: PUT at several numbers of connections and quorum GET, all to the leader,
or all to one follower, which has the leader do its part.

Each figure is from a new cluster. No figure is returned of a run in which another machine took the lead: the rest of
the load would have been redirects, which cost nothing.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import load
from benchmarks.clusters import MACHINES, Cluster, started
from benchmarks.comparison import AtLeast, Figures, Part
from benchmarks.errors import BenchmarkError
from benchmarks.throughput import Cell, figures, fill, lines

QUORUM_CONNECTIONS = 64

TARGETS = {
    Cell("PUT", 1): AtLeast(0.7, 1.0),
    Cell("PUT", 64): AtLeast(1.5, 1.8),
    Cell("PUT", 256): AtLeast(1.5, 1.8),
    Cell("quorum GET", QUORUM_CONNECTIONS): AtLeast(3.0, 4.0),
}

FOLLOWER_CELLS = (Cell("PUT", 64), Cell("quorum GET", QUORUM_CONNECTIONS))
"""The loads of a follower."""


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
    of_leader = [
        Part(lines(f"{MACHINES} machines", cell, TARGETS.get(cell)), partial(_measure, cell, seconds, False))
        for cell in cells(connections)
    ]
    of_follower = [
        Part(lines(f"{MACHINES} machines, through a follower", cell), partial(_measure, cell, seconds, True))
        for cell in FOLLOWER_CELLS
    ]
    return of_leader + of_follower


def _measure(cell: Cell, seconds: int, follower: bool, name: str, directory: Path) -> Figures:
    with started(name, directory) as cluster:
        fill(cluster.agree().leader, load.KEYS)
        return figures(cell, drive(cluster, cell, seconds, follower))


def drive(cluster: Cluster, cell: Cell, seconds: int, follower: bool = False) -> load.Throughput:
    """
    Loads a cluster's leader.

    @param follower: whether to load a follower instead.
    @raise BenchmarkError: a request failed, or the leader or the term changed.
    """
    before = cluster.agree()
    loaded = next(each for each in cluster.members if each is not before.leader) if follower else before.leader
    result = load.warmed(loaded.url, cell.verb, cell.connections, seconds)
    after = cluster.agree()
    if after != before:
        raise BenchmarkError(
            f"{cluster.name}: {before.leader.machine} led in term {before.term}, and after {cell}"
            f" {after.leader.machine} in term {after.term}: give the machines more of a processor"
        )
    return result
