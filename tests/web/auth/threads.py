"""
Threads that do their work when the test says so, and bcrypt at its lowest cost.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

COST = 4
"""The lowest cost of a hash, which takes about a millisecond."""


class Threads:
    """
    Calls functions when the test says so.

    @ivar begun: the functions that wait to be called.
    @ivar calls: how many functions there were.
    """

    def __init__(self) -> None:
        self.begun: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.calls = 0

    def defer(self, work: Callable[[], Any]) -> "Deferred[Any]":
        self.calls += 1
        done: Deferred[Any] = Deferred()
        self.begun.append((work, done))
        return done

    def run(self) -> None:
        """Call all functions that wait, and those that come meanwhile."""
        while self.begun:
            work, done = self.begun.pop(0)
            maybeDeferred(work).chainDeferred(done)
