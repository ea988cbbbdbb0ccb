"""The write-ahead log: what was appended comes back, a torn end is cut off, and damage is refused."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import etcd_twisted
from etcd_twisted.consensus import framing, wal
from etcd_twisted.consensus.entries import Entry, EntryKind, HardState, Record
from etcd_twisted.consensus.framing import FILE_HEADER_LENGTH, FrameKind, FrameReader, encode_frame
from etcd_twisted.consensus.wal import SEGMENT_MAGIC, TornTail, WriteAheadLog
from etcd_twisted.errors import StorageError

State = tuple[HardState, dict[int, bytes]]


def entries(first: int, *data: bytes, term: int = 1) -> Record:
    return Record(None, tuple(Entry(first + n, term, EntryKind.COMMAND, item) for n, item in enumerate(data)))


def vote(term: int) -> Record:
    return Record(HardState(term, "0123456789abcdef"), ())


def resolve(records: Iterable[Record], covered: int = 0) -> State:
    """What a replica makes of the records: conflicts replaced, entries that a snapshot covers left out."""
    hard_state, found = HardState(), {}
    for record in records:
        hard_state = record.hard_state or hard_state
        if record.entries:
            found = {index: data for index, data in found.items() if index < record.entries[0].index}
            found.update({entry.index: entry.data for entry in record.entries})
    return hard_state, {index: data for index, data in found.items() if index > covered}


def recover(directory: Path) -> list[Record]:
    log = WriteAheadLog(directory)
    records = list(log.recover())
    log.close()
    return records


def frame_offsets(path: Path) -> list[int]:
    """Where the file's frames begin, and where the last one ends."""
    with closing(FrameReader(path, SEGMENT_MAGIC)) as reader:
        offsets = [reader.offset]
        while reader.next() is not None:
            offsets.append(reader.offset)
        return offsets


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


class LogTestCase(SynchronousTestCase):
    def directory(self) -> Path:
        path = Path(self.mktemp())
        path.mkdir()
        return path

    def write(self, directory: Path, records: Iterable[Record], segment_bytes: int = 1 << 20) -> None:
        log = WriteAheadLog(directory, segment_bytes)
        for _ in log.recover():
            pass
        for record in records:
            log.append(record)
        log.close()

    def copy(self, directory: Path) -> Path:
        path = Path(self.mktemp())
        shutil.copytree(directory, path)
        return path

    def assert_refused(self, directory: Path, *words: str) -> None:
        """Recovery fails, says all the words in one line, and leaves the directory alone."""
        before = contents(directory)
        error = self.assertRaises(StorageError, recover, directory)
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(contents(directory), before)


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Records as a replica appends them: contiguous, sometimes going back over uncommitted entries."""
    last, records = 0, []
    for _ in range(draw(st.integers(0, 12))):
        hard_state = draw(st.none() | st.builds(HardState, st.integers(1, 9), st.sampled_from(["", "0" * 16])))
        first = draw(st.integers(max(1, last - 2), last + 1))
        data = draw(st.lists(st.binary(max_size=40), max_size=4))
        records.append(Record(hard_state, entries(first, *data, term=draw(st.integers(1, 9))).entries))
        last = first + len(data) - 1 if data else last
    return records


class RoundTripTests(LogTestCase):
    @settings(deadline=None, max_examples=60)
    @given(logs(), st.integers(1, 600), st.sets(st.integers(0, 11)))
    def test_any_records(self, records: list[Record], segment_bytes: int, restarts: set[int]) -> None:
        """What was appended comes back as it was, whatever the segments' size and however often it is restarted."""
        directory = self.directory()
        log = WriteAheadLog(directory, segment_bytes)
        self.assertEqual(list(log.recover()), [])
        for number, record in enumerate(records):
            log.append(record)
            if number in restarts:
                log.close()
                log = WriteAheadLog(directory, segment_bytes)
                self.assertEqual(list(log.recover()), records[: number + 1])
        log.close()
        log = WriteAheadLog(directory)
        self.assertEqual(list(log.recover()), records)
        self.assertEqual(log.last_index, max(resolve(records)[1], default=0))
        self.assertEqual((log.torn, log.base, log.hard_state), (None, 0, resolve(records)[0]))
        log.close()

    @settings(deadline=None, max_examples=60)
    @given(logs(), st.integers(1, 300), st.lists(st.integers(0, 40), max_size=6))
    def test_compaction_keeps_what_is_needed(self, records: list[Record], size: int, covers: list[int]) -> None:
        """After any compactions, the entries behind them and the hard state are there."""
        directory = self.directory()
        log = WriteAheadLog(directory, size)
        list(log.recover())
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
        self.assertEqual(resolve(log.recover(), covered), resolve(records, covered))
        self.assertLessEqual(log.base, covered)
        log.append(entries(log.last_index + 1, b"next"))
        log.close()

    def test_conflicts_come_back_raw(self) -> None:
        """Recovery replaces nothing: that is the business of whoever keeps the log in memory."""
        records = [entries(1, b"a", b"b", b"c"), entries(2, b"B", term=2), entries(3, b"C", term=2)]
        directory = self.directory()
        self.write(directory, records)
        self.assertEqual(recover(directory), records)
        self.assertEqual(resolve(recover(directory))[1], {1: b"a", 2: b"B", 3: b"C"})

    def test_lazy(self) -> None:
        """Records come one at a time, and the log takes nothing before the last one came."""
        directory = self.directory()
        self.write(directory, [entries(1, b"a"), entries(2, b"b")])
        log = WriteAheadLog(directory)
        iterator = log.recover()
        self.assertEqual(next(iterator), entries(1, b"a"))
        self.assertRaises(StorageError, log.append, entries(2, b"x"))
        self.assertRaises(StorageError, log.compact, 1)
        self.assertEqual(list(iterator), [entries(2, b"b")])
        log.append(entries(3, b"c"))
        log.close()
        self.assertRaises(StorageError, log.append, entries(4, b"d"))

    def test_gap_is_not_appended(self) -> None:
        """A record that recovery would refuse is refused when it is appended."""
        directory = self.directory()
        log = WriteAheadLog(directory)
        list(log.recover())
        log.append(entries(1, b"a"))
        self.assertRaises(ValueError, log.append, entries(3, b"c"))
        self.assertRaises(ValueError, log.append, entries(0, b"c"))
        torn_apart = Record(None, (*entries(2, b"b").entries, *entries(4, b"d").entries))
        self.assertRaises(ValueError, log.append, torn_apart)
        log.append(entries(2, b"b"))
        log.close()
        self.assertEqual(recover(directory), [entries(1, b"a"), entries(2, b"b")])

    def test_record_larger_than_a_segment(self) -> None:
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


