"""
Tests of L{etcd_twisted.consensus.raft.log}.
"""

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.configurations import encode_configuration
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind
from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.consensus.raft.log import RaftLog, fitting


def entry(index: int, term: int = 1) -> Entry:
    return Entry(index, term, EntryKind.COMMAND, b"%d.%d" % (term, index))


def changed(index: int, term: int) -> Entry:
    """Returns an entry with a configuration that no other one has."""
    data = encode_configuration(Configuration((f"{term}.{index}",)))
    return Entry(index, term, EntryKind.CONFIGURATION, data)


def entries(start: int, stop: int, term: int = 1) -> list[Entry]:
    return [entry(index, term) for index in range(start, stop)]


class RaftLogTests(SynchronousTestCase):
    def test_empty_log_begins_at_index_one(self) -> None:
        log = RaftLog()
        self.assertEqual((log.first_index, log.last_index, log.term(0)), (1, 0, 0))
        self.assertEqual(log.between(1, 1), ())

    def test_log_after_a_snapshot(self) -> None:
        log = RaftLog(7, 3)
        self.assertEqual((log.first_index, log.last_index, log.term(7)), (8, 7, 3))
        self.assertRaises(IndexError, log.term, 6)
        self.assertRaises(IndexError, log.term, 8)

    def test_entries_that_a_snapshot_holds_are_passed_over(self) -> None:
        log = RaftLog(7, 1)
        log.extend(entries(5, 10))
        self.assertEqual(log.between(8, 10), (entry(8), entry(9)))

    def test_entries_after_a_snapshot_replace_conflicting_ones(self) -> None:
        """The machine's log has entries of a term that lost, and then those of one that won."""
        log = RaftLog(7, 2)
        log.extend(entries(1, 11))
        log.extend(entries(5, 8, term=2))
        self.assertEqual((log.last_index, log.last_term), (7, 2))
        log.extend(entries(8, 10, term=2))
        self.assertEqual(log.between(8, 10), (entry(8, 2), entry(9, 2)))

    def test_a_gap_is_refused(self) -> None:
        log = RaftLog()
        log.extend(entries(1, 4))
        self.assertRaises(IndexError, log.extend, [entry(5)])
        self.assertEqual(log.last_index, 3)

    def test_a_conflicting_entry_drops_what_follows(self) -> None:
        """An entry that conflicts with a new one is deleted with all that follow it (Raft paper, section 5.3)."""
        log = RaftLog()
        log.extend(entries(1, 6))
        log.extend([entry(3, 2)])
        self.assertEqual(log.between(1, 4), (entry(1), entry(2), entry(3, 2)))
        self.assertEqual(log.last_index, 3)

    @given(length=st.integers(1, 30), data=st.data())
    def test_compaction_keeps_later_entries(self, length: int, data: st.DataObject) -> None:
        log = RaftLog()
        log.extend(entries(1, length + 1))
        index = data.draw(st.integers(1, length))
        log._forget(index)
        self.assertEqual((log.first_index, log.last_index), (index + 1, length))
        self.assertEqual(log.term(index), 1)
        self.assertRaises(IndexError, log.term, index - 1)
        self.assertEqual(log.between(index + 1, length + 1), tuple(entries(index + 1, length + 1)))

    def test_missing_entries_are_left_out(self) -> None:
        log = RaftLog(7, 1)
        log.extend(entries(8, 11))
        self.assertEqual(log.between(1, 9), (entry(8),))
        self.assertEqual(log.between(9, 99), (entry(9), entry(10)))
        for start, stop in ((1, 5), (8, 8), (10, 3), (11, 99), (99, 1)):
            self.assertEqual(log.between(start, stop), ())

    def test_snapshot_covers_more_than_was_compacted(self) -> None:
        log = RaftLog(7, 1)
        self.assertEqual(log.snapshot_index, 7)
        log.extend(entries(8, 20))
        log.compact(15, limits=RaftLimits(trailing_entries=5))
        self.assertEqual((log.snapshot_index, log.first_index), (15, 11))
        log.begin_after(30, 2)
        self.assertEqual((log.snapshot_index, log.first_index, log.last_index, log.last_term), (30, 31, 30, 2))


