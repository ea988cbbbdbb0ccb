"""
Both ends of an HTTP connection, for tests: requests, a transport without a socket, and a client that sees every byte.
"""

import http.client
import io
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlencode

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.httpd.browsers import BrowserPolicy, Cors
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.ordinary.channel import Channel
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.turns import Turns
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.net.port import PortService
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.access import Access
from etcd_twisted.web.api_options import ETCD04, ApiOptions
from etcd_twisted.web.app import ClientPages
from etcd_twisted.web.auth.passwords import Passwords
from etcd_twisted.web.frontend import HttpFrontend, name_cluster
from etcd_twisted.web.keys import KeyEndpoint

GET = b"GET /v2/keys/k HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HEAD /v2/keys/k HTTP/1.1\r\nHost: x\r\n\r\n"
VERSION = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
WATCH = b"GET /v2/keys/k?wait=true HTTP/1.1\r\nHost: x\r\n\r\n"
STREAM = b"GET /v2/keys/k?wait=true&stream=true HTTP/1.1\r\nHost: x\r\n\r\n"


def put(value: str, key: str = "k", fields: bytes = b"") -> bytes:
    """Returns a request that sets a key."""
    body = urlencode({"value": value}).encode()
    return b"PUT /v2/keys/%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (
        key.encode(), fields, len(body), body
    )  # fmt: skip


@attrs.frozen
class Answer:
    """A response as a client sees it."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class _Socket:
    """The object that L{http.client} reads a response from."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._file


def read_answers(data: bytes, *methods: str) -> list[Answer]:
    """
    Returns the responses in C{data}, one for each of C{methods}, which have to be all there is.

    @raise Exception: a response is not complete, or something is left over.
    """
    file = io.BytesIO(data)
    answers = []
    for method in methods:
        response = http.client.HTTPResponse(_Socket(file), method=method)
        response.close = lambda: None  # otherwise it would close the file that the next response is in
        response._close_conn = lambda: None
        response.begin()
        body = response.read()
        answers.append(Answer(response.status, response.headers, body))
    rest = file.read()
    if rest:
        raise ValueError(f"left over: {rest!r}")
    return answers


class Transport(StringTransport):
    """
    A connection's transport, and its client.

    @ivar room: how many bytes can be sent before the client has to read some; C{None} while it reads everything.
    @ivar how_lost: C{"closed"} or C{"aborted"} when the server ended the connection, else C{None}.
    @ivar writes_closed: whether the server sends no more, but still reads.
    """

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._unread = 0
        self.room: int | None = None
        self.how_lost: str | None = None
        self.writes_closed = False

    def write(self, data: bytes) -> None:
        super().write(data)
        self._unread += len(data)
        if self.room is not None and self._unread > self.room and self.producer is not None:
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Writes as a socket does, which goes through the data more than once."""
        for each in data:
            if not isinstance(each, bytes):
                raise TypeError("only bytes can be sent")
        super().writeSequence(data)

    def client_reads(self) -> None:
        """Makes the client take everything that was sent."""
        self._unread = 0
        if self.producer is not None:
            self.producer.resumeProducing()

    def loseConnection(self) -> None:
        self._lost("closed", ConnectionDone())

    def abortConnection(self) -> None:
        self._lost("aborted", ConnectionAborted())

    def loseWriteConnection(self) -> None:
        self.writes_closed = True

    def client_goes(self) -> None:
        """Makes the client close the connection."""
        self._lost(None, ConnectionDone())

    def _lost(self, how: str | None, reason: Exception) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self.how_lost = how
            self._protocol.connectionLost(Failure(reason))


def connect(site: Site) -> tuple[Channel, Transport]:
    """Returns a connection to a site without a socket."""
    channel = site.buildProtocol(None)
    transport = Transport(channel)
    channel.makeConnection(transport)
    return channel, transport


def ask(site: Site, path: str, method: str = "GET", fields: str = "") -> Answer:
    """Sends one request on a connection of its own. The response has to be there at once."""
    channel, transport = connect(site)
    channel.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
    (answer,) = read_answers(transport.value(), method)
    return answer


class Wire:
    """The client port's site on a fake clock, and connections to it."""

    def __init__(
        self,
        replica: FakeReplica | None = None,
        most_body: int = 1_000,
        kind: type[Site] = Site,
        cors: Cors | None = None,
        browsers: BrowserPolicy | None = None,
        work: int = 1 << 40,
        options: ApiOptions = ETCD04,
        forwards: bool = False,
        passwords: Passwords | None = None,
    ) -> None:
        """
        @param kind: the door that requests come in by.
        @param work: how much work a turn may do; most tests have no limit.
        @param cors: see L{Site}; so for C{browsers}.
        """
        self.clock = Clock() if replica is None else replica.clock
        self.replica = FakeReplica(self.clock) if replica is None else replica
        usage = Usage()
        access = Access(self.replica, self.clock, passwords)
        self.site = kind(
            self.clock,
            ClientPages(self.replica, self.clock, usage, options=options, forwards=forwards, access=access),
            KeyEndpoint(self.replica, self.clock, options=options, forwards=forwards, access=access),
            Limits(1_000, most_body, 10.0, 10.0),
            usage=usage,
            cors=cors,
            browsers=browsers,
        )
        self.site.turns = Turns(self.clock, work)
        name_cluster(self.site, self.replica)
        self.site.startFactory()

    def connect(self) -> tuple[Channel, Transport]:
        return connect(self.site)

    def pass_time(self, seconds: int) -> None:
        """Advances the clock second by second."""
        for _ in range(seconds):
            self.clock.advance(1)

    def stop(self) -> None:
        self.replica.stop()


