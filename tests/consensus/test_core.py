"""
L{etcd_twisted.consensus.core}, rule by rule as the Raft paper has them.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.core import RECORD_BYTES, NotLeaderError, Raft, Role, bootstrap
from etcd_twisted.consensus.entries import Configuration, EntryKind, HardState, Record
from etcd_twisted.consensus.log import RaftLog

ALL = 1_000


def fresh() -> Raft:
    """A machine whose log holds the first record and nothing else."""
    log = RaftLog()
    first = bootstrap("a")
    log.extend(first.entries)
    assert first.hard_state is not None
    return Raft("a", Configuration(()), first.hard_state, log)


def save(core: Raft) -> Record:
    record = core.to_persist()
    assert record is not None
    core.persisted(record)
    return record


def leading() -> Raft:
    """A machine that leads and has committed in its term."""
    core = fresh()
    core.campaign()
    save(core)
    save(core)
    core.to_apply(ALL)
    return core


class ElectionTests(SynchronousTestCase):
    """Raft paper, section 5.2, in a group of one."""

    def test_it_starts_as_a_follower_with_nothing_to_do(self) -> None:
        core = fresh()
        self.assertEqual((core.role, core.term, core.leader), (Role.FOLLOWER, 1, None))
        self.assertIsNone(core.to_persist())
        self.assertEqual(core.to_apply(ALL), ())

    def test_a_vote_is_durable_before_it_counts(self) -> None:
        core = fresh()
        core.campaign()
        self.assertEqual(core.role, Role.CANDIDATE)
        record = core.to_persist()
        self.assertEqual(record, Record(HardState(2, "a"), ()))
        self.assertEqual(core.role, Role.CANDIDATE)
        core.persisted(record)
        self.assertEqual((core.role, core.leader, core.term), (Role.LEADER, "a", 2))

    def test_a_vote_of_an_earlier_term_does_not_elect(self) -> None:
        core = fresh()
        core.campaign()
        earlier = core.to_persist()
        core.campaign()
        core.persisted(earlier)
        self.assertEqual((core.role, core.term), (Role.CANDIDATE, 3))

    def test_each_election_has_a_term_of_its_own(self) -> None:
        core = leading()
        core.campaign()
        self.assertEqual(core.term, 3)
        self.assertRaises(NotLeaderError, core.propose, b"x")


class CommitTests(SynchronousTestCase):
    """Raft paper, sections 5.3 and 5.4.2."""

    def test_a_leader_begins_with_an_entry_of_its_own_term(self) -> None:
        core = fresh()
        core.campaign()
        save(core)
        self.assertFalse(core.leads_own_term)
        record = save(core)
        self.assertEqual([(e.index, e.term, e.kind) for e in record.entries], [(2, 2, EntryKind.EMPTY)])
        self.assertTrue(core.leads_own_term)

    def test_entries_of_earlier_terms_are_committed_with_it_and_not_before(self) -> None:
        core = fresh()
        core.campaign()
        save(core)
        self.assertEqual(core.to_apply(ALL), ())
        save(core)
        self.assertEqual([entry.index for entry in core.to_apply(ALL)], [1, 2])

    def test_an_entry_is_committed_only_when_it_is_durable(self) -> None:
        core = leading()
        index = core.propose(b"x")
        record = core.to_persist()
        self.assertEqual([entry.data for entry in record.entries], [b"x"])
        self.assertEqual(core.to_apply(ALL), ())
        core.persisted(record)
        (entry,) = core.to_apply(ALL)
        self.assertEqual((entry.index, entry.data), (index, b"x"))

    def test_proposals_before_one_sync_share_a_record(self) -> None:
        core = leading()
        for data in (b"x", b"y", b"z"):
            core.propose(data)
        self.assertEqual([entry.data for entry in save(core).entries], [b"x", b"y", b"z"])
        self.assertIsNone(core.to_persist())

    def test_a_record_is_bounded(self) -> None:
        """However much is proposed between two syncs, a record fits into a frame of the log."""
        core = leading()
        large = bytes(RECORD_BYTES // 2)
        for data in (large, large, b"x", bytes(RECORD_BYTES + 1), b"y"):
            core.propose(data)
        sizes = [[len(entry.data) for entry in save(core).entries] for _ in range(4)]
        self.assertEqual(sizes, [[len(large)] * 2, [1], [RECORD_BYTES + 1], [1]])
        self.assertIsNone(core.to_persist())
        self.assertEqual(len(core.to_apply(ALL)), 5)

    def test_only_a_leader_takes_proposals(self) -> None:
        self.assertRaises(NotLeaderError, fresh().propose, b"x")

    @given(st.lists(st.sampled_from(["propose", "write", "sync", "apply"]), max_size=60), st.integers(1, 4))
    def test_whatever_the_order_everything_durable_is_applied_once_and_in_order(
        self, steps: list[str], most: int
    ) -> None:
        core = leading()
        proposed, applied, writing = [], [], []
        for number, step in enumerate(steps):
            if step == "propose":
                proposed.append(core.propose(b"%d" % number))
            elif step == "write" and not writing and (record := core.to_persist()) is not None:
                writing.append(record)
            elif step == "sync" and writing:
                core.persisted(writing.pop())
            elif step == "apply":
                entries = core.to_apply(most)
                self.assertLessEqual(len(entries), most)
                applied += [entry.index for entry in entries]
            self.assertEqual(applied, proposed[: len(applied)])
        for record in writing:
            core.persisted(record)
        if (record := core.to_persist()) is not None:
            core.persisted(record)
        applied += [entry.index for entry in core.to_apply(ALL)]
        self.assertEqual(applied, proposed)


class ReadTests(SynchronousTestCase):
    """Raft dissertation, section 6.4."""

    def test_a_read_waits_until_the_leader_has_committed_in_its_term(self) -> None:
        core = fresh()
        core.campaign()
        save(core)
        core.read(7)
        self.assertEqual(core.to_answer(), [])
        save(core)
        self.assertEqual(core.to_answer(), [(7, 2)])
        self.assertEqual(core.to_answer(), [])

    def test_a_read_names_what_must_be_applied_before(self) -> None:
        core = leading()
        core.propose(b"x")
        save(core)
        core.propose(b"not durable")
        core.read(1)
        self.assertEqual(core.to_answer(), [(1, 3)])

    def test_only_a_leader_takes_reads(self) -> None:
        self.assertRaises(NotLeaderError, fresh().read, 1)


class ConfigurationTests(SynchronousTestCase):
    def test_the_newest_configuration_in_the_log_counts(self) -> None:
        self.assertEqual(fresh().configuration, Configuration(("a",)))

    def test_a_group_of_others_is_refused(self) -> None:
        log = RaftLog()
        log.extend(bootstrap("b").entries)
        with self.assertRaisesRegex(ValueError, "machine a can't run alone .*'b'"):
            Raft("a", Configuration(()), HardState(1, ""), log)

    def test_after_compaction_the_rest_of_the_log_goes_on(self) -> None:
        core = leading()
        core.propose(b"x")
        save(core)
        core.to_apply(ALL)
        core.compacted(3)
        index = core.propose(b"y")
        self.assertEqual(index, 4)
        save(core)
        self.assertEqual([entry.data for entry in core.to_apply(ALL)], [b"y"])
