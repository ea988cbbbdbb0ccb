"""
Tests of the write-ahead log: what was appended is read again, and what a snapshot covers is removed.
"""

from collections.abc import Callable, Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from etcd_twisted.consensus.raft.entries import Record
from etcd_twisted.consensus.storage import files, removed_files, segment_file
from etcd_twisted.consensus.storage.write_ahead_log import WriteAheadLog
from etcd_twisted.errors import StorageError
from tests import examples
from tests.consensus.storage.logs import LogTestCase, contents, entries, logs, recover, resolve, resumed, vote


class RoundTripTests(LogTestCase):
    @settings(max_examples=examples(60))
    @given(logs(), st.integers(1, 600), st.sets(st.integers(0, 11)))
    def test_any_records_are_read_again(self, records: list[Record], segment_bytes: int, restarts: set[int]) -> None:
        """What was appended is read as it was, whatever the segments' size and however often the log is restarted."""
        directory = self.directory()
        log = WriteAheadLog(directory, segment_bytes)
        self.assertEqual(resumed(log), [])
        for number, record in enumerate(records):
            log.append(record)
            if number in restarts:
                log.close()
                log = WriteAheadLog(directory, segment_bytes)
                self.assertEqual(resumed(log), records[: number + 1])
        log.close()
        log = WriteAheadLog(directory)
        self.assertEqual(resumed(log), records)
        self.assertEqual(log.last_index, max(resolve(records)[1], default=0))
        self.assertEqual((log.torn, log.base, log.hard_state), (None, 0, resolve(records)[0]))
        log.close()

    @settings(max_examples=examples(60))
    @given(logs(), st.integers(1, 300), st.lists(st.integers(0, 40), max_size=6))
    def test_compaction_keeps_what_is_needed(self, records: list[Record], size: int, covers: list[int]) -> None:
        """After any compactions, the later entries and the hard state are there."""
        directory = self.directory()
        log = WriteAheadLog(directory, size)
        resumed(log)
        covered = 0
        for number, record in enumerate(records):
            log.append(record)
            if number < len(covers):
                # A replica compacts up to what is applied, which no later entry replaces.
                replaced = min([later.entries[0].index for later in records[number + 1 :] if later.entries] or [99])
                covered = max(covered, min(covers[number], replaced - 1, log.last_index))
                log.compact(covered)
        log.close()
        log = WriteAheadLog(directory, size)
        self.assertEqual(resolve(resumed(log), covered), resolve(records, covered))
        self.assertLessEqual(log.base, covered)
        log.append(entries(log.last_index + 1, b"next"))
        log.close()

    def test_conflicting_records_are_read_as_written(self) -> None:
        """Recovery replaces nothing, because that is the task of the log in memory."""
        records = [entries(1, b"a", b"b", b"c"), entries(2, b"B", term=2), entries(3, b"C", term=2)]
        directory = self.directory()
        self.write(directory, records)
        self.assertEqual(recover(directory), records)
        self.assertEqual(resolve(recover(directory))[1], {1: b"a", 2: b"B", 3: b"C"})

    def test_records_are_read_one_at_a_time(self) -> None:
        """Records are read one at a time, and the log accepts nothing before the last one was read."""
        directory = self.directory()
        self.write(directory, [entries(1, b"a"), entries(2, b"b")])
        log = WriteAheadLog(directory)
        iterator = log.recover()
        self.assertEqual(next(iterator), entries(1, b"a"))
        self.assertRaises(StorageError, log.append, entries(2, b"x"))
        self.assertRaises(StorageError, log.compact, 1)
        self.assertEqual(list(iterator), [entries(2, b"b")])
        self.assertRaises(StorageError, log.append, entries(3, b"c"))
        log.resume()
        log.append(entries(3, b"c"))
        log.close()
        self.assertRaises(StorageError, log.append, entries(4, b"d"))

    def test_record_after_a_gap_is_refused(self) -> None:
        """A record that recovery would refuse is refused when it is appended."""
        directory = self.directory()
        log = WriteAheadLog(directory)
        resumed(log)
        log.append(entries(1, b"a"))
        self.assertRaises(ValueError, log.append, entries(3, b"c"))
        self.assertRaises(ValueError, log.append, entries(0, b"c"))
        torn_apart = Record(None, (*entries(2, b"b").entries, *entries(4, b"d").entries))
        self.assertRaises(ValueError, log.append, torn_apart)
        log.append(entries(2, b"b"))
        log.close()
        self.assertEqual(recover(directory), [entries(1, b"a"), entries(2, b"b")])

    def test_record_may_be_larger_than_a_segment(self) -> None:
        directory = self.directory()
        records = [entries(1, b"a"), entries(2, b"b" * 5000), entries(3, b"c")]
        self.write(directory, records, segment_bytes=200)
        self.assertEqual(recover(directory), records)
        self.assertEqual(len(contents(directory)), 3)

    def test_other_files_are_left_alone(self) -> None:
        directory = self.directory()
        self.write(directory, [entries(1, b"a")])
        (directory / "lost+found").mkdir()
        (directory / "1.log").write_bytes(b"?")
        self.assertEqual(recover(directory), [entries(1, b"a")])


