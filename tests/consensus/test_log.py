"""
L{etcd_twisted.consensus.log}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.entries import Entry, EntryKind
from etcd_twisted.consensus.log import RaftLog


def entry(index: int, term: int = 1) -> Entry:
    return Entry(index, term, EntryKind.COMMAND, b"%d.%d" % (term, index))


def entries(start: int, stop: int, term: int = 1) -> list[Entry]:
    return [entry(index, term) for index in range(start, stop)]


class RaftLogTests(SynchronousTestCase):
    def test_empty(self) -> None:
        log = RaftLog()
        self.assertEqual((log.first_index, log.last_index, log.term(0)), (1, 0, 0))
        self.assertEqual(log.between(1, 1), ())

    def test_behind_a_snapshot(self) -> None:
        log = RaftLog(7, 3)
        self.assertEqual((log.first_index, log.last_index, log.term(7)), (8, 7, 3))
        self.assertRaises(IndexError, log.term, 6)
        self.assertRaises(IndexError, log.term, 8)

    def test_entries_that_a_snapshot_holds_are_passed_over(self) -> None:
        log = RaftLog(7, 1)
        log.extend(entries(5, 10))
        self.assertEqual(log.between(8, 10), (entry(8), entry(9)))

    def test_what_a_snapshot_holds_replaces_what_followed_it_before(self) -> None:
        """A machine's log: entries of a term that lost, and then those of one that won."""
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
        """Raft paper, section 5.3."""
        log = RaftLog()
        log.extend(entries(1, 6))
        log.extend([entry(3, 2)])
        self.assertEqual(log.between(1, 4), (entry(1), entry(2), entry(3, 2)))
        self.assertEqual(log.last_index, 3)

    @given(length=st.integers(1, 30), data=st.data())
    def test_compaction_changes_nothing_behind_it(self, length: int, data: st.DataObject) -> None:
        log = RaftLog()
        log.extend(entries(1, length + 1))
        index = data.draw(st.integers(1, length))
        log.compact(index)
        self.assertEqual((log.first_index, log.last_index), (index + 1, length))
        self.assertEqual(log.term(index), 1)
        self.assertRaises(IndexError, log.term, index - 1)
        self.assertEqual(log.between(index + 1, length + 1), tuple(entries(index + 1, length + 1)))
