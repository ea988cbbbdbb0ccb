"""
Tests of L{etcd_twisted.consensus.raft.core}: changes of the group, one voter at a time (Raft dissertation, chapter 4).
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.configurations import encode_configuration
from etcd_twisted.consensus.raft.entries import Configuration, EntryKind, HardState
from etcd_twisted.consensus.raft.errors import ConfigurationError, NotLeaderError
from etcd_twisted.consensus.raft.messages import Append, AppendReply, TimeoutNow, VoteReply, VoteRequest
from etcd_twisted.consensus.raft.state import Role
from tests.consensus.raft.group import LONG, TIMING, Group, Machine, alone, elect, entries_of, entry, sent


def group_of(voters: str, learners: str = "") -> Configuration:
    return Configuration(tuple(voters), tuple(learners))


def leading(voters: str = "abc", learners: str = "") -> Machine:
    """Returns machine a, which leads and has committed in its term."""
    machine = alone("a", voters, [1], learners=learners)
    elect(machine)
    for voter in voters[1:]:
        machine.core.receive(voter, AppendReply(2, 1, 2, 2), 0.0)
    sent(machine)
    assert machine.core.leads_own_term
    return machine


class ProposalTests(SynchronousTestCase):
    """Tests of proposed configurations (section 4.1)."""

    def test_configuration_counts_as_soon_as_it_is_in_the_log(self) -> None:
        """A server always uses the latest configuration in its log, whether or not the entry is committed."""
        core = leading().core
        index = core.propose_configuration(group_of("abcd"), 0.0)
        self.assertEqual((core.configuration, core.configuration_index), (group_of("abcd"), index))
        self.assertEqual([each for _, each in core.log.configurations], [group_of("abc"), group_of("abcd")])

    def test_new_quorum_commits_a_configuration(self) -> None:
        for voters, acknowledging, commits in (
            ("abcd", "b", False),
            ("abcd", "bd", True),
            ("abcd", "bc", True),
            ("ab", "c", False),
            ("ab", "b", True),
            ("bc", "b", False),
            ("bc", "bc", True),
        ):
            machine = leading()
            core = machine.core
            index = core.propose_configuration(group_of(voters), 0.0)
            machine.save(0.0)
            for voter in acknowledging:
                core.receive(voter, AppendReply(2, 1, index, index), 0.0)
            self.assertEqual(core.commit_index, index if commits else index - 1, (voters, acknowledging))

    def test_configurations_are_changed_one_at_a_time(self) -> None:
        core = leading().core
        for voters in ("abcde", "a", "abd", "", "bcd"):
            with self.assertRaisesRegex(ConfigurationError, "only one voter at a time"):
                core.propose_configuration(group_of(voters), 0.0)
        for voters, learners in (("abc", "a"), ("abcc", ""), ("abcd", "ee")):
            with self.assertRaisesRegex(ConfigurationError, "twice"):
                core.propose_configuration(group_of(voters, learners), 0.0)
        self.assertEqual(core.last_index, 2)

    def test_configurations_are_changed_one_after_the_other(self) -> None:
        machine = leading()
        core = machine.core
        index = core.propose_configuration(group_of("abcd"), 0.0)
        with self.assertRaisesRegex(ConfigurationError, "another change"):
            core.propose_configuration(group_of("abc"), 0.0)
        machine.save(0.0)
        for voter in "bc":
            core.receive(voter, AppendReply(2, 1, index, index), 0.0)
        self.assertEqual(core.propose_configuration(group_of("abc"), 0.0), index + 1)

    def test_no_change_before_the_leader_has_committed_in_its_term(self) -> None:
        """By Ongaro's correction of 2015, two groups of the same term could otherwise go on without each other."""
        machine = alone("a", "abc", [1])
        elect(machine)
        with self.assertRaisesRegex(ConfigurationError, "another change"):
            machine.core.propose_configuration(group_of("abcd"), 0.0)

    def test_no_change_by_a_leader_that_transfers_its_leadership(self) -> None:
        self.assertRaises(NotLeaderError, alone("a", "abc").core.propose_configuration, group_of("ab"), 0.0)
        core = leading().core
        self.assertTrue(core.transfer(0.0))
        self.assertRaises(NotLeaderError, core.propose_configuration, group_of("ab"), 0.0)

    def test_data_about_members_may_change_alone(self) -> None:
        core = leading().core
        index = core.propose_configuration(group_of("cab"), 0.0)
        self.assertEqual(core.configuration_index, index)


