"""
Tests that what was removed with directories is forgotten turn by turn.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.background.clearing import Clearing
from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import commands as c
from tests.consensus.cluster import ClusterTestCase
from tests.keyspace.running import key_space


class ClearingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.space = key_space(*(c.Set(f"/d/{number}", 0, expires=5) for number in range(2_500)))
        self.clearing = Clearing(self.clock, self.space)

    def left(self) -> int:
        return len(self.space._schedule)

    def test_each_turn_forgets_a_bounded_part(self) -> None:
        """Each turn forgets a bounded part, and there are as many turns as it takes, and no more."""
        self.clearing.schedule()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.space.apply(c.Delete("/d", 0, recursive=True))
        left: list[int] = []
        forget = self.space.forget_removed_ttls

        def forget_and_count(most: int) -> None:
            forget(most)
            left.append(self.left())
            self.clearing.schedule()

        self.patch(self.space, "forget_removed_ttls", forget_and_count)
        self.clearing.schedule()
        self.clearing.schedule()
        self.assertEqual((len(self.clock.getDelayedCalls()), left), (1, []))
        self.clock.advance(0)
        self.assertEqual((left, self.clock.getDelayedCalls()), ([1_500, 500, 0], []))

    def test_stop_ends_the_clearing(self) -> None:
        self.space.apply(c.Delete("/d", 0, recursive=True))
        self.clearing.schedule()
        self.clearing.stop()
        self.clearing.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.left()), ([], 2_500))


class ClusterTests(ClusterTestCase):
    """Leaders and followers forget alike."""

    def test_every_machine_forgets(self) -> None:
        """Otherwise a follower would have to skip all of that at once to find the next key that expires."""
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        expires = leader.replica.now() + 3_600_000_000
        for number in range(20):
            cluster.result_of(leader.set(f"/d/{number}", "1", expires))
        cluster.result_of(leader.replica.propose(c.Delete("/d", leader.replica.now(), recursive=True)))
        cluster.settle()
        for machine in cluster.running:
            self.assertRaises(EtcdError, machine.replica.get, "/d")
            self.assertFalse(machine.replica.keyspace.removed_directories)
            self.assertEqual(len(machine.replica.keyspace._schedule), 0)
