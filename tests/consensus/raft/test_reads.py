"""
Tests of L{etcd_twisted.consensus.raft.core}: reads that need no log entry (Raft dissertation, section 6.4), by a round
of heartbeats or under the lease.
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import Configuration
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.leader import LEASE_ELECTIONS, Outgoing
from etcd_twisted.consensus.raft.messages import Append, AppendReply
from etcd_twisted.consensus.raft.state import Role
from tests.consensus.raft.group import LONG, TIMING, Group, Machine, Sent, alone, elect, sent


def leading(voters: str = "abc", learners: str = "") -> Machine:
    """
    Returns machine a, which leads and has committed in its term; it has begun one round of heartbeats, at time 0.
    """
    machine = alone("a", voters, [1], learners=learners)
    elect(machine)
    for voter in voters[1:]:
        machine.core.receive(voter, AppendReply(2, 0, 2, 2), 0.0)
    sent(machine)
    assert machine.core.leads_own_term or voters == "a"
    return machine


def round_of(messages: list[Outgoing]) -> int:
    """Returns the round that was begun."""
    (number,) = {message.round for _, message in messages if isinstance(message, Append)}
    return number


class ReadIndexTests(SynchronousTestCase):
    """The leader issues a new round of heartbeats and waits for acknowledgments from a majority."""

    def test_only_a_leader_takes_reads(self) -> None:
        self.assertRaises(NotLeaderError, alone("a", "abc").core.read, 1)

    def test_quorum_has_to_answer_a_round_that_began_after_the_read(self) -> None:
        for voters, learners, answering, answered in (
            ("ab", "", "", False),
            ("ab", "", "b", True),
            ("abc", "", "b", True),
            ("abcd", "", "b", False),
            ("abcd", "e", "be", False),
            ("abcde", "", "bb", False),
            ("abcde", "", "bd", True),
        ):
            machine = leading(voters, learners)
            machine.core.read(7)
            self.assertEqual(machine.core.to_answer(), [])
            number = round_of(sent(machine))
            self.assertEqual(number, 2)
            for voter in answering:
                machine.core.receive(voter, AppendReply(2, number, 2, 2), 0.0)
            self.assertEqual(machine.core.to_answer(), [(7, 2)] if answered else [], (voters, answering))
            self.assertEqual(machine.core.to_answer(), [])

    def test_answers_to_an_earlier_round_do_not_count(self) -> None:
        machine = leading()
        machine.core.read(7)
        sent(machine)
        for voter in "bc":
            machine.core.receive(voter, AppendReply(2, 1, 2, 2), 0.0)
        self.assertEqual(machine.core.to_answer(), [])

    def test_a_round_under_way_is_not_joined(self) -> None:
        machine = leading()
        machine.core.read(1)
        first = round_of(sent(machine))
        machine.core.read(2)
        second = round_of(sent(machine))
        machine.core.receive("b", AppendReply(2, first, 2, 2), 0.0)
        self.assertEqual(machine.core.to_answer(), [(1, 2)])
        machine.core.receive("c", AppendReply(2, second, 2, 2), 0.0)
        self.assertEqual(machine.core.to_answer(), [(2, 2)])

    def test_reads_that_come_together_share_a_round(self) -> None:
        machine = leading()
        for token in range(100):
            machine.core.read(token)
        messages = sent(machine)
        self.assertEqual([receiver for receiver, _ in messages], ["b", "c"])
        self.assertEqual(sent(machine), [])
        machine.core.receive("c", AppendReply(2, round_of(messages), 2, 2), 0.0)
        self.assertEqual(machine.core.to_answer(), [(token, 2) for token in range(100)])

    def test_a_lost_round_is_followed_by_the_next_heartbeat(self) -> None:
        machine = leading()
        machine.core.read(7)
        sent(machine)
        number = round_of(sent(machine, TIMING.heartbeat_seconds))
        machine.core.receive("b", AppendReply(2, number, 2, 2), TIMING.heartbeat_seconds)
        self.assertEqual(machine.core.to_answer(), [(7, 2)])

    def test_rejection_confirms_a_read_too(self) -> None:
        """The machine follows the leader, whatever it has of the log."""
        machine = leading()
        machine.core.read(7)
        number = round_of(sent(machine))
        machine.core.receive("b", AppendReply(2, number, 0, 2, True), 0.0)
        self.assertEqual(machine.core.to_answer(), [(7, 2)])

    def test_reads_write_no_log_entry(self) -> None:
        machine = leading()
        machine.core.read(7)
        self.assertIsNone(machine.core.to_persist())
        self.assertEqual(machine.core.last_index, 2)

    def test_a_leader_that_has_committed_nothing_in_its_term_waits(self) -> None:
        """The leader may not yet know of everything that is committed."""
        machine = alone("a", "abc", [1])
        elect(machine)
        core = machine.core
        core.read(7)
        number = round_of(sent(machine))
        core.receive("b", AppendReply(2, number, 1, 1), 0.0)
        self.assertEqual(core.to_answer(), [])
        core.receive("b", AppendReply(2, number, 2, 2), 0.0)
        self.assertEqual(core.to_answer(), [(7, 2)])

    def test_confirmed_read_has_the_index_to_apply_first(self) -> None:
        """The index is that of the time of the answer, which is not less than that of the time of the request."""
        machine = leading()
        core = machine.core
        core.propose(b"x")
        core.read(7)
        number = round_of(sent(machine))
        core.receive("b", AppendReply(2, number, 3, 3), 0.0)
        self.assertEqual(core.to_answer(), [(7, 3)])

    def test_single_voter_confirms_reads_alone(self) -> None:
        machine = alone("a", "a", [1])
        core = machine.core
        core.campaign(0.0)
        machine.write()
        machine.sync(0.0)
        core.read(7)
        self.assertEqual(core.to_answer(), [])
        machine.save(0.0)
        self.assertEqual(core.to_answer(), [(7, 2)])
        core.propose(b"not durable")
        core.read(8)
        self.assertEqual(core.to_answer(), [(8, 2)])

    def test_deposed_leader_never_answers_reads(self) -> None:
        machine = leading()
        machine.core.read(7)
        number = round_of(sent(machine))
        machine.core.receive("c", AppendReply(3, 0, 0, 0, rejected=True), 0.0)
        machine.core.receive("b", AppendReply(2, number, 2, 2), 0.0)
        self.assertEqual(machine.core.to_answer(), [])
        elect(machine)
        self.assertEqual(machine.core.to_answer(), [])

    def test_replaced_leader_is_not_fooled_by_late_answers(self) -> None:
        """Answers of the others from before they followed another leader arrive late."""
        group = Group("abc")
        group.elect("a")
        late: list[Sent] = []

        def hold_back(letter: Sent) -> bool:
            if letter.receiver == "a":
                late.append(letter)
            return letter.receiver != "a"

        group.passes = hold_back
        group.advance(TIMING.heartbeat_seconds)
        group.isolate("a")
        group.advance(TIMING.election_timeout_seconds)
        group.elect("b")
        self.assertEqual(group["a"].role, Role.LEADER)
        group[group.leader()].propose(b"news")
        group.settle()
        group["a"].read(7)
        group.settle()
        group.heal()
        group.cut("bc", "a")
        for letter in [each for each in late if each.message.term == 1]:
            group["a"].receive(letter.sender, letter.message, group.now)
        group.settle()
        self.assertEqual(group.machines["a"].answered, [])


class LeaseTests(SynchronousTestCase):
    """Nobody else can lead for a while after a quorum has answered (section 6.4.1)."""

    def test_lease_begins_when_an_entry_of_the_term_is_committed(self) -> None:
        machine = alone("a", "abc", [1])
        elect(machine)
        self.assertFalse(machine.core.holds_lease(0.0))
        machine.core.receive("b", AppendReply(2, 1, 1, 1), 0.0)
        self.assertFalse(machine.core.holds_lease(0.0))
        machine.core.receive("b", AppendReply(2, 1, 2, 2), 0.0)
        self.assertTrue(machine.core.holds_lease(0.0))

    def test_lease_ends_before_another_machine_can_be_elected(self) -> None:
        """This also holds with clocks that run at different speeds."""
        core = leading().core
        end = LEASE_ELECTIONS * TIMING.election_timeout_seconds
        self.assertTrue(core.holds_lease(end - 0.001))
        self.assertFalse(core.holds_lease(end))
        self.assertLess(end, TIMING.election_timeout_seconds)

    def test_lease_is_renewed_as_of_the_time_of_the_request(self) -> None:
        machine = leading("abcde")
        number = round_of(sent(machine, TIMING.heartbeat_seconds))
        end = TIMING.heartbeat_seconds + LEASE_ELECTIONS * TIMING.election_timeout_seconds
        machine.core.receive("b", AppendReply(2, number, 2, 2), 0.14)
        self.assertFalse(machine.core.holds_lease(end - 0.001))
        machine.core.receive("d", AppendReply(2, number, 2, 2), 0.14)
        self.assertTrue(machine.core.holds_lease(end - 0.001))
        self.assertFalse(machine.core.holds_lease(end))

    def test_heartbeats_renew_the_lease_for_ever(self) -> None:
        group = Group("abc")
        group.elect("a")
        for _ in range(100):
            group.advance(0.013)
            self.assertTrue(group["a"].holds_lease(group.now))

    def test_single_voter_always_holds_the_lease(self) -> None:
        machine = leading("a")
        self.assertTrue(machine.core.holds_lease(1e6))
        machine.core.propose_configuration(Configuration(("a", "b")), 1e6)
        self.assertTrue(machine.core.holds_lease(1e6))
        self.assertFalse(machine.core.holds_lease(1e6 + TIMING.election_timeout_seconds))

    def test_follower_holds_no_lease(self) -> None:
        group = Group("abc")
        group.elect("a")
        self.assertFalse(group["b"].holds_lease(group.now))

    def test_lease_ends_for_good_with_a_transfer(self) -> None:
        """The lease ends whatever becomes of the transfer: the target may stand late, and nobody makes it wait."""
        group = Group("abc")
        group.elect("a")
        group.advance(TIMING.heartbeat_seconds)
        group.isolate("a")
        group["a"].transfer(group.now)
        self.assertTrue(group["a"].holds_lease(group.now))
        group.settle()
        self.assertFalse(group["a"].holds_lease(group.now))
        group.heal()
        group.advance(LONG)
        self.assertEqual((group["a"].role, group["a"].leads), (Role.LEADER, True))
        self.assertFalse(group["a"].holds_lease(group.now))

    def test_two_machines_never_hold_the_lease(self) -> None:
        """This holds however long a leader that is cut off does not notice it."""
        group = Group("abc")
        group.elect("a")
        group.advance(TIMING.heartbeat_seconds)
        group.isolate("a")
        held_back = group.machines.pop("a")
        while not any(group[each].holds_lease(group.now) for each in "bc"):
            group.advance(0.001)
            self.assertLess(group.now, 10 * LONG)
        self.assertFalse(held_back.core.holds_lease(group.now))
