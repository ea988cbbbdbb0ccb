"""
Tests of L{etcd_twisted.consensus.raft.core}: elections (Raft paper, sections 5.2 and 5.4.1).
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.configurations import bootstrap
from etcd_twisted.consensus.raft.entries import Configuration, EntryKind, HardState, Member, Record, SnapshotMetadata
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.messages import Append, VoteReply, VoteRequest
from etcd_twisted.consensus.raft.state import Role
from tests.consensus.raft.group import LONG, TIMING, Disk, Group, Machine, alone, elect, entries_of, sent


def candidate(voters: str = "abc", terms: tuple[int, ...] = (1,)) -> Machine:
    """Returns machine a, standing in the term after the last entry's; it has asked for votes."""
    machine = alone("a", voters, terms)
    core = machine.core
    core.campaign(0.0)
    for voter in core.configuration.voters[1:]:
        if core.role is Role.PRE_CANDIDATE:
            core.receive(voter, VoteReply(core.term + 1, True, pre=True), 0.0)
    sent(machine)
    return machine


class FollowerTests(SynchronousTestCase):
    """When servers start up, they begin as followers, and stay so as long as they hear from a leader."""

    def test_machine_starts_as_a_follower_with_nothing_to_do(self) -> None:
        machine = alone("a", "abc", [1, 1])
        core = machine.core
        self.assertEqual((core.role, core.term, core.leader), (Role.FOLLOWER, 1, None))
        self.assertIsNone(core.to_persist())
        self.assertEqual(core.to_send(0.0), [])
        self.assertEqual(core.to_apply(10), ())
        self.assertEqual(core.to_answer(), [])
        self.assertFalse(core.leads)
        self.assertRaises(NotLeaderError, core.propose, b"x")

    def test_follower_stands_after_an_election_timeout_without_a_leader(self) -> None:
        machine = alone("a", "abc", [1], now=10.0)
        core = machine.core
        timeout = TIMING.election_timeout_seconds
        self.assertTrue(10.0 + timeout <= core.deadline <= 10.0 + 2 * timeout)
        core.tick(core.deadline - 0.001)
        self.assertEqual(core.role, Role.FOLLOWER)
        core.tick(core.deadline)
        self.assertEqual(core.role, Role.PRE_CANDIDATE)

    def test_hearing_from_the_leader_restarts_the_election_timeout(self) -> None:
        core = alone("a", "abc", [1]).core
        for beat in range(100):
            now = beat * TIMING.heartbeat_seconds
            core.receive("b", Append(2, beat, 1, 1, 0), now)
            self.assertGreaterEqual(core.deadline, now + TIMING.election_timeout_seconds)
            core.tick(now)
        self.assertEqual((core.role, core.leader, core.term), (Role.FOLLOWER, "b", 2))

    def test_granting_a_vote_restarts_the_election_timeout(self) -> None:
        core = alone("a", "abc", [1]).core
        core.receive("b", VoteRequest(2, 1, 1), 5.0)
        self.assertGreaterEqual(core.deadline, 5.0 + TIMING.election_timeout_seconds)

    def test_refusing_a_vote_does_not_restart_the_election_timeout(self) -> None:
        core = alone("a", "abc", [1]).core
        before = core.deadline
        core.receive("b", VoteRequest(2, 0, 0), 5.0)
        core.receive("b", VoteRequest(3, 1, 1, pre=True), 5.0)
        self.assertEqual(core.deadline, before)

    def test_a_learner_never_stands(self) -> None:
        core = alone("a", "bc", [1], learners="a").core
        self.assertEqual(core.deadline, float("inf"))
        core.tick(1e9)
        self.assertEqual(core.role, Role.FOLLOWER)

    def test_election_timeouts_are_random_and_determined_by_the_seed(self) -> None:
        disk = Disk(SnapshotMetadata(0, 0, Configuration(("a", "b"))))
        deadlines = [Machine("a", disk, seed).core.deadline for seed in (*range(100), *range(100))]
        self.assertEqual(deadlines[:100], deadlines[100:])
        self.assertEqual(len(set(deadlines)), 100)
        self.assertLess(min(deadlines), 1.1 * TIMING.election_timeout_seconds)
        self.assertGreater(max(deadlines), 1.9 * TIMING.election_timeout_seconds)


