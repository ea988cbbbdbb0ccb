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
        self.writer = DiskThread(reactor)
        self.addCleanup(self.writer.stop)

    async def test_result_is_delivered_in_the_reactor(self) -> None:
        """A job runs in the disk thread, and its result is delivered in the reactor's."""
        self.writer.start()
        ran_in = await self.writer.submit(threading.current_thread)
        self.assertEqual(ran_in.name, "log-writer")
        self.assertIsNot(ran_in, threading.current_thread())

    async def test_jobs_run_in_order(self) -> None:
        """Jobs and their results keep the order in which they were submitted, also before the start."""
        ran: list[int] = []
        results: list[int] = []

        def job(number: int) -> int:
            ran.append(number)
            return number

        waiting = [self.writer.submit(lambda number=number: job(number)) for number in range(100)]
        for deferred in waiting:
            deferred.addCallback(results.append)
        self.writer.start()
        waiting += [self.writer.submit(lambda number=number: job(number)) for number in range(100, 200)]
        for deferred in waiting[100:]:
            deferred.addCallback(results.append)
        await gatherResults(waiting)
        self.assertEqual(ran, list(range(200)))
        self.assertEqual(results, list(range(200)))

    async def test_reactor_turns_meanwhile(self) -> None:
        """A job that waits holds up only the jobs behind it."""
        self.writer.start()
        release = threading.Event()
        first = self.writer.submit(lambda: release.wait(30))
        second = self.writer.submit(lambda: "second")
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
        self.writer.start()
        failing = self.writer.submit(lambda: 1 // 0)
        behind = self.writer.submit(lambda: "behind")
        with self.assertRaises(ZeroDivisionError):
            await failing
        self.assertEqual(await behind, "behind")

    async def test_cancelled_job_is_run(self) -> None:
        """Cancelling stops the waiting, but the append that others build on is made all the same."""
        ran: list[str] = []
        cancelled = self.writer.submit(lambda: ran.append("cancelled"))
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.writer.start()
        await self.writer.submit(lambda: ran.append("behind"))
        self.assertEqual(ran, ["cancelled", "behind"])

    async def test_stop_runs_submitted_jobs(self) -> None:
        """What was submitted is run and answered before the thread ends."""
        self.writer.start()
        thread = await self.writer.submit(threading.current_thread)
        release = threading.Event()
        waiting = self.writer.submit(lambda: release.wait(30))
        stopped = self.writer.stop()
        self.assertNoResult(stopped)
        release.set()
        await stopped
        self.assertTrue(self.successResultOf(waiting))
        self.assertFalse(thread.is_alive())

    async def test_nothing_is_submitted_after_a_stop(self) -> None:
        ran: list[None] = []
        self.writer.start()
        stopped = self.writer.stop()
        self.failureResultOf(self.writer.submit(lambda: ran.append(None)), DiskThreadStoppedError)
        await stopped
        self.failureResultOf(self.writer.submit(lambda: ran.append(None)), DiskThreadStoppedError)
        self.assertEqual(ran, [])

    async def test_stopping_twice_does_no_harm(self) -> None:
        self.writer.start()
        await gatherResults([self.writer.stop(), self.writer.stop()])
        await self.writer.stop()

    async def test_stop_without_a_start_runs_submitted_jobs(self) -> None:
        """What was submitted to a thread that was never started is run all the same."""
        waiting = self.writer.submit(lambda: "run")
        await self.writer.stop()
        self.assertEqual(self.successResultOf(waiting), "run")
