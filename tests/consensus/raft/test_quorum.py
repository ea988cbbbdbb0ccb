"""
Tests of L{etcd_twisted.consensus.raft.quorum}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft import quorum


class QuorumTests(SynchronousTestCase):
    def test_sizes_of_quorums(self) -> None:
        self.assertEqual([quorum.size(voters) for voters in range(1, 10)], [1, 2, 2, 3, 3, 4, 4, 5, 5])

    @given(st.integers(1, 100))
    def test_two_quorums_always_meet(self, voters: int) -> None:
        """A quorum of a group also meets one of the group that has one voter more (dissertation, section 4.1)."""
        self.assertGreater(2 * quorum.size(voters), voters)
        self.assertGreater(quorum.size(voters) + quorum.size(voters + 1), voters + 1)
        self.assertLessEqual(quorum.size(voters), voters)

    @given(st.lists(st.integers(0, 1 << 48), max_size=9))
    def test_quorum_has_reached_the_index_and_no_further_one(self, values: list[int]) -> None:
        reached = quorum.reached(iter(values))
        if not values:
            self.assertEqual(reached, 0)
            return
        self.assertIn(reached, values)
        self.assertGreaterEqual(sum(value >= reached for value in values), quorum.size(len(values)))
        self.assertLess(sum(value > reached for value in values), quorum.size(len(values)))
