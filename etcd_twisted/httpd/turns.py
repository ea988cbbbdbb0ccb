"""
Limits how much a port does in one turn of the reactor.

A client may send thousands of requests at once. Requests that a turn has no time for wait in a queue for the next one,
so that the machine can do its other work in between, above all send heartbeats. A connection whose turn comes gives
way to the others after a few requests.

Must never let a request wait while there is nothing else to do, nor forget one.
"""

from collections import OrderedDict
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

WORK_PER_TURN = 256
"""How much work is done in a turn, in units of a common request for a key. It takes about 10 ms."""

WORK_OF_PAGE = 64
"""The cost of a response that is not about a key. C{/metrics} takes longest."""

WORK_OF_LISTING = 64
"""The cost of beginning a response that is sent in pieces, since the first few pieces are made at once."""

WORK_OF_ORDINARY_REQUEST = 4
"""The cost of a request for a key by the ordinary door."""

TARGET_SHIFT = 8
"""A request costs one more unit for each 256 bytes (1 << 8) of its target, whose segments are looked at one by one."""

BYTES_SHIFT = 11
"""A response costs one more unit for each 2 KiB (1 << 11)."""


class Turns:
    """
    The turns of one port.

    @ivar left: how much work may still be done in this turn. Whoever lowers it to 0 or less calls L{exhausted}.
    @ivar waiting: those who wait for a turn, first come first, and what each does then. To be read only.
    @ivar _next: the call that begins the next turn. It is pending while anybody waits or nothing is left.
    """

    def __init__(self, clock: IReactorTime, work: int = WORK_PER_TURN) -> None:
        """
        @param work: how much is done in a turn.
        """
        self._clock = clock
        self._work = work
        self.left = work
        self.waiting: OrderedDict[object, Callable[[], None]] = OrderedDict()
        self._next: IDelayedCall | None = None

    def spend(self, work: int) -> None:
        """
        Note that so much work has been done.

        Where nobody calls L{begin}, several turns of the reactor share what is left, so none of them does more.
        """
        self.left -= work
        if self.left <= 0:
            self.exhausted()

    def exhausted(self) -> None:
        """Schedule another turn, as nothing is left of this one. For callers that subtract from L{left} themselves."""
        if self._next is None:
            self._next = self._clock.callLater(0, self._turn)

    def begin(self) -> None:
        """Forget what earlier turns of the reactor did, as a new one begins, unless a turn is already scheduled."""
        if self._next is None:
            self.left = self._work

    @property
    def is_busy(self) -> bool:
        """Whether a request that comes now has to L{wait}."""
        return self.left <= 0 or bool(self.waiting)

    def wait(self, who: object, go_on: Callable[[], None]) -> None:
        """Call C{go_on} in a later turn of the reactor. Each C{who} waits for one thing at a time."""
        self.waiting[who] = go_on
        if self._next is None:
            self._next = self._clock.callLater(0, self._turn)

    def give_up(self, who: object) -> None:
        """Cancel the wait of C{who}, if there is one."""
        if self.waiting.pop(who, None) is not None and not self.waiting and self.left > 0 and self._next is not None:
            self._next.cancel()
            self._next = None

    def _turn(self) -> None:
        self._next = None
        self.left = self._work
        try:
            for _ in range(len(self.waiting)):
                if self.left <= 0 or not self.waiting:
                    break
                self.waiting.popitem(last=False)[1]()
        finally:
            if (self.waiting or self.left <= 0) and self._next is None:
                self._next = self._clock.callLater(0, self._turn)
