"""
The peer port serves two protocols: AMP for machines, HTTP for administrators. The first byte of a connection tells
which: an AMP box begins with a zero, an HTTP request with a letter (spec, section 3, "One port, two protocols").

This module must never let strangers keep members out: if there are too many connections, the oldest stranger's is
closed.
"""

from typing import Any
from typing import Protocol as TypingProtocol

from OpenSSL.SSL import Error as TlsError
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IProtocol,
    IProtocolNegotiationFactory,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.config.addresses import address_of
from etcd_twisted.net.port import IServedFactory
from etcd_twisted.net.tls_failures import tls_reason
from etcd_twisted.peer.incoming import IncomingConnection, PortContext

MAX_STRANGERS = 32
"""How many connections there may be that are not known to be a member's and do not speak HTTP."""

MAX_CONNECTIONS = 96
"""How many there may be together with those of members."""

_SWEEP_INTERVAL_SECONDS = 1.0

_TLS_HANDSHAKE = 0x16
"""The first byte of a TLS connection."""


class HttpSite(TypingProtocol):
    """Answers HTTP on the port, and limits its connections itself."""

    @property
    def write_timeout_seconds(self) -> float:
        """See L{IServedFactory}."""

    def startFactory(self) -> None:
        """Start when the port listens."""

    def buildProtocol(self, addr: IAddress | None) -> IProtocol | None:
        """Returns what speaks HTTP on one connection."""

    def acceptableProtocols(self) -> list[bytes]:
        """Returns the protocols to offer by ALPN."""

    def stop(self, grace_seconds: float) -> "Deferred[None]":
        """See L{IServedFactory}."""


@implementer(IHandshakeListener)
class PeerConnection(Protocol):
    """
    A connection whose protocol is unknown until the first byte comes, and that then hands everything to another one.

    @ivar incoming: the connection that speaks AMP, if it does.
    """

    transport: Any

    def __init__(self, port: "PeerPort") -> None:
        self.incoming: IncomingConnection | None = None
        self._port = port
        self._inner: IProtocol | None = None
        self._lost = False
        self._shaking_hands = False
        self._since = port.context.clock.seconds()
        self._when_closed: list[Deferred[None]] = []

    @property
    def is_idle(self) -> bool:
        """Whether it can be closed without harm."""
        return self.incoming is None or not (self.incoming.sender or self.incoming.pending)

    @property
    def is_member(self) -> bool:
        """Whether it is a member's."""
        return self.incoming is not None and self.incoming.sender != ""

    def connectionMade(self) -> None:
        """Note whether a TLS handshake comes first."""
        self._shaking_hands = ISSLTransport.providedBy(self.transport)

    def handshakeCompleted(self) -> None:
        """Start the time limit for the first byte again."""
        self._shaking_hands = False
        self._since = self._port.context.clock.seconds()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes."""
        if self._inner is None:
            self._choose(data[0])
        if self._inner is not None:
            self._inner.dataReceived(data)

    def _choose(self, first: int) -> None:
        if first == 0:
            self._inner = self.incoming = IncomingConnection(self._port.context)
        elif chr(first).isascii() and chr(first).isalpha():
            self._inner = self._port.site.buildProtocol(self.transport.getPeer())
            self._port.forget(self)
        else:
            what = f"it begins with the byte {first:#04x}, which is neither AMP nor HTTP"
            if first == _TLS_HANDSHAKE:
                what = "it speaks TLS, and this machine does not: give all machines --peer-cert-file, or none"
            self._log_problem("garbage", f"Closed the connection from {self._peer}: {what}")
        if self._inner is None:
            self.transport.abortConnection()
            return
        self._inner.makeConnection(self.transport)
        if IHandshakeListener.providedBy(self._inner) and ISSLTransport.providedBy(self.transport):
            self._inner.handshakeCompleted()

    @property
    def _peer(self) -> str:
        return address_of(self.transport.getPeer())

    def _log_problem(self, cause: str, text: str) -> None:
        self._port.context.rate_limited_log.warn(cause, text)

    def sweep(self, now: float) -> None:
        """Close a connection that does not go on. Called about once a second."""
        if self.incoming is not None:
            self.incoming.sweep(now)
        elif now - self._since >= self._port.context.timeout_seconds:
            if self._shaking_hands:
                reason = f"no handshake within {self._port.context.timeout_seconds:g} s"
                self._log_problem("TLS", f"TLS with {self._peer} failed: {reason}")
            self.transport.abortConnection()

    def close(self) -> "Deferred[None]":
        """Close. Returns a Deferred that fires when nothing is left."""
        closed: Deferred[None] = Deferred()
        if self._lost:
            closed.callback(None)
            return closed
        self._when_closed.append(closed)
        if self.incoming is not None:
            self.incoming.close()
        else:
            self.transport.abortConnection()
        return closed

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell those who wait for the end."""
        self._lost = True
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif isinstance(reason.value, TlsError):
            self._log_problem("TLS", f"TLS with {self._peer} failed: {tls_reason(reason.value, self.transport)}")
        self._port.forget(self)
        waiting, self._when_closed = self._when_closed, []
        for each in waiting:
            each.callback(None)


