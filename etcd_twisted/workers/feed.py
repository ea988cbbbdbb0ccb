"""
The consensus process's end of the feed: gives every worker a copy of the key space, then every entry that is applied,
and carries out the requests of workers.

An entry is encoded once for all workers. A worker that does not read as fast as entries come is cut off. This module
must never hold up the reactor for long because of a worker, nor send a worker an entry before those that it follows.
"""

from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.consensus.local_member import LocalMember
from etcd_twisted.consensus.participation import Participation
from etcd_twisted.consensus.raft.entries import SnapshotMetadata, data_bytes
from etcd_twisted.consensus.raft.log import fitting
from etcd_twisted.errors import CannotForwardError, RequestDroppedError
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.keyspace.state import KeySpaceState
from etcd_twisted.net.sockets import write_now
from etcd_twisted.workers.frames import (
    Answer,
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
    decode_up,
    frame,
)

MOST_WAITING_BYTES = 64 << 20
"""
How many bytes may wait for a worker that does not read. With more, it is cut off. If that happens while it is loading
its copy, twice as many may wait for the next one, until all are loaded: or it might be loaded again for ever.
"""

ENOUGH_WAITING_BYTES = 1 << 30
"""From how many bytes on no more may wait for the next one. All workers wait for the same bytes, but for answers."""

ENTRIES_BYTES = 1 << 20
"""How many bytes of data the entries of one frame hold, unless one entry alone holds more."""

STATE_SECONDS = 1.0
"""How often to look whether workers know the cluster time as it is, beside each time that they are sent entries."""

Frames = Iterator[bytes]
"""Frames that are made when there is room for them. An empty one is a pause."""


@implementer(IPushProducer)
class WorkerConnection(Protocol):
    """
    The connection to one worker.

    @ivar lost: fires when the connection is lost, whoever has ended it.
    @ivar waiting_bytes: how many bytes wait until the worker has read what was sent before.
    @ivar loading: whether there is more to be sent since a copy than the worker has room for.
    """

    transport: Any

    _log = Logger()

    def __init__(self, feed: "Feed") -> None:
        self.lost: Deferred[None] = Deferred()
        self.waiting_bytes = 0
        self.loading = False
        self._feed = feed
        self._frames = FrameReader()
        self._waiting: deque[bytes | Frames] = deque()
        self._paused = False
        self._cut_off = False
        self._requests: dict[int, Deferred[bytes]] = {}

    def connectionMade(self) -> None:
        """See L{Protocol}."""
        transport = self.transport
        self._write = partial(write_now, transport) if isinstance(transport, Connection) else transport.write
        transport.registerProducer(self, True)
        self._feed.begin(self)

    # To the worker

    def send(self, data: bytes) -> None:
        """Send a frame after all others."""
        if not (self._paused or self._waiting):
            self._write(data)
            return
        self._waiting.append(data)
        self.waiting_bytes += len(data)
        if self.waiting_bytes > MOST_WAITING_BYTES * self._feed.bound_factor and not self._cut_off:
            self._cut_off = True
            if self.loading and MOST_WAITING_BYTES * self._feed.bound_factor < ENOUGH_WAITING_BYTES:
                self._feed.bound_factor *= 2
            self._log.warn(
                "A worker does not read what it is sent, and is cut off: {bytes} bytes wait for it",
                bytes=self.waiting_bytes,
            )
            self.transport.abortConnection()

    def send_in_time(self, frames: Frames) -> None:
        """Send frames after all others, one in each turn of the reactor in which there is room for it."""
        self.loading = True
        self._waiting.append(frames)
        self._feed.in_next_turn(self)

    def go_on(self) -> bool:
        """
        Send what waits, as far as there is room: at most one frame of those that are made in time.

        @return: whether to go on in the next turn.
        """
        waiting = self._waiting
        while waiting and not self._paused and not self._cut_off:
            first = waiting[0]
            if isinstance(first, bytes):
                waiting.popleft()
                self.waiting_bytes -= len(first)
                self.transport.write(first)
                continue
            data = next(first, None)
            if data is None:
                waiting.popleft()
                continue
            if data:
                self.transport.write(data)
            return True
        if self.loading and not waiting and not self._cut_off:
            self.loading = False
            self._feed.loaded()
        return False

    def pauseProducing(self) -> None:
        """See L{IPushProducer}."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See L{IPushProducer}."""
        self._paused = False
        if self._waiting:
            self._feed.in_next_turn(self)

    def stopProducing(self) -> None:
        """See L{IPushProducer}."""
        self._cut_off = True

    # From the worker

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        for each in self._frames.feed(data):
            message = decode_up(each)
            if isinstance(message, Request):
                done = self._requests[message.number] = self._feed.carry_out(message.data)
                done.addCallbacks(self._answer, self._not_answered, (message.number,), errbackArgs=(message.number,))
                done.addErrback(self._failed)
            elif (withdrawn := self._requests.get(message.number)) is not None:
                withdrawn.cancel()

    def _answer(self, data: bytes, number: int) -> None:
        del self._requests[number]
        self.send(frame(Answer(number, data)))

    def _not_answered(self, failure: Failure, number: int) -> None:
        del self._requests[number]
        kind = failure.check(CancelledError, CannotForwardError, RequestDroppedError, ConnectionError)
        if kind is CancelledError:
            return
        reason = failure.getErrorMessage()
        if kind in (CannotForwardError, RequestDroppedError):
            self.send(frame(NotSent(number, reason, kind is CannotForwardError)))
            return
        self.send(frame(Lost(number, reason)))
        if kind is None:
            self._log.failure("Carrying out a request of a worker failed", failure)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("Answering a request of a worker failed", failure)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """See L{Protocol}."""
        self._cut_off = True
        self._waiting.clear()
        self._feed.end(self)
        for each in list(self._requests.values()):
            each.cancel()
        self.lost.callback(None)


