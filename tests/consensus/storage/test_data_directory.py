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
from etcd_twisted.consensus.storage import data_directory as module
from etcd_twisted.consensus.storage import files
from etcd_twisted.consensus.storage.data_directory import DataDirectory, Identity
from etcd_twisted.errors import StorageError
from tests import examples
from tests.consensus.directories import listing

IDENTITY = Identity("machine0", "0123456789abcdef", "fedcba9876543210")

HOLD = """
import sys
from pathlib import Path
from etcd_twisted.consensus.storage.data_directory import DataDirectory
held = DataDirectory(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def tree(path: Path) -> dict[str, bytes | None]:
    """Returns everything below a path; what is no file has the value C{None}."""
    return {str(found): found.read_bytes() if found.is_file() else None for found in path.rglob("*")}


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


class DirectoryTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.parent = Path(self.mktemp())
        self.parent.mkdir()
        self.path = self.parent / "data"

    def assert_refused(self, path: Path, *words: str) -> None:
        """Asserts that the directory is refused in one line with the option and the words, and nothing was changed."""
        before = tree(self.parent)
        error = self.assertRaises(StorageError, DataDirectory, path)
        for word in ("--data-dir", str(path), *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(tree(self.parent), before)


class FreshTests(DirectoryTestCase):
    """The data of a machine are dropped if that is asked for."""

    def setUp(self) -> None:
        super().setUp()
        with closing(DataDirectory(self.path)) as directory:
            directory.keep()
            directory.save_identity(IDENTITY)
        for name in ("state.json", "log/00000000000000000001.log", "log/00000000000000000002.log", "log/notes"):
            (self.path / name).write_bytes(b"x")
        for name in ("00000000000000000001-00000000000000000002.snapshot", "unrelated"):
            (self.path / "snapshots" / name).write_bytes(b"x")
        (self.path / "snapshots" / "00000000000000000001-00000000000000000003.incoming.snapshot.tmp").write_bytes(b"x")

    def files(self) -> set[str]:
        return {name for name, data in tree(self.path).items() if data is not None} - {str(self.path / "lock")}

    def assert_fresh(self) -> None:
        before = tree(self.path).keys()
        with closing(DataDirectory(self.path, fresh=True)) as directory:
            self.assertEqual(tree(self.path).keys(), before)  # the start may still be refused
            self.assertTrue(directory.is_to_forget)
            directory.forget()
            self.assertFalse(directory.is_to_forget)
            self.assertIsNone(directory.load_identity())
            self.assertEqual(self.files(), {str(self.path / name) for name in ("log/notes", "snapshots/unrelated")})
            directory.save_identity(IDENTITY)
            directory.forget()
            self.assertEqual(directory.load_identity(), IDENTITY)

    def test_failing_disk_is_reported(self) -> None:
        def unlink(path: Path, missing_ok: bool = False) -> None:
            raise OSError(5, "Input/output error", str(path), missing_ok)

        with closing(DataDirectory(self.path, fresh=True)) as directory:
            patched = self.patch(Path, "unlink", unlink)
            error = self.assertRaises(StorageError, directory.forget)
            patched.restore()
            self.assertIn(f"--data-dir {self.path} can't be used", str(error))
            self.assertTrue(directory.is_to_forget)

    def test_only_the_files_of_a_machine_are_removed(self) -> None:
        self.assert_fresh()

    def test_damaged_files_are_removed(self) -> None:
        (self.path / "identity.json").write_bytes(b"{")
        self.assert_fresh()

    def test_nothing_is_removed_unless_asked_for(self) -> None:
        before = tree(self.path)
        DataDirectory(self.path).close()
        self.assertEqual(tree(self.path).keys(), before.keys())

    def test_foreign_directory_is_kept(self) -> None:
        path = self.parent / "other"
        path.mkdir()
        (path / "precious").write_bytes(b"x")
        error = self.assertRaises(StorageError, DataDirectory, path, "--data-dir", True)
        self.assertIn("not a machine's", str(error))
        self.assertTrue((path / "precious").exists())

    def test_directory_in_use_is_kept(self) -> None:
        with closing(DataDirectory(self.path)):
            before = tree(self.path)
            error = self.assertRaises(StorageError, DataDirectory, self.path, "--data-dir", True)
            self.assertIn("in use", str(error))
            self.assertEqual(tree(self.path), before)

    def test_crash_leaves_no_usable_half_of_the_data(self) -> None:
        """The identity is removed first, so that no machine continues with half a log."""
        unlink = Path.unlink
        for steps in range(4):
            left = [steps]

            def unlink_some(path: Path, missing_ok: bool = False, left: list[int] = left) -> None:
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
                unlink(path, missing_ok)

            patched = self.patch(Path, "unlink", unlink_some)
            with closing(DataDirectory(self.path, fresh=True)) as directory, self.assertRaises(KeyboardInterrupt):
                directory.forget()
            patched.restore()
            with closing(DataDirectory(self.path)) as directory:
                self.assertEqual(directory.load_identity() is None, steps > 0)
        self.assert_fresh()


class CreationTests(DirectoryTestCase):
    def test_new_directory_is_private(self) -> None:
        """The directory is made with its missing parents, and only its owner may look into it."""
        path = self.parent / "a" / "b" / "data"
        with closing(DataDirectory(path)) as directory:
            directory.keep()
            self.assertEqual(directory.log_directory, path / "log")
            self.assertEqual(directory.snapshot_directory, path / "snapshots")
            for made in (path, directory.log_directory, directory.snapshot_directory):
                self.assertEqual(made.stat().st_mode & 0o7777, 0o700)

    def test_names_are_durable(self) -> None:
        synced: list[Path] = []
        self.patch(module, "sync_directory", synced.append)
        with closing(DataDirectory(self.parent / "a" / "data")) as directory:
            directory.keep()
        self.assertEqual(synced, [self.parent, self.parent / "a", self.parent / "a" / "data"])

    def test_directory_is_opened_again(self) -> None:
        with closing(DataDirectory(self.path)) as directory:
            directory.keep()
            directory.save_identity(IDENTITY)
        (self.path / "log" / "kept").write_bytes(b"kept")
        DataDirectory(self.path).close()
        self.assertEqual((self.path / "log" / "kept").read_bytes(), b"kept")

    def test_what_is_no_directory_is_refused(self) -> None:
        self.path.write_bytes(b"a file")
        self.assert_refused(self.path, "can't be used: it is not a directory")
        self.assert_refused(self.path / "below", f"can't be used: {self.path} is not a directory")
        self.path.unlink()
        self.path.symlink_to(self.parent / "nowhere")
        self.assert_refused(self.path, "not a directory")

    def test_file_in_place_of_a_directory_is_refused(self) -> None:
        """The error names the file: etcd 0.4 keeps its log in one."""
        self.path.mkdir()
        for name in ("log", "snapshots"):
            (self.path / name).write_bytes(b"a file")
            self.assert_refused(self.path, f"can't be used: {self.path / name} is a file and should be a directory")
            (self.path / name).unlink()
            (self.path / name).symlink_to(self.parent / "nowhere")
            self.assert_refused(self.path, f"{self.path / name} is a symbolic link and should be a directory; put")
            (self.path / name).unlink()

    def test_directory_in_place_of_a_file_is_refused(self) -> None:
        self.path.mkdir()
        (self.path / "lock").mkdir()
        self.assert_refused(self.path, f"{self.path / 'lock'} is a directory and should be a file; move it away")

    def test_path_with_control_characters_is_refused(self) -> None:
        """A path that would break a message apart is refused, and shown so that it does not."""
        for character in "\n\r\x00\x1b\x85\u2028":
            path = self.parent / f"da{character}ta"
            error = self.assertRaises(StorageError, DataDirectory, path)
            self.assertEqual(len(str(error).splitlines()), 1)
            self.assertIn(f"--data-dir {str(path)!r} can't be used: there is a line break", str(error))
            self.assertEqual(tree(self.parent), {})

    def test_errors_name_the_directory_as_it_was_given(self) -> None:
        """Messages name the directory as it was given."""
        self.path.write_bytes(b"a file")
        error = self.assertRaises(StorageError, DataDirectory, self.path, "ETCD_DATA_DIR")
        self.assertEqual(
            str(error),
            f"ETCD_DATA_DIR {self.path} can't be used: it is not a directory; move it away,"
            " or choose another directory",
        )
        self.path.unlink()
        with closing(DataDirectory(self.path)):
            error = self.assertRaises(StorageError, DataDirectory, self.path, "ETCD_DATA_DIR")
        self.assertIn(f"ETCD_DATA_DIR {self.path} is in use by", str(error))

    def test_directory_that_is_not_writable_is_refused(self) -> None:
        """Root may write everywhere, so the test provides the system's answer."""
        self.path.mkdir()
        self.patch(module.os, "access", lambda _path, _mode: False)
        self.assert_refused(self.path, "not writable", "choose another directory")

    def test_directory_that_can_not_be_made_is_refused(self) -> None:
        for number, words in (
            (errno.EACCES, "not writable"),
            (errno.EROFS, "it is on a read-only file system; mount that for writing (mount -o remount,rw), or choose"),
            (errno.ENOSPC, "no space left"),
            (errno.EIO, "see to the disk"),
            (errno.EMFILE, "Too many open files; raise this process's limit on open files (ulimit -n"),
        ):
            self.patch(module.os, "mkdir", fail(number))
            self.assert_refused(self.path, words)

    def test_new_parents_are_removed_after_a_failure(self) -> None:
        """New parent directories are removed again if the last one can't be made."""
        self.assert_refused(self.parent / "a" / "b" / ("x" * 300), "has a name that is too long; shorten it")

    def test_full_disk_is_refused(self) -> None:
        """If there is no room for the lock file's content, its holder is not this process."""
        patched = self.patch(module, "write_all", fail(errno.ENOSPC))
        self.assert_refused(self.path, "it has no space left on its disk (the log allocates 4 MiB at a time); make")
        patched.restore()
        DataDirectory(self.path).close()


