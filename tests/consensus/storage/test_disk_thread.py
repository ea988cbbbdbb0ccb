"""
Tests of the disk thread: jobs run in order, one at a time, and the thread ends when it is stopped.
"""

import threading

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.trial.unittest import TestCase

from etcd_twisted.consensus.storage.disk_thread import DiskThread, DiskThreadStoppedError


class WriterTests(TestCase):
    def setUp(self) -> None:
        self.disk_thread = DiskThread(reactor)
        self.addCleanup(self.disk_thread.stop)

    async def test_result_is_delivered_in_the_reactor(self) -> None:
        """A job runs in the disk thread, and its result is delivered in the reactor's."""
        self.disk_thread.start()
        ran_in = await self.disk_thread.submit(threading.current_thread)
        self.assertEqual(ran_in.name, "disk")
        self.assertIsNot(ran_in, threading.current_thread())

    async def test_jobs_run_in_order(self) -> None:
        """Jobs and their results keep the order in which they were submitted, also before the start."""
        ran: list[int] = []
        results: list[int] = []

        def job(number: int) -> int:
            ran.append(number)
            return number

        waiting = [self.disk_thread.submit(lambda number=number: job(number)) for number in range(100)]
        for deferred in waiting:
            deferred.addCallback(results.append)
        self.disk_thread.start()
        waiting += [self.disk_thread.submit(lambda number=number: job(number)) for number in range(100, 200)]
        for deferred in waiting[100:]:
            deferred.addCallback(results.append)
        await gatherResults(waiting)
        self.assertEqual(ran, list(range(200)))
        self.assertEqual(results, list(range(200)))

    async def test_reactor_turns_meanwhile(self) -> None:
        """A job that waits holds up only the jobs behind it."""
        self.disk_thread.start()
        release = threading.Event()
        first = self.disk_thread.submit(lambda: release.wait(30))
        second = self.disk_thread.submit(lambda: "second")
        turned: Deferred[None] = Deferred()
        reactor.callLater(0, turned.callback, None)
        await turned
        self.assertNoResult(first)
        self.assertNoResult(second)
        release.set()
        self.assertTrue(await first)
        self.assertEqual(await second, "second")

    async def test_failing_job_fails_its_own_deferred(self) -> None:
        """A failing job only fails its own Deferred."""
        self.disk_thread.start()
        failing = self.disk_thread.submit(lambda: 1 // 0)
        behind = self.disk_thread.submit(lambda: "behind")
        with self.assertRaises(ZeroDivisionError):
            await failing
        self.assertEqual(await behind, "behind")

    async def test_cancelled_job_is_run(self) -> None:
        """Cancelling stops the waiting, but the append that others build on is made all the same."""
        ran: list[str] = []
        cancelled = self.disk_thread.submit(lambda: ran.append("cancelled"))
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.disk_thread.start()
        await self.disk_thread.submit(lambda: ran.append("behind"))
        self.assertEqual(ran, ["cancelled", "behind"])

    async def test_stop_runs_submitted_jobs(self) -> None:
        """What was submitted is run and answered before the thread ends."""
        self.disk_thread.start()
        thread = await self.disk_thread.submit(threading.current_thread)
        release = threading.Event()
        waiting = self.disk_thread.submit(lambda: release.wait(30))
        stopped = self.disk_thread.stop()
        self.assertNoResult(stopped)
        release.set()
        await stopped
        self.assertTrue(self.successResultOf(waiting))
        self.assertFalse(thread.is_alive())

    async def test_nothing_is_submitted_after_a_stop(self) -> None:
        ran: list[None] = []
        self.disk_thread.start()
        stopped = self.disk_thread.stop()
        self.failureResultOf(self.disk_thread.submit(lambda: ran.append(None)), DiskThreadStoppedError)
        await stopped
        self.failureResultOf(self.disk_thread.submit(lambda: ran.append(None)), DiskThreadStoppedError)
        self.assertEqual(ran, [])

    async def test_stopping_twice_does_no_harm(self) -> None:
        self.disk_thread.start()
        await gatherResults([self.disk_thread.stop(), self.disk_thread.stop()])
        await self.disk_thread.stop()

    async def test_stop_without_a_start_runs_submitted_jobs(self) -> None:
        """What was submitted to a thread that was never started is run all the same."""
        waiting = self.disk_thread.submit(lambda: "run")
        await self.disk_thread.stop()
        self.assertEqual(self.successResultOf(waiting), "run")
