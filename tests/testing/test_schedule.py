"""
Tests of the simulated time.
"""

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from etcd_twisted.testing.simulation.schedule import Process, Schedule


class ScheduleTests(SynchronousTestCase):
    """These tests are about L{Schedule} and L{Process}."""

    def setUp(self) -> None:
        self.schedule = Schedule(0)
        self.process = Process(self.schedule, "machine0", 100.0, 1.0)
        self.seen: list[object] = []

    def _times(self, *delays: float, kind: str = "message") -> None:
        for delay in delays:
            self.process.after(delay, kind, self.seen.append, delay)

    def test_calls_are_made_in_order(self) -> None:
        """They come in the order of time, and those of one moment in the order in which they were scheduled."""
        self._times(3.0, 1.0, 2.0)
        self.schedule.after(1.0, None, "other", self.seen.append, "other")
        self.schedule.run_until(10.0)
        self.assertEqual(self.seen, [1.0, "other", 2.0, 3.0])
        self.assertEqual(self.schedule.now, 10.0)

    def test_run_until_a_time(self) -> None:
        """Later calls have to wait."""
        self._times(1.0, 2.0)
        self.assertFalse(self.schedule.run_until(1.5))
        self.assertEqual(self.seen, [1.0])

    def test_run_until_a_condition(self) -> None:
        self._times(1.0, 2.0)
        self.assertTrue(self.schedule.run_until(9.0, lambda: len(self.seen) == 1))
        self.assertEqual(self.schedule.now, 1.0)

    def test_each_step_can_be_observed(self) -> None:
        """After it a callback may look at the process that it happened to."""
        looked: list[Process | None] = []
        self.schedule.after_step = looked.append
        self._times(1.0)
        self.schedule.after(2.0, None, "other", self.seen.append, "other")
        self.schedule.run_until(3.0)
        self.assertEqual(looked, [self.process, None])

    def test_ended_process_makes_no_calls(self) -> None:
        """It can schedule nothing more either."""
        self._times(1.0, 3.0)
        self.schedule.at(2.0, None, "end", self.process.end)
        self.schedule.run_until(2.5)
        self.process.clock.callLater(0.1, self.seen.append, "late")
        self.schedule.run_until(9.0)
        self.assertEqual(self.seen, [1.0])

    def test_paused_process_makes_no_calls(self) -> None:
        """Its timers come after the pause, and then messages from others."""
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

    def test_fast_clock_is_ahead(self) -> None:
        """It shows more time, and its timers ring earlier."""
        fast = Process(self.schedule, "machine1", 0.0, 2.0)
        fast.clock.callLater(4.0, self.seen.append, "fast")
        self.process.clock.callLater(3.0, self.seen.append, "slow")
        self.schedule.run_until(5.0)
        self.assertEqual(self.seen, ["fast", "slow"])
        self.assertEqual((fast.clock.seconds(), self.process.clock.seconds()), (10.0, 105.0))

    def test_timers_are_never_early(self) -> None:
        """When a timer rings, its clock shows its time at least, whatever the rounding."""
        process = Process(self.schedule, "machine1", 1 / 3, 1.1)
        clock = process.clock
        for number in range(1_000):
            due = clock.seconds() + number / 7
            clock.callLater(number / 7, lambda due=due: self.seen.append(clock.seconds() >= due))
        self.schedule.run_until(1_000.0)
        self.assertEqual(self.seen, [True] * 1_000)

    def test_same_seed_has_the_same_digest(self) -> None:
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
    """These tests are about L{etcd_twisted.testing.simulation.schedule.MachineClock}."""

    def setUp(self) -> None:
        self.schedule = Schedule(0)
        self.clock = Process(self.schedule, "machine0", 100.0, 1.0).clock
        self.seen: list[object] = []

    def test_clock_implements_its_interface(self) -> None:
        verifyObject(IReactorTime, self.clock)

    def test_an_endless_loop_fails(self) -> None:
        """A test in which one event causes the next at once does not run for ever."""

        def again() -> None:
            self.schedule.after(0, None, "again", again)

        again()
        error = self.assertRaises(AssertionError, self.schedule.run_until, 1.0)
        self.assertIn("events happen at once", str(error))

    def test_delayed_calls_are_those_of_the_process(self) -> None:
        """Only calls that are still to be made are listed."""
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

    def test_call_is_made_with_its_arguments(self) -> None:
        """It comes at its time."""
        call = self.clock.callLater(1.0, lambda *some, **more: self.seen.append((some, more)), 1, two=2)
        self.assertEqual(call.getTime(), 101.0)
        self.assertTrue(call.active())
        self.schedule.run_until(2.0)
        self.assertEqual(self.seen, [((1,), {"two": 2})])
        self.assertFalse(call.active())
        self.assertRaises(AlreadyCalled, call.cancel)

    def test_cancelled_call_is_not_made(self) -> None:
        call = self.clock.callLater(1.0, self.seen.append, 1)
        call.cancel()
        self.schedule.run_until(2.0)
        self.assertEqual(self.seen, [])
        self.assertRaises(AlreadyCancelled, call.reset, 1.0)

    def test_call_can_be_moved(self) -> None:
        """It can come later or sooner."""
        later = self.clock.callLater(1.0, self.seen.append, "later")
        later.delay(3.0)
        sooner = self.clock.callLater(5.0, self.seen.append, "sooner")
        sooner.reset(2.0)
        self.assertEqual((later.getTime(), sooner.getTime()), (104.0, 102.0))
        self.schedule.run_until(9.0)
        self.assertEqual(self.seen, ["sooner", "later"])
