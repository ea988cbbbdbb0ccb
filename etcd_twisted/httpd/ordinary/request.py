"""
A request as L{twisted.web} reads it, and where it goes when it is complete.

A request below the prefix of the site's L{Handler} goes straight to it, and an L{Exchange} sends the response. All
others go to the site's resource. Through Klein, a waiting watcher would take some kilobytes more, and every request
twice as long.

This module must never hold more of a body than the site allows.
"""
# Twisted's HTTP server has no types.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from io import BytesIO
from time import perf_counter
from typing import Any, Protocol, cast

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.iweb import IRequest

from etcd_twisted.config.addresses import address_of
from etcd_twisted.httpd import targets
from etcd_twisted.httpd.browsers import BrowserPolicy, Cors, with_fields
from etcd_twisted.httpd.exchange import Exchange, ExchangeConnection, ResponseSite
from etcd_twisted.httpd.handler import RELAYED, Handler, ParsedRequest
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.responses import Response, json_message
from etcd_twisted.httpd.turns import TARGET_SHIFT, WORK_OF_ORDINARY_REQUEST, WORK_OF_PAGE
from etcd_twisted.logs.rate_limit import RateLimitedLog

PRODUCT = b"etcd_twisted"
"""The value of the C{Server} header field."""

NOSNIFF = (b"X-Content-Type-Options", b"nosniff")
"""The header field of every response that keeps browsers from guessing another content type."""


class RequestSite(ResponseSite, Protocol):
    """
    What a request asks of its site.

    @ivar handler: answers the requests below its prefix; C{None} where there is none.
    @ivar limits: says how long a body may be, among others.
    @ivar cors: tells which pages of other origins may read responses; C{None} where none may.
    @ivar browsers: tells which requests of browsers are refused.
    @ivar rate_limited_log: logs those that are refused.
    @ivar own_fields: see L{etcd_twisted.httpd.site.Site}.
    """

    handler: Handler | None
    limits: Limits
    cors: Cors | None
    browsers: BrowserPolicy
    rate_limited_log: RateLimitedLog
    own_fields: bytes


class RequestConnection(ExchangeConnection, Protocol):
    """
    What a request asks of the connection that it came on.

    @ivar requests: the requests under way, or the exchanges that answer them. The first one is answered now.
    """

    requests: list[Any]

    @property
    def common_name(self) -> str | None:
        """See L{ParsedRequest}."""

    def isSecure(self) -> bool:
        """Returns whether it uses TLS."""

    def getPeer(self) -> object:
        """Returns the client's address."""

    @property
    def site(self) -> RequestSite:
        """The site that the connection belongs to."""

    def had_turn(self) -> None:
        """Note that a request that had to wait has had its turn."""

    def refuse(self, status: int, reason: str) -> None:
        """Answer a request that can't be understood, and close the connection."""

    def refuse_body(self) -> None:
        """Refuse a request whose body is too long."""


def credentials(request: IRequest) -> tuple[bytes | None, str | None]:
    """
    Returns the C{Authorization} header of a request, and the common name of its client's certificate, as
    L{ParsedRequest} has them. There is no such name once the client has gone, nor if a standby made the request: the
    certificate is the standby's then.
    """
    values = request.requestHeaders.getRawHeaders(b"Authorization")
    channel = cast(RequestConnection | None, getattr(request, "channel", None))
    relayed = request.requestHeaders.hasHeader(RELAYED)
    common_name = None if channel is None or relayed else channel.common_name
    return None if values is None else b", ".join(values), common_name