class CandidateTests(SynchronousTestCase):
    """A candidate increments its current term, votes for itself, and asks all others."""

    def test_candidate_asks_all_other_voters(self) -> None:
        machine = alone("a", "abc", [1, 1], learners="d")
        machine.core.campaign(0.0)
        machine.core.receive("c", VoteReply(2, True, pre=True), 0.0)
        self.assertEqual((machine.core.role, machine.core.term), (Role.CANDIDATE, 2))
        self.assertEqual(machine.save(0.0), [Record(HardState(2, "a"), ())])
        request = VoteRequest(2, 2, 1)
        self.assertEqual(machine.core.to_send(0.0)[2:], [("b", request), ("c", request)])

    def test_candidate_wins_with_a_quorum(self) -> None:
        """A quorum of all voters, the candidate among them, elects it; no other answer counts."""
        for voters, granting, wins in (
            ("ab", "", False),
            ("ab", "b", True),
            ("abc", "", False),
            ("abc", "c", True),
            ("abcd", "b", False),
            ("abcd", "bd", True),
            ("abcde", "e", False),
            ("abcde", "ee", False),
            ("abcde", "bx", False),
            ("abcde", "cd", True),
        ):
            machine = candidate(voters)
            for voter in voters[1:]:
                if voter not in granting:
                    machine.core.receive(voter, VoteReply(2, False), 0.0)
            for voter in granting:
                machine.core.receive(voter, VoteReply(2, True), 0.0)
            expected = Role.LEADER if wins else Role.CANDIDATE
            self.assertEqual(machine.core.role, expected, (voters, granting))

    def test_own_vote_counts_once_it_is_durable(self) -> None:
        machine = candidate("abc")
        core = machine.core
        core.campaign(0.0)
        core.receive("b", VoteReply(3, True, pre=True), 0.0)
        core.receive("b", VoteReply(3, True), 0.0)
        self.assertEqual(core.role, Role.CANDIDATE)
        machine.save(0.0)
        self.assertEqual((core.role, core.term), (Role.LEADER, 3))

    def test_votes_of_another_kind_or_term_do_not_count(self) -> None:
        core = candidate("abc").core
        for reply in (VoteReply(1, True), VoteReply(2, True, pre=True), VoteReply(3, True, pre=True)):
            core.receive("b", reply, 0.0)
            self.assertEqual((core.role, core.term), (Role.CANDIDATE, 2))

    def test_leader_of_its_term_makes_a_candidate_a_follower(self) -> None:
        core = candidate("abc").core
        core.receive("b", Append(2, 1, 1, 1, 0), 0.0)
        self.assertEqual((core.role, core.term, core.leader), (Role.FOLLOWER, 2, "b"))
        core.receive("c", VoteReply(2, True), 0.0)
        self.assertEqual(core.role, Role.FOLLOWER)

    def test_candidate_asks_again_when_nobody_wins(self) -> None:
        machine = candidate("abc")
        core = machine.core
        self.assertLessEqual(core.deadline, 2 * TIMING.election_timeout_seconds)
        core.tick(core.deadline)
        self.assertEqual((core.role, core.term), (Role.PRE_CANDIDATE, 2))
        asked = [message for _, message in core.to_send(core.deadline)]
        self.assertEqual(asked, [VoteRequest(3, 1, 1, pre=True)] * 2)

    def test_a_new_leader_is_heard_at_once(self) -> None:
        machine = candidate("abc")
        machine.core.receive("b", VoteReply(2, True), 0.0)
        self.assertEqual((machine.core.role, machine.core.leader), (Role.LEADER, "a"))
        beats = machine.core.to_send(0.0)
        self.assertEqual([receiver for receiver, _ in beats], ["b", "c"])
        self.assertTrue(all(isinstance(message, Append) for _, message in beats))

    def test_a_leader_is_heard_at_every_heartbeat(self) -> None:
        machine = alone("a", "abc", [1], learners="d")
        elect(machine)
        core = machine.core
        for beat in range(1, 5):
            self.assertEqual(core.deadline, beat * TIMING.heartbeat_seconds)
            self.assertEqual(sent(machine, core.deadline - 0.001), [])
            self.assertEqual([receiver for receiver, _ in sent(machine, core.deadline)], ["b", "c", "d"])