@implementer(IServedFactory)
@implementer(IProtocolNegotiationFactory)
class PeerPort(ServerFactory):
    """
    The connections of the peer port. The site limits those that speak HTTP.

    @ivar context: what the connections share that speak AMP.
    @ivar site: answers administrators.
    @ivar connections: those that do not speak HTTP, the oldest first.
    """

    noisy = False  # or the log would have the starts and stops of this object too

    _log = Logger()

    def __init__(self, context: PortContext, site: HttpSite) -> None:
        self.context = context
        self.site = site
        self.connections: dict[PeerConnection, None] = {}
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = context.clock

    @property
    def write_timeout_seconds(self) -> float:
        """See L{IServedFactory}."""
        return self.site.write_timeout_seconds

    def acceptableProtocols(self) -> list[bytes]:
        """Returns the protocols to offer by ALPN, which only HTTP clients use."""
        return self.site.acceptableProtocols()

    def startFactory(self) -> None:
        """Start to look for connections that do not go on."""
        self.site.startFactory()
        self._sweeping.start(_SWEEP_INTERVAL_SECONDS).addErrback(self._sweep_failed)

    def _sweep_failed(self, failure: Failure) -> None:
        self._log.failure("Looking for slow connections to the peer port failed", failure)

    def _sweep(self) -> None:
        now = self.context.clock.seconds()
        for connection in list(self.connections):
            connection.sweep(now)

    def buildProtocol(self, addr: IAddress | None) -> PeerConnection | None:
        """Returns a connection, if there is room for it or can be made."""
        if not self._make_room(addr):
            return None
        connection = PeerConnection(self)
        self.connections[connection] = None
        return connection

    def _make_room(self, addr: IAddress | None) -> bool:
        strangers = [each for each in self.connections if not each.is_member]
        if len(strangers) < MAX_STRANGERS and len(self.connections) < MAX_CONNECTIONS:
            return True
        first = next((each for each in strangers if each.is_idle), None)
        what = "it" if first is None else "the oldest stranger's"
        text = f"No room on the peer port for the connection from {address_of(addr)}: closed {what}"
        self.context.rate_limited_log.warn("full", text)
        if first is not None:
            self.forget(first)
            first.close()
        return first is not None

    def forget(self, connection: PeerConnection) -> None:
        """Forget a connection that is gone, or that the site limits."""
        self.connections.pop(connection, None)

    def stop(self, grace_seconds: float) -> "Deferred[None]":
        """See L{IServedFactory}."""
        if self._sweeping.running:
            self._sweeping.stop()
        closed = [connection.close() for connection in list(self.connections)]
        return DeferredList([*closed, self.site.stop(grace_seconds)]).addCallback(lambda _: None)
