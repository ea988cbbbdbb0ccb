"""
Tests of the data directory: one process uses it, it is unchanged if it can't be used, and it has one identity.
"""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import etcd_twisted
from etcd_twisted.consensus.storage import files
from etcd_twisted.consensus.storage.data_directory import DataDirectory, Identity
from etcd_twisted.errors import StorageError
from tests import examples
from tests.consensus.storage.data_directories import IDENTITY, DirectoryTestCase, fail, tree

HOLD = """
import sys
from pathlib import Path
from etcd_twisted.consensus.storage.data_directory import DataDirectory
held = DataDirectory(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


class RoomTests(SynchronousTestCase):
    """Tests of the free space on the disk."""

    def test_free_space_is_known(self) -> None:
        """The space is what the system's own tools say, and unknown for a directory that is gone."""
        path = Path(self.mktemp())
        with closing(DataDirectory(path)) as directory:
            free, size = directory.room()
            usage = shutil.disk_usage(path)
            self.assertEqual(size, usage.total)
            self.assertTrue(0 < free <= size)
            shutil.rmtree(path)
            self.assertEqual(directory.room(), (0, 0))


class WhoseTests(DirectoryTestCase):
    """A directory is used if it is a machine's, or nobody's."""

    def setUp(self) -> None:
        super().setUp()
        self.path.mkdir()

    def put(self, *names: str) -> None:
        for name in names:
            path = self.path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"")

    def test_empty_directory_is_used(self) -> None:
        """The directory is empty, or has only what a file system or an interrupted start leaves behind."""
        (self.path / "lost+found").mkdir()
        DataDirectory(self.path).close()
        (self.path / "snapshots").mkdir()
        DataDirectory(self.path).close()
        self.put("identity.json.tmp", "state.json.tmp")
        DataDirectory(self.path).close()

    def test_directory_with_only_a_lock_file_is_used(self) -> None:
        self.put("lock")
        DataDirectory(self.path).close()

    def test_directory_without_an_identity_is_used(self) -> None:
        """Other code reports what is missing of a machine's directory."""
        for name in (f"log/{1:020}.log", f"snapshots/{1:020}-{2:020}.snapshot", "state.json"):
            self.put("notes.txt", name)
            DataDirectory(self.path).close()
            (self.path / name).unlink()

    def test_foreign_directory_is_refused(self) -> None:
        """A directory with other files in it is not used, whatever else they are called."""
        for names in (
            ("notes.txt",),
            (".profile",),
            ("lock", "notes.txt"),
            ("log/access.log",),
            ("conf", "snapshot/0_0.ss"),
        ):
            self.put(*names)
            self.assert_refused(self.path, "and no identity.json, so it is not a machine's; choose another directory")
            shutil.rmtree(self.path)
            self.path.mkdir()


class LockTests(DirectoryTestCase):
    def hold(self) -> "subprocess.Popen[str]":
        """Starts another process that holds the directory until its input ends."""
        root = str(Path(etcd_twisted.__file__).parent.parent)
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": root},
        )
        assert child.stdin is not None and child.stdout is not None  # noqa: PT018 - for the type checker
        self.addCleanup(child.stdin.close)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.assertEqual(child.stdout.readline(), "held\n")
        return child

    def test_second_process_is_refused(self) -> None:
        """The process is refused with the holder named, and gets the lock as soon as the holder is killed."""
        child = self.hold()
        self.assert_refused(self.path, f"in use by process {child.pid}", "choose another directory")
        child.kill()
        child.wait()
        DataDirectory(self.path).close()

    def test_second_opening_by_the_same_process_is_refused(self) -> None:
        with closing(DataDirectory(self.path)):
            self.assert_refused(self.path, f"in use by process {os.getpid()}")
        DataDirectory(self.path).close()

    def test_unknown_holder_of_the_lock(self) -> None:
        """A process has locked the file and has not written its id."""
        self.path.mkdir()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.assert_refused(self.path, "in use by another process")

    def test_closing_twice_does_no_harm(self) -> None:
        directory = DataDirectory(self.path)
        directory.close()
        directory.close()

    def test_shorter_process_id_replaces_a_longer_one(self) -> None:
        """Nothing of a former holder's id is left after a shorter one."""
        DataDirectory(self.path).close()
        (self.path / "lock").write_bytes(b"9" * 30)
        with closing(DataDirectory(self.path)):
            self.assert_refused(self.path, f"in use by process {os.getpid()};")


