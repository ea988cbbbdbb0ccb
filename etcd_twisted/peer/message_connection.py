"""
A connection over which payloads go both ways: in order, except for urgent ones, and without answers.

What the other side does not read yet waits here, up to a bound, and goes out once there is room.

This module must never hold more for a machine that does not read than L{Outbox} does.
"""

from abc import abstractmethod
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols.amp import COMMAND
from twisted.python.failure import Failure

from etcd_twisted.net.sockets import UNACKNOWLEDGED_TIMEOUT_SECONDS
from etcd_twisted.peer.boxes import Box
from etcd_twisted.peer.commands import Deliver
from etcd_twisted.peer.connection import BoxConnection
from etcd_twisted.peer.outbox import Outbox
from etcd_twisted.peer.payloads import PayloadAssembler

STALL_TIMEOUT_SECONDS = 5.0
"""A connection is given up if the other side reads nothing for so long."""

_DELIVER = Deliver.commandName


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

    # Coming in

    @property
    def has_part(self) -> bool:
        """Whether the rest of a box, or of a payload, is to come."""
        return self.reader.has_part or self._assembler.has_part

    def box_received(self, box: Box) -> None:
        """Takes a box: a payload, a part of one, or something else."""
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
        """Takes a box that is not a payload."""

    # Going out

    def deliver(self, payload: bytes) -> bool:
        """Sends a payload behind the others; returns whether there was room for it."""
        return not self.closing and self._write_if(self._outbox.add(payload))

    def deliver_ahead(self, payload: bytes) -> bool:
        """Sends a payload ahead of the others; returns whether there was room for it."""
        return not self.closing and self._write_if(self._outbox.add_ahead(payload))

    def _write_if(self, taken: bool) -> bool:
        if taken:
            self.has_sent = True
            self._write()
        return taken

    def _write(self) -> None:
        """Writes what there is room for."""
        while not self._paused and (box := self._outbox.take()) is not None:
            self.send_bytes(box)

    def pauseProducing(self) -> None:
        """Stops writing until the other side reads."""
        if not self._paused:
            self._paused = True
            self._paused_since = self.clock.seconds()

    def resumeProducing(self) -> None:
        """Goes on to write."""
        self._paused = False
        self._write()

    def check_progress(self, now: float) -> None:
        """Gives the connection up if the other side reads nothing of what waits for it."""
        if self._paused and not self.closing and now - self._paused_since >= STALL_TIMEOUT_SECONDS:
            self.refuse(f"it has read nothing for {STALL_TIMEOUT_SECONDS:g} seconds")

    def close(self) -> None:
        """Closes once what waits is sent, but soon."""
        if not self.closing:
            for box in iter(self._outbox.take, None):
                self.send_bytes(box)
        super().close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Drops what waits."""
        self._outbox.clear()
        super().connectionLost(reason)
