"""
A port that is served while a service runs.

Must never know what is served there.
"""

from collections.abc import Callable
from typing import cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator
from twisted.web.resource import IResource

from etcd_twisted.config import Config
from etcd_twisted.http.browsers import BrowserPolicy
from etcd_twisted.http.cors import Cors
from etcd_twisted.http.door import Door
from etcd_twisted.http.fast import FastSite
from etcd_twisted.http.listening import Place, listen
from etcd_twisted.http.site import IServed, Site
from etcd_twisted.http.usage import Usage
from etcd_twisted.interfaces import IReactor

GRACE = 5.0
"""How long a request may take to be answered when the service stops, in seconds."""


class HttpService(Service):
    """Serves on a port while it runs."""

    def __init__(
        self,
        reactor: IReactor,
        place: Place,
        site: IServed,
        tls: IOpenSSLServerConnectionCreator | None = None,
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        """
        @param tls: how the port speaks TLS; C{None} if it does not.
        @param closing: called when the service stops, before requests under way are waited for.
        """
        self._reactor = reactor
        self._place = place
        self._site = site
        self._tls = tls
        self._closing = closing
        self._port: IListeningPort | None = None

    def startService(self) -> "Deferred[None]":
        """
        Listen; the Deferred fires when that is so.

        @raise StartError: (by errback) the address can't be listened on.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return ensureDeferred(self._listen())

    async def _listen(self) -> None:
        self._port = await listen(self._reactor, self._place, self._site, self._tls)

    def getHost(self) -> IPv4Address | IPv6Address:
        """Where it listens: with port 0 configured, where that turned out to be."""
        if self._port is None:
            raise RuntimeError("the service does not listen")
        return cast(IPv4Address | IPv6Address, self._port.getHost())

    def stopService(self) -> "Deferred[None]":
        """Listen no longer and close every connection; the Deferred fires when nothing is left."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return ensureDeferred(self._close())

    async def _close(self) -> None:
        port, self._port = self._port, None
        closed = maybeDeferred(port.stopListening) if port is not None else succeed(None)
        self._closing()
        await self._site.stop(min(GRACE, self._site.write_timeout))
        await closed


def http_service(
    reactor: IReactor,
    config: Config,
    place: Place,
    most_connections: int,
    resource: IResource,
    door: Door | None = None,
    tls: IOpenSSLServerConnectionCreator | None = None,
    closing: Callable[[], None] = lambda: None,
    usage: Usage | None = None,
    cors: Cors | None = None,
) -> HttpService:
    """
    A service that serves C{resource}, and C{door} before it, within the limits that are configured.

    @param most_connections: see L{Site}.
    @param door: see L{Site}.
    @param tls: see L{HttpService}.
    @param closing: see L{HttpService}.
    @param usage: see L{Site}.
    @param cors: see L{Site}.
    """
    # TLS has no socket to write to at once, and its handshake is for twisted.web's channel to watch.
    kind = Site if door is None or tls is not None else FastSite
    site = kind(
        reactor,
        resource,
        door,
        most_connections,
        config.max_request_bytes,
        config.http_read_timeout,
        config.http_write_timeout,
        usage,
        cors,
        BrowserPolicy.of(config),
    )
    return HttpService(reactor, place, site, tls, closing)