class ZerosAheadTests(LogTestCase):
    """An append overwrites zeros that were written and synced with an earlier append."""

    def appended(self, records: Iterable[Record]) -> list[tuple[int, bytes]]:
        """Returns where the bytes for each record, and for a last small one, were written, and what they were."""
        written: list[tuple[int, bytes]] = []

        def write_all(descriptor: int, data: bytes, offset: int) -> None:
            written.append((offset, data))
            files.write_all(descriptor, data, offset)

        self.patch(segment_file, "write_all", write_all)
        directory = self.directory()
        log = WriteAheadLog(directory)
        resumed(log)
        records = [*records, entries(0, b"")]
        for index, record in enumerate(records, 1):
            records[index - 1] = entries(index, record.entries[0].data)
            log.append(records[index - 1])
        (path,) = directory.iterdir()
        self.assertEqual(path.stat().st_size % segment_file.ALLOCATION_BYTES, 0)
        copy = self.copy(directory)
        log.close()
        self.assertEqual((recover(directory), recover(copy)), (records, records))
        return written[1 : 1 + len(records)]  # without the segment's head

    def test_small_records_have_zeros_ahead(self) -> None:
        written = self.appended(entries(0, b"x" * 1_000) for _ in range(5_000))
        zeroed = ahead = 0
        for offset, data in written:
            if offset + len(data) > zeroed:
                ahead += 1
                self.assertEqual(data[2_000:], bytes(len(data) - 2_000))
                zeroed = offset + len(data)
        self.assertEqual(ahead, zeroed // segment_file.ZEROED_BYTES)
        self.assertGreater(zeroed, segment_file.ALLOCATION_BYTES)

    def test_long_records_have_no_zeros_ahead(self) -> None:
        """Long records would use up the zeros at once, and so double what is written."""
        written = self.appended(entries(0, b"x" * 100_000) for _ in range(100))
        self.assertEqual({len(data) for _, data in written[:-1]}, {len(written[0][1])})
        self.assertGreater(len(written[-1][1]), segment_file.ZEROED_BYTES)

    def test_no_zeros_beyond_the_allocated_space(self) -> None:
        almost = segment_file.ALLOCATION_BYTES - 100_000
        written = self.appended([entries(0, b"x" * almost)])
        offset, data = written[-1]
        self.assertEqual(offset + len(data), segment_file.ALLOCATION_BYTES)


class CompactionTests(LogTestCase):
    def test_only_whole_segments_are_deleted(self) -> None:
        directory = self.directory()
        log = WriteAheadLog(directory, 200)
        resumed(log)
        log.append(vote(7))
        for index in range(1, 21):
            log.append(entries(index, b"%03d" % index * 10))
        before = len(contents(directory))
        log.compact(0)
        self.assertEqual(len(contents(directory)), before)
        log.compact(10)
        self.assertLess(len(contents(directory)), before)
        self.assertTrue(0 < log.base <= 10)
        log.compact(20)
        self.assertEqual(len(contents(directory)), 1)
        log.append(entries(21, b"more"))
        log.close()
        hard_state, found = resolve(recover(directory), 20)
        self.assertEqual((hard_state, found), (vote(7).hard_state, {21: b"more"}))

    def test_new_segment_allows_earlier_ones_to_be_deleted(self) -> None:
        directory = self.directory()
        log = WriteAheadLog(directory)
        resumed(log)
        log.roll()
        self.assertEqual(len(contents(directory)), 0)
        log.append(entries(1, b"a", b"b"))
        log.roll()
        log.roll()
        self.assertEqual(len(contents(directory)), 2)
        log.append(entries(3, b"c"))
        log.compact(2)
        self.assertEqual(len(contents(directory)), 1)
        log.close()
        _, found = resolve(recover(directory), 2)
        self.assertEqual(found, {3: b"c"})

    def test_replaced_entries_keep_their_segment(self) -> None:
        """A segment is kept while it holds an entry after the index, replaced or not."""
        directory = self.directory()
        log = WriteAheadLog(directory, 200)
        resumed(log)
        log.append(entries(1, b"a", b"b", b"c", b"d"))
        log.append(entries(2, b"B", term=2))
        self.assertEqual(len(contents(directory)), 1)
        log.append(entries(3, b"C" * 100, term=2))
        log.compact(2)
        self.assertEqual(len(contents(directory)), 2)
        log.append(entries(4, b"D" * 100, term=2))
        log.compact(4)
        self.assertEqual(len(contents(directory)), 1)
        log.close()

    def test_segments_are_deleted_one_at_a_time(self) -> None:
        """Each deletion is durable before the next, so that no crash leaves a hole in the middle."""
        directory = self.directory()
        log = WriteAheadLog(directory, 1)
        resumed(log)
        for index in range(1, 6):
            log.append(entries(index, b"x"))
        names = sorted(contents(directory))
        synced: list[list[str]] = []
        self.patch(removed_files, "sync_directory", lambda path: synced.append(sorted(contents(path))))
        log.compact(4)
        self.assertEqual(synced, [names[number:] for number in range(1, 5)])
        log.close()

    def check_anew(self, restart: Callable[[WriteAheadLog], None]) -> None:
        directory = self.directory()
        log = WriteAheadLog(directory, 100)
        resumed(log)
        log.append(vote(7))
        log.append(entries(1, b"a", b"b"))
        restart(log)
        self.assertEqual((log.base, log.last_index), (50, 50))
        self.assertEqual(len(contents(directory)), 1)
        self.assertRaises(ValueError, log.append, entries(52, b"gap"))
        log.append(entries(51, b"c"))
        log.close()
        log = WriteAheadLog(directory)
        self.assertEqual(resumed(log), [vote(7), entries(51, b"c")])
        self.assertEqual((log.base, log.last_index), (50, 51))
        log.close()

    def test_log_restarts_after_a_snapshot_beyond_its_end(self) -> None:
        """A snapshot of another machine may be ahead of the log, which begins anew after it."""
        self.check_anew(lambda log: log.compact(50))

    def test_log_restarts_after_an_index(self) -> None:
        self.check_anew(lambda log: log.restart_after(50))

    def test_log_restarts_after_a_conflicting_snapshot(self) -> None:
        """Entries after a snapshot that the log conflicts with are dropped with the rest."""
        directory = self.directory()
        log = WriteAheadLog(directory)
        resumed(log)
        log.append(entries(1, b"a", b"b", b"c"))
        log.restart_after(2)
        log.close()
        log = WriteAheadLog(directory)
        self.assertEqual(resumed(log), [])
        self.assertEqual((log.base, log.last_index), (2, 2))
        log.close()

    def test_empty_log_restarts(self) -> None:
        directory = self.directory()
        log = WriteAheadLog(directory)
        resumed(log)
        log.restart_after(9)
        log.append(entries(10, b"j"))
        log.close()
        self.assertEqual(recover(directory), [entries(10, b"j")])

    def test_void_segments_are_deleted_after_a_crash(self) -> None:
        """Older segments that a fresh one made void are not read, damaged or not, and are deleted in the end."""
        directory = self.directory()
        log = WriteAheadLog(directory, 100)
        resumed(log)
        for index in range(1, 9):
            log.append(entries(index, b"x" * 40))
        kept = contents(directory)
        log.restart_after(20)
        log.close()
        for name, data in kept.items():
            (directory / name).write_bytes(data)
        (directory / min(kept)).write_bytes(b"damaged")
        log = WriteAheadLog(directory)
        self.assertEqual(resumed(log), [])
        self.assertEqual((log.base, len(contents(directory))), (20, 1))
        log.close()
