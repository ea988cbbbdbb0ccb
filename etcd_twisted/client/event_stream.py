"""
The body of one watch: events, one on each line, until the server or the watch ends it.

This module must never hold back an event that has arrived, nor take half of one for a whole.
"""

from collections.abc import Callable
from typing import cast

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from etcd_twisted.client.results import Index


class EventStream(Protocol):
    """
    Reads the events of one answer.

    @ivar index: where the machine stood when it accepted the watch.
    @ivar streaming: whether the answer has many events, not one.
    @ivar is_renewal: whether this took the place of a connection that was quiet.
    @ivar count: how many events have come.
    @ivar is_useful: whether one of them was not a repetition.
    @ivar accepted_at: when the watch was accepted.
    @ivar active_at: when the last event came, or when the watch was accepted.
    @ivar is_paused: whether nothing is read from the connection.
    @ivar ended: fires when nothing comes any more, with whether the server has ended the answer in order.
    """

    def __init__(
        self,
        take: "Callable[[EventStream, bytes], None]",
        index: Index,
        streaming: bool,
        is_renewal: bool,
        now: float,
    ) -> None:
        """
        @param take: called with this and the JSON of each event.
        @param now: the time, in seconds of the clock.
        """
        self.index = index
        self.streaming = streaming
        self.is_renewal = is_renewal
        self.count = 0
        self.is_useful = False
        self.accepted_at = now
        self.active_at = now
        self.is_paused = False
        self.ended: Deferred[bool] = Deferred()
        self._take = take
        self._rest = b""
        self._closed = False

    def dataReceived(self, data: bytes) -> None:
        """Take some of the body."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line and not self._closed:
                self._take(self, line)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take the end of the body."""
        clean = reason.check(ResponseDone) is not None
        # A long poll's event has no newline, and an answer without a length ends with its connection.
        if self._rest and not self._closed and (clean or (reason.check(PotentialDataLoss) and _is_json(self._rest))):
            self._take(self, self._rest)
        self._end(clean)

    def _end(self, clean: bool) -> None:
        if not self.ended.called:
            self.ended.callback(clean)

    @property
    def has_begun(self) -> bool:
        """Whether some of the body has come."""
        return self.count > 0 or bool(self._rest)

    def pause(self) -> None:
        """Read nothing until L{resume} is called."""
        if not self.is_paused and self.transport is not None:
            self.is_paused = True
            cast(IPushProducer, self.transport).pauseProducing()

    def resume(self) -> None:
        """Read on."""
        if self.is_paused and self.transport is not None:
            self.is_paused = False
            cast(IPushProducer, self.transport).resumeProducing()

    def close(self) -> None:
        """Close the connection."""
        self._closed = True
        if self.transport is not None:
            self.transport.loseConnection()
        self._end(False)


def _is_json(data: bytes) -> bool:
    """Returns whether this is one JSON document as a whole."""
    try:
        msgspec.json.decode(data)
    except msgspec.DecodeError:
        return False
    return True
