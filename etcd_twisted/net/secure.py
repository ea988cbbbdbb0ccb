"""
TLS between a port and its connections.

It differs from Twisted's TLS in how a connection ends: when everything is sent, the connection is closed without
waiting for the other side to close TLS too. A client that keeps its connection for later does not do that before it
uses the connection again.

This module must never let a byte through to what is served before the handshake is complete.
"""
# Twisted's TLS has no types.
# mypy: disallow-untyped-calls=False

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator, IProtocolFactory, IReactorTime
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory


class SecureConnection(BufferingTLSTransport):
    """The TLS of one connection. It is the transport of what is served."""

    transport: Any
    _reads_on = False  # nothing more is sent, but the other side may still send

    def loseConnection(self) -> None:
        """Close the connection when everything is sent."""
        super().loseConnection()
        self._close_below()

    def unregisterProducer(self) -> None:
        """Nothing more is produced: continue to close, if that waited for it."""
        super().unregisterProducer()
        self._close_below()

    def _close_below(self) -> None:
        """Close the connection itself if TLS is closed."""
        if self.connected and not self._reads_on and self.getHandle().get_shutdown() & SSL.SENT_SHUTDOWN:
            self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Close at once, unless the connection has ended."""
        if self.connected:
            super().abortConnection()

    def loseWriteConnection(self) -> None:
        """Send nothing more, but read on."""
        self._reads_on = True
        super().loseConnection()


class SecureFactory(TLSMemoryBIOFactory):
    """Puts TLS between another factory's protocols and their connections."""

    protocol = SecureConnection

    def __init__(self, tls: IOpenSSLServerConnectionCreator, factory: IProtocolFactory, clock: IReactorTime) -> None:
        """
        @param factory: makes the protocols that are served. It may refuse a connection.
        """
        super().__init__(tls, False, factory, clock)

    def buildProtocol(  # type: ignore[override]  # Twisted's other factories may make none
        self, addr: IAddress | None
    ) -> SecureConnection | None:
        """Returns the TLS of a new connection, or None if the other factory refuses it."""
        served = self.wrappedFactory.buildProtocol(addr)
        return None if served is None else self.protocol(self, served)
