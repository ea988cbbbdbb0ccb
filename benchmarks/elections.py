"""
Counts the elections of a cluster in which no machine ends: while it is idle, and while its leader has all the load
that it can handle.

The count is from C{X-Raft-Term} of all machines, with the default timeouts. Each cluster is measured alone.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from benchmarks import load, tables, throughput
from benchmarks.clusters import MACHINES, Cluster, started
from benchmarks.errors import BenchmarkError
from benchmarks.servers import KINDS

CONNECTIONS = 256

LOOK_SECONDS = 0.25
"""The pause before the machines are asked for the term again."""

FINISH_SECONDS = 30.0
"""How long the load may take to end when its time is over."""


@attrs.frozen
class Result:
    """
    One cluster's figures.

    @ivar idle: how many terms began while it was idle.
    @ivar loaded: how many terms began while it was loaded.
    @ivar rate: the writes per second of the load; C{None} when the leader changed, so that some of them were
        redirects.
    """

    idle: int
    loaded: int
    rate: float | None


def terms_begun(observed: Sequence[Sequence[int]]) -> int:
    """
    Returns how many terms began since the first look.

    @param observed: the terms that all machines knew, for each look.
    """
    return max(max(terms) for terms in observed) - max(observed[0])


def watch(cluster: Cluster, finished: Callable[[], bool]) -> int:
    """
    Watches the terms until it is enough, and returns how many began.

    @raise BenchmarkError: a machine does not answer.
    """
    observed = [cluster.terms()]
    while not finished():
        time.sleep(LOOK_SECONDS)
        observed.append(cluster.terms())
    return terms_begun(observed)


def measure(cluster: Cluster, idle_seconds: int, load_seconds: int) -> Result:
    """
    Watches a cluster that runs, first idle, then loaded.

    @raise BenchmarkError: a machine does not answer, or a write is refused although no other machine was elected.
    """
    throughput.fill(cluster.agree().leader, load.KEYS)
    print(f"{cluster.name}: idle for {idle_seconds} s", file=sys.stderr)
    until = time.monotonic() + idle_seconds
    idle = watch(cluster, lambda: time.monotonic() >= until)
    print(f"{cluster.name}: loaded for {load_seconds} s", file=sys.stderr)
    loader = load.begin(cluster.agree().leader.url, "PUT", CONNECTIONS, load_seconds)
    try:
        loaded = watch(cluster, lambda: loader.poll() is not None)
    except BaseException:
        loader.kill()
        loader.communicate()
        raise
    return Result(idle, loaded, measured_rate(loader, loaded))


def measured_rate(loader: "subprocess.Popen[str]", begun: int) -> float | None:
    """
    Returns the rate of the load, or C{None} if elections made it meaningless.

    @param begun: how many terms began while it ran.
    @raise BenchmarkError: requests failed although no term began.
    """
    try:
        rate = load.finish(loader, FINISH_SECONDS).rate
    except BenchmarkError as failure:
        if not begun:
            raise
        print(failure, file=sys.stderr)
        return None
    return None if begun else rate


def table(results: Sequence[Result], heads: Sequence[str], idle_seconds: int, load_seconds: int) -> str:
    """Returns a table with one line for each figure."""
    loaded = f"PUT, {CONNECTIONS} connections, {load_seconds} s"
    lines = [
        tables.Line(f"elections, idle, {idle_seconds} s", tuple(each.idle for each in results)),
        tables.Line(f"elections, {loaded}", tuple(each.loaded for each in results)),
        tables.Line(f"{loaded}, /s", tuple(each.rate for each in results)),
    ]
    return f"elections that nobody asked for, clusters of {MACHINES} machines\n{tables.compared(lines, heads)}"


def run(names: Sequence[str], directory: Path, idle_seconds: int, load_seconds: int) -> str:
    """
    Measures one cluster after the other.

    @param names: of L{KINDS}.
    @return: the table.
    """
    load.executable()
    results = []
    for name in names:
        with started(name, directory) as cluster:
            results.append(measure(cluster, idle_seconds, load_seconds))
    return table(results, [KINDS[name].version() for name in names], idle_seconds, load_seconds)