class IdentityTests(DirectoryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = DataDirectory(self.path)
        self.addCleanup(self.directory.close)
        self.file = self.path / "identity.json"

    def test_new_directory_has_no_identity(self) -> None:
        self.assertIsNone(self.directory.load_identity())

    @settings(max_examples=examples(30))
    @given(st.text(min_size=1, max_size=30).filter(lambda name: name.isprintable()))
    def test_identity_is_read_again(self, name: str) -> None:
        self.file.unlink(missing_ok=True)
        identity = Identity(name, "00000000000000ff", "ff00000000000000")
        self.directory.save_identity(identity)
        self.assertEqual(self.directory.load_identity(), identity)

    def test_layout_of_the_identity(self) -> None:
        """The file is the one that docs/storage.md shows."""
        self.directory.save_identity(IDENTITY)
        self.assertEqual(
            self.file.read_text(),
            '{\n  "version": 1,\n  "name": "machine0",\n  "machine_id": "0123456789abcdef",\n'
            '  "cluster_id": "fedcba9876543210",\n  "checksum": "695d089c"\n}\n',
        )

    def test_identity_is_written_once(self) -> None:
        self.directory.save_identity(IDENTITY)
        other = Identity("other", "0" * 16, "1" * 16)
        error = self.assertRaises(StorageError, self.directory.save_identity, other)
        self.assertIn(str(self.file), str(error))
        self.assertEqual(self.directory.load_identity(), IDENTITY)

    def test_identity_is_durable(self) -> None:
        """The content is synced, and then the name, which never stands for less than the whole."""
        events: list[tuple[str, list[str]]] = []

        def names() -> list[str]:
            return sorted(path.name for path in self.path.glob("identity*"))

        self.patch(files.os, "fsync", lambda _descriptor: events.append(("file", names())))
        self.patch(files, "sync_directory", lambda _path: events.append(("directory", names())))
        self.directory.save_identity(IDENTITY)
        self.assertEqual(events, [("file", ["identity.json.tmp"]), ("directory", ["identity.json"])])

    def test_unfinished_identity_is_ignored(self) -> None:
        """An unfinished file is no identity, and prevents nothing."""
        patched = self.patch(files, "write_all", fail(errno.ENOSPC))
        error = self.assertRaises(StorageError, self.directory.save_identity, IDENTITY)
        self.assertIn("No space left", str(error))
        self.assertIsNone(self.directory.load_identity())
        patched.restore()
        self.directory.save_identity(IDENTITY)
        self.assertEqual(self.directory.load_identity(), IDENTITY)

    def test_every_flipped_bit_of_the_identity_is_noticed(self) -> None:
        """Damage never results in another identity. A flipped bit in a space may still be a space."""
        self.directory.save_identity(IDENTITY)
        data = self.file.read_bytes()
        refused = 0
        for position in range(len(data)):
            for bit in range(8):
                damaged = bytearray(data)
                damaged[position] ^= 1 << bit
                self.file.write_bytes(damaged)
                try:
                    self.assertEqual(self.directory.load_identity(), IDENTITY)
                except StorageError as error:
                    refused += 1
                    self.assertIn(str(self.file), str(error))
        self.assertGreater(refused, 7 * len(data))

    def test_identity_that_is_cut_at_any_byte_is_refused(self) -> None:
        self.directory.save_identity(IDENTITY)
        data = self.file.read_bytes()
        for length in range(len(data) - 1):  # the last byte is the newline at the end
            self.file.write_bytes(data[:length])
            error = self.assertRaises(StorageError, self.directory.load_identity)
            self.assertIn(f"{self.file} is damaged", str(error))

    def test_bad_identity_is_refused_before_anything_is_made(self) -> None:
        """A directory with a bad identity is left as it is."""
        self.directory.close()
        (self.path / "lock").unlink()
        self.file.write_bytes(b"{}")
        self.assert_left_alone("is damaged")
        self.file.unlink()
        self.file.mkdir()
        self.assert_left_alone("is a directory and should be a file; move it away")

    def assert_left_alone(self, words: str) -> None:
        before = tree(self.path)
        error = self.assertRaises(StorageError, DataDirectory, self.path)
        self.assertIn(f"{self.file} {words}", str(error))
        self.assertEqual(tree(self.path), before)

    def test_identity_of_a_newer_version_is_refused(self) -> None:
        """The error says that the version is newer, whatever else a later version has in the file."""
        self.file.write_bytes(b'{"version": 2, "more": "of it"}')
        error = self.assertRaises(StorageError, self.directory.load_identity)
        self.assertIn("format version 2", str(error))

    def test_bad_ids_are_refused(self) -> None:
        for bad in ("", "0123456789ABCDEF", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeg"):
            self.assertRaises(ValueError, Identity, "name", bad, IDENTITY.cluster_id)
            self.assertRaises(ValueError, Identity, "name", IDENTITY.machine_id, bad)
        self.assertRaises(ValueError, Identity, "", IDENTITY.machine_id, IDENTITY.cluster_id)
