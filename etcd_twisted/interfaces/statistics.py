"""
What a machine counts and measures of itself: how long the disk and a quorum take, what waits, how much is kept, and
what goes between it and the other machines (api, "Leader Statistics" and "Self Statistics").

Must never cost a request anything: what takes time is measured once for a whole batch, and all else is read when
somebody asks. Must never read a clock either: whoever counts brings the time along.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Collection

import attrs

BOUNDS = tuple(0.00025 * 2**step for step in range(16))
"""
The upper bounds of the durations that are counted together, in seconds: from a quarter of a millisecond to 8.192
seconds. Those of etcd's histograms of the disk are among them.
"""


@attrs.define
class Durations:
    """
    A histogram.

    @ivar counts: how many took up to each of L{BOUNDS}, and longer than the bound before; at last, how many took
        longer than all of them.
    @ivar total: the sum, in seconds.
    """

    counts: list[int] = attrs.field(factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """
        Something took so long.

        Called by one thread alone; others may read meanwhile, and see the last one in one of the fields only.
        """
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


@attrs.frozen
class Contents:
    """
    What a machine's copy of the key space holds, hidden nodes and the cluster's own included.

    @ivar keys: how many keys have a value.
    @ivar directories: how many directories there are, without the root.
    @ivar size_bytes: how large it is, see L{etcd_twisted.keyspace.sizes}.
    @ivar quota_bytes: how large it may get; 0 for any size.
    @ivar alarm: whether it is nearly as large as that, or larger.
    @ivar refused: how many changes this machine has refused, since there was no room for them.
    """

    keys: int = 0
    directories: int = 0
    size_bytes: int = 0
    quota_bytes: int = 0
    alarm: bool = False
    refused: int = 0


@attrs.frozen
class Measurements:
    """
    A machine's, since it began to take part in consensus; of one that does not, all are 0.

    @ivar commit_index: the highest log index that it knows to be committed.
    @ivar leader_changes: how often it saw a machine begin to lead, since its process started.
    @ivar proposals_pending: how many changes it has proposed of which it does not know yet what becomes of them.
    @ivar proposals_failed: how many were not made, or nobody here can say whether they were.
    @ivar syncs: how long it took to make each batch of the log durable.
    @ivar commits: how long it took from when this leader began with a batch until a quorum had it.
    @ivar log_bytes: the size of the log on disk, without what is allocated ahead.
    @ivar snapshot_bytes: the size of the snapshot on disk, 0 when there is none.
    @ivar disk_free_bytes: how much this process may still write to the file system of its data directory.
    @ivar disk_size_bytes: the size of that file system, 0 when it is not known.
    @ivar clock_jumps: how often this machine's clock was set by more than L{CLOCK_BOUND_SECONDS}.
    @ivar clock_jump_seconds: by how much it was set last; below 0 when it was set back, 0 when it never was.
    @ivar cluster_time_ahead_seconds: how far the time by which keys expire is ahead of this machine's clock.
    @ivar cluster_time_error_seconds: by how much that may differ from what the leader knows; 0 on the leader, C{None}
        while no leader's time is known.
    @ivar contents: of the key space.
    """

    commit_index: int = 0
    leader_changes: int = 0
    proposals_pending: int = 0
    proposals_failed: int = 0
    syncs: Durations = attrs.field(factory=Durations)
    commits: Durations = attrs.field(factory=Durations)
    log_bytes: int = 0
    snapshot_bytes: int = 0
    clock_jumps: int = 0
    clock_jump_seconds: float = 0.0
    cluster_time_ahead_seconds: float = 0.0
    cluster_time_error_seconds: float | None = None
    contents: Contents = attrs.field(factory=Contents)
    disk_free_bytes: int = 0
    disk_size_bytes: int = 0


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
