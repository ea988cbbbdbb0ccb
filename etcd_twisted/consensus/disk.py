"""
One machine's files and the thread that works on them, as the parts of a member use both.

Must never touch a file on the reactor's thread.
"""

import functools
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from etcd_twisted.consensus.raft.entries import Record
from etcd_twisted.consensus.recovery import Storage
from etcd_twisted.consensus.storage.disk_thread import LogWriter
from etcd_twisted.logs.rate_limit import RateLimitedLog

SLOW_APPEND_SECONDS = 1.0
"""A batch of the log that takes longer until it is on the disk is worth a line in the log."""

_T = TypeVar("_T")


class Disk:
    """
    See the module.

    @ivar storage: the files; what is done to them is done by L{run}.
    """

    def __init__(self, clock: IReactorTime, storage: Storage, writer: LogWriter) -> None:
        """
        @param writer: the thread.
        """
        self.storage = storage
        self._seconds = clock.seconds
        self._writer = writer
        self._complaints = RateLimitedLog(clock)

    def run(self, job: Callable[..., _T], *arguments: object) -> "Deferred[_T]":
        """Returns a Deferred that fires with what a job returns, which the thread runs after all those before it."""
        return self._writer.submit(functools.partial(job, *arguments))

    def append(self, record: Record) -> "Deferred[None]":
        """Append to the log; returns a Deferred that fires when the record is durable."""
        appended = self._writer.submit(functools.partial(self.storage.log.append, record))
        return appended.addCallback(self._appended, self._seconds())

    def _appended(self, _: None, began: float) -> None:
        took = self._seconds() - began
        if took >= SLOW_APPEND_SECONDS:
            self._complaints.warn("disk", f"The disk is slow: it took {took:.1f} s to make a part of the log durable")
