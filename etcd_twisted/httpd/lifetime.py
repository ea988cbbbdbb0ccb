"""
How long a connection lasts: all of its timeouts.

A client has to complete a request within the read timeout, and has to take some of an answer within the write timeout.
What counts as taken is what the client's system has acknowledged: the socket may be full for a long time while a slow
client reads steadily. A system acknowledges in steps of some tens of kilobytes, so with a timeout of ten seconds a
client that reads 10 kB/s counts as steady.

A channel owns a L{Lifetime}, tells it what happens, and asks it for a L{Verdict} whenever its site sweeps, about once
a second. A lifetime calls nobody back and closes nothing. It must never end a wait for events, nor count the time that
the server takes to make an answer.
"""

from enum import Enum, auto
from typing import Protocol

from twisted.internet.interfaces import ITransport

from etcd_twisted.httpd.limits import Limits
from etcd_twisted.net.sockets import bytes_taken, has_gone


class Verdict(Enum):
    """What should become of a connection."""

    STAYS = auto()
    """Nothing is overdue."""

    LATE = auto()
    """The client did not go on in time. The connection can still be closed in order."""

    ABORTED = auto()
    """The client takes nothing, or has gone. There is nobody to send anything to."""


class Backlog(Protocol):
    """The answer under way."""

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of a stream wait for its client to read."""


class Lifetime:
    """
    The timeouts of one connection.

    @ivar deadline: when the client has to have gone on, in the clock's seconds; 0 while nothing is expected of it.
        While L{receiving}, it is the time by which the request has to be complete.
    @ivar receiving: whether a part of a request has come, but not all of it.
    @ivar stalled: whether the client has to read before more is sent.
    @ivar closing: whether the connection closes as soon as the client has taken what was sent.
    """

    __slots__ = (
        "_bytes_taken", "_limits", "_stalled_since", "_taken_at", "_transport",
        "closing", "deadline", "receiving", "stalled",
    )  # fmt: skip

    def __init__(self, transport: ITransport, limits: Limits, now: float) -> None:
        """Begin to wait for the first request."""
        self._transport = transport
        self._limits = limits
        self._bytes_taken: int | None = None
        self._taken_at = 0.0
        self._stalled_since = 0.0
        self.receiving = False
        self.stalled = False
        self.closing = False
        self.deadline = now + limits.idle_timeout_seconds

    def expect_request(self, now: float) -> None:
        """Nothing is under way: the client may send its next request within the idle timeout."""
        self.deadline = now + self._limits.idle_timeout_seconds

    def begin_request(self, now: float) -> None:
        """A part of a request has come: all of it has to come within the read timeout, which is never prolonged."""
        if not self.receiving:
            self.receiving = True
            self.deadline = now + self._limits.read_timeout_seconds

    def end_request(self) -> None:
        """The request is complete: until it is answered, nothing is expected of the client."""
        self.receiving = False
        self.deadline = 0.0

    def refuse(self, now: float) -> None:
        """The request was refused: the client may go on sending for a moment."""
        self.stalled = False
        self.deadline = now + self._limits.refused_timeout_seconds

    def stall(self, now: float) -> None:
        """The client has to read before more is sent."""
        if not self.stalled:
            self.stalled = True
            self._stalled_since = self._taken_at = now

    def close(self, now: float) -> None:
        """The connection closes when the client has taken what was sent, which is all that is expected of it."""
        self.closing = True
        self.stalled = False
        self._taken_at = now
        self.deadline = 0.0

    def verdict(self, now: float, backlog: Backlog | None, held: bool) -> Verdict:
        """
        Returns what should become of the connection.

        @param backlog: the answer under way, if there is one.
        @param held: whether an answer is waited for and the connection is not read meanwhile, so that nothing else
            shows that the client has gone.
        """
        if (self.stalled or self.closing) and self._takes_nothing(now, backlog):
            return Verdict.ABORTED
        if held and not self.stalled and has_gone(self._transport):
            return Verdict.ABORTED
        return Verdict.LATE if self.deadline and now >= self.deadline else Verdict.STAYS

    def _takes_nothing(self, now: float, backlog: Backlog | None) -> bool:
        """Returns whether the client has taken nothing of what waits for it for too long."""
        limits, taken = self._limits, bytes_taken(self._transport)
        if taken != self._bytes_taken:
            self._bytes_taken = taken
            self._taken_at = now
        if now - self._taken_at >= limits.write_timeout_seconds:
            return True
        behind = backlog is not None and backlog.buffered_bytes > limits.stream_backlog_bytes
        return behind and now - self._stalled_since >= limits.stream_backlog_timeout_seconds