class Feed:
    """
    Feeds the workers of one machine; see the module.

    @ivar bound_factor: how many times L{MOST_WAITING_BYTES} may wait for a worker now.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, participation: Participation) -> None:
        """
        @param participation: the machine's, which has not started yet.
        """
        self._clock = clock
        self._participation = participation
        self._workers: dict[WorkerConnection, None] = {}
        self._member: LocalMember | None = None
        self._keyspace = participation.replica.keyspace
        self._fed_index = 0
        """The index of the last entry that all workers have been sent."""
        self._state: State | None = None
        """What all workers know."""
        self._due: deque[WorkerConnection] = deque()
        self._turn: IDelayedCall | None = None
        self._look: IDelayedCall | None = None
        self.bound_factor = 1
        participation.on_member.append(self._has_member)
        participation.on_change.append(self._changed)
        participation.replica.on_cluster_id.append(self._changed)

    def attach(self) -> WorkerConnection:
        """Returns a protocol for the connection to one worker, which has just started."""
        return WorkerConnection(self)

    # Workers

    def begin(self, worker: WorkerConnection) -> None:
        """Bring a worker to where the machine is."""
        self._send_news()
        self._workers[worker] = None
        if self._member is not None:
            self._load(self._member, [worker])
        self._state = self._known()
        worker.send(frame(self._state))
        if self._look is None:
            self._look = self._clock.callLater(STATE_SECONDS, self._look_again)

    def end(self, worker: WorkerConnection) -> None:
        """A worker is gone."""
        self._workers.pop(worker, None)
        if not self._workers:
            for call in (self._look, self._turn):
                if call is not None:
                    call.cancel()
            self._look = self._turn = None
            self._due.clear()

    def loaded(self) -> None:
        """A worker has its copy, and all that came meanwhile."""
        if not any(worker.loading for worker in self._workers):
            self.bound_factor = 1

    def carry_out(self, request: bytes) -> "Deferred[bytes]":
        """
        Do what a worker asks.

        @return: see L{etcd_twisted.interfaces.ITransport.forward}.
        """
        member, participation = self._member, self._participation
        if member is None or participation.member is not member or participation.closed is not None:
            return fail(RequestDroppedError("this machine is not a member"))
        return member.carry_out(request, participation.replica.peer.answer_question)

    # The key space

    def _has_member(self) -> None:
        """The machine has become a member, and its key space holds what was recovered."""
        member = self._member = self._participation.member
        if member is None:
            return
        self._keyspace = self._participation.replica.keyspace
        self._fed_index = member.state_machine.applied_index
        member.node.on_applied.append(self._applied)
        member.state_machine.on_restored.append(self._restored)
        self._load(member, list(self._workers))

    def _restored(self) -> None:
        """Another machine's snapshot has replaced the key space."""
        if self._member is not None:
            self._fed_index = self._member.state_machine.applied_index
            self._load(self._member, list(self._workers))

    def _load(self, member: LocalMember, workers: list[WorkerConnection]) -> None:
        metadata, state = member.state_machine.view()
        for worker in workers:
            worker.send_in_time(_copy(metadata, state))

    def in_next_turn(self, worker: WorkerConnection) -> None:
        """Send more to a worker in a later turn. Each turn serves one worker, so several take no longer than one."""
        if worker not in self._due:
            self._due.append(worker)
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._turn = None
        worker = self._due.popleft()
        if worker.go_on():
            self._due.append(worker)
        if self._due:
            self._turn = self._clock.callLater(0, self._go_on)

    # News

    def _applied(self) -> None:
        """Send what was applied. This runs once for each batch, so it has to be short."""
        member, state = self._member, self._state
        if self._workers and member is not None and state is not None:
            self._send_entries(member)
            if state.ahead_seconds != self._participation.ahead_seconds:
                self._send_news()

    def _changed(self) -> None:
        if self._workers:
            self._send_news()

    def _send_news(self) -> None:
        """Send what was applied, and what has changed beside the key space since."""
        member = self._member
        if member is not None:
            if self._participation.replica.keyspace is not self._keyspace:
                self._member = None
                self._send(frame(Unload()))
            else:
                self._send_entries(member)
        state = self._known()
        if state != self._state:
            self._state = state
            self._send(frame(state))

    def _send_entries(self, member: LocalMember) -> None:
        first, last = self._fed_index + 1, member.state_machine.applied_index
        self._fed_index = last
        if last < first or not self._workers:
            return
        entries = member.raft.log.between(first, last + 1)
        size = data_bytes(entries)
        while size > ENTRIES_BYTES and len(entries) > 1:
            some = fitting(entries, ENTRIES_BYTES)
            self._send(frame(Entries(some)))
            entries, size = entries[len(some) :], size - data_bytes(some)
        self._send(frame(Entries(entries)))

    def _send(self, data: bytes) -> None:
        for worker in list(self._workers):
            worker.send(data)

    def _known(self) -> State:
        """Returns what there is to know beside the key space."""
        participation, replica = self._participation, self._participation.replica
        member, leader, closed = participation.member, replica.leader(), participation.closed
        return State(
            replica.name,
            replica.cluster_id,
            replica.term,
            None if member is None else member.raft.leader,
            None if leader is None else (leader.name, leader.client_url, leader.peer_url),
            replica.is_leader,
            participation.led_since,
            participation.ahead_seconds,
            replica.standby,
            replica.serving,
            None if closed is None else closed.cause,
        )

    def _look_again(self) -> None:
        self._look = self._clock.callLater(STATE_SECONDS, self._look_again)
        self._send_news()


def _copy(metadata: SnapshotMetadata, state: KeySpaceState) -> Frames:
    """Yields the frames by which a worker gets a copy of a key space."""
    chunks = dump(state)
    del state  # so that it is freed in small steps, as the chunks are made
    yield frame(Load(metadata))
    for chunk in chunks:
        yield frame(Piece(chunk)) if chunk else b""
    yield frame(Loaded())
