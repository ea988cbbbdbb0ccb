"""
Tests of L{etcd_twisted.testing.simulation.disk_threads}: jobs take time, run in order, and end with the process.
"""

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.testing.simulation.disk import Disk
from etcd_twisted.testing.simulation.disk_threads import SimulatedDiskThread
from etcd_twisted.testing.simulation.disks import Disks
from etcd_twisted.testing.simulation.schedule import Process, Schedule


class WriterTests(SynchronousTestCase):
    """These tests are about L{SimulatedDiskThread}."""

    def setUp(self) -> None:
        self.schedule = Schedule(0)
        self.process = Process(self.schedule, "machine0", 0.0, 1.0)
        self.disks = Disks(self.schedule.random)
        self.addCleanup(self.disks.remove)
        self.disk: Disk = self.disks.disk("machine0")
        self.disk_thread = SimulatedDiskThread(self.process, self.disk)
        self.ran: list[int] = []

    def test_jobs_run_in_order(self) -> None:
        """Each takes its time, and the results come in the same order."""
        results = [self.disk_thread.submit(partial(int, number)) for number in range(50)]
        told: list[int] = []
        for result in results:
            result.addCallback(told.append)
        self.assertEqual(told, [])
        self.schedule.run_until(10.0)
        self.assertEqual(told, list(range(50)))

    def test_failed_job_does_not_stop_the_next(self) -> None:
        """The exception is its result."""
        failed = self.disk_thread.submit(lambda: 1 // 0)
        done = self.disk_thread.submit(lambda: 1)
        self.schedule.run_until(1.0)
        self.failureResultOf(failed, ZeroDivisionError)
        self.assertEqual(self.successResultOf(done), 1)

    def test_stop_waits_for_submitted_jobs(self) -> None:
        done = self.disk_thread.submit(lambda: 1)
        stopped = self.disk_thread.stop()
        self.failureResultOf(self.disk_thread.submit(lambda: 2))
        self.assertNoResult(stopped)
        self.schedule.run_until(1.0)
        self.successResultOf(stopped)
        self.assertEqual(self.successResultOf(done), 1)

    def test_crash_interrupts_a_job(self) -> None:
        """The job that is running stops somewhere within, or is done. The jobs behind it do not begin."""

        def job() -> None:
            for number in range(8):
                self.disk.begin_change()
                self.ran.append(number)

        lengths = set()
        for _ in range(100):
            self.ran.clear()
            self.disk.repair()
            disk_thread = SimulatedDiskThread(self.process, self.disk)
            disk_thread.submit(job)
            disk_thread.submit(lambda: self.ran.append(100))
            disk_thread.crash()
            lengths.add(len(self.ran))
            self.assertNotIn(100, self.ran)
        self.assertEqual(lengths, set(range(9)))
