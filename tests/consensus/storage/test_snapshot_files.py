"""
Tests of snapshots on disk: they are whole or not there at all, and an older one is never used silently.
"""

import errno
import os
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import Configuration, SnapshotMetadata
from etcd_twisted.consensus.storage import files, framing, snapshot_files
from etcd_twisted.consensus.storage.framing import FrameKind, encode_file_header, encode_frame
from etcd_twisted.consensus.storage.snapshot_files import SNAPSHOT_MAGIC, SYNC_BYTES, SnapshotStore
from etcd_twisted.errors import StorageError
from tests import examples


def metadata(index: int, term: int = 1) -> SnapshotMetadata:
    return SnapshotMetadata(index, term, Configuration(("0123456789abcdef",)))


def read(store: SnapshotStore) -> list[bytes] | None:
    """Returns the newest snapshot's chunks."""
    reader = store.latest()
    if reader is None:
        return None
    with closing(reader):
        return list(reader)


class SnapshotTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.store = SnapshotStore(self.directory)

    def write(self, about: SnapshotMetadata, *chunks: bytes) -> Path:
        writer = self.store.create(about)
        for chunk in chunks:
            writer.write(chunk)
        writer.finish()
        return self.directory / f"{about.term:020}-{about.index:020}.snapshot"

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


class RoundTripTests(SnapshotTestCase):
    def test_new_directory_has_no_snapshot(self) -> None:
        self.assertIsNone(self.store.latest())

    @settings(max_examples=examples(30))
    @given(st.lists(st.binary(max_size=100), max_size=5), st.integers(1, 2**63), st.integers(1, 2**63))
    def test_any_chunks_are_read_again(self, chunks: list[bytes], index: int, term: int) -> None:
        self.setUp()
        about = metadata(index, term)
        self.write(about, *chunks)
        reader = self.store.latest()
        assert reader is not None
        with closing(reader):
            self.assertEqual(reader.metadata, about)
            self.assertEqual(list(reader), chunks)
            self.assertEqual(list(reader), chunks)  # each reader starts at the beginning

    def test_newest_snapshot_counts(self) -> None:
        """The newest snapshot counts, and when it is durable the older ones are removed."""
        for index, term in ((5, 1), (70, 1), (8, 2), (9, 10)):
            path = self.write(metadata(index, term), b"%d" % index)
            self.assertEqual(read(self.store), [b"%d" % index])
            self.assertEqual(self.names(), [path.name])

    def test_older_snapshot_that_is_finished_late_is_removed(self) -> None:
        """A snapshot that is finished after a newer one is removed."""
        older = self.store.create(metadata(5))
        newer = self.write(metadata(9), b"newer")
        older.finish()
        self.assertEqual(self.names(), [newer.name])
        self.assertEqual(read(self.store), [b"newer"])

    def test_large_snapshot_is_synced_in_pieces(self) -> None:
        """Large snapshots are synced now and then, so that little is left to sync at the end."""
        synced: list[int] = []

        def fdatasync(descriptor: int) -> None:
            synced.append(os.fstat(descriptor).st_size)
            os.fdatasync(descriptor)

        self.patch(snapshot_files, "os", Patched(fdatasync=fdatasync))
        chunks = [bytes([number]) * 300_000 for number in range(20)]
        path = self.write(metadata(5), *chunks)
        self.assertEqual(read(self.store), chunks)
        steps = [after - before for before, after in zip([0, *synced], [*synced, path.stat().st_size], strict=True)]
        self.assertTrue(all(step < SYNC_BYTES + 400_000 for step in steps), steps)


class Patched:
    """The C{os} module with some functions replaced."""

    def __init__(self, **replaced: object) -> None:
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


class UnfinishedTests(SnapshotTestCase):
    def test_unfinished_snapshot_is_not_listed(self) -> None:
        kept = self.write(metadata(5), b"five")
        writer = self.store.create(metadata(6))
        writer.write(b"six")
        self.assertEqual(read(self.store), [b"five"])
        writer.abort()
        self.assertEqual(self.names(), [kept.name])
        writer.abort()
        self.assertEqual(read(self.store), [b"five"])

    def test_abort_after_finish_does_nothing(self) -> None:
        """Aborting does not even affect the file of the same snapshot if that is being written once more."""
        writer = self.store.create(metadata(6))
        writer.finish()
        again = self.store.create(metadata(6))
        writer.abort()
        again.write(b"again")
        again.finish()
        self.assertEqual(read(self.store), [b"again"])

    def test_unfinished_files_are_removed(self) -> None:
        """What a process left unfinished is removed when the next one is told to do that, and nothing else is."""
        kept = self.write(metadata(5), b"five")
        writer = self.store.create(metadata(6))
        writer.write(b"six")
        (self.directory / "lost+found").mkdir()
        self.assertEqual(len(self.names()), 3)
        store = SnapshotStore(self.directory)
        self.assertEqual(read(store), [b"five"])
        self.assertEqual(len(self.names()), 3)
        store.remove_unfinished()
        self.assertEqual(read(store), [b"five"])
        self.assertEqual(self.names(), [kept.name, "lost+found"])
        writer.abort()

    def test_snapshot_that_is_being_written_is_refused(self) -> None:
        writer = self.store.create(metadata(6))
        self.assertRaises(FileExistsError, self.store.create, metadata(6))
        writer.write(b"six")
        writer.finish()
        self.assertEqual(read(self.store), [b"six"])


