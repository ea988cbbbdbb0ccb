"""
One machine's disk: what was changed on it and not synced yet, and when it is to fail.

A machine's files are real files in a directory of its own; L{etcd_twisted.testing.simulation.disks} passes the calls
on them through here. Each change is remembered until it is synced, so that it can be undone when the power is cut.
This module must never let a process that has ended change anything, whatever is left of it and tidied up later.
"""

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import attrs

DISK_FAILURE = os.strerror(errno.EIO)
"""The text of the error that a failing disk raises."""

CALLS = frozenset({"open", "pwrite", "fsync", "fdatasync", "ftruncate", "posix_fallocate"})
"""The calls of L{os} that L{Disk.calls} counts."""

_NEVER_SYNCED = bytes(100)
"""What a file may hold whose name was synced and whose content was not: some file systems leave zeros."""

_TORN_SHARE = 0.7
"""The share of the changes at which a crash cuts something off that are done in part."""


class CrashError(BaseException):
    """The machine has crashed in the middle of a call. None of its code may handle this."""


@attrs.define
class _Change:
    """
    A change of the disk that is not durable.

    @ivar undo: undoes it.
    @ivar tear: leaves of it what a crash in the middle leaves; C{None} when it is done whole or not at all.
    @ivar creates: whether it gave a file its name.
    """

    undo: Callable[[], None]
    tear: Callable[[], None] | None = None
    creates: bool = False


class Disk:
    """
    The disk of one machine.

    @ivar path: the directory that the machine's files are in. The machine makes it.
    @ivar changes_until_crash: how many more changes succeed before the machine crashes; C{None} for any number.
    @ivar changes_until_failure: how many more changes succeed before all of them fail; C{None} for any number.
    @ivar calls: the name of each call of L{CALLS} since the start or L{repair}, with the name of its file.
    @ivar fails_at_call: the number of the call, counted from 1, that raises C{error}; 0 for none.
    @ivar error: what that call raises. With a L{CrashError} the machine crashes there.
    @ivar died: called when C{changes_until_crash} has come to its end.
    """

    def __init__(self, path: Path, random: Random) -> None:
        """
        @param path: a directory beside it, with the suffix C{.trash}, holds what may come back.
        """
        self.path = path
        self.changes_until_crash: int | None = None
        self.changes_until_failure: int | None = None
        self.calls: list[tuple[str, str]] = []
        self.fails_at_call = 0
        self.error: BaseException = OSError(errno.EIO, DISK_FAILURE)
        self.died: Callable[[], None] = lambda: None
        self._random = random
        self._trash = path.with_name(f"{path.name}.trash")
        self._thrown = 0
        self._files: dict[str, list[_Change]] = {}
        self._names: dict[str, list[_Change]] = {}
        self._never_synced: set[str] = set()
        self._dead = False

    # What the machine does to it

    @property
    def dead(self) -> bool:
        """Whether the machine has crashed in the middle of a change."""
        return self._dead

    def begin_call(self, name: str, path: str) -> bool:
        """
        Count a call of L{CALLS}.

        @return: whether this is the call that is to fail; then the caller calls L{fail_call} when it has left what
            such a call leaves.
        """
        self.calls.append((name, os.path.basename(path)))
        return len(self.calls) == self.fails_at_call

    def fail_call(self) -> None:
        """Raise what the failing call raises."""
        if isinstance(self.error, CrashError):
            self._dead = True
        raise self.error

    def begin_change(self) -> None:
        """Count a change that is about to be made, and raise what the test wants it to meet."""
        if self._dead:
            raise CrashError
        if self.changes_until_crash is not None:
            self.changes_until_crash -= 1
            if self.changes_until_crash < 0:
                self._dead = True
                self.died()
                raise CrashError
        if self.changes_until_failure is not None:
            self.changes_until_failure -= 1
            if self.changes_until_failure < 0:
                raise OSError(errno.EIO, DISK_FAILURE)

    def written(self, path: str, offset: int, old: bytes, length: int) -> None:
        """Remember that bytes were written over C{old}, which is shorter where the file was."""

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
        """Remember that a file of this size, which ended with C{tail}, was made shorter or longer."""

        def undo() -> None:
            with open(path, "r+b") as file:
                file.truncate(size)
                file.seek(size - len(tail))
                file.write(tail)

        self._files.setdefault(path, []).append(_Change(undo))

    def created(self, path: str) -> None:
        """Remember that a file was made."""
        self._never_synced.add(path)
        self._change_name(path, _Change(lambda: _remove(path), creates=True))

    def renamed(self, source: str, target: str, replaced: str | None) -> None:
        """Remember that a file got another name; the file that had that name before is at C{replaced} now."""
        self._files[target] = self._files.pop(source, [])
        # What was written and not synced would be undone by its old name.
        assert not self._files[target], f"{source} was renamed and not synced before"

        def undo() -> None:
            os.rename(target, source)
            if replaced is not None:
                os.rename(replaced, target)

        self._change_name(target, _Change(undo))

    def removed(self, path: str, kept: str) -> None:
        """Remember that a file was removed, and is at C{kept}."""
        self._files.pop(path, None)
        self._change_name(path, _Change(lambda: os.rename(kept, path)))

    def _change_name(self, path: str, change: _Change) -> None:
        self._names.setdefault(os.path.dirname(path), []).append(change)

    def thrown_away(self) -> str:
        """Returns a path for a file that may come back."""
        self._trash.mkdir(exist_ok=True)
        self._thrown += 1
        return str(self._trash / str(self._thrown))

    def synced(self, path: str) -> None:
        """Forget how to undo what was done to a file, or to the names in a directory: it is durable."""
        self._files.pop(path, None)
        self._names.pop(path, None)
        self._never_synced.discard(path)

    # What happens to it

    def crash(self) -> None:
        """Lose what was not synced from some point on, for each file and directory; the last change may be torn."""
        self._dead = True
        for changes in (*self._files.values(), *self._names.values()):
            kept = self._random.randrange(len(changes) + 1) if changes else 0
            lost = changes[kept:]
            while len(lost) > 1:
                lost.pop().undo()
            for change in lost:
                tear = self._random.random() < _TORN_SHARE
                (change.tear if tear and change.tear is not None else change.undo)()
        self._forget_changes()

    def cut_power(self, *, keep_names: bool) -> None:
        """
        Lose everything that was not synced.

        @param keep_names: whether new files keep their names all the same; their content is lost.
        """
        self._dead = True
        for changes in self._files.values():
            for change in reversed(changes):
                change.undo()
        for changes in self._names.values():
            for change in reversed(changes):
                if not (change.creates and keep_names):
                    change.undo()
        for path in filter(os.path.exists, self._never_synced):
            Path(path).write_bytes(_NEVER_SYNCED)
        self._forget_changes()

    def _forget_changes(self) -> None:
        self._files.clear()
        self._names.clear()
        self._never_synced.clear()

    def repair(self) -> None:
        """Work again, for another process. What the last one has changed and not synced can still be lost."""
        self._dead = False
        self.changes_until_crash = self.changes_until_failure = None
        self.fails_at_call = 0
        self.calls.clear()

    def erase(self) -> None:
        """Lose everything: another machine takes this one's place."""
        os.rename(self.path, self.thrown_away())


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
