"""
A request being read by L{twisted.web}, and where it goes when it is complete.

One below the site's L{Door} goes straight to it, and L{Exchange} sends the answer; all others are for the site's
resource. Through Klein a waiting watcher would hold some kilobytes more, and every request take twice as long.

Must never hold more of a body than the site allows.
"""
# Twisted's HTTP server has no types.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from io import BytesIO
from time import perf_counter
from typing import Any, Protocol, cast

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server

from etcd_twisted.config.addresses import address_of
from etcd_twisted.httpd import targets
from etcd_twisted.httpd.browsers import BrowserPolicy, Cors, with_fields
from etcd_twisted.httpd.door import Door, DoorRequest
from etcd_twisted.httpd.exchange import Exchange, ExchangeConnection
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.responses import Response, json_message
from etcd_twisted.httpd.turns import TARGET_SHIFT, WORK_OF_ORDINARY_REQUEST, WORK_OF_PAGE
from etcd_twisted.logs.rate_limit import RateLimitedLog

PRODUCT = b"etcd_twisted"
"""Who answers."""

NOSNIFF = (b"X-Content-Type-Options", b"nosniff")
"""The header field of every answer that keeps browsers from taking it for something else than its type says."""


class RequestSite(Protocol):
    """
    What a request asks of its site.

    @ivar door: answers the requests below its prefix; C{None} where there is none.
    @ivar limits: how long a body may be, among others.
    @ivar cors: which pages of other origins may read the answers; C{None} for none.
    @ivar browsers: which requests of browsers are refused.
    @ivar warnings: says which were.
    """

    door: Door | None
    limits: Limits
    cors: Cors | None
    browsers: BrowserPolicy
    warnings: RateLimitedLog


class RequestConnection(ExchangeConnection, Protocol):
    """
    What a request asks of the connection that it came on.

    @ivar requests: those on it, the one that is answered first.
    """

    requests: list[Any]

    def isSecure(self) -> bool:
        """Whether it is over TLS."""

    def getPeer(self) -> object:
        """Where its client is."""

    @property
    def site(self) -> RequestSite:
        """The connection's."""

    def had_turn(self) -> None:
        """A request that had to wait has had its turn."""

    def refuse(self, status: int, reason: str) -> None:
        """Answer a request that can't be understood, and close."""

    def refuse_body(self) -> None:
        """The body of the request is too long."""


class Request(server.Request):
    """A request being read; one for the door is handed on as soon as it is complete."""

    defaultContentType = b"text/plain; charset=utf-8"  # noqa: N815  # Twisted's name

    _log = Logger()
    _received = 0

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body, unless it grows too long (chunked bodies don't say how long they are)."""
        channel = cast(RequestConnection | None, self.channel)
        if channel is None:
            return  # it was refused
        self._received += len(data)
        if self._received > channel.site.limits.body_bytes:
            channel.refuse_body()
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request is complete; it is answered now, or when there is time for it."""
        turns = cast(RequestConnection, self.channel).turns
        if turns.is_busy:
            turns.wait(self, lambda: self._have_turn(command, path, version))
        else:
            self._answer(command, path, version)

    def _have_turn(self, command: bytes, path: bytes, version: bytes) -> None:
        """There is time for this request."""
        channel = cast(RequestConnection, self.channel)
        try:
            self._answer(command, path, version)
        except Exception:  # whoever gives the turn could not know what to do about it
            self._log.failure("A connection is closed, since a request could not be answered")
            channel.abort()
        channel.had_turn()

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone, or refused."""
        if self.channel is not None:
            cast(RequestConnection, self.channel).turns.give_up(self)
        super().connectionLost(reason)

    def _answer(self, command: bytes, path: bytes, version: bytes) -> None:
        channel = cast(RequestConnection, self.channel)
        channel.turns.spend(WORK_OF_ORDINARY_REQUEST + (len(path) >> TARGET_SHIFT))
        authority, target = targets.split(path)
        door, cors = channel.site.door, channel.site.cors
        refusal = channel.site.browsers.refusal(command, self.requestHeaders, authority, channel.isSecure())
        if refusal is not None:
            self._refuse(channel, command, version, refusal)
            return
        rest = None if door is None else targets.below(target, door.prefix)
        if command == b"OPTIONS" and (cors is not None or rest is None):
            # Balancers of load ask for this, on whatever path, to see that somebody is there.
            options = Response(200, b"", b"") if cors is None else cors.preflight(self.requestHeaders)
            self._begin(channel, command, version).answer(options)
            return
        if door is None or rest is None:
            if targets.is_too_deep(target):
                self._send(channel, command, version, json_message(404, "Not Found"))
                return
            channel.turns.spend(WORK_OF_PAGE)
            if cors is not None:
                self._add(cors.fields(self.requestHeaders))
            super().requestReceived(command, target, version)
            return
        path, _, query = rest.partition(b"?")
        types = self.requestHeaders.getRawHeaders(b"Content-Type")
        body = cast(BytesIO, self.content).getvalue()
        request = DoorRequest(command, path, query, types[0] if types else None, body)
        exchange = self._begin(channel, command, version)
        answer = door.handle(request)
        exchange.answer(answer if cors is None else with_fields(answer, cors.fields(self.requestHeaders)))

    def _refuse(self, channel: RequestConnection, method: bytes, version: bytes, reason: str) -> None:
        """A browser was made to ask this, or may be: nothing is done."""
        client = address_of(channel.getPeer())
        channel.site.warnings.warn("browsers", f"Refused a browser's request from {client}: {reason}")
        self._send(channel, method, version, json_message(403, reason))

    def _send(self, channel: RequestConnection, method: bytes, version: bytes, answer: Response) -> None:
        """Answer without asking the door or a page."""
        cors = channel.site.cors
        self._begin(channel, method, version).answer(
            answer if cors is None else with_fields(answer, cors.fields(self.requestHeaders))
        )

    @staticmethod
    def _begin(channel: RequestConnection, method: bytes, version: bytes) -> Exchange:
        """Have an L{Exchange} answer: this object is not needed any more, nor what it holds."""
        exchange = Exchange(channel, version, method, perf_counter())
        channel.requests[0] = exchange
        return exchange

    def _add(self, fields: bytes) -> None:
        """Have header lines in the answer, whatever it is."""
        for line in fields.split(b"\r\n")[:-1]:
            name, _, value = line.partition(b": ")
            self.responseHeaders.addRawHeader(name, value)

    def write(self, data: bytes) -> None:
        """Say who answers."""
        if not self.startedWriting and self.channel is not None:
            self.setHeader(b"Server", PRODUCT)
            self.setHeader(*NOSNIFF)
            cast(RequestConnection, self.channel).count(self.method, self.code)
        super().write(data)
