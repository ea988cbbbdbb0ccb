"""
L{etcd_twisted.tap}: what concerns the process. C{tests.processes} has the tests of whole processes.
"""

import gc
import sys
import time
from pathlib import Path

from twisted.internet.base import DelayedCall, ReactorBase
from twisted.plugins.etcd_twisted_plugin import QuietServiceMaker, etcd
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.process.monotonic import use_monotonic_time
from etcd_twisted.tap import Options


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


class PluginTests(SynchronousTestCase):
    """C{twistd} finds the options of the service by its plugin."""

    def test_the_service_is_imported_without_the_collector(self) -> None:
        """The collector runs again afterwards."""
        self.assertTrue(gc.isenabled())
        path = Path(self.mktemp())
        path.mkdir()
        (path / "imported_by_twistd.py").write_text("import gc\nOptions = gc.isenabled()\n")
        self.patch(sys, "path", [str(path), *sys.path])
        self.addCleanup(sys.modules.pop, "imported_by_twistd", None)
        maker = QuietServiceMaker("etcd", "imported_by_twistd", "", "")
        self.assertIs(maker.options, False)
        self.assertTrue(gc.isenabled())

    def test_a_collector_that_is_off_stays_off(self) -> None:
        gc.disable()
        self.addCleanup(gc.enable)
        self.assertIs(etcd.options, Options)
        self.assertFalse(gc.isenabled())
