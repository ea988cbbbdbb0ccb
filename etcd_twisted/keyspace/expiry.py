"""
Which key expires next.

Must never know more than times and keys. A key whose directory was removed stays noted: whoever reads it here looks
at the tree before believing it, and notes that it has no TTL when it is gone.
"""

import heapq


class ExpirySchedule:
    """Keys by the time their TTL ends, in microseconds since the epoch."""

    _SLACK = 1_000

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        self._hand = 0

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

    def some(self) -> list[tuple[int, str]]:
        """
        Up to two times with their keys, others with each call: for whoever notes many keys to look at the tree whether
        they are there still.
        """
        found = []
        for _ in range(min(2, len(self._heap))):
            self._hand = (self._hand + 1) % len(self._heap)
            expires, key = self._heap[self._hand]
            if self._times.get(key) == expires:
                found.append((expires, key))
        return found

    def first(self) -> tuple[int, str] | None:
        """When the next key expires, and which: the earliest, then by key; C{None} when nothing is noted."""
        while self._heap:
            expires, key = self._heap[0]
            if self._times.get(key) == expires:
                return expires, key
            heapq.heappop(self._heap)
        return None