class TornTailTests(LogTestCase):
    """What the end of an interrupted append may look like; nobody was told that it was done."""

    records = (vote(1), entries(1, b"one", b"two"), entries(3, b"three"))

    def setUp(self) -> None:
        self.whole = self.directory()
        self.write(self.whole, self.records)
        (self.segment,) = self.whole.iterdir()
        *_, self.begin, self.end = frame_offsets(self.segment)
        self.data = self.segment.read_bytes()
        self.assertEqual(len(self.data), self.end)

    def check_cut(self, data: bytes) -> None:
        """The log with these bytes recovers all but the last record, says what it cut, and goes on."""
        torn = len(data[self.begin :].rstrip(b"\0"))
        self.segment.write_bytes(data)
        log = WriteAheadLog(self.whole)
        self.assertEqual(list(log.recover()), list(self.records[:-1]))
        self.assertEqual(log.torn, TornTail(self.segment, self.begin, torn) if torn else None)
        self.assertEqual(self.segment.stat().st_size, self.begin)
        log.append(entries(3, b"again"))
        log.close()
        self.assertEqual(recover(self.whole), [*self.records[:-1], entries(3, b"again")])

    def test_cut_at_every_byte(self) -> None:
        for length in range(self.begin, self.end):
            self.check_cut(self.data[:length])

    def test_zeros_behind_every_byte(self) -> None:
        """The file was allocated ahead, and only the first bytes of the append reached it."""
        for length in range(self.begin, self.end):
            self.check_cut(self.data[:length] + bytes(5000))

    def test_lost_beginning(self) -> None:
        """Only the last bytes of the append reached the disk."""
        for length in range(1, self.end - self.begin):
            data = self.data[: self.begin] + bytes(length) + self.data[self.begin + length :]
            self.check_cut(data)

    def test_every_flipped_bit_of_the_last_record(self) -> None:
        for position in range(self.begin, self.end):
            damaged = bytearray(self.data)
            damaged[position] ^= 1 << position % 8
            self.check_cut(bytes(damaged))

    def test_zeros_behind_a_whole_record(self) -> None:
        """What was allocated ahead is nothing to tell of, and costs no record."""
        for zeros in (1, 15, 16, 17, 5000):
            self.segment.write_bytes(self.data + bytes(zeros))
            log = WriteAheadLog(self.whole)
            self.assertEqual(list(log.recover()), list(self.records))
            self.assertIsNone(log.torn)
            log.close()

    def test_copy_of_a_record_in_a_value(self) -> None:
        """A torn record whose value holds the copy of a log is torn, not damage."""
        log = WriteAheadLog(self.whole)
        list(log.recover())
        log.append(entries(4, self.data * 2))
        log.close()
        whole = self.segment.read_bytes()
        self.segment.write_bytes(whole[:-1])
        log = WriteAheadLog(self.whole)
        self.assertEqual(list(log.recover()), list(self.records))
        self.assertEqual(log.torn, TornTail(self.segment, self.end, len(whole) - 1 - self.end))
        log.close()

    def test_killed_with_space_allocated(self) -> None:
        """A log that was never closed is cut to its records, and nothing is told of it."""
        directory = self.directory()
        log = WriteAheadLog(directory)
        list(log.recover())
        log.append(self.records[0])
        copy = self.copy(directory)
        log.close()
        self.assertGreater((copy / self.segment.name).stat().st_size, 1 << 20)
        log = WriteAheadLog(copy)
        self.assertEqual(list(log.recover()), [self.records[0]])
        self.assertIsNone(log.torn)
        log.close()


