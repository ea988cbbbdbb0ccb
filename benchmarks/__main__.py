"""The command line: C{python -m benchmarks [WORK]}, with the kinds of work in L{WORK}."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    answers,
    client,
    cluster,
    comparison,
    elections,
    failover,
    growth,
    keys,
    large,
    many,
    scraping,
    servers,
    stall,
    standbys,
    tables,
    throughput,
    users,
    watchers,
    workers,
)
from benchmarks.comparison import Part
from benchmarks.errors import BenchmarkError

Work = Callable[[argparse.Namespace, Sequence[str], Path], str]


def _machine_parts(options: argparse.Namespace) -> list[Part]:
    return throughput.parts(options.connections, options.seconds)


def _workers_parts(options: argparse.Namespace) -> list[Part]:
    return workers.parts(options.workers, options.seconds)


def _users_parts(options: argparse.Namespace) -> list[Part]:
    return users.parts(options.seconds)


def _cluster_parts(options: argparse.Namespace) -> list[Part]:
    return cluster.parts(options.connections, options.seconds) + standbys.parts(options.seconds)


def _watchers_parts(options: argparse.Namespace) -> list[Part]:
    return watchers.parts(options.watchers, options.changes)


def _keys_parts(options: argparse.Namespace) -> list[Part]:
    return many.parts(options.keys, options.seconds) + keys.parts(options.keys)


def comparison_parts(options: argparse.Namespace) -> list[Part]:
    """Returns what the one table shows."""
    sources = (_machine_parts, _users_parts, _workers_parts, _cluster_parts, _watchers_parts, _keys_parts)
    return [part for source in sources for part in source(options)]


def _compared(parts: Callable[[argparse.Namespace], list[Part]]) -> Work:
    """Returns the one table, or a part of it."""

    def work(options: argparse.Namespace, names: Sequence[str], directory: Path) -> str:
        return comparison.run(names, directory, parts(options), options.rounds, options.markdown)

    return work


def _failover(options: argparse.Namespace, names: Sequence[str], directory: Path) -> str:
    return failover.run(names, directory, options.failures)


def _elections(options: argparse.Namespace, names: Sequence[str], directory: Path) -> str:
    return elections.run(names, directory, options.idle_seconds, options.load_seconds)


def _answers(options: argparse.Namespace, names: Sequence[str], directory: Path) -> str:
    return answers.run(names, directory, options.keys[0], options.snapshot_count)


def _growth(options: argparse.Namespace, names: Sequence[str], directory: Path) -> str:
    return growth.run(names, directory, options.rounds, options.seconds, options.most_keys)


def _scraping(options: argparse.Namespace, names: Sequence[str], directory: Path) -> str:
    if servers.EtcdTwisted.name not in names:
        return f"scraping: not measured; only {servers.EtcdTwisted.name} is asked what it costs"
    return scraping.run(directory, options.rounds, options.seconds, options.connections)


def _stall(options: argparse.Namespace, names: Sequence[str], directory: Path) -> str:
    if servers.EtcdTwisted.name not in names:
        return f"stall: not measured; only {servers.EtcdTwisted.name} has a reactor to look at"
    return stall.run(directory, options.keys[0], options.snapshot_count)


def _client(options: argparse.Namespace, names: Sequence[str], directory: Path) -> str:
    if servers.EtcdTwisted.name not in names:
        return f"client: not measured; its server is {servers.EtcdTwisted.name}"
    return client.run(directory, options.rounds, options.requests, options.watches)


def _large(options: argparse.Namespace, names: Sequence[str], directory: Path) -> str:
    with large.Large(directory) as kept:
        parts = kept.parts(options.keys, options.seconds, options.keys[0]) + _watchers_parts(options)
        return comparison.run(names, directory, parts, options.rounds, options.markdown)


COMPARISON = "comparison"
"""The work that is done if no other is asked for."""

WORK: dict[str, Work] = {
    COMPARISON: _compared(comparison_parts),
    "throughput": _compared(_machine_parts),
    "users": _compared(_users_parts),
    "workers": _compared(_workers_parts),
    "cluster": _compared(_cluster_parts),
    "watchers": _compared(_watchers_parts),
    "keys": _compared(_keys_parts),
    "large": _large,
    "failover": _failover,
    "elections": _elections,
    "growth": _growth,
    "answers": _answers,
    "stall": _stall,
    "scraping": _scraping,
    "client": _client,
}


def positive(text: str) -> int:
    """Parses a whole number above zero, for L{argparse}."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above zero")
    return number


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the options, all of which are known to every kind of work."""
    found = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure etcd_twisted against etcd.")
    found.add_argument("work", nargs="?", choices=WORK, default=COMPARISON, help="what to measure (%(default)s)")
    found.add_argument("--only", choices=servers.KINDS, help="measure one server; else all that are present")
    found.add_argument("--directory", type=Path, default=Path("build"), help="where temporary data goes (%(default)s)")
    found.add_argument("--markdown", type=Path, metavar="FILE", help="write the one table there, for a page")
    load = found.add_argument_group("comparison and its parts, growth and scraping")
    load.add_argument("--rounds", type=positive, default=5, help="how often each figure is taken (%(default)s)")
    load.add_argument("--seconds", type=positive, default=5, help="how long each time (%(default)s)")
    load.add_argument("--connections", type=positive, nargs="+", default=throughput.CONNECTIONS, metavar="N")
    ending = found.add_argument_group("failover and elections")
    ending.add_argument("--failures", type=positive, default=10, help="how often each is measured (%(default)s)")
    ending.add_argument("--idle-seconds", type=positive, default=60, help="how long to watch (%(default)s)")
    ending.add_argument("--load-seconds", type=positive, default=30, help="how long to load (%(default)s)")
    many_keys = found.add_argument_group("comparison, keys, large, answers and stall")
    many_keys.add_argument("--keys", type=positive, nargs="+", default=(100_000,), metavar="N", help="how many")
    many_keys.add_argument(
        "--snapshot-count", type=positive, default=5_000, help="writes between snapshots (%(default)s)"
    )
    processes = found.add_argument_group("comparison and workers")
    processes.add_argument("--workers", type=positive, default=2, help="how many (%(default)s)")
    growing = found.add_argument_group("growth")
    growing.add_argument("--most-keys", type=positive, default=1_000_000, help="at the most (%(default)s)")
    waiting = found.add_argument_group("comparison and watchers")
    waiting.add_argument("--watchers", type=positive, default=5_000, help="how many (%(default)s)")
    waiting.add_argument("--changes", type=positive, default=5, help="how many times they are told (%(default)s)")
    using = found.add_argument_group("client")
    using.add_argument("--requests", type=positive, default=2_000, help="how many in each round (%(default)s)")
    using.add_argument("--watches", type=positive, default=1_000, help="how many one client has (%(default)s)")
    return found


def main(arguments: Sequence[str]) -> int:
    """Measures and prints, and returns the exit status."""
    options = parser().parse_args(arguments)
    names = [options.only] if options.only else servers.present()
    # This lets a benchmark that is told to end take its servers with it.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        options.directory.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        print(f"benchmarks: --directory {options.directory}: {failure.strerror}", file=sys.stderr)
        return 1
    try:
        print(tables.machine(options.directory, [servers.KINDS[name].version() for name in names]), flush=True)
        if servers.GoEtcd.name not in names and not options.only:
            print("no etcd to compare with: 'apt-get install etcd-server' brings one", flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as temporary:
            print(f"\n{WORK[options.work](options, names, Path(temporary).resolve())}", flush=True)
    except BenchmarkError as failure:
        print(f"benchmarks: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
