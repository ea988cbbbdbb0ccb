"""
The one table of the benchmarks: the order of the measurements, the medians, the targets, and the failures.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import __main__ as command_line
from benchmarks import cluster, comparison, keys, load, servers, syncs, throughput, watchers, workers
from benchmarks.comparison import MISSED, NONE, REACHED, STRETCH, AtLeast, AtMost, Line, Measured, Part
from benchmarks.errors import BenchmarkError
from benchmarks.rounds import Turn, order

NAMES = ["etcd_twisted", "etcd"]


class OrderTests(SynchronousTestCase):
    """These tests are about the order of measurements."""

    def test_servers_take_turns_at_being_first(self) -> None:
        """In the next round the other server is first."""
        self.assertEqual(
            list(order(["PUT", "GET"], ["a", "b"], 2)),
            [
                *(Turn(1, "PUT", "a"), Turn(1, "PUT", "b"), Turn(1, "GET", "a"), Turn(1, "GET", "b")),
                *(Turn(2, "PUT", "b"), Turn(2, "PUT", "a"), Turn(2, "GET", "b"), Turn(2, "GET", "a")),
            ],
        )

    @given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 6))
    def test_order_is_fair(self, works: int, names: int, rounds: int) -> None:
        """Each server has each part once a round, right after the other, and is first as often, or once more."""
        turns = list(order(range(works), [str(each) for each in range(names)], rounds))
        self.assertEqual(len(set(turns)), len(turns))
        self.assertEqual(len(turns), works * names * rounds)
        groups = [turns[start : start + names] for start in range(0, len(turns), names)]
        for group in groups:
            self.assertEqual(len({(turn.number, turn.work) for turn in group}), 1)
        first = [group[0].name for group in groups if group[0].work == 0]
        if names > 1:
            self.assertIn(first.count("0") - first.count(str(names - 1)), (0, 1))


class TargetTests(SynchronousTestCase):
    """These tests show whether a ratio reaches its target."""

    def test_more_is_better(self) -> None:
        target = AtLeast(0.9, 1.2)
        found = [target.reached(ratio) for ratio in (0.89, 0.9, 1.19, 1.2, 3.0)]
        self.assertEqual(found, [MISSED, REACHED, REACHED, STRETCH, STRETCH])
        self.assertEqual(str(target), ">= 0.90 (1.20)")

    def test_less_is_better(self) -> None:
        target = AtMost(1.0, 0.7)
        found = [target.reached(ratio) for ratio in (1.01, 1.0, 0.71, 0.7, 0.1)]
        self.assertEqual(found, [MISSED, REACHED, REACHED, STRETCH, STRETCH])
        self.assertEqual(str(target), "<= 1.00 (0.70)")

    def test_target_may_be_for_our_figure_itself(self) -> None:
        """It needs no figure of the other server."""
        target = AtLeast(0.85, 0.95, own=True)
        found = [target.judged(*figures) for figures in ((0.84, 0.1), (0.85, None), (0.95, 9.0), (None, 0.1))]
        self.assertEqual(found, [MISSED, REACHED, STRETCH, NONE])

    def test_target_may_have_a_limit(self) -> None:
        """A ratio is not enough then."""
        target = AtMost(0.6, 0.4, limit=1.5)
        found = [target.judged(*figures) for figures in ((1.5, 3.0), (1.2, 3.0), (1.6, 10.0), (1.0, None))]
        self.assertEqual(found, [REACHED, STRETCH, MISSED, NONE])
        self.assertEqual(str(target), "<= 0.60 (0.40), <= 1.5")


class LineTests(SynchronousTestCase):
    """These lines are in the table of a whole run by default."""

    def setUp(self) -> None:
        self.patch(load, "executable", lambda: "wrk")

    def test_all_targets_are_listed(self) -> None:
        """Each line that has a target is there with it."""
        options = command_line.parser().parse_args(["--keys", "100000", "1000000"])
        lines = [line for part in command_line.comparison_parts(options) for line in part.lines]
        self.assertEqual(
            {line.work: line.target for line in lines if line.target is not None},
            {
                "1 machine, PUT, 1 connection": AtLeast(0.85, 1.2),
                "1 machine, PUT, 64 connections": AtLeast(1.25, 1.5),
                "1 machine, PUT, 64 connections, p99": AtMost(0.6, 0.5),
                "1 machine, PUT, 256 connections": AtLeast(1.25, 1.5),
                "1 machine, GET, 64 connections": AtLeast(1.7, 2.0),
                "1 machine, PUT, 256 connections, with 2 workers, processor time of a request, consensus process, "
                "to without workers": AtMost(0.5, 0.35, own=True),
                "3 machines, PUT, 1 connection": AtLeast(0.7, 1.0),
                "3 machines, PUT, 64 connections": AtLeast(1.5, 1.8),
                "3 machines, PUT, 64 connections, p99": AtMost(0.6, 0.5),
                "3 machines, PUT, 256 connections": AtLeast(1.5, 1.8),
                "3 machines, quorum GET, 64 connections": AtLeast(3.0, 4.0),
                "5,000 watchers, memory for each": AtMost(0.6, 0.4),
                "5,000 watchers, the last one told": AtMost(0.9, 0.7),
                "100,000 keys, PUT, 64 connections": AtLeast(1.0, 1.25),
                "100,000 keys, PUT, 64 connections, p99": AtMost(0.6, 0.5),
                "100,000 keys, PUT, 64 connections, to 1,000 keys": AtLeast(0.85, 0.95, own=True),
                "1,000,000 keys, PUT, 64 connections": AtLeast(1.0, 1.2),
                "1,000,000 keys, PUT, 64 connections, p99": AtMost(0.6, 0.5),
                "1,000,000 keys, PUT, 64 connections, to 1,000 keys": AtLeast(0.7, 0.85, own=True),
                "100,000 keys, resident memory": AtMost(1.0, 0.7),
                "100,000 keys, restart after kill -9": AtMost(1.0, 0.5),
                "100,000 keys, restart after kill -9 at the worst moment": AtMost(0.6, 0.4, limit=1.5),
            },
        )
        self.assertEqual(len(lines), len({line.work for line in lines}))

    def test_workers_have_rates_only_where_there_are_cores(self) -> None:
        """Each worker needs one, and so do the consensus process and the load."""
        for cores, rates in ((3, 0), (4, 2)):
            self.patch(os, "sched_getaffinity", lambda _pid, cores=cores: set(range(cores)))
            lines = [line for part in workers.parts(2, 1) for line in part.lines]
            self.assertEqual([line.unit for line in lines].count("/s"), rates)

    def test_other_sizes_have_no_targets(self) -> None:
        """A target holds for one size."""
        for part in (*watchers.parts(10, 1), *keys.parts([10]), *throughput.parts([7], 1), *cluster.parts([7], 1)[:1]):
            self.assertEqual([line.target for line in part.lines], [None] * len(part.lines))


class FakePart:
    """
    A part with the test's figures, which fails where a figure is C{None}.

    @ivar asked: the servers that it measured, in order.
    """

    def __init__(self, answers: Sequence[float | None], work: str = "work", target: AtLeast | None = None) -> None:
        self._answers = iter(answers)
        self.asked: list[str] = []
        self.part = Part((Line(work, "/s", target=target),), self._measure)

    def _measure(self, name: str, directory: Path) -> list[float]:
        self.asked.append(name)
        assert not os.listdir(directory), "it is somebody else's"
        (directory / "data").touch()
        answer = next(self._answers)
        if answer is None:
            raise BenchmarkError("somebody else took the lead")
        return [answer]


class RunTests(SynchronousTestCase):
    """These tests measure and make the table."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.patch(servers.GoEtcd, "version", lambda: "etcd 3.4")

    def test_medians_are_each_servers_own(self) -> None:
        """The order of the measurements does not matter, and nothing is left of their data."""
        fake = FakePart([100.0, 80.0, 10.0, 300.0, 200.0, 90.0], target=AtLeast(1.25, 2.0))
        table = comparison.run(NAMES, self.directory, [fake.part], 3)
        self.assertEqual(fake.asked, [*NAMES, *reversed(NAMES), *NAMES])
        self.assertEqual(os.listdir(self.directory), [])
        caption, head, _rule, row = table.splitlines()
        self.assertRegex(
            caption, r"^medians of 3; a sync took [\d.]+ ms \(p50\), [\d.]+ ms \(p90\), [\d.]+ ms \(p99\)$"
        )
        self.assertEqual(head.split()[-4:], ["ratio", "target", "(stretch)", "reached"])
        self.assertEqual(row.split(), ["work", "200/s", "80/s", "2.50", ">=", "1.25", "(2.00)", "stretch"])

    def test_median_of_an_even_number(self) -> None:
        fake = FakePart([1.0, 1.0, 1.0, 4.0])
        self.assertIn(" 2/s ", comparison.run(NAMES, self.directory, [fake.part], 2))

    def test_all_parts_are_in_one_table(self) -> None:
        """They are in their order. A line without a target is not judged."""
        parts = [FakePart([3.0, 2.0], "first").part, FakePart([3.0, 0.0], "second", AtLeast(1.0, 1.0)).part]
        *_heads, first, second = comparison.run(NAMES, self.directory, parts, 1).splitlines()
        self.assertEqual(first.split(), ["first", "3/s", "2/s", "1.50", "-", "-"])
        self.assertEqual(second.split(), ["second", "3/s", "0/s", "-", ">=", "1.00", "(1.00)", "-"])

    def test_one_server_has_no_ratio(self) -> None:
        *_heads, row = comparison.run(["etcd"], self.directory, [FakePart([1.0]).part], 1).splitlines()
        self.assertEqual(row.split(), ["work", "1/s"])

    def test_a_part_may_have_two_lines(self) -> None:
        lines = (Line("memory", " MB"), Line("restart", " s", 2))
        part = Part(lines, lambda _name, _directory: (100.0, 0.5))
        *_heads, memory, restart = comparison.run(["etcd"], self.directory, [part], 1).splitlines()
        self.assertEqual(memory.split(), ["memory", "100", "MB"])
        self.assertEqual(restart.split(), ["restart", "0.50", "s"])

    def test_failure_is_measured_once_more(self) -> None:
        """A line below the table says so."""
        fake = FakePart([1.0, None, 2.0])
        *_table, row, failure = comparison.run(NAMES, self.directory, [fake.part], 1).splitlines()
        self.assertEqual(fake.asked, ["etcd_twisted", "etcd", "etcd"])
        self.assertEqual(row.split(), ["work", "1/s", "2/s", "0.50", "-", "-"])
        self.assertIn("round 1: work: etcd: somebody else took the lead", failure)

    def test_second_failure_is_left_out(self) -> None:
        """The medians do without it, and a line says so."""
        fake = FakePart([1.0, None, None, 2.0, 4.0, 3.0, 8.0])
        *_table, row, once, twice = comparison.run(NAMES, self.directory, [fake.part], 3).splitlines()
        self.assertEqual(fake.asked, ["etcd_twisted", "etcd", "etcd", "etcd", "etcd_twisted", "etcd_twisted", "etcd"])
        self.assertEqual(row.split(), ["work", "3/s", "5/s", "0.60", "-", "-"])
        self.assertEqual(once, "measured once more: round 1: work: etcd: somebody else took the lead")
        self.assertEqual(twice, "left out: round 1: work: etcd: somebody else took the lead")

    def test_no_figure_has_no_ratio(self) -> None:
        """A line whose rounds all failed has no figure."""
        fake = FakePart([1.0, None, None], target=AtLeast(1.25, 2.0))
        _caption, _head, _rule, row, *_failures = comparison.run(NAMES, self.directory, [fake.part], 1).splitlines()
        self.assertEqual(row.split(), ["work", "1/s", "-", "-", ">=", "1.25", "(2.00)", "-"])

    def test_server_may_have_no_figure_for_a_line(self) -> None:
        """A target for our own figure is judged all the same."""
        lines = (Line("rate", "/s"), Line("to before", "", 2, AtMost(0.5, 0.4, own=True), compared=False))
        part = Part(lines, lambda name, _directory: (100.0, 0.45 if name == NAMES[0] else None))
        *_heads, _rate, share = comparison.run(NAMES, self.directory, [part], 1).splitlines()
        self.assertEqual(share.split()[2:], ["0.45", "-", "-", "<=", "0.50", "(0.40)", "yes"])

    def test_shares_are_not_compared(self) -> None:
        """Each server has its own."""
        part = Part((Line("share", "", 2, compared=False),), lambda _name, _directory: [0.5])
        *_heads, row = comparison.run(NAMES, self.directory, [part], 1).splitlines()
        self.assertEqual(row.split(), ["share", "0.50", "0.50", "-", "-", "-"])

    def test_table_for_a_page(self) -> None:
        """It has the same cells, below what it was measured on."""
        page = self.directory.parent / f"{self.directory.name}.md"
        fake = FakePart([100.0, 80.0], target=AtLeast(1.25, 2.0))
        comparison.run(NAMES, self.directory, [fake.part], 1, page)
        machine, _, head, rule, row = page.read_text().splitlines()
        self.assertRegex(machine, r"^\d{4}-\d\d-\d\d: \d+ cores, Linux .*, etcd 3\.4; medians of 1; a sync took .*\.$")
        self.assertTrue(head.startswith("| work | etcd_twisted "))
        self.assertEqual(rule, "|---|---|---|---|---|---|")
        self.assertEqual(row, "| work | 100/s | 80/s | 1.25 | >= 1.25 (2.00) | yes |")

    def test_syncs_are_summed_up(self) -> None:
        """What was measured leaves no file."""
        self.assertEqual(len(syncs.durations(self.directory, 5)), 5)
        self.assertEqual(os.listdir(self.directory), [])
        taken = [0.001 * each for each in range(101)]
        self.assertEqual(syncs.summary(taken), "a sync took 0.050 ms (p50), 0.090 ms (p90), 0.099 ms (p99)")

    def test_units_follow_the_figures(self) -> None:
        line = Line("restart", " s", 2)
        table = comparison.table([line], ["etcd"], Measured({(line, "etcd"): [1234.567]}, []))
        self.assertEqual(table.splitlines()[-1].split(), ["restart", "1,234.57", "s"])


