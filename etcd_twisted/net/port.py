"""
A port that is served while a service runs.

This module must never know what is served there.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import attrs
from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator, IProtocolFactory
from zope.interface import Attribute

from etcd_twisted.interfaces import IReactor
from etcd_twisted.net.listening import ListenAddress, listen
from etcd_twisted.net.memory import MemoryEndpoint

GRACE_SECONDS = 5.0
"""How long requests under way may take to be answered when the service stops."""


class IServedFactory(IProtocolFactory):
    """Makes the connections of a port, and can close them all."""

    write_timeout_seconds: float = Attribute("How long a client may take no byte of an answer, in seconds.")

    def stop(grace_seconds: float) -> "Deferred[None]":  # noqa: N805  # methods of an Interface have no self
        """
        Close every connection, after the port. Returns a Deferred that fires when none is left.

        @param grace_seconds: how long requests under way may take to be answered, in seconds.
        """


@attrs.frozen
class Opening:
    """
    Where a port is listened on, and what is served there.

    @ivar tls: how TLS is spoken there; C{None} if it is not.
    """

    address: ListenAddress
    factory: IServedFactory
    tls: IOpenSSLServerConnectionCreator | None = None


class PortService(Service):
    """A service that serves a port while it runs."""

    def __init__(
        self,
        reactor: IReactor,
        address: ListenAddress,
        factory: IServedFactory,
        tls: IOpenSSLServerConnectionCreator | None = None,
        closing: Callable[[], None] = lambda: None,
        also: Sequence[Opening] = (),
    ) -> None:
        """
        @param tls: how the port speaks TLS; C{None} if it does not.
        @param closing: called when the service stops, before it waits for requests under way.
        @param also: where else something is served.
        """
        self._reactor = reactor
        self._openings = [Opening(address, factory, tls), *also]
        self._factory = factory
        self._closing = closing
        self._ports: list[IListeningPort] = []

    def startService(self) -> "Deferred[None]":
        """
        Listen. Returns a Deferred that fires when the port is open.

        @raise StartError: (by errback) the port can't be opened.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return ensureDeferred(self._listen())

    async def _listen(self) -> None:
        for each in self._openings:
            self._ports.append(await listen(self._reactor, each.address, each.factory, each.tls))

    def getHost(self) -> IPv4Address | IPv6Address:
        """Returns the address of the open port, the first of several, which has a number also if 0 was configured."""
        if not self._ports:
            raise RuntimeError("the service does not listen")
        return cast(IPv4Address | IPv6Address, self._ports[0].getHost())

    def endpoint(self, port: int, name: str) -> MemoryEndpoint:
        """
        Returns how to connect to what is served from within this process, without a socket and without TLS.
        Connections are refused unless the port is open, and closed with it.

        @param port: see L{MemoryEndpoint}; likewise C{name}.
        """
        return MemoryEndpoint(self._reactor, lambda: self._factory if self._ports else None, port, name)

    def stopService(self) -> "Deferred[None]":
        """Close the port and every connection. Returns a Deferred that fires when nothing is left."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return ensureDeferred(self._close())

    async def _close(self) -> None:
        ports, self._ports = self._ports, []
        closed: list[Deferred[Any]] = [maybeDeferred(port.stopListening) for port in ports]
        self._closing()
        factories = {id(each.factory): each.factory for each in self._openings}.values()
        closed += [each.stop(min(GRACE_SECONDS, each.write_timeout_seconds)) for each in factories]
        for each in closed:
            await each
