"""
Which keys of a copy expire, and when to look whether they do.

A copy's key has a TTL that is a little longer than at the source, whose C{expire} event removes it in order. If that
does not come in time, the source may have extended the TTL without an event (a C{refresh}), and has to be asked. This
module must never ask anybody.
"""

import heapq

GRACE_SECONDS = 5.0
"""How much later than at the source a key expires in the copy if the source, or the mirror, is gone."""

LOOK_SECONDS = 1.0
"""How long to wait for the event of a key that should have expired, before the source is asked."""


class Leases:
    """The keys of the source that expire, with the time."""

    def __init__(self) -> None:
        self._expires_at: dict[str, float] = {}
        self._due: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._expires_at)

    def set(self, key: str, expires_at: float | None) -> None:
        """Take note of when a key expires, C{None} for never."""
        if expires_at is None:
            self._expires_at.pop(key, None)
        else:
            self._expires_at[key] = expires_at
            heapq.heappush(self._due, (expires_at + LOOK_SECONDS, key))

    def remove(self, key: str) -> None:
        """Take note that a key is gone. Keys that were in it are found to be gone when they are looked for."""
        self._expires_at.pop(key, None)

    def clear(self) -> None:
        """Forget all keys."""
        self._expires_at.clear()
        self._due.clear()

    def next_look(self) -> float | None:
        """Returns when to look for a key, or C{None} if there is none."""
        while self._due and not self._is_current(*self._due[0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def overdue(self, now: float) -> str | None:
        """Returns a key that should have expired, and leaves it out from now on; or C{None}."""
        look = self.next_look()
        if look is None or look > now:
            return None
        _, key = heapq.heappop(self._due)
        del self._expires_at[key]
        return key

    def _is_current(self, look: float, key: str) -> bool:
        expires_at = self._expires_at.get(key)
        return expires_at is not None and expires_at + LOOK_SECONDS == look
