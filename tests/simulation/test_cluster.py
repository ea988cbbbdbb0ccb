"""
Runs a few seeds, while C{make simulate} runs many, and checks that one seed always gives the same run.
"""

import itertools
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.cluster import Cluster
from tests.simulation.invariants import Violation
from tests.simulation.mutants import acknowledges_before_the_sync
from tests.simulation.plan import KINDS

_SEEDS = 4
_SMALL = 20
"""A seed whose run takes little time."""

_MOST = 60
"""How many seeds are tried at most until one fails with a broken core."""


class SimulationTests(SynchronousTestCase):
    """Tests of L{Cluster}."""

    def tearDown(self) -> None:
        """Disks fail here, and machines log that; L{Cluster} has checked all of these log events."""
        self.flushLoggedErrors()

    def test_seeds_keep_all_promises(self) -> None:
        """Whatever the faults are, nothing is lost and every answer is correct."""
        for seed in range(_SEEDS):
            report = Cluster(seed).run()
            self.assertGreater(report.done, 0)

    def test_seeds_pass_through_any_machine(self) -> None:
        """
        The same holds if clients ask any machine, and those that do not lead ask the leader for them: the answers are
        linearizable, and nothing is done twice (spec, "Redirects").
        """
        for seed in range(2_000, 2_000 + _SEEDS):
            report = Cluster(seed, forwards=True).run()
            self.assertGreater(report.done, 0)
        Cluster(2_100, forwards=True, kinds=KINDS, fault_pause=0.2, machines=5).run()

    def test_seeds_pass_through_workers(self) -> None:
        """
        The same holds if clients ask workers, of the leader or of any machine, while workers die and lag, too. Their
        copies are those of their machines then, byte for byte.
        """
        for seed in range(5_000, 5_000 + _SEEDS // 2):
            report = Cluster(seed, workers=2, forwards=bool(seed % 2)).run()
            self.assertGreater(report.done, 0)

    def test_seeds_pass_with_padded_names(self) -> None:
        """So do seeds of clusters whose machines have the defaults of etcd 2, with padded in-order keys."""
        for seed in range(3_000, 3_000 + _SEEDS // 4 + 1):
            cluster = Cluster(seed, forwards=True, profile="etcd2")
            self.assertGreater(cluster.run().done, 0)
            self.assertTrue(cluster.reference.state().pads_in_order_keys)

    def test_all_faults_in_one_run(self) -> None:
        """All kinds of faults in one run do no harm either."""
        Cluster(1_000, kinds=KINDS, fault_pause=0.2, machines=5).run()

    def test_same_seed_same_run(self) -> None:
        """The same seed gives the same run, step by step, whatever has run before."""
        stories: list[list[str]] = [[], []]
        first = Cluster(3, stories[0].append).run()
        other = Cluster(_SMALL).run()
        again = Cluster(3, stories[1].append).run()
        self.assertEqual(first, again)
        self.assertEqual(stories[0], stories[1])
        self.assertNotEqual(first.digest, other.digest)

    def test_system_decides_nothing(self) -> None:
        """The run of a seed depends neither on its process and the computer, nor on how fast these are."""
        reports = set()
        for digits in (1, 6):
            times = itertools.accumulate(itertools.repeat(10.0**digits))
            with ExitStack() as stack:
                stack.enter_context(mock.patch("os.getpid", return_value=int("7" * digits)))
                stack.enter_context(mock.patch("socket.gethostname", return_value="h" * digits))
                for clock in ("time", "monotonic", "perf_counter"):
                    stack.enter_context(mock.patch.object(time, clock, lambda times=times: next(times)))
                reports.add(Cluster(_SMALL).run())
        self.assertEqual(len(reports), 1, reports)

    def test_same_seed_same_run_in_every_process(self) -> None:
        """The same holds for a process with its own order of sets, which has run nothing before."""
        here = str(Cluster(_SMALL).run())
        story = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", str(_SMALL)],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONHASHSEED": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        self.assertEqual(story.splitlines()[-1], here)

    def test_failure_is_repeated_by_its_seed(self) -> None:
        """A failure names its seed, which fails in the same way again."""
        with acknowledges_before_the_sync():
            plan = {"kinds": ("crash_all", "slow_disk"), "fault_pause": 0.2}
            failures = ((seed, self._failure(seed, plan)) for seed in range(_MOST))
            seed, first = next(each for each in failures if each[1])
            self.assertTrue(first.startswith(f"seed {seed}: "), first)
            self.assertEqual(self._failure(seed, plan), first)

    @staticmethod
    def _failure(seed: int, plan: dict[str, Any]) -> str:
        try:
            Cluster(seed, **plan).run()
        except Violation as violation:
            return str(violation)
        return ""

    def test_run_leaves_nothing(self) -> None:
        """After a run the system's calls are restored, and no files are left."""
        cluster = Cluster(5)
        with mock.patch("os.fsync") as fsync:
            cluster.run()
            fsync.assert_not_called()
        self.assertFalse(cluster.disks.root.exists())
