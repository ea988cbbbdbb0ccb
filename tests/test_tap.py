"""
L{etcd_twisted.tap}: what concerns the process. C{tests.processes} has the tests of whole processes.
"""

import time

from twisted.internet.base import DelayedCall, ReactorBase
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.process.monotonic import use_monotonic_time


class SomeReactor(ReactorBase):
    """A reactor that never runs: only its timers matter."""

    def installWaker(self) -> None:
        """Does nothing, since nothing wakes it."""


class TimeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.wall, self.monotonic = 1_700_000_000.0, 50.0
        self.patch(time, "time", lambda: self.wall)
        self.patch(time, "monotonic", lambda: self.monotonic)
        self.reactor = SomeReactor()
        use_monotonic_time(self.reactor)
        self.called: list[str] = []

    def call_later(self, delay: float) -> DelayedCall:
        return self.reactor.callLater(delay, self.called.append, f"after {delay}")

    def test_time_starts_at_the_wall_clock(self) -> None:
        self.assertEqual(self.reactor.seconds(), self.wall)

    def test_immediate_calls_survive_a_clock_set_back(self) -> None:
        self.call_later(0)
        self.wall -= 30
        self.reactor.runUntilCurrent()
        self.assertEqual(self.called, ["after 0"])

    def test_timers_go_by_the_time_that_passes(self) -> None:
        self.call_later(2)
        self.wall += 30
        self.monotonic += 1
        self.reactor.runUntilCurrent()
        self.assertEqual((self.called, self.reactor.timeout()), ([], 1))
        self.monotonic += 1
        self.reactor.runUntilCurrent()
        self.assertEqual(self.called, ["after 2"])

    def test_reset_timers_go_by_the_time_that_passes(self) -> None:
        call = self.call_later(10)
        self.wall -= 30
        call.reset(2)
        self.monotonic += 2
        self.reactor.runUntilCurrent()
        self.assertEqual(self.called, ["after 10"])
