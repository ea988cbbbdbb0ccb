"""
Tests of L{etcd_twisted.consensus.raft.core}: what is committed, when, and what becomes of it (Raft paper, sections 5.3
and 5.4).
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import EntryKind, HardState
from etcd_twisted.consensus.raft.limits import DEFAULT_LIMITS, RaftLimits
from etcd_twisted.consensus.raft.messages import AppendReply
from etcd_twisted.consensus.raft.state import Role
from tests.consensus.raft.group import ALL, TIMING, Group, Machine, alone, elect, sent


def leading(voters: str = "a", terms: tuple[int, ...] = (1,), term: int = 1) -> Machine:
    """Returns machine a, which leads in the term after C{term}; nothing that it has sent was answered."""
    machine = alone("a", voters, terms, HardState(term))
    elect(machine)
    return machine


class QuorumTests(SynchronousTestCase):
    """A log entry is committed once the leader has replicated it on a majority of the servers."""

    def test_entry_is_committed_when_a_majority_has_it(self) -> None:
        for voters, acknowledging, commits in (
            ("a", "", True),
            ("ab", "", False),
            ("ab", "b", True),
            ("abc", "", False),
            ("abc", "b", True),
            ("abc", "c", True),
            ("abcd", "b", False),
            ("abcd", "bd", True),
            ("abcde", "d", False),
            ("abcde", "dd", False),
            ("abcde", "de", True),
        ):
            machine = leading(voters)
            core = machine.core
            index = core.propose(b"x")
            machine.save(0.0)
            for voter in acknowledging:
                core.receive(voter, AppendReply(2, 1, index, index), 0.0)
            self.assertEqual(core.commit_index, index if commits else 0, (voters, acknowledging))

    def test_the_leaders_own_log_counts_once_it_is_durable(self) -> None:
        machine = leading("abc")
        core = machine.core
        index = core.propose(b"x")
        core.receive("b", AppendReply(2, 1, index, index), 0.0)
        self.assertEqual(core.commit_index, index - 1)
        machine.write()
        self.assertEqual(core.commit_index, index - 1)
        machine.sync(0.0)
        self.assertEqual(core.commit_index, index)

    def test_followers_may_have_an_entry_before_the_leader(self) -> None:
        """The entry is committed, and applied here once it is durable here too."""
        machine = leading("abc")
        core = machine.core
        index = core.propose(b"x")
        for voter in "bc":
            core.receive(voter, AppendReply(2, 1, index, index), 0.0)
        self.assertEqual(core.commit_index, index)
        self.assertEqual([each.index for each in core.to_apply(ALL)], [1, 2])
        machine.save(0.0)
        self.assertEqual([each.index for each in core.to_apply(ALL)], [3])

    def test_each_acknowledgement_counts_as_far_as_it_goes(self) -> None:
        machine = leading("abcde")
        core = machine.core
        for data in (b"x", b"y", b"z"):
            core.propose(data)
        machine.save(0.0)
        for voter, index, commit in (("b", 5, 0), ("c", 3, 3), ("d", 4, 4), ("c", 2, 4), ("e", 5, 5)):
            core.receive(voter, AppendReply(2, 1, index, index), 0.0)
            self.assertEqual(core.commit_index, commit)

    def test_rejected_message_may_be_acknowledged_in_part(self) -> None:
        machine = leading("abc", (1, 1, 1))
        core = machine.core
        core.receive("b", AppendReply(2, 1, 3, 3), 0.0)
        core.propose(b"x")
        sent(machine)
        self.assertEqual(core.commit_index, 0)
        core.receive("b", AppendReply(2, 1, 4, 5, True, 4, 2), 0.0)
        self.assertEqual(core.commit_index, 4)


class EarlierTermTests(SynchronousTestCase):
    """Raft never commits log entries from previous terms by counting replicas (5.4.2)."""

    def test_only_the_own_term_is_counted(self) -> None:
        machine = leading("abc", (1, 2, 2), 2)
        core = machine.core
        machine.save(0.0)
        core.receive("b", AppendReply(3, 1, 3, 3), 0.0)
        core.receive("c", AppendReply(3, 1, 3, 3), 0.0)
        self.assertEqual((core.commit_index, core.leads_own_term), (0, False))
        core.receive("b", AppendReply(3, 1, 4, 4), 0.0)
        self.assertEqual((core.commit_index, core.leads_own_term), (4, True))
        self.assertEqual([each.index for each in core.to_apply(ALL)], [1, 2, 3, 4])

    def test_a_leader_begins_with_an_entry_of_its_own_term(self) -> None:
        machine = alone("a", "abc", [1, 2])
        elect(machine)
        last = machine.disk.entries[-1]
        self.assertEqual((last.index, last.term, last.kind), (3, 3, EntryKind.EMPTY))

    def figure_8(self, own_entry_arrives: bool) -> Group:
        """
        Returns a group in which machine a leads in term 4 and has replicated its entry of term 2 on a quorum. It
        crashes then, and e, which was down, has an entry of term 3 in that place.
        """
        terms = {"a": [1, 2], "b": [1, 2], "c": [1], "d": [1], "e": [1, 3]}
        group = Group("abcde", terms=terms, limits=RaftLimits(batch_entries=1))
        group.crash("e")
        for machine_id in "abcd":
            group[machine_id].wants_snapshot("", 3, 0, group.now)
        group.isolate("d")
        if not own_entry_arrives:
            group.passes = lambda each: all(e.term < 4 for e in getattr(each.message, "entries", ()))
        group.elect("a")
        self.assertEqual(group["a"].term, 4)
        self.assertTrue(all(group[each].log.has(2, 2) for each in "abc"))
        group.crash("a")
        group.heal()
        group.start("e")
        group["e"].wants_snapshot("", 4, 0, group.now)
        return group

    def test_figure_8_d_replaces_an_uncommitted_entry(self) -> None:
        """The entry may be replaced although a quorum has it, because it was not committed."""
        group = self.figure_8(own_entry_arrives=False)
        self.assertEqual({group[each].commit_index for each in "bcd"}, {0})
        group.elect("e")
        self.assertEqual({group[each].log.term(2) for each in "bcde"}, {3})

    def test_figure_8_e_commits_with_an_entry_of_the_own_term(self) -> None:
        """
        With an entry of the leader's own term after it, the entry is committed, and e can't win an election any more.
        """
        group = self.figure_8(own_entry_arrives=True)
        group.advance(10 * TIMING.election_timeout_seconds)
        self.assertIn(group.leader(), "bc")
        self.assertEqual({group[each].log.term(2) for each in "bcde"}, {2})

    def test_earlier_entries_are_committed_with_one_of_the_own_term(self) -> None:
        group = Group("abc", terms={each: [1, 1, 2] for each in "abc"})
        group.elect("b")
        self.assertEqual([each.term for each in group["a"].log.between(1, 9)], [1, 1, 2, 3])
        self.assertEqual({group[each].commit_index for each in "abc"}, {4})
        self.assertEqual(group.states(), {each: [b"1.1", b"1.2", b"2.3"] for each in "abc"})

    def test_acknowledged_entries_outlast_any_leader(self) -> None:
        group = Group("abc")
        acknowledged = []
        for number in range(30):
            group.advance(4 * TIMING.election_timeout_seconds)
            leader = group.leader()
            data = b"%d" % number
            group.propose(data)
            group.settle()
            self.assertIn(data, group.machines[leader].state)
            acknowledged.append(data)
            for machine_id in sorted(set("abc") - set(group.machines)):
                group.start(machine_id)
            group.advance(TIMING.heartbeat_seconds)
            group.crash(leader)
        group.advance(4 * TIMING.election_timeout_seconds)
        self.assertEqual(group.machines[group.leader()].state, acknowledged)


class RecordTests(SynchronousTestCase):
    """Tests of what one append makes durable."""

    def test_an_entry_is_committed_only_when_it_is_durable(self) -> None:
        machine = leading()
        machine.core.to_apply(ALL)
        index = machine.core.propose(b"x")
        machine.write()
        self.assertEqual(machine.core.to_apply(ALL), ())
        machine.sync(0.0)
        (entry,) = machine.core.to_apply(ALL)
        self.assertEqual((entry.index, entry.data), (index, b"x"))

    def test_proposals_before_one_sync_share_a_record(self) -> None:
        machine = leading()
        for data in (b"x", b"y", b"z"):
            machine.core.propose(data)
        (record,) = machine.save(0.0)
        self.assertEqual([each.data for each in record.entries], [b"x", b"y", b"z"])
        self.assertIsNone(machine.core.to_persist())

    def test_a_record_is_bounded(self) -> None:
        """However much is proposed between two syncs, a record fits into a frame of the log."""
        machine = leading()
        machine.core.to_apply(ALL)
        most = DEFAULT_LIMITS.record_bytes
        large = bytes(most // 2)
        for data in (large, large, b"x", bytes(most + 1), b"y"):
            machine.core.propose(data)
        sizes = [[len(each.data) for each in record.entries] for record in machine.save(0.0)]
        self.assertEqual(sizes, [[len(large)] * 2, [1], [most + 1], [1]])
        self.assertEqual(len(machine.core.to_apply(ALL)), 5)

    @given(st.lists(st.sampled_from(["propose", "write", "sync", "apply"]), max_size=60), st.integers(1, 4))
    def test_whatever_the_order_everything_durable_is_applied_once_and_in_order(
        self, steps: list[str], most: int
    ) -> None:
        machine = leading()
        core = machine.core
        core.to_apply(ALL)
        proposed: list[int] = []
        applied: list[int] = []
        for number, step in enumerate(steps):
            if step == "propose":
                proposed.append(core.propose(b"%d" % number))
            elif step == "write":
                machine.write()
            elif step == "sync":
                machine.sync(0.0)
            else:
                entries = core.to_apply(most)
                self.assertLessEqual(len(entries), most)
                applied += [each.index for each in entries]
            self.assertEqual(applied, proposed[: len(applied)])
            self.assertLessEqual(applied[-1:], [machine.disk.last_index])
        machine.save(0.0)
        applied += [each.index for each in core.to_apply(ALL)]
        self.assertEqual(applied, proposed)


class SteppingDownTests(SynchronousTestCase):
    def test_uncommitted_entries_may_be_lost_or_not(self) -> None:
        """The proposer can't know: the entry is committed by the next leader if that has it, and replaced if not."""
        for survives in (False, True):
            group = Group("abc")
            group.elect("a")
            if survives:
                group.passes = lambda each: not isinstance(each.message, AppendReply)
            else:
                group.isolate("a")
            index = group.propose(b"x")
            group.settle()
            self.assertLess(group["a"].commit_index, index)
            group.heal()
            group.crash("a")
            group.advance(3 * TIMING.election_timeout_seconds)
            group.propose(b"y")
            group.start("a")
            group.advance(4 * TIMING.heartbeat_seconds)
            expected = [b"x", b"y"] if survives else [b"y"]
            self.assertEqual(group.states(), dict.fromkeys("abc", expected))

    def test_a_leader_that_is_cut_off_commits_nothing(self) -> None:
        group = Group("abc")
        group.elect("a")
        group.isolate("a")
        for number in range(5):
            group["a"].propose(b"%d" % number)
        group.settle()
        self.assertEqual((group["a"].role, group.states()["a"]), (Role.LEADER, []))
        sent(group.machines["a"], group.now)
        group.advance(5 * TIMING.election_timeout_seconds)
        group.heal()
        group.propose(b"x")
        group.advance(4 * TIMING.heartbeat_seconds)
        self.assertEqual(group.states(), {each: [b"x"] for each in "abc"})
