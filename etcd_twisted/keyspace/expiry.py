"""
Which key expires next.

Knows times and keys only. A key whose directory was removed stays noted until its time comes: whoever takes it from
here looks at the tree before believing it.
"""

import heapq
from collections.abc import Iterator


class ExpirySchedule:
    """Keys by the time their TTL ends, in microseconds since the epoch."""

    _SLACK = 1_000

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def note(self, key: str, expires: int | None) -> None:
        """The TTL of C{key} ends at C{expires}, or C{None}: it has none; what was noted before is void."""
        if expires is None:
            self._times.pop(key, None)
            return
        self._times[key] = expires
        heapq.heappush(self._heap, (expires, key))
        if len(self._heap) > 2 * len(self._times) + self._SLACK:
            # Most of the heap is void: keys whose TTL was renewed over and over.
            self._heap = [(time, key) for key, time in self._times.items()]
            heapq.heapify(self._heap)

    def next_time(self) -> int | None:
        """When the next key expires; C{None} when nothing is noted."""
        while self._heap:
            expires, key = self._heap[0]
            if self._times.get(key) == expires:
                return expires
            heapq.heappop(self._heap)
        return None

    def take_due(self, cutoff: int) -> Iterator[tuple[int, str]]:
        """Take out, one by one, what expires at C{cutoff} or earlier: the earliest first, then by key."""
        while (expires := self.next_time()) is not None and expires <= cutoff:
            _, key = heapq.heappop(self._heap)
            del self._times[key]
            yield expires, key
