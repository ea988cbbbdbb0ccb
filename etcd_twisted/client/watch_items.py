"""
The items of a watch that wait for its one consumer, or the consumer that waits for an item.

This module must never lose an item, nor reorder them. It bounds nothing by itself: the watch pauses its connection
while L{WatchItems.is_full}.
"""

from collections import deque

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from etcd_twisted.client.results import Event, HistoryLost

Item = Event | HistoryLost


class WatchItems:
    """
    The items of one watch.

    @ivar end: why no more items will come; C{None} while the watch goes on.
    """

    def __init__(self, most: int) -> None:
        """
        @param most: how many items may wait before L{is_full}.
        """
        self.end: Failure | None = None
        self._most = most
        self._items: deque[Item] = deque()
        self._waiting: Deferred[Item] | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_full(self) -> bool:
        """Whether so many items wait that no more should be read."""
        return len(self._items) >= self._most

    @property
    def has_room(self) -> bool:
        """Whether so few items wait that reading should go on."""
        return len(self._items) <= self._most // 2

    def next(self) -> "Deferred[Item]":
        """
        Returns a Deferred that fires with the next item, or errbacks with L{end}. Cancelling it loses nothing.

        @raise RuntimeError: the one before has not fired yet.
        """
        if self._waiting is not None:
            raise RuntimeError("this watch has one consumer, which waits for an item already")
        if self._items:
            return succeed(self._items.popleft())
        if self.end is not None:
            return fail(self.end)

        def cancel(_: "Deferred[Item]") -> None:
            self._waiting = None

        self._waiting = Deferred(cancel)
        return self._waiting

    def put(self, item: Item) -> None:
        """Hand an item to the consumer, now or when it asks for it."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            self._items.append(item)
        else:
            waiting.callback(item)

    def finish(self, reason: Failure) -> None:
        """End: the consumer gets the items that wait, and then the reason."""
        self.end = reason
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(reason)

    def clear(self) -> None:
        """Drop the items that wait."""
        self._items.clear()
