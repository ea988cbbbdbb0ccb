"""
What both ends of an AMP connection have in common: boxes come in within limits, and the connection is closed in time.

Must never log: what is wrong is told to who knows whether that is worth a line.
"""

from abc import ABC, abstractmethod
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.protocols.amp import AmpBox
from twisted.python.failure import Failure

from etcd_twisted.config.addresses import address_of
from etcd_twisted.net.reasons import reason_of
from etcd_twisted.net.sockets import UNACKNOWLEDGED_TIMEOUT_SECONDS, tune, write_now
from etcd_twisted.peer.boxes import Box, BoxError, BoxReader

GRACE = 1.0
"""How long what was written may take to be sent when a connection is closed, in seconds."""


class BoxConnection(Protocol, ABC):
    """
    A connection.

    @ivar peer: the other side's address.
    @ivar closing: whether no more is taken from it.
    @ivar reader: what comes in.
    @ivar problem: why it ended, or is about to; empty while it is well.
    """

    transport: Any

    def __init__(self, clock: IReactorTime, most: int, silence: float = UNACKNOWLEDGED_TIMEOUT_SECONDS) -> None:
        """
        @param most: how many bytes a box may take that comes in.
        @param silence: see L{UNACKNOWLEDGED_TIMEOUT_SECONDS}.
        """
        self.peer = ""
        self.closing = False
        self.reader = BoxReader(most)
        self.clock = clock
        self._silence = silence
        self.problem = ""
        self._too_late: IDelayedCall | None = None
        self._has_socket = False
        self._lost = False
        self._waiting: list[Deferred[str]] = []

    def connectionMade(self) -> None:
        """It is there."""
        self.peer = address_of(self.transport.getPeer())
        tune(self.transport, self._silence)
        self._has_socket = isinstance(self.transport, Connection)  # below TLS there is none to write to
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come."""
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
        """A box has come."""

    def send_box(self, box: AmpBox) -> None:
        """Send a box, if the connection is still there."""
        if not self._lost:
            self.send_bytes(box.serialize())

    def send_bytes(self, data: bytes) -> None:
        """Send whole boxes, in this turn of the reactor if there is room: others wait for them."""
        if self._has_socket:
            write_now(self.transport, data)
        else:
            self.transport.write(data)

    def refuse(self, reason: str) -> None:
        """
        What has come is wrong: end the connection.

        @param reason: what is wrong with it.
        """
        self.problem = self.problem or reason
        self.abort()

    # What Twisted says when the other side does not read

    def pauseProducing(self) -> None:
        """The other side has to read before more is written."""

    def resumeProducing(self) -> None:
        """More can be written."""

    def stopProducing(self) -> None:
        """Nothing more can be written."""

    # Its end

    def close(self) -> None:
        """Close, when what was written is sent, and soon."""
        self.closing = True
        if self._lost or self._too_late is not None:
            return
        self._too_late = self.clock.callLater(GRACE, self._give_up)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _give_up(self) -> None:
        self._too_late = None
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self.closing = True
        if not self._lost:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        self.closing = self._lost = True
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None
        self.problem = self.problem or reason_of(reason.value, self.transport)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(self.problem)

    def when_lost(self) -> "Deferred[str]":
        """Fires with why it ended, when nothing is left of it."""
        lost: Deferred[str] = Deferred()
        if self._lost:
            lost.callback(self.problem)
        else:
            self._waiting.append(lost)
        return lost
