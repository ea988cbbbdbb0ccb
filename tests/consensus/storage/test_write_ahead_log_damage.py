"""
Tests of the write-ahead log: a torn end is cut off, and damage is refused.
"""

import os
from contextlib import closing
from pathlib import Path

from etcd_twisted.consensus.storage import framing, write_ahead_log
from etcd_twisted.consensus.storage.framing import FILE_HEADER_LENGTH, FrameKind, FrameReader, encode_frame
from etcd_twisted.consensus.storage.segments import SEGMENT_MAGIC, TornTail
from etcd_twisted.consensus.storage.write_ahead_log import WriteAheadLog
from tests.consensus.storage.logs import (
    LogTestCase,
    entries,
    frame_offsets,
    frame_offsets_until_bad,
    recover,
    resumed,
    vote,
)


class TornTailTests(LogTestCase):
    """Tests of what the end of an interrupted append, which was never acknowledged, may look like."""

    records = (vote(1), entries(1, b"one", b"two"), entries(3, b"three"))

    def setUp(self) -> None:
        self.whole = self.directory()
        self.write(self.whole, self.records)
        (self.segment,) = self.whole.iterdir()
        *_, self.begin, self.end = frame_offsets(self.segment)
        self.data = self.segment.read_bytes()
        self.assertEqual(len(self.data), self.end)

    def check_cut(self, data: bytes) -> None:
        """Asserts that the log with these bytes recovers all but the last record, says what it cut, and continues."""
        torn = len(data[self.begin :].rstrip(b"\0"))
        self.segment.write_bytes(data)
        log = WriteAheadLog(self.whole)
        self.assertEqual(resumed(log), list(self.records[:-1]))
        self.assertEqual(log.torn, TornTail(self.segment, self.begin, torn) if torn else None)
        self.assertEqual(self.segment.stat().st_size, self.begin)
        log.append(entries(3, b"again"))
        log.close()
        self.assertEqual(recover(self.whole), [*self.records[:-1], entries(3, b"again")])

    def test_last_record_may_be_cut_at_any_byte(self) -> None:
        for length in range(self.begin, self.end):
            self.check_cut(self.data[:length])

    def test_last_record_may_end_in_zeros_at_any_byte(self) -> None:
        """The file was allocated ahead, and only the first bytes of the append reached the disk."""
        for length in range(self.begin, self.end):
            self.check_cut(self.data[:length] + bytes(5000))

    def test_last_record_may_lack_its_beginning(self) -> None:
        """Only the last bytes of the append reached the disk."""
        for length in range(1, self.end - self.begin):
            data = self.data[: self.begin] + bytes(length) + self.data[self.begin + length :]
            self.check_cut(data)

    def test_last_record_may_have_any_flipped_bit(self) -> None:
        for position in range(self.begin, self.end):
            damaged = bytearray(self.data)
            damaged[position] ^= 1 << position % 8
            self.check_cut(bytes(damaged))

    def test_zeros_after_a_whole_record_are_no_damage(self) -> None:
        """Space that was allocated ahead is not reported, and costs no record."""
        for zeros in (1, 15, 16, 17, 5000):
            self.segment.write_bytes(self.data + bytes(zeros))
            log = WriteAheadLog(self.whole)
            self.assertEqual(resumed(log), list(self.records))
            self.assertIsNone(log.torn)
            log.close()

    def test_torn_record_may_contain_a_copy_of_a_record(self) -> None:
        """A torn record whose value holds the copy of a log is torn, not damaged."""
        log = WriteAheadLog(self.whole)
        resumed(log)
        log.append(entries(4, self.data * 2))
        log.close()
        whole = self.segment.read_bytes()
        self.segment.write_bytes(whole[:-1])
        log = WriteAheadLog(self.whole)
        self.assertEqual(resumed(log), list(self.records))
        self.assertEqual(log.torn, TornTail(self.segment, self.end, len(whole) - 1 - self.end))
        log.close()

    def test_allocated_space_is_cut_off(self) -> None:
        """A log that was never closed is cut to its records, and nothing is reported."""
        directory = self.directory()
        log = WriteAheadLog(directory)
        resumed(log)
        log.append(self.records[0])
        copy = self.copy(directory)
        log.close()
        self.assertGreater((copy / self.segment.name).stat().st_size, 1 << 20)
        log = WriteAheadLog(copy)
        self.assertEqual(resumed(log), [self.records[0]])
        self.assertIsNone(log.torn)
        log.close()