class FollowerTests(SynchronousTestCase):
    def configured(self, index: int, term: int, voters: str) -> Append:
        new = entry(index, term, encode_configuration(group_of(voters)), EntryKind.CONFIGURATION)
        return Append(term, 1, index - 1, 1, 0, (new,))

    def test_follower_uses_the_configuration_in_its_log(self) -> None:
        machine = alone("a", "abc", [1])
        machine.core.receive("b", self.configured(2, 1, "abcd"), 0.0)
        self.assertEqual((machine.core.configuration, machine.core.commit_index), (group_of("abcd"), 0))

    def test_follower_falls_back_when_a_configuration_is_replaced(self) -> None:
        machine = alone("a", "abc", [1])
        core = machine.core
        core.receive("b", self.configured(2, 1, "abcd"), 0.0)
        core.receive("c", Append(2, 1, 1, 1, 0, entries_of([2], 2)), 0.0)
        self.assertEqual((core.configuration, core.configuration_index), (group_of("abc"), 0))
        core.receive("c", self.configured(2, 3, "ab"), 0.0)
        self.assertEqual((core.configuration, core.configuration_index), (group_of("ab"), 2))

    def test_configuration_is_found_again_after_a_restart(self) -> None:
        group = Group("abc")
        group.elect("a")
        group["a"].propose_configuration(group_of("abcd"), group.now)
        group.settle()
        group.crash("b")
        group.start("b")
        self.assertEqual(group["b"].configuration, group_of("abcd"))

    def test_removed_machine_is_a_member_until_the_removal_is_committed(self) -> None:
        """
        The machine's own change may be the one that is not committed, and then a machine that it removes may lead.
        """
        machine = alone("a", "abc", [1])
        core = machine.core
        core.receive("b", self.configured(2, 1, "ab"), 0.0)
        self.assertEqual([core.has_member(each) for each in "abcd"], [True, True, True, False])
        core.receive("b", Append(1, 1, 2, 1, 2), 0.0)
        self.assertEqual([core.has_member(each) for each in "abcd"], [True, True, False, False])

    def test_candidate_asks_only_the_voters_of_its_configuration(self) -> None:
        machine = alone("a", "abc", [1])
        machine.core.receive("b", self.configured(2, 1, "abd"), 0.0)
        machine.core.campaign(LONG)
        asked = [to for to, message in sent(machine, LONG) if isinstance(message, VoteRequest)]
        self.assertEqual(asked, ["b", "d"])

    def test_voter_need_not_know_the_candidate(self) -> None:
        """Servers process incoming RPC requests without consulting their current configuration."""
        machine = alone("a", "abc", [1])
        machine.core.receive("x", VoteRequest(2, 1, 1), 0.0)
        machine.core.receive("y", Append(2, 1, 1, 1, 0), 0.0)
        self.assertEqual([to for to, _ in sent(machine)], ["x", "y"])


class LearnerTests(SynchronousTestCase):
    """Tests of learners (section 4.2.1)."""

    def test_learners_get_the_log_and_do_not_count(self) -> None:
        machine = leading("abc", "de")
        index = machine.core.propose(b"x")
        self.assertEqual([to for to, _ in sent(machine)], ["b", "c"])  # d and e have not answered yet what they have.
        for learner in "de":
            machine.core.receive(learner, AppendReply(2, 1, index, index), 0.0)
        self.assertEqual(machine.core.commit_index, index - 1)
        machine.core.receive("b", AppendReply(2, 1, index, index), 0.0)
        self.assertEqual(machine.core.commit_index, index)

    def test_a_new_machine_is_caught_up_and_gets_a_vote(self) -> None:
        group = Group("ab")
        group.elect("a")
        for number in range(20):
            group.propose(b"%d" % number)
        group.settle()
        group.add("c", Configuration(()))
        self.assertEqual(group["c"].deadline, float("inf"))
        group["a"].propose_configuration(group_of("ab", "c"), group.now)
        group.advance(TIMING.heartbeat_seconds)
        self.assertEqual(group.states()["c"], group.states()["a"])
        group["a"].propose_configuration(group_of("abc"), group.now)
        group.advance(TIMING.heartbeat_seconds)
        self.assertLess(group["c"].deadline, float("inf"))
        group.crash("b")
        group.propose(b"x")
        group.advance(TIMING.heartbeat_seconds)
        self.assertEqual(group.states()["c"][-1], b"x")
        group.crash("a")
        group.start("b")
        group.advance(5 * LONG)
        self.assertIn(group.leader(), "bc")

    def test_progress_of_a_machine_stays_when_it_gets_a_vote(self) -> None:
        machine = leading("abc", "d")
        core = machine.core
        core.receive("d", AppendReply(2, 1, 2, 2), 0.0)
        assert core.leadership is not None
        before = core.leadership.progress["d"]
        core.propose_configuration(group_of("abcd"), 0.0)
        self.assertIs(core.leadership.progress["d"], before)

    def test_voter_becomes_a_learner(self) -> None:
        group = Group("abc")
        group.elect("a")
        group["a"].propose_configuration(group_of("ab", "c"), group.now)
        group.advance(TIMING.heartbeat_seconds)
        self.assertEqual(group["c"].deadline, float("inf"))
        group.propose(b"x")
        group.advance(TIMING.heartbeat_seconds)
        self.assertEqual(group.states()["c"], [b"x"])


