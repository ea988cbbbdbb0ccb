"""
Those who wait until something is so, once, and those who are told each time.

Must never leave anybody waiting when it can't become so any more.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

Observers = list[Callable[[], None]]
"""
Called one after the other, each time that something has happened. Whom it happens to has such a list; whoever is built
on top of it adds itself.
"""


class Waiters:
    """
    Some who wait for the same.

    @ivar waiting: those who wait, in order; to be looked at only.
    """

    def __init__(self) -> None:
        self.waiting: dict[Deferred[None], None] = {}

    def __len__(self) -> int:
        return len(self.waiting)

    def wait(self) -> "Deferred[None]":
        """Returns a Deferred that fires with L{fire}; cancelling it means that nobody waits any more."""
        waiting: Deferred[None] = Deferred(lambda each: self.waiting.pop(each, None))
        self.waiting[waiting] = None
        return waiting

    def fire(self) -> None:
        """It is so."""
        waiting, self.waiting = self.waiting, {}
        for each in waiting:
            if not each.called:  # one who was told before may have cancelled it
                each.callback(None)

    def fire_first(self) -> None:
        """It is so for the one who has waited for the longest. There has to be one."""
        first = next(iter(self.waiting))
        del self.waiting[first]
        first.callback(None)

    def fail(self, error: Exception) -> None:
        """It won't be."""
        waiting, self.waiting = self.waiting, {}
        for each in waiting:
            if not each.called:
                each.errback(error)


def next_turn(clock: IReactorTime) -> "Deferred[None]":
    """Returns a Deferred that fires in the next turn of the reactor."""
    return deferLater(clock, 0, lambda: None)
