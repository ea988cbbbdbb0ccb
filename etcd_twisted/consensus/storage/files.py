"""
Access to the files of the data directory, which are opened only if they are regular files, and replaced as a whole.

This module must never follow a symbolic link where a file should be, wait at a FIFO, touch a device, or read a file
into memory that is larger than it should be. It blocks, and knows neither the reactor nor what a file holds.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from etcd_twisted.errors import StorageError

REMEDY = (
    "restore the data directory from a backup, or remove this machine from its cluster"
    " and let it join again with an empty one"
)

_REMEDIES = {
    errno.EMFILE: "raise this process's limit on open files (ulimit -n, LimitNOFILE= in a systemd unit)",
    errno.ENFILE: "raise the system's limit on open files (sysctl fs.file-max)",
    errno.EACCES: "change its owner or mode",
    errno.EPERM: "change its owner or mode",
    errno.EROFS: "mount its file system for writing (mount -o remount,rw), or see why the system made it read-only",
    errno.ENOSPC: "make room on its disk (the log allocates 4 MiB at a time)",
    errno.EDQUOT: "make room in this user's quota (the log allocates 4 MiB at a time)",
}

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def remedy(error: OSError) -> str:
    """Returns what people should do about an error of the system."""
    return _REMEDIES.get(error.errno or 0, "see to the disk")


def unusable(path: Path, error: OSError) -> StorageError:
    """Returns the error for what the system refused to do with C{path} at start-up."""
    return StorageError(f"{error.filename or path} can't be used: {error.strerror}; {remedy(error)}")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an C{OSError} about C{path} into the error that L{unusable} returns."""
    try:
        yield
    except OSError as error:
        raise unusable(path, error) from error


def kind_of(status: os.stat_result) -> str:
    """Returns what is there in place of a regular file, such as C{"a FIFO"}; empty for a regular file."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "")


def _check_regular(path: Path, status: os.stat_result) -> None:
    if kind := kind_of(status):
        raise StorageError(f"{path} is {kind} and should be a file; put that file in its place, or {REMEDY}")


def open_file(path: Path, flags: int, mode: int = 0o600) -> int:
    """
    Open a regular file.

    It is checked before, since a device may act when it is opened, and again afterwards, since it may have changed.

    @raise StorageError: the path is not a regular file.
    @raise OSError: as from C{os.open}.
    """
    if os.path.lexists(path):
        _check_regular(path, os.lstat(path))
    descriptor = os.open(path, flags | _SAFELY, mode)
    try:
        _check_regular(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_to_read(path: Path) -> BinaryIO:
    """
    Open a regular file for reading.

    @raise StorageError: the path is not a regular file.
    @raise OSError: it can't be opened.
    """
    return os.fdopen(open_file(path, os.O_RDONLY), "rb")


def read_small(path: Path, most_bytes: int) -> bytes | None:
    """
    Returns the whole content of a file, or C{None} if there is no file.

    @param most_bytes: how many bytes the file may have.
    @raise StorageError: it is larger, is no regular file, or can't be read.
    """
    with naming(path):
        try:
            file = open_to_read(path)
        except FileNotFoundError:
            return None
        with file:
            data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise StorageError(f"{path} is damaged: it has more than {most_bytes} bytes; {REMEDY}")
    return data


def replace_file(path: Path, data: bytes) -> None:
    """
    Replace a file with one of this content, durably. Whenever the machine stops, either the old file is there or the
    new one.

    @raise OSError: the disk failed or is full.
    """
    unfinished = unfinished_path(path)
    descriptor = open_file(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        try:
            write_all(descriptor, data, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        unfinished.rename(path)
    except OSError:
        unfinished.unlink()
        raise
    sync_directory(path.parent)


def unfinished_path(path: Path) -> Path:
    """Returns the path to which L{replace_file} writes first."""
    return path.with_name(f"{path.name}.tmp")


def names_in(directory: Path) -> set[str]:
    """Returns the names in a directory, or nothing if there is no such directory."""
    try:
        return set(os.listdir(directory))
    except FileNotFoundError:
        return set()


def files_in(directory: Path, name: re.Pattern[str]) -> list[Path]:
    """
    Returns the files in a directory whose whole names match, sorted by name.

    @raise StorageError: one of them is not a regular file, or the directory can't be read.
    """
    with naming(directory):
        found = sorted(directory / each for each in names_in(directory) if name.fullmatch(each))
        for path in found:
            _check_regular(path, os.lstat(path))
    return found


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of C{data} at C{offset}, however little the system accepts at a time."""
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], offset + written)


def sync_directory(path: Path) -> None:
    """Make the creation, renaming and removal of names in the directory C{path} durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FailureLatch:
    """
    A context manager around writes to the disk, which remembers the first failure: after it, no write can be trusted.

    @ivar failure: the first failure; C{None} if there was none.
    """

    __slots__ = ("failure",)

    def __init__(self) -> None:
        self.failure: OSError | None = None

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, OSError) and self.failure is None:
            self.failure = error