class MemoryTests(SynchronousTestCase):
    """These tests are about a server's memory."""

    def test_memory_includes_child_processes(self) -> None:
        program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
        child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            server = servers.EtcdTwisted(Path(self.mktemp()).resolve())
            self.patch(server, "_process", child)
            both = server.resident_bytes()
            found = servers._family(child.pid)
            self.assertEqual(len(found), 2)
            self.assertEqual(both, sum(map(servers._resident_bytes, found)))
            self.assertGreater(both, servers._resident_bytes(child.pid))
            child.communicate()

    def test_environment_is_not_inherited(self) -> None:
        """No variable gets to a server that would make it differ from the installed one."""
        for name in ("GOMAXPROCS", "GOGC", "PYTHONDEVMODE", "ETCD_UNSAFE_NO_FSYNC"):
            self.patch(os, "environ", {**os.environ, name: "1"})
        started: list[dict[str, str]] = []
        self.patch(servers.subprocess, "Popen", lambda _command, env, **_options: started.append(env))
        self.patch(servers.shutil, "which", lambda program: program)
        server = servers.GoEtcd(Path(self.mktemp()).resolve())
        server.launch()
        self.assertEqual(started[0]["ETCD_ENABLE_V2"], "true")
        self.assertEqual([each for each in started[0] if each.startswith(("GO", "PYTHON"))], [])
        self.assertEqual([each for each in started[0] if each.startswith("ETCD_")], ["ETCD_ENABLE_V2"])
        server._forget()
