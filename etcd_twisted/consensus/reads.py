"""
Linearizable reads that wait (Raft dissertation, section 6.4), first for a quorum to confirm them, and then until all
that was committed by that time is applied.

This module must never let a read proceed that was not confirmed.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.waiters import Waiters

ReadCallback = Callable[[NotLeaderError | None], None]
"""Called with C{None} when a read may proceed, or with the reason why it never may."""

_log = Logger()


def tell(reads: Iterable[Callable[[Any], None]], error: BaseException | None) -> None:
    """
    Call back with C{None}, or with the reason why the reads may not proceed. If a callback raises, that is logged, so
    that the others still get their answers.
    """
    for read in reads:
        try:
            read(error)
        except Exception:
            _log.failure("Going on with a read failed")


class Reads:
    """
    The waiting reads of one machine.

    The reads that one round of messages confirms have one token together.

    @ivar unconfirmed: the reads that a quorum has not confirmed yet, by token.
    @ivar joining: those of them that a further read may join, as their round has not begun; C{None} for none.
    @ivar confirmed: the other reads, each with the index that must be applied first, in ascending order.
    """

    def __init__(self) -> None:
        self.unconfirmed: dict[int, list[ReadCallback]] = {}
        self.joining: list[ReadCallback] | None = None
        self.confirmed: deque[tuple[int, list[ReadCallback]]] = deque()
        self._none = Waiters()

    def add(self, token: int, read: ReadCallback) -> None:
        """Add a read, which waits for its confirmation, and which others may join."""
        self.joining = self.unconfirmed[token] = [read]

    def confirm(self, token: int, index: int) -> None:
        """Note that the reads of a token are confirmed, and may proceed once C{index} is applied."""
        self.joining = None
        self.confirmed.append((index, self.unconfirmed.pop(token)))

    def applied(self, index: int) -> None:
        """Let the reads proceed that wait for an index up to C{index}, which the state machine has applied."""
        while self.confirmed and self.confirmed[0][0] <= index:
            tell(self.confirmed.popleft()[1], None)
        if self._none.waiting:
            self._tell_if_none()

    def fail_unconfirmed(self) -> None:
        """Fail the unconfirmed reads: this machine no longer leads, so they will never be confirmed."""
        self._fail([])

    def fail(self) -> None:
        """Fail all reads: nothing more will be applied, so none of them can proceed."""
        confirmed = [reads for _, reads in self.confirmed]
        self.confirmed.clear()
        self._fail(confirmed)

    def _fail(self, confirmed: list[list[ReadCallback]]) -> None:
        unconfirmed, self.unconfirmed = self.unconfirmed, {}
        self.joining = None
        for reads in (*unconfirmed.values(), *confirmed):
            tell(reads, NotLeaderError())
        self._tell_if_none()

    def when_none(self) -> "Deferred[None]":
        """Returns a Deferred that fires when no read waits."""
        return self._none.wait() if self.unconfirmed or self.confirmed else succeed(None)

    def _tell_if_none(self) -> None:
        if not self.unconfirmed and not self.confirmed:
            self._none.fire()
