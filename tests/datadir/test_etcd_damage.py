"""
Damage in the files of etcd: it is refused with the file and the offset, or changes nothing of what is read.
"""

import contextlib
import struct
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.datadir.etcd.directory import read_etcd_directory
from etcd_twisted.datadir.etcd.log_files import NotInLogError, read_log
from etcd_twisted.datadir.etcd.messages import SnapshotMark
from etcd_twisted.datadir.etcd.wire import WireError, fields, varint
from etcd_twisted.errors import StorageError
from tests import examples
from tests.datadir import etcd_files
from tests.datadir.etcd_files import ENTRY, STATE, EtcdFiles, entry, node, put, request, state, store
from tests.datadir.test_etcd_directory import Shown, shown

SECTOR = 512


class ByteTests(SynchronousTestCase):
    """Each byte of a small directory is damaged in several ways."""

    def setUp(self) -> None:
        self.files = EtcdFiles(Path(self.mktemp()))

    def outcome(self) -> Shown | str:
        """Returns what is read, or why nothing is."""
        try:
            found = read_etcd_directory(self.files.path)
        except StorageError as error:
            return str(error)
        return {**shown(found, "/"), "": (found.store.index,)}

    def assertHarmless(self, path: Path, zeros: int) -> None:
        """Asserts that no damage of a file gives another result, and that a refusal names a file and an offset."""
        data = path.read_bytes()
        whole = self.outcome()
        self.assertIsInstance(whole, dict)
        refused = 0
        for offset in range(len(data) - zeros):
            for turn in range(examples(4)):
                byte = data[offset] ^ 1 << (offset + turn) % 8
                path.write_bytes(data[:offset] + bytes([byte]) + data[offset + 1 :])
                outcome = self.outcome()
                if isinstance(outcome, str):
                    refused += 1
                    self.assertIn(str(path), outcome)
                    self.assertIn("at byte ", outcome)
                else:
                    self.assertEqual(outcome, whole, f"byte {byte} at {offset}")
        self.assertGreater(refused, (len(data) - zeros) // 2)
        path.write_bytes(data)

    def test_log(self) -> None:
        """A log alone, with zeros allocated behind it."""
        self.files.apply(put("/a", "1"), put("/b", "x" * 60, expiration=1_796_024_474_110_373_681))
        self.files.apply(request("DELETE", "/1/a"))
        self.files.write(2 * SECTOR)
        self.assertHarmless(self.files.log_path, 2 * SECTOR)

    def test_first_file(self) -> None:
        """A file that is not the last one."""
        self.files.apply(put("/a", "1"))
        first = self.files.log_path
        self.files.cut()
        self.files.apply(put("/b", "2"))
        self.files.write(SECTOR)
        self.assertHarmless(first, 0)

    def test_snapshot(self) -> None:
        """The log reaches back behind the snapshot, so all of it gives the same; or does not, and it is refused."""
        self.files.apply(put("/a", "1"))
        key = node("/1/a", 4, value="1")
        path = self.files.save_snapshot(store(4, key))
        self.files.apply(put("/b", "2"))
        self.files.write(SECTOR)
        whole, data = self.outcome(), path.read_bytes()
        for offset in range(len(data)):
            path.write_bytes(data[:offset] + bytes([data[offset] ^ 0x10]) + data[offset + 1 :])
            self.assertEqual(self.outcome(), whole)


class TailTests(SynchronousTestCase):
    """How a log may end."""

    def setUp(self) -> None:
        self.files = EtcdFiles(Path(self.mktemp()))
        self.files.apply(put("/a", "1"))
        self.before = self.files.write(SECTOR)
        self.whole = self.shown()
        self.end = len(self.files.log.data)

    def shown(self) -> Shown:
        return shown(read_etcd_directory(self.files.path))

    def write(self, data: bytes) -> None:
        self.files.log_path.write_bytes(data)

    def test_cut_off(self) -> None:
        """A file that ends within a record, as a process that was killed leaves it."""
        self.files.apply(put("/b", "2" * 40))
        data = self.files.log.data
        for end in range(self.end, self.files.log.offsets[-1]):
            self.write(data[:end])
            found = read_etcd_directory(self.files.path)
            self.assertEqual(shown(found), self.whole)
            self.assertEqual(found.torn is None, end == self.end)

    def test_zeros(self) -> None:
        """A record whose later sectors were never written, in a file that was allocated ahead."""
        self.files.apply(put("/b", "2" * 3000))
        data, begins = self.files.log.data, self.files.log.offsets[-2]
        for end in range(begins // SECTOR * SECTOR + SECTOR, self.files.log.offsets[-1] - SECTOR, SECTOR):
            self.write(data[:end].ljust(len(data) + 4 * SECTOR, b"\0"))
            found = read_etcd_directory(self.files.path)
            self.assertEqual(shown(found), self.whole)
            self.assertIsNotNone(found.torn)
            self.assertIn("unfinished write at byte", found.warnings[0])

    def test_record_behind(self) -> None:
        """What etcd would take for the end, though a whole record is behind it: it may have been acknowledged."""
        self.files.apply(put("/b", "2" * 3000))
        self.files.apply(put("/c", "3"))
        data = self.files.log.data
        begins = self.files.log.offsets[-4]
        sector = begins // SECTOR * SECTOR + 2 * SECTOR
        self.write(data[:sector] + bytes(SECTOR) + data[sector + SECTOR :] + bytes(SECTOR))
        error = self.assertRaises(StorageError, self.shown)
        for words in (
            f"{self.files.log_path} is damaged at byte {begins}",
            "a whole record behind it",
            "start it once",
        ):
            self.assertIn(words, str(error))

    def test_not_in_the_last_file(self) -> None:
        """Only the last file may end so."""
        first = self.files.log_path
        self.files.cut()
        self.files.write()
        first.write_bytes(first.read_bytes()[:-3])
        self.assertIn(str(first), str(self.assertRaises(StorageError, self.shown)))

    def test_committed_beyond_the_end(self) -> None:
        """The state says that more was committed than there is."""
        self.files.log.add(STATE, state(2, self.files.index + 1))
        self.files.write()
        self.assertIn("committed up to index 6", str(self.assertRaises(StorageError, self.shown)))

    def test_gap(self) -> None:
        """An entry is missing, although all checksums are right."""
        self.files.index += 1
        self.files.append(put("/b", "2"))
        self.files.write()
        self.assertIn("entry 7 does not follow entry 5", str(self.assertRaises(StorageError, self.shown)))

    def test_entry_that_can_not_be_read(self) -> None:
        """It is none of etcd's requests, although all checksums are right."""
        self.files.apply(b"\x12\x03abc")
        self.files.write()
        error = self.assertRaises(StorageError, self.shown)
        self.assertIn("entry 6 of the log can't be read", str(error))


class FramingTests(SynchronousTestCase):
    """Properties of records and messages."""

    @settings(max_examples=examples(50))
    @given(st.lists(st.binary(max_size=1500), max_size=8), st.booleans(), st.integers(0, 600))
    def test_records(self, data: list[bytes], pads: bool, zeros: int) -> None:
        """What was written is read, padded or not, whatever is allocated behind it."""
        files = EtcdFiles(Path(self.mktemp()), pads)
        start = files.index
        files.append(*data)
        files.write(zeros)
        log = read_log(files.wal, SnapshotMark(0, 0))
        self.assertEqual([each.data for each in log.entries[start:]], data)
        self.assertIsNone(log.torn)

    @settings(max_examples=examples(100))
    @given(st.lists(st.binary(min_size=1, max_size=700), min_size=1, max_size=5), st.data())
    def test_cut_records(self, data: list[bytes], draw: st.DataObject) -> None:
        """Of a file that was cut anywhere behind its head, the whole records are read."""
        files = EtcdFiles(Path(self.mktemp()))
        start, before = files.index, len(files.log.data)
        files.append(*data)
        end = draw.draw(st.integers(before, len(files.log.data)))
        whole = sum(begins >= before and after <= end for begins, after in _ranges(files.log))
        files.log.data = files.log.data[:end]
        files.write()
        log = read_log(files.wal, SnapshotMark(0, 0))
        self.assertEqual([each.data for each in log.entries[start:]], data[:whole])
        self.assertEqual(log.torn is None, end in {after for _, after in _ranges(files.log)})

    @settings(max_examples=examples(100))
    @given(st.binary(max_size=400))
    def test_anything(self, data: bytes) -> None:
        """Whatever a file holds, it is read or refused with its name."""
        wal = Path(self.mktemp())
        wal.mkdir()
        path = wal / f"{0:016x}-{0:016x}.wal"
        path.write_bytes(data)
        try:
            read_log(wal, SnapshotMark(0, 0))
        except StorageError as error:
            self.assertIn(str(path), str(error))
        except NotInLogError:
            pass

    @given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.integers(0, 2**64 - 1) | st.binary(max_size=300))))
    def test_messages(self, values: list[tuple[int, int | bytes]]) -> None:
        """What was encoded is decoded."""
        self.assertEqual(list(fields(etcd_files.message(*values))), values)

    @given(st.binary(max_size=50))
    def test_any_message(self, data: bytes) -> None:
        """Whatever the bytes are, they are fields or refused."""
        with contextlib.suppress(WireError):
            list(fields(data))

    def test_numbers(self) -> None:
        """A number of more than ten bytes is refused, and so is one that is cut off."""
        self.assertEqual(varint(b"\xff" * 9 + b"\x01", 0), (2**64 - 1, 10))
        for data in (b"\xff" * 11, b"\xff", b""):
            self.assertRaises(WireError, varint, data, 0)

    def test_type_of_a_record(self) -> None:
        """A record's checksum does not cover its type, so what it holds has to be of that type."""
        for kind, data in (
            (STATE, entry(6, b"")),
            (ENTRY, state(2, 5)),
            (etcd_files.METADATA, state(2, 5)),
            (etcd_files.SNAPSHOT, state(2, 5)),
        ):
            files = EtcdFiles(Path(self.mktemp()))
            files.log.add(kind, data)
            files.write()
            self.assertRaises(StorageError, read_etcd_directory, files.path)


def _ranges(log: etcd_files.LogFile) -> list[tuple[int, int]]:
    """Returns where each record begins and ends."""
    ranges = []
    for offset in log.offsets:
        if offset + 8 <= len(log.data):
            (field,) = struct.unpack_from("<Q", log.data, offset)
            top = field >> 56
            ranges.append((offset, offset + 8 + (field & (1 << 56) - 1) + (top & 7)))
    return ranges
