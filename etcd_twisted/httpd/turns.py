"""
How much a port does in one turn of the reactor.

A client may send thousands of requests at once. Those for which a turn has no time wait for the next one, in a queue,
so that the machine can do its other work in between: heartbeats above all. A connection whose turn comes gives way to
the others after a few requests.

Must never let a request wait while nothing else is done, nor be forgotten.
"""

from collections import OrderedDict
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

WORK_PER_TURN = 256
"""How much work a turn does, in units of a common request for a key; it takes about 10 ms."""

WORK_OF_PAGE = 64
"""The cost of an answer from any page that is not a key. C{/metrics} takes longest."""

WORK_OF_LISTING = 64
"""The cost of beginning an answer that is sent in pieces: the first few are made at once."""

WORK_OF_ORDINARY_REQUEST = 4
"""The cost of a request for a key that L{twisted.web} has read."""

TARGET_SHIFT = 8
"""It costs one unit more for each 256 bytes of the request's target, which are looked at one segment after another."""

BYTES_SHIFT = 11
"""An answer costs one unit more for each 2 KiB, which is 1 << 11 bytes."""


class Turns:
    """
    See the module.

    @ivar left: how much work may still be done in this turn. Whoever lowers it to 0 or less calls L{exhausted}.
    @ivar waiting: those who wait for a turn, the first one first, and what each is to do then; to be read only.
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

        Where nobody calls L{begin}, turns are not told apart as long as there is enough left: a turn never has more.
        """
        self.left -= work
        if self.left <= 0:
            self.exhausted()

    def exhausted(self) -> None:
        """Ask for another turn, since nothing is left of this one. For those that subtract from L{left} themselves."""
        if self._next is None:
            self._next = self._clock.callLater(0, self._turn)

    def begin(self) -> None:
        """A turn of the reactor begins: what earlier ones did does not count, unless something waits for its turn."""
        if self._next is None:
            self.left = self._work

    @property
    def is_busy(self) -> bool:
        """Whether a request that comes now has to L{wait}."""
        return self.left <= 0 or bool(self.waiting)

    def wait(self, who: object, go_on: Callable[[], None]) -> None:
        """Call C{go_on} in a later turn of the reactor. C{who} waits for one thing at a time."""
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
