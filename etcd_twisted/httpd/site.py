"""
The HTTP server of a port: L{twisted.web}'s, with limits on what one client can make it hold and for how long.

A request's head is at most L{HEAD_LIMIT}, its body at most what is configured. Whoever begins a request has to end it
within the read timeout, however it trickles; whoever is sent an answer has to take some of it within the write
timeout. Waiting for events is never timed out. A connection on which nothing is under way may stay for L{IDLE}
seconds. Over TLS, the handshake has to be done within the read timeout too.

Must never let a client hold more than that, or for longer, nor leave one without an answer that it could be given.

Some names of C{twisted.web}'s are private and used all the same, as there are no others: C{HTTPChannel._version}, the
version in a request line, is read, and C{HTTPChannel._respondToBadRequestAndDisconnect}, which answers what is no
HTTP, is overridden. A Twisted without them fails the tests of what is malformed and of what has no C{Host}. Read are
C{_handlingRequest}, C{_dataBuffer} and C{_optimisticEagerReadSize}, too, which say that a connection is not read while
a request is answered. A Twisted without them fails the tests of clients that leave. C{LineReceiver._buffer} is what
has come of a line: a Twisted without it fails the tests of bare line feeds.
"""
# Twisted's HTTP server has no types.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import socket
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any, Protocol, cast

from OpenSSL.SSL import Error as TlsError
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import IResource
from zope.interface import implementer

from etcd_twisted.config.addresses import address_of
from etcd_twisted.httpd import targets
from etcd_twisted.httpd.answers import json_message, plain
from etcd_twisted.httpd.browsers import BrowserPolicy, Cors
from etcd_twisted.httpd.door import Door
from etcd_twisted.httpd.exchange import Exchange
from etcd_twisted.httpd.patience import Patience
from etcd_twisted.httpd.request import NOSNIFF, PRODUCT, Request
from etcd_twisted.httpd.turns import Turns
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.logs.rate_limit import Complaints
from etcd_twisted.net.port import IServed
from etcd_twisted.net.sockets import has_gone, tcp_socket
from etcd_twisted.net.tls import tls_reason

HEAD_LIMIT = 1 << 16
"""The longest request line and headers together, in bytes."""

IDLE = 60.0
"""How long a connection may stay without a request on it, in seconds."""

LINGER = 2.0
"""How long a refused client may go on sending, in seconds, so that it gets to read why."""

_SWEEP = 1.0
_LONGEST_LENGTH = 19


def keep_alive(transport: ITransport) -> None:
    """Have the system find out when a client has gone without a word: after a minute and a half."""
    handle = tcp_socket(transport)
    if handle is None:
        return
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4)):
        handle.setsockopt(socket.IPPROTO_TCP, option, value)


