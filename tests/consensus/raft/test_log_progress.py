"""
Tests of L{etcd_twisted.consensus.raft.log}: what is durable, what is handed out, and what is kept.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind
from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.consensus.raft.log import RaftLog
from tests.consensus.raft.group import entries_of, entry


def keeping(length: int, index: int = 0) -> RaftLog:
    """Returns a log of term 1, durable up to C{length}, after a snapshot at C{index}."""
    log = RaftLog(index, 1 if index else 0, Configuration(("a",)))
    log.extend(entries_of([1] * (length - index), index + 1))
    return log


def add(kept: RaftLog, term: int, number: int) -> None:
    """Adds entries of one term."""
    for position in range(number):
        kept.append(term, EntryKind.COMMAND, b"%d" % position)


def apply(kept: RaftLog, commit: int, most: int) -> tuple[Entry, ...]:
    """Returns what is to be applied once C{commit} is known to be committed."""
    kept.commit_index = commit
    return kept.to_apply(most)


class DiskTests(SynchronousTestCase):
    def test_initial_log_is_durable(self) -> None:
        kept = keeping(9, 4)
        self.assertEqual((kept.durable_index, kept.applying_index), (9, 4))
        self.assertEqual(kept.handed_out_index, kept.last_index)

    def test_each_entry_is_handed_out_once(self) -> None:
        kept = keeping(2)
        add(kept, 1, 2)
        self.assertLess(kept.handed_out_index, kept.last_index)
        first = kept.to_persist()
        add(kept, 1, 1)
        second = kept.to_persist()
        self.assertEqual(([e.index for e in first], [e.index for e in second]), ([3, 4], [5]))
        self.assertEqual(kept.durable_index, 2)
        kept.persisted(first)
        self.assertEqual(kept.durable_index, 4)

    @given(st.lists(st.tuples(st.sampled_from(["append", "merge", "write", "sync"]), st.integers(1, 4)), max_size=40))
    def test_log_agrees_with_a_plain_disk(self, steps: list[tuple[str, int]]) -> None:
        """What counts as durable is what a disk would have after a crash at any time."""
        kept = log = keeping(3)
        log.commit_index = 1
        disk = list(log.between(1, 4))
        writing: tuple[Entry, ...] = ()
        term = 1
        for step, number in steps:
            if step == "append":
                add(kept, term, number)
            elif step == "merge":
                term += 1
                start = max(2, log.last_index + 1 - number)
                kept.merge(entries_of([term] * number, start))
            elif step == "write" and not writing:
                writing = kept.to_persist()
            elif step == "sync" and writing:
                disk = [*disk[: writing[0].index - 1], *writing]
                kept.persisted(writing)
                writing = ()
            self.assertEqual(list(log.between(1, kept.durable_index + 1)), disk[: kept.durable_index])
        kept.persisted(writing)
        disk = [*disk[: writing[0].index - 1], *writing] if writing else disk
        last = kept.to_persist()
        disk = [*disk[: last[0].index - 1], *last] if last else disk
        kept.persisted(last)
        self.assertEqual((list(log.between(1, 999)), kept.durable_index), (disk, log.last_index))


class MergeTests(SynchronousTestCase):
    @given(
        here=st.lists(st.integers(1, 3), max_size=8).map(sorted),
        there=st.lists(st.integers(1, 3), max_size=8).map(sorted),
        commit=st.integers(0, 8),
    )
    def test_merge_agrees_with_a_naive_model(self, here: list[int], there: list[int], commit: int) -> None:
        """
        The log agrees with one that takes one entry after the other (Raft paper, figure 2, AppendEntries, steps 3 and
        4).
        """
        agree = next((at for at, pair in enumerate(zip(here, there, strict=False)) if pair[0] != pair[1]), None)
        same = min(len(here), len(there)) if agree is None else agree
        commit = min(commit, same)
        log = RaftLog()
        log.extend(entries_of(here))
        kept = log
        kept.commit_index = commit
        expected = list(entries_of(here))
        for new in entries_of(there):
            if new.index <= len(expected) and expected[new.index - 1].term != new.term:
                del expected[new.index - 1 :]
            if new.index > len(expected):
                expected.append(new)
        kept.merge(entries_of(there))
        self.assertEqual(list(log.between(1, 99)), expected)
        self.assertEqual(kept.durable_index, len(here) if agree is None else same)


class ApplyTests(SynchronousTestCase):
    def test_committed_and_durable_entries_are_applied_in_order(self) -> None:
        kept = keeping(3)
        add(kept, 1, 2)
        self.assertEqual(apply(kept, 0, 10), ())
        self.assertEqual([e.index for e in apply(kept, 2, 10)], [1, 2])
        self.assertEqual(apply(kept, 2, 10), ())
        self.assertEqual([e.index for e in apply(kept, 5, 10)], [3])
        kept.persisted(kept.to_persist())
        self.assertEqual([e.index for e in apply(kept, 5, 1)], [4])
        self.assertEqual(apply(kept, 5, 0), ())
        self.assertEqual([e.index for e in apply(kept, 5, 1)], [5])


class CompactionTests(SynchronousTestCase):
    def first_kept(self, limits: RaftLimits, index: int, needed: int | None = None) -> int:
        """Returns the first index that is kept of twenty entries with one byte each."""
        log = RaftLog()
        log.extend(entry(each, 1, b"x") for each in range(1, 21))
        log.compact(index, needed, limits)
        self.assertEqual((log.last_index, log.snapshot_index), (20, index))
        return log.first_index

    def test_compaction_keeps_some_entries(self) -> None:
        limits = RaftLimits(trailing_entries=5)
        self.assertEqual([self.first_kept(limits, index) for index in (1, 5, 6, 15, 20)], [1, 1, 2, 11, 16])

    def test_compaction_keeps_a_bounded_number_of_bytes(self) -> None:
        limits = RaftLimits(trailing_bytes=3)
        self.assertEqual([self.first_kept(limits, index) for index in (1, 3, 4, 15, 20)], [1, 1, 2, 13, 18])

    def test_compaction_keeps_what_is_needed(self) -> None:
        limits = RaftLimits(trailing_entries=5)
        kept = [self.first_kept(limits, 15, needed) for needed in (3, 10, 11, 15, 20)]
        self.assertEqual(kept, [3, 10, 11, 11, 11])

    def test_compaction_keeps_needed_entries_within_other_limits(self) -> None:
        limits = RaftLimits(trailing_entries=5, needed_entries=8)
        self.assertEqual([self.first_kept(limits, 15, needed) for needed in (3, 9, 12)], [8, 9, 11])
        limits = RaftLimits(trailing_entries=5, needed_entries=100, needed_bytes=7)
        self.assertEqual([self.first_kept(limits, 15, needed) for needed in (3, 9, 12)], [9, 9, 11])
