"""
How much a port is used: its connections, its requests by method and kind of answer, and how long they take.

Must never cost a request more than a step in a dictionary and one in a histogram, nor keep a line for each word that a
stranger calls a method.
"""

from bisect import bisect_left
from collections.abc import Sized

import attrs

from etcd_twisted.interfaces.statistics import BOUNDS, Durations

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")
"""Those that are counted by name."""

OTHER = "other"
"""What all others are counted as, and requests that could not be understood."""

_KEY_METHODS = (b"GET", b"HEAD", b"PUT", b"POST", b"DELETE")
_SHORT = BOUNDS[0]
_KNOWN = frozenset(method.encode() for method in METHODS)


@attrs.define
class _Tally:
    """
    Of the answers of one status to the requests of one method.

    @ivar took: how long they took, see L{Usage}; C{None} where that is not measured.
    """

    took: Durations | None
    count: int = 0


@attrs.define(eq=False)
class Usage:
    """
    One port's.

    @ivar connected: the connections that are open.
    @ivar took: how long it took to answer requests about keys that succeeded, by those of L{METHODS} that they have;
        waits for events are not among them.
    """

    connected: Sized = ()
    _answers: dict[tuple[bytes, int], _Tally] = attrs.field(factory=dict)
    """By method and status."""
    took: dict[bytes, Durations] = attrs.field(factory=lambda: {method: Durations() for method in _KEY_METHODS})

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.connected)

    def count(self, method: bytes, status: int) -> None:
        """A request is answered, or its answer begins."""
        try:
            self._answers[method, status].count += 1
        except KeyError:
            self._tally(method, status).count += 1

    def answered(self, method: bytes, status: int, seconds: float) -> None:
        """Count a request about keys, and how long it took."""
        try:
            tally = self._answers[method, status]
        except KeyError:
            tally = self._tally(method, status)
        tally.count += 1
        took = tally.took
        if took is not None:
            # Most are answered before the first bound; Durations.add would look for it.
            took.counts[0 if seconds <= _SHORT else bisect_left(BOUNDS, seconds)] += 1
            took.total += seconds

    def _tally(self, method: bytes, status: int) -> _Tally:
        """One that is new, or that all unknown methods share."""
        known = (method if method in _KNOWN else b"", status)
        if known not in self._answers:
            self._answers[known] = _Tally(self.took.get(method) if status < 300 else None)
        return self._answers[known]

    def by_status(self) -> dict[tuple[str, int], int]:
        """How many there were by method and status."""
        return {(method.decode() or OTHER, status): tally.count for (method, status), tally in self._answers.items()}

    def requests(self) -> dict[tuple[str, str], int]:
        """How many there were by method and by class of status, as in C{("PUT", "2xx")}."""
        classes: dict[tuple[str, str], int] = {}
        for (method, status), count in self.by_status().items():
            known = (method, f"{status // 100}xx")
            classes[known] = classes.get(known, 0) + count
        return classes
