"""The data directory: one process's alone, untouched when it can't be used, and true to one identity."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import etcd_twisted
from etcd_twisted.consensus import directory as module
from etcd_twisted.consensus.directory import DataDirectory, Identity
from etcd_twisted.errors import StorageError

IDENTITY = Identity("machine0", "0123456789abcdef", "fedcba9876543210")

HOLD = """
import sys
from pathlib import Path
from etcd_twisted.consensus.directory import DataDirectory
held = DataDirectory(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def tree(path: Path) -> dict[str, bytes | None]:
    """Everything below a path; what is no file as C{None}."""
    return {str(found): found.read_bytes() if found.is_file() else None for found in path.rglob("*")}


class DirectoryTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.parent = Path(self.mktemp())
        self.parent.mkdir()
        self.path = self.parent / "data"

    def assert_refused(self, path: Path, *words: str) -> None:
        """The directory is refused in one line with the option and the words, and nothing was changed."""
        before = tree(self.parent)
        error = self.assertRaises(StorageError, DataDirectory, path)
        for word in ("--data-dir", str(path), *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(tree(self.parent), before)


class CreationTests(DirectoryTestCase):
    def test_new(self) -> None:
        """It is made with what is missing above it, and only its owner may look into it."""
        path = self.parent / "a" / "b" / "data"
        with DataDirectory(path) as directory:
            self.assertEqual(directory.log_directory, path / "log")
            self.assertEqual(directory.snapshot_directory, path / "snapshots")
            for made in (path, directory.log_directory, directory.snapshot_directory):
                self.assertEqual(made.stat().st_mode & 0o7777, 0o700)

    def test_names_are_durable(self) -> None:
        synced: list[Path] = []
        self.patch(module, "sync_directory", synced.append)
        DataDirectory(self.parent / "a" / "data").close()
        self.assertEqual(synced, [self.parent, self.parent / "a", self.parent / "a" / "data"])

    def test_again(self) -> None:
        DataDirectory(self.path).close()
        (self.path / "log" / "kept").write_bytes(b"kept")
        DataDirectory(self.path).close()
        self.assertEqual((self.path / "log" / "kept").read_bytes(), b"kept")

    def test_not_a_directory(self) -> None:
        self.path.write_bytes(b"a file")
        self.assert_refused(self.path, "not a directory")
        self.assert_refused(self.path / "below", "not a directory")
        self.path.unlink()
        self.path.symlink_to(self.parent / "nowhere")
        self.assert_refused(self.path, "not a directory")

    def test_file_in_a_directory_s_place(self) -> None:
        self.path.mkdir()
        (self.path / "log").write_bytes(b"a file")
        self.assert_refused(self.path, "not a directory")

    def test_not_writable(self) -> None:
        """Root may write everywhere, so the system's answer is put in its mouth."""
        self.path.mkdir()
        self.patch(module.os, "access", lambda _path, _mode: False)
        self.assert_refused(self.path, "not writable", "choose another directory")

    def test_not_to_be_made(self) -> None:
        for number, words in (
            (errno.EACCES, "not writable"),
            (errno.EROFS, "not writable"),
            (errno.ENOSPC, "no space left"),
            (errno.EIO, "see to the disk"),
        ):
            self.patch(module.os, "mkdir", fail(number))
            self.assert_refused(self.path, words)

    def test_made_half(self) -> None:
        """Directories above it are removed again when the last one can't be made."""
        self.assert_refused(self.parent / "a" / "b" / ("x" * 300), "File name too long")

    def test_full(self) -> None:
        """When there is no room for the lock's file, its holder is not this process."""
        patched = self.patch(module, "write_all", fail(errno.ENOSPC))
        error = self.assertRaises(StorageError, DataDirectory, self.path)
        self.assertIn(f"--data-dir {self.path} can't be used: there is no space left on its disk", str(error))
        patched.restore()
        DataDirectory(self.path).close()


def fail(number: int) -> object:
    def failing(*_arguments: object, **_more: object) -> None:
        raise OSError(number, os.strerror(number))

    return failing


class LockTests(DirectoryTestCase):
    def hold(self) -> "subprocess.Popen[str]":
        """Another process that holds the directory until its input ends."""
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

    def test_second_process(self) -> None:
        """It is refused with the holder named, and let in as soon as the holder is killed."""
        child = self.hold()
        self.assert_refused(self.path, f"in use by process {child.pid}", "choose another directory")
        child.kill()
        child.wait()
        DataDirectory(self.path).close()

    def test_same_process(self) -> None:
        with DataDirectory(self.path):
            self.assert_refused(self.path, f"in use by process {os.getpid()}")
        DataDirectory(self.path).close()

    def test_holder_unknown(self) -> None:
        """A process that locked the file and has not written its id."""
        self.path.mkdir()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.assert_refused(self.path, "in use by another process")

    def test_close_twice(self) -> None:
        directory = DataDirectory(self.path)
        directory.close()
        directory.close()

    def test_shorter_process_id(self) -> None:
        """Nothing of a former holder's id is left behind a shorter one."""
        DataDirectory(self.path).close()
        (self.path / "lock").write_bytes(b"9" * 30)
        with DataDirectory(self.path):
            self.assert_refused(self.path, f"in use by process {os.getpid()};")


class IdentityTests(DirectoryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = DataDirectory(self.path)
        self.addCleanup(self.directory.close)
        self.file = self.path / "identity.json"

    def test_none(self) -> None:
        self.assertIsNone(self.directory.load_identity())

    @settings(deadline=None, max_examples=30)
    @given(st.text(min_size=1, max_size=30).filter(lambda name: name.isprintable()))
    def test_round_trip(self, name: str) -> None:
        self.file.unlink(missing_ok=True)
        identity = Identity(name, "00000000000000ff", "ff00000000000000")
        self.directory.save_identity(identity)
        self.assertEqual(self.directory.load_identity(), identity)

    def test_layout(self) -> None:
        """The file is the one that docs/storage.md shows."""
        self.directory.save_identity(IDENTITY)
        self.assertEqual(
            self.file.read_text(),
            '{\n  "version": 1,\n  "name": "machine0",\n  "machine_id": "0123456789abcdef",\n'
            '  "cluster_id": "fedcba9876543210",\n  "checksum": "695d089c"\n}\n',
        )

    def test_once(self) -> None:
        self.directory.save_identity(IDENTITY)
        other = Identity("other", "0" * 16, "1" * 16)
        error = self.assertRaises(StorageError, self.directory.save_identity, other)
        self.assertIn(str(self.file), str(error))
        self.assertEqual(self.directory.load_identity(), IDENTITY)

    def test_durable(self) -> None:
        """Content, then name: each is synced, and the name never stands for less than the whole."""
        events: list[tuple[str, list[str]]] = []

        def names() -> list[str]:
            return sorted(path.name for path in self.path.glob("identity*"))

        self.patch(module.os, "fsync", lambda _descriptor: events.append(("file", names())))
        self.patch(module, "sync_directory", lambda _path: events.append(("directory", names())))
        self.directory.save_identity(IDENTITY)
        self.assertEqual(events, [("file", ["identity.json.tmp"]), ("directory", ["identity.json"])])

    def test_interrupted(self) -> None:
        """A file that was not finished is no identity, and in nobody's way."""
        patched = self.patch(module, "write_all", fail(errno.ENOSPC))
        error = self.assertRaises(StorageError, self.directory.save_identity, IDENTITY)
        self.assertIn("No space left", str(error))
        self.assertIsNone(self.directory.load_identity())
        patched.restore()
        self.directory.save_identity(IDENTITY)
        self.assertEqual(self.directory.load_identity(), IDENTITY)

    def test_every_flipped_bit(self) -> None:
        """Damage never makes another identity of it. A flipped bit in a space may still be a space."""
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

    def test_cut_at_every_byte(self) -> None:
        self.directory.save_identity(IDENTITY)
        data = self.file.read_bytes()
        for length in range(len(data) - 1):  # the last byte is the newline behind it
            self.file.write_bytes(data[:length])
            error = self.assertRaises(StorageError, self.directory.load_identity)
            self.assertIn(f"{self.file} is damaged", str(error))

    def test_newer_version(self) -> None:
        """Said as such, whatever else a later version has in the file."""
        self.file.write_bytes(b'{"version": 2, "more": "of it"}')
        error = self.assertRaises(StorageError, self.directory.load_identity)
        self.assertIn("format version 2", str(error))

    def test_bad_ids(self) -> None:
        for bad in ("", "0123456789ABCDEF", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeg"):
            self.assertRaises(ValueError, Identity, "name", bad, IDENTITY.cluster_id)
            self.assertRaises(ValueError, Identity, "name", IDENTITY.machine_id, bad)
        self.assertRaises(ValueError, Identity, "", IDENTITY.machine_id, IDENTITY.cluster_id)