class TornCreationTests(LogTestCase):
    """A new segment that never came to hold its head."""

    def test_every_length(self) -> None:
        directory = self.directory()
        records = [vote(3), entries(1, b"x" * 100), entries(2, b"y" * 100)]
        self.write(directory, records, segment_bytes=150)
        last = max(directory.iterdir())
        data = last.read_bytes()
        start = frame_offsets(last)[1]
        for length in range(start):
            for zeros in (0, 3000):
                copy = self.copy(directory)
                torn = copy / last.name
                torn.write_bytes(data[:length] + bytes(zeros))
                log = WriteAheadLog(copy, 150)
                self.assertEqual(list(log.recover()), records[:2])
                self.assertEqual(log.torn, TornTail(torn, 0, len(data[:length].rstrip(b"\0"))))
                self.assertFalse(torn.exists())
                log.append(entries(2, b"again"))
                log.close()
                self.assertEqual(recover(copy), [*records[:2], entries(2, b"again")])

    def test_first_segment(self) -> None:
        directory = self.directory()
        (directory / f"{1:020}.log").write_bytes(bytes(1000))
        self.assertEqual(recover(directory), [])
        self.write(directory, [entries(1, b"a")])
        self.assertEqual(recover(directory), [entries(1, b"a")])

    def test_lone_later_segment(self) -> None:
        """Older segments are deleted only when a new one is whole; so a lone one was whole, and is damaged."""
        directory = self.directory()
        self.write(directory, [vote(3), entries(1, b"x" * 100), entries(2, b"y" * 100)], segment_bytes=150)
        *older, last = sorted(directory.iterdir())
        for path in older:
            path.unlink()
        start = frame_offsets(last)[1]
        data = last.read_bytes()
        for broken in (b"", data[:10], bytes(100), data[: start - 1]):
            last.write_bytes(broken)
            self.assert_refused(directory, str(last), "at byte")

    def test_older_segment_must_be_whole(self) -> None:
        """A new segment was begun, so what is in the one before was synced: its torn end is damage."""
        directory = self.directory()
        self.write(directory, [entries(1, b"x" * 100), entries(2, b"y" * 100)], segment_bytes=150)
        first, last = sorted(directory.iterdir())
        last.write_bytes(b"")
        with first.open("r+b") as file:
            file.truncate(first.stat().st_size - 1)
        self.assert_refused(directory, str(first), f"at byte {frame_offsets_until_bad(first)}")


def frame_offsets_until_bad(path: Path) -> int:
    with closing(FrameReader(path, SEGMENT_MAGIC)) as reader:
        while True:
            try:
                reader.next()
            except framing.BadFrameError as bad:
                return bad.offset


