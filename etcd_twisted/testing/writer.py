"""
The thread that waits for the disk, as one more thing that takes its time.

Must never run a job of a process that has ended, but for the one that was under way: that stops somewhere within.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from etcd_twisted.consensus.storage.disk_thread import WriterStoppedError
from etcd_twisted.testing.disk import CrashError, Disk
from etcd_twisted.testing.schedule import Process

_HAND_OVER = 0.0005
"""Seconds at the most from the end of a job until the reactor knows."""

_MOST_CHANGES = 16
"""About how many calls the longest job makes."""

_Job = Callable[[], Any]


class SimulatedWriter:
    """
    Stands in for L{etcd_twisted.consensus.storage.disk_thread.LogWriter}.

    @ivar slowness: how much longer than usual everything takes.
    """

    def __init__(self, process: Process, disk: Disk) -> None:
        self.slowness = 1.0
        self._process = process
        self._disk = disk
        self._jobs: deque[tuple[_Job, Deferred[Any]]] = deque()
        self._running = False
        self._stopping = False
        self._told = 0.0

    def submit(self, job: _Job) -> "Deferred[Any]":
        """See L{etcd_twisted.consensus.storage.disk_thread.LogWriter.submit}."""
        if self._stopping:
            return fail(WriterStoppedError("the writer has been told to stop"))
        done: Deferred[Any] = Deferred()
        self._jobs.append((job, done))
        self._go_on()
        return done

    def _go_on(self) -> None:
        if self._jobs and not self._running:
            self._running = True
            self._process.after(self._duration(), "disk", self._run)

    def _duration(self) -> float:
        random = self._process.schedule.random
        slow = 50.0 if random.random() < 0.01 else 1.0
        return random.uniform(0.0002, 0.003) * slow * self.slowness

    def _run(self) -> None:
        self._running = False
        job, done = self._jobs.popleft()
        try:
            result = job()
        except Exception:
            result = Failure()
        except CrashError:
            return
        schedule = self._process.schedule
        self._told = max(self._told, schedule.now + schedule.random.random() * _HAND_OVER)
        schedule.at(self._told, self._process, "synced", self._hand_over, done, result)
        self._go_on()

    @staticmethod
    def _hand_over(done: "Deferred[Any]", result: Any) -> None:
        if isinstance(result, Failure):
            done.errback(result)
        else:
            done.callback(result)

    def stop(self) -> "Deferred[None]":
        """See L{etcd_twisted.consensus.storage.disk_thread.LogWriter.stop}."""
        ended = self.submit(lambda: None)
        self._stopping = True
        return ended

    def crash(self) -> None:
        """The process has ended: what was under way is done in part, or whole and nobody was told."""
        if not self._running:
            return
        self._disk.changes_until_crash = self._process.schedule.random.randrange(_MOST_CHANGES)
        job, _ = self._jobs.popleft()
        try:
            job()
        except (CrashError, Exception):
            return