class VoterTests(SynchronousTestCase):
    """Each server votes for at most one candidate in a given term, first come, first served."""

    def test_one_vote_a_term(self) -> None:
        for vote, asking, granted in (("", "b", True), ("b", "b", True), ("c", "b", False), ("a", "b", False)):
            machine = alone("a", "abc", [1], HardState(2, vote))
            machine.core.receive(asking, VoteRequest(2, 1, 1), 0.0)
            self.assertEqual(sent(machine), [("b", VoteReply(2, granted))], vote)

    def test_vote_is_repeated_without_another_write(self) -> None:
        """The first answer may have been lost."""
        machine = alone("a", "abc", [1])
        machine.core.receive("b", VoteRequest(2, 1, 1), 0.0)
        sent(machine)
        machine.core.receive("b", VoteRequest(2, 1, 1), 0.0)
        self.assertEqual(machine.save(0.0), [])
        self.assertEqual(machine.core.to_send(0.0), [("b", VoteReply(2, True))])

    def test_no_vote_in_a_term_with_a_known_leader(self) -> None:
        machine = alone("a", "abc", [1])
        machine.core.receive("c", Append(2, 1, 1, 1, 0), 0.0)
        sent(machine)
        machine.core.receive("b", VoteRequest(2, 1, 1), LONG)
        self.assertEqual(sent(machine), [("b", VoteReply(2, False))])

    def test_a_learner_votes_when_it_is_asked(self) -> None:
        """The candidate may have it as a voter in a configuration that has not arrived here yet."""
        machine = alone("a", "bc", [1], learners="a")
        machine.core.receive("b", VoteRequest(2, 1, 1), 0.0)
        self.assertEqual(sent(machine), [("b", VoteReply(2, True))])

    def test_voter_denies_a_candidate_whose_log_lacks_entries(self) -> None:
        """The voter denies its vote if its own log is more up-to-date than that of the candidate (5.4.1)."""
        for terms, last_term, last_index, granted in (
            ([], 0, 0, True),
            ([], 1, 1, True),
            ([1], 0, 0, False),
            ([1], 1, 1, True),
            ([1], 1, 2, True),
            ([1, 1], 1, 1, False),
            ([1], 2, 1, True),
            ([1, 1], 2, 1, True),
            ([1, 1, 1], 2, 1, True),
            ([1, 2], 1, 1, False),
            ([1, 2], 1, 9, False),
            ([2], 1, 1, False),
            ([2], 1, 2, False),
            ([1, 2], 2, 2, True),
        ):
            for pre in (False, True):
                machine = alone("a", "abc", terms, HardState(2))
                machine.core.receive("b", VoteRequest(3, last_index, last_term, pre), 0.0)
                (answer,) = sent(machine)
                expected = VoteReply(2 if pre and not granted else 3, granted, pre)
                self.assertEqual(answer, ("b", expected), (terms, last_term, last_index, pre))

    def test_entries_that_are_not_durable_count_in_a_comparison_of_logs(self) -> None:
        machine = alone("a", "abc", [1])
        machine.core.receive("b", Append(2, 1, 1, 1, 0, entries_of([2], 2)), 0.0)
        machine.core.receive("c", VoteRequest(3, 1, 1), LONG)
        self.assertEqual(sent(machine)[-1], ("c", VoteReply(3, False)))


class SingleVoterTests(SynchronousTestCase):
    """A single voter asks no machine."""

    def first_machine(self) -> Machine:
        record = bootstrap("a", Member("machine0", "http://c", "http://p"))
        disk = Disk(SnapshotMetadata(0, 0, Configuration(())))
        disk.append(record)
        return Machine("a", disk)

    def test_first_record_makes_a_machine_the_only_voter(self) -> None:
        core = self.first_machine().core
        self.assertEqual((core.role, core.term, core.leader), (Role.FOLLOWER, 1, None))
        self.assertEqual(core.configuration.voters, ("a",))
        self.assertEqual(core.configuration_index, 1)

    def test_a_vote_is_durable_before_it_counts(self) -> None:
        machine = self.first_machine()
        machine.core.campaign(0.0)
        machine.write()
        self.assertEqual(machine.core.role, Role.CANDIDATE)
        machine.sync(0.0)
        self.assertEqual(machine.disk.hard_state, HardState(2, "a"))
        self.assertEqual((machine.core.role, machine.core.leader, machine.core.term), (Role.LEADER, "a", 2))

    def test_a_vote_of_an_earlier_term_does_not_elect(self) -> None:
        machine = self.first_machine()
        machine.core.campaign(0.0)
        machine.write()
        machine.core.campaign(0.0)
        machine.sync(0.0)
        self.assertEqual((machine.core.role, machine.core.term), (Role.CANDIDATE, 3))

    def test_each_election_has_a_term_of_its_own(self) -> None:
        machine = self.first_machine()
        elect(machine)
        machine.core.campaign(0.0)
        self.assertEqual(machine.core.term, 3)
        self.assertRaises(NotLeaderError, machine.core.propose, b"x")

    def test_first_entry_of_a_leader_commits_all_before(self) -> None:
        machine = self.first_machine()
        machine.core.campaign(0.0)
        machine.write()
        machine.sync(0.0)
        self.assertFalse(machine.core.leads_own_term)
        self.assertEqual(machine.core.to_apply(10), ())
        (record,) = machine.save(0.0)
        self.assertEqual([(e.index, e.term, e.kind) for e in record.entries], [(2, 2, EntryKind.EMPTY)])
        self.assertTrue(machine.core.leads_own_term)
        self.assertEqual([each.index for each in machine.core.to_apply(10)], [1, 2])

    def test_single_voter_needs_no_heartbeats(self) -> None:
        machine = self.first_machine()
        elect(machine)
        self.assertEqual(machine.core.deadline, float("inf"))
        machine.core.tick(1e9)
        self.assertEqual(machine.core.role, Role.LEADER)


