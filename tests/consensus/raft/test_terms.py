"""
Tests of L{etcd_twisted.consensus.raft.core}: terms (Raft paper, section 5.1) and what is remembered of them (figure 2,
"persistent state").
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import HardState, Record
from etcd_twisted.consensus.raft.messages import Append, AppendReply, Message, TimeoutNow, VoteReply, VoteRequest
from etcd_twisted.consensus.raft.state import Role
from tests.consensus.raft.group import LONG, Group, Machine, alone, elect, entries_of, sent


def machine_as(role: Role) -> Machine:
    """Returns one of three machines in term 3."""
    machine = alone("a", "abc", [1, 2], HardState(2))
    core = machine.core
    if role is Role.LEADER:
        elect(machine)
    elif role is Role.FOLLOWER:
        core.receive("b", Append(3, 1, 2, 2, 0), 0.0)
    else:
        core.campaign(0.0)
        core.receive("b", VoteReply(3, True, pre=True), 0.0)
        if role is Role.PRE_CANDIDATE:
            core.campaign(0.0)
    sent(machine)
    assert (core.role, core.term) == (role, 3)
    return machine


class NewerTermTests(SynchronousTestCase):
    """If one server's current term is smaller than the other's, then it updates its current term to the larger one."""

    NEWS: tuple[Message, ...] = (
        Append(5, 1, 0, 0, 0),
        AppendReply(5, 1, 0, 0),
        AppendReply(5, 0, 0, 0, rejected=True),
        VoteReply(5, False),
        VoteReply(5, False, pre=True),
    )

    def test_newer_term_makes_any_machine_a_follower(self) -> None:
        for role in Role:
            for message in self.NEWS:
                core = machine_as(role).core
                core.receive("b", message, 0.0)
                self.assertEqual((core.role, core.term), (Role.FOLLOWER, 5), (role, message))
                self.assertIsNone(core.leadership)
                self.assertEqual(core.leader, "b" if isinstance(message, Append) else None)

    def test_candidate_brings_its_term(self) -> None:
        """No leader was heard lately here; otherwise the candidate would be ignored."""
        for role in (Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE):
            machine = machine_as(role)
            machine.core.receive("b", VoteRequest(5, 0, 0), LONG)
            self.assertEqual((machine.core.role, machine.core.term), (Role.FOLLOWER, 5), role)
            self.assertEqual(sent(machine, LONG), [("b", VoteReply(5, False))])

    def test_a_granted_pre_vote_is_of_no_term_yet(self) -> None:
        """A pre-vote names the term that the candidate would have (dissertation, section 9.6)."""
        for role in Role:
            machine = machine_as(role)
            machine.core.receive("b", VoteReply(5, True, pre=True), 0.0)
            self.assertEqual((machine.core.role, machine.core.term), (role, 3))

    def test_a_new_term_is_begun_without_a_vote(self) -> None:
        machine = machine_as(Role.CANDIDATE)
        machine.core.receive("b", AppendReply(5, 1, 0, 0), 0.0)
        self.assertEqual(machine.save(0.0), [Record(HardState(5, ""), ())])


class OlderTermTests(SynchronousTestCase):
    """If a server receives a request with a stale term number, it rejects the request."""

    def test_old_leader_learns_the_newer_term(self) -> None:
        for role in Role:
            machine = machine_as(role)
            machine.core.receive("b", Append(2, 1, 2, 2, 2, entries_of([2], 3)), 0.0)
            self.assertIn(("b", AppendReply(3, 0, 0, 2, rejected=True)), sent(machine), role)
            self.assertEqual((machine.core.role, machine.core.term, machine.core.commit_index), (role, 3, 0))

    def test_old_candidate_learns_the_newer_term(self) -> None:
        for pre in (False, True):
            machine = machine_as(Role.CANDIDATE)
            machine.core.receive("b", VoteRequest(2, 9, 2, pre), 0.0)
            self.assertEqual(sent(machine), [("b", VoteReply(3, False, pre))])

    def test_old_answers_and_orders_change_nothing(self) -> None:
        old: tuple[Message, ...] = (
            AppendReply(2, 9, 9, 9),
            VoteReply(2, True),
            VoteReply(2, False),
            VoteReply(3, True, pre=True),
            TimeoutNow(2),
        )
        for role in Role:
            for message in old:
                machine = machine_as(role)
                machine.core.receive("b", message, 0.0)
                machine.core.receive("c", message, 0.0)
                self.assertEqual((machine.core.role, machine.core.term), (role, 3), (role, message))
                self.assertEqual(sent(machine), [])
                self.assertEqual(machine.core.commit_index, 0)


class DurabilityTests(SynchronousTestCase):
    """Persistent state is updated on stable storage before responding to RPCs (figure 2)."""

    def test_nothing_is_sent_in_a_term_that_is_not_durable(self) -> None:
        machine = machine_as(Role.FOLLOWER)
        core = machine.core
        core.receive("b", Append(4, 1, 2, 2, 0), 0.0)
        self.assertEqual(core.to_send(0.0), [])
        self.assertTrue(machine.write())
        self.assertEqual(core.to_send(0.0), [])
        machine.sync(0.0)
        self.assertEqual(core.to_send(0.0), [("b", AppendReply(4, 1, 2, 2))])
        self.assertEqual(core.to_send(0.0), [])

    def test_nothing_is_sent_while_a_newer_term_is_being_written(self) -> None:
        machine = machine_as(Role.FOLLOWER)
        core = machine.core
        core.receive("b", Append(4, 1, 2, 2, 0), 0.0)
        machine.write()
        core.receive("c", Append(5, 1, 2, 2, 0), 0.0)
        machine.sync(0.0)
        self.assertEqual(core.to_send(0.0), [])
        machine.save(0.0)
        self.assertEqual([receiver for receiver, _ in core.to_send(0.0)], ["b", "c"])

    def test_a_vote_is_durable_before_it_is_given(self) -> None:
        machine = alone("a", "abc", [1])
        machine.core.receive("b", VoteRequest(2, 1, 1), 0.0)
        self.assertEqual(machine.core.to_send(0.0), [])
        self.assertEqual(machine.save(0.0), [Record(HardState(2, "b"), ())])
        self.assertEqual(machine.core.to_send(0.0), [("b", VoteReply(2, True))])

    def test_term_and_vote_outlast_a_restart(self) -> None:
        group = Group("abc")
        group["a"].receive("b", VoteRequest(3, 0, 0), LONG)
        group.machines["a"].save(LONG)
        group.crash("a")
        group.now = 5 * LONG
        group.start("a")
        core = group["a"]
        self.assertEqual((core.role, core.term, core.leader), (Role.FOLLOWER, 3, None))
        core.receive("c", VoteRequest(3, 0, 0), 6 * LONG)
        core.receive("b", VoteRequest(3, 0, 0), 6 * LONG)
        self.assertEqual(sent(group.machines["a"], 6 * LONG), [("c", VoteReply(3, False)), ("b", VoteReply(3, True))])
