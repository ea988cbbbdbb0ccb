"""
Tests of L{etcd_twisted.consensus.raft.core}: leadership transfer (Raft dissertation, section 3.10).
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import HardState, Record
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.messages import AppendReply, TimeoutNow, VoteReply, VoteRequest
from etcd_twisted.consensus.raft.state import Role
from tests.consensus.raft.group import LONG, TIMING, Group, Machine, alone, elect, sent


def leading(voters: str = "abc", learners: str = "") -> Machine:
    """Returns machine a, which leads; b has more of its log than the others."""
    machine = alone("a", voters, [1], learners=learners)
    elect(machine)
    for other in voters[1:] + learners:
        machine.core.receive(other, AppendReply(2, 1, 1, 1), 0.0)
    machine.core.receive("b", AppendReply(2, 1, 2, 2), 0.0)
    sent(machine)
    return machine


def told(machine: Machine, now: float = 0.0) -> list[str]:
    """Returns the machine that is told to stand."""
    return [receiver for receiver, message in sent(machine, now) if isinstance(message, TimeoutNow)]


class LeaderTests(SynchronousTestCase):
    def test_machine_that_has_everything_is_told_to_stand_at_once(self) -> None:
        machine = leading()
        self.assertTrue(machine.core.transfer(0.0))
        self.assertEqual(told(machine), ["b"])
        self.assertEqual(told(machine), [])

    def test_no_proposals_are_accepted_during_a_transfer(self) -> None:
        core = leading().core
        core.transfer(0.0)
        self.assertFalse(core.leads)
        self.assertRaises(NotLeaderError, core.propose, b"x")
        self.assertEqual(core.role, Role.LEADER)

    def test_target_gets_missing_entries_first(self) -> None:
        machine = leading()
        index = machine.core.propose(b"x")
        machine.core.transfer(0.0)
        self.assertEqual(told(machine), [])
        machine.core.receive("c", AppendReply(2, 1, index, index), 0.0)
        self.assertEqual(told(machine), [])
        machine.core.receive("b", AppendReply(2, 1, index, index), 0.0)
        self.assertEqual(told(machine), ["b"])

    def test_machine_with_the_longest_log_is_chosen(self) -> None:
        machine = leading("abcd")
        index = machine.core.propose(b"x")
        machine.core.receive("c", AppendReply(2, 1, index, index), 0.0)
        sent(machine)
        machine.core.transfer(0.0)
        self.assertEqual(told(machine), ["c"])

    def test_target_was_heard_lately(self) -> None:
        machine = leading()
        now = 1.1 * TIMING.election_timeout_seconds
        sent(machine, now)
        machine.core.receive("c", AppendReply(2, 2, 2, 2), now)
        self.assertTrue(machine.core.transfer(now))
        self.assertEqual(told(machine, now), ["c"])

    def test_no_transfer_without_another_voter(self) -> None:
        for voters, learners in (("a", ""), ("a", "b")):
            machine = alone("a", voters, [1], learners=learners)
            elect(machine)
            machine.core.receive("b", AppendReply(2, 1, 2, 2), 0.0)
            self.assertFalse(machine.core.transfer(0.0))
            self.assertTrue(machine.core.leads)

    def test_no_transfer_to_a_silent_machine(self) -> None:
        machine = leading()
        self.assertFalse(machine.core.transfer(1.1 * TIMING.election_timeout_seconds))

    def test_follower_has_nothing_to_transfer(self) -> None:
        self.assertFalse(alone("a", "abc").core.transfer(0.0))

    def test_leader_goes_on_after_a_failed_transfer(self) -> None:
        """
        If leadership transfer does not complete after about an election timeout, the leader resumes accepting
        requests.
        """
        machine = leading()
        core = machine.core
        core.transfer(0.0)
        self.assertEqual(told(machine), ["b"])
        sent(machine, TIMING.election_timeout_seconds - 0.001)
        self.assertFalse(core.leads)
        sent(machine, TIMING.election_timeout_seconds)
        self.assertTrue(core.leads)
        core.propose(b"x")
        self.assertEqual(told(machine, TIMING.election_timeout_seconds), [])

    def test_repeated_transfer_chooses_another_target(self) -> None:
        machine = leading()
        machine.core.transfer(0.0)
        self.assertEqual(told(machine), ["b"])
        sent(machine, TIMING.election_timeout_seconds)
        machine.core.receive("c", AppendReply(2, 2, 2, 2), TIMING.election_timeout_seconds)
        self.assertTrue(machine.core.transfer(TIMING.election_timeout_seconds))
        self.assertEqual(told(machine, TIMING.election_timeout_seconds), ["c"])


class TargetTests(SynchronousTestCase):
    def test_target_stands_without_a_pre_vote(self) -> None:
        """
        The target acts as if its election timer had elapsed; machines that still hear the old leader need not be
        asked.
        """
        machine = alone("b", "abc", [1], HardState(2))
        machine.core.receive("a", TimeoutNow(2), 0.0)
        self.assertEqual((machine.core.role, machine.core.term), (Role.CANDIDATE, 3))
        self.assertEqual(machine.save(0.0), [Record(HardState(3, "b"), ())])
        request = VoteRequest(3, 1, 1, transfer=True)
        self.assertEqual(machine.core.to_send(0.0), [("a", request), ("c", request)])

    def test_second_order_to_stand_changes_nothing(self) -> None:
        for role in (Role.CANDIDATE, Role.LEADER):
            machine = alone("b", "abc", [1], HardState(2))
            machine.core.receive("a", TimeoutNow(2), 0.0)
            machine.save(0.0)
            if role is Role.LEADER:
                machine.core.receive("a", VoteReply(3, True), 0.0)
            machine.core.receive("a", TimeoutNow(2), 0.0)
            self.assertEqual((machine.core.role, machine.core.term), (role, 3))

    def test_leader_ignores_an_order_to_stand(self) -> None:
        machine = leading()
        machine.core.receive("b", TimeoutNow(2), 0.0)
        self.assertEqual((machine.core.role, machine.core.term), (Role.LEADER, 2))

    def test_late_order_to_stand_is_ignored(self) -> None:
        machine = alone("b", "abc", [1], HardState(3))
        machine.core.receive("a", TimeoutNow(2), 0.0)
        self.assertEqual((machine.core.role, machine.core.term), (Role.FOLLOWER, 3))

    def test_learner_ignores_an_order_to_stand(self) -> None:
        machine = alone("b", "ac", [1], HardState(2), learners="b")
        machine.core.receive("a", TimeoutNow(2), 0.0)
        self.assertEqual((machine.core.role, machine.core.term), (Role.FOLLOWER, 2))

    def test_target_that_loses_asks_for_pre_votes(self) -> None:
        machine = alone("b", "abc", [1], HardState(2))
        machine.core.receive("a", TimeoutNow(2), 0.0)
        sent(machine)
        self.assertGreaterEqual(machine.core.deadline, TIMING.election_timeout_seconds)
        machine.core.tick(machine.core.deadline)
        self.assertEqual((machine.core.role, machine.core.term), (Role.PRE_CANDIDATE, 3))
        self.assertEqual({m for _, m in machine.core.to_send(LONG)}, {VoteRequest(4, 1, 1, pre=True)})


class GroupTests(SynchronousTestCase):
    def test_transfer_takes_no_time(self) -> None:
        group = Group("abc")
        group.elect("a")
        group.propose(b"x")
        group.settle()
        before = group.now
        self.assertTrue(group["a"].transfer(group.now))
        group.settle()
        self.assertEqual(group.now, before)
        self.assertIn(group.leader(), "bc")
        group.propose(b"y")
        group.settle()
        self.assertEqual(group.states(), {each: [b"x", b"y"] for each in "abc"})

    def test_transfer_keeps_everything_that_was_proposed(self) -> None:
        group = Group("abcde")
        group.elect("a")
        for number in range(50):
            group.propose(b"%d" % number)
        group["a"].transfer(group.now)
        group.settle()
        self.assertNotEqual(group.leader(), "a")
        group.advance(TIMING.heartbeat_seconds)
        self.assertEqual(group.states(), {each: [b"%d" % number for number in range(50)] for each in "abcde"})

    def test_leadership_is_transferred_around_the_group(self) -> None:
        group = Group("abc")
        group.elect("a")
        for number in range(20):
            leader = group.leader()
            group.propose(b"%d" % number)
            self.assertTrue(group[leader].transfer(group.now))
            group.settle()
            self.assertNotEqual(group.leader(), leader)
            self.assertEqual(group[group.leader()].term, number + 2)
            group.advance(TIMING.heartbeat_seconds)
        self.assertEqual(len(group.states()["a"]), 20)

    def test_target_that_stands_late_does_no_harm(self) -> None:
        """The leader has gone on meanwhile, without its lease, and what it has committed is kept."""
        group = Group("abc")
        group.elect("a")
        group.passes = lambda each: not isinstance(each.message, TimeoutNow)
        group["a"].transfer(group.now)
        group.advance(TIMING.election_timeout_seconds)
        (order,) = {each for each in group.lost if isinstance(each.message, TimeoutNow)}
        group.heal()
        group.propose(b"x")
        group.advance(TIMING.heartbeat_seconds)
        group.deliver(order)
        group.advance(TIMING.heartbeat_seconds)
        self.assertEqual(group.leader(), order.receiver)
        self.assertEqual(group.states(), {each: [b"x"] for each in "abc"})
