"""
TLS between a port and its connections.

Twisted's own, but for its end: when there is nothing more to be sent, the connection is closed, and nobody waits for
the other side to close TLS as well, which one that keeps its connection for later won't do before it uses it again.

Must never let a byte through to what is served before the handshake is done.
"""
# Twisted's TLS has no types.
# mypy: disallow-untyped-calls=False

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator, IProtocolFactory, IReactorTime
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory


class SecureConnection(BufferingTLSTransport):
    """The TLS of one connection; what is served has it for its transport."""

    transport: Any
    _reads_on = False

    def loseConnection(self) -> None:
        """Close, when everything is sent."""
        super().loseConnection()
        self._close_below()

    def unregisterProducer(self) -> None:
        """There is nothing more to be asked for, so that a close that waited for that goes on."""
        super().unregisterProducer()
        self._close_below()

    def _close_below(self) -> None:
        """Close the connection itself, if TLS is."""
        if self.connected and not self._reads_on and self.getHandle().get_shutdown() & SSL.SENT_SHUTDOWN:
            self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Close at once, if that has not happened."""
        if self.connected:
            super().abortConnection()

    def loseWriteConnection(self) -> None:
        """Send nothing more, but read on."""
        self._reads_on = True
        super().loseConnection()


class SecureFactory(TLSMemoryBIOFactory):
    """Makes connections of another factory secure."""

    protocol = SecureConnection

    def __init__(self, tls: IOpenSSLServerConnectionCreator, factory: IProtocolFactory, clock: IReactorTime) -> None:
        """
        @param factory: makes what is served. It may make none for an address.
        """
        super().__init__(tls, False, factory, clock)

    def buildProtocol(  # type: ignore[override]  # Twisted's other factories may make none
        self, addr: IAddress | None
    ) -> SecureConnection | None:
        """A connection, unless the other factory makes none."""
        served = self.wrappedFactory.buildProtocol(addr)
        return None if served is None else self.protocol(self, served)