@implementer(IHandshakeListener)
class Channel(http.HTTPChannel, Patience):
    """
    A connection.

    @ivar site: whose it is.
    @ivar receiving: whether a request has begun to come that is not complete.
    @ivar count: see L{Usage}; set when there is a connection. So for C{answered}.
    @ivar turns: the site's.
    """

    answered: Callable[[bytes, int, float], None]
    count: Callable[[bytes, int], None]
    turns: Turns
    site: "Site"
    transport: Any
    MAX_LENGTH = HEAD_LIMIT
    totalHeadersSize = 4 * HEAD_LIMIT  # noqa: N815  # not reached: lineReceived counts too, and answers 431

    _head_size = 0
    _headers = 0
    _target = b""  # of the request that is coming, as far as it is known
    receiving = False
    _refused = False
    _closing = False
    _stopping = False
    _shaking_hands = False

    @property
    def clock(self) -> IReactorTime:
        """The site's."""
        return self.site.reactor

    # Its life

    def connectionMade(self) -> None:
        """Begin to count the time until the first request."""
        super().connectionMade()
        keep_alive(self.transport)
        self.site.channels.add(self)
        self.turns = self.site.turns
        self.count = self.site.usage.count
        self.answered = self.site.usage.answered
        self._shaking_hands = self.isSecure()
        self._expect_within(self.site.read_timeout if self._shaking_hands else IDLE)

    def handshakeCompleted(self) -> None:
        """TLS is there: what has come through it can be trusted."""
        self._shaking_hands = False
        self._expect_within(IDLE)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever is answering."""
        if isinstance(reason.value, TlsError):
            self._complain(tls_reason(reason.value, self.transport))
        super().connectionLost(reason)
        self.site.forget(self)

    def _complain(self, reason: str) -> None:
        self.site.complaints.say("TLS", f"TLS with {address_of(self.transport.getPeer())} failed: {reason}")

    def loseConnection(self) -> None:
        """Close, when what waits to be sent is sent or the client takes none of it."""
        self._closing = True
        self.begin_to_close(self.clock.seconds())
        super().loseConnection()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abortConnection()

    def stop(self) -> None:
        """Close: a request under way may be answered, a wait for events ends."""
        self._stopping = True
        if self.receiving or not self.requests:
            self.loseConnection()
            return
        self.persistent = False
        exchange = self.requests[0]
        if isinstance(exchange, Exchange) and exchange.waits:
            exchange.end_waiting()

    def had_turn(self) -> None:
        """A request that had to wait has had its turn: it may wait for events now, which end with the service."""
        if self._stopping and not self._closing:
            self.stop()

    # Time

    def _expect_within(self, seconds: float) -> None:
        self.expect_by(self.clock.seconds() + seconds)

    def sweep(self, now: float) -> None:
        """Close the connection if its time is over. Called every second or so."""
        exchange = self.requests[0] if self.requests else None
        has_to_take = self.stalled or self._closing
        if (has_to_take and self.takes_nothing(now, exchange, self.site.write_timeout)) or self._has_left:
            self.abort()
        elif self.is_late(now):
            if self._shaking_hands:
                self._complain(f"no handshake within {self.site.read_timeout:g} seconds")
                self.abort()
            elif self._refused:
                self.abort()
            else:
                self.loseConnection()

    @property
    def _has_left(self) -> bool:
        """Whether the client of an answer that is waited for has gone, and what it sent before hides that."""
        held = self._handlingRequest and sum(map(len, self._dataBuffer)) > self._optimisticEagerReadSize
        return held and not self.stalled and has_gone(self.transport)

    def pauseProducing(self) -> None:
        """The client has to read before more is sent."""
        self.stall(self.clock.seconds())
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """The client has read all there was."""
        self.stalled = False
        super().resumeProducing()

    # Requests

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come, unless they are those of a request that was refused."""
        if self._refused:
            return
        if not self.requests:
            self._begin_receiving()
        super().dataReceived(data)
        begun = self._buffer  # of a request whose first line is not whole yet
        if begun and self.line_mode and not self._refused:
            if not self.requests:
                self._begin_receiving()
            if b"\n" in begun and b"\r\n" not in begun:
                self._refuse_bare_line_feed(begun)

    def _begin_receiving(self) -> None:
        if not self.receiving:
            self.receiving = True
            self._shaking_hands = False
            self._expect_within(self.site.read_timeout)

    def lineReceived(self, line: bytes) -> None:
        """Count what the head of a request takes."""
        if self._refused:
            return
        self._begin_receiving()
        if b"\n" in line:
            self._refuse_bare_line_feed(line)
            return
        self._head_size += len(line) + 2
        if not self._target:
            line = targets.with_escapes(line)
            self._target = targets.target_of(line)
        if self._head_size > HEAD_LIMIT:
            self._refuse_head()
            return
        super().lineReceived(line)

    def _refuse_bare_line_feed(self, line: bytes) -> None:
        """A guess that it ends a line could differ from that of a proxy on the way."""
        self._target = self._target or targets.target_of(line.partition(b"\n")[0])
        self.refuse(400, "each line of a request should end with CR LF, not with LF alone")

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line is longer than a whole head may be."""
        self._target = self._target or targets.target_of(line)
        self._refuse_head()

    def rawDataReceived(self, data: bytes) -> None:
        """Take a part of a body."""
        if not self._refused:
            super().rawDataReceived(data)

    def headerReceived(self, line: bytes) -> bool:
        """Take a header; one with too many digits for a length can't be read as a number."""
        name, _, value = line.partition(b":")
        value = value.strip()
        if len(value) > _LONGEST_LENGTH and name.lower() == b"content-length" and value.isdigit():
            self.refuse_body()
            return False
        self._headers += 1
        if self._headers >= self.maxHeaders:
            self._refuse_head()
            return False
        return super().headerReceived(line)

    def allHeadersReceived(self) -> None:
        """Refuse a body that is too long before any of it is read, or asked for with 100 Continue."""
        if self._refused:
            return
        if self.length is not None and self.length > self.site.most_body:
            self.length = None
            self.refuse_body()
            return
        hosts = self.requests[-1].requestHeaders.getRawHeaders(b"Host", ())
        if len(hosts) > 1 or (self._version == b"HTTP/1.1" and not hosts):
            self.length = None
            self.refuse(400, "a request should have one Host header")
            return
        super().allHeadersReceived()

    def checkPersistence(self, request: server.Request, version: bytes) -> bool:
        """Whether the connection may stay open; C{close} may be one of several tokens, between commas."""
        values = request.requestHeaders.getRawHeaders(b"Connection", ())
        tokens = {token.strip().lower() for value in values for token in value.split(b",")}
        if version != b"HTTP/1.1":
            return False
        if b"close" in tokens:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return True

    def allContentReceived(self) -> None:
        """A request is complete: the time it takes to answer is not its sender's."""
        if self._refused:
            return
        self.receiving = False
        self._head_size = self._headers = 0
        self._target = b""
        self.expect_by(0.0)
        super().allContentReceived()

    def requestDone(self, request: object) -> None:
        """A request is answered; begin with the next."""
        self._expect_within(IDLE)
        super().requestDone(request)

    # Refusing

    def refuse_body(self) -> None:
        """The body of the request is too long."""
        self.refuse(413, f"the body should have at most {self.site.most_body} bytes")

    def _refuse_head(self) -> None:
        self.refuse(431, f"the request line and the headers should have at most {HEAD_LIMIT} bytes")

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(400, "this is no HTTP request")

    def refuse(self, status: int, reason: str) -> None:
        """
        Answer a request that is not complete or can't be understood, and close.

        What the client goes on sending is thrown away for a moment: to close at once would make its system drop the
        answer (RFC 9112, section 9.6).
        """
        if self._refused:
            return
        self._refused = True
        self.count(b"", status)
        self._expect_within(LINGER)
        cors, request = self.site.cors, self.requests[-1] if self.requests else None
        fields = cors.fields(request.requestHeaders) if cors is not None and isinstance(request, Request) else b""
        answer = json_message(status, reason) if self._target else plain(status, reason)
        body = cast(bytes, answer.body)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\n%s%sContent-Length: %d\r\n%sConnection: close\r\n\r\n%s"
            % (
                status,
                HTTPStatus(status).phrase.encode(),
                self.site.server_fields,
                answer.fields,
                len(body),
                fields,
                body,
            )
        )
        self.transport.unregisterProducer()
        self.stalled = False
        for request in self.requests:
            request.connectionLost(Failure(http.PotentialDataLoss()))
        self.requests = []
        self.transport.loseWriteConnection()


