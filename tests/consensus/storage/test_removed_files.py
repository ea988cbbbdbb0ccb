"""
Tests of the files that are removed at once, and freed in small steps.
"""

import errno
import os
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.storage import removed_files
from etcd_twisted.consensus.storage.removed_files import FREED_BYTES, MOST_OPEN_FILES, RemovedFiles, keep_readable
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import StorageError


class RemovedFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.removed = RemovedFiles()
        self.addCleanup(self.removed.close)
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def file(self, name: str, size: int) -> Path:
        """Returns a file of this size."""
        path = self.directory / name
        path.write_bytes(b"x" * size)
        return path

    def open(self, path: Path) -> int:
        """Returns a descriptor, by which a file can be looked at when it has no name any more."""
        descriptor = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        return descriptor

    def steps(self) -> int:
        """Frees all files. Returns in how many steps."""
        count = 1
        while self.removed.free_some():
            count += 1
        return count

    def test_file_is_removed_at_once_and_freed_in_steps(self) -> None:
        path = self.file("a", 2 * FREED_BYTES + 1)
        seen = self.open(path)
        self.removed.remove(path)
        self.assertEqual((path.exists(), os.fstat(seen).st_size), (False, 2 * FREED_BYTES + 1))
        sizes = []
        while self.removed.free_some():
            sizes.append(os.fstat(seen).st_size)
        self.assertEqual(sizes, [FREED_BYTES + 1, 1])

    def test_each_of_several_files_is_freed(self) -> None:
        seen = []
        for name in "abc":
            path = self.file(name, FREED_BYTES + 1)
            seen.append(self.open(path))
            self.removed.remove(path)
        self.assertEqual((self.steps(), [os.fstat(each).st_size for each in seen]), (6, [1, 1, 1]))
        self.assertFalse(self.removed.free_some())

    def test_file_that_is_read_is_not_shortened(self) -> None:
        """The system frees it when nobody reads it any more. Others are freed in steps nevertheless."""
        paths = [self.file(name, FREED_BYTES + 1) for name in "ab"]
        read, other = map(self.open, paths)
        keep_readable(read)
        for each in paths:
            self.removed.remove(each)
        self.assertEqual((self.steps(), os.fstat(read).st_size, os.fstat(other).st_size), (3, FREED_BYTES + 1, 1))

    def test_file_with_another_name_is_not_shortened(self) -> None:
        """A backup may consist of hard links."""
        path, other = self.file("a", FREED_BYTES + 1), self.directory / "backup"
        other.hardlink_to(path)
        self.removed.remove(path)
        self.assertEqual((self.steps(), path.exists(), other.stat().st_size), (1, False, FREED_BYTES + 1))

    def test_descriptors_are_closed(self) -> None:
        before = os.listdir("/proc/self/fd")
        for name in "ab":
            self.removed.remove(self.file(name, FREED_BYTES + 1))
        self.removed.close()
        self.assertEqual(os.listdir("/proc/self/fd"), before)
        self.assertFalse(self.removed.free_some())

    def test_few_files_are_open_however_many_are_removed(self) -> None:
        """The process may open only so many, and dies if it can't open another segment."""
        before = len(os.listdir("/proc/self/fd"))
        for number in range(2 * MOST_OPEN_FILES):
            self.removed.remove(self.file(f"{number}", 1))
        self.assertEqual(len(os.listdir("/proc/self/fd")) - before, MOST_OPEN_FILES)
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_file_that_can_not_be_opened_is_removed_too(self) -> None:
        """It may belong to somebody else, or too many files may be open."""
        path = self.file("a", FREED_BYTES + 1)
        with mock.patch.object(removed_files, "open_file", side_effect=PermissionError(errno.EACCES, "not yours")):
            self.removed.remove(path)
        self.assertFalse(path.exists())
        self.assertFalse(self.removed.free_some())

    def test_file_that_can_not_be_shortened_is_freed_at_once(self) -> None:
        """Some file systems need room for that, and the file is in the way of it."""
        before = os.listdir("/proc/self/fd")
        self.removed.remove(self.file("a", 2 * FREED_BYTES))
        with mock.patch.object(os, "ftruncate", side_effect=OSError(errno.ENOSPC, "full")):
            self.assertFalse(self.removed.free_some())
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_file_whose_removal_may_not_be_durable_is_not_shortened(self) -> None:
        """After a crash it may be there again, and it would be refused."""
        before = os.listdir("/proc/self/fd")
        path = self.file("a", 2 * FREED_BYTES)
        with mock.patch.object(removed_files, "sync_directory", side_effect=OSError(errno.EIO, "broken")):
            self.assertRaises(OSError, self.removed.remove, path)
        self.assertFalse(self.removed.free_some())
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_what_is_no_file_is_refused(self) -> None:
        path = self.directory / "a"
        path.mkdir()
        self.assertRaises(StorageError, self.removed.remove, path)
        self.assertTrue(path.exists())

    def test_all_files_are_closed_although_freeing_fails(self) -> None:
        """The directory is unlocked, so that another machine of this process may use it."""
        before = os.listdir("/proc/self/fd")
        path = Path(self.mktemp())
        storage = Storage.open(path, "--data-dir")
        broken = mock.Mock(side_effect=OSError(errno.EIO, "broken"))
        for removed in (storage.snapshots.removed, storage.log.removed):
            self.patch(removed, "close", broken)
        self.assertRaises(OSError, storage.close)
        self.assertEqual(broken.call_count, 2)
        self.assertEqual(os.listdir("/proc/self/fd"), before)
        Storage.open(path, "--data-dir").close()
