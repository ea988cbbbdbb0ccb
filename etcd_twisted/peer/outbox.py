"""
The payloads that wait for a machine to read them.

They go out box by box in the order in which they were added, except for urgent ones: a heartbeat must not wait behind
a payload of many boxes. This module must never hold more than a bound behind the payload that is on its way, nor drop
a short payload because a long one waits: the sender would take it for lost.
"""

from collections import deque
from collections.abc import Iterator

from etcd_twisted.peer.boxes import MAX_SHORT_PAYLOAD_BYTES, payload_boxes

MAX_QUEUED_BYTES = 8 << 20
"""
How much of the short payloads, and of the long ones, may wait behind the payload that is on its way. As long as there
is no more than that, another payload is taken.
"""


class Outbox:
    """The outbox of one connection."""

    def __init__(self) -> None:
        self._started: Iterator[bytes] = iter(())
        self._ahead: deque[bytes] = deque()
        self._behind: deque[bytes] = deque()
        self._bytes = {True: 0, False: 0}
        """The size of the short payloads that wait (C{True}) and of the long ones (C{False})."""

    @property
    def queued_bytes(self) -> int:
        """The size of the payloads that wait, without the one that is on its way."""
        return sum(self._bytes.values())

    def add(self, payload: bytes) -> bool:
        """Add a payload behind the others. Returns whether there was room for it."""
        return self._add(self._behind, payload)

    def add_ahead(self, payload: bytes) -> bool:
        """Add an urgent payload, which may go between the boxes of another. Returns whether there was room for it."""
        return self._add(self._ahead if len(payload) <= MAX_SHORT_PAYLOAD_BYTES else self._behind, payload)

    def _add(self, queue: deque[bytes], payload: bytes) -> bool:
        is_short = len(payload) <= MAX_SHORT_PAYLOAD_BYTES
        if self._bytes[is_short] > MAX_QUEUED_BYTES:
            return False
        queue.append(payload)
        self._bytes[is_short] += len(payload)
        return True

    def take(self) -> bytes | None:
        """Returns the next box; C{None} if nothing is left."""
        if self._ahead:
            return next(payload_boxes(self._remove_first(self._ahead)))
        box = next(self._started, None)
        if box is None and self._behind:
            self._started = payload_boxes(self._remove_first(self._behind))
            box = next(self._started)
        return box

    def _remove_first(self, queue: deque[bytes]) -> bytes:
        payload = queue.popleft()
        self._bytes[len(payload) <= MAX_SHORT_PAYLOAD_BYTES] -= len(payload)
        return payload

    def clear(self) -> None:
        """Drop all payloads."""
        self._started = iter(())
        self._ahead.clear()
        self._behind.clear()
        self._bytes = dict.fromkeys(self._bytes, 0)
