"""
A connection over which payloads go, either way: in order but for those that may go ahead, as far as it lives, and not
answered.

What the other side takes no time for waits here, up to a bound, and goes out as there is room.

Must never hold more for a machine that does not read than L{Outbox} does.
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
from etcd_twisted.peer.delivery import Assembly
from etcd_twisted.peer.outbox import Outbox

STALL = 5.0
"""After how many seconds in which a machine has taken nothing a connection is given up."""

_DELIVER = Deliver.commandName


class MessageConnection(BoxConnection):
    """
    A connection.

    @ivar received: takes the payloads that come; raises L{ValueError} for one that is wrong. C{None} while none may
        come.
    @ivar used: whether a payload was written that may not have arrived.
    """

    def __init__(self, clock: IReactorTime, most: int, silence: float = UNACKNOWLEDGED_TIMEOUT_SECONDS) -> None:
        super().__init__(clock, most, silence)
        self.received: Callable[[bytes], None] | None = None
        self.used = False
        self._assembly = Assembly()
        self._paused = False
        self._paused_since = 0.0
        self._outbox = Outbox()

    # What comes

    @property
    def has_part(self) -> bool:
        """Whether the rest of a box, or of a payload, is to come."""
        return self.reader.has_part or self._assembly.has_part

    def box_received(self, box: Box) -> None:
        """A box has come: a payload, or a part of one, or something else."""
        if box.get(COMMAND) != _DELIVER:
            self.other_received(box)
            return
        if self.received is None:
            self.refuse("it sent messages before it said who it is")
            return
        try:
            payload = self._assembly.take(box)
            if payload is not None:
                self.received(payload)
        except ValueError as error:
            self.refuse(str(error))

    @abstractmethod
    def other_received(self, box: Box) -> None:
        """A box has come that is no payload."""

    # What goes

    def deliver(self, payload: bytes) -> bool:
        """Send a payload behind the others; whether there was room for it."""
        return not self.closing and self._sent(self._outbox.add(payload))

    def deliver_ahead(self, payload: bytes) -> bool:
        """Send a payload ahead of the others; whether there was room for it."""
        return not self.closing and self._sent(self._outbox.add_ahead(payload))

    def _sent(self, taken: bool) -> bool:
        if taken:
            self.used = True
            self._write()
        return taken

    def _write(self) -> None:
        """Write what there is room for."""
        while not self._paused and (box := self._outbox.take()) is not None:
            self.send_bytes(box)

    def pauseProducing(self) -> None:
        """The other side has to read before more is written."""
        if not self._paused:
            self._paused = True
            self._paused_since = self.clock.seconds()

    def resumeProducing(self) -> None:
        """More can be written."""
        self._paused = False
        self._write()

    def check_progress(self, now: float) -> None:
        """Give the connection up if the other side takes nothing of what there is for it."""
        if self._paused and not self.closing and now - self._paused_since >= STALL:
            self.refuse(f"it has taken nothing for {STALL:g} seconds")

    def close(self) -> None:
        """Close, when what waits is sent, and soon."""
        if not self.closing:
            for box in iter(self._outbox.take, None):
                self.send_bytes(box)
        super().close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone, with what waited."""
        self._outbox.clear()
        super().connectionLost(reason)
