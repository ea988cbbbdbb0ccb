"""
What a machine counts and measures of itself: how long the disk and a quorum take, what is pending, how much is stored,
and its traffic with the other machines (api, "Leader Statistics" and "Self Statistics").

This module must never cost a request anything: durations are measured once for a whole batch, and everything else is
read when somebody asks. This module must never read a clock either: whoever counts passes the time.
"""

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Collection, Mapping

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface

BUCKET_BOUNDS_SECONDS = tuple(0.00025 * 2**step for step in range(16))
"""
The upper bounds of a histogram's buckets: from a quarter of a millisecond to 8.192 seconds. Those of etcd's histograms
of the disk are among them.
"""


@attrs.frozen(slots=True)
class StartTime:
    """
    When a machine was started, by both of its clocks. None can be told from the other, as both advance differently.

    @ivar microseconds: by the time by which keys expire, in microseconds since the epoch.
    @ivar reactor_seconds: by the reactor.
    """

    microseconds: int
    reactor_seconds: float


@attrs.define
class Durations:
    """
    A histogram of durations.

    @ivar counts: how many durations are in each bucket: up to one of L{BUCKET_BOUNDS_SECONDS}, and longer than the one
        before it. The last bucket has those that are longer than all bounds.
    @ivar total_seconds: the sum of all durations, in seconds.
    """

    counts: list[int] = attrs.field(factory=lambda: [0] * (len(BUCKET_BOUNDS_SECONDS) + 1))
    total_seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """
        Count a duration.

        Only one thread may call this. Others may read at the same time, and may then see the last duration in one of
        the fields only.
        """
        self.counts[bisect_left(BUCKET_BOUNDS_SECONDS, seconds)] += 1
        self.total_seconds += seconds

    def add_each(self, durations: list[float]) -> None:
        """Count several durations, for much less than a call of L{add} for each. The list is sorted."""
        durations.sort()
        before = 0
        for bucket, bound in enumerate((*BUCKET_BOUNDS_SECONDS, math.inf)):
            until = bisect_right(durations, bound, before)
            self.counts[bucket] += until - before
            before = until
        self.total_seconds += sum(durations)

    def add_all(self, other: "Durations") -> None:
        """Count all durations of another histogram."""
        self.counts = [own + more for own, more in zip(self.counts, other.counts, strict=True)]
        self.total_seconds += other.total_seconds