class Connected(Protocol):
    """What a site asks of a connection."""

    def sweep(self, now: float) -> None:
        """Close it if its time is over. Called every second or so."""

    def stop(self) -> None:
        """Close it: a request under way may be answered, a wait for events ends."""

    def abort(self) -> None:
        """Close it at once."""


@implementer(IServed)
class Site(server.Site):
    """
    The connections of a port, and what they share.

    @ivar channels: the connections, of whatever class.
    @ivar door: answers the requests below its prefix; C{None} where there is none.
    @ivar most_connections: how many connections there may be; more are closed as soon as they come.
    @ivar most_body: the longest body of a request, in bytes.
    @ivar read_timeout: how long a client may take to send a request, in seconds.
    @ivar write_timeout: how long a client may take no byte of an answer, in seconds.
    @ivar server_fields: the header lines of every answer.
    @ivar complaints: says what is wrong with connections.
    @ivar usage: how much the port is used.
    @ivar turns: how much is done in a turn of the reactor.
    @ivar cors: which pages of other origins may read the answers; C{None} for none.
    @ivar browsers: which requests of browsers are refused.
    """

    reactor: IReactorTime
    noisy = False  # or the log would tell of this object's starts and stops, beside the port's
    protocol = Channel  # type: ignore[assignment]  # declared as what can speak HTTP/2 too
    requestFactory = Request  # noqa: N815
    # The sweep watches the time: a delayed call for each connection would be moved twice for each request.
    timeOut = None  # noqa: N815

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        resource: IResource,
        door: Door | None,
        most_connections: int,
        most_body: int,
        read_timeout: float,
        write_timeout: float,
        usage: Usage | None = None,
        cors: Cors | None = None,
        browsers: BrowserPolicy | None = None,
    ) -> None:
        """
        @param usage: where to count; C{None} where nobody else reads it.
        @param browsers: C{None} where the machine has no names of its own, and no other origin is allowed.
        """
        super().__init__(resource, parsePOSTFormSubmission=False, timeout=None, reactor=clock)
        self.channels: set[Connected] = set()
        self.door = door
        self.most_connections = most_connections
        self.most_body = most_body
        self.read_timeout = read_timeout
        self.write_timeout = write_timeout
        self.server_fields = b""
        self.usage = Usage() if usage is None else usage
        self.usage.connected = self.channels
        self.turns = Turns(clock)
        self.cors = cors
        self.browsers = BrowserPolicy() if browsers is None else browsers
        self.complaints = Complaints(clock)
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = clock
        self._empty: Deferred[None] | None = None
        self._full = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A connection, unless there are too many."""
        if len(self.channels) < self.most_connections:
            self._full = False
            return self.connection(addr)
        if not self._full:
            self._full = True
            self._log.warn(
                "All {most} connections are taken, and new ones are closed: raise the limit of open files",
                most=self.most_connections,
            )
        return None

    def connection(self, addr: IAddress | None) -> Any:
        """A new connection."""
        return super().buildProtocol(addr)

    def getContentFile(self, _length: int | None) -> BytesIO:
        """Bodies are held in memory; how long they may be is limited."""
        return BytesIO()

    def startFactory(self) -> None:
        """Begin to watch the time. There is no log of requests."""
        swept = self._sweeping.start(_SWEEP)
        swept.addErrback(lambda reason: self._log.failure("The time of connections is not watched", reason))

    def stopFactory(self) -> None:
        """The port is closed; connections stay, see L{stop}."""

    def log(self, request: object) -> None:
        """There is no log of requests."""

    def acceptableProtocols(self) -> list[bytes]:
        """Only HTTP/1: the limits are kept there."""
        return [b"http/1.1"]

    def _sweep(self) -> None:
        now = self.reactor.seconds()
        self.server_fields = b"Server: %s\r\nDate: %s\r\n%s: %s\r\n" % (
            PRODUCT, http.datetimeToString(), *NOSNIFF,
        )  # fmt: skip
        for channel in list(self.channels):
            channel.sweep(now)

    def forget(self, channel: Connected) -> None:
        """A connection is gone."""
        self.channels.discard(channel)
        if not self.channels and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def stop(self, grace: float) -> "Deferred[None]":
        """
        Close every connection, when the port is closed. Waits for events end, other requests may be answered.

        @param grace: how long they may take, in seconds.
        """
        for channel in list(self.channels):
            channel.stop()
        if not self.channels:
            self._stopped()
            return succeed(None)
        self._empty = Deferred()
        too_late = self.reactor.callLater(grace, self._abort)
        return self._empty.addCallback(lambda _: self._stopped(too_late))

    def _abort(self) -> None:
        for channel in list(self.channels):
            channel.abort()

    def _stopped(self, too_late: IDelayedCall | None = None) -> None:
        if too_late is not None and too_late.active():
            too_late.cancel()
        if self._sweeping.running:
            self._sweeping.stop()
