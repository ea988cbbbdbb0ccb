"""
L{uptime}, with a machine in memory: see C{docs/testing.md}.
"""

import json

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from uptime import CHECKS, LOCKS, RESULTS, TTL_SECONDS, Check, Checker

from etcd_twisted.client import ClientClosed
from etcd_twisted.testing import MemoryMachine

PAGE = "http://192.0.2.1/"


class CheckTests(SynchronousTestCase):
    def test_what_a_key_says(self) -> None:
        self.assertEqual(Check.read("2.5 http://192.0.2.1/a"), Check(2.5, "http://192.0.2.1/a"))
        for text in ("", "5", "0 http://192.0.2.1/", "-1 http://192.0.2.1/", "5 file:///etc/passwd", "5 http://a b"):
            self.assertRaises(ValueError, Check.read, text)


class CheckerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.machine = self.enterContext(MemoryMachine())
        self.client = self.machine.client()
        self.checked: list[tuple[str, str]] = []
        self.slow: Deferred[str] | None = None

    def run_checker(self, name: str) -> "Deferred[None]":
        """Returns what a process does, until it is cancelled."""

        async def status_of(url: str) -> str:
            self.checked.append((name, url))
            return "200" if self.slow is None else await self.slow

        running = Deferred.fromCoroutine(Checker(self.machine.client(), name, status_of).run())
        self.addCleanup(running.addErrback, lambda failure: failure.trap(CancelledError, ClientClosed) and None)
        self.machine.advance(0.1)
        return running

    def set(self, name: str, value: str) -> None:
        self.machine.result_of(self.client.set(f"{CHECKS}/{name}", value))

    def result(self, name: str) -> dict[str, object]:
        """Returns what a result says, but for its token."""
        reading = self.machine.result_of(self.client.get(f"{RESULTS}/{name}"))
        return {key: value for key, value in json.loads(reading.value or "").items() if key != "token"}

    def test_one_process_checks(self) -> None:
        """The leader does, as often as the key says."""
        self.set("page", f"10 {PAGE}")
        self.run_checker("a")
        self.run_checker("b")
        self.machine.advance(35)
        self.assertEqual(self.checked, [("a", PAGE)] * 4)
        self.assertEqual(self.result("page"), {"status": "200", "by": "a"})

    def test_checks_come_and_go(self) -> None:
        """A change counts at once, and a value that can't be used is no check."""
        self.run_checker("a")
        self.set("page", f"10 {PAGE}")
        self.machine.advance(1)
        self.set("page", f"1 {PAGE}other")
        self.machine.advance(2.5)
        self.assertEqual(self.checked, [("a", PAGE), *[("a", f"{PAGE}other")] * 3])
        self.set("page", "never")
        self.machine.advance(5)
        self.set("page", f"10 {PAGE}")
        self.machine.advance(1)
        self.machine.result_of(self.client.remove_directory(CHECKS, recursive=True))
        self.machine.advance(20)
        self.assertEqual(len(self.checked), 5)

    def test_the_leader_stops(self) -> None:
        """It resigns, and the next one goes on at once."""
        self.set("page", f"1 {PAGE}")
        running = self.run_checker("a")
        self.run_checker("b")
        running.cancel()
        self.machine.advance(0.1)
        self.failureResultOf(running, CancelledError)
        self.machine.advance(1.5)
        self.assertEqual([name for name, _ in self.checked], ["a", "b", "b"])

    def test_a_check_is_under_way_when_the_leader_stops(self) -> None:
        """It ends first, and its result counts."""
        self.slow = Deferred()
        self.set("page", f"1 {PAGE}")
        running = self.run_checker("a")
        running.cancel()
        self.machine.advance(5)
        self.assertNoResult(running)
        self.slow.callback("500")
        self.machine.advance(0.1)
        self.failureResultOf(running, CancelledError)
        self.assertEqual(self.result("page"), {"status": "500", "by": "a"})

    def test_a_check_is_not_made_twice_at_once(self) -> None:
        self.slow = Deferred()
        self.set("page", f"1 {PAGE}")
        self.run_checker("a")
        self.machine.advance(5)
        self.assertEqual(len(self.checked), 1)
        slow, self.slow = self.slow, None
        slow.callback("200")
        self.machine.advance(1)
        self.assertEqual(len(self.checked), 2)

    def test_a_late_result_replaces_no_newer_one(self) -> None:
        """A process that has lost its lock while it checked has a lower fencing token than the next one."""
        slow = self.slow = Deferred()
        self.set("page", f"60 {PAGE}")
        self.run_checker("a")
        self.slow = None
        self.machine.result_of(self.client.remove_directory(LOCKS, recursive=True))
        self.set("page", f"60 {PAGE}")
        self.machine.advance(1)
        self.assertEqual(self.result("page")["status"], "200")
        slow.callback("500")
        self.machine.advance(1)
        self.assertEqual(self.result("page")["status"], "200")

    def test_the_cluster_can_not_be_reached(self) -> None:
        """The checks begin again once it can, though the leadership was lost meanwhile."""
        self.set("page", f"1 {PAGE}")
        self.run_checker("a")
        self.machine.cut()
        self.machine.advance(2 * TTL_SECONDS)
        self.checked.clear()
        self.machine.heal()
        self.machine.advance(2 * TTL_SECONDS)
        self.assertGreater(len(self.checked), TTL_SECONDS / 2)