class Request(server.Request):
    """A request. One for the handler is handed on as soon as it is complete."""

    defaultContentType = b"text/plain; charset=utf-8"  # noqa: N815  # Twisted's name

    _log = Logger()
    _received_bytes = 0  # of the body

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body, unless the body grows too long: a chunked one does not say how long it is."""
        channel = cast(RequestConnection | None, self.channel)
        if channel is None:
            return  # the request was refused
        self._received_bytes += len(data)
        if self._received_bytes > channel.site.limits.body_bytes:
            channel.refuse_body()
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer the request, which is complete, now or in a later turn."""
        turns = cast(RequestConnection, self.channel).turns
        if turns.is_busy:
            turns.wait(self, lambda: self._have_turn(command, path, version))
        else:
            self._answer(command, path, version)

    def _have_turn(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer the request in its turn."""
        channel = cast(RequestConnection, self.channel)
        try:
            self._answer(command, path, version)
        except Exception:  # the caller gives out turns: it can't handle this
            self._log.failure("A connection is closed, since a request could not be answered")
            channel.abort()
        channel.had_turn()

    def connectionLost(self, reason: Failure) -> None:
        """Give up the turn that is waited for, as the client has gone, or was refused."""
        if self.channel is not None:
            cast(RequestConnection, self.channel).turns.give_up(self)
        super().connectionLost(reason)

    def finish(self) -> None:
        """
        End the response, and let go of everything. Klein leaves each request in a cycle, and the garbage collector
        looks at one that has waited for seconds, as for a lock, only once a day.
        """
        super().finish()
        vars(self).clear()
        self.finished = 1

    def _answer(self, command: bytes, path: bytes, version: bytes) -> None:
        channel = cast(RequestConnection, self.channel)
        channel.turns.spend(WORK_OF_ORDINARY_REQUEST + (len(path) >> TARGET_SHIFT))
        authority, target = targets.split(path)
        handler, cors = channel.site.handler, channel.site.cors
        refusal = channel.site.browsers.refusal(command, self.requestHeaders, authority, channel.isSecure())
        if refusal is not None:
            self._refuse(channel, command, version, refusal)
            return
        rest = None if handler is None else targets.below(target, handler.prefix)
        if rest is None and handler is not None and not targets.is_too_deep(target):
            rest = handler.target_of_alias(target)
        if command == b"OPTIONS" and (cors is not None or rest is None):
            # Load balancers send this, with any path, to see whether the server is up.
            options = Response(200, b"", b"") if cors is None else cors.preflight(self.requestHeaders)
            self._begin(channel, command, version).answer(options)
            return
        if handler is None or rest is None:
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
        kind = types[0] if types else None
        request = ParsedRequest(command, path, query, kind, body, *credentials(self))
        request.relayed = self.requestHeaders.hasHeader(RELAYED)
        exchange = self._begin(channel, command, version)
        answer = handler.handle(request)
        exchange.answer(answer if cors is None else with_fields(answer, cors.fields(self.requestHeaders)))

    def _refuse(self, channel: RequestConnection, method: bytes, version: bytes, reason: str) -> None:
        """Refuse a request that a web page may have made a browser send."""
        client = address_of(channel.getPeer())
        channel.site.rate_limited_log.warn("browsers", f"Refused a browser's request from {client}: {reason}")
        self._send(channel, method, version, json_message(403, reason))

    def _send(self, channel: RequestConnection, method: bytes, version: bytes, answer: Response) -> None:
        """Send a response that is neither the handler's nor a page's."""
        cors = channel.site.cors
        self._begin(channel, method, version).answer(
            answer if cors is None else with_fields(answer, cors.fields(self.requestHeaders))
        )

    @staticmethod
    def _begin(channel: RequestConnection, method: bytes, version: bytes) -> Exchange:
        """Let an L{Exchange} take the place of this object, which is not needed any more, nor what it holds."""
        exchange = Exchange(channel, version == b"HTTP/1.1", method, perf_counter())
        channel.requests[0] = exchange
        return exchange

    def _add(self, fields: bytes) -> None:
        """Add header lines to the response, whatever it is."""
        for line in fields.split(b"\r\n")[:-1]:
            name, _, value = line.partition(b": ")
            self.responseHeaders.addRawHeader(name, value)

    def getRequestHostname(self) -> bytes:
        """Returns the host that the request names, or else that of the address that it came to, if this has one."""
        if self.requestHeaders.hasHeader(b"host") or hasattr(self.getHost(), "host"):
            return super().getRequestHostname()
        return b"localhost"

    def write(self, data: bytes) -> None:
        """Add the header fields of every response, and count it, when it begins."""
        if not self.startedWriting and self.channel is not None:
            self.setHeader(b"Server", PRODUCT)
            self.setHeader(*NOSNIFF)
            channel = cast(RequestConnection, self.channel)
            self._add(channel.site.own_fields)
            channel.count(self.method, self.code)
        super().write(data)