@st.composite
def logs(draw: st.DrawFn) -> RaftLog:
    """Generates logs that may begin after a snapshot; their terms only grow."""
    terms = sorted(draw(st.lists(st.integers(1, 6), min_size=1, max_size=20)))
    gone = draw(st.integers(0, len(terms) - 1))
    log = RaftLog()
    log.extend(entry(index, term) for index, term in enumerate(terms, 1))
    if gone:
        log._forget(gone)
    return log


class ConflictTests(SynchronousTestCase):
    """Tests of conflicting entries (Raft paper, section 5.3)."""

    @given(
        here=st.lists(st.integers(1, 5), max_size=10).map(sorted),
        there=st.lists(st.integers(1, 5), max_size=10).map(sorted),
        start=st.integers(1, 12),
    )
    def test_log_agrees_with_a_plain_list(self, here: list[int], there: list[int], start: int) -> None:
        """The log agrees with a plain list, from which everything at or after the place of a new entry is removed."""
        log = RaftLog()
        log.extend(entry(index, term) for index, term in enumerate(here, 1))
        new = [entry(index, term) for index, term in enumerate(there, start)]
        expected = [entry(index, term) for index, term in enumerate(here, 1)]
        if new and start > len(here) + 1:
            self.assertRaises(IndexError, log.extend, new)
        else:
            log.extend(new)
            for each in new:
                expected[each.index - 1 :] = [each]
        self.assertEqual(log.between(1, 99), tuple(expected))

    @given(
        st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4), st.sets(st.integers(1, 12))), min_size=1, max_size=6)
    )
    def test_entries_that_come_together_do_what_they_do_one_by_one(
        self, messages: list[tuple[int, int, set[int]]]
    ) -> None:
        """Messages of several leaders overlap what is in the log, or replace it, also where it has configurations."""
        together, one_by_one = RaftLog(), RaftLog()
        for count, before, groups in messages:
            term = together.last_term + 1
            first = max(1, together.last_index + 1 - before)
            own = together.between(first, first + before // 2)  # the leader has these too
            new = [
                changed(index, term) if index in groups else entry(index, term) for index in range(first, first + 9)
            ]
            batch = (*own, *new[len(own) : len(own) + count])
            together.merge(batch)
            for each in batch:
                one_by_one.merge((each,))
            together.append_commands(term, [b"x", b"y"][: count - 1])
            for data in [b"x", b"y"][: count - 1]:
                one_by_one.append(term, EntryKind.COMMAND, data)
            for log in (together, one_by_one):
                log.persisted(log.to_persist())
            seen = [
                (
                    log.between(1, 99),
                    log.last_index,
                    log.durable_index,
                    list(log.configurations),
                    log.configurations.index,
                )
                for log in (together, one_by_one)
            ]
            self.assertEqual(*seen)
            held = [each.index for each in together.between(1, 99) if each.kind is EntryKind.CONFIGURATION]
            self.assertEqual([index for index, _ in together.configurations], [0, *held])

    @given(log=logs(), index=st.integers(-1, 25), term=st.integers(0, 7))
    def test_last_entry_of_a_term(self, log: RaftLog, index: int, term: int) -> None:
        """The result is that of trying each entry."""
        known = range(log.first_index, min(index, log.last_index) + 1)
        expected = max((each for each in known if log.term(each) <= term), default=log.first_index - 1)
        self.assertEqual(log.last_of_term(index, term), expected)

    @given(log=logs(), index=st.integers(-1, 25), term=st.integers(0, 7))
    def test_log_has_an_entry_of_index_and_term(self, log: RaftLog, index: int, term: int) -> None:
        there = log.first_index - 1 <= index <= log.last_index
        self.assertEqual(log.has(index, term), there and log.term(index) == term)


class FittingTests(SynchronousTestCase):
    @given(st.lists(st.integers(0, 10), max_size=10), st.integers(0, 30))
    @example([9, 0, 1], 8)
    @example([5, 0, 3, 0, 1], 8)
    def test_as_many_entries_as_fit_and_at_least_one(self, sizes: list[int], length: int) -> None:
        several = tuple(Entry(index, 1, EntryKind.COMMAND, bytes(size)) for index, size in enumerate(sizes, 1))
        count = len(fitting(several, length))
        self.assertEqual(fitting(several, length), several[:count])
        if sizes:
            self.assertGreaterEqual(count, 1)
            self.assertTrue(count == 1 or sum(sizes[:count]) <= length)
            self.assertTrue(count == len(sizes) or sum(sizes[: count + 1]) > length)
