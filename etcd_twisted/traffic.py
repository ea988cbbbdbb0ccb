"""
What goes between the machines of a cluster, counted (api, "Leader Statistics" and "Self Statistics").

Must never read a clock: whoever counts brings the time along.
"""

import math
from collections import deque
from collections.abc import Collection

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

    def add(self, now: float, length: int, requests: int = 1) -> None:
        """
        Requests went together.

        @param now: seconds, of a clock that is not set back.
        @param length: of all of them, in bytes.
        @param requests: how many.
        """
        self.count += requests
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
            self._forget(second)
        last = self._seconds[-1]
        last[1] += requests
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
class PeerTraffic:
    """
    What goes between this machine and another one, whoever leads, in bytes: Raft's messages and snapshots, without
    what the transport adds.
    """

    sent: int = 0
    received: int = 0


@attrs.define
class Traffic:
    """
    All of a machine's.

    @ivar sent: the requests to append that it sent as a leader.
    @ivar received: those that it received as a follower.
    @ivar followers: by name, since this machine leads; empty while it does not.
    @ivar peers: all other machines, by id.
    """

    sent: Flow = attrs.field(factory=Flow)
    received: Flow = attrs.field(factory=Flow)
    followers: dict[str, FollowerTraffic] = attrs.field(factory=dict)
    peers: dict[str, PeerTraffic] = attrs.field(factory=dict)

    def add_sent(self, machine_id: str, length: int) -> None:
        """So many bytes went to a machine."""
        self._with(machine_id).sent += length

    def add_received(self, machine_id: str, length: int) -> None:
        """So many bytes came from a machine."""
        self._with(machine_id).received += length

    def _with(self, machine_id: str) -> PeerTraffic:
        peer = self.peers.get(machine_id)
        if peer is None:
            peer = self.peers[machine_id] = PeerTraffic()
        return peer

    def keep(self, machine_ids: Collection[str]) -> None:
        """These are the other machines; what was counted of those that have gone is forgotten."""
        for machine_id in self.peers.keys() - machine_ids:
            del self.peers[machine_id]
