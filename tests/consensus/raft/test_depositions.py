"""
Tests of L{etcd_twisted.consensus.raft.core}: a leader that stops leading knows the reason.
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import Configuration
from etcd_twisted.consensus.raft.leader import Deposition
from etcd_twisted.consensus.raft.messages import Append, AppendReply, VoteRequest
from tests.consensus.raft.group import LONG, TIMING, Machine, alone, elect, sent


def leading(voters: str = "abc") -> Machine:
    """Returns machine a, which leads in term 2."""
    machine = alone("a", voters, [1])
    elect(machine)
    for other in voters[1:]:
        machine.core.receive(other, AppendReply(2, 1, 2, 2), 0.0)
    sent(machine)
    return machine


class DepositionTests(SynchronousTestCase):
    """Tests of each way in which a leadership ends."""

    def test_leader_was_not_deposed(self) -> None:
        """A leader has not been deposed, nor has a machine that never led."""
        self.assertIsNone(leading().core.deposition)
        follower = alone("a", "abc", [1])
        follower.core.receive("b", Append(5, 1, 1, 1, 0), 0.0)
        self.assertIsNone(follower.core.deposition)

    def test_deposed_by_a_newer_term(self) -> None:
        """The leader hears of a newer term in an answer, from another leader, or with the offer of a snapshot."""
        for message in (AppendReply(7, 0, 0, 0, rejected=True), Append(7, 1, 1, 1, 0)):
            core = leading().core
            core.receive("b", message, 0.0)
            self.assertEqual(core.deposition, Deposition(2, 7, "b"))
        core = leading().core
        core.wants_snapshot("c", 7, 5, 0.0)
        self.assertEqual(core.deposition, Deposition(2, 7, "c"))

    def test_deposed_without_a_quorum(self) -> None:
        """No machine answers the leader, and it knows for how long."""
        core = leading().core
        core.tick(TIMING.election_timeout_seconds)
        self.assertIsNone(core.deposition)
        core.tick(LONG)
        assert core.deposition is not None
        self.assertEqual(core.deposition, Deposition(2, unanswered_seconds=core.deposition.unanswered_seconds))
        self.assertApproximates(core.deposition.unanswered_seconds, LONG, 0.001)

    def test_deposed_by_a_transfer(self) -> None:
        """The machine that the leader has told to stand asks for its vote."""
        machine = leading()
        machine.core.transfer(0.0)
        sent(machine)
        machine.core.receive("b", VoteRequest(3, 2, 2, False, True), 0.0)
        self.assertEqual(machine.core.deposition, Deposition(2, 3, "b", handed_over=True))

    def test_deposed_by_its_removal(self) -> None:
        """The leader was removed from the group, and that is committed."""
        machine = leading()
        index = machine.core.propose_configuration(Configuration(("b", "c")), 0.0)
        sent(machine)
        for other in "bc":
            machine.core.receive(other, AppendReply(2, 1, index, index), 0.0)
        self.assertEqual(machine.core.deposition, Deposition(2, removed=True))
