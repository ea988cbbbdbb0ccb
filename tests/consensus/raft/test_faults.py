"""
Tests of L{etcd_twisted.consensus.raft.core} under all faults: the properties of the Raft paper's figure 3 hold, and
the group goes on once the faults end.
"""

import os

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.limits import RaftLimits
from tests.consensus.raft.faults import Faults

SEEDS = int(os.environ.get("RAFT_SEEDS", "12"))
"""How many seeds are run; C{make raft-campaign} runs many."""


class FaultsTests(SynchronousTestCase):
    def run_seed(self, seed: int) -> Faults:
        """Runs a seed, with limits so small that they are reached."""
        limits = RaftLimits(trailing_entries=(10, 3, 0)[seed % 3], batch_entries=3, in_flight_batches=3)
        faults = Faults(seed, ("abc", "abcde", "a", "ab")[seed % 4], limits)
        try:
            faults.run(1_000)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}; {faults.describe()}") from error
        return faults

    def test_nothing_is_lost_or_contradicted(self) -> None:
        for seed in range(SEEDS):
            self.run_seed(seed)

    def test_a_seed_is_always_the_same_story(self) -> None:
        first, second = self.run_seed(7), self.run_seed(7)
        self.assertEqual(first.describe(), second.describe())
        self.assertEqual((first.leaders, first.states()), (second.leaders, second.states()))
