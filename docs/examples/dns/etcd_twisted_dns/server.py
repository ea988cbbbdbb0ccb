"""
The protocol: questions over UDP and TCP, and their answers.

Must never answer an answer, nor let those who don't read, or say nothing, keep a connection.
"""
# Twisted's protocols have no types.
# mypy: disallow-untyped-calls=False

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.names import dns
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from etcd_twisted_dns.authority import Authority, Reply

LARGEST_DATAGRAM = 512
"""Bytes of an answer over UDP (RFC 1035, section 4.2.1)."""

LARGEST_MESSAGE = 65_535
"""Bytes of an answer over TCP."""

MOST_CONNECTIONS = 64
"""How many connections there may be: the machine's log needs files too."""

PATIENCE = 10.0
"""After how many seconds a connection on which nothing was asked is closed."""


class Server(ServerFactory):
    """
    Answers what is asked, over UDP and TCP; also makes the TCP connections.

    @ivar connections: those that are open.
    """

    noisy = False

    def __init__(self, clock: IReactorTime, authority: Callable[[], Authority | None]) -> None:
        """
        @param authority: what answers just now; C{None} when nothing is known.
        """
        self.clock = clock
        self.connections: dict[Connection, None] = {}
        self._authority = authority

    def messageReceived(self, message: dns.Message, protocol: Any, address: Any = None) -> None:
        """
        Answer a message.

        @param address: whom it is from; C{None} on a connection.
        """
        if message.answer:
            return
        largest = LARGEST_MESSAGE if address is None else LARGEST_DATAGRAM
        response = self._response(message, self._reply(message))
        if len(response.toStr()) > largest:
            # Nothing rather than a part (RFC 2181, section 9): whoever asked by UDP asks again by TCP.
            response = self._response(message, Reply(dns.OK, response.auth), trunc=1)
        protocol.writeMessage(response, *([] if address is None else [address]))

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

    # Connections

    def buildProtocol(self, addr: IAddress | None) -> "Connection | None":  # noqa: ARG002  # Twisted's signature
        """A connection, if there is a place for it."""
        return Connection(self) if len(self.connections) < MOST_CONNECTIONS else None

    def connectionMade(self, connection: "Connection") -> None:
        """One more."""
        self.connections[connection] = None

    def connectionLost(self, connection: "Connection") -> None:
        """One less."""
        self.connections.pop(connection, None)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self.connections):
            connection.transport.abortConnection()


class Connection(dns.DNSProtocol, TimeoutMixin):
    """A connection by TCP (RFC 7766): as many questions as one likes, one after another."""

    transport: Any

    def __init__(self, server: Server) -> None:
        super().__init__(server, server.clock)

    def connectionMade(self) -> None:
        """It is there."""
        super().connectionMade()
        self.setTimeout(PATIENCE)
        # Whoever does not read the answers is not read from: the transport stops itself.
        self.transport.registerProducer(self.transport, True)

    def stringReceived(self, data: bytes) -> None:
        """A message has come."""
        self.resetTimeout()
        super().stringReceived(data)

    def timeoutConnection(self) -> None:
        """Nothing was asked for long."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        self.setTimeout(None)
        super().connectionLost(reason)
