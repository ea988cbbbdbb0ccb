"""
The one thread that waits for the disk: log appends, snapshot chunks and compaction are run here, in order.

One thread and one queue, so that no job needs a lock against another, and no job waits for a thread to be found.
Must never touch the state that the reactor's thread works on: a job is given all it needs, and what it returns is
handed over through the reactor.
"""

import functools
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.python.failure import Failure

from etcd_twisted.consensus.raft.entries import Record
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.logs.rate_limit import RateLimitedLog

SLOW_APPEND_SECONDS = 1.0
"""A batch of the log that takes longer until it is on the disk is worth a line in the log."""

_T = TypeVar("_T")


class WriterStoppedError(Exception):
    """A job came after the writer was told to stop; it is not run."""


class LogWriter:
    """A queue of jobs and the thread that runs them, one after another. All methods are for the reactor's thread."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        """
        @param reactor: where results are handed over.
        """
        self._reactor = reactor
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # A daemon, so that an interpreter that ends without stop() is not held up. What was acknowledged is synced.
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._ended: Deferred[None] = Deferred()
        self._stopping = False

    def start(self) -> None:
        """Start the thread. Jobs submitted before wait for it."""
        self._thread.start()

    def submit(self, job: Callable[[], _T]) -> "Deferred[_T]":
        """
        Run C{job} in the writer's thread, after all that were submitted before it.

        The Deferred gives what the job returns, or fails with what it raises; the jobs behind a failed one are run
        all the same. Cancelling it only stops the waiting: the job is run, since others may build on it.

        @raise WriterStoppedError: as the Deferred's failure, after L{stop}.
        """
        if self._stopping:
            return fail(WriterStoppedError("the writer has been told to stop"))
        result: Deferred[_T] = Deferred()

        def run() -> None:
            try:
                value = job()
            except BaseException:
                self._reactor.callFromThread(result.errback, Failure())
            else:
                self._reactor.callFromThread(result.callback, value)

        self._jobs.put(run)
        return result

    def stop(self) -> "Deferred[None]":
        """Run what was submitted, then end the thread; the Deferred fires when it has ended."""
        if not self._stopping:
            self._stopping = True
            if self._thread.ident is None:
                self._thread.start()
            self._jobs.put(None)
        ended: Deferred[None] = Deferred()
        self._ended.chainDeferred(ended)
        return ended

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        self._reactor.callFromThread(self._end)

    def _end(self) -> None:
        self._thread.join()
        self._ended.callback(None)


class Disk:
    """
    One machine's files, and the thread that works on them, as the parts of a member use both.

    @ivar storage: the files; what is done to them is done by L{run}.
    """

    def __init__(self, clock: IReactorTime, storage: Storage, writer: LogWriter) -> None:
        """
        @param writer: the thread.
        """
        self.storage = storage
        self._seconds = clock.seconds
        self._writer = writer
        self._log = RateLimitedLog(clock)

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
            self._log.warn("disk", f"The disk is slow: it took {took:.1f} s to make a part of the log durable")
