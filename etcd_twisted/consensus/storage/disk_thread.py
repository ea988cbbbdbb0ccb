"""
The only thread that waits for the disk. It runs log appends, snapshot chunks and compaction, in order.

With one thread and one queue, no job needs a lock against another, and none has to wait for a thread to be found. The
thread must never touch the state that the reactor's thread works on: a job is given all that it needs, and its result
is passed back through the reactor.
"""

import functools
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.python.failure import Failure

from etcd_twisted.consensus.raft.entries import Record, SnapshotMetadata
from etcd_twisted.consensus.storage.snapshot_files import IncomingSnapshot, SnapshotWriter
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.logs.rate_limit import RateLimitedLog

SLOW_APPEND_SECONDS = 1.0
"""An append to the write-ahead log that takes longer than this is logged."""

_T = TypeVar("_T")


class DiskThreadStoppedError(Exception):
    """The thread was told to stop before the job came, so the job is not run."""


class DiskThread:
    """A queue of jobs and the thread that runs them, one after another. All methods are for the reactor's thread."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        """
        @param reactor: passes the results back to its own thread.
        """
        self._reactor = reactor
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # A daemon thread does not hold up an interpreter that ends without stop(). What was acknowledged is synced.
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._ended: Deferred[None] = Deferred()
        self._stopping = False
        self._submitted = 0
        self._done = 0
        """How many jobs have ended; only the thread changes it."""

    def start(self) -> None:
        """Start the thread. Jobs that were submitted before wait for it."""
        self._thread.start()

    def submit(self, job: Callable[[], _T]) -> "Deferred[_T]":
        """
        Run C{job} in the thread, after all jobs that were submitted before it.

        A failed job does not keep those after it from running. Cancelling the Deferred only ends the wait: the job
        still runs, since later ones may build on it.

        @return: a Deferred that fires with what the job returns, or errbacks with what it raises, or with
            L{DiskThreadStoppedError} after L{stop}.
        """
        if self._stopping:
            return fail(DiskThreadStoppedError("the disk thread has been told to stop"))
        result: Deferred[_T] = Deferred()

        def run() -> None:
            value = self._outcome(job)
            self._reactor.callFromThread(result.callback, value)  # a failure makes it errback

        self._submitted += 1
        self._jobs.put(run)
        return result

    def run_within(self, seconds: float, job: Callable[[], None]) -> "Deferred[None] | None":
        """
        Do what L{submit} does, and wait for the job if no other one is under way.

        @param seconds: how long this call may wait.
        @return: C{None} if the job has ended without an error in that time; otherwise what L{submit} returns.
        """
        if self._stopping or self._done != self._submitted:
            return self.submit(job)
        outcome: list[Failure | None] = []
        finished = threading.Lock()
        finished.acquire()
        late: list[Deferred[None]] = []
        undecided = [True]  # whoever takes the only item decides how the outcome is handed over

        def run() -> None:
            outcome.append(self._outcome(job))
            try:
                undecided.pop()
            except IndexError:
                self._reactor.callFromThread(late[0].callback, outcome[0])
            else:
                finished.release()

        self._submitted += 1
        self._jobs.put(run)
        if not finished.acquire(timeout=seconds):
            late.append(Deferred())
            try:
                undecided.pop()
            except IndexError:
                finished.acquire()  # the thread has just taken it, and releases the lock at once
            else:
                return late[0]
        failure = outcome[0]
        return None if failure is None else fail(failure)

    def _outcome(self, job: Callable[[], _T]) -> "_T | Failure":
        """Run a job in the thread. Returns its result, or the failure."""
        try:
            return job()
        except BaseException:
            return Failure()
        finally:
            self._done += 1

    def stop(self) -> "Deferred[None]":
        """Run what was submitted, then end the thread. Returns a Deferred that fires when it has ended."""
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


class AsyncStorage:
    """
    The files of one machine together with the thread that works on them.

    @ivar storage: the files. All work on them goes through L{run}.
    """

    def __init__(self, clock: IReactorTime, storage: Storage, disk_thread: DiskThread) -> None:
        """
        @param disk_thread: the thread that works on the files.
        """
        self.storage = storage
        self._seconds = clock.seconds
        self._disk_thread = disk_thread
        self._log = RateLimitedLog(clock)

    def run(self, job: Callable[..., _T], *arguments: object) -> "Deferred[_T]":
        """Have the thread run a job after all earlier ones. Returns a Deferred that fires with the result."""
        return self._disk_thread.submit(functools.partial(job, *arguments))

    def append(self, record: Record, wait_seconds: float = 0.0) -> "Deferred[None] | None":
        """
        Append to the log.

        @param wait_seconds: how long this call may wait until the record is durable.
        @return: C{None} if the record is durable; otherwise a Deferred that fires when it is, or errbacks.
        """
        began, job = self._seconds(), functools.partial(self.storage.log.append, record)
        thread = self._disk_thread
        appended = thread.run_within(wait_seconds, job) if wait_seconds else thread.submit(job)
        return None if appended is None else appended.addCallback(self._appended, began)

    def begin_segment(self) -> "Deferred[None]":
        """Continue the log in a new segment; see L{WriteAheadLog.roll}."""
        return self.run(self.storage.log.roll)

    def compact_log(self, index: int) -> "Deferred[None]":
        """Forget the log up to C{index}, which a durable snapshot covers; see L{WriteAheadLog.compact}."""
        return self.run(self.storage.log.compact, index)

    def restart_log_after(self, index: int) -> "Deferred[None]":
        """Forget the whole log, which a durable snapshot replaces; see L{WriteAheadLog.restart_after}."""
        return self.run(self.storage.log.restart_after, index)

    def create_snapshot(self, metadata: SnapshotMetadata) -> "Deferred[SnapshotWriter]":
        """Begin to write a snapshot of this machine."""
        return self.run(self.storage.snapshots.create, metadata)

    def receive_snapshot(self, metadata: SnapshotMetadata) -> "Deferred[IncomingSnapshot]":
        """Begin to write another machine's snapshot."""
        return self.run(self.storage.snapshots.receive, metadata)

    def when_reached(self) -> "Deferred[None]":
        """
        Returns a Deferred that fires when the thread has run all that was submitted before. Long work that is cut into
        slices waits for it in between: a reactor that turns and turns leaves the interpreter to the thread only every
        5 ms.
        """
        return self.run(_do_nothing)

    async def free_removed(self) -> None:
        """Free the files that were removed, in small steps with appends in between."""
        for removed in (self.storage.snapshots.removed, self.storage.log.removed):
            while await self.run(removed.free_some):
                pass

    def _appended(self, _: None, began: float) -> None:
        took = self._seconds() - began
        if took >= SLOW_APPEND_SECONDS:
            self._log.warn("disk", f"The disk is slow: it took {took:.1f} s to make a part of the log durable")


def _do_nothing() -> None:
    """Do nothing: it is enough that the thread has come to this job."""
