"""
A port that is served while a service runs.

Must never know what is served there.
"""

from collections.abc import Callable
from typing import cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator, IProtocolFactory
from zope.interface import Attribute

from etcd_twisted.interfaces import IReactor
from etcd_twisted.net.listening import Place, listen

GRACE = 5.0
"""How long a request may take to be answered when the service stops, in seconds."""


class IServed(IProtocolFactory):
    """What is served on a port."""

    write_timeout: float = Attribute("How long a client may take no byte of an answer, in seconds.")

    def stop(grace: float) -> "Deferred[None]":  # noqa: N805  # methods of an Interface have no self
        """
        Close every connection, when the port is closed. Fires when none is left.

        @param grace: how long requests under way may take to be answered, in seconds.
        """


class PortService(Service):
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
