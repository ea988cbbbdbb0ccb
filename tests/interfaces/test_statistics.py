"""
Tests of how measurements are collected.
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
    """Tests of a histogram."""

    @given(SECONDS)
    def test_every_duration_is_counted_in_its_bucket(self, seconds: list[float]) -> None:
        """Each bucket counts as many durations as it should, and every duration is in one."""
        durations = Durations()
        for each in seconds:
            durations.add(each)
        *cumulated, everything = accumulate(durations.counts)
        self.assertEqual(cumulated, [sum(each <= bound for each in seconds) for bound in BUCKET_BOUNDS_SECONDS])
        self.assertEqual(everything, len(seconds))
        self.assertAlmostEqual(durations.total_seconds, sum(seconds))

    def test_bounds_rise_and_include_those_of_etcd(self) -> None:
        """The bounds rise, and include those of etcd, so that its dashboards find them."""
        self.assertEqual(sorted(set(BUCKET_BOUNDS_SECONDS)), list(BUCKET_BOUNDS_SECONDS))
        self.assertLessEqual({f"{bound:g}" for bound in ETCD}, {f"{bound:g}" for bound in BUCKET_BOUNDS_SECONDS})
