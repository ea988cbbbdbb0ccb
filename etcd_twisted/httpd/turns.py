"""
Limits how much a port does in one turn of the reactor.

A client may send thousands of requests at once. Requests that a turn has no time for wait in a queue for the next one,
so that the machine can do its other work in between, above all send heartbeats. A connection whose turn comes gives
way to the others after a few requests.

This module must never let a request wait while there is nothing else to do, nor forget one.
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

    @ivar work: how much work may be done in a turn.
    @ivar left: how much work may still be done in this turn. Those who do a little may subtract it themselves. The
        first call in a turn of the reactor sets it to L{work}, unless a turn is L{scheduled}. Where no call does,
        several turns of the reactor share the work that is left, so none of them does more.
    @ivar waiting: the waiters for a turn in the order in which they came, each with its call. To be read only.
    @ivar scheduled: the call that begins the next turn; C{None} unless somebody waits or nothing is left. To be read
        only.
    """

    def __init__(self, clock: IReactorTime, work: int = WORK_PER_TURN) -> None:
        """
        @param work: how much is done in a turn.
        """
        self._clock = clock
        self.work = work
        self.left = work
        self.waiting: OrderedDict[object, Callable[[], None]] = OrderedDict()
        self.scheduled: IDelayedCall | None = None

    def spend(self, work: int) -> None:
        """Note that so much work has been done."""
        self.left -= work
        if self.left <= 0 and self.scheduled is None:
            self.scheduled = self._clock.callLater(0, self._turn)

    @property
    def is_busy(self) -> bool:
        """Whether a request that comes now has to L{wait}."""
        return self.left <= 0 or bool(self.waiting)

    def wait(self, who: object, go_on: Callable[[], None]) -> None:
        """Call C{go_on} in a later turn of the reactor. Each C{who} waits for one thing at a time."""
        self.waiting[who] = go_on
        if self.scheduled is None:
            self.scheduled = self._clock.callLater(0, self._turn)

    def give_up(self, who: object) -> None:
        """Cancel the wait of C{who}, if there is one."""
        if self.waiting.pop(who, None) is None or self.waiting or self.left <= 0:
            return
        if self.scheduled is not None:
            self.scheduled.cancel()
            self.scheduled = None

    def _turn(self) -> None:
        self.scheduled = None
        self.left = self.work
        try:
            for _ in range(len(self.waiting)):
                if self.left <= 0 or not self.waiting:
                    break
                self.waiting.popitem(last=False)[1]()
        finally:
            if (self.waiting or self.left <= 0) and self.scheduled is None:
                self.scheduled = self._clock.callLater(0, self._turn)