class SlowDiskTests(SynchronousTestCase):
    """Writing a vote takes longer than an election timeout."""

    def test_no_other_term_begins_while_a_vote_is_written(self) -> None:
        for voters in ("a", "abc"):
            machine = alone("a", voters, [1])
            core = machine.core
            core.campaign(0.0)
            core.receive("b", VoteReply(2, True, pre=True), 0.0)
            machine.write()
            now = 0.0
            for _ in range(10):
                now = core.deadline
                core.tick(now)
                self.assertEqual((core.role, core.term), (Role.CANDIDATE, 2))
                self.assertGreater(core.deadline, now)
            machine.sync(now)
            core.receive("b", VoteReply(2, True), now)
            self.assertEqual(core.role, Role.LEADER)

    def test_others_have_an_election_timeout_to_answer_a_durable_vote(self) -> None:
        machine = alone("a", "abc", [1])
        core = machine.core
        core.campaign(0.0)
        core.receive("b", VoteReply(2, True, pre=True), 0.0)
        machine.write()
        machine.sync(5.0)
        self.assertGreaterEqual(core.deadline, 5.0 + TIMING.election_timeout_seconds)

    def test_machine_that_is_told_to_stand_has_an_election_timeout(self) -> None:
        machine = alone("a", "abc", [1])
        core = machine.core
        core.campaign(0.0)
        now = core.deadline - 0.001
        core.receive("b", VoteReply(2, True, pre=True), now)
        self.assertGreaterEqual(core.deadline, now + TIMING.election_timeout_seconds)


class GroupTests(SynchronousTestCase):
    @given(st.integers(0, 1_000), st.sampled_from(["ab", "abc", "abcde"]))
    def test_elected_leader_stays(self, start: int, voters: str) -> None:
        group = Group(voters)
        for machine_id in voters:
            group.crash(machine_id)
        group._starts = start
        for machine_id in voters:
            group.start(machine_id)
        group.advance(10 * LONG)
        leader = group.leader()
        self.assertEqual(group.leaders_now(), [leader])
        term = group[leader].term
        group.advance(20 * LONG)
        self.assertEqual({(core.term, core.leader) for core in map(group.__getitem__, voters)}, {(term, leader)})

    def test_new_leader_follows_a_leader_that_died(self) -> None:
        group = Group("abc")
        group.elect("a")
        group.propose(b"x")
        group.advance(TIMING.heartbeat_seconds)
        group.crash("a")
        group.advance(3 * TIMING.election_timeout_seconds)
        self.assertIn(group.leader(), "bc")
        group.propose(b"y")
        group.start("a")
        group.advance(LONG)
        self.assertEqual(group.states(), {each: [b"x", b"y"] for each in "abc"})

    def test_nobody_leads_without_a_quorum(self) -> None:
        group = Group("abcde")
        for machine_id in "cde":
            group.crash(machine_id)
        group.advance(20 * LONG)
        self.assertEqual(group.leaders, {})
        self.assertEqual({group["a"].term, group["b"].term}, {0})
        group.start("e")
        group.advance(5 * LONG)
        self.assertEqual(len(group.leaders_now()), 1)