class RawClient(Protocol):
    """
    A client that sends bytes and collects bytes.

    @ivar closed: whether the connection has ended.
    @ivar reason: why it has ended.
    """

    def __init__(self) -> None:
        self.data = b""
        self.closed = False
        self.reason = connectionDone
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        self.reason = reason
        self._look()

    def _look(self) -> None:
        for entry in list(self._waiting):
            condition, met = entry
            if condition():
                self._waiting.remove(entry)
                met.callback(None)

    def when(self, condition: Callable[[], bool]) -> "Deferred[None]":
        """Returns a Deferred that fires when C{condition} is met. The test's own timeout bounds the wait."""
        met: Deferred[None] = Deferred()
        self._waiting.append((condition, met))
        self._look()
        return met

    def when_ends_with(self, ending: bytes) -> "Deferred[None]":
        return self.when(lambda: self.data.endswith(ending))

    def when_closed(self) -> "Deferred[None]":
        return self.when(lambda: self.closed)

    def send(self, data: bytes) -> None:
        self.transport.write(data)


class ServedTest(TestCase):
    """
    A test with the client port on a real socket, over a fake replica.

    @ivar tls: how clients speak TLS; C{None} if they don't.
    """

    timeout = 240
    settings: dict[str, Any] = {}  # noqa: RUF012
    tls: IOpenSSLClientConnectionCreator | None = None

    async def setUp(self) -> None:
        self.replica = FakeReplica(reactor)
        self.addCleanup(self.replica.stop)
        config = Config(bind_addr=Address("127.0.0.1", 0), **self.settings)
        self.service: PortService = HttpFrontend().service(reactor, config, {}, self.replica)
        await self.service.startService()
        self.addCleanup(self._stop)
        self.port = self.service.getHost().port

    async def _stop(self) -> None:
        if self.service.running:
            await self.service.stopService()

    async def connect(self) -> RawClient:
        endpoint: IStreamClientEndpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        if self.tls is not None:
            endpoint = wrapClientTLS(self.tls, endpoint)
        client = await connectProtocol(endpoint, RawClient())
        self.addCleanup(self._hang_up, client)
        return client

    async def _hang_up(self, client: RawClient) -> None:
        if not client.closed:
            client.transport.abortConnection()
        await client.when_closed()

    async def ask(self, request: bytes, method: str = "GET") -> Answer:
        """Sends one request on a connection of its own, and reads the response to its end."""
        client = await self.connect()
        client.send(request)
        await client.when_closed()
        (answer,) = read_answers(client.data, method)
        return answer
