"""
The latest events, for watchers that begin at an earlier index.

Holds exactly the events that live watchers see. Its length is bounded, and so is its size in memory. This module must
never skip an event that it no longer keeps: a watcher that asks for one gets an error.
"""

import bisect
import operator
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.sizes import EVENT_BYTES, text_bytes

DEFAULT_HISTORY_BYTES = 64 << 20
"""How large all events that are kept may be together, unless another limit is configured."""

MAX_CACHED_EVENT_BYTES = 1 << 14
"""The JSON of an event that is larger is not kept with it: it would take at least as much memory as the event."""

_pop = deque.popleft


def event_bytes(event: Event) -> int:
    """
    Returns the size of an event: its key, the value before and the value after.

    The value before may be shared with an earlier event. It counts all the same: the earlier event is dropped first,
    and events that were loaded from a snapshot share nothing.
    """
    node, previous = event.result.node, event.result.prev_node
    key, value = node.key, node.value or ""
    before = "" if previous is None else previous.value or ""
    if key.isascii() and value.isascii() and before.isascii():  # as text_bytes counts, without the calls
        return EVENT_BYTES + len(key) + len(value) + len(before)
    return EVENT_BYTES + text_bytes(key) + text_bytes(value) + text_bytes(before)


class History:
    """
    The latest events, oldest first: at most C{capacity} of them, and no more than C{max_bytes} together. The newest
    one is kept whatever its size.

    @ivar cleared_index: the index of the newest event that is no longer kept, or 0 while none was dropped.
    @ivar size_bytes: the size of all events that are kept.
    """

    def __init__(
        self,
        capacity: int,
        events: Iterable[Event] = (),
        cleared_index: int = 0,
        max_bytes: int = DEFAULT_HISTORY_BYTES,
    ) -> None:
        self._events: deque[Event] = deque()
        # The sizes of the events: to measure one again when it is dropped would take as long as to add one.
        self._sizes: deque[int] = deque()
        self._capacity = capacity
        self._max_bytes = max_bytes
        self.cleared_index = cleared_index
        self.size_bytes = 0
        for event in events:
            self.add(event)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: Event) -> None:
        """Add an event, which is newer than all others, and drop the oldest ones that no longer fit."""
        self.extend((event,), (event_bytes(event),))

    def extend(self, new: Sequence[Event], new_sizes: Sequence[int]) -> None:
        """
        Add events, at least one, as L{add} does.

        @param new_sizes: the size of each, as L{event_bytes} returns it.
        """
        if max(new_sizes) > MAX_CACHED_EVENT_BYTES:
            sized = zip(new, new_sizes, strict=True)
            new = [each if size <= MAX_CACHED_EVENT_BYTES else Event(each.result) for each, size in sized]
        self._events += new
        self._sizes += new_sizes
        self.size_bytes += sum(new_sizes)
        excess = len(self._events) - self._capacity
        if excess > 0:
            self._drop(excess)
        while self.size_bytes > self._max_bytes and len(self._events) > 1:
            self._drop(1)

    def _drop(self, count: int) -> None:
        """Drop some of the oldest events, at least one."""
        *_, last = map(_pop, repeat(self._events, count))
        self.cleared_index = last.index
        self.size_bytes -= sum(map(_pop, repeat(self._sizes, count)))

    def since(self, asked: int, key: str, recursive: bool) -> Iterator[Event]:
        """
        Returns the events from index C{asked} on that touch C{key}, oldest first.

        @raise EtcdError: 401 when some of the events from there on are no longer kept.
        """
        if max(asked, 1) <= self.cleared_index:  # the first change has index 1
            oldest = self._events[0].index if self._events else self.cleared_index + 1
            raise EtcdError(ErrorCode.HISTORY_CLEARED, f"the requested history has been cleared [{oldest}/{asked}]")
        start = bisect.bisect_left(self._events, asked, key=operator.attrgetter("index"))
        # A copy, since events may be added while the caller reads, and since a deque is slow to index in its middle.
        kept = list(islice(self._events, start, None))
        touching = (event for event in kept if event.touches(key, recursive))
        return (event if event_bytes(event) <= MAX_CACHED_EVENT_BYTES else Event(event.result) for event in touching)
