"""
Many connections as one reader of the reactor's.

Around each event the reactor looks up whose it is, and prepares a context for what may be logged: that takes longer
than reading a short request does. Here it is done once a turn for all connections: they wait for bytes in an epoll
set of their own, and the reactor watches that set.

Must never keep a connection open that has ended, or failed.
"""

import select
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

HAS_EPOLL = hasattr(select, "epoll")
"""Whether this system has such sets."""


@implementer(IReadDescriptor)
class Readers:
    """
    The connections of one port. To them it is their reactor, which does all else.
    """

    _log = Logger()

    def __init__(self, reactor: Any, begin_turn: Callable[[], None] = lambda: None) -> None:
        """
        @param reactor: the connections' own.
        @param begin_turn: called once in each turn of the reactor in which there is something to read, before it is.
        """
        self._reactor = reactor
        self._begin_turn = begin_turn
        self._waiting = select.epoll()
        self._connections: dict[int, Connection] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def adopt(self, connection: Connection) -> None:
        """Wait for its bytes from here on."""
        self._move(connection, self)

    @staticmethod
    def _move(connection: Any, reactor: Any) -> None:
        connection.stopReading()
        connection.reactor = reactor
        connection.startReading()

    # For connections

    def addReader(self, connection: Connection) -> None:
        """Have C{doRead} called when there are bytes, or the connection has ended."""
        descriptor = connection.fileno()
        if descriptor in self._connections:
            return
        if not self._connections:
            self._reactor.addReader(self)
        self._connections[descriptor] = connection
        self._waiting.register(descriptor, select.EPOLLIN)

    def removeReader(self, connection: Connection) -> None:
        """Have it called no more."""
        self._forget(connection.fileno())

    def _forget(self, descriptor: int) -> None:
        if self._connections.pop(descriptor, None) is None:
            return
        self._waiting.unregister(descriptor)
        if not self._connections:
            self._reactor.removeReader(self)

    # For the reactor

    def fileno(self) -> int:
        """The set's."""
        return self._waiting.fileno()

    def logPrefix(self) -> str:
        """What the log calls it."""
        return "Readers"

    def doRead(self) -> None:
        """Some have something to read."""
        self._begin_turn()
        for descriptor, _ in self._waiting.poll(0):
            connection = self._connections.get(descriptor)
            if connection is None:
                continue  # closed by what was read from another one just now
            try:
                if connection.doRead() is not None:
                    self._move(connection, self._reactor)  # to find out by itself that it has ended
            except Exception:
                self._log.failure("A connection is closed, since what came could not be taken")
                self._lose(descriptor, connection, Failure())

    def _lose(self, descriptor: int, connection: Connection, reason: Failure) -> None:
        """Close one, whatever comes of it: the others have no part in that."""
        self._forget(descriptor)
        try:
            connection.connectionLost(reason)
        except Exception:
            self._log.failure("The end of a connection could not be told")

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends."""
        for descriptor, connection in list(self._connections.items()):
            self._lose(descriptor, connection, reason)
