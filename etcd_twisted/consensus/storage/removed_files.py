"""
Files that are removed from their directory, and freed in small steps.

The system takes 0.3 ms to free a megabyte that was written lately, and the log waits meanwhile: 20 ms for a segment of
64 MiB. This module must never shorten a file whose removal is not durable: after a crash, it would be there again. Nor
may it shorten one that somebody still reads, or that has another name, as in a backup that is made of hard links.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from etcd_twisted.consensus.storage.files import open_file, sync_directory

FREED_BYTES = 1 << 20
"""How much of a file is freed in one step."""

MOST_OPEN_FILES = 16
"""How many files may wait for it: each takes one of the descriptors that are kept for the storage."""


def keep_readable(descriptor: int) -> None:
    """
    Keep the bytes of an open file until this descriptor is closed, also if the file is removed meanwhile.

    @raise OSError: it is being freed already.
    """
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _may_be_shortened(descriptor: int) -> bool:
    """Returns whether a file has no name any more, and nobody has called L{keep_readable} who may still read it."""
    if os.fstat(descriptor).st_nlink:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class RemovedFiles:
    """
    Removes files. The system frees at once what can't be freed in steps, and all that is left when the process dies.
    """

    def __init__(self) -> None:
        self._descriptors: list[int] = []

    def remove(self, path: Path) -> None:
        """
        Remove a file from its directory durably. L{free_some} frees it. The system does so if the file can't be opened
        for writing, if L{MOST_OPEN_FILES} wait already, or when nobody reads it any more.

        @raise StorageError: it is no regular file.
        @raise OSError: the disk failed.
        """
        with contextlib.ExitStack() as on_failure:
            opened = []
            if len(self._descriptors) < MOST_OPEN_FILES:
                with contextlib.suppress(OSError):
                    opened.append(open_file(path, os.O_RDWR))
                    on_failure.callback(os.close, opened[0])
            path.unlink()
            sync_directory(path.parent)
            self._descriptors += opened
            on_failure.pop_all()

    def free_some(self) -> bool:
        """
        Free a part of the files.

        @return: whether more of them is left.
        """
        if self._descriptors:
            descriptor = self._descriptors[-1]
            left = os.fstat(descriptor).st_size - FREED_BYTES
            if left <= 0 or not _may_be_shortened(descriptor) or not _shorten(descriptor, left):
                os.close(self._descriptors.pop())
        return bool(self._descriptors)

    def close(self) -> None:
        """Free all that is left."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def _shorten(descriptor: int, size: int) -> bool:
    """Returns whether that was possible: some file systems need room for it, and refuse it when they are full."""
    try:
        os.ftruncate(descriptor, size)
    except OSError:
        return False
    return True