class DamageTests(LogTestCase):
    """Whatever is wrong before the last record is refused, with the file and the offset named."""

    records = (vote(1), entries(1, b"one"), entries(2, b"two"), vote(2), entries(3, b"three"), entries(4, b"four"))

    def test_every_flipped_bit(self) -> None:
        directory = self.directory()
        self.write(directory, self.records, segment_bytes=140)
        paths = sorted(directory.iterdir())
        self.assertGreaterEqual(len(paths), 3)
        for path in paths:
            data = path.read_bytes()
            offsets = frame_offsets(path)
            if path is paths[-1]:
                self.assertGreaterEqual(len(offsets), 3)
                offsets.pop()
            for position in range(offsets[-1]):
                begin = max([0, *(offset for offset in offsets if offset <= position)])
                for bit in range(8):
                    damaged = bytearray(data)
                    damaged[position] ^= 1 << bit
                    path.write_bytes(damaged)
                    self.assert_refused(directory, f"{path} is damaged at byte {begin}:")
            path.write_bytes(data)
        self.assertEqual(recover(directory), list(self.records))

    def test_damage_before_a_torn_record(self) -> None:
        """The torn append was begun, so the record before it was synced, and is damaged."""
        directory = self.directory()
        self.write(directory, self.records)
        (path,) = directory.iterdir()
        data = path.read_bytes()
        *_, damaged, torn, _ = frame_offsets(path)
        data = data[: torn - 1] + b"?" + data[torn:-1]
        path.write_bytes(data)
        self.assert_refused(directory, f"{path} is damaged at byte {damaged}:")

    def test_cut_older_segment(self) -> None:
        """An older segment that was cut between two records looks whole, but the next one does not follow it."""
        directory = self.directory()
        self.write(directory, self.records, segment_bytes=140)
        first, second, *_ = sorted(directory.iterdir())
        *_, begin, _ = frame_offsets(first)
        with first.open("r+b") as file:
            file.truncate(begin)
        self.assert_refused(directory, f"{second} is damaged at byte {FILE_HEADER_LENGTH}:", "the one before ends")

    def test_lost_vote(self) -> None:
        """The same when all that was lost is a vote."""
        directory = self.directory()
        self.write(directory, [entries(1, b"a" * 50), vote(2), entries(2, b"b" * 50)], segment_bytes=160)
        first, second = sorted(directory.iterdir())
        *_, begin, _ = frame_offsets(first)
        with first.open("r+b") as file:
            file.truncate(begin)
        self.assert_refused(directory, f"{second} is damaged at byte {FILE_HEADER_LENGTH}:", "the one before ends")

    def test_zeros_behind_an_older_segment(self) -> None:
        directory = self.directory()
        self.write(directory, self.records, segment_bytes=140)
        first = min(directory.iterdir())
        end = first.stat().st_size
        first.write_bytes(first.read_bytes() + bytes(64))
        self.assert_refused(directory, f"{first} is damaged at byte {end}:")

    def test_missing_segment(self) -> None:
        directory = self.directory()
        self.write(directory, self.records, segment_bytes=140)
        paths = sorted(directory.iterdir())
        for path in paths[1:-1]:
            kept = path.read_bytes()
            path.unlink()
            self.assert_refused(directory, f"{path} is missing")
            path.write_bytes(kept)

    def test_missing_first_segment(self) -> None:
        """It may have been compacted; C{base} says what a snapshot has to cover."""
        directory = self.directory()
        self.write(directory, self.records, segment_bytes=140)
        min(directory.iterdir()).unlink()
        log = WriteAheadLog(directory)
        list(log.recover())
        self.assertGreater(log.base, 0)
        log.close()

    def test_gap_between_records(self) -> None:
        """Good frames whose entries do not follow one another."""
        directory = self.directory()
        self.write(directory, [entries(1, b"a")])
        (path,) = directory.iterdir()
        end = path.stat().st_size
        for record in (entries(3, b"c"), entries(0, b"z")):
            self.append_frame(path, FrameKind.RECORD, wal.msgspec.msgpack.encode(record))
            self.assert_refused(directory, f"{path} is damaged at byte {end}:", "do not follow entry 1")
            os.truncate(path, end)

    def test_frame_of_another_kind(self) -> None:
        directory = self.directory()
        self.write(directory, [entries(1, b"a")])
        (path,) = directory.iterdir()
        end = path.stat().st_size
        self.append_frame(path, FrameKind.SNAPSHOT_END, b"\0")
        self.assert_refused(directory, f"{path} is damaged at byte {end}:", "SNAPSHOT_END")

    def test_record_that_can_not_be_decoded(self) -> None:
        directory = self.directory()
        self.write(directory, [entries(1, b"a")])
        (path,) = directory.iterdir()
        end = path.stat().st_size
        self.append_frame(path, FrameKind.RECORD, b"\xc1")
        self.assert_refused(directory, f"{path} is damaged at byte {end}:", "can't be decoded")

    def test_newer_version(self) -> None:
        directory = self.directory()
        self.patch(framing, "FORMAT_VERSION", 2)
        self.write(directory, [entries(1, b"a")])
        self.patch(framing, "FORMAT_VERSION", 1)
        (path,) = directory.iterdir()
        self.assert_refused(directory, str(path), "format version 2", "reads version 1")

    def append_frame(self, path: Path, kind: FrameKind, payload: bytes) -> None:
        with closing(FrameReader(path, SEGMENT_MAGIC)) as reader:
            salt, end = reader.salt, reader.size
        with path.open("ab") as file:
            file.write(encode_frame(kind, payload, salt, end))


