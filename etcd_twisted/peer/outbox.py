"""
The payloads that wait for a machine to take them.

They go in the order in which they were added, a box at a time, but for those that go ahead: a heartbeat must not wait
behind a payload of many boxes. Must never hold more than a bound behind the payload that is on its way, nor drop what
is short because something long waits: who sent that would take it for lost.
"""

from collections import deque
from collections.abc import Iterator

from etcd_twisted.peer.delivery import SHORT, boxes

MOST_WAITING = 8 << 20
"""
How many bytes of short payloads, and of long ones, may wait behind the payload that is on its way; one more is taken
when there are fewer.
"""


class Outbox:
    """Of one connection."""

    def __init__(self) -> None:
        self._started: Iterator[bytes] = iter(())
        self._ahead: deque[bytes] = deque()
        self._behind: deque[bytes] = deque()
        self._bytes = {True: 0, False: 0}
        """Of the short payloads that wait, and of the long ones."""

    @property
    def waiting(self) -> int:
        """How many bytes wait, without the payload that is on its way."""
        return sum(self._bytes.values())

    def add(self, payload: bytes) -> bool:
        """Have a payload go behind the others; whether there was room for it."""
        return self._add(self._behind, payload)

    def add_ahead(self, payload: bytes) -> bool:
        """Have a payload go ahead of all but its like, even between the boxes of another; whether there was room."""
        return self._add(self._ahead if len(payload) <= SHORT else self._behind, payload)

    def _add(self, queue: deque[bytes], payload: bytes) -> bool:
        is_short = len(payload) <= SHORT
        if self._bytes[is_short] > MOST_WAITING:
            return False
        queue.append(payload)
        self._bytes[is_short] += len(payload)
        return True

    def take(self) -> bytes | None:
        """The next box; C{None} when nothing is left."""
        if self._ahead:
            return next(boxes(self._leave(self._ahead)))
        box = next(self._started, None)
        if box is None and self._behind:
            self._started = boxes(self._leave(self._behind))
            box = next(self._started)
        return box

    def _leave(self, queue: deque[bytes]) -> bytes:
        payload = queue.popleft()
        self._bytes[len(payload) <= SHORT] -= len(payload)
        return payload

    def clear(self) -> None:
        """Forget all of it."""
        self._started = iter(())
        self._ahead.clear()
        self._behind.clear()
        self._bytes = dict.fromkeys(self._bytes, 0)
