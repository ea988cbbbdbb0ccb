"""
How long a client may take: to go on with a request, and to take what it is sent.

Nothing is timed here: who owns the connections asks every second or so. Must never end a wait for events.
"""

from etcd_twisted.http.exchange import MOST_WAITING, Exchange

LONGEST_BEHIND = 1.0
"""How long the client of a stream may take nothing while more than L{MOST_WAITING} waits for it, in seconds."""


class Patience:
    """
    With one client, on one connection.

    @ivar deadline: by when the client has to go on; 0 while it has not.
    @ivar stalled: whether the client has to read before more is sent.
    """

    stalled = False
    _stalled_since = 0.0
    deadline = 0.0

    def expect_by(self, deadline: float) -> None:
        """The client has to go on by then; 0 while it has not."""
        self.deadline = deadline

    def stall(self, now: float) -> None:
        """The client has to read before more is sent."""
        if not self.stalled:
            self.stalled = True
            self._stalled_since = now

    def is_late(self, now: float) -> bool:
        """Whether the client should have gone on by now."""
        return bool(self.deadline) and now >= self.deadline

    def takes_nothing(self, now: float, exchange: object, write_timeout: float) -> bool:
        """
        Whether the client has taken nothing for too long.

        @param exchange: what is under way on the connection, if anything.
        @param write_timeout: how long is too long, in seconds; less for the client of a stream that much waits for.
        """
        if not self.stalled:
            return False
        stalled_for = now - self._stalled_since
        behind = isinstance(exchange, Exchange) and exchange.waiting_bytes > MOST_WAITING
        return stalled_for >= write_timeout or (behind and stalled_for >= LONGEST_BEHIND)
