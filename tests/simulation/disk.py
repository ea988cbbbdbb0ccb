"""
Disks that lose what was not synced.

A machine's files are real ones in a directory of its own, and its log and snapshots are read and written by the real
code; only the calls to the system go through here. What is changed is remembered until it is synced. When the machine
crashes, what is not synced is lost from some point on, the last write torn; a crash or an error can be set to come at
any of these calls.

Must never let a process that has ended change anything, whatever is left of it and tidied up later.
"""

import contextlib
import errno
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

_FIRST_DESCRIPTOR = 1 << 20
"""Descriptors that are given out are never used again: somebody may close one whose process has ended."""


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


DISK_FAILURE = os.strerror(errno.EIO)
"""What is said of a disk that fails."""


class CrashError(BaseException):
    """The machine is gone in the middle of a call; no code of its may do anything about it."""


@attrs.define
class _Change:
    """
    Something done to the disk that is not durable.

    @ivar undo: takes it back.
    @ivar tear: makes of it what is there when it was cut off; C{None} when it is done whole or not at all.
    """

    undo: Callable[[], None]
    tear: Callable[[], None] | None = None


@attrs.define
class _Open:
    """A descriptor that was given out: the real one, and whose it is."""

    real: int
    path: str
    disk: "Disk"


class Disk:
    """
    One machine's.

    @ivar fuse: how many changes more there are before the machine crashes; C{None} for any number.
    @ivar failing: how many changes more there are before one fails; C{None} for any number.
    @ivar died: called when the fuse has burnt down.
    """

    def __init__(self, path: Path, random: Random) -> None:
        self.path = path
        self.fuse: int | None = None
        self.failing: int | None = None
        self.died: Callable[[], None] = lambda: None
        self._random = random
        self._trash = path.with_name(f"{path.name}.trash")
        self._trash.mkdir()
        self._thrown = 0
        self._files: dict[str, list[_Change]] = {}
        self._names: dict[str, list[_Change]] = {}
        self._dead = False

    # What a machine does

    def touch(self) -> None:
        """A change is about to be made."""
        if self._dead:
            raise CrashError
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self._dead = True
                self.died()
                raise CrashError
        if self.failing is not None:
            self.failing -= 1
            if self.failing < 0:
                raise OSError(errno.EIO, DISK_FAILURE)

    @property
    def dead(self) -> bool:
        """Whether the machine has crashed in the middle of a change."""
        return self._dead

    def written(self, path: str, offset: int, old: bytes, length: int) -> None:
        """Bytes were written over C{old}, which is shorter where the file was."""

        def undo() -> None:
            with open(path, "r+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(offset)
                file.write(old)
                if offset + length >= size:
                    file.truncate(offset + len(old))

        def tear() -> None:
            kept = self._random.randrange(length + 1)
            with open(path, "r+b") as file:
                file.seek(offset + kept)
                file.write(old[kept:])
                if len(old) < length:
                    file.truncate(offset + max(kept, len(old)))

        self._files.setdefault(path, []).append(_Change(undo, tear))

    def resized(self, path: str, size: int, tail: bytes) -> None:
        """A file that had this size and ended with C{tail} was cut or made longer."""

        def undo() -> None:
            with open(path, "r+b") as file:
                file.truncate(size)
                file.seek(size - len(tail))
                file.write(tail)

        self._files.setdefault(path, []).append(_Change(undo))

    def created(self, path: str) -> None:
        """A file was made."""
        self._name_changed(path, lambda: _remove(path))

    def renamed(self, source: str, target: str, replaced: str | None) -> None:
        """A file got another name; what had that one before is elsewhere now."""
        self._files[target] = self._files.pop(source, [])
        # What was written and not synced would be undone by its old name.
        assert not self._files[target], f"{source} was renamed and not synced before"

        def undo() -> None:
            _REAL["rename"](target, source)
            if replaced is not None:
                _REAL["rename"](replaced, target)

        self._name_changed(target, undo)

    def removed(self, path: str, kept: str) -> None:
        """A file was removed, and is elsewhere."""
        self._files.pop(path, None)
        self._name_changed(path, lambda: _REAL["rename"](kept, path))

    def _name_changed(self, path: str, undo: Callable[[], None]) -> None:
        self._names.setdefault(os.path.dirname(path), []).append(_Change(undo))

    def thrown_away(self) -> str:
        """A place for a file that may come back."""
        self._thrown += 1
        return str(self._trash / str(self._thrown))

    def synced(self, path: str) -> None:
        """All that was done to a file, or to the names in a directory, is durable."""
        self._files.pop(path, None)
        self._names.pop(path, None)

    # What happens to it

    def crash(self) -> None:
        """Lose what was not synced, from some point on."""
        self._dead = True
        for changes in (*self._files.values(), *self._names.values()):
            kept = self._random.randrange(len(changes) + 1) if changes else 0
            lost = changes[kept:]
            while len(lost) > 1:
                lost.pop().undo()
            for change in lost:
                tear = self._random.random() < 0.7
                (change.tear if tear and change.tear is not None else change.undo)()
        self._files.clear()
        self._names.clear()

    def repair(self) -> None:
        """Be there for another process."""
        self._dead = False
        self.fuse = self.failing = None

    def erase(self) -> None:
        """Forget everything: another machine takes this one's place."""
        _REAL["rename"](self.path, self.thrown_away())


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        _REAL["unlink"](path)


class Disks:
    """
    All machines' disks, and the system's calls on their files.

    While L{installed} these go through here; calls on any other file go straight to the system.

    @ivar root: where all their files are.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        fast = Path("/dev/shm")
        self.root = Path(tempfile.mkdtemp("-simulation", dir=fast if os.access(fast, os.W_OK) else None))
        self._prefix = f"{self.root}/"
        self._disks: dict[str, Disk] = {}
        self._open: dict[int, _Open] = {}
        self._next = _FIRST_DESCRIPTOR

    def disk(self, name: str) -> Disk:
        """The disk of a machine, empty at first."""
        if name not in self._disks:
            self._disks[name] = Disk(self.root / name, self._random)
        return self._disks[name]

    def crash(self, disk: Disk) -> None:
        """See L{Disk.crash}; what its process had open is closed."""
        self.close_all(disk)
        disk.crash()

    def close_all(self, disk: Disk) -> None:
        """Close what a process has left open."""
        for descriptor in [each for each, opened in self._open.items() if opened.disk is disk]:
            _REAL["close"](self._open.pop(descriptor).real)

    def remove(self) -> None:
        """Leave nothing behind."""
        for disk in self._disks.values():
            self.close_all(disk)
        shutil.rmtree(self.root, ignore_errors=True)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """While this lasts, the system's calls come here."""
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
        if flags & os.O_CREAT:
            disk.touch()
        is_new = flags & os.O_CREAT and not os.path.exists(name)
        cut = flags & os.O_TRUNC and not is_new
        access = os.O_RDONLY if flags & os.O_DIRECTORY else os.O_RDWR  # what is to be written is read before
        real = _REAL["open"](path, flags & ~(os.O_TRUNC | os.O_ACCMODE) | access, mode)
        if is_new:
            disk.created(name)
        self._next += 1
        self._open[self._next] = _Open(real, name, disk)
        if cut:
            self.ftruncate(self._next, 0)
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
        opened.disk.touch()
        old = _REAL["pread"](opened.real, len(data), offset)
        written = _REAL["pwrite"](opened.real, data, offset)
        opened.disk.written(opened.path, offset, old, written)
        return int(written)

    def fstat(self, descriptor: int) -> os.stat_result:
        """See L{os.fstat}."""
        opened = self._opened(descriptor)
        found: os.stat_result = _REAL["fstat"](descriptor if opened is None else opened.real)
        return found

    def ftruncate(self, descriptor: int, length: int) -> None:
        """See L{os.ftruncate}."""
        opened = self._opened(descriptor)
        if opened is None:
            _REAL["ftruncate"](descriptor, length)
            return
        opened.disk.touch()
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
        size = _REAL["fstat"](opened.real).st_size
        if offset + length > size:
            self.ftruncate(descriptor, offset + length)

    def fsync(self, descriptor: int) -> None:
        """See L{os.fsync}; nothing real is worth it here."""
        opened = self._opened(descriptor)
        if opened is None:
            _REAL["fsync"](descriptor)
            return
        opened.disk.touch()
        opened.disk.synced(opened.path)

    fdatasync = fsync

    def unlink(self, path: Any, **more: Any) -> None:
        """See L{os.unlink}."""
        name = os.fspath(path)
        disk = self._disk_of(name) if isinstance(name, str) else None
        if disk is None or not os.path.exists(name):
            _REAL["unlink"](path, **more)
            return
        disk.touch()
        kept = disk.thrown_away()
        _REAL["rename"](name, kept)
        disk.removed(name, kept)

    def rename(self, source: Any, target: Any, **more: Any) -> None:
        """See L{os.rename}."""
        name, new = os.fspath(source), os.fspath(target)
        disk = self._disk_of(name) if isinstance(name, str) else None
        if disk is None:
            _REAL["rename"](source, target, **more)
            return
        disk.touch()
        replaced = None
        if os.path.exists(new):
            replaced = disk.thrown_away()
            _REAL["rename"](new, replaced)
        _REAL["rename"](name, new)
        disk.renamed(name, new, replaced)

    def flock(self, descriptor: int, operation: int) -> None:
        """See L{fcntl.flock}; one process at a time has a machine's disk, by the simulation's own rules."""
        if descriptor < _FIRST_DESCRIPTOR:
            _REAL_FLOCK(descriptor, operation)
