"""
L{balancer}, with a machine in memory: see C{docs/testing.md}.
"""

from pathlib import Path

from balancer import RETRY_SECONDS, Balancer, run
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from etcd_twisted.testing import FakeReplica, MemoryMachine

HISTORY = 10
"""How many events the machine keeps."""


class BalancerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.machine = self.enterContext(MemoryMachine(FakeReplica(None, HISTORY)))
        self.client = self.machine.client()
        self.path = Path(self.mktemp())
        self.loaded: list[str] = []
        self.reloading: Deferred[None] | None = None
        self.balancer = Balancer(self.machine.client(), "/services", self.path, self.reload)
        self.addCleanup(self.balancer.stopService)

    async def reload(self) -> None:
        self.loaded.append(self.path.read_text())
        if self.reloading is not None:
            await self.reloading

    def start(self) -> None:
        self.balancer.startService()
        self.machine.advance(1)

    def set(self, key: str, value: str) -> None:
        self.machine.result_of(self.client.set(key, value))

    def test_servers_come_and_go(self) -> None:
        self.set("/services/web/b", "10.0.0.2:80")
        self.start()
        self.set("/services/web/a", "10.0.0.1:80")
        self.set("/services/mail/a", "[2001:db8::1]:25")
        self.machine.advance(1)
        self.machine.result_of(self.client.remove_directory("/services/web", recursive=True))
        self.machine.advance(1)
        mail = "backend mail\n    server a [2001:db8::1]:25 check\n"
        b = "    server b 10.0.0.2:80 check\n"
        both = f"{mail}backend web\n    server a 10.0.0.1:80 check\n{b}"
        self.assertEqual(self.loaded, [f"backend web\n{b}", both, mail])

    def test_there_is_nothing_yet(self) -> None:
        """The directory need not exist, and a change of something else is no reason to reload."""
        self.start()
        self.set("/elsewhere", "10.0.0.1:80")
        self.machine.advance(1)
        self.assertEqual(self.loaded, [""])

    def test_a_key_that_is_no_server(self) -> None:
        """Nobody can write a line of the configuration by the value or the name of a key."""
        for key, value in (
            ("/services/web/a", "10.0.0.1:80\n    server evil"),
            ("/services/web/b c", "10.0.0.1:80"),
            ("/services/a", "10.0.0.1:80"),
            ("/services/web/deep/a", "10.0.0.1:80"),
            ("/services/web/d", "10.0.0.1:80"),
        ):
            self.set(key, value)
        self.start()
        self.set("/services/web/d", "nowhere")
        self.machine.advance(1)
        self.assertEqual(self.loaded, ["backend web\n    server d 10.0.0.1:80 check\n", ""])

    def test_history_is_lost(self) -> None:
        """Changes that nobody can tell any more are in the file all the same."""
        self.set("/services/web/a", "10.0.0.1:80")
        self.start()
        self.machine.cut()
        replica = self.machine.replica
        replica.delete("/services/web/a")
        for number in range(2 * HISTORY):
            replica.put("/services/web/b", f"10.0.0.{number}:80")
        self.machine.heal()
        self.machine.advance(5)
        self.assertEqual(self.loaded[1:], [f"backend web\n    server b 10.0.0.{2 * HISTORY - 1}:80 check\n"])
        listings = [target for _, target in self.machine.requests if "quorum=true" in target]
        self.assertEqual(len(listings), 2)

    def test_the_cluster_can_not_be_reached_at_first(self) -> None:
        self.set("/services/web/a", "10.0.0.1:80")
        self.machine.cut()
        self.start()
        self.assertEqual(self.loaded, [])
        self.machine.heal()
        self.machine.advance(2 * RETRY_SECONDS)
        self.assertEqual(len(self.loaded), 1)

    def test_many_changes_are_one_reload(self) -> None:
        """So are those that come while the load balancer reads the file."""
        self.start()
        self.reloading = Deferred()
        for number in range(3):
            self.set(f"/services/web/{number}", "10.0.0.1:80")
        self.machine.advance(1)
        for number in range(3, 6):
            self.set(f"/services/web/{number}", "10.0.0.1:80")
        self.machine.advance(1)
        self.reloading.callback(None)
        self.reloading = None
        self.machine.advance(1)
        self.assertEqual([text.count("server") for text in self.loaded], [0, 3, 6])

    def test_a_reload_that_fails_is_tried_again(self) -> None:
        self.reloading = Deferred()
        self.start()
        self.reloading.errback(RuntimeError("haproxy does not run"))
        self.reloading = None
        self.machine.advance(2 * RETRY_SECONDS)
        self.assertEqual(self.loaded, ["", ""])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class CommandTests(TestCase):
    async def test_a_command(self) -> None:
        await run(reactor, ["/bin/sh", "-c", "exit 0"])
        with self.assertRaisesRegex(RuntimeError, "/bin/sh ended with status 3: no"):
            await run(reactor, ["/bin/sh", "-c", "echo no >&2; exit 3"])
