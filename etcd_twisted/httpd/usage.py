"""
Counts how much a port is used: its connections, its requests by method and status, and how long they take.

A request about keys adds how long it took to a list. Lists are added up when they are long, or when somebody asks.

This module must never cost a request more than one step in a dictionary and one in a list, nor remember each method
that a stranger invents.
"""

from collections.abc import Sized

import attrs

from etcd_twisted.interfaces.statistics import Durations, WorkerCounts

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")
"""The methods that are counted by name."""

OTHER = "other"
"""The name under which all other methods are counted, and requests that could not be understood."""

MOST_RECENT = 1_000
"""So many durations make a list long."""

_KEY_METHODS = (b"GET", b"HEAD", b"PUT", b"POST", b"DELETE")
_KNOWN = frozenset(method.encode() for method in METHODS)


class _Recent(dict[tuple[bytes, int], list[float]]):
    """Maps methods and statuses to lists. All unknown methods share those of an empty one."""

    def __missing__(self, key: tuple[bytes, int]) -> list[float]:
        """Returns a new list, or that of the unknown methods."""
        known = _known(*key)
        return self.setdefault(known, [])


def _known(method: bytes, status: int) -> tuple[bytes, int]:
    return (method if method in _KNOWN else b"", status)


@attrs.define(eq=False)
class Usage:
    """
    The usage of one port.

    @ivar connected: the open connections.
    @ivar connections_elsewhere: how many are open in other processes; see L{add}.
    @ivar recent: how long the requests about keys took that are not added up yet, in seconds, by method and status.
        A caller whose duration makes a list as long as L{MOST_RECENT} calls L{add_up}.
    """

    connected: Sized = ()
    connections_elsewhere: int = 0
    recent: _Recent = attrs.field(factory=_Recent)
    _answers: dict[tuple[bytes, int], int] = attrs.field(factory=dict)
    """How many there were, by method and status."""
    _durations: dict[bytes, Durations] = attrs.field(factory=lambda: {method: Durations() for method in _KEY_METHODS})

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self.connected) + self.connections_elsewhere

    def count(self, method: bytes, status: int, times: int = 1) -> None:
        """Count a request whose response is sent, or begins."""
        known = _known(method, status)
        self._answers[known] = self._answers.get(known, 0) + times

    def answered(self, method: bytes, status: int, seconds: float) -> None:
        """Count a request about keys, and how long it took."""
        recent = self.recent[method, status]
        recent.append(seconds)
        if len(recent) >= MOST_RECENT:
            self.add_up()

    def add_up(self) -> None:
        """Count the recent requests."""
        for (method, status), recent in self.recent.items():
            self.count(method, status, len(recent))
            if status < 300 and method in self._durations:
                self._durations[method].add_each(recent)
            recent.clear()

    @property
    def durations(self) -> dict[bytes, Durations]:
        """
        How long it took to answer the requests about keys that succeeded, by method. Waits for events are not among
        them.
        """
        self.add_up()
        return self._durations

    def counts(self) -> WorkerCounts:
        """Returns what was counted, for another process to show."""
        self.add_up()
        return WorkerCounts(dict(self._answers), self._durations, self.connections)

    def add(self, counts: WorkerCounts) -> None:
        """Add what another process has counted."""
        for (method, status), count in counts.answers.items():
            self.count(method, status, count)
        for method, durations in counts.durations.items():
            self._durations[method].add_all(durations)
        self.connections_elsewhere += counts.connections

    def by_status(self) -> dict[tuple[str, int], int]:
        """Returns how many requests there were by method and status."""
        self.add_up()
        return {(method.decode() or OTHER, status): count for (method, status), count in self._answers.items()}

    def requests(self) -> dict[tuple[str, str], int]:
        """Returns how many requests there were by method and class of status, as in C{("PUT", "2xx")}."""
        classes: dict[tuple[str, str], int] = {}
        for (method, status), count in self.by_status().items():
            known = (method, f"{status // 100}xx")
            classes[known] = classes.get(known, 0) + count
        return classes
