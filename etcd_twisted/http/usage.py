"""
How much a port is used: its connections, its requests by method and kind of answer, and how long they take.

Must never cost a request more than a step in a dictionary and one in a histogram, nor keep a line for each word that a
stranger calls a method.
"""

from bisect import bisect_left
from collections.abc import Sized

import attrs

from etcd_twisted.measurements import BOUNDS, Durations

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")
"""Those that are counted by name."""

OTHER = "other"
"""What all others are counted as, and requests that could not be understood."""

_KEY_METHODS = (b"GET", b"HEAD", b"PUT", b"POST", b"DELETE")
_SHORT = BOUNDS[0]
_KNOWN = frozenset(method.encode() for method in METHODS)


@attrs.define(eq=False)
class Usage:
    """
    One port's.

    @ivar connected: the connections that are open.
    @ivar took: how long it took to answer requests about keys that succeeded, by those of L{METHODS} that they have;
        waits for events are not among them.
    """

    connected: Sized = ()
    _answers: dict[tuple[bytes, int], int] = attrs.field(factory=dict)
    """By method and status."""
    took: dict[bytes, Durations] = attrs.field(factory=lambda: {method: Durations() for method in _KEY_METHODS})

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.connected)

    def count(self, method: bytes, status: int) -> None:
        """A request is answered, or its answer begins."""
        try:
            self._answers[method, status] += 1
        except KeyError:
            known = (method if method in _KNOWN else b"", status)
            self._answers[known] = self._answers.get(known, 0) + 1

    def answered(self, method: bytes, status: int, seconds: float) -> None:
        """Count a request about keys, and how long it took."""
        self.count(method, status)
        if status < 300 and (took := self.took.get(method)) is not None:
            # Most are answered before the first bound; Durations.add would look for it.
            took.counts[0 if seconds <= _SHORT else bisect_left(BOUNDS, seconds)] += 1
            took.total += seconds

    def by_status(self) -> dict[tuple[str, int], int]:
        """How many there were by method and status."""
        return {(method.decode() or OTHER, status): count for (method, status), count in self._answers.items()}

    def requests(self) -> dict[tuple[str, str], int]:
        """How many there were by method and by class of status, as in C{("PUT", "2xx")}."""
        classes: dict[tuple[str, str], int] = {}
        for (method, status), count in self.by_status().items():
            known = (method, f"{status // 100}xx")
            classes[known] = classes.get(known, 0) + count
        return classes
