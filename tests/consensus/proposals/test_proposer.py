"""
Tests of L{etcd_twisted.consensus.proposals.proposer}.
"""

from pathlib import Path

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.proposals.pending import Proposal, Proposals
from etcd_twisted.consensus.proposals.proposer import (
    LONGEST_WAIT_SECONDS,
    MOST_UNAPPLIED_BYTES,
    MOST_WAITING_BYTES,
    Throttle,
)
from etcd_twisted.consensus.raft.entries import Entry, EntryKind
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from tests.consensus.cluster import ClusterTestCase
from tests.consensus.machine import TestMachine


class TooMuchError(Exception):
    """The proposal has waited for too long."""


class ThrottleTests(SynchronousTestCase):
    """Tests of the throttle with proposals that the test adds and applies."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.proposals = Proposals(self.clock, 1.0, ValueError)
        self.throttle = Throttle(self.clock, self.proposals, TooMuchError)

    def propose(self, index: int, size: int) -> None:
        self.proposals.add(index, Proposal(None, 1, size, lambda _: None))

    def apply(self, index: int) -> None:
        self.proposals.take([Entry(index, 1, EntryKind.COMMAND, b"")])
        self.throttle.admit()

    def test_there_is_room_up_to_a_bound(self) -> None:
        self.propose(1, MOST_UNAPPLIED_BYTES)
        self.assertTrue(self.throttle.is_open)
        self.propose(2, 1)
        self.assertFalse(self.throttle.is_open)
        self.apply(2)
        self.assertTrue(self.throttle.is_open)

    def test_proposals_are_admitted_in_order(self) -> None:
        """Proposals are admitted in the order of their arrival, and none before those that wait."""
        self.propose(1, MOST_UNAPPLIED_BYTES)
        self.propose(2, 1)
        order: list[int] = []
        for number in range(3):
            waiting = self.throttle.wait(1)
            waiting.addCallback(
                lambda _, number=number: (order.append(number), self.propose(number + 3, MOST_UNAPPLIED_BYTES))
            )
        self.apply(1)
        self.assertEqual(order, [0])
        self.apply(2)
        self.assertFalse(self.throttle.is_open)
        self.assertEqual(order, [0, 1])
        self.apply(3)
        self.assertEqual(order, [0, 1, 2])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_number_of_waiting_proposals_is_bounded(self) -> None:
        """Too many proposals are refused at once, until fewer wait."""
        self.propose(1, MOST_UNAPPLIED_BYTES + 1)
        waiting = self.throttle.wait(MOST_WAITING_BYTES + 1)
        self.failureResultOf(self.throttle.wait(1), TooMuchError)
        self.apply(1)
        self.successResultOf(waiting)
        self.propose(2, MOST_UNAPPLIED_BYTES + 1)
        again = self.throttle.wait(1)
        self.assertNoResult(again)
        self.clock.advance(LONGEST_WAIT_SECONDS)
        self.failureResultOf(again, TooMuchError)

    def test_waiting_proposals_go_first(self) -> None:
        """Waiting proposals precede one that comes when there is room again and none was admitted yet."""
        self.propose(1, MOST_UNAPPLIED_BYTES + 1)
        waiting = self.throttle.wait(1)
        self.proposals.take([Entry(1, 1, EntryKind.COMMAND, b"")])
        self.assertFalse(self.throttle.is_open)
        self.throttle.admit()
        self.successResultOf(waiting)
        self.assertTrue(self.throttle.is_open)

    def test_proposal_that_waits_for_too_long_fails(self) -> None:
        self.propose(1, MOST_UNAPPLIED_BYTES + 1)
        waiting = self.throttle.wait(1)
        self.clock.advance(LONGEST_WAIT_SECONDS - 1)
        later = self.throttle.wait(1)
        self.clock.advance(1)
        self.failureResultOf(waiting, TooMuchError)
        self.assertNoResult(later)
        self.apply(1)
        self.successResultOf(later)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled_proposal_holds_up_no_other(self) -> None:
        """A cancelled proposal holds up no other."""
        self.propose(1, MOST_UNAPPLIED_BYTES + 1)
        gone, there = self.throttle.wait(1), self.throttle.wait(1)
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.apply(1)
        self.successResultOf(there)
        self.assertTrue(self.throttle.is_open)

    def test_no_proposal_is_admitted_after_the_end(self) -> None:
        self.propose(1, MOST_UNAPPLIED_BYTES + 1)
        waiting = [self.throttle.wait(1) for _ in range(2)]
        error = RequestDroppedError()
        self.throttle.refuse(error)
        for each in waiting:
            self.assertIs(self.failureResultOf(each).value, error)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class MachineTests(SynchronousTestCase):
    """Tests of a machine as its clients see it, whose disk works when the test decides."""

    def setUp(self) -> None:
        self.machine = TestMachine(Path(self.mktemp()), unapplied_bytes=500)
        self.machine.settle()

    @property
    def logged(self) -> int:
        """Returns the last entry that a machine has in its log, on disk or not."""
        member = self.machine.replica._member
        assert member is not None
        return member.raft.last_index

    def test_all_proposals_are_done_in_order(self) -> None:
        """Proposals are done in the order in which they came, and only some of them at a time."""
        before = self.logged
        answers = [self.machine.set(f"/{number}", 200 * "x") for number in range(20)]
        self.machine.clock.advance(0)
        self.assertEqual(self.logged, before + 3)
        self.machine.disk_thread.run_one()
        self.machine.clock.advance(0)
        self.assertEqual(self.logged, before + 6)
        self.machine.settle()
        self.assertEqual([self.successResultOf(answer).index for answer in answers], list(range(2, 22)))
        self.machine.stop()
        self.assertEqual(self.machine.clock.getDelayedCalls(), [])

    def test_disk_that_hangs_fails_waiting_proposals(self) -> None:
        """
        A proposal that waits for too long is reported as not done, and the others are answered when they are done.
        """
        answers = [self.machine.set(f"/{number}", 200 * "x") for number in range(4)]
        self.machine.clock.advance(0)
        logged = self.logged
        self.machine.clock.advance(LONGEST_WAIT_SECONDS)
        error = self.failureResultOf(answers.pop(), EtcdError).value
        self.assertEqual((error.code, error.index), (ErrorCode.RAFT_INTERNAL, 1))
        self.assertIn("this one was not made; try again later", error.cause)
        self.machine.settle()
        self.assertEqual(self.logged, logged)
        for answer in answers:
            self.successResultOf(answer)
        self.machine.stop()

    def test_disk_that_fails_fails_all_proposals(self) -> None:
        """Every proposal fails."""
        answers = [self.machine.set(f"/{number}", 200 * "x") for number in range(10)]
        self.machine.disk_thread.failing = OSError(5, "Input/output error")
        self.machine.settle()
        for answer in answers:
            self.failureResultOf(answer, EtcdError)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.machine.stop()

    def test_stop_serves_waiting_proposals(self) -> None:
        """Waiting proposals are served before the machine stops."""
        answers = [self.machine.set(f"/{number}", 200 * "x") for number in range(10)]
        self.machine.stop()
        for answer in answers:
            self.successResultOf(answer)


class ClusterTests(ClusterTestCase):
    """Tests of a lost leader."""

    def test_waiting_proposals_fail_when_another_machine_leads(self) -> None:
        """A waiting proposal was not made, and may be made to the new leader."""
        cluster = self.cluster(unapplied_bytes=500)
        cluster.start(3)
        old = cluster.leader
        cluster.network.isolate(old.name)
        answers = [old.set(f"/{number}", 200 * "x") for number in range(6)]
        cluster.advance_until(lambda: not old.leads)
        for answer in answers[3:]:
            self.failureResultOf(answer, RequestDroppedError)
        for answer in answers[:3]:
            self.assertNoResult(answer)
        cluster.advance_until(lambda: answers[0].called)
        for answer in answers[:3]:
            self.assertIn("unknown", self.failureResultOf(answer, EtcdError).value.cause)
