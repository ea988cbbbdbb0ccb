"""
Tests of data directories that are made: only where one can be used, and nothing is left behind when it can't be.
"""

import errno
import os
from contextlib import closing
from pathlib import Path

from etcd_twisted.consensus.storage import data_directory as module
from etcd_twisted.consensus.storage.data_directory import DataDirectory
from etcd_twisted.errors import StorageError
from tests.consensus.directories import listing
from tests.consensus.storage.data_directories import IDENTITY, DirectoryTestCase, fail, tree


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
