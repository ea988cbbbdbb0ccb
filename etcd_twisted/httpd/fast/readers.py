"""
Lets the reactor treat many connections as one reader.

For each event the reactor looks up which reader it is for, and prepares a context for what may be logged. That takes
longer than reading a short request. Here it is done once a turn for all connections: they wait for bytes in an epoll
set of their own, and the reactor watches that set.

It reads from sockets itself, by the attribute C{socket} of Twisted's TCP connections, which is not documented. This
module must never keep a connection open that has ended or failed, nor lose what has come on any other.
"""

import select
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.httpd.fast.sending import SendQueue
from etcd_twisted.httpd.turns import Turns

HAS_EPOLL = hasattr(select, "epoll")
"""Whether this system has epoll sets."""

MOST_AT_ONCE = 64
"""From how many connections is read before anything is handled, at most. A connection's bytes may be 64 KiB."""


@implementer(IReadDescriptor)
class Readers:
    """
    The connections of one port. They see it as their reactor: what it does not do itself, it leaves to the reactor.
    """

    _log = Logger()

    def __init__(self, reactor: Any, turns: Turns, sends: SendQueue) -> None:
        """
        @param reactor: the reactor of the connections.
        @param turns: the port's. A turn of them begins with each turn of the reactor in which there is something to
            read.
        @param sends: the port's. It is flushed when all connections are read.
        """
        self._reactor = reactor
        self._turns = turns
        self._sends = sends
        self._waiting = select.epoll()
        # The reactor calls both before it reads: these calls cost next to nothing.
        self.fileno = self._waiting.fileno
        self.logPrefix = "Readers".__str__
        self._connections: dict[int, Connection] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def adopt(self, connection: Connection) -> None:
        """Wait for a connection's bytes from now on."""
        self._move(connection, self)

    @staticmethod
    def _move(connection: Any, reactor: Any) -> None:
        connection.stopReading()
        connection.reactor = reactor
        connection.startReading()

    # Called by connections

    def addReader(self, connection: Connection) -> None:
        """Call C{doRead} of a connection when there are bytes, or when it has ended."""
        descriptor = connection.fileno()
        if descriptor in self._connections:
            return
        if not self._connections:
            self._reactor.addReader(self)
        self._connections[descriptor] = connection
        self._waiting.register(descriptor, select.EPOLLIN)

    def removeReader(self, connection: Connection) -> None:
        """Stop calling it."""
        self._forget(connection.fileno())

    def _forget(self, descriptor: int) -> None:
        if self._connections.pop(descriptor, None) is None:
            return
        self._waiting.unregister(descriptor)
        if not self._connections:
            self._reactor.removeReader(self)

    # Called by the reactor

    def doRead(self) -> None:
        """Read from all connections that have something to read."""
        turns, sends = self._turns, self._sends
        if turns.scheduled is None:
            turns.left = turns.work
        sends.holds = True
        connections, events = self._connections, self._waiting.poll(0)
        for first in range(0, len(events), MOST_AT_ONCE):
            # To receive from all before anything is handled keeps the code of both in the processor's caches.
            came: list[tuple[int, Any, bytes]] = []
            for descriptor, _ in events[first : first + MOST_AT_ONCE]:
                connection: Any = connections.get(descriptor)
                if connection is None:
                    continue  # what was just read from another connection has closed this one
                try:
                    came.append((descriptor, connection, connection.socket.recv(connection.bufferSize)))
                except BlockingIOError:
                    continue
                except OSError:
                    came.append((descriptor, connection, b""))
            for descriptor, connection, data in came:
                try:
                    if data:
                        if connection.connected:  # as above
                            connection.protocol.dataReceived(data)
                    elif descriptor in connections:
                        self._move(connection, self._reactor)  # where it finds out how it has ended
                except Exception:
                    self._log.failure("A connection is closed, since what it sent could not be handled")
                    self._lose(descriptor, connection, Failure())
        sends.holds = False
        sends.flush()

    def _lose(self, descriptor: int, connection: Connection, reason: Failure) -> None:
        """Close a connection, whatever goes wrong with it: the others must not be affected."""
        self._sends.flush()  # it may have been answered before
        self._forget(descriptor)
        try:
            connection.connectionLost(reason)
        except Exception:
            self._log.failure("The end of a connection could not be told")

    def connectionLost(self, reason: Failure) -> None:
        """Close all connections, as the reactor ends."""
        for descriptor, connection in list(self._connections.items()):
            self._lose(descriptor, connection, reason)
