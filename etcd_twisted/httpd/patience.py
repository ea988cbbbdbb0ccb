"""
How long a client may take: to go on with a request, and to take what it is sent.

What a client takes is what its system has acknowledged: there may be room for nothing more in the socket while a slow
client reads on steadily. Its system acknowledges in steps of some tens of kilobytes, so that with a timeout of ten
seconds 10 kB/s are steady.

Nothing is timed here: who owns the connections asks every second or so. Must never end a wait for events.
"""

from typing import Any

from etcd_twisted.httpd.exchange import MOST_WAITING, Exchange
from etcd_twisted.net.sockets import bytes_taken

LONGEST_BEHIND = 1.0
"""How long the client of a stream may take nothing while more than L{MOST_WAITING} waits for it, in seconds."""


class Patience:
    """
    With one client, on one connection.

    @ivar deadline: by when the client has to go on; 0 while it has not.
    @ivar stalled: whether the client has to read before more is sent.
    """

    transport: Any
    stalled = False
    _stalled_since = 0.0
    _bytes_taken: int | None = None
    _taken_at = 0.0
    deadline = 0.0

    def expect_by(self, deadline: float) -> None:
        """The client has to go on by then; 0 while it has not."""
        self.deadline = deadline

    def stall(self, now: float) -> None:
        """The client has to read before more is sent."""
        if not self.stalled:
            self.stalled = True
            self._stalled_since = self._taken_at = now

    def begin_to_close(self, now: float) -> None:
        """The answer ends with what waits to be sent."""
        self.stalled = False
        self._taken_at = now
        self.deadline = 0.0

    def is_late(self, now: float) -> bool:
        """Whether the client should have gone on by now."""
        return bool(self.deadline) and now >= self.deadline

    def takes_nothing(self, now: float, exchange: object, write_timeout: float) -> bool:
        """
        Whether the client, for which something waits, has taken nothing for too long.

        @param exchange: what is under way on the connection, if anything.
        @param write_timeout: how long is too long, in seconds; less for the client of a stream that much waits for,
            which has to make room.
        """
        taken = bytes_taken(self.transport)
        if taken != self._bytes_taken:
            self._bytes_taken = taken
            self._taken_at = now
        behind = isinstance(exchange, Exchange) and exchange.waiting_bytes > MOST_WAITING
        return now - self._taken_at >= write_timeout or (behind and now - self._stalled_since >= LONGEST_BEHIND)