class CompactionTests(LogTestCase):
    def test_only_whole_segments(self) -> None:
        directory = self.directory()
        log = WriteAheadLog(directory, 200)
        list(log.recover())
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

    def test_rolling_over_frees_what_was_before(self) -> None:
        directory = self.directory()
        log = WriteAheadLog(directory)
        list(log.recover())
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

    def test_replaced_entries_hold_their_segment(self) -> None:
        """A segment is kept while it holds an entry behind the index, replaced or not."""
        directory = self.directory()
        log = WriteAheadLog(directory, 200)
        list(log.recover())
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

    def test_one_at_a_time(self) -> None:
        """Each deletion is durable before the next: whatever a crash leaves has no hole in the middle."""
        directory = self.directory()
        log = WriteAheadLog(directory, 1)
        list(log.recover())
        for index in range(1, 6):
            log.append(entries(index, b"x"))
        names = sorted(contents(directory))
        synced: list[list[str]] = []
        self.patch(wal, "sync_directory", lambda path: synced.append(sorted(contents(path))))
        log.compact(4)
        self.assertEqual(synced, [names[number:] for number in range(1, 5)])
        log.close()

    def check_anew(self, restart: Callable[[WriteAheadLog], None]) -> None:
        directory = self.directory()
        log = WriteAheadLog(directory, 100)
        list(log.recover())
        log.append(vote(7))
        log.append(entries(1, b"a", b"b"))
        restart(log)
        self.assertEqual((log.base, log.last_index), (50, 50))
        self.assertEqual(len(contents(directory)), 1)
        self.assertRaises(ValueError, log.append, entries(52, b"gap"))
        log.append(entries(51, b"c"))
        log.close()
        log = WriteAheadLog(directory)
        self.assertEqual(list(log.recover()), [vote(7), entries(51, b"c")])
        self.assertEqual((log.base, log.last_index), (50, 51))
        log.close()

    def test_beyond_the_end(self) -> None:
        """A snapshot of another machine that reaches further than the log: the log begins anew behind it."""
        self.check_anew(lambda log: log.compact(50))

    def test_restart_after(self) -> None:
        self.check_anew(lambda log: log.restart_after(50))

    def test_restart_before_the_end(self) -> None:
        """Entries behind a snapshot that the log disagrees with are forgotten with the rest."""
        directory = self.directory()
        log = WriteAheadLog(directory)
        list(log.recover())
        log.append(entries(1, b"a", b"b", b"c"))
        log.restart_after(2)
        log.close()
        log = WriteAheadLog(directory)
        self.assertEqual(list(log.recover()), [])
        self.assertEqual((log.base, log.last_index), (2, 2))
        log.close()

    def test_restart_in_an_empty_log(self) -> None:
        directory = self.directory()
        log = WriteAheadLog(directory)
        list(log.recover())
        log.restart_after(9)
        log.append(entries(10, b"j"))
        log.close()
        self.assertEqual(recover(directory), [entries(10, b"j")])

    def test_crash_before_void_segments_are_deleted(self) -> None:
        """Older segments that a fresh one made void are not read, damaged or not, and deleted in the end."""
        directory = self.directory()
        log = WriteAheadLog(directory, 100)
        list(log.recover())
        for index in range(1, 9):
            log.append(entries(index, b"x" * 40))
        kept = contents(directory)
        log.restart_after(20)
        log.close()
        for name, data in kept.items():
            (directory / name).write_bytes(data)
        (directory / min(kept)).write_bytes(b"damaged")
        log = WriteAheadLog(directory)
        self.assertEqual(list(log.recover()), [])
        self.assertEqual((log.base, len(contents(directory))), (20, 1))
        log.close()


