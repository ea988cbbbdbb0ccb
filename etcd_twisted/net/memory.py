"""
Connections in memory: both ends are in this process, and behave as those of a TCP connection do.

Each end sends in a turn of its own clock. So no protocol is called while it, or the one at the other end, is on the
stack. What an end has written is buffered until the other end's protocol has taken it, and counts for its producer.

Twisted has no public connection of this kind: C{twisted.internet.testing} has transports that record what is written,
and L{twisted.protocols.loopback} joins two protocols without back-pressure, half-closing or addresses.

This module must never lose, double or reorder bytes, nor call a protocol again after its connection is lost.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle
from typing import Protocol, cast

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

HOST = "127.0.0.1"
"""The address of both ends."""

_BUFFER_BYTES = 1 << 16
"""With more than this waiting for the other end, an end pauses its producer. Also the most that is sent in a turn."""


class Carry(Protocol):
    """Brings something to the other end: calls C{call} there, now or later, in the order in which it was given."""

    def __call__(self, call: Callable[..., object], *args: object) -> None:
        """See the class."""


def at_once(call: Callable[..., object], *args: object) -> None:
    """Bring something to the other end without a delay. See L{Carry}."""
    call(*args)


@implementer(ITransport, IConsumer, IPushProducer)
class MemoryTransport:
    """
    One end of a connection.

    @ivar connected: whether its protocol is connected.
    @ivar disconnecting: whether it closes when the other end has taken what waits for it.
    @ivar has_ended: whether the other end sends no more, even if what it sent before has not been read yet.
    @ivar bytes_taken: how many bytes the other end's protocol has taken.
    @ivar when_lost: called when the connection is lost, before the protocol is.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, host: IPv4Address, peer: IPv4Address, carry: Carry = at_once) -> None:
        """
        @param clock: schedules the turns in which this end sends.
        @param carry: brings what this end sends to the other end.
        """
        self.connected = False
        self.disconnecting = False
        self.has_ended = False
        self.bytes_taken = 0
        self.when_lost: Callable[[], object] = lambda: None
        self._clock = clock
        self._host = host
        self._peer = peer
        self._carry = carry
        self._other: MemoryTransport = self
        self._protocol: IProtocol | None = None
        self._turn_due: IDelayedCall | None = None
        self._failed: Failure | None = None  # the connection is to be reset
        # Sending
        self._unsent: list[bytes] = []
        self._waiting_bytes = 0  # unsent, or not taken yet
        self._write_disconnecting = False
        self._write_ended = False
        self._producer: IPushProducer | None = None  # a pull producer is never paused
        self._streaming = False
        self._producer_paused = False
        # Receiving
        self._received: deque[bytes] = deque()
        self._paused = False
        self._read_ended = False  # and the protocol knows
        self._taken = 0  # what the other end does not know to be taken yet

    def join(self, other: "MemoryTransport") -> None:
        """Make this and C{other} the two ends of one connection."""
        self._other, other._other = other, self

    def begin(self, protocol: IProtocol) -> None:
        """Connect a protocol."""
        self._protocol = protocol
        self.connected = True
        try:
            protocol.makeConnection(self)
        except Exception:
            self._fail()

    def getHost(self) -> IPv4Address:
        """See L{ITransport}."""
        return self._host

    def getPeer(self) -> IPv4Address:
        """See L{ITransport}."""
        return self._peer

    # Sending

    def write(self, data: bytes) -> None:
        """See L{ITransport}."""
        if isinstance(data, str):
            raise TypeError("bytes are sent, not text")
        if not self.connected or self._write_ended or not data:
            return
        self._unsent.append(bytes(data))
        self._waiting_bytes += len(data)
        self._wake()
        if self._producer is not None and self._streaming and self._waiting_bytes > _BUFFER_BYTES:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See L{ITransport}."""
        self.write(b"".join(data))

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See L{IConsumer}."""
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is registered, and has not been unregistered")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = cast(IPushProducer, producer)
        self._streaming, self._producer_paused = streaming, False
        if not streaming:
            self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """See L{IConsumer}."""
        self._producer = None
        if self.disconnecting or self._write_disconnecting:
            self._wake()

    def loseConnection(self) -> None:
        """See L{ITransport}."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._drop_received()
            self._wake()

    def loseWriteConnection(self) -> None:
        """Send no more than what waits to be sent, but read on. See L{twisted.internet.interfaces.ITCPTransport}."""
        self._write_disconnecting = True
        self._wake()

    def abortConnection(self) -> None:
        """Lose the connection at once, and what waits. See L{twisted.internet.interfaces.ITCPTransport}."""
        if self.connected and self._failed is None:
            self._failed = Failure(error.ConnectionAborted())
            self._wake()

    def _fail(self) -> None:
        """Reset the connection, as its protocol has raised an exception."""
        failure = Failure()
        self._log.failure("A connection is reset, since what came on it could not be handled", failure)
        if self.connected and self._failed is None:
            self._failed = failure
            self._wake()

    def _wake(self) -> None:
        if self._turn_due is None and self.connected:
            self._turn_due = self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        """Send what is to be sent, and read on."""
        self._turn_due = None
        if self._failed is not None:
            self._carry(self._other.reset)
            self._lose(self._failed)
            return
        self._acknowledge()
        if self._unsent:
            self._send()
        if self.connected:
            self._end_writing()
        if self.connected:
            self._read_on()

    def _send(self) -> None:
        data = b"".join(self._unsent)
        rest = data[_BUFFER_BYTES:]
        self._unsent = [rest] if rest else []
        self._carry(self._other._arrived, data[:_BUFFER_BYTES])
        if rest:
            self._wake()

    def _acknowledge(self) -> None:
        taken, self._taken = self._taken, 0
        if taken:
            self._carry(self._other._acknowledged, taken)

    def _end_writing(self) -> None:
        """End the connection, or the half of it that sends, if everything is sent."""
        to_come = self._producer is not None and (self._producer_paused or not self._streaming)
        if self._unsent or to_come or not (self.disconnecting or self._write_disconnecting):
            return
        if not self._write_ended:
            self._write_ended = True
            self._carry(self._other._end)
            if self.connected and not self.disconnecting:
                self._tell_half_closed("writeConnectionLost")
        if self.connected and self.disconnecting and not self._waiting_bytes:
            self._lose(Failure(error.ConnectionDone()))

    def _acknowledged(self, count: int) -> None:
        """The other end has taken so many bytes."""
        self.bytes_taken += count
        self._waiting_bytes -= count
        if self._waiting_bytes or not self.connected:
            return
        if self._producer is not None and (self._producer_paused or not self._streaming):
            self._producer_paused = False
            try:
                self._producer.resumeProducing()
            except Exception:
                self._fail()
        if self.disconnecting or self._write_disconnecting:
            self._wake()

    # Receiving

    def pauseProducing(self) -> None:
        """See L{IPushProducer}."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See L{IPushProducer}."""
        if self.connected and not self.disconnecting:
            self._paused = False
            if self._received or self.has_ended:
                self._wake()

    def stopProducing(self) -> None:
        """See L{IPushProducer}."""
        self.loseConnection()

    def _arrived(self, data: bytes) -> None:
        """Some bytes have arrived."""
        if not self.connected:
            self._carry(self._other.reset)
        elif self._paused or self._received or self.disconnecting:
            self._received.append(data)
            if self.disconnecting:
                self._drop_received()
        elif self._failed is None:
            self._take(data)

    def _drop_received(self) -> None:
        """Nobody reads any more: take what has come, so that the other end does not wait for that."""
        self._taken += sum(map(len, self._received))
        self._received.clear()
        self._wake()

    def _take(self, data: bytes) -> None:
        if self._protocol is not None:
            try:
                self._protocol.dataReceived(data)
            except Exception:
                self._fail()
        self._taken += len(data)
        self._wake()

    def _read_on(self) -> None:
        """Read some of what came while nobody read."""
        if self._paused:
            return
        if self._received:
            self._take(self._received.popleft())
        elif self.has_ended:
            self._read_end()

    def _end(self) -> None:
        """The other end sends no more."""
        self.has_ended = True
        if self.connected and not (self._paused or self._received):
            self._read_end()

    def _read_end(self) -> None:
        if self.disconnecting or self._read_ended or self._failed is not None:
            return
        self._read_ended = True
        if IHalfCloseableProtocol.providedBy(self._protocol):
            self._tell_half_closed("readConnectionLost")
        else:
            self._lose(Failure(error.ConnectionDone()))

    def _tell_half_closed(self, method: str) -> None:
        if IHalfCloseableProtocol.providedBy(self._protocol):
            try:
                getattr(self._protocol, method)()
            except Exception:
                self._fail()

    def reset(self) -> None:
        """The other end is gone."""
        self._taken = 0
        self._unsent.clear()
        self._write_ended = True
        self._lose(Failure(error.ConnectionLost()))

    def _lose(self, reason: Failure) -> None:
        if not self.connected:
            return
        self.connected = False
        self._received.clear()
        if self._turn_due is not None:
            self._turn_due.cancel()
            self._turn_due = None
        if self._failed is None:
            self._acknowledge()
            self._send_rest()
        self.when_lost()
        producer, self._producer = self._producer, None
        protocol, self._protocol = self._protocol, None
        try:
            if producer is not None:
                producer.stopProducing()
            if protocol is not None:
                protocol.connectionLost(reason)
        except Exception:
            self._log.failure("The end of a connection could not be handled")

    def _send_rest(self) -> None:
        """Send what was written before the connection was lost in order, as the system does for TCP."""
        if self._write_ended:
            return
        self._write_ended = True
        rest, self._unsent = b"".join(self._unsent), []
        if rest:
            self._carry(self._other._arrived, rest)
        self._carry(self._other._end)


