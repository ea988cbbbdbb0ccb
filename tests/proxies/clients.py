"""
Tests of clients that reach machines through a proxy: what they see is the same as without one.
"""

import json
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool

from etcd_twisted.client import Client, Tls
from etcd_twisted.client.results import Event
from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.testing.loopback import LoopbackCluster, LoopbackMachine
from tests.processes.client import GONE
from tests.processes.client import Client as PlainClient
from tests.processes.cluster import Credentials, until
from tests.proxies.proxy import Proxy

ENOUGH = 30
"""How many requests show that a machine which does not serve is left out, since each machine gets its share."""


class Streamed(Protocol):
    """The body of an answer as it comes."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = False
        self._waiting: Deferred[None] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self._wake()

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def lines(self, count: int) -> list[Any]:
        """Returns the JSON of the lines, once there are that many. The test's own timeout bounds the wait."""
        while self.data.count(b"\n") < count and not self.ended:
            self._waiting = Deferred()
            await self._waiting
        return [json.loads(line) for line in self.data.splitlines()]

    async def until_ended(self) -> None:
        """Returns when the answer has ended, in order or not."""
        while not self.ended:
            self._waiting = Deferred()
            await self._waiting


class Hanging(Protocol):
    """A machine that says that it is well, and closes the connection when it is asked for a change."""

    def __init__(self, changes: list[bytes]) -> None:
        self._changes = changes
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        if head.startswith(b"GET "):
            self._data = b""
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif body == b"value=1":
            self._changes.append(head)
            self.transport.abortConnection()