def fail(number: int) -> object:
    def failing(*_arguments: object, **_more: object) -> None:
        raise OSError(number, os.strerror(number))

    return failing


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


class WithdrawalTests(DirectoryTestCase):
    """A machine that does not start leaves the directory as it has found it."""

    def withdraw(self, path: Path) -> None:
        with closing(DataDirectory(path)) as directory:
            directory.withdraw()

    def test_refused_start_leaves_nothing(self) -> None:
        """
        What was made is removed, in a directory that did not exist, was empty, or belongs to a machine that never
        started.
        """
        self.withdraw(self.parent / "a" / "b" / "lock")
        self.assertEqual(tree(self.parent), {})
        for names in ((), ("log",), ("log", "snapshots"), ("lost+found",)):
            for name in ("", *names):
                (self.path / name).mkdir(exist_ok=True)
            before = tree(self.parent)
            self.withdraw(self.path)
            self.assertEqual(tree(self.parent), before)

    def test_directory_of_a_machine_stays(self) -> None:
        """A machine that was certain to start has begun to write, whatever becomes of it then."""
        with closing(DataDirectory(self.path)) as directory:
            directory.keep()
            before = tree(self.parent)
            directory.withdraw()
            self.assertEqual(tree(self.parent), before)
        self.assertEqual({path.name for path in self.path.iterdir()}, {"lock", "log", "snapshots"})

    def test_refused_start_changes_no_times(self) -> None:
        """The times are kept with and without a lock file of an earlier process."""
        self.path.mkdir(exist_ok=True)
        for content in (b"", b"12345\n", None):
            lock = self.path / "lock"
            lock.unlink(missing_ok=True)
            if content is not None:
                lock.write_bytes(content)
            os.utime(self.path, ns=(1, 2))
            before = listing(self.parent)
            with closing(DataDirectory(self.path)) as directory:
                self.assertNotEqual(listing(self.parent), before)
                directory.withdraw()
            self.assertEqual(listing(self.parent), before)

    def test_foreign_directory_stays(self) -> None:
        """The parent of a foreign directory stays too."""
        path = self.parent / "a" / "data"
        with closing(DataDirectory(path)) as directory:
            (self.parent / "a" / "notes").write_bytes(b"kept")
            directory.withdraw()
        self.assertEqual(tree(self.parent), {str(self.parent / "a"): None, str(self.parent / "a" / "notes"): b"kept"})

    def test_directory_is_locked_until_it_is_removed(self) -> None:
        """A process that has opened the lock file before it was removed has locked nothing."""
        waiting = []
        open_file = os.open

        def slowly(path: Path, *more: int) -> int:
            descriptor = open_file(path, *more)
            if path == self.path / "lock" and not waiting:
                waiting.append(path)
                first.withdraw()
                first.close()
            return descriptor

        first = DataDirectory(self.path)
        self.patch(module.os, "open", slowly)
        error = self.assertRaises(StorageError, DataDirectory, self.path)
        self.assertIn(f"--data-dir {self.path} can't be used: ", str(error))
        self.assertEqual((waiting, tree(self.parent)), ([self.path / "lock"], {}))

    def test_new_lock_of_another_process_is_kept(self) -> None:
        """The lock that counts is the one that is there."""
        open_file = os.open
        opened = []

        def slowly(path: Path, *more: int) -> int:
            descriptor = open_file(path, *more)
            if path == self.path / "lock":
                opened.append(path)
                if len(opened) == 1:
                    path.unlink()
            return descriptor

        self.patch(module.os, "open", slowly)
        with closing(DataDirectory(self.path)):
            self.assertEqual(len(opened), 2)
            self.assert_refused(self.path, f"in use by process {os.getpid()}")


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
