"""
The connections over which a standby makes requests of members; see L{etcd_twisted.web.relay}.

A connection carries one request at a time, so that none waits behind another one, and is kept for a while when it has
been answered. A member keeps it for longer (L{etcd_twisted.httpd.limits.Limits}), so it does not usually close one
just as it is used. This module must never hand out a connection that is known to be closed.
"""

from typing import cast
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from etcd_twisted.interfaces import IReactor
from etcd_twisted.net.sockets import tune
from etcd_twisted.net.tls import ClientTls
from etcd_twisted.web.http_connection import HttpConnection, Room

UNACKNOWLEDGED_TIMEOUT_SECONDS = 5.0
"""How long a member may acknowledge nothing of what was sent before the connection is given up."""

CONNECT_TIMEOUT_SECONDS = 5.0
"""How long it may take to connect to a member."""

IDLE_SECONDS = 10.0
"""How long a connection is kept at least for the next request."""

MOST_IDLE = 256
"""How many connections to one member are kept."""


class MemberConnections:
    """The connections."""

    def __init__(self, reactor: IReactor, tls: ClientTls) -> None:
        """
        @param tls: how to use TLS with a machine.
        """
        self._reactor = reactor
        self._tls = tls
        self._room = Room()
        self._idle: dict[str, list[HttpConnection]] = {}
        """By the URL of the member; the last one was used last."""
        self._sweep: IDelayedCall | None = None
        self._stopped = False

    def kept(self, url: str) -> HttpConnection | None:
        """Returns a connection to a member that was kept, if there is one that is open."""
        idle = self._idle.get(url)
        while idle:
            connection = idle.pop()
            if connection.is_open:
                return connection
            connection.abort()
        return None

    def connect(self, url: str) -> "Deferred[HttpConnection]":
        """
        Returns a Deferred that fires with a new connection to a member.

        @raise ConnectError: (by errback) or another error of L{HostnameEndpoint}: there is none.
        """
        parts = urlsplit(url)
        is_secure, host = parts.scheme == "https", parts.hostname or ""
        port = parts.port or (443 if is_secure else 80)
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, host, port, timeout=CONNECT_TIMEOUT_SECONDS)
        if is_secure:
            endpoint = wrapClientTLS(self._tls(host), endpoint)
        factory = Factory.forProtocol(lambda: HttpConnection(self._room, lambda idle: self._keep(url, idle)))
        factory.noisy = False
        connecting = endpoint.connect(factory)

        def given_up(made: "Deferred[HttpConnection]") -> None:
            # Twisted would say that the host has no address, as if another machine were to be asked.
            made.errback(CancelledError())
            connecting.cancel()

        made: Deferred[HttpConnection] = Deferred(given_up)
        connecting.addCallback(_tuned).addBoth(lambda outcome: None if made.called else made.callback(outcome))
        return made

    def _keep(self, url: str, connection: HttpConnection) -> None:
        idle = self._idle.setdefault(url, [])
        if self._stopped or len(idle) >= MOST_IDLE:
            connection.abort()
            return
        idle.append(connection)
        connection.idle_since = self._reactor.seconds()
        if self._sweep is None:
            self._sweep = self._reactor.callLater(IDLE_SECONDS, self._drop_old)

    def _drop_old(self) -> None:
        """End the connections that were kept for long enough."""
        until = self._reactor.seconds() - IDLE_SECONDS
        for url, idle in list(self._idle.items()):
            while idle and idle[0].idle_since <= until:
                idle.pop(0).abort()
            if not idle:
                del self._idle[url]
        self._sweep = self._reactor.callLater(IDLE_SECONDS, self._drop_old) if self._idle else None

    def stop(self) -> None:
        """End the connections that no request uses; the others end with their requests."""
        self._stopped = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for idle in self._idle.values():
            for each in idle:
                each.abort()
        self._idle.clear()


def _tuned(protocol: object) -> HttpConnection:
    connection = cast(HttpConnection, protocol)
    tune(connection.transport, UNACKNOWLEDGED_TIMEOUT_SECONDS)
    return connection
