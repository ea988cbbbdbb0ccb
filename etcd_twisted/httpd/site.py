"""
The HTTP server of a port: L{twisted.web}'s, with limits on what one client can make it hold and for how long.

A L{Site} has the connections of a port, and what they share. It watches their time, and closes them when the service
stops.

This module must never let a client hold more than the L{Limits} say, or for longer.
"""
# Twisted's HTTP server has no types.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from io import BytesIO
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web import http, server
from twisted.web.resource import IResource
from zope.interface import implementer

from etcd_twisted.httpd.browsers import BrowserPolicy, Cors
from etcd_twisted.httpd.handler import Handler
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.ordinary.channel import Channel
from etcd_twisted.httpd.ordinary.request import NOSNIFF, PRODUCT, Request
from etcd_twisted.httpd.turns import Turns
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.logs.rate_limit import RateLimitedLog
from etcd_twisted.net.port import IServedFactory

_SWEEP_SECONDS = 1.0
"""How often timeouts are looked at."""


class SiteConnection(Protocol):
    """What a site asks of a connection."""

    def sweep(self, now: float) -> None:
        """Close the connection if a timeout has passed. The site calls this about once a second."""

    def stop(self) -> None:
        """Close the connection in order: a request under way may be answered, a wait for events ends."""

    def abort(self) -> None:
        """Close the connection at once."""


@implementer(IServedFactory)
class Site(server.Site):
    """
    The connections of a port, and what they share.

    @ivar channels: the open connections, by whichever door, the oldest first.
    @ivar handler: answers the requests below its prefix; C{None} where there is none.
    @ivar limits: what one client may make the port hold, and for how long.
    @ivar server_fields: the header lines of every answer.
    @ivar own_fields: those of them that are of what the port serves; see L{set_own_fields}.
    @ivar rate_limited_log: logs what is wrong with connections.
    @ivar usage: counts the port's requests.
    @ivar turns: limits how much is done in a turn of the reactor.
    @ivar cors: tells which pages of other origins may read the answers; C{None} where none may.
    @ivar browsers: tells which requests of browsers are refused.
    """

    reactor: IReactorTime
    noisy = False  # the log has the starts and stops of ports, and needs no others
    protocol = Channel  # type: ignore[assignment]  # declared as what can speak HTTP/2 too
    requestFactory = Request  # noqa: N815
    # The sweep watches timeouts: a delayed call for each connection would be moved twice for each request.
    timeOut = None  # noqa: N815

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        resource: IResource,
        handler: Handler | None,
        limits: Limits,
        usage: Usage | None = None,
        cors: Cors | None = None,
        browsers: BrowserPolicy | None = None,
    ) -> None:
        """
        @param usage: counts requests; C{None} if nobody else reads it.
        @param browsers: C{None} if the machine has no names of its own, and no other origin is allowed.
        """
        super().__init__(resource, parsePOSTFormSubmission=False, timeout=None, reactor=clock)
        self.channels: dict[SiteConnection, None] = {}
        self.handler = handler
        self.limits = limits
        self.server_fields = b""
        self.own_fields = b""
        self.usage = Usage() if usage is None else usage
        self.usage.connected = self.channels
        self.turns = Turns(clock)
        self.cors = cors
        self.browsers = BrowserPolicy() if browsers is None else browsers
        self.rate_limited_log = RateLimitedLog(clock)
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = clock
        self._empty: Deferred[None] | None = None
        self._full = False

    @property
    def write_timeout_seconds(self) -> float:
        """See L{IServedFactory}."""
        return self.limits.write_timeout_seconds

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Returns a new connection, or None if there are too many."""
        if len(self.channels) < self.limits.connections:
            self._full = False
            return self.connection(addr)
        if not self._full:
            self._full = True
            self._log.warn(
                "All {most} connections are taken, and new ones are closed: raise the limit of open files",
                most=self.limits.connections,
            )
        return None

    def connection(self, addr: IAddress | None) -> Any:
        """Returns a new connection."""
        return super().buildProtocol(addr)

    def getContentFile(self, _length: int | None) -> BytesIO:
        """Returns a file in memory for a body, whose length is limited."""
        return BytesIO()

    def startFactory(self) -> None:
        """Begin to sweep. L{twisted.web} would open a log of requests here, which there is none of."""
        swept = self._sweeping.start(_SWEEP_SECONDS)
        swept.addErrback(lambda reason: self._log.failure("The time of connections is not watched", reason))

    def stopFactory(self) -> None:
        """Do nothing, as the port is closed: connections stay until L{stop}."""

    def log(self, request: object) -> None:
        """Do nothing: there is no log of requests."""

    def acceptableProtocols(self) -> list[bytes]:
        """Returns HTTP/1 alone: HTTP/2 would not have the limits."""
        return [b"http/1.1"]

    def _sweep(self) -> None:
        now = self.reactor.seconds()
        self._update_fields()
        for channel in list(self.channels):
            channel.sweep(now)

    def set_own_fields(self, fields: bytes) -> None:
        """Send further header lines with every answer from here on, in place of those from before."""
        self.own_fields = fields
        self._update_fields()

    def _update_fields(self) -> None:
        self.server_fields = b"Server: %s\r\nDate: %s\r\n%s: %s\r\n%s" % (
            PRODUCT, http.datetimeToString(), *NOSNIFF, self.own_fields,
        )  # fmt: skip

    def opened(self, channel: SiteConnection) -> None:
        """Add a connection that has begun."""
        self.channels[channel] = None

    def handed_over(self, channel: SiteConnection) -> None:
        """Drop a channel whose connection is taken over by another one, which calls L{opened} itself."""
        self.channels.pop(channel, None)

    def closed(self, channel: SiteConnection) -> None:
        """Drop a connection that has ended."""
        self.channels.pop(channel, None)
        if not self.channels and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def stop(self, grace_seconds: float) -> "Deferred[None]":
        """
        Close every connection, after the port: waits for events end, other requests may still be answered. Returns a
        Deferred that fires when no connection is left.

        @param grace_seconds: how long answers may take, in seconds.
        """
        for channel in list(self.channels):
            channel.stop()
        if not self.channels:
            self._stopped()
            return succeed(None)
        self._empty = Deferred()
        too_late = self.reactor.callLater(grace_seconds, self._abort)
        return self._empty.addCallback(lambda _: self._stopped(too_late))

    def _abort(self) -> None:
        for channel in list(self.channels):
            channel.abort()

    def _stopped(self, too_late: IDelayedCall | None = None) -> None:
        if too_late is not None and too_late.active():
            too_late.cancel()
        if self._sweeping.running:
            self._sweeping.stop()
