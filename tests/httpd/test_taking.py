"""
Clients that take a response slowly or not at all, with real sockets whose buffers are small, on a fake clock.
"""

import select
import socket
from pathlib import Path
from typing import ClassVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.task import Clock, deferLater
from twisted.internet.tcp import Connection
from twisted.trial.unittest import SynchronousTestCase, TestCase

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.net.listening import ListenAddress
from etcd_twisted.net.port import PortService
from etcd_twisted.net.sockets import bytes_taken, tcp_socket
from etcd_twisted.net.tls import client_port_tls, tls_for_peers
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.app import ClientPages
from etcd_twisted.web.keys import KeyEndpoint
from tests.certificates import Authority
from tests.wires import GET, STREAM, RawClient, Transport

VALUE = "x" * 6_000_000
"""More than the server's system buffers for a client, which is some 4 MB."""

RECEIVE_BUFFER = 32_768
"""How much the client's system buffers, in bytes."""

SEGMENT = 1_460
"""How much arrives at once, in bytes."""

STEP = 30_000
"""How much the client takes in nine seconds, in bytes, which makes no room to send more in that time."""


class BytesTakenTests(SynchronousTestCase):
    """The system knows how many bytes the other side has taken."""

    def test_what_the_other_side_takes_is_counted(self) -> None:
        """They count before there is room for more."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(listening.getsockname())
            here, _ = listening.accept()
        self.addCleanup(client.close)
        self.addCleanup(here.close)
        here.setblocking(False)
        connection = Connection(here, RawClient(), reactor)
        sent = 0
        try:
            while True:
                sent += here.send(b"x" * 65_536)
        except BlockingIOError:
            before = bytes_taken(connection)
        self.assertLess(before, sent)
        while bytes_taken(connection) == before:
            client.recv(4_096)
        self.assertEqual(select.select([], [here], [], 0)[1], [])
        self.assertGreater(bytes_taken(connection), before)

    def test_other_connections_are_not_counted(self) -> None:
        self.assertIsNone(bytes_taken(Transport(RawClient())))
        self.assertIsNone(bytes_taken(None))


class TakingTests(TestCase):
    """
    One client of a port.

    @cvar kind: the door that it comes in by.
    """

    timeout = 120
    kind: ClassVar[type[Site]] = Site
    secure: ClassVar[bool] = False

    async def setUp(self) -> None:
        """Serves a port."""
        self.clock = Clock()
        self.replica = FakeReplica(self.clock)
        self.replica.apply(Set("/k", 0, VALUE))
        pages, handler = ClientPages(self.replica, self.clock, Usage()), KeyEndpoint(self.replica, self.clock)
        self.site = self.kind(self.clock, pages, handler, Limits(100, 1_000, 10.0, 10.0))
        place = ListenAddress(Address("127.0.0.1", 0), "--bind-addr", "--bind-addr")
        self.service = PortService(reactor, place, self.site, self.tls())
        await self.service.startService()
        self.addCleanup(self.stop)
        # As in a network: the loopback's own segments are longer than the client's buffer.
        self.service._ports[0].socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        endpoint: IStreamClientEndpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.service.getHost().port)
        if self.client_tls is not None:
            endpoint = wrapClientTLS(self.client_tls, endpoint)
        self.client = await connectProtocol(endpoint, RawClient())
        tcp_socket(self.client.transport).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    client_tls: IOpenSSLClientConnectionCreator | None = None

    def tls(self) -> object:
        if not self.secure:
            return None
        authority = Authority(Path(self.mktemp()))
        certificate, key = authority.certificate("machine0")
        speak = tls_for_peers(Config(peer_cert_file=certificate, peer_key_file=key, peer_ca_file=authority.path))
        assert speak is not None
        self.client_tls = speak("127.0.0.1")
        return client_port_tls(Config(cert_file=certificate, key_file=key, ca_file=authority.path))

    async def stop(self) -> None:
        if not self.client.closed:
            self.client.transport.abortConnection()
        await self.client.when_closed()
        stopped = self.service.stopService()
        while not stopped.called:
            await self.turn()
        self.replica.stop()

    def turn(self) -> "Deferred[None]":
        """Lets the port and the sockets do what they can."""
        self.clock.advance(0)
        return deferLater(reactor, 0, lambda: None)

    async def take(self, size: int) -> None:
        """Lets the client read so many bytes and no more. Returns when the port's system knows of it."""
        before = self.acknowledged()
        wanted = len(self.client.data) + size
        self.client.transport.resumeProducing()
        while len(self.client.data) < wanted and not self.client.closed:
            await self.turn()
        if not self.client.closed:
            self.client.transport.pauseProducing()
        while self.channels() and self.acknowledged() == before:
            await self.turn()

    def acknowledged(self) -> int | None:
        """Returns how many bytes the client's system has acknowledged; C{None} without a connection."""
        return next((bytes_taken(channel.transport) for channel in self.site.channels), None)

    async def until_full(self) -> None:
        """Waits until the port has sent all that there is room for."""
        (channel,) = self.site.channels
        while not channel.lifetime.stalled or select.select([], [tcp_socket(channel.transport)], [], 0)[1]:
            await self.turn()

    def channels(self) -> list[object]:
        """Returns the connections, whatever class serves them."""
        return list(self.site.channels)

    def pass_time(self, seconds: int) -> None:
        """Advances the clock second by second."""
        for _ in range(seconds):
            self.clock.advance(1)

    async def test_a_client_that_reads_steadily_gets_it_all(self) -> None:
        """
        The client reads some bytes every nine seconds and gets the whole response, however long that takes (spec,
        "Watch").
        """
        self.client.send(GET[:-2] + b"Connection: close\r\n\r\n")
        await self.take(1)
        await self.until_full()
        while not self.client.closed:
            self.pass_time(9)
            await self.take(STEP)
        self.assertGreater(len(self.client.data), len(VALUE))
        self.assertTrue(self.client.data.endswith(b"}"))

    async def test_a_client_that_stops_reading_is_cut_off(self) -> None:
        """The connection ends after ten seconds, although the client has taken much before."""
        self.client.send(GET)
        await self.take(STEP)
        await self.until_full()
        self.pass_time(9)
        self.assertEqual(len(self.channels()), 1)
        self.pass_time(3)
        while self.channels():
            await self.turn()
        self.client.transport.resumeProducing()
        await self.client.when_closed()
        self.assertLess(len(self.client.data), len(VALUE))

    async def test_a_stream_is_timed_like_any_body(self) -> None:
        """This holds while the stream's backlog is short."""
        self.client.send(STREAM)
        await self.take(1)
        self.replica.apply(Set("/k", 0, VALUE))
        await self.until_full()
        for _ in range(3):
            self.pass_time(9)
            await self.take(STEP)
        self.assertEqual(len(self.channels()), 1)
        self.pass_time(12)
        while self.channels():
            await self.turn()


class FastTakingTests(TakingTests):
    """The same tests use the fast door."""

    kind = FastSite


class SecureTakingTests(TakingTests):
    """The same tests use TLS."""

    secure = True