class ProxyTest(TestCase):
    """
    Each test holds for any proxy.

    @ivar connections: how many connections the machines have taken.
    @ivar plain: a client of the proxy that follows no redirects.
    """

    timeout = 120
    kind: type[Proxy]

    async def setUp(self) -> None:
        self.connections = 0
        connection = FastSite.connection

        def counted(site: FastSite, address: Any) -> Any:
            self.connections += 1
            return connection(site, address)

        self.patch(FastSite, "connection", counted)
        self.cluster = LoopbackCluster(cast(Any, reactor), Path(self.mktemp()))
        self.addCleanup(self.cluster.close)
        await self.cluster.start(3)
        self.proxy = self.kind(self, [each.config.addr.port for each in self.cluster.machines])

    async def start(self, idle_seconds: int | None = None) -> None:
        """Starts the proxy, and connects clients to it."""
        await self.proxy.start(idle_seconds)
        credentials = Credentials(self.proxy.authority)
        self.plain = PlainClient(self.proxy.url, tls=credentials)
        self.addCleanup(self.plain.close)
        self.pool = HTTPConnectionPool(reactor)
        self.addCleanup(self.pool.closeCachedConnections)
        self.agent = Agent(reactor, credentials, pool=self.pool)

    def connect(self, **settings: Any) -> Client:
        """Returns a client that keeps to the proxy."""
        tls = Tls(self.proxy.authority.path)
        client = Client(self.proxy.url, reactor=cast(IReactorTime, reactor), tls=tls, refresh_seconds=None, **settings)
        self.addCleanup(client.close)
        return client

    async def stream(self, path: str) -> Streamed:
        """Returns the body of an answer that has begun."""
        response = await self.agent.request(b"GET", (self.proxy.url + path).encode())
        self.assertEqual(response.code, 200)
        body = Streamed()
        response.deliverBody(body)
        return body

    async def test_connections_are_kept(self) -> None:
        """Many requests share the proxy's connections to the machines, whatever clients they come from."""
        await self.start()
        before = self.connections
        for _ in range(100):
            self.assertEqual((await self.plain.request("GET", "/v2/keys/")).status, 200)
        self.assertLess(self.connections - before, 50)

    async def test_events_are_not_held_back(self) -> None:
        """Each event of a stream comes before the next one happens."""
        await self.start()
        direct = self.cluster.client()
        body = await self.stream("/v2/keys/key?wait=true&stream=true")
        for number in range(1, 4):
            await direct.set("/key", str(number))
            events = await body.lines(number)
            self.assertEqual([each["node"]["value"] for each in events], [str(n + 1) for n in range(number)])

    async def test_quiet_watches_are_cut_and_asked_again(self) -> None:
        """A client that asks again with the index after the last one misses nothing."""
        await self.start(1)
        made = await self.cluster.client().set("/key", "0")
        body = await self.stream(f"/v2/keys/key?wait=true&waitIndex={made.node.modified_index + 1}")
        await body.until_ended()
        self.assertEqual(body.data, b"")
        await self.cluster.client().set("/key", "1")
        again = await self.stream(f"/v2/keys/key?wait=true&waitIndex={made.node.modified_index + 1}")
        await again.until_ended()
        self.assertEqual(json.loads(again.data)["node"]["value"], "1")

    async def test_watch_of_the_client_library_outlives_the_time_out(self) -> None:
        """It loses connections, and no event comes twice or not at all."""
        await self.start(1)
        watch = self.connect().watch("/keys", recursive=True)
        self.addCleanup(watch.close)
        direct = self.cluster.client()
        await watch.connected()
        seen: list[str] = []
        for number in range(3):
            await (await watch.connected()).lost
            await direct.set("/keys/a", str(number))
            await direct.set("/keys/b", str(number))
            for _ in range(2):
                event = await watch.next()
                assert isinstance(event, Event)
                seen.append(f"{event.node.key}={event.node.value}")
        self.assertEqual(seen, [f"/keys/{key}={number}" for number in range(3) for key in "ab"])

    async def test_client_library(self) -> None:
        """Keys are the same as without the proxy, with odd names and long values too."""
        await self.start()
        client, direct = self.connect(), self.cluster.client()
        long = "v" * 2_000_000
        for key in ("/a", "/ä b/c?d", "/a%2Fb/c+d&e", "/e=f/#g"):
            await client.set(key, "1")
            self.assertEqual((await direct.get(key, quorum=True)).node.key, key)
            self.assertEqual((await client.get(key, quorum=True)).node.value, "1")
        await client.set("/long", long)
        self.assertEqual((await client.get("/long", quorum=True)).node.value, long)
        odd = await self.plain.request("PUT", "/v2/keys//x/%2e%2e/y%2Fz//", {"value": "1"})
        self.assertEqual(odd.json()["node"]["key"], "/y/z")

    async def test_writes_and_quorum_reads_are_not_redirected(self) -> None:
        """Any machine answers them, whichever the proxy asks: its clients may not reach the leader's own address."""
        await self.start()
        for number in range(ENOUGH):
            written = await self.plain.request("PUT", "/v2/keys/key", {"value": str(number)})
            self.assertIn(written.status, (200, 201))
            read = await self.plain.request("GET", "/v2/keys/key?quorum=true")
            self.assertEqual((read.status, read.json()["node"]["value"]), (200, str(number)))

    async def test_tokens_of_the_discovery_service_begin_with_the_proxy(self) -> None:
        """TLS ends at the proxy, and the machine knows it."""
        await self.start()
        token = (await self.plain.request("GET", "/discovery/new?size=1")).body.decode()
        self.assertTrue(token.startswith(f"{self.proxy.url}/discovery/"), token)
        size = await self.plain.request("GET", token.removeprefix(self.proxy.url) + "/_config/size")
        self.assertEqual(size.json()["node"]["value"], "1")

    async def test_change_whose_answer_is_lost_is_not_repeated(self) -> None:
        """The client learns that nobody knows its outcome, and no other machine is asked for it."""
        lost: list[bytes] = []
        hanging = Factory.forProtocol(lambda: Hanging(lost))
        listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(hanging)
        self.addCleanup(listening.stopListening)
        ports = [each.config.addr.port for each in self.cluster.machines[:2]]
        self.proxy = self.kind(self, [*ports, listening.getHost().port])
        await self.start()
        unknown = 0
        for number in range(ENOUGH):
            method = "POST" if number % 2 else "PUT"
            try:
                answer = await self.plain.request(method, f"/v2/keys/{number}", {"value": "1"})
            except GONE:
                unknown += 1
            else:
                self.assertIn(answer.status, (201, 502))
                unknown += answer.status == 502
        self.assertGreater(unknown, 0)
        self.assertEqual(len(lost), unknown)

    async def statuses(self) -> list[int]:
        """Returns the statuses of many answers in a row."""
        return [(await self.plain.request("GET", "/health")).status for _ in range(ENOUGH)]

    async def assert_all_serve(self, what: str) -> None:
        """Waits until no request meets a machine that does not serve."""

        async def all_serve() -> bool | None:
            return set(await self.statuses()) == {200} or None

        await until(all_serve, what)

    async def test_machine_that_stops_is_left_out(self) -> None:
        """It gets requests again when it is back."""
        await self.start()
        await self.assert_all_serve("all machines serve")
        stopped = next(machine for machine in self.cluster.machines if not machine.is_leader)
        await stopped.stop()
        await self.assert_all_serve("the others serve")
        await stopped.start()
        await self.until_asked(stopped)
        await self.assert_all_serve("all machines serve again")

    async def until_asked(self, machine: LoopbackMachine) -> None:
        """Waits until the proxy sends a request to a machine."""

        async def is_asked() -> bool | None:
            names = [(await self.plain.request("GET", "/v2/stats/self")).json()["name"] for _ in range(ENOUGH)]
            return machine.config.name in names or None

        await until(is_asked, f"{machine.config.name} is asked again")
