"""
One port for two protocols: machines speak AMP, administrators HTTP. The first byte of a connection tells which: an AMP
box begins with a zero, an HTTP request with a letter (spec, section 3, "One port, two protocols").

Must never let strangers keep the members out: when there is no place left, the stranger that came first has to go.
"""

from typing import Any
from typing import Protocol as Structure

from OpenSSL.SSL import Error as TlsError
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress, IHandshakeListener, IProtocolNegotiationFactory, ISSLTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.config.addresses import address_of
from etcd_twisted.net.port import IServedFactory
from etcd_twisted.net.tls import tls_reason
from etcd_twisted.peer.incoming import Host, Incoming

MOST_STRANGERS = 32
"""How many connections there may be that are no member's, as far as is known, and don't speak HTTP."""

MOST_CONNECTIONS = 96
"""How many there may be, with those of members."""

_SWEEP = 1.0

_TLS_HANDSHAKE = 0x16
"""The first byte of one who begins with TLS."""


class HttpSite(Structure):
    """What answers those who speak HTTP on the port, and limits them itself."""

    @property
    def write_timeout(self) -> float:
        """See L{IServedFactory}."""

    def startFactory(self) -> None:
        """The port listens."""

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """What speaks HTTP on one connection."""

    def acceptableProtocols(self) -> list[bytes]:
        """What a client that asks by ALPN is told."""

    def stop(self, grace: float) -> "Deferred[None]":
        """See L{IServedFactory}."""


@implementer(IHandshakeListener)
class PeerConnection(Protocol):
    """
    A connection: nothing is known of it until the first byte comes, and then it is one of two others.

    @ivar incoming: the one that speaks AMP, if it does.
    """

    transport: Any

    def __init__(self, port: "PeerPort") -> None:
        self.incoming: Incoming | None = None
        self._port = port
        self._inner: Any = None
        self._lost = False
        self._shaking_hands = False
        self._since = port.host.clock.seconds()
        self._waiting: list[Deferred[None]] = []

    @property
    def is_idle(self) -> bool:
        """Whether it can be closed without a loss to anybody."""
        return self.incoming is None or not (self.incoming.sender or self.incoming.pending)

    @property
    def is_member(self) -> bool:
        """Whether it is a member's."""
        return self.incoming is not None and self.incoming.sender != ""

    def connectionMade(self) -> None:
        """It is there; if it speaks TLS, it has to be agreed on how."""
        self._shaking_hands = ISSLTransport.providedBy(self.transport)

    def handshakeCompleted(self) -> None:
        """TLS is there: what has come through it can be trusted."""
        self._shaking_hands = False
        self._since = self._port.host.clock.seconds()

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come."""
        if self._inner is None:
            self._choose(data[0])
        if self._inner is not None:
            self._inner.dataReceived(data)

    def _choose(self, first: int) -> None:
        if first == 0:
            self._inner = self.incoming = Incoming(self._port.host)
        elif chr(first).isascii() and chr(first).isalpha():
            self._inner = self._port.site.buildProtocol(self.transport.getPeer())
            self._port.forget(self)
        else:
            what = f"it begins with the byte {first:#04x}, which is neither AMP nor HTTP"
            if first == _TLS_HANDSHAKE:
                what = "it speaks TLS, and this machine does not: give all machines --peer-cert-file, or none"
            self._complain("garbage", f"Closed the connection from {self._peer}: {what}")
        if self._inner is None:
            self.transport.abortConnection()
            return
        self._inner.makeConnection(self.transport)
        if IHandshakeListener.providedBy(self._inner) and ISSLTransport.providedBy(self.transport):
            self._inner.handshakeCompleted()

    @property
    def _peer(self) -> str:
        return address_of(self.transport.getPeer())

    def _complain(self, cause: str, text: str) -> None:
        self._port.host.complaints.warn(cause, text)

    def sweep(self, now: float) -> None:
        """Close a connection that does not go on. Called every second or so."""
        if self.incoming is not None:
            self.incoming.sweep(now)
        elif now - self._since >= self._port.host.timeout:
            if self._shaking_hands:
                reason = f"no handshake within {self._port.host.timeout:g} s"
                self._complain("TLS", f"TLS with {self._peer} failed: {reason}")
            self.transport.abortConnection()

    def close(self) -> "Deferred[None]":
        """Close; the Deferred fires when nothing is left."""
        closed: Deferred[None] = Deferred()
        if self._lost:
            closed.callback(None)
            return closed
        self._waiting.append(closed)
        if self.incoming is not None:
            self.incoming.close()
        else:
            self.transport.abortConnection()
        return closed

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        self._lost = True
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif isinstance(reason.value, TlsError):
            self._complain("TLS", f"TLS with {self._peer} failed: {tls_reason(reason.value, self.transport)}")
        self._port.forget(self)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)


@implementer(IServedFactory)
@implementer(IProtocolNegotiationFactory)
class PeerPort(ServerFactory):
    """
    The connections of the peer port. Those that speak HTTP are the site's, which limits them itself.

    @ivar host: what those share that speak AMP.
    @ivar site: answers administrators.
    """

    noisy = False  # or the log would tell of this object's starts and stops, beside the port's

    _log = Logger()

    def __init__(self, host: Host, site: HttpSite) -> None:
        self.host = host
        self.site = site
        self.connections: dict[PeerConnection, None] = {}
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = host.clock

    @property
    def write_timeout(self) -> float:
        """See L{IServedFactory}."""
        return self.site.write_timeout

    def acceptableProtocols(self) -> list[bytes]:
        """What a client that asks by ALPN is told; machines don't ask."""
        return self.site.acceptableProtocols()

    def startFactory(self) -> None:
        """Begin to watch the time."""
        self.site.startFactory()
        self._sweeping.start(_SWEEP).addErrback(self._broken)

    def _broken(self, failure: Failure) -> None:
        self._log.failure("The time of connections is not watched", failure)

    def _sweep(self) -> None:
        now = self.host.clock.seconds()
        for connection in list(self.connections):
            connection.sweep(now)

    def buildProtocol(self, addr: IAddress | None) -> PeerConnection | None:
        """A connection, if there is a place for it or one can be made."""
        if not self._make_room(addr):
            return None
        connection = PeerConnection(self)
        self.connections[connection] = None
        return connection

    def _make_room(self, addr: IAddress | None) -> bool:
        strangers = [each for each in self.connections if not each.is_member]
        if len(strangers) < MOST_STRANGERS and len(self.connections) < MOST_CONNECTIONS:
            return True
        first = next((each for each in strangers if each.is_idle), None)
        what = "it" if first is None else "the oldest stranger's"
        text = f"No place on the peer port for the connection from {address_of(addr)}: closed {what}"
        self.host.complaints.warn("full", text)
        if first is not None:
            self.forget(first)
            first.close()
        return first is not None

    def forget(self, connection: PeerConnection) -> None:
        """A connection is gone, or the site's."""
        self.connections.pop(connection, None)

    def stop(self, grace: float) -> "Deferred[None]":
        """See L{IServedFactory}."""
        if self._sweeping.running:
            self._sweeping.stop()
        closed = [connection.close() for connection in list(self.connections)]
        return DeferredList([*closed, self.site.stop(grace)]).addCallback(lambda _: None)
