"""
Tests of the simulated disks: synced data survive a crash, and other data are lost from some point on.
"""

import errno
import os
from collections import Counter
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.testing.simulation.disk import CrashError
from etcd_twisted.testing.simulation.disks import Disks


class DiskTests(SynchronousTestCase):
    """These tests are about L{Disks} and L{Disk}."""

    def setUp(self) -> None:
        self.random = Random(0)
        self.disks = Disks(self.random)
        self.addCleanup(self.disks.remove)
        installed = self.disks.installed()
        installed.__enter__()
        self.addCleanup(installed.__exit__, None, None, None)
        self.disk = self.disks.disk("machine0")
        self.disk.path.mkdir()
        self.file = self.disk.path / "file"

    def _make(self, path: Path, data: bytes) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        os.pwrite(descriptor, data, 0)
        return descriptor

    def _sync_names(self) -> None:
        descriptor = os.open(self.disk.path, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)

    def _make_durable(self, path: Path, data: bytes) -> int:
        descriptor = self._make(path, data)
        os.fdatasync(descriptor)
        self._sync_names()
        return descriptor

    def _crash(self) -> None:
        self.disks.crash(self.disk)
        self.disk.repair()

    def test_synced_file_survives_a_crash(self) -> None:
        """Its name has to be synced too."""
        self._make_durable(self.file, b"data")
        self._crash()
        self.assertEqual(self.file.read_bytes(), b"data")

    def test_unsynced_write_may_be_torn(self) -> None:
        """After a crash it is there, or not, or in part."""
        left: Counter[bytes] = Counter()
        for _ in range(100):
            descriptor = self._make_durable(self.file, b"old-")
            os.pwrite(descriptor, b"newer", 0)
            self._crash()
            left[self.file.read_bytes()] += 1
            self.file.unlink()
        whole = {b"newer"[:kept] + b"old-"[kept:] for kept in range(6)}
        self.assertEqual(set(left), whole)

    def test_unsynced_append_may_be_torn(self) -> None:
        """After a crash there may be zeros or nothing where it was."""
        for allocated, rest in ((0, b""), (10, bytes(10))):
            left = set()
            for _ in range(100):
                descriptor = self._make_durable(self.file, b"old")
                if allocated:
                    os.posix_fallocate(descriptor, 0, 3 + allocated)
                    os.fdatasync(descriptor)
                os.pwrite(descriptor, b"ab", 3)
                self._crash()
                left.add(self.file.read_bytes())
                self.file.unlink()
            expected = {b"old" + (b"ab"[:kept] + rest[kept:] if rest else b"ab"[:kept]) for kept in range(3)}
            self.assertEqual(left, expected)

    def test_unsynced_truncation_may_be_undone(self) -> None:
        """The bytes that were cut off may come back."""
        left = set()
        for _ in range(30):
            descriptor = self._make_durable(self.file, b"data")
            os.ftruncate(descriptor, 1)
            self._crash()
            left.add(self.file.read_bytes())
            self.file.unlink()
        self.assertEqual(left, {b"d", b"data"})

    def test_unsynced_name_may_be_lost(self) -> None:
        """The file may be gone, although its data were synced."""
        left = set()
        for _ in range(30):
            os.fdatasync(self._make(self.file, b"data"))
            self._crash()
            left.add(self.file.exists())
            self.file.unlink(missing_ok=True)
        self.assertEqual(left, {True, False})

    def test_unsynced_rename_and_removal_may_be_undone(self) -> None:
        """A file that comes back has its former content."""
        other = self.disk.path / "other"
        for change in (lambda: self.file.rename(other), self.file.unlink):
            left = set()
            for _ in range(30):
                self._make_durable(self.file, b"data")
                self._make_durable(other, b"replaced")
                change()
                self._crash()
                left.add(tuple(sorted((each.name, each.read_bytes()) for each in self.disk.path.iterdir())))
                for each in list(self.disk.path.iterdir()):
                    each.unlink()
            both = (("file", b"data"), ("other", b"replaced"))
            self.assertEqual(len(left), 2, left)
            self.assertIn(both, left)

    def test_removed_file_that_is_open_may_come_back_shortened(self) -> None:
        """Its removal and its truncation become durable each for itself."""
        left = set()
        for _ in range(100):
            descriptor = self._make_durable(self.file, b"data")
            self.file.unlink()
            os.ftruncate(descriptor, 1)
            self._crash()
            left.add(self.file.read_bytes() if self.file.exists() else None)
            self.file.unlink(missing_ok=True)
        self.assertEqual(left, {None, b"d", b"data"})

    def test_rename_before_sync_is_an_error(self) -> None:
        """The data of a file have to be durable before it gets its name."""
        self._make(self.file, b"data")
        self.assertRaises(AssertionError, self.file.rename, self.disk.path / "other")

    def test_fuse_crashes_the_machine(self) -> None:
        """The crash comes at the change that was set, and the process changes nothing more."""
        died: list[bool] = []
        self.disk.died = lambda: died.append(True)
        descriptor = self._make_durable(self.file, b"data")
        self.disk.changes_until_crash = 1
        os.pwrite(descriptor, b"D", 0)
        self.assertRaises(CrashError, os.pwrite, descriptor, b"A", 1)
        self.assertEqual(died, [True])
        self.assertRaises(CrashError, os.fsync, descriptor)
        self.assertRaises(CrashError, self.file.unlink)
        self._crash()
        self.assertIn(self.file.read_bytes(), (b"data", b"Data"))

    def test_open_files_are_useless_after_a_crash(self) -> None:
        """The next process cannot use them."""
        descriptor = self._make_durable(self.file, b"data")
        self._crash()
        other = os.open(self.file, os.O_RDWR)
        self.assertNotEqual(other, descriptor)
        self.assertRaises(CrashError, os.pwrite, descriptor, b"x", 0)
        os.close(descriptor)
        self.assertEqual(os.pread(other, 4, 0), b"data")

    def test_calls_fail_from_one_on(self) -> None:
        """A call can fail, and then all later calls fail."""
        descriptor = self._make_durable(self.file, b"data")
        self.disk.changes_until_failure = 1
        os.pwrite(descriptor, b"D", 0)
        for _ in range(2):
            error = self.assertRaises(OSError, os.fsync, descriptor)
            self.assertEqual(error.errno, errno.EIO)

    def test_other_files_are_left_alone(self) -> None:
        path = Path(self.mktemp())
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        os.pwrite(descriptor, b"data", 0)
        os.ftruncate(descriptor, 2)
        os.fsync(descriptor)
        self.assertEqual((os.pread(descriptor, 9, 0), os.fstat(descriptor).st_size), (b"da", 2))
        os.close(descriptor)
        path.rename(path.with_suffix(".other"))
        path.with_suffix(".other").unlink()

    def test_disk_can_be_erased(self) -> None:
        self._make_durable(self.file, b"data")
        self.disks.crash(self.disk)
        self.disks.erase(self.disk)
        self.assertFalse(self.disk.path.exists())

    def test_power_cut_loses_unsynced_data(self) -> None:
        """A test may keep the names of new files."""
        for keep_names in (False, True):
            old, other = self.disk.path / "old", self.disk.path / "other"
            descriptor = self._make_durable(old, b"old")
            os.pwrite(descriptor, b"newer", 0)
            os.fdatasync(self._make_durable(other, b"removed"))
            other.unlink()
            self._make(self.file, b"data")
            self.disks.cut_power(self.disk, keep_names=keep_names)
            self.disk.repair()
            left = {each.name: each.read_bytes() for each in self.disk.path.iterdir()}
            self.assertEqual(left, {"old": b"old", "other": b"removed"} | ({"file": bytes(100)} if keep_names else {}))
            for name in left:
                (self.disk.path / name).unlink()

    def test_one_call_fails(self) -> None:
        """A write that fails is done in part, and the next call succeeds."""
        descriptor = self._make_durable(self.file, b"data")
        self.disk.calls.clear()
        self.disk.fails_at_call = 2
        os.fsync(descriptor)
        error = self.assertRaises(OSError, os.pwrite, descriptor, b"DATA", 0)
        self.assertEqual(error.errno, errno.EIO)
        self.assertEqual(self.file.read_bytes(), b"DAta")
        os.pwrite(descriptor, b"DATA", 0)
        self.assertEqual(self.disk.calls, [("fsync", "file"), ("pwrite", "file"), ("pwrite", "file")])

    def test_a_crash_at_a_call(self) -> None:
        """Nothing that the process does after it changes anything."""
        descriptor = self._make_durable(self.file, b"data")
        self.disk.calls.clear()
        self.disk.fails_at_call, self.disk.error = 1, CrashError()
        self.assertRaises(CrashError, os.fdatasync, descriptor)
        self.assertTrue(self.disk.dead)
        self.assertRaises(CrashError, os.pwrite, descriptor, b"DATA", 0)
