"""
Measures for how long a cluster accepts no writes when its leader ends, by C{kill -9} and by SIGTERM.

One client writes all the time (L{benchmarks.writer}), and the leader is ended meanwhile, again and again. Each cluster
is measured alone. A leader is never ended before the one that was ended last is back and has the same copy as the
others.
"""

import random
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks import load, tables, throughput
from benchmarks.clusters import MACHINES, Cluster, started
from benchmarks.servers import KINDS
from benchmarks.writer import Writer

ENDS: dict[str, signal.Signals | None] = {
    "kill -9 of the leader": signal.SIGKILL,
    "SIGTERM of the leader": signal.SIGTERM,
    "nobody ended": None,
}
"""What happens to the leader; in one case nothing, for comparison."""

SETTLE_SECONDS = 1.0
"""For how long the writes are watched after they go on, or altogether when no machine is ended."""

RECOVERY_SECONDS = 30.0
"""For how long a cluster may accept no writes before the measurement is given up."""


def longest_silence(acknowledged: Sequence[float], began: float, ended: float) -> float:
    """
    Returns the longest time without an acknowledged write in a window, in seconds.

    @param acknowledged: when writes were, in order; those outside the window don't count.
    """
    inside = [moment for moment in acknowledged if began < moment < ended]
    return max(later - earlier for earlier, later in pairwise([began, *inside, ended]))


def refused(cluster: Cluster, end: signal.Signals | None) -> float:
    """
    Ends the leader while a client writes, and brings it back.

    @param end: the signal that it is sent; C{None} sends none.
    @return: for how many seconds no write was acknowledged.
    @raise BenchmarkError: the writes don't go on, or the cluster is not whole again afterwards.
    """
    leader = cluster.agree().leader
    with Writer([member.port for member in cluster.members], leader.port) as writer:
        writer.wait_for(lambda write: write.port == leader.port, RECOVERY_SECONDS)
        # Anywhere between two heartbeats.
        time.sleep(random.SystemRandom().uniform(0.2, 0.4))
        began = time.monotonic()
        if end is not None:
            leader.send_signal(end)
            leader.wait_until_ended()
            gone = time.monotonic()
            writer.wait_for(lambda write: write.at > gone and write.port != leader.port, RECOVERY_SECONDS)
        time.sleep(SETTLE_SECONDS)
        ended = time.monotonic()
    if end is not None:
        leader.start()
    cluster.agree()
    return longest_silence([write.at for write in writer.acknowledged], began, ended)


def measure(cluster: Cluster, failures: int) -> dict[str, list[float]]:
    """
    Ends the leader of a cluster that runs in each way.

    @param failures: how often.
    @return: the seconds of each time.
    """
    throughput.fill(cluster.agree().leader, load.KEYS)
    measured: dict[str, list[float]] = {what: [] for what in ENDS}
    for what, end in ENDS.items():
        for _ in range(failures):
            measured[what].append(refused(cluster, end))
            print(f"{cluster.name}: {what}: no writes for {measured[what][-1]:.3f} s", file=sys.stderr)
    return measured


def table(measured: Sequence[dict[str, list[float]]], heads: Sequence[str], failures: int) -> str:
    """Returns a table with two lines for each way of ending."""
    lines = []
    for what in ENDS:
        times = [each[what] for each in measured]
        lines.append(tables.Line(f"{what}, median", tuple(map(statistics.median, times)), 3))
        lines.append(tables.Line(f"{what}, longest", tuple(map(max, times)), 3))
    return (
        f"seconds without an acknowledged write, clusters of {MACHINES} machines, {failures} times each\n"
        f"{tables.compared(lines, heads)}"
    )


def run(names: Sequence[str], directory: Path, failures: int) -> str:
    """
    Measures one cluster after the other.

    @param names: of L{KINDS}.
    @return: the table.
    """
    measured = []
    for name in names:
        with started(name, directory) as cluster:
            measured.append(measure(cluster, failures))
    return table(measured, [KINDS[name].version() for name in names], failures)
