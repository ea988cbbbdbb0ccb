"""
Requests that a worker relays, over real Unix sockets between two halves in one process.
"""

import errno
import os
import socket
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.ordinary.request import credentials
from etcd_twisted.httpd.site import Site
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.workers.relay import Origin, RelayedPages, RelayedSite, RelayReceiver, RelaySender, relay_ends

_LIMITS = Limits(100, 1_000_000, 10.0, 10.0)


class Pages(Resource):
    """
    What the consensus process serves.

    @ivar gone: fires when a client of C{/wait} has gone.
    @ivar waiting: fires when one has come.
    """

    isLeaf = True  # noqa: N815  # Twisted's name

    def __init__(self) -> None:
        super().__init__()
        self.waiting: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def render(self, request: Any) -> Any:
        """Serves one of several pages."""
        if request.path == b"/wait":
            request.notifyFinish().addErrback(lambda _: self.gone.callback(None))
            self.waiting.callback(None)
            return NOT_DONE_YET
        if request.path == b"/broken":
            request.channel.abort()
            return NOT_DONE_YET
        if request.path == b"/host":
            return request.getRequestHostname()
        request.setResponseCode(202)
        request.setHeader(b"X-Own", b"1")
        peer = request.getClientAddress()
        body = repr(
            (request.method, request.uri, request.content.read(), peer.host, credentials(request), request.isSecure())
        ).encode()
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return body


