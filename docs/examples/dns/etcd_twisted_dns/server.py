"""
The protocol: questions over UDP and TCP, and their answers.

Must never answer an answer, nor let a client that does not read, or sends nothing, keep a connection, nor write a line
to the log for everything that strangers send.
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
"""The longest answer over UDP, in bytes (RFC 1035, section 4.2.1)."""

LARGEST_MESSAGE = 65_535
"""The longest answer over TCP, in bytes."""

MOST_CONNECTIONS = 64
"""How many connections there may be: the machine's log needs files too."""

IDLE_TIMEOUT_SECONDS = 10.0
"""After how many seconds without a question a connection is closed."""


class Server:
    """Answers messages."""

    def __init__(self, authority: Callable[[], Authority | None]) -> None:
        """
        @param authority: returns the authority that answers now; C{None} when there is no zone.
        """
        self._authority = authority

    def answer(self, data: bytes, largest: int) -> bytes | None:
        """
        Answers a message; a message that is not a question has no answer.

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
            # Nothing rather than a part (RFC 2181, section 9): a client that asked over UDP asks again over TCP.
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
    """Questions over UDP."""

    transport: Any
    noisy = False

    def __init__(self, server: Server, rate_limited_log: RateLimitedLog) -> None:
        self._server = server
        self._rate_limited_log = rate_limited_log

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Answers a message."""
        answer = self._server.answer(datagram, LARGEST_DATAGRAM)
        if answer is None:
            return
        try:
            self.transport.write(answer, addr)
        except OSError as error:
            # This happens when the sender's address is forged. A genuine client asks again.
            self._rate_limited_log.warn("dns", f"{addr[0]} port {addr[1]} can't be answered: {error.strerror}")


class Connections(ServerFactory):
    """
    Questions over TCP.

    @ivar clock: the clock of the timeouts.
    @ivar server: answers them.
    @ivar connections: those that are open.
    """

    noisy = False

    def __init__(self, server: Server, clock: IReactorTime) -> None:
        self.clock = clock
        self.server = server
        self.connections: dict[Connection, None] = {}

    def buildProtocol(self, addr: IAddress | None) -> "Connection | None":  # noqa: ARG002  # Twisted's signature
        """Returns a connection if there is room for it."""
        return Connection(self) if len(self.connections) < MOST_CONNECTIONS else None

    def close(self) -> None:
        """Closes every connection."""
        for connection in list(self.connections):
            connection.transport.abortConnection()


class Connection(Int16StringReceiver, TimeoutMixin):
    """A TCP connection (RFC 7766) takes any number of questions, one after another."""

    transport: Any

    def __init__(self, port: Connections) -> None:
        self._port = port

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """Schedules a call for L{TimeoutMixin}."""
        return self._port.clock.callLater(period, func)

    def connectionMade(self) -> None:
        """Begins to read."""
        self._port.connections[self] = None
        self.setTimeout(IDLE_TIMEOUT_SECONDS)
        # A client that does not read its answers is not read from: the transport stops itself.
        self.transport.registerProducer(self.transport, True)

    def stringReceived(self, string: bytes) -> None:
        """Answers a message."""
        self.resetTimeout()
        answer = self._port.server.answer(string, LARGEST_MESSAGE)
        if answer is None:
            self.transport.abortConnection()
        else:
            self.sendString(answer)

    def timeoutConnection(self) -> None:
        """Closes a connection without questions."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002  # Twisted's signature
        """Forgets the connection."""
        self.setTimeout(None)
        self._port.connections.pop(self, None)
