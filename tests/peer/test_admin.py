"""
The peer port: what administrators are told about machines.
"""

import json
import socket

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from etcd_twisted.addresses import Address
from etcd_twisted.config import Config
from etcd_twisted.errors import StartError
from etcd_twisted.http.site import Site
from etcd_twisted.interfaces import IFrontend
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.peer.admin import AdminApp
from etcd_twisted.peer.frontend import PeerFrontend
from tests.fakes import OTHER, FakeReplica
from tests.wires import Answer, ask

PAGES = ("/v2/admin/machines", "/v2/admin/machines/machine0")
FIRST = {
    "clientURL": "http://127.0.0.1:4001",
    "name": "machine0",
    "peerURL": "http://127.0.0.1:7001",
    "state": "leader",
}
SECOND = {
    "clientURL": "http://127.0.0.1:4002",
    "name": "machine1",
    "peerURL": "http://127.0.0.1:7002",
    "state": "follower",
}


class AdminTests(SynchronousTestCase):
    """Each page, through the server it is served by."""

    def setUp(self) -> None:
        clock = Clock()
        self.replica = FakeReplica(clock)
        self.addCleanup(self.replica.stop)
        resource = AdminApp(self.replica).app.resource()
        self.site = Site(clock, resource, None, 10, most_body=1_000, read_timeout=10.0, write_timeout=10.0)

    def ask(self, path: str, method: str = "GET") -> Answer:
        return ask(self.site, path, method)

    def json(self, path: str) -> object:
        answer = self.ask(path)
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "application/json"))
        return json.loads(answer.body)

    def assert_plain(self, answer: Answer, status: int, text: str) -> None:
        self.assertEqual((answer.status, answer.body.decode()), (status, f"{text}\n"))
        self.assertEqual(answer.headers["Content-Type"], "text/plain; charset=utf-8")

    def test_one_machine(self) -> None:
        """A list all the same."""
        self.assertEqual(self.json("/v2/admin/machines"), [FIRST])

    def test_all_machines(self) -> None:
        """Whoever is registered, and who of them leads at this moment."""
        self.replica.keyspace.apply(Set(OTHER.key, 0, OTHER.value))
        self.assertEqual(self.json("/v2/admin/machines"), [FIRST, SECOND])
        self.replica.known_leader = OTHER
        states = [{**FIRST, "state": "follower"}, {**SECOND, "state": "leader"}]
        self.assertEqual(self.json("/v2/admin/machines"), states)
        self.replica.known_leader = None
        self.assertEqual(self.json("/v2/admin/machines/machine1"), SECOND)

    def test_by_name(self) -> None:
        """One machine, or a line that says that there is none, whatever is in the name."""
        self.assertEqual(self.json("/v2/admin/machines/machine0"), FIRST)
        self.assert_plain(self.ask("/v2/admin/machines/machine7"), 404, "no machine 'machine7' is registered")
        self.assert_plain(self.ask("/v2/admin/machines/a%0Ab"), 404, r"no machine 'a\nb' is registered")

    def test_head(self) -> None:
        """The headers of C{GET}."""
        for page in PAGES:
            head = self.ask(page, "HEAD")
            self.assertEqual((head.body, head.headers.items()), (b"", self.ask(page).headers.items()))

    def test_methods(self) -> None:
        """405 with what is allowed."""
        for page in PAGES:
            for method in ("PUT", "POST", "DELETE"):
                answer = self.ask(page, method)
                self.assert_plain(answer, 405, "405 method not allowed")
                self.assertEqual(set(answer.headers["Allow"].split(", ")), {"GET", "HEAD"})

    def test_unknown_paths(self) -> None:
        """404 with a short text; the client port's paths are not served here."""
        for path in ("/", "/nope", "/v2/admin", "/v2/admin//machines", "/v2/keys/", "/version"):
            self.assert_plain(self.ask(path), 404, "404 not found")

    def test_unexpected(self) -> None:
        """Logged, and answered without a word of it."""

        def broken() -> None:
            raise ZeroDivisionError("secret")

        self.patch(self.replica, "machines", broken)
        for page in PAGES:
            self.assert_plain(self.ask(page), 500, "an error in the server; its log says more")
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class FrontendTests(TestCase):
    """The frontend itself."""

    def test_interface(self) -> None:
        """It is one."""
        verifyObject(IFrontend, PeerFrontend())

    async def test_listens_where_it_is_told(self) -> None:
        """Not where clients are served; and says so where it can't."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            config = Config(peer_bind_addr=Address("127.0.0.1", taken.getsockname()[1]))
            service = PeerFrontend().service(reactor, config, {}, FakeReplica(Clock()))
            self.addCleanup(service.stopService)
            with self.assertRaises(StartError) as caught:
                await service.startService()
        self.assertTrue(str(caught.exception).startswith(f"--peer-bind-addr {config.peer_bind_addr} "))
