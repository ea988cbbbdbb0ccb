"""
How much may be on its way through the log at a time: changes beyond that wait here, first come, first served.

What is proposed is held in memory until it is applied, and a disk may be slower than clients. Must never refuse what
was proposed already: who is refused here is told for certain that the change was not made.
"""

from collections.abc import Callable
from typing import NoReturn, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from etcd_twisted.consensus.proposals.pending import Proposals
from etcd_twisted.waiters import Waiters

_T = TypeVar("_T")

MOST_BYTES = 64 << 20
"""How many bytes of changes may be on their way; the last one that is let in may be larger than what was left."""

MOST_WAITING = 64 << 20
"""How many bytes of changes may wait; with more, a change is refused at once."""

LONGEST_WAIT = 5.0
"""How long a change may wait, in seconds: as long as etcd 3 gives a request."""


class Throttle:
    """See the module."""

    def __init__(self, clock: IReactorTime, proposals: Proposals, refusal: Callable[[], Exception]) -> None:
        """
        @param proposals: what is on its way.
        @param refusal: makes the error for a change that has waited for too long.
        """
        self._clock = clock
        self._proposals = proposals
        self._refusal = refusal
        self._waiting = Waiters()
        self._size = 0

    @property
    def is_open(self) -> bool:
        """Whether a change need not wait."""
        return not self._size and self._proposals.size <= MOST_BYTES

    def wait(self, size: int) -> "Deferred[None]":
        """
        Fires when the change may be proposed. Errbacks when too much waits, when it has waited for too long, or with
        L{refuse}.

        @param size: the change's, in bytes.
        """
        if self._size > MOST_WAITING:
            return fail(self._refusal())
        self._size += size
        waiting = self._waiting.wait().addTimeout(LONGEST_WAIT, self._clock, self._too_late)
        return waiting.addBoth(self._waits_no_more, size)

    def _waits_no_more(self, result: _T, size: int) -> _T:
        self._size -= size
        return result

    def _too_late(self, _value: object, _timeout: float) -> NoReturn:
        raise self._refusal()

    def admit(self) -> None:
        """Something was done: let those in for whom there is room now."""
        while self._waiting.waiting and self._proposals.size <= MOST_BYTES:
            self._waiting.fire_first()

    def refuse(self, error: Exception) -> None:
        """Nobody who waits can be let in any more."""
        self._waiting.fail(error)
