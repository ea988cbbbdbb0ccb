"""
The worker's end of the feed: brings the worker's replica to where the machine is, keeps it there, and takes its
requests to the machine.

Whatever comes is dealt with in its order, a bounded amount in each turn of the reactor; while more waits, nothing is
read. This module must never let the replica go on without what it has missed.
"""

import itertools
from collections import deque
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.config import Config
from etcd_twisted.consensus.raft.entries import Entry, SnapshotMetadata
from etcd_twisted.errors import CannotForwardError, RequestDroppedError
from etcd_twisted.keyspace.snapshot import SnapshotLoader
from etcd_twisted.net.sockets import write_now
from etcd_twisted.workers.frames import (
    Answer,
    Down,
    Entries,
    FrameReader,
    Load,
    Loaded,
    Lost,
    NotSent,
    Piece,
    Request,
    State,
    Unload,
    Up,
    Withdraw,
    decode_down,
    frame,
)
from etcd_twisted.workers.replica import WorkerReplica


@attrs.frozen
class _Loading:
    """A copy that is being loaded."""

    snapshot: SnapshotMetadata
    loader: SnapshotLoader = attrs.field(factory=SnapshotLoader)


class WorkerFeed(Protocol):
    """
    The worker's end of the feed; see the module.

    @ivar replica: the worker's replica. It serves nothing before L{loaded} has fired, nor after L{lost} has.
    @ivar loaded: fires with the replica when it is where the machine is; never if the feed is lost before.
    @ivar lost: fires when the feed is lost: the worker can't go on.
    """

    transport: Any

    _log = Logger()

    def __init__(self, clock: IReactorTime, config: Config) -> None:
        """
        @param clock: the monotonic clock that the machine uses.
        """
        self.replica = WorkerReplica(clock, config, self)
        self.loaded: Deferred[WorkerReplica] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self._clock = clock
        self._frames = FrameReader()
        self._waiting: deque[bytes] = deque()
        self._entries: tuple[Entry, ...] = ()
        """Entries that have come, and for which there was no room yet in a turn."""
        self._loading: _Loading | None = None
        self._turn: IDelayedCall | None = None
        self._is_loaded = self._is_lost = False
        self._numbers = itertools.count()
        self._asked: dict[int, Deferred[bytes]] = {}

    # Requests of the replica

    def forward(self, machine_id: str, request: bytes) -> "Deferred[bytes]":  # noqa: ARG002  # the machine knows better
        """See L{etcd_twisted.interfaces.ITransport.forward}."""
        number = next(self._numbers)
        answer: Deferred[bytes] = Deferred(lambda _: self._withdraw(number))
        if self._is_lost:
            answer.errback(RequestDroppedError("this worker is cut off"))
            return answer
        self._asked[number] = answer
        self._send(Request(number, request))
        return answer

    def _withdraw(self, number: int) -> None:
        if self._asked.pop(number, None) is not None:
            self._send(Withdraw(number))

    def _send(self, message: Up) -> None:
        self._write(frame(message))

    # What comes

    def connectionMade(self) -> None:
        """See L{Protocol}."""
        transport = self.transport
        self._write = partial(write_now, transport) if isinstance(transport, Connection) else transport.write

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        self._waiting.extend(self._frames.feed(data))
        if self._turn is None:
            self._go_on()

    def _go_on(self) -> None:
        """Deal with what waits, as far as one turn allows."""
        was_late, self._turn = self._turn is not None, None
        try:
            is_done = self._deal()
        except Exception:
            self._log.failure("This worker can't go on with what its machine has sent")
            self.transport.abortConnection()
            return
        if not is_done:
            self._turn = self._clock.callLater(0, self._go_on)
            if not was_late:
                self.transport.pauseProducing()
        elif was_late:
            self.transport.resumeProducing()

    def _deal(self) -> bool:
        """Returns whether nothing is left."""
        room, waiting = self.replica.room(), self._waiting
        while waiting or self._entries:
            if self._entries:
                if not room:
                    return False
                some, self._entries = self._entries[:room], self._entries[room:]
                self.replica.apply(some)
                room -= len(some)
                continue
            encoded = waiting.popleft()
            message = decode_down(encoded)
            if isinstance(message, Entries):
                self._entries = message.entries
            elif isinstance(message, Answer | NotSent | Lost):
                self._answered(message)
            elif isinstance(message, Piece):
                self._loader.loader.feed(message.data)
                return not waiting
            elif isinstance(message, Unload) and self.replica.keyspace.hub.backlog:
                waiting.appendleft(encoded)  # watchers get the events from before first
                return False
            else:
                self._take(message)
        return True

    def _take(self, message: Down) -> None:
        replica = self.replica
        if isinstance(message, State):
            replica.update(message)
            if not self._is_loaded:
                self._is_loaded = True
                self.loaded.callback(replica)
        elif isinstance(message, Load):
            self._loading = _Loading(message.snapshot)
        elif isinstance(message, Loaded):
            loading, self._loading = self._loader, None
            replica.restore(loading.loader.finish(), loading.loader.schedule, loading.snapshot)
        elif isinstance(message, Unload):
            replica.unload()

    @property
    def _loader(self) -> _Loading:
        if self._loading is None:
            raise ValueError("a piece of a copy has come before its beginning")
        return self._loading

    def _answered(self, message: Answer | NotSent | Lost) -> None:
        answer = self._asked.pop(message.number, None)
        if answer is None:
            return  # it is not wanted any more
        if isinstance(message, Answer):
            answer.callback(message.data)
        elif isinstance(message, Lost):
            answer.errback(ConnectionError(message.reason))
        else:
            answer.errback((CannotForwardError if message.cannot else RequestDroppedError)(message.reason))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """See L{Protocol}."""
        self._is_lost = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._waiting.clear()
        asked, self._asked = self._asked, {}
        for each in asked.values():
            each.errback(ConnectionError("the machine that was asked has not answered"))
        self.replica.end()
        self.lost.callback(None)
