"""
The ordinary door: a connection that is read by L{twisted.web}, which knows all of HTTP/1.

It adds what L{twisted.web} lacks: the limits of the port, timeouts that a trickle of bytes does not prolong, answers
to requests that can't be understood, and an end of the connection that lets the client read such an answer.

This module must never let a client hold more than the limits allow, or for longer, nor leave one without an answer
that it could be given.

Some names of C{twisted.web}'s are private and used all the same, as there are no others. C{HTTPChannel._version}, the
version in a request line, is read, and C{HTTPChannel._respondToBadRequestAndDisconnect}, which answers what is not
HTTP, is overridden. A Twisted without them fails the tests of malformed requests and of requests without C{Host}.
C{_handlingRequest}, C{_dataBuffer} and C{_optimisticEagerReadSize} tell that a connection is not read while a
request is answered. A Twisted without them fails the tests of clients that leave. C{LineReceiver._buffer} is what has
come of a line. A Twisted without it fails the tests of bare line feeds.
"""
# Twisted's HTTP server has no types.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from typing import Any, Protocol, cast

from OpenSSL.SSL import Error as TlsError
from twisted.internet.interfaces import IHandshakeListener, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http, server
from zope.interface import implementer

from etcd_twisted.config.addresses import address_of
from etcd_twisted.httpd import targets
from etcd_twisted.httpd.exchange import Exchange
from etcd_twisted.httpd.lifetime import Lifetime, Verdict
from etcd_twisted.httpd.limits import LONGEST_HEAD_BYTES
from etcd_twisted.httpd.ordinary.request import Request, RequestSite
from etcd_twisted.httpd.responses import json_message, plain
from etcd_twisted.httpd.turns import Turns
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.net.sockets import keep_alive
from etcd_twisted.net.tls import common_name
from etcd_twisted.net.tls_failures import tls_reason

_LONGEST_LENGTH_DIGITS = 19
"""A longer C{Content-Length} can't be read as a number."""


class ChannelSite(RequestSite, Protocol):
    """
    What a L{Channel} asks of its site.

    @ivar reactor: tells the time.
    @ivar usage: counts requests.
    @ivar turns: limits how much is done in a turn of the reactor.
    """

    reactor: IReactorTime
    usage: Usage
    turns: Turns

    def opened(self, channel: "Channel") -> None:
        """Add a connection that has begun."""

    def closed(self, channel: "Channel") -> None:
        """Drop a connection that has ended."""


