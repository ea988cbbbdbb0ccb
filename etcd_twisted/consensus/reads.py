"""
Linearizable reads that wait (Raft dissertation, section 6.4), first for a quorum to confirm them, and then until all
that was committed by that time is applied.

This module must never let a read proceed that was not confirmed.
"""

from collections import deque

from twisted.internet.defer import Deferred, succeed

from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.waiters import Waiters


class Reads:
    """
    The waiting reads of one machine.

    @ivar unconfirmed: the reads that a quorum has not confirmed yet, by token.
    @ivar confirmed: the other reads, each with the index that must be applied first, in ascending order.
    """

    def __init__(self) -> None:
        self.unconfirmed: dict[int, Deferred[None]] = {}
        self.confirmed: deque[tuple[int, Deferred[None]]] = deque()
        self._none = Waiters()

    def add(self, token: int) -> "Deferred[None]":
        """Returns a Deferred that fires when the read may proceed, or errbacks with L{NotLeaderError}."""
        read = self.unconfirmed[token] = Deferred()
        return read

    def confirm(self, token: int, index: int) -> None:
        """Note that a read is confirmed, and may proceed once C{index} is applied."""
        self.confirmed.append((index, self.unconfirmed.pop(token)))

    def applied(self, index: int) -> None:
        """Let the reads proceed that wait for an index up to C{index}, which the state machine has applied."""
        while self.confirmed and self.confirmed[0][0] <= index:
            self.confirmed.popleft()[1].callback(None)
        self._tell_if_none()

    def fail_unconfirmed(self) -> None:
        """Fail the unconfirmed reads: this machine no longer leads, so they will never be confirmed."""
        self._fail([])

    def fail(self) -> None:
        """Fail all reads: nothing more will be applied, so none of them can proceed."""
        confirmed = [read for _, read in self.confirmed]
        self.confirmed.clear()
        self._fail(confirmed)

    def _fail(self, confirmed: "list[Deferred[None]]") -> None:
        unconfirmed, self.unconfirmed = self.unconfirmed, {}
        for read in (*unconfirmed.values(), *confirmed):
            read.errback(NotLeaderError())
        self._tell_if_none()

    def when_none(self) -> "Deferred[None]":
        """Returns a Deferred that fires when no read waits."""
        return self._none.wait() if self.unconfirmed or self.confirmed else succeed(None)

    def _tell_if_none(self) -> None:
        if not self.unconfirmed and not self.confirmed:
            self._none.fire()