class TornCreationTests(LogTestCase):
    """A new segment never got its whole head."""

    def test_new_segment_may_be_torn_at_any_length(self) -> None:
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
                self.assertEqual(resumed(log), records[:2])
                self.assertEqual(log.torn, TornTail(torn, 0, len(data[:length].rstrip(b"\0"))))
                self.assertFalse(torn.exists())
                log.append(entries(2, b"again"))
                log.close()
                self.assertEqual(recover(copy), [*records[:2], entries(2, b"again")])

    def test_first_segment_may_be_torn(self) -> None:
        directory = self.directory()
        (directory / f"{1:020}.log").write_bytes(bytes(1000))
        self.assertEqual(recover(directory), [])
        self.write(directory, [entries(1, b"a")])
        self.assertEqual(recover(directory), [entries(1, b"a")])

    def test_lone_later_segment_must_be_whole(self) -> None:
        """Older segments are deleted only when a new one is whole, so a lone one was whole, and is damaged."""
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
        """A new segment was begun, so the one before was synced, and its torn end is damage."""
        directory = self.directory()
        self.write(directory, [entries(1, b"x" * 100), entries(2, b"y" * 100)], segment_bytes=150)
        first, last = sorted(directory.iterdir())
        last.write_bytes(b"")
        with first.open("r+b") as file:
            file.truncate(first.stat().st_size - 1)
        self.assert_refused(directory, str(first), f"at byte {frame_offsets_until_bad(first)}")


class DamageTests(LogTestCase):
    """Whatever is wrong before the last record is refused, with the file and the offset named."""

    records = (vote(1), entries(1, b"one"), entries(2, b"two"), vote(2), entries(3, b"three"), entries(4, b"four"))

    def test_every_flipped_bit_is_refused(self) -> None:
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

    def test_damage_before_a_torn_record_is_refused(self) -> None:
        """The torn append was begun, so the record before it was synced, and is damaged."""
        directory = self.directory()
        self.write(directory, self.records)
        (path,) = directory.iterdir()
        data = path.read_bytes()
        *_, damaged, torn, _ = frame_offsets(path)
        data = data[: torn - 1] + b"?" + data[torn:-1]
        path.write_bytes(data)
        self.assert_refused(directory, f"{path} is damaged at byte {damaged}:")

    def test_older_segment_that_was_cut_is_refused(self) -> None:
        """An older segment that was cut between two records looks whole, but the next one does not follow it."""
        directory = self.directory()
        self.write(directory, self.records, segment_bytes=140)
        first, second, *_ = sorted(directory.iterdir())
        *_, begin, _ = frame_offsets(first)
        with first.open("r+b") as file:
            file.truncate(begin)
        self.assert_refused(directory, f"{second} is damaged at byte {FILE_HEADER_LENGTH}:", "the one before ends")

    def test_lost_vote_is_refused(self) -> None:
        """A lost vote is noticed too."""
        directory = self.directory()
        self.write(directory, [entries(1, b"a" * 50), vote(2), entries(2, b"b" * 50)], segment_bytes=160)
        first, second = sorted(directory.iterdir())
        *_, begin, _ = frame_offsets(first)
        with first.open("r+b") as file:
            file.truncate(begin)
        self.assert_refused(directory, f"{second} is damaged at byte {FILE_HEADER_LENGTH}:", "the one before ends")

    def test_zeros_after_an_older_segment_are_refused(self) -> None:
        directory = self.directory()
        self.write(directory, self.records, segment_bytes=140)
        first = min(directory.iterdir())
        end = first.stat().st_size
        first.write_bytes(first.read_bytes() + bytes(64))
        self.assert_refused(directory, f"{first} is damaged at byte {end}:")

    def test_missing_segment_is_refused(self) -> None:
        directory = self.directory()
        self.write(directory, self.records, segment_bytes=140)
        paths = sorted(directory.iterdir())
        for path in paths[1:-1]:
            kept = path.read_bytes()
            path.unlink()
            self.assert_refused(directory, f"{path} is missing")
            path.write_bytes(kept)

    def test_missing_first_segment_is_left_to_the_snapshot(self) -> None:
        """The segment may have been compacted; C{base} says what a snapshot has to cover."""
        directory = self.directory()
        self.write(directory, self.records, segment_bytes=140)
        min(directory.iterdir()).unlink()
        log = WriteAheadLog(directory)
        resumed(log)
        self.assertGreater(log.base, 0)
        log.close()

    def test_gap_between_records_is_refused(self) -> None:
        """The frames are good, but their entries do not follow one another."""
        directory = self.directory()
        self.write(directory, [entries(1, b"a")])
        (path,) = directory.iterdir()
        end = path.stat().st_size
        for record in (entries(3, b"c"), entries(0, b"z")):
            self.append_frame(path, FrameKind.RECORD, write_ahead_log.msgspec.msgpack.encode(record))
            self.assert_refused(directory, f"{path} is damaged at byte {end}:", "do not follow entry 1")
            os.truncate(path, end)

    def test_frame_of_another_kind_is_refused(self) -> None:
        directory = self.directory()
        self.write(directory, [entries(1, b"a")])
        (path,) = directory.iterdir()
        end = path.stat().st_size
        self.append_frame(path, FrameKind.SNAPSHOT_END, b"\0")
        self.assert_refused(directory, f"{path} is damaged at byte {end}:", "SNAPSHOT_END")

    def test_record_that_can_not_be_decoded_is_refused(self) -> None:
        directory = self.directory()
        self.write(directory, [entries(1, b"a")])
        (path,) = directory.iterdir()
        end = path.stat().st_size
        self.append_frame(path, FrameKind.RECORD, b"\xc1")
        self.assert_refused(directory, f"{path} is damaged at byte {end}:", "can't be decoded")

    def test_log_of_a_newer_version_is_refused(self) -> None:
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
