"""
Requests per second and latency of clusters: PUT at several numbers of connections and quorum GET, all to the leader.

All clusters run for the whole of it, one loaded at a time, as in L{benchmarks.throughput}. Never returns a figure of a
run in which somebody else took the lead: the rest of the load would have been redirects, which cost nothing.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import load, throughput
from benchmarks.clusters import MACHINES, Cluster, started
from benchmarks.errors import BenchmarkError
from benchmarks.servers import KINDS
from benchmarks.throughput import Cell

QUORUM_CONNECTIONS = 64


def cells(connections: Sequence[int]) -> list[Cell]:
    """
    The kinds of load.

    @param connections: of the writes.
    """
    return [*(Cell("PUT", count) for count in connections), Cell("quorum GET", QUORUM_CONNECTIONS)]


def drive(cluster: Cluster, cell: Cell, seconds: int) -> load.Throughput:
    """
    Load a cluster's leader.

    @raise BenchmarkError: when a request failed, or the leader or the term changed.
    """
    before = cluster.agree()
    result = load.run(before.leader.url, cell.verb, cell.connections, seconds)
    after = cluster.agree()
    if after != before:
        raise BenchmarkError(
            f"{cluster.name}: {before.leader.machine} led in term {before.term}, and after {cell}"
            f" {after.leader.machine} in term {after.term}: give the machines more of a processor"
        )
    return result


def run(names: Sequence[str], directory: Path, rounds: int, seconds: int, connections: Sequence[int]) -> str:
    """
    Start the clusters, measure, stop them.

    @param names: of L{KINDS}.
    @param seconds: how long each cluster is loaded for each cell and round.
    @return: the table.
    """
    load.executable()
    with ExitStack() as stack:
        clusters = {name: stack.enter_context(started(name, directory)) for name in names}
        for cluster in clusters.values():
            throughput.fill(cluster.agree().leader, load.KEYS)
        measured = throughput.measure(
            names, cells(connections), rounds, lambda name, cell: drive(clusters[name], cell, seconds)
        )
    table = throughput.table(measured, [KINDS[name].version() for name in names])
    return f"clusters of {MACHINES} machines on this host\n{table}"
