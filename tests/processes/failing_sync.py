"""
Runs a machine's command unchanged, but on a disk that fails: one sync hangs for a while and then raises, and nothing
written since the sync before is kept. A write that is acknowledged meanwhile is acknowledged too early.

It is run as C{python -m tests.processes.failing_sync SYNCS} with the arguments of C{twistd}, or with C{etcd-twisted}
and its arguments; that many calls of C{fdatasync} succeed.
"""

import errno
import os
import sys
import threading
from collections.abc import Callable

from twisted.scripts.twistd import run

from etcd_twisted.__main__ import main

STALL = 0.2
"""How many seconds the failing sync hangs."""


class FailingDisk:
    """Stands in for the calls by which the log and the snapshots get to the disk."""

    def __init__(self, syncs: int) -> None:
        self._syncs = syncs
        self._write: Callable[[int, bytes, int], int] = os.pwrite
        self._sync: Callable[[int], None] = os.fdatasync
        self._sync_all: Callable[[int], None] = os.fsync
        self._unsynced: list[tuple[int, int, int]] = []

    def install(self) -> None:
        """Replaces the calls of L{os}."""
        os.pwrite = self.pwrite
        os.fdatasync = self.fdatasync
        os.fsync = self.fsync

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        """Writes, and remembers what was written."""
        length = self._write(descriptor, data, offset)
        self._unsynced.append((descriptor, length, offset))
        return length

    def fdatasync(self, descriptor: int) -> None:
        """Syncs, or loses what was written."""
        if self._syncs == 0:
            threading.Event().wait(STALL)
            for written, length, offset in self._unsynced:
                if written == descriptor:
                    self._write(written, bytes(length), offset)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._syncs -= 1
        self._sync(descriptor)
        self._forget(descriptor)

    def fsync(self, descriptor: int) -> None:
        """Syncs: only C{fdatasync} fails, so that a number determines which call."""
        self._sync_all(descriptor)
        self._forget(descriptor)

    def _forget(self, descriptor: int) -> None:
        self._unsynced = [each for each in self._unsynced if each[0] != descriptor]


if __name__ == "__main__":
    FailingDisk(int(sys.argv.pop(1))).install()
    if sys.argv[1:2] == ["etcd-twisted"]:
        sys.argv.pop(1)
        main()
    else:
        run()
