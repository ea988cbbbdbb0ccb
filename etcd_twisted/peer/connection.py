"""
A connection over which AMP boxes go, with limits and an orderly end; and one over which payloads go both ways: in
order, except for urgent ones, and without answers.

What the other side does not read yet waits here, up to a bound, and goes out once there is room.

This module must never log: a subclass knows whether a problem is worth a line. It must never hold more for a machine
that does not read than L{Outbox} does.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.protocols.amp import COMMAND, AmpBox
from twisted.python.failure import Failure

from etcd_twisted.config.addresses import address_of
from etcd_twisted.net.reasons import reason_of
from etcd_twisted.net.sockets import UNACKNOWLEDGED_TIMEOUT_SECONDS, tune, write_now
from etcd_twisted.peer.boxes import (
    MAX_SHORT_PAYLOAD_BYTES,
    Box,
    BoxError,
    BoxReader,
    PayloadAssembler,
    short_box,
)
from etcd_twisted.peer.commands import Deliver
from etcd_twisted.peer.outbox import Outbox

CLOSE_TIMEOUT_SECONDS = 1.0
"""How long the rest of what was written may take to be sent when a connection is closed."""

STALL_TIMEOUT_SECONDS = 5.0
"""A connection is given up if the other side reads nothing for so long."""

_DELIVER = Deliver.commandName


class BoxConnection(Protocol, ABC):
    """
    A connection over which boxes go.

    @ivar peer: the other side's address.
    @ivar closing: whether nothing more is accepted from it.
    @ivar reader: reads what comes in.
    @ivar problem: why the connection ended, or is about to; empty while it is well.
    """

    transport: Any

    def __init__(self, clock: IReactorTime, max_box_bytes: int, unacknowledged_timeout_seconds: float) -> None:
        """
        @param max_box_bytes: how large a box may be that comes in.
        @param unacknowledged_timeout_seconds: see L{etcd_twisted.net.sockets.UNACKNOWLEDGED_TIMEOUT_SECONDS}.
        """
        self.peer = ""
        self.closing = False
        self.reader = BoxReader(max_box_bytes)
        self.clock = clock
        self._ack_timeout_seconds = unacknowledged_timeout_seconds
        self.problem = ""
        self._close_timeout: IDelayedCall | None = None
        self._has_socket = False
        self._lost = False
        self._when_lost: list[Deferred[str]] = []

    def connectionMade(self) -> None:
        """Set the options of the socket."""
        self.peer = address_of(self.transport.getPeer())
        tune(self.transport, self._ack_timeout_seconds)
        self._has_socket = isinstance(self.transport, Connection)  # below TLS there is none to write to
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes."""
        if self.closing:
            return
        try:
            for box in self.reader.read(data):
                self.box_received(box)
                if self.closing:
                    return
        except BoxError as error:
            self.refuse(str(error))

    @abstractmethod
    def box_received(self, box: Box) -> None:
        """Take a box."""

    def send_box(self, box: AmpBox) -> None:
        """Send a box, if the connection is still there."""
        if not self._lost:
            self.send_bytes(box.serialize())

    def send_bytes(self, data: bytes) -> None:
        """Send whole boxes, in this turn of the reactor if there is room: other machines wait for them."""
        if self._has_socket:
            write_now(self.transport, data)
        else:
            self.transport.write(data)

    def refuse(self, reason: str) -> None:
        """
        End the connection because of what came.

        @param reason: what is wrong with it.
        """
        self.problem = self.problem or reason
        self.abort()

    # Back-pressure: whether the other side reads

    def pauseProducing(self) -> None:
        """Stop writing until the other side reads."""

    def resumeProducing(self) -> None:
        """Go on to write."""

    def stopProducing(self) -> None:
        """Stop writing for good."""

    # The end

    def close(self) -> None:
        """Close once what was written is sent, but soon."""
        self.closing = True
        if self._lost or self._close_timeout is not None:
            return
        self._close_timeout = self.clock.callLater(CLOSE_TIMEOUT_SECONDS, self._close_timed_out)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _close_timed_out(self) -> None:
        self._close_timeout = None
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self.closing = True
        if not self._lost:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell those who wait for the end."""
        self.closing = self._lost = True
        if self._close_timeout is not None:
            self._close_timeout.cancel()
            self._close_timeout = None
        self.problem = self.problem or reason_of(reason.value, self.transport)
        waiting, self._when_lost = self._when_lost, []
        for each in waiting:
            each.callback(self.problem)

    def when_lost(self) -> "Deferred[str]":
        """Returns a Deferred that fires with why the connection ended, once nothing is left of it."""
        lost: Deferred[str] = Deferred()
        if self._lost:
            lost.callback(self.problem)
        else:
            self._when_lost.append(lost)
        return lost


class MessageConnection(BoxConnection):
    """
    A connection over which payloads go.

    @ivar received: takes the payloads that come in; raises L{ValueError} for a wrong one. C{None} while none may come.
    @ivar has_sent: whether a payload was written, which may not have arrived.
    """

    def __init__(
        self,
        clock: IReactorTime,
        max_box_bytes: int,
        unacknowledged_timeout_seconds: float = UNACKNOWLEDGED_TIMEOUT_SECONDS,
    ) -> None:
        super().__init__(clock, max_box_bytes, unacknowledged_timeout_seconds)
        self.received: Callable[[bytes], None] | None = None
        self.has_sent = False
        self._assembler = PayloadAssembler()
        self._paused = False
        self._paused_since = 0.0
        self._outbox = Outbox()
        """Empty while the connection is neither paused nor emptying it."""
        self._emptying = False

    # Coming in

    @property
    def has_part(self) -> bool:
        """Whether the rest of a box, or of a payload, is to come."""
        return self.reader.has_part or self._assembler.has_part

    def box_received(self, box: Box) -> None:
        """Take a box: a payload, a part of one, or something else."""
        if box.get(COMMAND) != _DELIVER:
            self.other_box_received(box)
            return
        if self.received is None:
            self.refuse("it sent messages before it said who it is")
            return
        try:
            payload = self._assembler.take(box)
            if payload is not None:
                self.received(payload)
        except ValueError as error:
            self.refuse(str(error))

    @abstractmethod
    def other_box_received(self, box: Box) -> None:
        """Take a box that is not a payload."""

    # Going out

    def deliver(self, payload: bytes) -> bool:
        """Send a payload behind the others. Returns whether there was room for it."""
        return self._send_short(payload) or (not self.closing and self._write_if(self._outbox.add(payload)))

    def deliver_ahead(self, payload: bytes) -> bool:
        """Send a payload ahead of the others. Returns whether there was room for it."""
        return self._send_short(payload) or (not self.closing and self._write_if(self._outbox.add_ahead(payload)))

    def _send_short(self, payload: bytes) -> bool:
        """Send a payload past the outbox if that is empty and one box suffices. Returns whether it was sent."""
        if self._paused or self._emptying or self.closing or len(payload) > MAX_SHORT_PAYLOAD_BYTES:
            return False
        self.has_sent = True
        self.send_bytes(short_box(payload))
        return True

    def _write_if(self, taken: bool) -> bool:
        if taken:
            self.has_sent = True
            self._write()
        return taken

    def _write(self) -> None:
        """Write what there is room for."""
        self._emptying = True
        while not self._paused and (box := self._outbox.take()) is not None:
            self.send_bytes(box)
        self._emptying = False

    def pauseProducing(self) -> None:
        """Stop writing until the other side reads."""
        if not self._paused:
            self._paused = True
            self._paused_since = self.clock.seconds()

    def resumeProducing(self) -> None:
        """Go on to write."""
        self._paused = False
        self._write()

    def check_progress(self, now: float) -> None:
        """Give the connection up if the other side reads nothing of what waits for it."""
        if self._paused and not self.closing and now - self._paused_since >= STALL_TIMEOUT_SECONDS:
            self.refuse(f"it has read nothing for {STALL_TIMEOUT_SECONDS:g} seconds")

    def close(self) -> None:
        """Close once what waits is sent, but soon."""
        if not self.closing:
            for box in iter(self._outbox.take, None):
                self.send_bytes(box)
        super().close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Drop what waits."""
        self._outbox.clear()
        super().connectionLost(reason)