def serve(transport: MemoryTransport, factory: IProtocolFactory) -> None:
    """Have a factory serve the server's end of a connection, which ends at once if the factory does not want it."""
    protocol: IProtocol | None = None
    try:
        protocol = factory.buildProtocol(transport.getPeer())
    except Exception:
        MemoryTransport._log.failure("A connection could not be served")
    if protocol is None:
        transport.connected = True
        transport.loseConnection()
    else:
        transport.begin(protocol)


def client_ports() -> Iterator[int]:
    """Returns the port numbers of clients' ends, which tell connections apart in logs."""
    return cycle(range(49152, 65536))


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """Connects to what a factory of this process serves."""

    def __init__(
        self, clock: IReactorTime, listening: Callable[[], IProtocolFactory | None], port: int, name: str
    ) -> None:
        """
        @param listening: returns the factory, or C{None} while nothing listens: connections are refused then.
        @param port: the number of the port that both ends see.
        @param name: what does not listen when a connection is refused.
        """
        self._clock = clock
        self._listening = listening
        self._address = IPv4Address("TCP", HOST, port)
        self._name = name
        self._client_ports = client_ports()

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """
        See L{IStreamClientEndpoint}. It takes a turn of the clock.

        The Deferred fails with L{ConnectionRefusedError} if nothing listens.
        """

        def cancelled(_: object) -> None:
            turn.cancel()
            connecting.errback(error.ConnectingCancelledError(self._address))

        cast(Factory, protocolFactory).noisy = False  # or the log has two lines for each connection
        connecting: Deferred[IProtocol] = Deferred(cancelled)
        turn = self._clock.callLater(0, self._connect, protocolFactory, connecting)
        return connecting

    def _connect(self, client_factory: IProtocolFactory, connecting: "Deferred[IProtocol]") -> None:
        factory = self._listening()
        if factory is None:
            connecting.errback(error.ConnectionRefusedError(f"{self._name} is not running"))
            return
        here = IPv4Address("TCP", HOST, next(self._client_ports))
        client = MemoryTransport(self._clock, here, self._address)
        server = MemoryTransport(self._clock, self._address, here)
        client.join(server)
        if begin_client(client, client_factory, connecting):
            serve(server, factory)


def begin_client(transport: MemoryTransport, factory: IProtocolFactory, connecting: "Deferred[IProtocol]") -> bool:
    """
    Connect the client's end of a connection.

    @param connecting: fires with the protocol, or fails if the factory makes none.
    @return: whether it makes one.
    """
    factory.doStart()
    try:
        protocol = factory.buildProtocol(transport.getPeer())
        if protocol is None:
            raise error.NoProtocol
    except Exception:
        factory.doStop()
        connecting.errback(Failure())
        return False
    transport.when_lost = factory.doStop
    transport.begin(protocol)
    connecting.callback(protocol)
    return True
