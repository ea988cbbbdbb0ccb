"""
The last events, for watchers that ask from an index on.

Sees every event that live watchers see, and no other. Its length is bounded, and so is what it holds in memory. Must
never skip an event that is no longer kept: a watcher that asks for it gets an error.
"""

import bisect
import itertools
import operator
from collections import deque
from collections.abc import Iterable, Iterator

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.sizes import EVENT_BYTES, text_bytes

HISTORY_BYTES = 64 << 20
"""How large the events are that are kept, all together, unless another limit is set."""

LARGE_BYTES = 1 << 14
"""The JSON of a larger event is not kept with it: it would take as much as the event itself, or more."""


def event_bytes(event: Event) -> int:
    """
    The size of an event: its key, the value before and the value after.

    The value before may be shared with an earlier event. It counts all the same: that event is dropped first, and one
    that was loaded from a snapshot shares nothing.
    """
    node, previous = event.answer.node, event.answer.prev_node
    key, value = node.key, node.value or ""
    before = "" if previous is None else previous.value or ""
    if key.isascii() and value.isascii() and before.isascii():  # as text_bytes counts, for the common event
        return EVENT_BYTES + len(key) + len(value) + len(before)
    return EVENT_BYTES + text_bytes(key) + text_bytes(value) + text_bytes(before)


class History:
    """
    The last events, oldest first: C{capacity} of them, or fewer that are no larger than C{most_bytes} together. The
    newest one is kept whatever its size.

    @ivar cleared: the index of the newest event that is not kept any more; 0 while none was dropped.
    @ivar size: of all events that are kept, in bytes.
    """

    def __init__(
        self, capacity: int, events: Iterable[Event] = (), cleared: int = 0, most_bytes: int = HISTORY_BYTES
    ) -> None:
        self._events: deque[Event] = deque()
        self._sizes: deque[int] = deque()  # theirs: to look again at one that goes would take as long as to add one
        self._capacity = capacity
        self._most_bytes = most_bytes
        self.cleared = cleared
        self.size = 0
        for event in events:
            self.add(event)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: Event) -> None:
        """Keep an event, newer than all kept, and drop the oldest ones that there is no room for any more."""
        events, sizes = self._events, self._sizes
        size = event_bytes(event)
        events.append(event if size <= LARGE_BYTES else Event(event.answer))
        sizes.append(size)
        total = self.size + size
        while len(events) > self._capacity or (total > self._most_bytes and len(events) > 1):
            self.cleared = events.popleft().answer.node.modified_index
            total -= sizes.popleft()
        self.size = total

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
        touching = (event for event in kept if event.touches(key, recursive))
        return (event if event_bytes(event) <= LARGE_BYTES else Event(event.answer) for event in touching)
