"""
The protocol: questions over UDP and TCP, and their answers.

Must never answer an answer, nor let those who don't read, or say nothing, keep a connection, nor write a line to the
log for everything that strangers send.
"""
# Twisted's protocols have no types.
# mypy: disallow-untyped-calls=False

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol, ServerFactory, connectionDone
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from etcd_twisted.logs import RateLimitedLog
from etcd_twisted_dns.authority import Authority, Reply

LARGEST_DATAGRAM = 512
"""Bytes of an answer over UDP (RFC 1035, section 4.2.1)."""

LARGEST_MESSAGE = 65_535
"""Bytes of an answer over TCP."""

MOST_CONNECTIONS = 64
"""How many connections there may be: the machine's log needs files too."""

PATIENCE = 10.0
"""After how many seconds a connection on which nothing was asked is closed."""


class Server:
    """Answers messages."""

    def __init__(self, authority: Callable[[], Authority | None]) -> None:
        """
        @param authority: what answers just now; C{None} when nothing is known.
        """
        self._authority = authority

    def answer(self, data: bytes, largest: int) -> bytes | None:
        """
        Answer a message; what is no question has no answer.

        @param largest: how many bytes the answer may have.
        """
        message = dns.Message()
        try:
            message.fromStr(data)
        except (EOFError, ValueError):
            return None
        if message.answer:
            return None
        reply = self._reply(message)
        answer: bytes = self._response(message, reply).toStr()
        if len(answer) > largest:
            # Nothing rather than a part (RFC 2181, section 9): whoever asked by UDP asks again by TCP.
            answer = self._response(message, Reply(reply.code, reply.authoritative), trunc=1).toStr()
        return answer

    def _reply(self, message: dns.Message) -> Reply:
        if message.opCode != dns.OP_QUERY:
            return Reply(dns.ENOTIMP)
        if len(message.queries) != 1:
            return Reply(dns.EFORMAT)
        authority = self._authority()
        return Reply(dns.ESERVER) if authority is None else authority.reply(message.queries[0])

    @staticmethod
    def _response(message: dns.Message, reply: Reply, trunc: int = 0) -> dns.Message:
        response = dns.Message(
            message.id,
            answer=1,
            opCode=message.opCode,
            recDes=message.recDes,
            auth=reply.authoritative,
            rCode=reply.code,
            trunc=trunc,
            maxSize=0,
        )
        response.queries = message.queries[:1]
        response.answers = list(reply.answers)
        response.authority = list(reply.authority)
        response.additional = list(reply.additional)
        return response


class Datagrams(DatagramProtocol):
    """Questions by UDP."""

    transport: Any
    noisy = False

    def __init__(self, server: Server, rate_limited_log: RateLimitedLog) -> None:
        self._server = server
        self._rate_limited_log = rate_limited_log

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """A message has come."""
        answer = self._server.answer(datagram, LARGEST_DATAGRAM)
        if answer is None:
            return
        try:
            self.transport.write(answer, addr)
        except OSError as error:
            # As when the sender is not who it says. Whoever has asked in earnest asks again.
            self._rate_limited_log.warn("dns", f"{addr[0]} port {addr[1]} can't be answered: {error.strerror}")


class Connections(ServerFactory):
    """
    Questions by TCP.

    @ivar clock: by which connections end.
    @ivar server: answers them.
    @ivar connections: those that are open.
    """

    noisy = False

    def __init__(self, server: Server, clock: IReactorTime) -> None:
        self.clock = clock
        self.server = server
        self.connections: dict[Connection, None] = {}

    def buildProtocol(self, addr: IAddress | None) -> "Connection | None":  # noqa: ARG002  # Twisted's signature
        """A connection, if there is a place for it."""
        return Connection(self) if len(self.connections) < MOST_CONNECTIONS else None

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self.connections):
            connection.transport.abortConnection()


class Connection(Int16StringReceiver, TimeoutMixin):
    """A connection by TCP (RFC 7766): as many questions as one likes, one after another."""

    transport: Any

    def __init__(self, port: Connections) -> None:
        self._port = port

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """For L{TimeoutMixin}."""
        return self._port.clock.callLater(period, func)

    def connectionMade(self) -> None:
        """It is there."""
        self._port.connections[self] = None
        self.setTimeout(PATIENCE)
        # Whoever does not read the answers is not read from: the transport stops itself.
        self.transport.registerProducer(self.transport, True)

    def stringReceived(self, string: bytes) -> None:
        """A message has come."""
        self.resetTimeout()
        answer = self._port.server.answer(string, LARGEST_MESSAGE)
        if answer is None:
            self.transport.abortConnection()
        else:
            self.sendString(answer)

    def timeoutConnection(self) -> None:
        """Nothing was asked for long."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002  # Twisted's signature
        """It is gone."""
        self.setTimeout(None)
        self._port.connections.pop(self, None)
