"""
Tests of the files that are removed at once, and freed in small steps.
"""

import os
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.storage.removed_files import FREED_BYTES, RemovedFiles
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

    def other_name(self, path: Path) -> Path:
        """Returns another name of a file, by which it can be looked at."""
        other = Path(self.mktemp())
        other.hardlink_to(path)
        return other

    def test_file_is_removed_at_once_and_freed_in_steps(self) -> None:
        path = self.file("a", 2 * FREED_BYTES + 1)
        seen = self.other_name(path)
        self.removed.remove(path)
        self.assertEqual((path.exists(), seen.stat().st_size), (False, 2 * FREED_BYTES + 1))
        steps = []
        while self.removed.free_some():
            steps.append(seen.stat().st_size)
        self.assertEqual(steps, [FREED_BYTES + 1, 1])

    def test_each_of_several_files_is_freed(self) -> None:
        seen = []
        for name in "abc":
            path = self.file(name, FREED_BYTES + 1)
            seen.append(self.other_name(path))
            self.removed.remove(path)
        count = 1
        while self.removed.free_some():
            count += 1
        self.assertEqual((count, [each.stat().st_size for each in seen]), (6, [1, 1, 1]))
        self.assertFalse(self.removed.free_some())

    def test_descriptors_are_closed(self) -> None:
        before = os.listdir("/proc/self/fd")
        for name in "ab":
            self.removed.remove(self.file(name, FREED_BYTES + 1))
        self.removed.close()
        self.assertEqual(os.listdir("/proc/self/fd"), before)
        self.assertFalse(self.removed.free_some())

    def test_file_that_may_not_be_written_is_removed_too(self) -> None:
        path = self.file("a", FREED_BYTES + 1)
        with mock.patch.object(os, "access", return_value=False):
            self.removed.remove(path)
        self.assertFalse(path.exists())
        self.assertFalse(self.removed.free_some())

    def test_what_is_no_file_is_refused(self) -> None:
        path = self.directory / "a"
        path.mkdir()
        self.assertRaises(StorageError, self.removed.remove, path)
        self.assertTrue(path.exists())
