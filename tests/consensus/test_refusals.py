"""
Tests that a start that is refused changes nothing on the disk, follows no link and waits for nothing, whatever stands
where a file should be.
"""

import errno
import os
import re
import shutil
import socket
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from etcd_twisted.consensus.recovery import found_cluster
from etcd_twisted.consensus.storage import data_directory as directory_module
from etcd_twisted.consensus.storage import segment_file
from etcd_twisted.consensus.storage.data_directory import DataDirectory, Identity
from etcd_twisted.consensus.storage.segments import MAX_SEGMENT_BYTES
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import StorageError
from tests.consensus.directories import LAST, SNAPSHOT, listing, make_pieces, recovered, refused_or_recovered, started
from tests.consensus.machine import MEMBER

OWN = Identity("machine0", "0" * 16, "1" * 16)
SPARSE_BYTES = 20 << 30
MEMORY_BYTES = 200 << 20
"""More bytes than reading a data directory of a few kilobytes ever takes."""


def most_resident() -> int:
    """Returns the most memory that this process has had at a time, in bytes."""
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kilobytes) << 10


class RefusalTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        root = Path(self.mktemp())
        root.mkdir()
        pieces = make_pieces(root / "pieces", OWN)
        self.outside = root / "outside"
        self.outside.mkdir()
        self.path = root / "data"
        for name in ("log", "snapshots"):
            (self.path / name).mkdir(parents=True)
        for name in ("identity.json", "state.json"):
            shutil.copy(pieces.path / name, self.path / name)
        for segment in pieces.segments:
            shutil.copy(segment, self.path / "log" / segment.name)
        self.snapshot = self.path / "snapshots" / pieces.snapshot(SNAPSHOT).name
        shutil.copy(pieces.snapshot(SNAPSHOT), self.snapshot)
        self.segments = sorted((self.path / "log").iterdir())
        (self.path / "lock").write_bytes(b"12345\n")

    def assert_refused(self, *words: str, fresh: bool = False) -> str:
        """Asserts that the start is refused in one line with these words, and nothing is changed."""
        before = listing(self.path.parent)
        if fresh:
            error = self.assertRaises(StorageError, DataDirectory, self.path, "--data-dir", True)
        else:
            error = self.assertRaises(StorageError, refused_or_recovered, self.path)
        for each in words:
            self.assertIn(each, str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(listing(self.path.parent), before)
        return str(error)

    def assert_starts(self) -> None:
        """Asserts that nothing that was acknowledged is missing."""
        self.assertEqual(started(self.path)[1], str(LAST))


class NothingChangedTests(RefusalTestCase):
    """Each of these directories has a torn end in its log and an unfinished snapshot, which a start would tidy up."""

    def setUp(self) -> None:
        super().setUp()
        with self.segments[-1].open("ab") as file:
            file.write(b"\xe7\xcd\x92\x02half a frame" + bytes(1000))
        (self.path / "snapshots" / f"{1:020}-{2:020}.snapshot.tmp").write_bytes(b"unfinished")
        (self.path / "identity.json.tmp").write_bytes(b"unfinished")

    def test_check_of_a_good_directory_changes_nothing(self) -> None:
        """A start that goes no further than to check changes nothing either."""
        before = listing(self.path)
        refused_or_recovered(self.path)
        self.assertEqual(listing(self.path), before)
        self.assert_starts()
        self.assertNotIn("12345", (self.path / "lock").read_text())
        self.assertEqual(list((self.path / "snapshots").glob("*.tmp")), [])

    def test_missing_identity_changes_nothing(self) -> None:
        (self.path / "identity.json").unlink()
        self.assert_refused("there is a snapshot but no identity.json: restore that file from a backup")
        self.snapshot.unlink()
        shutil.copytree(self.path.parent / "pieces" / "whole", self.path / "log", dirs_exist_ok=True)
        self.assert_refused("there is a log but no identity.json: restore that file from a backup")
        shutil.rmtree(self.path / "log")
        self.assert_refused("there is state.json but no identity.json: restore that file from a backup")

    def test_damage_changes_nothing(self) -> None:
        for path in (self.path / "identity.json", self.path / "state.json", self.segments[0], self.snapshot):
            content = path.read_bytes()
            path.write_bytes(content[:50] + b"?" + content[51:])
            self.assert_refused(str(path), "is damaged")
            path.write_bytes(content)
        self.assert_starts()

    def test_refused_start_makes_nothing(self) -> None:
        """Neither directories nor a lock file are made if they are missing."""
        (self.path / "lock").unlink()
        for path in self.segments:
            path.unlink()
        (self.path / "log").rmdir()
        self.assert_refused("the log is gone")
        self.assertEqual({path.name for path in self.path.iterdir()} & {"lock", "log"}, set())

    def test_directory_in_use_is_not_changed(self) -> None:
        with closing(DataDirectory(self.path)):
            self.assert_refused(f"is in use by process {os.getpid()}")


class OtherKindsTests(RefusalTestCase):
    """Something other than the expected file or directory is named, and left alone."""

    def kinds(self) -> dict[str, Callable[[Path], None]]:
        """Returns ways to make what is no file."""
        return {
            "a symbolic link": lambda path: path.symlink_to(self.outside / "target"),
            "a FIFO": os.mkfifo,
            "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
            "a directory": Path.mkdir,
        }

    def names(self) -> list[str]:
        paths = (*self.segments, self.snapshot)
        below = [str(path.relative_to(self.path)) for path in paths]
        unfinished = ["identity.json.tmp", "state.json.tmp", f"snapshots/{1:020}-{2:020}.snapshot.tmp"]
        return ["identity.json", "state.json", "lock", *below, *unfinished]

    def test_something_else_instead_of_a_file_is_refused(self) -> None:
        (self.outside / "target").write_bytes(b"precious")
        for name in self.names():
            path = self.path / name
            aside = self.outside / "aside"
            if path.exists():
                path.rename(aside)
            for kind, make in self.kinds().items():
                make(path)
                self.assert_refused(f"{path} is {kind} and should be a file")
                path.rmdir() if kind == "a directory" else path.unlink()
            if aside.exists():
                aside.rename(path)
        self.assertEqual((self.outside / "target").read_bytes(), b"precious")
        self.assert_starts()

    def test_link_to_the_file_itself_is_refused(self) -> None:
        """A link is not followed even if the right thing is behind it."""
        for name in self.names()[:-3]:
            path = self.path / name
            path.rename(self.outside / "aside")
            path.symlink_to(self.outside / "aside")
            self.assert_refused(f"{path} is a symbolic link and should be a file; put what it points to in its place")
            path.unlink()
            (self.outside / "aside").rename(path)
        self.assert_starts()

    def test_device_is_refused(self) -> None:
        for name in self.names():
            path = self.path / name
            path.unlink(missing_ok=True)
            try:
                os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
            except PermissionError:
                raise SkipTest("only root can make a device") from None
            self.assert_refused(f"{path} is a device and should be a file")
            path.unlink()

    def test_something_else_instead_of_a_directory_is_refused(self) -> None:
        for name in ("log", "snapshots"):
            path = self.path / name
            path.rename(self.outside / "aside")
            for make, kind in (
                (os.mkfifo, "a FIFO"),
                (Path.touch, "a file"),
                (lambda path: path.symlink_to(self.outside / "aside"), "a symbolic link"),
            ):
                make(path)
                self.assert_refused(f"{path} is {kind} and should be a directory")
                path.unlink()
            (self.outside / "aside").rename(path)
        self.assert_starts()

    def test_data_directory_may_be_a_link(self) -> None:
        """The data directory may be a link to a directory, and nothing else."""
        real = self.path.rename(self.outside / "real")
        self.path.symlink_to(real.resolve())
        self.assert_starts()
        self.path.unlink()
        os.mkfifo(self.path)
        self.assert_refused("it is not a directory; move it away")
        self.path.unlink()
        with socket.socket(socket.AF_UNIX) as listening, _at(self.path.parent):
            listening.bind(self.path.name)
        self.assert_refused("it is not a directory; move it away")

    def test_force_removes_links_and_refuses_directories(self) -> None:
        """With C{--force}, links and the like are removed; a directory is refused before anything is."""
        self.segments[0].unlink()
        self.segments[0].mkdir()
        self.assert_refused(f"{self.segments[0]} is a directory and should be a file", fresh=True)
        self.segments[0].rmdir()
        for path in (self.segments[0], self.snapshot, self.path / "state.json"):
            path.unlink(missing_ok=True)
            path.symlink_to(self.outside)
        with closing(DataDirectory(self.path, fresh=True)) as directory:
            directory.forget()
        self.assertEqual({path.name for path in self.path.rglob("*")}, {"lock", "log", "snapshots"})
        self.assertTrue(self.outside.is_dir())

    def test_huge_files_are_not_read_into_memory(self) -> None:
        """Files of 20 GB that take no room are not read into memory."""
        Path("/proc/self/clear_refs").write_text("5")  # this resets the peak memory of this process
        before = most_resident()
        last = self.segments[-1]
        for path, words in (
            (self.path / "identity.json", "is damaged: it has more than"),
            (self.path / "state.json", "is damaged: it has more than"),
            (self.path / "lock", "this program's lock holds no more than a process id"),
            (last, f"is damaged: it has {SPARSE_BYTES} bytes, and no segment has more than {MAX_SEGMENT_BYTES}"),
            (self.segments[0], "no segment has more than"),
            (self.snapshot, "the file continues after the end of the snapshot"),
        ):
            length = path.stat().st_size
            os.truncate(path, SPARSE_BYTES)
            self.assert_refused(str(path), words)
            os.truncate(path, length)
        self.assertEqual(started(self.path)[1], str(LAST))
        length = last.stat().st_size
        os.truncate(last, length + 2 * MEMORY_BYTES)  # as large as the end of an allocated segment may be
        with last.open("r+b") as file:
            file.seek(length)
            file.write(b"torn")
        self.assert_starts()
        self.assertLess(most_resident() - before, MEMORY_BYTES)


class _at:
    """Changes the working directory, because the path of a socket has to be short."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._before = Path.cwd()
        os.chdir(self._path)

    def __exit__(self, *_: object) -> None:
        os.chdir(self._before)


class DiskTests(SynchronousTestCase):
    """Each refusal by the disk has its own remedy."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_disk_that_is_too_full_to_allocate_is_refused(self) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with closing(Storage.open(self.path, "--data-dir")) as storage:
            found = recovered(storage)
            self.patch(segment_file.os, "posix_fallocate", full)
            error = self.assertRaises(StorageError, found_cluster, storage, found, OWN, MEMBER)
        self.assertEqual(
            str(error),
            f"{self.path} can't be used: No space left on device; make room on its disk (the log allocates 4 MiB at a"
            " time)",
        )

    def test_disk_that_is_too_full_to_begin_is_refused(self) -> None:
        """The lack of space is noticed before anything is made."""
        with closing(Storage.open(self.path, "--data-dir")) as storage:
            found = recovered(storage)
            status = list(os.statvfs(self.path))
            status[3] = status[4] = (4 << 20) // status[1] - 1
            self.patch(directory_module.os, "statvfs", lambda _path: os.statvfs_result(status))
            error = self.assertRaises(StorageError, found_cluster, storage, found, OWN, MEMBER)
            storage.directory.withdraw()
        self.assertEqual(
            str(error),
            f"--data-dir {self.path} can't be used: it has no space left on its disk (the log allocates 4 MiB at a"
            " time); make room, or choose another directory",
        )
        self.assertFalse(self.path.exists())

    def test_read_only_disk_is_refused(self) -> None:
        """The error is not that about a directory of another user."""
        self.path.mkdir()
        self.patch(directory_module.os, "access", lambda _path, _mode: False)
        error = self.assertRaises(StorageError, DataDirectory, self.path)
        self.assertIn("it is not writable for this user; change its owner or mode", str(error))
        status = os.statvfs(self.path)
        read_only = os.statvfs_result((*status[:8], status.f_flag | os.ST_RDONLY, *status[9:]))
        self.patch(directory_module.os, "statvfs", lambda _path: read_only)
        error = self.assertRaises(StorageError, DataDirectory, self.path)
        self.assertIn("it is on a read-only file system; mount that for writing (mount -o remount,rw)", str(error))
        self.assertEqual(list(self.path.iterdir()), [])
