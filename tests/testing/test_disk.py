"""
Tests of the simulated disks: what was synced is there after a crash, and what was not is lost from some point on.
"""

import errno
import os
from collections import Counter
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.testing.disk import CrashError
from etcd_twisted.testing.disks import Disks


class DiskTests(SynchronousTestCase):
    """L{Disks} and L{Disk}"""

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

    def test_durable(self) -> None:
        """What was synced, with its name, is there."""
        self._make_durable(self.file, b"data")
        self._crash()
        self.assertEqual(self.file.read_bytes(), b"data")

    def test_torn_write(self) -> None:
        """A write that was not synced is there, or not, or in part."""
        left: Counter[bytes] = Counter()
        for _ in range(100):
            descriptor = self._make_durable(self.file, b"old-")
            os.pwrite(descriptor, b"newer", 0)
            self._crash()
            left[self.file.read_bytes()] += 1
            self.file.unlink()
        whole = {b"newer"[:kept] + b"old-"[kept:] for kept in range(6)}
        self.assertEqual(set(left), whole)

    def test_torn_append(self) -> None:
        """So is one behind the end, where there were zeros or nothing."""
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

    def test_truncation(self) -> None:
        """What was cut off and not synced may come back."""
        left = set()
        for _ in range(30):
            descriptor = self._make_durable(self.file, b"data")
            os.ftruncate(descriptor, 1)
            self._crash()
            left.add(self.file.read_bytes())
            self.file.unlink()
        self.assertEqual(left, {b"d", b"data"})

    def test_name(self) -> None:
        """A file whose name was not synced may be gone, though its data were synced."""
        left = set()
        for _ in range(30):
            os.fdatasync(self._make(self.file, b"data"))
            self._crash()
            left.add(self.file.exists())
            self.file.unlink(missing_ok=True)
        self.assertEqual(left, {True, False})

    def test_rename_and_removal(self) -> None:
        """Neither is certain before the directory was synced; what comes back is as it was."""
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

    def test_rename_before_sync(self) -> None:
        """Who gives a file its name before its data are durable is told."""
        self._make(self.file, b"data")
        self.assertRaises(AssertionError, self.file.rename, self.disk.path / "other")

    def test_fuse(self) -> None:
        """The machine crashes at the change that was set, and its process changes nothing more."""
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

    def test_after_a_crash(self) -> None:
        """What a process has left open means nothing to the next one."""
        descriptor = self._make_durable(self.file, b"data")
        self._crash()
        other = os.open(self.file, os.O_RDWR)
        self.assertNotEqual(other, descriptor)
        self.assertRaises(CrashError, os.pwrite, descriptor, b"x", 0)
        os.close(descriptor)
        self.assertEqual(os.pread(other, 4, 0), b"data")

    def test_failing(self) -> None:
        """A call can be made to fail, and all after it."""
        descriptor = self._make_durable(self.file, b"data")
        self.disk.changes_until_failure = 1
        os.pwrite(descriptor, b"D", 0)
        for _ in range(2):
            error = self.assertRaises(OSError, os.fsync, descriptor)
            self.assertEqual(error.errno, errno.EIO)

    def test_other_files(self) -> None:
        """Files of others are none of its business."""
        path = Path(self.mktemp())
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        os.pwrite(descriptor, b"data", 0)
        os.ftruncate(descriptor, 2)
        os.fsync(descriptor)
        self.assertEqual((os.pread(descriptor, 9, 0), os.fstat(descriptor).st_size), (b"da", 2))
        os.close(descriptor)
        path.rename(path.with_suffix(".other"))
        path.with_suffix(".other").unlink()

    def test_erase(self) -> None:
        """A disk can be lost."""
        self._make_durable(self.file, b"data")
        self.disks.crash(self.disk)
        self.disks.erase(self.disk)
        self.assertFalse(self.disk.path.exists())

    def test_power_cut(self) -> None:
        """All is lost that was not synced, but for the names of new files, if those are to be kept."""
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
        """A write that fails is done in part; the call after it succeeds."""
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
