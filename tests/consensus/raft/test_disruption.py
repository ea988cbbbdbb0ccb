"""
Tests of L{etcd_twisted.consensus.raft.core}: nothing disrupts a group that works, because of PreVote (dissertation,
section 9.6), and because a machine that has a leader votes for no other (4.2.3).
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import HardState, Record
from etcd_twisted.consensus.raft.messages import Append, AppendReply, VoteReply, VoteRequest
from etcd_twisted.consensus.raft.state import Role
from tests.consensus.raft.group import LONG, TIMING, Group, Machine, Sent, alone, elect, sent


class PreVoteTests(SynchronousTestCase):
    """A candidate first asks whether it would win, and only then increments its term."""

    def asking(self, voters: str = "abc") -> Machine:
        machine = alone("a", voters, [1, 2])
        machine.core.campaign(0.0)
        return machine

    def test_asking_for_a_pre_vote_changes_nothing(self) -> None:
        machine = self.asking()
        self.assertEqual((machine.core.role, machine.core.term), (Role.PRE_CANDIDATE, 2))
        self.assertIsNone(machine.core.to_persist())
        request = VoteRequest(3, 2, 2, pre=True)
        self.assertEqual(machine.core.to_send(0.0), [("b", request), ("c", request)])

    def test_candidate_stands_when_it_would_win(self) -> None:
        for voters, granting, stands in (
            ("ab", "", False),
            ("ab", "b", True),
            ("abcde", "b", False),
            ("abcde", "bbx", False),
            ("abcde", "bd", True),
        ):
            core = self.asking(voters).core
            for voter in granting:
                core.receive(voter, VoteReply(3, True, pre=True), 0.0)
            self.assertEqual(core.role, Role.CANDIDATE if stands else Role.PRE_CANDIDATE, (voters, granting))
            self.assertEqual(core.term, 3 if stands else 2)

    def test_answers_to_another_question_do_not_count(self) -> None:
        core = self.asking().core
        for reply in (VoteReply(2, True, pre=True), VoteReply(4, True, pre=True), VoteReply(2, True)):
            core.receive("b", reply, 0.0)
            self.assertEqual((core.role, core.term), (Role.PRE_CANDIDATE, 2))

    def test_leader_makes_a_pre_candidate_a_follower(self) -> None:
        core = self.asking().core
        core.receive("c", Append(2, 1, 2, 2, 0), 0.0)
        core.receive("b", VoteReply(3, True, pre=True), 0.0)
        self.assertEqual((core.role, core.term, core.leader), (Role.FOLLOWER, 2, "c"))

    def test_answering_a_pre_vote_changes_nothing(self) -> None:
        """A pre-vote may be granted to several machines, and a vote besides."""
        machine = alone("a", "abc", [1], HardState(1, "c"))
        deadline = machine.core.deadline
        for candidate in "bc":
            machine.core.receive(candidate, VoteRequest(2, 1, 1, pre=True), 0.0)
        self.assertIsNone(machine.core.to_persist())
        self.assertEqual(machine.core.to_send(0.0), [("b", VoteReply(2, True, True)), ("c", VoteReply(2, True, True))])
        self.assertEqual((machine.core.role, machine.core.term), (Role.FOLLOWER, 1))
        self.assertEqual(machine.core.deadline, deadline)

    def test_no_pre_vote_for_a_term_that_is_not_newer(self) -> None:
        machine = alone("a", "abc", [1], HardState(5))
        for term in (4, 5):
            machine.core.receive("b", VoteRequest(term, 9, 4, pre=True), 0.0)
            self.assertEqual(sent(machine), [("b", VoteReply(5, False, pre=True))])

    def test_machine_with_an_older_term_learns_the_newer_one(self) -> None:
        """A machine with the better log and an older term must be able to win at some time."""
        group = Group("abc", terms={"a": [1, 1, 1], "b": [1], "c": [1]})
        group.crash("c")
        group.crash("b")
        group.disks["b"].append(Record(HardState(7), ()))
        group.start("b")
        group.advance(20 * LONG)
        self.assertEqual(group.leaders_now(), ["a"])

    def test_a_machine_that_was_cut_off_does_not_raise_its_term(self) -> None:
        group = Group("abc")
        group.elect("a")
        group.isolate("c")
        group.advance(10 * LONG)
        self.assertEqual((group["c"].role, group["c"].term), (Role.PRE_CANDIDATE, 1))
        group.heal()
        group.advance(2 * LONG)
        self.assertEqual((group["a"].role, group["a"].term, group["c"].leader), (Role.LEADER, 1, "a"))

    def test_machine_that_hears_nothing_disrupts_nothing(self) -> None:
        """What the machine asks arrives, and it receives no answer (Cloudflare, 2020)."""
        group = Group("abc")
        group.elect("a")
        group.cut("ab", "c")
        group.advance(10 * LONG)
        self.assertEqual(group.leaders, {1: "a"})
        self.assertEqual(group["a"].role, Role.LEADER)

    def test_machine_that_only_the_leader_does_not_reach_disrupts_nothing(self) -> None:
        group = Group("abc")
        group.elect("a")
        group.cut("a", "c")
        group.cut("c", "a")
        group.advance(10 * LONG)
        self.assertEqual(group.leaders, {1: "a"})


class StickinessTests(SynchronousTestCase):
    """A machine that asks within an election timeout of hearing from the leader is ignored."""

    def asked(self, machine: Machine, now: float, transfer: bool = False) -> bool:
        """Returns whether the machine answers one that has everything; it treats both kinds of question alike."""
        core = machine.core
        term = core.term
        for pre in (True, False):
            core.receive("c", VoteRequest(9, 99, 8, pre, transfer), now)
        answers = sent(machine, now)
        self.assertEqual(core.term, 9 if answers else term)
        return bool(answers)

    def following(self, now: float) -> Machine:
        machine = alone("a", "abc", [1])
        machine.core.receive("b", Append(1, 1, 1, 1, 0), now)
        sent(machine, now)
        return machine

    def test_follower_ignores_candidates_while_it_hears_its_leader(self) -> None:
        self.assertFalse(self.asked(self.following(7.0), 7.0))
        self.assertFalse(self.asked(self.following(7.0), 7.0 + TIMING.election_timeout_seconds - 0.001))
        self.assertTrue(self.asked(self.following(7.0), 7.0 + TIMING.election_timeout_seconds))

    def test_snapshot_offer_counts_as_hearing_the_leader(self) -> None:
        machine = alone("a", "abc", [1])
        machine.core.wants_snapshot("b", 1, 5, 7.0)
        self.assertFalse(self.asked(machine, 7.0 + TIMING.election_timeout_seconds - 0.001))

    def test_machine_ignores_candidates_after_a_restart(self) -> None:
        machine = alone("a", "abc", [1], now=7.0)
        self.assertFalse(self.asked(machine, 7.0 + TIMING.election_timeout_seconds - 0.001))
        self.assertTrue(self.asked(alone("a", "abc", [1], now=7.0), 7.0 + TIMING.election_timeout_seconds))

    def test_leader_ignores_candidates(self) -> None:
        machine = alone("a", "abc", [1])
        elect(machine)
        self.assertFalse(self.asked(machine, 0.0))
        machine.core.tick(LONG)
        self.assertTrue(self.asked(machine, LONG))

    def test_candidate_that_the_leader_has_told_to_stand_is_heard(self) -> None:
        self.assertTrue(self.asked(self.following(7.0), 7.0, transfer=True))
        machine = alone("a", "abc", [1])
        elect(machine)
        self.assertTrue(self.asked(machine, 0.0, transfer=True))

    def test_a_leader_with_a_term_of_the_past_is_replaced_by_one_that_all_follow(self) -> None:
        """
        A machine has stood for election and was cut off then: its answer ends a leadership that it could not follow.
        """
        group = Group("abc")
        group.elect("a")
        group.passes = lambda each: not isinstance(each.message, VoteReply) or each.message.pre
        group.isolate("a")
        group.advance(3 * LONG)
        self.assertEqual(len(group.leaders), 1)
        self.assertGreater(max(group["b"].term, group["c"].term), 1)
        group.heal()
        group.advance(5 * LONG)
        self.assertEqual(len(group.leaders_now()), 1)
        self.assertEqual(len({group[each].term for each in "abc"}), 1)


class CheckQuorumTests(SynchronousTestCase):
    """A leader steps down if an election timeout goes by without a heartbeat round to a majority (section 6.2)."""

    def test_a_leader_that_is_cut_off_stops_leading(self) -> None:
        group = Group("abc")
        group.elect("a")
        group.isolate("a")
        group.advance(3 * LONG)
        self.assertNotEqual(group["a"].role, Role.LEADER)
        self.assertIsNone(group["a"].leader)
        self.assertIn(group.leader(), "bc")

    def test_leader_that_is_not_answered_stops_leading(self) -> None:
        group = Group("abc")
        group.elect("a")
        group.cut("bc", "a")
        group.advance(6 * LONG)
        self.assertNotIn("a", group.leaders_now())
        self.assertIn(group.leader(), "bc")

    def test_leader_with_a_quorum_goes_on(self) -> None:
        group = Group("abcde")
        group.elect("a")
        group.isolate("b", "c")
        group.advance(10 * LONG)
        self.assertEqual(group.leaders_now(), ["a"])
        self.assertEqual(group["a"].term, 1)

    def test_learners_do_not_count_for_the_quorum(self) -> None:
        group = Group("abc", "de")
        group.elect("a")
        group.isolate("b", "c")
        group.advance(3 * LONG)
        self.assertEqual(group.leaders_now(), [each for each in group.leaders_now() if each in "bc"])

    def test_old_answers_do_not_count_for_the_quorum(self) -> None:
        """Answers to what was sent before the others were cut off do not count."""
        group = Group("abc")
        group.elect("a")
        late: list[Sent] = []

        def hold_back(letter: Sent) -> bool:
            if letter.receiver == "a" and letter.sender != "a":
                late.append(letter)
                return False
            return True

        group.passes = hold_back
        group.advance(TIMING.heartbeat_seconds)
        group.isolate("a")
        group.advance(2 * TIMING.election_timeout_seconds)
        self.assertTrue(late)
        self.assertNotEqual(group["a"].role, Role.LEADER)

    def test_acknowledged_entry_counts_as_an_answer(self) -> None:
        machine = alone("a", "abc", [1])
        elect(machine)
        core = machine.core
        core.propose(b"x")
        now = 0.0
        while now < 10 * LONG:
            now = core.deadline
            for receiver, message in sent(machine, now):
                assert isinstance(message, Append)
                if receiver == "b":
                    last = message.last_index
                    core.receive("b", AppendReply(message.term, message.round, last, last), now)
            core.tick(now)
        self.assertEqual(core.role, Role.LEADER)