@implementer(IHandshakeListener)
class Channel(http.HTTPChannel):
    """
    A connection.

    @ivar site: the site that it belongs to.
    @ivar lifetime: its timeouts, from the moment when it is connected.
    @ivar count: the site's L{Usage.count}, from then on; likewise C{answered}.
    @ivar turns: the site's, from then on.
    """

    answered: Callable[[bytes, int, float], None]
    count: Callable[[bytes, int], None]
    lifetime: Lifetime
    turns: Turns
    site: ChannelSite
    transport: Any
    MAX_LENGTH = LONGEST_HEAD_BYTES
    totalHeadersSize = 4 * LONGEST_HEAD_BYTES  # noqa: N815  # never reached: lineReceived answers 431 before

    # These three are about the request that is being received.
    _head_bytes = 0
    _headers = 0
    _target = b""  # as far as it has come

    _refused = False  # what comes is thrown away
    _stopping = False  # the service has stopped
    _shaking_hands = False  # the TLS handshake is not complete

    # Its life

    def _now(self) -> float:
        return self.site.reactor.seconds()

    def connectionMade(self) -> None:
        """Begin to count the time until the first request."""
        now = self._now()
        self.lifetime = Lifetime(self.transport, self.site.limits, now)
        super().connectionMade()
        keep_alive(self.transport)
        self.site.opened(self)
        self.turns = self.site.turns
        self.count = self.site.usage.count
        self.answered = self.site.usage.answered
        self._shaking_hands = self.isSecure()
        if self._shaking_hands:
            self.lifetime.deadline = now + self.site.limits.read_timeout_seconds

    def handshakeCompleted(self) -> None:
        """The client has completed the TLS handshake: it may send its first request."""
        self._shaking_hands = False
        self.lifetime.expect_request(self._now())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the answer under way that the client has gone."""
        if isinstance(reason.value, TlsError):
            self._warn_of_tls(tls_reason(reason.value, self.transport))
        super().connectionLost(reason)
        self.site.closed(self)

    def _warn_of_tls(self, reason: str) -> None:
        self.site.rate_limited_log.warn("TLS", f"TLS with {address_of(self.transport.getPeer())} failed: {reason}")

    def loseConnection(self) -> None:
        """Close the connection when the client has taken what waits to be sent, or takes none of it."""
        self.lifetime.close(self._now())
        super().loseConnection()

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abortConnection()

    def stop(self) -> None:
        """Close the connection in order: a request under way may be answered, a wait for events ends."""
        self._stopping = True
        if self.lifetime.receiving or not self.requests:
            self.loseConnection()
            return
        self.persistent = False
        if (exchange := self._exchange) is not None:
            exchange.end_waiting()

    def had_turn(self) -> None:
        """End a wait for events that a request has begun in its turn, after the service has stopped."""
        if self._stopping and not self.lifetime.closing:
            self.stop()

    def sweep(self, now: float) -> None:
        """Close the connection if a timeout has passed. The site calls this about once a second."""
        verdict = self.lifetime.verdict(now, self._exchange, self._held)
        if verdict is Verdict.ABORTED:
            self.abort()
        elif verdict is Verdict.LATE:
            if self._shaking_hands:
                self._warn_of_tls(f"no handshake within {self.site.limits.read_timeout_seconds:g} seconds")
            if self._shaking_hands or self._refused:
                self.abort()
            else:
                self.loseConnection()

    @property
    def _exchange(self) -> Exchange | None:
        """The answer under way."""
        first = self.requests[0] if self.requests else None
        return first if isinstance(first, Exchange) else None

    @property
    def _held(self) -> bool:
        """Whether the connection is not read while a request is answered."""
        return self._handlingRequest and sum(map(len, self._dataBuffer)) > self._optimisticEagerReadSize

    def pauseProducing(self) -> None:
        """The client has to read before more is sent."""
        self.lifetime.stall(self._now())
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """The client has read all there was."""
        self.lifetime.stalled = False
        super().resumeProducing()

    @cached_property
    def common_name(self) -> str | None:
        """The common name of the client's certificate; C{None} where the port does not require one."""
        return common_name(self.transport)

    # Requests

    def dataReceived(self, data: bytes) -> None:
        """Take bytes, unless a request was refused: then they are thrown away."""
        if self._refused:
            return
        if not self.requests:
            self._begin_receiving()
        super().dataReceived(data)
        begun = self._buffer  # a request whose first line is not complete
        if begun and self.line_mode and not self._refused:
            if not self.requests:
                self._begin_receiving()
            if b"\n" in begun and b"\r\n" not in begun:
                self._refuse_bare_line_feed(begun)

    def _begin_receiving(self) -> None:
        self._shaking_hands = False
        self.lifetime.begin_request(self._now())

    def lineReceived(self, line: bytes) -> None:
        """Take a line of a head, and limit the length of the head."""
        if self._refused:
            return
        self._begin_receiving()
        if b"\n" in line:
            self._refuse_bare_line_feed(line)
            return
        self._head_bytes += len(line) + 2
        if not self._target:
            line = targets.with_escapes(line)
            self._target = targets.target_of(line)
        if self._head_bytes > LONGEST_HEAD_BYTES:
            self._refuse_head()
            return
        super().lineReceived(line)

    def _refuse_bare_line_feed(self, line: bytes) -> None:
        """Refuse a line feed alone: a proxy on the way may have guessed otherwise whether it ends a line."""
        self._target = self._target or targets.target_of(line.partition(b"\n")[0])
        self.refuse(400, "each line of a request should end with CR LF, not with LF alone")

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that is longer than a head may be."""
        self._target = self._target or targets.target_of(line)
        self._refuse_head()

    def rawDataReceived(self, data: bytes) -> None:
        """Take a part of a body."""
        if not self._refused:
            super().rawDataReceived(data)

    def headerReceived(self, line: bytes) -> bool:
        """Take a header, unless it is a length with too many digits to be read as a number."""
        name, _, value = line.partition(b":")
        value = value.strip()
        if len(value) > _LONGEST_LENGTH_DIGITS and name.lower() == b"content-length" and value.isdigit():
            self.refuse_body()
            return False
        self._headers += 1
        if self._headers >= self.maxHeaders:
            self._refuse_head()
            return False
        return super().headerReceived(line)

    def allHeadersReceived(self) -> None:
        """Refuse a body that is too long before any of it is read, or asked for with C{100 Continue}."""
        if self._refused:
            return
        if self.length is not None and self.length > self.site.limits.body_bytes:
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
        """Returns whether the connection may stay open: C{close} may be one of several tokens, between commas."""
        values = request.requestHeaders.getRawHeaders(b"Connection", ())
        tokens = {token.strip().lower() for value in values for token in value.split(b",")}
        if version != b"HTTP/1.1":
            return False
        if b"close" in tokens:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return True

    def allContentReceived(self) -> None:
        """Answer a request, which is complete: the client has no deadline meanwhile."""
        if self._refused:
            return
        self.lifetime.end_request()
        self._head_bytes = self._headers = 0
        self._target = b""
        super().allContentReceived()

    def requestDone(self, request: object) -> None:
        """Continue with the next request, as one is answered."""
        self.lifetime.expect_request(self._now())
        super().requestDone(request)

    # Refusing

    def refuse_body(self) -> None:
        """Refuse a request whose body is too long."""
        self.refuse(413, f"the body should have at most {self.site.limits.body_bytes} bytes")

    def _refuse_head(self) -> None:
        self.refuse(431, f"the request line and the headers should have at most {LONGEST_HEAD_BYTES} bytes")

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(400, "this is no HTTP request")

    def refuse(self, status: int, reason: str) -> None:
        """
        Answer a request that is not complete or can't be understood, and close the connection.

        What the client goes on sending is thrown away for a moment: if the connection were closed at once, the
        client's system would drop the answer (RFC 9112, section 9.6).
        """
        if self._refused:
            return
        self._refused = True
        self.count(b"", status)
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
        self.lifetime.refuse(self._now())
        for request in self.requests:
            request.connectionLost(Failure(http.PotentialDataLoss()))
        self.requests = []
        self.transport.loseWriteConnection()
