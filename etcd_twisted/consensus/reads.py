"""
Linearizable reads that wait (Raft dissertation, section 6.4), first for a quorum to confirm them, and then until all
that was committed by that time is applied.

This module must never let a read proceed that was not confirmed.
"""

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.waiters import Waiters

ReadCallback = Callable[[NotLeaderError | None], None]
"""Called with C{None} when a read may proceed, or with the reason why it never may."""


class Reads:
    """
    The waiting reads of one machine.

    @ivar unconfirmed: the reads that a quorum has not confirmed yet, by token.
    @ivar confirmed: the other reads, each with the index that must be applied first, in ascending order.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.unconfirmed: dict[int, ReadCallback] = {}
        self.confirmed: deque[tuple[int, ReadCallback]] = deque()
        self._none = Waiters()

    def add(self, token: int, tell: ReadCallback) -> None:
        """Add a read, which waits for its confirmation."""
        self.unconfirmed[token] = tell

    def confirm(self, token: int, index: int) -> None:
        """Note that a read is confirmed, and may proceed once C{index} is applied."""
        self.confirmed.append((index, self.unconfirmed.pop(token)))

    def applied(self, index: int) -> None:
        """Let the reads proceed that wait for an index up to C{index}, which the state machine has applied."""
        while self.confirmed and self.confirmed[0][0] <= index:
            self._tell(self.confirmed.popleft()[1], None)
        self._tell_if_none()

    def fail_unconfirmed(self) -> None:
        """Fail the unconfirmed reads: this machine no longer leads, so they will never be confirmed."""
        self._fail([])

    def fail(self) -> None:
        """Fail all reads: nothing more will be applied, so none of them can proceed."""
        confirmed = [read for _, read in self.confirmed]
        self.confirmed.clear()
        self._fail(confirmed)

    def _fail(self, confirmed: list[ReadCallback]) -> None:
        unconfirmed, self.unconfirmed = self.unconfirmed, {}
        for read in (*unconfirmed.values(), *confirmed):
            self._tell(read, NotLeaderError())
        self._tell_if_none()

    def _tell(self, read: ReadCallback, error: NotLeaderError | None) -> None:
        """Call back. If the callback raises, that is logged, so that others still get their answers."""
        try:
            read(error)
        except Exception:
            self._log.failure("Going on with a read failed")

    def when_none(self) -> "Deferred[None]":
        """Returns a Deferred that fires when no read waits."""
        return self._none.wait() if self.unconfirmed or self.confirmed else succeed(None)

    def _tell_if_none(self) -> None:
        if not self.unconfirmed and not self.confirmed:
            self._none.fire()
