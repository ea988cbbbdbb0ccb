"""
What goes between the machines of a cluster, counted (api, "Leader Statistics" and "Self Statistics").

Must never read a clock: whoever counts brings the time along.
"""

import math
from collections import deque

import attrs

WINDOW = 60
"""Rates are taken over so many seconds."""


@attrs.define
class Flow:
    """
    Requests in one direction.

    @ivar count: how many there were in all.
    """

    count: int = 0
    _seconds: deque[list[int]] = attrs.field(factory=deque)
    """Of the last minute: the second, the requests in it and their bytes."""

    def add(self, now: float, length: int) -> None:
        """
        A request went.

        @param now: seconds, of a clock that is not set back.
        @param length: in bytes.
        """
        self.count += 1
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
            self._forget(second)
        last = self._seconds[-1]
        last[1] += 1
        last[2] += length

    def rates(self, now: float) -> tuple[float, float] | None:
        """Requests and bytes per second over the last minute's requests; C{None} when there were none."""
        self._forget(int(now))
        if not self._seconds:
            return None
        span = max(1.0, min(float(WINDOW), now - self._seconds[0][0]))
        return sum(each[1] for each in self._seconds) / span, sum(each[2] for each in self._seconds) / span

    def _forget(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - WINDOW:
            self._seconds.popleft()


@attrs.define
class FollowerTraffic:
    """
    How a follower answers its leader. Latencies are in milliseconds.

    @ivar success: how many requests it answered.
    @ivar fail: how many times it could not be reached.
    """

    success: int = 0
    fail: int = 0
    current: float = 0.0
    average: float = 0.0
    minimum: float = 0.0
    maximum: float = 0.0
    _squares: float = 0.0
    """The sum of the squared distances from the average (Welford)."""

    def succeeded(self, latency: float) -> None:
        """
        A request was answered.

        @param latency: how long that took, in milliseconds.
        """
        self.success += 1
        self.current = latency
        self.minimum = latency if self.success == 1 else min(self.minimum, latency)
        self.maximum = max(self.maximum, latency)
        distance = latency - self.average
        self.average += distance / self.success
        self._squares += distance * (latency - self.average)

    def failed(self) -> None:
        """It could not be reached."""
        self.fail += 1

    @property
    def standard_deviation(self) -> float:
        """Of the latencies."""
        return math.sqrt(self._squares / self.success) if self.success else 0.0


@attrs.define
class Traffic:
    """
    All of a machine's.

    @ivar sent: what it sent as a leader.
    @ivar received: what it received as a follower.
    @ivar followers: by name, since this machine leads; empty while it does not.
    """

    sent: Flow = attrs.field(factory=Flow)
    received: Flow = attrs.field(factory=Flow)
    followers: dict[str, FollowerTraffic] = attrs.field(factory=dict)
