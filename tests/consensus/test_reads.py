"""
Tests of L{etcd_twisted.consensus.reads}: reads are answered in the order of their confirmation, and none before its
index is applied.
"""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.reads import Reads


class ReadsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reads = Reads()

    def add(self, token: int) -> "Deferred[None]":
        read: Deferred[None] = Deferred()
        self.reads.add(token, lambda error: read.callback(None) if error is None else read.errback(error))
        return read

    def confirmed(self, token: int, index: int) -> "Deferred[None]":
        read = self.add(token)
        self.reads.confirm(token, index)
        return read

    def test_a_confirmed_read_waits_for_its_index(self) -> None:
        first, second = self.confirmed(1, 5), self.confirmed(2, 7)
        self.reads.applied(4)
        self.assertNoResult(first)
        self.reads.applied(6)
        self.successResultOf(first)
        self.assertNoResult(second)
        self.reads.applied(7)
        self.successResultOf(second)

    def test_an_unconfirmed_read_does_not_go_on(self) -> None:
        read = self.add(1)
        self.reads.applied(100)
        self.assertNoResult(read)

    def test_lost_leadership_fails_only_the_unconfirmed_reads(self) -> None:
        confirmed, unconfirmed = self.confirmed(1, 5), self.add(2)
        self.reads.fail_unconfirmed()
        self.failureResultOf(unconfirmed, NotLeaderError)
        self.assertNoResult(confirmed)
        self.reads.applied(5)
        self.successResultOf(confirmed)

    def test_end_fails_all_reads(self) -> None:
        reads = [self.confirmed(1, 5), self.add(2)]
        self.reads.fail()
        for read in reads:
            self.failureResultOf(read, NotLeaderError)

    def test_callback_when_no_read_waits(self) -> None:
        self.successResultOf(self.reads.when_none())
        read, unconfirmed = self.confirmed(1, 5), self.add(2)
        none = self.reads.when_none()
        self.reads.applied(5)
        self.successResultOf(read)
        self.assertNoResult(none)
        self.reads.fail_unconfirmed()
        self.failureResultOf(unconfirmed, NotLeaderError)
        self.successResultOf(none)

    def test_a_callback_that_raises_harms_no_other_read(self) -> None:
        def fail(_: object) -> None:
            raise ValueError("a fault of the caller")

        self.reads.add(1, fail)
        self.reads.confirm(1, 5)
        read = self.confirmed(2, 5)
        self.reads.applied(5)
        self.successResultOf(read)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