class Received(Protocol):
    """Collects what comes until the end."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, _reason: object = None) -> None:
        self.ended.callback(self.data)


class RelayTests(TestCase):
    """A worker's port on the loopback address, and what serves its relayed requests."""

    timeout = 60
    waits = False

    def setUp(self) -> None:
        self.pages = Pages()
        ours, theirs = relay_ends()
        self.machine = FakeReplica()
        self.relayed = RelayedSite(reactor, self.machine, self.pages, _LIMITS)
        self.receiver = receiver = RelayReceiver(reactor, ours, self.relayed)
        self.lost: Deferred[None] = Deferred()
        self.sender = RelaySender(reactor, theirs, lambda: self.lost.callback(None))
        self.awaited: list[tuple[int, Deferred[None]]] = []
        pages = RelayedPages(FakeReplica(), self.sender.connect, self.when_applied)
        site = Site(reactor, pages, None, _LIMITS)
        self.port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.addCleanup(site.stop, 1)
        self.addCleanup(self.relayed.stop, 1)
        self.addCleanup(receiver.close)
        self.addCleanup(self.sender.close)

    def when_applied(self, index: int) -> "Deferred[None]":
        """Waits for what the machine has applied already if the test says so, until it fires what is in L{awaited}."""
        applied: Deferred[None] = Deferred()
        self.awaited.append((index, applied))
        if not self.waits:
            applied.callback(None)
        return applied

    async def connected(self, request: bytes) -> Received:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        client: Received = await connectProtocol(endpoint, Received())
        client.transport.write(request)
        return client

    async def ask(self, first: bytes, fields: bytes = b"", body: bytes = b"") -> tuple[bytes, bytes]:
        length = b"Content-Length: %d\r\n" % len(body) if body else b""
        request = b"%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%s%s\r\n%s" % (first, fields, length, body)
        head, _, rest = (await (await self.connected(request)).ended).partition(b"\r\n\r\n")
        return head, rest

    async def test_request_and_response_are_passed_on(self) -> None:
        """The target stays as it is, byte for byte, and the client's address is known."""
        head, body = await self.ask(b"POST //a/%2e/./b?;x=1&y#z", b"Authorization: Basic eA==\r\n", b"b=1")
        self.assertTrue(head.startswith(b"HTTP/1.1 202 "), head)
        self.assertIn(b"\r\nX-Own: 1", head)
        expected = (b"POST", b"//a/%2e/./b?;x=1&y#z", b"b=1", "127.0.0.1", (b"Basic eA==", None), False)
        self.assertEqual(body, repr(expected).encode())
        self.assertEqual(head.count(b"Server:"), 1)
        self.assertEqual(head.count(b"Date:"), 1)

    async def test_head_has_a_length_and_no_body(self) -> None:
        head, body = await self.ask(b"HEAD /x")
        self.assertRegex(head, rb"\r\nContent-Length: [1-9]")
        self.assertEqual(body, b"")

    async def test_broken_answer_is_an_error(self) -> None:
        """Nobody knows whether the request was carried out, and the client is told so."""
        head, body = await self.ask(b"PUT /broken", body=b"x=1")
        self.assertTrue(head.startswith(b"HTTP/1.1 500 "), head)
        self.assertIn(b"whether it was done is unknown", body)

    async def test_end_of_the_client_is_passed_on(self) -> None:
        """A client that no longer waits is not waited for behind the relay either."""
        client = await self.connected(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        await self.pages.waiting
        client.transport.loseConnection()
        await self.pages.gone
        await client.ended

    async def test_many_at_once(self) -> None:
        """More requests at a time than the system keeps in its queue are all answered, in whatever order."""
        asked = [ensureDeferred(self.ask(b"GET /%d" % number)) for number in range(60)]
        for number, (_, body) in enumerate(await gatherResults(asked)):
            self.assertIn(b"b'/%d'" % number, body)

    async def test_change_is_answered_when_it_is_in_the_copy(self) -> None:
        """So the client finds on this connection what it has changed, and nobody has a right that is gone."""
        self.waits = True
        change = ensureDeferred(self.ask(b"POST /x", body=b"x=1"))
        await self.ask(b"GET /x")  # does not wait
        while not self.awaited:
            await self.ask(b"GET /x")
        self.assertNoResult(change)
        ((index, applied),) = self.awaited
        self.assertEqual(index, self.machine.raft_index)
        applied.callback(None)
        head, _ = await change
        self.assertTrue(head.startswith(b"HTTP/1.1 202 "), head)
        self.assertNotIn(b"applied", head.lower())

    async def test_client_that_leaves_meanwhile_is_forgotten(self) -> None:
        """Nobody writes to its connection when the copy has the change."""
        self.waits = True
        client = await self.connected(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        while not self.awaited:
            await self.ask(b"GET /x")
        client.transport.abortConnection()
        await client.ended
        await self.ask(b"GET /x")  # the worker has noticed the end before it has answered this
        ((_, applied),) = self.awaited
        if not applied.called:
            applied.callback(None)

    async def test_request_without_a_host(self) -> None:
        """HTTP/1.0 needs none, and the health checks of load balancers have none."""
        received = await (await self.connected(b"GET /host HTTP/1.0\r\n\r\n")).ended
        self.assertRegex(received, rb"(?s)^HTTP/1.0 200 .*\r\n\r\nlocalhost$")

    async def test_requests_go_on_after_one_that_cannot_be_taken(self) -> None:
        """A moment without file descriptors, or a client with a name of any length, does not end the relay."""
        taken = socket.recv_fds

        def without_descriptors(*arguments: Any) -> Any:
            message, descriptors, flags, address = taken(*arguments)
            for each in descriptors:
                os.close(each)
            return message, [], flags, address

        with mock.patch("socket.recv_fds", without_descriptors):
            head, _ = await self.ask(b"PUT /x", body=b"x=1")
        self.assertTrue(head.startswith(b"HTTP/1.1 500 "), head)
        self.sender.connect(Origin("h", 1, True, "n" * 10_000), Received())
        head, _ = await self.ask(b"PUT /x", body=b"x=1")
        self.assertTrue(head.startswith(b"HTTP/1.1 202 "), head)

    async def test_request_that_cannot_be_sent_is_answered(self) -> None:
        """A worker without file descriptors says that nothing was done."""
        with mock.patch("socket.socketpair", side_effect=OSError(errno.EMFILE, "Too many open files")):
            head, body = await self.ask(b"PUT /x", body=b"x=1")
        self.assertTrue(head.startswith(b"HTTP/1.1 500 "), head)
        self.assertIn(b"was not passed on within this machine: Too many open files", body)

    async def test_end_of_the_relay_is_noticed(self) -> None:
        """The worker is of no use then, and is started again."""
        self.receiver.close()
        received = Received()
        self.sender.connect(Origin("h", 1, False, None), received)
        await self.lost
        self.assertEqual(await received.ended, b"")

    async def test_client_cannot_say_who_it_is(self) -> None:
        """No header of a client changes what the consensus process knows of it."""
        fields = b"X-Forwarded-For: 192.0.2.1\r\nX-Etcd-Common-Name: root\r\n"
        _, body = await self.ask(b"GET /x", fields)
        self.assertIn(b"'127.0.0.1', (None, None)", body)