@attrs.frozen
class Contents:
    """
    How much a machine's copy of the key space holds, including hidden nodes and those of the cluster itself.

    @ivar keys: the number of keys that have a value.
    @ivar directories: the number of directories, without the root.
    @ivar size_bytes: the size of the key space; see L{etcd_twisted.keyspace.sizes}.
    @ivar quota_bytes: how large the key space may become; 0 for any size.
    @ivar alarm: whether it is nearly as large as the quota, or larger.
    @ivar refused: how many changes this machine has refused because there was no room for them.
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
    What a machine measures, since it began to take part in consensus. On a machine that does not, everything is 0.

    @ivar commit_index: the highest log index that the machine knows to be committed.
    @ivar leader_changes: how often it saw a machine begin to lead, since its process started.
    @ivar proposals_pending: the number of changes that it has proposed and whose outcome is not known yet.
    @ivar proposals_failed: the number of changes that were not made, or whose outcome stays unknown here.
    @ivar syncs: how long it took to make each batch of the log durable.
    @ivar commits: how long it took, while this machine led, from the beginning of a batch until a quorum had it.
    @ivar log_bytes: the size of the log on disk, without what is allocated in advance.
    @ivar snapshot_bytes: the size of the snapshot on disk; 0 when there is none.
    @ivar disk_free_bytes: how much this process may still write to the file system of its data directory.
    @ivar disk_size_bytes: the size of that file system; 0 when it is not known.
    @ivar clock_jumps: how often this machine's clock was set by more than L{CLOCK_BOUND_SECONDS}.
    @ivar clock_jump_seconds: by how much it was set last; negative when it was set back, 0 when it never was set.
    @ivar cluster_time_ahead_seconds: how far the time by which keys expire is ahead of this machine's clock.
    @ivar cluster_time_error_seconds: by how much that may differ from what the leader knows; 0 on the leader, C{None}
        while no leader's time is known.
    @ivar contents: how much the key space holds.
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


@attrs.define
class WorkerCounts:
    """
    What one worker counts: a process that serves clients from its own copy of the key space.

    @ivar answers: how many requests were answered, by method and status. All unknown methods share an empty name.
    @ivar durations: how long it took to answer those about keys that succeeded, by method.
    @ivar connections: how many connections are open.
    @ivar gets_success: how many reads of its copy succeeded; likewise C{gets_fail}.
    @ivar watchers: how many clients wait for events.
    @ivar failed_attempts: how many passwords were wrong.
    @ivar processor_seconds: how much time of a processor it has used.
    @ivar memory_bytes: how much memory it takes.
    """

    answers: dict[tuple[bytes, int], int] = attrs.field(factory=dict)
    durations: dict[bytes, Durations] = attrs.field(factory=dict)
    connections: int = 0
    gets_success: int = 0
    gets_fail: int = 0
    watchers: int = 0
    failed_attempts: int = 0
    processor_seconds: float = 0.0
    memory_bytes: int = 0

    def add(self, other: "WorkerCounts") -> None:
        """Add what another worker, or another process of this one, has counted, but for its time and memory."""
        for answered, count in other.answers.items():
            self.answers[answered] = self.answers.get(answered, 0) + count
        for method, durations in other.durations.items():
            self.durations.setdefault(method, Durations()).add_all(durations)
        self.connections += other.connections
        self.gets_success += other.gets_success
        self.gets_fail += other.gets_fail
        self.watchers += other.watchers
        self.failed_attempts += other.failed_attempts

    def end(self) -> None:
        """Keep only what was counted in all, as the process has ended: it has no connections and no watchers."""
        self.connections = self.watchers = 0


class IWorkers(Interface):
    """The workers of a machine, for whoever shows what they count."""

    def counts() -> "Deferred[Mapping[int, WorkerCounts]]":
        """Returns a Deferred that fires with what each worker that runs has counted by now, by its number."""

    def ended() -> WorkerCounts:
        """Returns what processes of workers that have ended had counted."""


RATE_WINDOW_SECONDS = 60
"""The time over which rates are averaged."""


@attrs.define
class Flow:
    """
    Requests in one direction.

    @ivar count: how many there have been in all.
    """

    count: int = 0
    _seconds: deque[list[int]] = attrs.field(factory=deque)
    """For each second of the last minute that had requests: the second, the requests and their bytes."""

    def add(self, now: float, length: int, requests: int = 1) -> None:
        """
        Count requests that were sent together.

        @param now: seconds of a monotonic clock.
        @param length: how many bytes all of them have.
        @param requests: how many there are.
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
        """Returns requests and bytes per second over the last minute, or C{None} when there were no requests."""
        self._forget(int(now))
        if not self._seconds:
            return None
        span = max(1.0, min(float(RATE_WINDOW_SECONDS), now - self._seconds[0][0]))
        return sum(each[1] for each in self._seconds) / span, sum(each[2] for each in self._seconds) / span

    def _forget(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - RATE_WINDOW_SECONDS:
            self._seconds.popleft()


@attrs.define
class FollowerTraffic:
    """
    How a follower answers its leader, and how soon.

    @ivar success: how many requests the follower answered.
    @ivar fail: how many times the follower could not be reached.
    """

    success: int = 0
    fail: int = 0
    current_ms: float = 0.0
    average_ms: float = 0.0
    minimum_ms: float = 0.0
    maximum_ms: float = 0.0
    _squares: float = 0.0
    """The sum of the squared distances from the average (Welford)."""

    def succeeded(self, latency_ms: float) -> None:
        """
        Count a request that was answered.

        @param latency_ms: how long that took, in milliseconds.
        """
        self.success += 1
        self.current_ms = latency_ms
        self.minimum_ms = latency_ms if self.success == 1 else min(self.minimum_ms, latency_ms)
        self.maximum_ms = max(self.maximum_ms, latency_ms)
        distance = latency_ms - self.average_ms
        self.average_ms += distance / self.success
        self._squares += distance * (latency_ms - self.average_ms)

    def failed(self) -> None:
        """Count that the follower could not be reached."""
        self.fail += 1

    @property
    def standard_deviation_ms(self) -> float:
        """The standard deviation of the latencies."""
        return math.sqrt(self._squares / self.success) if self.success else 0.0


@attrs.define
class PeerTraffic:
    """
    How many bytes this machine has exchanged with another one, whoever leads: Raft messages and snapshots, without the
    framing of the transport.
    """

    sent: int = 0
    received: int = 0


@attrs.define
class Traffic:
    """
    All traffic of a machine.

    @ivar sent: the append requests that it sent as a leader.
    @ivar received: the append requests that it received as a follower.
    @ivar followers: its followers by name, since it began to lead; empty while it does not lead.
    @ivar peers: all other machines, by id.
    """

    sent: Flow = attrs.field(factory=Flow)
    received: Flow = attrs.field(factory=Flow)
    followers: dict[str, FollowerTraffic] = attrs.field(factory=dict)
    peers: dict[str, PeerTraffic] = attrs.field(factory=dict)

    def add_sent(self, machine_id: str, length: int) -> None:
        """Count bytes that were sent to a machine."""
        (self.peers.get(machine_id) or self._begin(machine_id)).sent += length

    def add_received(self, machine_id: str, length: int) -> None:
        """Count bytes that were received from a machine."""
        (self.peers.get(machine_id) or self._begin(machine_id)).received += length

    def _begin(self, machine_id: str) -> PeerTraffic:
        peer = self.peers[machine_id] = PeerTraffic()
        return peer

    def keep(self, machine_ids: Collection[str]) -> None:
        """Forget the counts of all machines but these."""
        for machine_id in self.peers.keys() - machine_ids:
            del self.peers[machine_id]
