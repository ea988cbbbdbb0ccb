"""
A connection over which payloads go, either way: in order, as far as it lives, and not answered.

What the other side takes no time for waits here, up to a bound, and goes out as there is room.

Must never hold more than that bound and one payload for a machine that does not read.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols.amp import COMMAND
from twisted.python.failure import Failure

from etcd_twisted.peer.boxes import Box
from etcd_twisted.peer.commands import Deliver
from etcd_twisted.peer.connection import BoxConnection
from etcd_twisted.peer.delivery import Assembly, boxes
from etcd_twisted.peer.sockets import SILENCE

MOST_WAITING = 8 << 20
"""How many bytes may wait for a machine; one more payload is taken when there are fewer."""

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

    def __init__(self, clock: IReactorTime, most: int, silence: float = SILENCE) -> None:
        super().__init__(clock, most, silence)
        self.received: Callable[[bytes], None] | None = None
        self.used = False
        self._assembly = Assembly()
        self._paused = False
        self._paused_since = 0.0
        self._queue: deque[bytes] = deque()
        self._queued = 0

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
        """Send a payload; whether there was room for it."""
        if self.closing or self._queued > MOST_WAITING:
            return False
        self.used = True
        for box in boxes(payload):
            if self._paused:
                self._queue.append(box)
                self._queued += len(box)
            else:
                self.transport.write(box)
        return True

    def pauseProducing(self) -> None:
        """The other side has to read before more is written."""
        if not self._paused:
            self._paused = True
            self._paused_since = self.clock.seconds()

    def resumeProducing(self) -> None:
        """More can be written."""
        self._paused = False
        while self._queue and not self._paused:
            box = self._queue.popleft()
            self._queued -= len(box)
            self.transport.write(box)

    def check_progress(self, now: float) -> None:
        """Give the connection up if the other side takes nothing of what there is for it."""
        if self._paused and not self.closing and now - self._paused_since >= STALL:
            self.refuse(f"it has taken nothing for {STALL:g} seconds")

    def close(self) -> None:
        """Close, when what waits is sent, and soon."""
        if not self.closing:
            self.transport.writeSequence(self._queue)
            self._queue.clear()
        super().close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone, with what waited."""
        self._queue.clear()
        super().connectionLost(reason)