class RemovalTests(SynchronousTestCase):
    """Tests of removed machines (sections 4.2.2 and 4.2.3)."""

    def test_removed_machine_gets_nothing_more(self) -> None:
        machine = leading()
        core = machine.core
        core.propose_configuration(group_of("ab"), 0.0)
        self.assertEqual([to for to, _ in sent(machine)], ["b"])
        core.receive("c", AppendReply(2, 99, 2, 2), 0.0)  # it sent this before
        assert core.leadership is not None
        self.assertEqual(list(core.leadership.progress), ["b"])

    def test_removed_machine_does_not_disrupt_the_others(self) -> None:
        group = Group("abc")
        group.elect("a")
        group["a"].propose_configuration(group_of("ab"), group.now)
        group.advance(20 * LONG)
        self.assertEqual(group.leaders, {1: "a"})
        self.assertEqual(group["c"].term, 1)

    def test_dead_machine_may_be_removed(self) -> None:
        """The change is committed as long as there is a quorum of the remaining machines."""
        group = Group("abc")
        group.elect("a")
        group.crash("c")
        group["a"].propose_configuration(group_of("ab"), group.now)
        group.advance(TIMING.heartbeat_seconds)
        group["a"].propose_configuration(group_of("a"), group.now)
        group.advance(TIMING.heartbeat_seconds)
        group.crash("b")
        group.propose(b"x")
        group.advance(10 * LONG)
        self.assertEqual(group.states()["a"], [b"x"])
        self.assertEqual(group.leaders_now(), ["a"])

    def test_a_leader_leads_until_its_own_removal_is_committed(self) -> None:
        """The leader manages a cluster that does not include itself, and does not count itself in majorities."""
        machine = leading()
        core = machine.core
        index = core.propose_configuration(group_of("bc"), 0.0)
        sent(machine)
        core.receive("b", AppendReply(2, 1, index, index), 0.0)
        self.assertEqual((core.role, core.commit_index), (Role.LEADER, index - 1))
        core.receive("c", AppendReply(2, 1, index, index), 0.0)
        self.assertEqual((core.role, core.commit_index), (Role.FOLLOWER, index))
        self.assertIsNone(core.leader)
        self.assertEqual(core.deadline, float("inf"))
        messages = sent(machine)
        self.assertEqual([to for to, each in messages if isinstance(each, TimeoutNow)], ["c"])
        commits = {to: each.commit for to, each in messages if isinstance(each, Append)}
        self.assertEqual(commits, {"b": index, "c": index})
        self.assertIsInstance(messages[-1][1], TimeoutNow)

    def test_earlier_commits_do_not_end_the_leadership_of_a_removed_leader(self) -> None:
        machine = leading()
        core = machine.core
        before = core.propose(b"x")
        core.propose_configuration(group_of("bc"), 0.0)
        sent(machine)
        for other in "bc":
            core.receive(other, AppendReply(2, 1, before, before), 0.0)
        self.assertEqual((core.role, core.commit_index), (Role.LEADER, before))

    def test_another_machine_leads_at_once_after_the_removal_of_the_leader(self) -> None:
        group = Group("abc")
        group.elect("a")
        group["a"].propose_configuration(group_of("bc"), group.now)
        for number in range(5):
            group.propose(b"%d" % number)
        group.settle()
        self.assertIn(group.leader(), "bc")
        self.assertEqual(group["a"].role, Role.FOLLOWER)
        group.advance(TIMING.heartbeat_seconds)
        self.assertEqual(group.states()["b"], [b"%d" % number for number in range(5)])
        group.advance(10 * LONG)
        self.assertEqual(len(group.leaders), 2)

    def test_leader_of_two_may_be_removed(self) -> None:
        group = Group("ab")
        group.elect("a")
        group["a"].propose_configuration(group_of("b"), group.now)
        group.settle()
        self.assertEqual(group.leaders_now(), ["b"])
        group.propose(b"x")
        group.settle()
        self.assertEqual(group.states()["b"], [b"x"])

    def test_machine_that_alone_knows_of_its_removal_can_be_elected(self) -> None:
        """Otherwise nobody could be elected: it has the longer log, and the others wait for its vote."""
        group = Group("ab")
        group.elect("a")
        group.isolate("a")
        group["a"].propose_configuration(group_of("b"), group.now)
        group.settle()
        group.crash("a")
        group.advance(LONG)
        group.start("a")
        group.heal()
        group.advance(5 * LONG)
        self.assertEqual(group.leaders_now(), ["b"])
        self.assertEqual({group[each].configuration.voters for each in "ab"}, {("b",)})
        group.propose(b"x")
        group.settle()
        self.assertEqual(group.states()["b"], [b"x"])

    def test_machine_can_not_be_elected_once_its_removal_is_committed(self) -> None:
        group = Group("abc")
        group.elect("a")
        group["a"].propose_configuration(group_of("bc"), group.now)
        group.settle()
        self.assertEqual(group["a"].deadline, float("inf"))
        group["a"].receive("b", TimeoutNow(group["a"].term), group.now)
        self.assertEqual(group["a"].role, Role.FOLLOWER)

    def test_removal_that_is_replaced_has_no_effect(self) -> None:
        group = Group("abc")
        group.elect("a")
        group.isolate("a")
        group["a"].propose_configuration(group_of("ab"), group.now)
        group.advance(5 * LONG)
        group.heal()
        group.propose(b"x")
        group.advance(LONG)
        self.assertEqual({group[each].configuration.voters for each in "abc"}, {tuple("abc")})
        self.assertEqual(group.states(), {each: [b"x"] for each in "abc"})


