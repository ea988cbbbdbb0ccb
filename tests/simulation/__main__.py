"""
Runs the simulation: many seeds, or one of them with its story.
"""

import argparse
import functools
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from twisted.logger import globalLogBeginner

from tests.simulation.cluster import Cluster, Report
from tests.simulation.invariants import Violation

_A_LINE = 50
"""How many seeds go into one line."""


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _replay(seed: int, **changes: Any) -> int:
    """Runs one seed, and prints its whole story."""
    try:
        _say(str(Cluster(seed, _say, **changes).run()))
    except Violation as violation:
        _say(f"FAILED: {violation}")
        return 1
    return 0


def _run(changes: dict[str, Any], seed: int) -> Report | str:
    """Runs one seed. Returns its report, or what is wrong."""
    try:
        return Cluster(seed, **changes).run()
    except Violation as violation:
        return str(violation)


def _run_all(first: int, count: int, processes: int, **changes: Any) -> int:
    """Runs seeds, and prints a dot for each that passes."""
    began = time.monotonic()
    failed: list[int] = []
    steps = operations = elections = 0
    seeds = range(first, first + count)
    with ProcessPoolExecutor(processes, initializer=_log_nothing) as pool:
        found = pool.map(functools.partial(_run, changes), seeds)
        for done, (seed, report) in enumerate(zip(seeds, found, strict=True), 1):
            if isinstance(report, str):
                failed.append(seed)
                again = " ".join(f"{name.upper()}={value:d}" for name, value in {"seed": seed, **changes}.items())
                _say(f"\nFAILED: {report}\nagain: make simulate {again}")
                continue
            steps += report.steps
            operations += report.done
            elections += report.elections
            sys.stdout.write("." if done % _A_LINE else f". {done}\n")
            sys.stdout.flush()
    taken = time.monotonic() - began
    _say(
        f"\nseeds {first} to {first + count - 1}: {count - len(failed)} passed, {len(failed)} failed {failed or ''}\n"
        f"{steps:,} steps, {operations:,} operations, {elections:,} elections in {taken:.0f} s"
    )
    return 1 if failed else 0


def _log_nothing() -> None:
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)


def main() -> int:
    """Runs what the command line asks for, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=200, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one alone, and tell what happens")
    parser.add_argument("--workers", type=int, default=0, help="how many workers each machine has")
    parser.add_argument(
        "--forwards", type=int, default=0, help="1 to have clients ask any machine, not only the leader"
    )
    parser.add_argument(
        "--processes", type=int, default=len(os.sched_getaffinity(0)), help="how many seeds to run at a time"
    )
    options = parser.parse_args()
    changes = {"workers": options.workers, "forwards": bool(options.forwards)}
    changes = {name: value for name, value in changes.items() if value}
    if options.seed is not None:
        _log_nothing()
        return _replay(options.seed, **changes)
    return _run_all(options.first, options.seeds, options.processes, **changes)


if __name__ == "__main__":
    sys.exit(main())
