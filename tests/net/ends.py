"""
Protocols and producers at the ends of a connection, which note what happens to them.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

MUCH = 4 << 20
"""More than a connection's buffers hold."""


class End(Protocol):
    """One end of a connection, which records what happens to it."""

    transport: Any

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost: Failure | None = None
        self.seen: list[str] = []
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def connectionMade(self) -> None:
        self._note("made")

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self._note("data")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        self._note("lost")

    def _note(self, event: str) -> None:
        if not self.seen or self.seen[-1] != event:
            self.seen.append(event)
        waiting, self._waiting = self._waiting, []
        for condition, waiter in waiting:
            if condition():
                waiter.callback(None)
            else:
                self._waiting.append((condition, waiter))

    async def when(self, condition: Callable[[], bool]) -> None:
        """Returns when a condition holds, which is checked whenever something happens to this end."""
        if not condition():
            waiter: Deferred[None] = Deferred()
            self._waiting.append((condition, waiter))
            await waiter

    async def when_lost(self) -> type[BaseException]:
        """Returns the reason for the loss of the connection."""
        await self.when(lambda: self.lost is not None)
        assert self.lost is not None
        assert self.lost.type is not None
        return self.lost.type


@implementer(IHalfCloseableProtocol)
class HalfCloseableEnd(End):
    """An end that goes on when one half of its connection is closed."""

    def readConnectionLost(self) -> None:
        self._note("read lost")

    def writeConnectionLost(self) -> None:
        self._note("write lost")


@implementer(IPushProducer)
class Producer:
    """Writes pieces until it is paused, and continues when it is resumed."""

    def __init__(self, end: End, pieces: int, piece: bytes = b"x" * 10_000) -> None:
        self.end = end
        self.left = pieces
        self.piece = piece
        self.paused = True
        self.pauses = 0
        self.stopped = False
        end.transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        while self.left and not self.paused and not self.stopped:
            self.left -= 1
            self.end.transport.write(self.piece)
        if not self.left:
            self.end.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.paused = True
        self.pauses += 1

    def stopProducing(self) -> None:
        self.stopped = True


class PullProducer:
    """Writes a piece whenever it is resumed."""

    def __init__(self, end: End, pieces: int) -> None:
        self.end = end
        self.left = pieces

    def resumeProducing(self) -> None:
        if self.left:
            self.left -= 1
            self.end.transport.write(b"x" * 10_000)
        if not self.left:
            self.end.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.left = 0
