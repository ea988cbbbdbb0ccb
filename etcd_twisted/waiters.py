"""
Waiting for a condition, and being called each time that something happens.

This module must never leave anybody waiting for a condition that can't become true any more: L{Waiters.fail} tells
them.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

Observers = list[Callable[[], None]]
"""
Functions that are called in order, each time that something has happened. The object that it happens to owns the
list; whoever is built on top of that object adds a function of its own.
"""


class Waiters:
    """
    Everybody who waits for one condition.

    @ivar waiting: their Deferreds, in the order in which they began to wait. For reading only.
    """

    def __init__(self) -> None:
        self.waiting: dict[Deferred[None], None] = {}

    def __len__(self) -> int:
        return len(self.waiting)

    def wait(self) -> "Deferred[None]":
        """Returns a Deferred that L{fire} or L{fire_first} fires. Cancelling it ends the wait."""
        waiting: Deferred[None] = Deferred(lambda each: self.waiting.pop(each, None))
        self.waiting[waiting] = None
        return waiting

    def fire(self) -> None:
        """Tell everybody that the condition is true."""
        waiting, self.waiting = self.waiting, {}
        for each in waiting:
            if not each.called:  # a callback of one that fired earlier may have cancelled it
                each.callback(None)

    def fire_first(self) -> None:
        """Tell the one that has waited for the longest that the condition is true. Somebody must be waiting."""
        first = next(iter(self.waiting))
        del self.waiting[first]
        first.callback(None)

    def fail(self, error: Exception) -> None:
        """Tell everybody why the condition won't become true."""
        waiting, self.waiting = self.waiting, {}
        for each in waiting:
            if not each.called:
                each.errback(error)


def next_turn(clock: IReactorTime) -> "Deferred[None]":
    """Returns a Deferred that fires in the next turn of the reactor."""
    return deferLater(clock, 0, lambda: None)
