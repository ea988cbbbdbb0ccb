"""
Connections of a standby to the leader, which are used again.
"""

import json
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport

from etcd_twisted.net.sockets import has_gone, has_input
from etcd_twisted.web.http_connection import MOST_HELD_BYTES, HttpConnection, Room
from etcd_twisted.web.member_connections import MOST_IDLE, MemberConnections
from tests.web.test_relay import MISSING, UNKNOWN, RelayTest
from tests.wires import STREAM, WATCH


class KeptConnectionsTests(RelayTest):
    """Connections to the leader are used again."""

    timeout = 60

    async def setUp(self) -> None:
        await super().setUp()
        self.made: list[HttpConnection] = []
        connect = MemberConnections.connect

        def connected(connections: MemberConnections, url: str) -> "Deferred[HttpConnection]":
            return connect(connections, url).addCallback(lambda each: self.made.append(each) or each)

        self.patch(MemberConnections, "connect", connected)

    async def test_one_request_after_the_other(self) -> None:
        """These are about keys and pages, with a body and without."""
        for number in range(5):
            made = await self.request("PUT", f"/v2/keys/{number}?value=v")
            self.assertEqual(made.status, 201)
            self.assertEqual((await self.request("HEAD", f"/v2/keys/{number}")).status, 200)
            self.assertEqual((await self.request("GET", "/v2/members")).status, 200)
            index = made.headers["X-Etcd-Index"]
            waited = await self.request("GET", f"/v2/keys/?wait=true&recursive=true&waitIndex={index}")
            self.assertIn(b'"key":"/%d"' % number, waited.body)
        self.assertEqual(len(self.made), 1)
        self.assertEqual([self.leader.get(f"/{number}").value for number in range(5)], 5 * ["v"])

    async def test_nobody_waits_behind_another_one(self) -> None:
        watchers = [await self.connect() for _ in range(2)]
        for watcher, what in zip(watchers, (WATCH, STREAM), strict=True):
            watcher.send(what)
            await watcher.when(lambda watcher=watcher: b"\r\n\r\n" in watcher.data)  # type: ignore[misc]
        self.assertEqual((await self.request("PUT", "/v2/keys/k?value=v")).status, 201)
        for watcher in watchers:
            await watcher.when(lambda watcher=watcher: b'"value":"v"' in watcher.data)  # type: ignore[misc]
        self.assertEqual(len(self.made), 3)

    async def test_connection_that_was_closed_meanwhile_is_not_used(self) -> None:
        """The change is made once, over a new one."""
        self.assertEqual((await self.request("PUT", "/v2/keys/k?value=1")).status, 201)
        gone: Deferred[None] = Deferred()
        self.patch(self.made[0], "connectionLost", lambda _: gone.callback(None))
        self.made[0].transport.stopReading()  # it does not notice
        for channel in list(self.leading._factory.channels):  # type: ignore[attr-defined]
            channel.abort()
        while not has_gone(self.made[0].transport):
            await deferLater(reactor, 0)
        self.assertEqual((await self.request("PUT", "/v2/keys/k?value=2&prevValue=1")).status, 200)
        self.assertEqual(len(self.made), 2)
        await gone

    async def test_connection_that_is_closed_just_then(self) -> None:
        """A read is made again, once; of a change nobody knows."""
        requests: list[bytes] = []

        class _Once(Protocol):
            def dataReceived(self, data: bytes) -> None:
                requests.append(data)
                if data.startswith(b"GET /v2/keys/first") or len(requests) == 3:
                    self.transport.write(MISSING)  # type: ignore
                else:
                    self.transport.loseConnection()  # type: ignore[union-attr]

        port = reactor.listenTCP(0, Factory.forProtocol(_Once), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.replica.stand_by(self.machine("machine1", port.getHost().port))
        self.assertEqual((await self.request("GET", "/v2/keys/first")).status, 404)
        self.assertEqual((await self.request("GET", "/v2/keys/second")).status, 404)
        self.assertEqual((len(requests), len(self.made)), (3, 2))
        answer = await self.request("PUT", "/v2/keys/k?value=v")
        self.assertEqual((answer.status, json.loads(answer.body)["cause"]), (500, UNKNOWN))
        self.assertEqual((len(requests), len(self.made)), (4, 2))

    async def test_connection_on_which_more_has_come_is_not_used(self) -> None:
        """What has come would be taken for the response to the next request."""
        made: list[Any] = []

        class _Twice(Protocol):
            def connectionMade(self) -> None:
                made.append(self)

            def dataReceived(self, _data: bytes) -> None:
                self.transport.write(MISSING)  # type: ignore[union-attr]

        port = reactor.listenTCP(0, Factory.forProtocol(_Twice), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.replica.stand_by(self.machine("machine1", port.getHost().port))
        self.assertEqual((await self.request("GET", "/v2/keys/k")).status, 404)
        self.made[0].transport.stopReading()  # it does not notice
        made[0].transport.write(MISSING)
        while not has_input(self.made[0].transport):
            await deferLater(reactor, 0)
        self.assertEqual((await self.request("PUT", "/v2/keys/k?value=v")).status, 404)
        self.assertEqual((len(self.made), len(made)), (2, 2))

    async def test_head_of_a_watch(self) -> None:
        """It waits for nothing, so that its connection is free again."""
        for query in ("wait=true", "wait=true&stream=true"):
            answer = await self.request("HEAD", f"/v2/keys/k?{query}")
            self.assertEqual((answer.status, answer.headers["Content-Length"]), (200, None))
        self.assertEqual(len(self.made), 1)

    async def test_read_that_breaks_off_is_not_made_again(self) -> None:
        """The leader answers, so the client may ask it."""
        self.replica._known_machines = [self.other, self.machine("machine2", self.leading.getHost().port)]
        requests = self.scripted(MISSING, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        self.assertEqual((await self.request("GET", "/v2/keys/k")).status, 404)
        self.assertEqual((await self.request("GET", "/v2/keys/k")).status, 307)
        self.assertEqual((len(requests), len(self.made)), (2, 1))

    async def test_connection_of_a_stream_that_has_ended_is_used_again(self) -> None:
        ended = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n\r\n"
        requests = self.scripted(ended, MISSING, b"")
        client = await self.connect()
        client.send(STREAM)
        await client.when_ends_with(b"3\r\n{}\n\r\n0\r\n\r\n")
        self.assertEqual((await self.request("GET", "/v2/keys/k")).status, 404)
        self.assertEqual((len(requests), len(self.made)), (2, 1))

    async def test_head_of_what_would_not_be_passed_on(self) -> None:
        """It is redirected as GET is."""
        for length, status in ((MOST_HELD_BYTES, 200), (MOST_HELD_BYTES + 1, 307)):
            self.scripted(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
            self.assertEqual((await self.request("HEAD", "/v2/keys/k")).status, status)

    def test_connections_that_are_not_kept(self) -> None:
        """There is a bound, and after the end none is."""
        connections = MemberConnections(cast(Any, Clock()), lambda _: cast(Any, None))
        made = [HttpConnection(Room()) for _ in range(MOST_IDLE + 2)]
        for each in made:
            each.makeConnection(StringTransport())
        *some, one_more, another = made
        for each in (*some, one_more):
            connections._keep("a", each)
        self.assertEqual([each.transport.disconnecting for each in made], MOST_IDLE * [False] + [True, False])
        connections.stop()
        self.assertTrue(all(each.transport.disconnecting for each in some))
        connections._keep("a", another)
        self.assertTrue(another.transport.disconnecting)

    async def test_connections_end_with_the_service(self) -> None:
        await self.request("GET", "/v2/keys/")
        self.assertTrue(self.made[0].is_open)
        await self.service.stopService()
        await deferLater(reactor, 0)
        self.assertFalse(self.made[0].is_open)

    async def test_connections_end_when_they_are_not_used(self) -> None:
        clock = Clock()
        connections = MemberConnections(cast(Any, clock), lambda _: cast(Any, None))
        made = [HttpConnection(Room()) for _ in range(3)]
        for each in made:
            each.makeConnection(StringTransport())
        connections._keep("a", made[0])
        connections._keep("b", made[1])
        clock.advance(5)
        connections._keep("a", made[2])
        clock.advance(5)
        self.assertEqual([each.transport.disconnecting for each in made], [True, True, False])
        self.assertIs(connections.kept("a"), made[2])
        self.assertIsNone(connections.kept("a"))
        clock.advance(20)
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_head_is_never_a_get(self) -> None:
        """A token is made by GET; HEAD is refused, as the leader refuses it."""
        entries = list(self.leader.get("/").children)
        answer = await self.request("HEAD", "/discovery/new?size=3")
        self.assertEqual((answer.status, answer.body), (405, b""))
        self.assertEqual(list(self.leader.get("/").children), entries)
        self.assertEqual(self.leader.proposed, [])
