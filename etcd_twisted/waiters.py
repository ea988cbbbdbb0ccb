"""
Those who wait until something is so.

Must never leave anybody waiting when it can't become so any more.
"""

from twisted.internet.defer import Deferred


class Waiting:
    """Some who wait for the same."""

    def __init__(self) -> None:
        self._waiting: dict[Deferred[None], None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self) -> "Deferred[None]":
        """Fires with L{fire}; cancelling it means that nobody waits any more."""
        waiting: Deferred[None] = Deferred(lambda each: self._waiting.pop(each, None))
        self._waiting[waiting] = None
        return waiting

    def fire(self) -> None:
        """It is so."""
        waiting, self._waiting = self._waiting, {}
        for each in waiting:
            if not each.called:  # one who was told before may have cancelled it
                each.callback(None)

    def fire_first(self) -> None:
        """It is so for the one who has waited for the longest. There has to be one."""
        first = next(iter(self._waiting))
        del self._waiting[first]
        first.callback(None)

    def fail(self, error: Exception) -> None:
        """It won't be."""
        waiting, self._waiting = self._waiting, {}
        for each in waiting:
            if not each.called:
                each.errback(error)