class Disk:
    """The C{os} module as the log sees it: the real one, but the call number C{fail_at} raises C{error}."""

    watched = frozenset({"open", "pwrite", "fsync", "fdatasync", "ftruncate", "posix_fallocate"})

    def __init__(self, fail_at: int, error: BaseException) -> None:
        self.fail_at = fail_at
        self.error = error
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> object:
        function = getattr(os, name)
        if name not in self.watched:
            return function

        def call(*arguments: object) -> object:
            self.calls.append(name)
            if len(self.calls) == self.fail_at:
                self.failing(name, *arguments)
                raise self.error
            result = function(*arguments)
            self.done(name, result, *arguments)
            return result

        return call

    def failing(self, name: str, *arguments: object) -> None:
        """Half of a write that fails is written."""
        if name == "pwrite":
            descriptor, data, offset = arguments
            os.pwrite(descriptor, bytes(data)[: len(data) // 2], offset)  # type: ignore[arg-type, call-overload]

    def done(self, name: str, result: object, *arguments: object) -> None:
        """The call is over, and did what it should."""


class PowerCut(BaseException):
    """The machine stops here."""


class CuttableDisk(Disk):
    """A disk that keeps what was synced, and of the rest only what the test wants."""

    def __init__(self, directory: Path, fail_at: int) -> None:
        super().__init__(fail_at, PowerCut())
        self.directory = directory
        self.paths: dict[int, Path] = {}
        self.synced: dict[str, bytes] = {}
        self.names: set[str] = set()

    def done(self, name: str, result: object, *arguments: object) -> None:
        if name == "open":
            self.paths[result] = Path(str(arguments[0]))
        elif name in {"fsync", "fdatasync"}:
            path = self.paths[arguments[0]]
            if path == self.directory:
                self.names = {file.name for file in path.iterdir()}
            else:
                self.synced[path.name] = path.read_bytes()

    def restart(self, *, keep_names: bool) -> None:
        """Make of the directory what a power cut leaves, with or without the names that were not synced."""
        names = self.names | ({file.name for file in self.directory.iterdir()} if keep_names else set())
        shutil.rmtree(self.directory)
        self.directory.mkdir()
        for name in names:
            (self.directory / name).write_bytes(self.synced.get(name, bytes(100)))


class FailingDiskTests(LogTestCase):
    def use(self, disk: Disk) -> None:
        self.patch(wal, "os", disk)
        self.patch(framing, "os", disk)

    def scenario(self) -> list[tuple[Callable[[WriteAheadLog], None], int]]:
        """What is done to a log, each with the index that a snapshot covers then."""
        return [
            (lambda log: log.append(vote(1)), 0),
            (lambda log: log.append(entries(1, b"a" * 30)), 0),
            (lambda log: log.append(entries(2, b"b" * 30, b"c" * 30)), 0),
            (lambda log: log.append(entries(3, b"C" * 30, term=2)), 0),
            (lambda log: log.compact(2), 2),
            (lambda log: log.append(vote(2)), 2),
            (lambda log: log.append(entries(4, b"d" * 100)), 2),
            (lambda log: log.append(entries(5, b"e")), 2),
            (lambda log: log.compact(9), 9),
            (lambda log: log.append(entries(10, b"j" * 30)), 9),
            (lambda log: log.append(entries(11, b"k" * 100)), 9),
        ]

    def expected(self) -> list[State]:
        """The state before each step of the scenario, and the one behind the last."""
        states: list[State] = [(HardState(), {})]
        appended: list[Record] = []

        class Recorder:
            last_index = 0

            def append(self, record: Record) -> None:
                appended.append(record)

            def compact(self, index: int) -> None:
                """It takes no entry that counts."""

        for step, covered in self.scenario():
            step(Recorder())
            states.append(resolve(appended, covered))
        return states

    def run_scenario(self, directory: Path) -> int:
        """Run until the disk fails; how many steps were done. A failed log must take nothing more."""
        log = WriteAheadLog(directory, 160)
        done = 0
        try:
            list(log.recover())
            for step, _ in self.scenario():
                step(log)
                done += 1
            log.close()
        except OSError:
            self.assertRaises(StorageError, log.append, entries(log.last_index + 1, b"after the failure"))
            self.assertRaises(StorageError, log.compact, 1)
        except StorageError:
            self.assertEqual(done, 0)  # recovery names the file itself
        finally:
            log.close()
        return done

    def check_state(self, directory: Path, done: int) -> None:
        """The log holds what the steps that were done made of it, or also what the one that failed did."""
        steps, states = self.scenario(), self.expected()
        covered = steps[min(done, len(steps) - 1)][1]
        log = WriteAheadLog(directory, 160)
        state = resolve(log.recover(), covered)
        possible = [
            (hard_state, {index: data for index, data in found.items() if index > covered})
            for hard_state, found in states[done : done + 2]
        ]
        self.assertIn(state, possible)
        log.append(entries(log.last_index + 1, b"next"))
        log.close()
        self.assertEqual(len(resolve(recover(directory), log.last_index - 1)[1]), 1)

    def test_scenario(self) -> None:
        """Without a failure all steps are done; the other tests fail each of the calls counted here."""
        disk = Disk(0, OSError())
        self.use(disk)
        directory = self.directory()
        self.assertEqual(self.run_scenario(directory), len(self.scenario()))
        self.check_state(directory, len(self.scenario()))
        self.assertEqual(set(disk.calls), Disk.watched)

    def test_every_call_fails(self) -> None:
        """After any failing call nothing is acknowledged, and all that was acknowledged is found again."""
        number, done = 1, 0
        while done < len(self.scenario()):
            directory = self.directory()
            self.use(Disk(number, OSError(errno.EIO, "injected")))
            done = self.run_scenario(directory)
            self.use(Disk(0, OSError()))
            self.check_state(directory, done)
            number += 1
        self.assertGreater(number, 40)

    def test_every_power_cut(self) -> None:
        """What was acknowledged is on the disk: it is found again when all that was not synced is lost."""
        for keep_names in (False, True):
            number, cut = 1, True
            while cut:
                directory = self.directory()
                disk = CuttableDisk(directory, number)
                self.use(disk)
                done, cut = self.run_until_cut(directory)
                self.use(Disk(0, OSError()))
                if cut:
                    disk.restart(keep_names=keep_names)
                self.check_state(directory, done)
                number += 1
            self.assertGreater(number, 40)

    def test_every_power_cut_after_every_kill(self) -> None:
        """
        A recovery makes durable what it builds on before it lets go of anything: a process is killed, the next one
        finds in the page cache what is not on the disk, and then the power is cut.
        """
        kill, killed, cuts = 1, True, 0
        while killed:
            again, cut = 1, True
            while cut:
                directory = self.directory()
                first = CuttableDisk(directory, kill)
                self.use(first)
                done, killed = self.run_until_cut(directory)
                second = CuttableDisk(directory, again)
                second.synced, second.names = first.synced, first.names
                self.use(second)
                log = WriteAheadLog(directory, 160)
                try:
                    list(log.recover())
                    cut = False
                    self.abandon(log)
                except PowerCut:
                    self.abandon(log)
                    self.use(Disk(0, OSError()))
                    second.restart(keep_names=False)
                    self.check_state(directory, done)
                    cuts += 1
                again += 1
            kill += 1
        self.assertGreater(cuts, 200)

    def run_until_cut(self, directory: Path) -> tuple[int, bool]:
        log = WriteAheadLog(directory, 160)
        done = 0
        try:
            list(log.recover())
            for step, _ in self.scenario():
                step(log)
                done += 1
            log.close()
        except PowerCut:
            self.abandon(log)
            return done, True
        return done, False

    def abandon(self, log: WriteAheadLog) -> None:
        """What becomes of a killed process's file."""
        if log._descriptor >= 0:
            os.close(log._descriptor)
            log._descriptor = -1

    def test_failed_sync(self) -> None:
        """The record may be whole in the page cache; it was still not acknowledged, and the log is done with."""
        directory = self.directory()
        log = WriteAheadLog(directory)
        list(log.recover())
        log.append(entries(1, b"a"))
        disk = Disk(2, OSError(errno.EIO, "injected"))
        self.use(disk)
        error = self.assertRaises(OSError, log.append, entries(2, b"b"))
        self.assertEqual((error.errno, disk.calls), (errno.EIO, ["pwrite", "fdatasync"]))
        self.assertEqual(log.last_index, 1)
        refused = self.assertRaises(StorageError, log.append, entries(2, b"b"))
        self.assertIn("takes nothing more after a failed write", str(refused))
        self.assertEqual(disk.calls, ["pwrite", "fdatasync"])
        log.close()

    def test_recovery_writes_the_last_record_again(self) -> None:
        """After a failed sync the page cache counts as clean; only what is written again is sure to be synced."""
        directory = self.directory()
        self.write(directory, [entries(1, b"a"), entries(2, b"b")])
        disk = CuttableDisk(directory, 0)
        written: list[tuple[int, bytes]] = []
        self.use(disk)
        self.patch(wal, "write_all", lambda _descriptor, data, offset: written.append((offset, data)))
        log = WriteAheadLog(directory)
        list(log.recover())
        (path,) = directory.iterdir()
        begin = frame_offsets(path)[-2]
        self.assertEqual(written, [(begin, path.read_bytes()[begin:])])
        self.assertEqual(disk.calls[-1], "fsync")
        self.assertEqual(disk.synced, {path.name: path.read_bytes()})
        log.close()

    def test_no_room_to_allocate(self) -> None:
        """Nothing of the record is written when there is no room for it."""
        directory = self.directory()
        log = WriteAheadLog(directory)
        list(log.recover())
        log.append(entries(1, b"a" * 3_000_000))
        disk = Disk(1, OSError(errno.ENOSPC, "injected"))
        self.use(disk)
        error = self.assertRaises(OSError, log.append, entries(2, b"b" * 3_000_000))
        self.assertEqual((error.errno, disk.calls), (errno.ENOSPC, ["posix_fallocate"]))
        self.assertRaises(StorageError, log.append, entries(2, b"b"))
        log.close()
        log = WriteAheadLog(directory)
        self.assertEqual(list(log.recover()), [entries(1, b"a" * 3_000_000)])
        self.assertIsNone(log.torn)
        log.close()

    def test_allocation_not_supported(self) -> None:
        """Some file systems allocate nothing ahead. Then the file just grows."""
        for number in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            directory = self.directory()
            log = WriteAheadLog(directory, 200)
            list(log.recover())
            disk = Disk(2, OSError(number, "injected"))
            self.use(disk)
            log.append(entries(1, b"a"))
            self.assertEqual(disk.calls[1], "posix_fallocate")
            self.assertEqual(max(directory.iterdir()).stat().st_size, log._position)
            for index in range(2, 10):
                log.append(entries(index, b"b" * 50))
            self.assertEqual(disk.calls.count("posix_fallocate"), 1)
            log.close()
            self.assertEqual(len(recover(directory)), 9)


CHILD = """
import resource, sys
from pathlib import Path
from etcd_twisted.consensus.entries import Entry, EntryKind, Record
from etcd_twisted.consensus.wal import WriteAheadLog
from etcd_twisted.errors import StorageError

def record(index, size):
    return Record(None, (Entry(index, 1, EntryKind.COMMAND, b"x" * size),))

log = WriteAheadLog(Path(sys.argv[1]), 1 << 20)
for _ in log.recover():
    pass
"""


class ProcessTests(LogTestCase):
    """The real system's limits, and a real kill."""

    def start(self, script: str, *arguments: str) -> "subprocess.Popen[str]":
        root = str(Path(etcd_twisted.__file__).parent.parent)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD + script, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": root},
        )
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def run_to_the_limit(self, limit: str) -> Path:
        """Append until the kernel lets no file grow over the limit; the log must fail, and stay so."""
        directory = self.directory()
        script = f"""
log.append(record(1, 10))
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
index = 1
try:
    while True:
        log.append(record(index + 1, 1000))
        index += 1
except OSError as error:
    print(index, error.errno)
try:
    log.append(record(index + 1, 1))
except StorageError:
    print("refused")
"""
        output, _ = self.start(script, str(directory)).communicate()
        first, second = output.splitlines()
        acknowledged, number = map(int, first.split())
        self.assertEqual((number, second), (errno.EFBIG, "refused"))
        self.assertGreater(acknowledged, 1)
        log = WriteAheadLog(directory)
        self.assertEqual(list(resolve(log.recover())[1]), list(range(1, acknowledged + 1)))
        log.append(entries(acknowledged + 1, b"there is room again"))
        log.close()
        self.torn = log.torn
        return directory

    def test_full_in_the_middle_of_a_record(self) -> None:
        """The kernel takes a part of the record and then no more."""
        self.run_to_the_limit("10000")
        self.assertIsNotNone(self.torn)
        self.assertLess(self.torn.length, 1000)

    def test_full_when_allocating(self) -> None:
        """A new segment gets no room; nothing of the record was written."""
        directory = self.run_to_the_limit("(1 << 20) - 1")
        self.assertIn(f"{1:020}.log", contents(directory))

    def test_killed(self) -> None:
        """Whatever was acknowledged before a kill is there."""
        for _ in range(3):
            directory = self.directory()
            script = """
index = 1
while True:
    log.append(record(index, 5000))
    print(index, flush=True)
    index += 1
"""
            child = self.start(script, str(directory))
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(300)]
            child.kill()
            lines += child.stdout.readlines()
            child.stdout.close()
            acknowledged = int([line for line in lines if line.endswith("\n")][-1])
            found = list(resolve(recover(directory))[1])
            self.assertEqual(found, list(range(1, len(found) + 1)))
            self.assertIn(len(found), (acknowledged, acknowledged + 1))
            self.assertGreater(len(contents(directory)), 1)
