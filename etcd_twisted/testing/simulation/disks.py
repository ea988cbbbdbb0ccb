"""
The disks of several machines, and the system's calls on their files.

While L{Disks.installed} lasts, the calls of L{os} that change, read and sync files go through here. For a file of a
machine they are passed to its L{Disk}, which may have them fail or undo them; calls on any other file go straight to
the system. This module must never change what a call on another file does.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import attrs

from etcd_twisted.testing.simulation.disk import CrashError, Disk

_FIRST_DESCRIPTOR = 1 << 20
"""Descriptors count from here, and are never used again: what is left of a process that has ended may close one."""


_REAL: dict[str, Callable[..., Any]] = {
    name: getattr(os, name)
    for name in (
        "open",
        "close",
        "fdopen",
        "pread",
        "pwrite",
        "fstat",
        "ftruncate",
        "posix_fallocate",
        "fsync",
        "fdatasync",
        "unlink",
        "rename",
    )
}
_REAL_FLOCK = fcntl.flock


@attrs.define
class _Open:
    """The real descriptor behind one that was given out, and the disk that it belongs to."""

    real: int
    path: str
    disk: Disk
    removed: bool = False


class Disks:
    """
    The disks of all machines of a test.

    @ivar root: the directory that all their files are in; L{remove} removes it.
    """

    def __init__(self, random: Random | None = None, root: Path | None = None) -> None:
        """
        @param random: decides what a crash loses; the same numbers lose the same.
        @param root: a directory that exists; C{None} for a new one.
        """
        self._random = Random(0) if random is None else random
        fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.root = Path(tempfile.mkdtemp("-etcd-twisted-disks", dir=fast)) if root is None else root
        self._prefix = f"{self.root}/"
        self._disks: dict[str, Disk] = {}
        self._open: dict[int, _Open] = {}
        self._next = _FIRST_DESCRIPTOR

    def disk(self, name: str) -> Disk:
        """Returns the disk of a machine, empty at first."""
        if name not in self._disks:
            self._disks[name] = Disk(self.root / name, self._random)
        return self._disks[name]

    def crash(self, disk: Disk) -> None:
        """Close what the machine's process had open, and lose a part of what was not synced: see L{Disk.crash}."""
        self.close_all(disk)
        with self._direct():
            disk.crash()

    def cut_power(self, disk: Disk, *, keep_names: bool) -> None:
        """Close what the machine's process had open, and lose all that was not synced: see L{Disk.cut_power}."""
        self.close_all(disk)
        with self._direct():
            disk.cut_power(keep_names=keep_names)

    def erase(self, disk: Disk) -> None:
        """Lose everything on a disk: see L{Disk.erase}."""
        with self._direct():
            disk.erase()

    @contextlib.contextmanager
    def _direct(self) -> Iterator[None]:
        """While this lasts, all calls go to the system."""
        prefix, self._prefix = self._prefix, "\0"
        try:
            yield
        finally:
            self._prefix = prefix

    def close_all(self, disk: Disk) -> None:
        """Close what a machine's process has left open."""
        for descriptor in [each for each, opened in self._open.items() if opened.disk is disk]:
            _REAL["close"](self._open.pop(descriptor).real)

    def remove(self) -> None:
        """Remove all files."""
        for disk in self._disks.values():
            self.close_all(disk)
        shutil.rmtree(self.root, ignore_errors=True)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Returns a context manager: while it lasts, the calls of L{os} come here."""
        with contextlib.ExitStack() as stack:
            for name in _REAL:
                stack.enter_context(mock.patch.object(os, name, getattr(self, name)))
            stack.enter_context(mock.patch.object(os, "urandom", self._random.randbytes))
            stack.enter_context(mock.patch.object(fcntl, "flock", self.flock))
            yield

    def _disk_of(self, path: str) -> Disk | None:
        if not path.startswith(self._prefix):
            return None
        return self._disks.get(path[len(self._prefix) :].split("/", 1)[0])

    def _opened(self, descriptor: int) -> _Open | None:
        if descriptor < _FIRST_DESCRIPTOR:
            return None
        opened = self._open.get(descriptor)
        if opened is None or opened.disk.dead:
            raise CrashError
        return opened

    # The calls

    def open(self, path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        """See L{os.open}."""
        name = os.fspath(path)
        disk = self._disk_of(name) if isinstance(name, str) else None
        if disk is None:
            return int(_REAL["open"](path, flags, mode, **more))
        if disk.begin_call("open", name):
            disk.fail_call()
        if flags & os.O_CREAT:
            disk.begin_change()
        is_new = flags & os.O_CREAT and not os.path.exists(name)
        cut = flags & os.O_TRUNC and not is_new
        access = os.O_RDONLY if flags & os.O_DIRECTORY else os.O_RDWR  # what is to be written is read before
        real = _REAL["open"](path, flags & ~(os.O_TRUNC | os.O_ACCMODE) | access, mode)
        if is_new:
            disk.created(name)
        self._next += 1
        self._open[self._next] = _Open(real, name, disk)
        if cut:
            self._resize(self._open[self._next], 0)
        return self._next

    def close(self, descriptor: int) -> None:
        """See L{os.close}."""
        if descriptor < _FIRST_DESCRIPTOR:
            _REAL["close"](descriptor)
        elif (opened := self._open.pop(descriptor, None)) is not None:
            _REAL["close"](opened.real)

    def fdopen(self, descriptor: int, mode: str) -> Any:
        """See L{os.fdopen}: only for reading, which loses nothing."""
        opened = self._opened(descriptor)
        if opened is None:
            return _REAL["fdopen"](descriptor, mode)
        del self._open[descriptor]
        return _REAL["fdopen"](opened.real, mode)

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        """See L{os.pread}."""
        opened = self._opened(descriptor)
        data: bytes = _REAL["pread"](descriptor if opened is None else opened.real, length, offset)
        return data

    def pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        """See L{os.pwrite}."""
        opened = self._opened(descriptor)
        if opened is None:
            return int(_REAL["pwrite"](descriptor, data, offset))
        fails = opened.disk.begin_call("pwrite", opened.path)
        if fails:
            data = bytes(data)[: len(data) // 2]  # a write that fails is done in part
        else:
            opened.disk.begin_change()
        old = _REAL["pread"](opened.real, len(data), offset)
        written = _REAL["pwrite"](opened.real, data, offset)
        opened.disk.written(opened.path, offset, old, written)
        if fails:
            opened.disk.fail_call()
        return int(written)

    def fstat(self, descriptor: int) -> os.stat_result:
        """See L{os.fstat}."""
        opened = self._opened(descriptor)
        found: os.stat_result = _REAL["fstat"](descriptor if opened is None else opened.real)
        if opened is not None and opened.removed:  # it has a name in the trash
            return os.stat_result((*found[:3], 0, *found[4:]))
        return found

    def ftruncate(self, descriptor: int, length: int) -> None:
        """See L{os.ftruncate}."""
        opened = self._opened(descriptor)
        if opened is None:
            _REAL["ftruncate"](descriptor, length)
            return
        if opened.disk.begin_call("ftruncate", opened.path):
            opened.disk.fail_call()
        self._resize(opened, length)

    @staticmethod
    def _resize(opened: _Open, length: int) -> None:
        opened.disk.begin_change()
        size = _REAL["fstat"](opened.real).st_size
        tail = _REAL["pread"](opened.real, size - length, length) if length < size else b""
        if size != length:
            _REAL["ftruncate"](opened.real, length)
            opened.disk.resized(opened.path, size, tail)

    def posix_fallocate(self, descriptor: int, offset: int, length: int) -> None:
        """See L{os.posix_fallocate}."""
        opened = self._opened(descriptor)
        if opened is None:
            _REAL["posix_fallocate"](descriptor, offset, length)
            return
        if opened.disk.begin_call("posix_fallocate", opened.path):
            opened.disk.fail_call()
        if offset + length > _REAL["fstat"](opened.real).st_size:
            self._resize(opened, offset + length)

    def fsync(self, descriptor: int) -> None:
        """See L{os.fsync}. The real disk is not waited for, since nobody cuts its power."""
        self._sync("fsync", descriptor)

    def fdatasync(self, descriptor: int) -> None:
        """See L{os.fdatasync}."""
        self._sync("fdatasync", descriptor)

    def _sync(self, name: str, descriptor: int) -> None:
        opened = self._opened(descriptor)
        if opened is None:
            _REAL[name](descriptor)
            return
        if opened.disk.begin_call(name, opened.path):
            opened.disk.fail_call()
        opened.disk.begin_change()
        opened.disk.synced(opened.path)

    def unlink(self, path: Any, **more: Any) -> None:
        """See L{os.unlink}."""
        name = os.fspath(path)
        disk = self._disk_of(name) if isinstance(name, str) else None
        if disk is None or not os.path.exists(name):
            _REAL["unlink"](path, **more)
            return
        disk.begin_change()
        kept = disk.thrown_away()
        _REAL["rename"](name, kept)
        disk.removed(name, kept)
        for opened in self._open.values():
            if opened.path == name:
                opened.path = kept
                opened.removed = True

    def rename(self, source: Any, target: Any, **more: Any) -> None:
        """See L{os.rename}."""
        name, new = os.fspath(source), os.fspath(target)
        disk = self._disk_of(name) if isinstance(name, str) else None
        if disk is None:
            _REAL["rename"](source, target, **more)
            return
        disk.begin_change()
        replaced = None
        if os.path.exists(new):
            replaced = disk.thrown_away()
            _REAL["rename"](new, replaced)
        _REAL["rename"](name, new)
        disk.renamed(name, new, replaced)

    def flock(self, descriptor: int, operation: int) -> None:
        """See L{fcntl.flock}."""
        opened = self._opened(descriptor)
        _REAL_FLOCK(descriptor if opened is None else opened.real, operation)
