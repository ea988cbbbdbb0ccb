"""
The last events, for watchers that ask from an index on.

Sees every event that live watchers see, and no other. Must never pass over an event that is not kept any more: who
asks from before it is told so.
"""

import bisect
import itertools
import operator
from collections import deque
from collections.abc import Iterable, Iterator

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.events import Event


class History:
    """
    The last C{capacity} events, oldest first.

    @ivar cleared: the index of the newest event that is not kept any more; 0 while none was dropped.
    """

    def __init__(self, capacity: int, events: Iterable[Event] = (), cleared: int = 0) -> None:
        self._events: deque[Event] = deque()
        self._capacity = capacity
        self.cleared = cleared
        for event in events:
            self.add(event)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: Event) -> None:
        """Keep an event, newer than all kept, and drop the oldest when there are too many."""
        if len(self._events) == self._capacity:
            self.cleared = self._events.popleft().index
        self._events.append(event)

    def since(self, asked: int, key: str, recursive: bool) -> Iterator[Event]:
        """
        The events from index C{asked} on that touch C{key}, oldest first.

        @raise EtcdError: 401 when events from there on are not kept any more.
        """
        if max(asked, 1) <= self.cleared:  # the first change has index 1
            oldest = self._events[0].index
            raise EtcdError(
                ErrorCode.HISTORY_CLEARED, f"the requested history has been cleared [{oldest}/{asked}]"
            )
        start = bisect.bisect_left(self._events, asked, key=operator.attrgetter("index"))
        # A copy: events may be added while it is read, and a deque is slow to index in its middle.
        kept = list(itertools.islice(self._events, start, None))
        return (event for event in kept if event.touches(key, recursive))
