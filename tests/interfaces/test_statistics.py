"""
What is measured, put together.
"""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.interfaces.statistics import BUCKET_BOUNDS_SECONDS, Durations

SECONDS = st.lists(st.floats(0.0, 100.0) | st.sampled_from(BUCKET_BOUNDS_SECONDS))
ETCD = tuple(0.001 * 2**step for step in range(14))
"""The bounds of etcd's histograms of the disk, in seconds."""


class DurationsTests(SynchronousTestCase):
    """A histogram."""

    @given(SECONDS)
    def test_counts(self, seconds: list[float]) -> None:
        """Up to each bound there are as many as there should be, and all have a place."""
        durations = Durations()
        for each in seconds:
            durations.add(each)
        *cumulated, everything = accumulate(durations.counts)
        self.assertEqual(cumulated, [sum(each <= bound for each in seconds) for bound in BUCKET_BOUNDS_SECONDS])
        self.assertEqual(everything, len(seconds))
        self.assertAlmostEqual(durations.total, sum(seconds))

    def test_bounds(self) -> None:
        """They rise, and etcd's are among them, so that its dashboards find theirs."""
        self.assertEqual(sorted(set(BUCKET_BOUNDS_SECONDS)), list(BUCKET_BOUNDS_SECONDS))
        self.assertLessEqual({f"{bound:g}" for bound in ETCD}, {f"{bound:g}" for bound in BUCKET_BOUNDS_SECONDS})
