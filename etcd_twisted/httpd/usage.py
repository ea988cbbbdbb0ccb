"""
Counts how much a port is used: its connections, its requests by method and status, and how long they take.

This module must never cost a request more than one step in a dictionary and one in a histogram, nor remember each
method that a stranger invents.
"""

from bisect import bisect_left
from collections.abc import Sized

import attrs

from etcd_twisted.interfaces.statistics import BUCKET_BOUNDS_SECONDS, Durations, WorkerCounts

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")
"""The methods that are counted by name."""

OTHER = "other"
"""The name under which all other methods are counted, and requests that could not be understood."""

_KEY_METHODS = (b"GET", b"HEAD", b"PUT", b"POST", b"DELETE")
_FIRST_BOUND = BUCKET_BOUNDS_SECONDS[0]
_KNOWN = frozenset(method.encode() for method in METHODS)


@attrs.define
class _Tally:
    """
    The responses with one status to the requests with one method.

    @ivar durations: how long they took, see L{Usage}; C{None} where that is not measured.
    """

    durations: Durations | None
    count: int = 0


@attrs.define(eq=False)
class Usage:
    """
    The usage of one port.

    @ivar connected: the open connections.
    @ivar connections_elsewhere: how many are open in other processes; see L{add}.
    @ivar durations: how long it took to answer the requests about keys that succeeded, by method. Waits for events are
        not among them.
    """

    connected: Sized = ()
    connections_elsewhere: int = 0
    _answers: dict[tuple[bytes, int], _Tally] = attrs.field(factory=dict)
    """By method and status."""
    durations: dict[bytes, Durations] = attrs.field(factory=lambda: {method: Durations() for method in _KEY_METHODS})

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self.connected) + self.connections_elsewhere

    def count(self, method: bytes, status: int) -> None:
        """Count a request whose response is sent, or begins."""
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
        durations = tally.durations
        if durations is not None:
            # Most are below the first bound. Durations.add would search for it, and be a call.
            durations.counts[0 if seconds <= _FIRST_BOUND else bisect_left(BUCKET_BOUNDS_SECONDS, seconds)] += 1
            durations.total_seconds += seconds

    def _tally(self, method: bytes, status: int) -> _Tally:
        """Returns a new tally, or the one that all unknown methods share."""
        known = (method if method in _KNOWN else b"", status)
        if known not in self._answers:
            self._answers[known] = _Tally(self.durations.get(method) if status < 300 else None)
        return self._answers[known]

    def counts(self) -> WorkerCounts:
        """Returns what was counted, for another process to show."""
        answers = {known: tally.count for known, tally in self._answers.items()}
        return WorkerCounts(answers, self.durations, self.connections)

    def add(self, counts: WorkerCounts) -> None:
        """Add what another process has counted."""
        for (method, status), count in counts.answers.items():
            self._tally(method, status).count += count
        for method, durations in counts.durations.items():
            self.durations[method].add_all(durations)
        self.connections_elsewhere += counts.connections

    def by_status(self) -> dict[tuple[str, int], int]:
        """Returns how many requests there were by method and status."""
        return {(method.decode() or OTHER, status): tally.count for (method, status), tally in self._answers.items()}

    def requests(self) -> dict[tuple[str, str], int]:
        """Returns how many requests there were by method and class of status, as in C{("PUT", "2xx")}."""
        classes: dict[tuple[str, str], int] = {}
        for (method, status), count in self.by_status().items():
            known = (method, f"{status // 100}xx")
            classes[known] = classes.get(known, 0) + count
        return classes