class QuorumTests(SynchronousTestCase):
    def test_single_voter_has_had_its_quorum_all_the_time(self) -> None:
        """The machine has had its quorum however long ago it was elected."""
        machine = leading("a")
        core = machine.core
        core.propose_configuration(group_of("ab"), 1_000.0)
        core.tick(1_000.0)
        self.assertEqual(core.role, Role.LEADER)
        core.tick(1_000.0 + LONG)
        self.assertEqual(core.role, Role.FOLLOWER)

    def test_group_grows_from_one_to_five_and_shrinks_again(self) -> None:
        group = Group("a")
        group.elect("a")
        steps = ["ab", "abc", "abcd", "abcde", "bcde", "cde", "cd", "d"]
        for number, voters in enumerate(steps):
            group.advance(LONG)
            for machine_id in voters:
                if machine_id not in group.disks:
                    group.add(machine_id, Configuration(()))
            leader = group.leader()
            group[leader].propose_configuration(group_of(voters), group.now)
            group.propose(b"%d" % number)
            group.advance(LONG)
            self.assertEqual(group[group.leader()].configuration, group_of(voters))
            self.assertIn(group.leader(), voters)
        self.assertEqual(group.states()["d"], [b"%d" % number for number in range(len(steps))])

    def test_a_configuration_that_shrinks_the_quorum_commits_what_a_quorum_has(self) -> None:
        group = Group("abcd")
        group.elect("a")
        group.isolate("c", "d")
        group.propose(b"x")
        group.settle()
        self.assertEqual(group.states()["a"], [])
        group["a"].propose_configuration(group_of("abc"), group.now)
        group.settle()
        self.assertEqual(group.states()["a"], [b"x"])

    def test_vote_of_a_removed_machine_does_not_count(self) -> None:
        machine = alone("a", "abc", [1], HardState(1))
        new = entry(2, 1, encode_configuration(group_of("ab")), EntryKind.CONFIGURATION)
        machine.core.receive("b", Append(1, 1, 1, 1, 0, (new,)), 0.0)
        machine.core.campaign(LONG)
        machine.core.receive("c", VoteReply(2, True, pre=True), LONG)
        self.assertEqual(machine.core.role, Role.PRE_CANDIDATE)
        machine.core.receive("b", VoteReply(2, True, pre=True), LONG)
        self.assertEqual(machine.core.role, Role.CANDIDATE)
