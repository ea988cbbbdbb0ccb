"""
Stand-ins for the thread that waits for the disk: L{etcd_twisted.consensus.storage.disk_thread.DiskThread}.

They run the jobs in the thread of the test: when the test says so, in the next turn, or after a simulated time. Must
never run a job of a process that has ended, but for the one that was under way: that stops somewhere in the middle.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from etcd_twisted.consensus.storage.disk_thread import DiskThreadStoppedError
from etcd_twisted.testing.simulation.disk import CrashError, Disk
from etcd_twisted.testing.simulation.schedule import Process

_HAND_OVER_SECONDS = 0.0005
"""How long it takes at the most from the end of a job until the reactor knows of it."""

_WAITS_IN_TIME = 0.97
"""The part of waits that are long enough."""

_MOST_CHANGES = 16
"""About how many changes of the disk the longest job makes."""

_Job = Callable[[], Any]


class ManualDiskThread:
    """
    A disk thread that runs a job when the test calls L{run_one}.

    @ivar jobs: the jobs that were submitted and are not done, with the Deferreds of their results.
    @ivar failing: what the next jobs raise in place of running; C{None} to run them.
    """

    def __init__(self) -> None:
        self.jobs: deque[tuple[_Job, Deferred[Any]]] = deque()
        self.failing: Exception | None = None

    def submit(self, job: _Job) -> "Deferred[Any]":
        """See L{etcd_twisted.consensus.storage.disk_thread.DiskThread.submit}."""
        done: Deferred[Any] = Deferred()
        self.jobs.append((job, done))
        return done

    def run_within(self, _seconds: float, job: _Job) -> "Deferred[None] | None":
        """See L{etcd_twisted.consensus.storage.disk_thread.DiskThread.run_within}. There is no wait."""
        return self.submit(job)

    def stop(self) -> "Deferred[None]":
        """See L{etcd_twisted.consensus.storage.disk_thread.DiskThread.stop}. All jobs have to be done."""
        assert not self.jobs
        return succeed(None)

    def crash(self) -> None:
        """End with the process: no job is done any more."""
        self.jobs.clear()

    def run_one(self) -> None:
        """Run the first job, and hand over its result."""
        job, done = self.jobs.popleft()
        try:
            if self.failing is not None:
                raise self.failing
            result = job()
        except Exception:
            done.errback(Failure())
        else:
            done.callback(result)


class PromptDiskThread(ManualDiskThread):
    """A disk thread that runs each job in the next turn of its process, unless it is held."""

    def __init__(self, process: Process, _disk: Disk) -> None:
        super().__init__()
        self._process = process
        self._held = False

    @property
    def held(self) -> bool:
        """Whether the jobs wait: for L{run_one}, or until this is set to false."""
        return self._held

    @held.setter
    def held(self, held: bool) -> None:
        self._held = held
        if not held:
            for _ in self.jobs:
                self._process.after(0, "disk", self._work)

    def submit(self, job: _Job) -> "Deferred[Any]":
        """See L{ManualDiskThread.submit}."""
        done = super().submit(job)
        self._process.after(0, "disk", self._work)
        return done

    def _work(self) -> None:
        if self.jobs and not self._held:
            self.run_one()

    def stop(self) -> "Deferred[None]":
        """See L{ManualDiskThread.stop}. It does what it was given before, though it is held."""
        while self.jobs:
            self.run_one()
        return super().stop()


class SimulatedDiskThread(ManualDiskThread):
    """
    A disk thread that takes a random time for each job, and that may crash in the middle of one.

    @ivar slowness: how much longer than usual everything takes.
    """

    def __init__(self, process: Process, disk: Disk) -> None:
        """
        @param disk: the disk that the jobs change.
        """
        super().__init__()
        self.slowness = 1.0
        self._process = process
        self._disk = disk
        self._running = False
        self._stopping = False
        self._handed_over = 0.0

    def submit(self, job: _Job) -> "Deferred[Any]":
        """See L{etcd_twisted.consensus.storage.disk_thread.DiskThread.submit}."""
        if self._stopping:
            return fail(DiskThreadStoppedError("the disk thread has been told to stop"))
        done = super().submit(job)
        self._go_on()
        return done

    def run_within(self, _seconds: float, job: _Job) -> "Deferred[None] | None":
        """
        See L{etcd_twisted.consensus.storage.disk_thread.DiskThread.run_within}. Nearly all waits end in time; no time
        passes in them.
        """
        is_idle = not (self._stopping or self.jobs or self._running)
        if not is_idle or self._process.schedule.random.random() >= _WAITS_IN_TIME:
            return self.submit(job)
        try:
            job()
        except CrashError:
            return Deferred()
        except Exception:
            return fail()
        return None

    def _go_on(self) -> None:
        if self.jobs and not self._running:
            self._running = True
            self._process.after(self._duration(), "disk", self._run)

    def _duration(self) -> float:
        random = self._process.schedule.random
        slow = 50.0 if random.random() < 0.01 else 1.0
        return random.uniform(0.0002, 0.003) * slow * self.slowness

    def _run(self) -> None:
        self._running = False
        job, done = self.jobs.popleft()
        try:
            result = job()
        except Exception:
            result = Failure()
        except CrashError:
            return
        schedule = self._process.schedule
        self._handed_over = max(self._handed_over, schedule.now + schedule.random.random() * _HAND_OVER_SECONDS)
        schedule.at(self._handed_over, self._process, "synced", self._hand_over, done, result)
        self._go_on()

    @staticmethod
    def _hand_over(done: "Deferred[Any]", result: Any) -> None:
        if isinstance(result, Failure):
            done.errback(result)
        else:
            done.callback(result)

    def stop(self) -> "Deferred[None]":
        """See L{etcd_twisted.consensus.storage.disk_thread.DiskThread.stop}."""
        ended = self.submit(lambda: None)
        self._stopping = True
        return ended

    def crash(self) -> None:
        """End with the process: the job that is under way is done in part, or as a whole and nobody knows."""
        if not self._running:
            return
        self._disk.changes_until_crash = self._process.schedule.random.randrange(_MOST_CHANGES)
        job, _ = self.jobs.popleft()
        try:
            job()
        except (CrashError, Exception):
            return