class FailingDiskTests(SnapshotTestCase):
    def test_any_failing_call_keeps_one_snapshot(self) -> None:
        """Whichever call fails, the previous snapshot is there until the new one is, and one of the two always is."""
        self.write(metadata(5), b"five")
        number, finished = 0, False
        while not finished:
            number += 1
            finished = self.write_failing(number)
            if not finished:
                self.assertIn(read(SnapshotStore(self.directory)), ([b"five"], [b"six"]))
                for path in self.directory.iterdir():
                    path.unlink()
                self.write(metadata(5), b"five")
        self.assertEqual(read(self.store), [b"six"])
        self.assertGreater(number, 8)

    def write_failing(self, at: int) -> bool:
        """Writes a snapshot while call number C{at} fails, and returns whether it was finished."""
        calls = 0

        def failing(name: str) -> object:
            def call(*arguments: object) -> object:
                nonlocal calls
                calls += 1
                if calls == at:
                    raise OSError(errno.ENOSPC, "injected")
                return getattr(os, name)(*arguments)

            return call

        disk = Patched(**{name: failing(name) for name in ("open", "pwrite", "fsync", "fdatasync")})
        restore = [self.patch(module, "os", disk) for module in (snapshot_files, files)]
        writer = None
        try:
            writer = self.store.create(metadata(6))
            writer.write(b"six")
            writer.finish()
        except OSError as error:
            self.assertEqual(error.errno, errno.ENOSPC)
            if writer is not None:
                writer.abort()
            self.assertEqual([name for name in self.names() if name.endswith(".tmp")], [])
            return False
        finally:
            for patched in restore:
                patched.restore()
        return True

    def test_order_of_syncs(self) -> None:
        """
        The content is synced, then the name, then the older ones are removed, so a crash in between loses neither
        snapshot. They are freed only when their removal is durable.
        """
        self.write(metadata(5), b"five")
        events: list[tuple[str, list[str]]] = []

        def fsync(descriptor: int) -> None:
            kind = "directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"
            events.append((kind, [name[38:] for name in self.names()]))
            os.fsync(descriptor)

        for module in (snapshot_files, files):
            self.patch(module, "os", Patched(fsync=fsync))
        self.write(metadata(6), b"six")
        self.assertEqual(
            events,
            [
                ("file", ["005.snapshot", "006.snapshot.tmp"]),
                ("directory", ["005.snapshot", "006.snapshot"]),
                ("directory", ["006.snapshot"]),
            ],
        )
        self.assertEqual([name[38:] for name in self.names()], ["006.snapshot"])


class DamageTests(SnapshotTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.write(metadata(6), b"first chunk", b"", b"third chunk")
        self.data = self.path.read_bytes()
        self.path.with_name(f"{1:020}-{5:020}.snapshot").write_bytes(self.data)  # one that it must not fall back to

    def assert_refused(self, *words: str) -> None:
        error = self.assertRaises(StorageError, read, self.store)
        for word in (str(self.path), *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))

    def test_every_flipped_bit_of_a_snapshot_is_noticed(self) -> None:
        for position in range(len(self.data)):
            for bit in range(8):
                damaged = bytearray(self.data)
                damaged[position] ^= 1 << bit
                self.path.write_bytes(damaged)
                self.assert_refused("is damaged at byte")
        self.path.write_bytes(self.data)
        self.assertEqual(read(self.store), [b"first chunk", b"", b"third chunk"])

    def test_snapshot_that_is_cut_at_any_byte_is_refused(self) -> None:
        for length in range(len(self.data)):
            self.path.write_bytes(self.data[:length])
            self.assert_refused("is damaged at byte")

    def test_snapshot_with_further_bytes_is_refused(self) -> None:
        for more in (b"\0", self.data):
            self.path.write_bytes(self.data + more)
            self.assert_refused(f"is damaged at byte {len(self.data)}", "the file continues after the end")

    def test_snapshot_under_another_name_is_refused(self) -> None:
        self.path = self.path.rename(self.path.with_name(f"{1:020}-{7:020}.snapshot"))
        self.assert_refused("it is the snapshot of term 1, index 6")

    def test_snapshot_of_a_newer_version_is_refused(self) -> None:
        self.patch(framing, "FORMAT_VERSION", 2)
        self.path = self.write(metadata(9), b"nine")
        self.patch(framing, "FORMAT_VERSION", 1)
        self.assert_refused("format version 2", "reads version 1")

    def write_frames(self, *frames: tuple[FrameKind, object]) -> None:
        data = encode_file_header(SNAPSHOT_MAGIC, 7)
        for kind, content in frames:
            payload = content if isinstance(content, bytes) else snapshot_files.msgspec.msgpack.encode(content)
            data += encode_frame(kind, payload, 7, len(data))
        self.path.write_bytes(data)

    def test_good_frames_in_a_wrong_order_are_refused(self) -> None:
        about = (FrameKind.SNAPSHOT_METADATA, metadata(6))
        chunk = (FrameKind.SNAPSHOT_CHUNK, b"chunk")
        self.write_frames(about, chunk, (FrameKind.SNAPSHOT_END, 1))
        self.assertEqual(read(self.store), [b"chunk"])
        self.write_frames(about, chunk, (FrameKind.SNAPSHOT_END, 2))
        self.assert_refused("the end counts otherwise")
        self.write_frames(about, chunk, about)
        self.assert_refused("stands where a chunk should be")
        self.write_frames(chunk, (FrameKind.SNAPSHOT_END, 1))
        self.assert_refused("stands where the metadata should be")
        self.write_frames((FrameKind.SNAPSHOT_METADATA, b"\xc1"))
        self.assert_refused("can't be decoded")
