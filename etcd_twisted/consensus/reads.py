"""
Linearizable reads on their way (Raft dissertation, section 6.4): they wait to be confirmed by a quorum, and then until
what was committed by that time is applied.

Must never let a read go on that was not confirmed.
"""

from collections import deque

from twisted.internet.defer import Deferred, succeed

from etcd_twisted.consensus.raft.core import NotLeaderError
from etcd_twisted.waiters import Waiters


class Reads:
    """
    One machine's.

    @ivar unconfirmed: those that a quorum has not confirmed, by token.
    @ivar confirmed: the others, each with the index that has to be applied before, in order.
    """

    def __init__(self) -> None:
        self.unconfirmed: dict[int, Deferred[None]] = {}
        self.confirmed: deque[tuple[int, Deferred[None]]] = deque()
        self._none = Waiters()

    def add(self, token: int) -> "Deferred[None]":
        """Returns a Deferred that fires when the read may go on, or errbacks with L{NotLeaderError}."""
        read = self.unconfirmed[token] = Deferred()
        return read

    def confirm(self, token: int, index: int) -> None:
        """A read is confirmed; C{index} has to be applied before it goes on."""
        self.confirmed.append((index, self.unconfirmed.pop(token)))

    def applied(self, index: int) -> None:
        """The state machine has everything up to C{index}: let those go on that wait for that."""
        while self.confirmed and self.confirmed[0][0] <= index:
            self.confirmed.popleft()[1].callback(None)
        self._tell_if_none()

    def fail_unconfirmed(self) -> None:
        """This machine does not lead any more: these will never be confirmed."""
        self._fail([])

    def fail(self) -> None:
        """Nothing is applied any more: none of them can go on."""
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
