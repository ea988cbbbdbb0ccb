"""
Tests of the simulated time.
"""

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from etcd_twisted.testing.schedule import Process, Schedule


class ScheduleTests(SynchronousTestCase):
    """L{Schedule} and L{Process}"""

    def setUp(self) -> None:
        self.schedule = Schedule(0)
        self.process = Process(self.schedule, "machine0", 100.0, 1.0)
        self.seen: list[object] = []

    def _times(self, *delays: float, kind: str = "message") -> None:
        for delay in delays:
            self.process.after(delay, kind, self.seen.append, delay)

    def test_in_order(self) -> None:
        """Things happen in the order of time, and those of one moment in the order in which they were asked for."""
        self._times(3.0, 1.0, 2.0)
        self.schedule.after(1.0, None, "other", self.seen.append, "other")
        self.schedule.run_until(10.0)
        self.assertEqual(self.seen, [1.0, "other", 2.0, 3.0])
        self.assertEqual(self.schedule.now, 10.0)

    def test_until(self) -> None:
        """What is later than asked for has to wait."""
        self._times(1.0, 2.0)
        self.assertFalse(self.schedule.run_until(1.5))
        self.assertEqual(self.seen, [1.0])

    def test_until_met(self) -> None:
        """It ends when a condition is met."""
        self._times(1.0, 2.0)
        self.assertTrue(self.schedule.run_until(9.0, lambda: len(self.seen) == 1))
        self.assertEqual(self.schedule.now, 1.0)

    def test_after_step(self) -> None:
        """After each step somebody may look at the process that it happened to."""
        looked: list[Process | None] = []
        self.schedule.after_step = looked.append
        self._times(1.0)
        self.schedule.after(2.0, None, "other", self.seen.append, "other")
        self.schedule.run_until(3.0)
        self.assertEqual(looked, [self.process, None])

    def test_end(self) -> None:
        """What was to happen to a process that has ended does not happen, and it can ask for nothing more."""
        self._times(1.0, 3.0)
        self.schedule.at(2.0, None, "end", self.process.end)
        self.schedule.run_until(2.5)
        self.process.clock.callLater(0.1, self.seen.append, "late")
        self.schedule.run_until(9.0)
        self.assertEqual(self.seen, [1.0])

    def test_pause(self) -> None:
        """Nothing reaches a process that is held up; then come its timers, and then what others have sent."""
        self.process.pause()
        self._times(1.0)
        self.process.clock.callLater(2.0, self.seen.append, "timer")
        cancelled = self.process.clock.callLater(2.5, self.seen.append, "cancelled")
        self.schedule.run_until(3.0)
        self.assertEqual(self.seen, [])
        self.assertEqual(self.process.clock.seconds(), 103.0)
        cancelled.cancel()
        self.process.resume()
        self._times(0.0, kind="message")
        self.schedule.run_until(3.0)
        self.assertEqual(self.seen, ["timer", 1.0, 0.0])

    def test_speed(self) -> None:
        """A fast clock shows more, and rings earlier."""
        fast = Process(self.schedule, "machine1", 0.0, 2.0)
        fast.clock.callLater(4.0, self.seen.append, "fast")
        self.process.clock.callLater(3.0, self.seen.append, "slow")
        self.schedule.run_until(5.0)
        self.assertEqual(self.seen, ["fast", "slow"])
        self.assertEqual((fast.clock.seconds(), self.process.clock.seconds()), (10.0, 105.0))

    def test_never_early(self) -> None:
        """When a timer rings, its clock shows its time at the least, however the sums were rounded."""
        process = Process(self.schedule, "machine1", 1 / 3, 1.1)
        clock = process.clock
        for number in range(1_000):
            due = clock.seconds() + number / 7
            clock.callLater(number / 7, lambda due=due: self.seen.append(clock.seconds() >= due))
        self.schedule.run_until(1_000.0)
        self.assertEqual(self.seen, [True] * 1_000)

    def test_same_seed(self) -> None:
        """The digest tells runs apart."""
        digests = []
        for kind in ("message", "message", "other"):
            schedule = Schedule(1)
            schedule.after(1.0, None, kind, lambda: None)
            schedule.run_until(2.0)
            digests.append(schedule.digest)
        self.assertEqual(digests[0], digests[1])
        self.assertNotEqual(digests[0], digests[2])


class MachineClockTests(SynchronousTestCase):
    """L{etcd_twisted.testing.schedule.MachineClock}"""

    def setUp(self) -> None:
        self.schedule = Schedule(0)
        self.clock = Process(self.schedule, "machine0", 100.0, 1.0).clock
        self.seen: list[object] = []

    def test_interface(self) -> None:
        """It is a reactor's time."""
        verifyObject(IReactorTime, self.clock)

    def test_an_endless_loop(self) -> None:
        """A test in which one event causes the next at once fails, and does not run for ever."""

        def again() -> None:
            self.schedule.after(0, None, "again", again)

        again()
        error = self.assertRaises(AssertionError, self.schedule.run_until, 1.0)
        self.assertIn("events happen at once", str(error))

    def test_delayed_calls(self) -> None:
        """They are this process's own that are still to be made."""
        process = Process(self.schedule, "machine0", 0.0, 1.0)
        first, second, third = [process.clock.callLater(number, self.seen.append, number) for number in range(3)]
        process.after(1.0, "other", self.seen.append, "other")
        self.clock.callLater(1.0, self.seen.append, "another process")
        self.assertEqual(set(process.clock.getDelayedCalls()), {first, second, third})
        third.cancel()
        self.schedule.run_until(0.5)
        self.assertEqual(process.clock.getDelayedCalls(), [second])
        self.assertEqual(sorted(event.kind for event in self.schedule.pending()), ["other", "timer", "timer"])
        process.end()
        self.assertEqual(process.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.schedule.pending()), 1)

    def test_call(self) -> None:
        """A call is made in its time, with its arguments."""
        call = self.clock.callLater(1.0, lambda *some, **more: self.seen.append((some, more)), 1, two=2)
        self.assertEqual(call.getTime(), 101.0)
        self.assertTrue(call.active())
        self.schedule.run_until(2.0)
        self.assertEqual(self.seen, [((1,), {"two": 2})])
        self.assertFalse(call.active())
        self.assertRaises(AlreadyCalled, call.cancel)

    def test_cancel(self) -> None:
        """A call that was cancelled is not made."""
        call = self.clock.callLater(1.0, self.seen.append, 1)
        call.cancel()
        self.schedule.run_until(2.0)
        self.assertEqual(self.seen, [])
        self.assertRaises(AlreadyCancelled, call.reset, 1.0)

    def test_move(self) -> None:
        """A call can be put off, and made sooner."""
        later = self.clock.callLater(1.0, self.seen.append, "later")
        later.delay(3.0)
        sooner = self.clock.callLater(5.0, self.seen.append, "sooner")
        sooner.reset(2.0)
        self.assertEqual((later.getTime(), sooner.getTime()), (104.0, 102.0))
        self.schedule.run_until(9.0)
        self.assertEqual(self.seen, ["sooner", "later"])
