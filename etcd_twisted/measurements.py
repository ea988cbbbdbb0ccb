"""
What a machine measures of itself, beside its traffic and its store's counters: how long the disk and a quorum take,
what waits, and how much is kept. Also what it knows of the other machines.

Must never cost a request anything: what takes time is measured once for a whole batch, and all else is read when
somebody asks.
"""

from bisect import bisect_left
from collections.abc import Mapping

import attrs

from etcd_twisted.membership import StatusReport

CLOCK_BOUND_SECONDS = 1.0
"""By how much the clocks of two machines may differ before that is worth a warning."""

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


@attrs.frozen
class MachineStatus:
    """
    What this machine knows of a member of its cluster, which may be itself.

    @ivar reachable: whether the member has answered the last question and is not late with its next answer. A member
        of a version that can't be asked counts as reachable while there is a connection.
    @ivar since: when C{reachable} last changed, by this machine's clock, in microseconds since the epoch. For a member
        that has not answered yet, it is when the first question was sent.
    @ivar lasted_seconds: how long ago that was.
    @ivar problem: why the member is not reachable, in words; empty when it is.
    @ivar report: the member's last answer; C{None} when it has not answered yet, or can't be asked.
    @ivar round_trip_seconds: how long its last answer took.
    @ivar clock_ahead_seconds: how far its clock is ahead of this machine's; below 0 when it is behind.
    @ivar clock_error_seconds: by how much that may be wrong. Both are C{None} while the member does not answer.
    """

    machine_id: str
    name: str
    reachable: bool
    since: int
    lasted_seconds: float
    problem: str = ""
    report: StatusReport | None = None
    round_trip_seconds: float | None = None
    clock_ahead_seconds: float | None = None
    clock_error_seconds: float | None = None

    @property
    def clock_differs(self) -> bool:
        """Whether its clock certainly differs by more than L{CLOCK_BOUND_SECONDS}."""
        ahead, error = self.clock_ahead_seconds, self.clock_error_seconds
        return ahead is not None and error is not None and abs(ahead) - error > CLOCK_BOUND_SECONDS


@attrs.frozen
class Health:
    """
    Whether the cluster has a leader and a majority, as far as this machine knows.

    @ivar statuses: the status of each member, by its id in the Raft group; empty on a standby, which asks no others.
    @ivar voters: the ids of the members that count for a majority.
    @ivar leader: the name of the machine that leads; empty while none is known.
    """

    statuses: Mapping[str, MachineStatus]
    voters: frozenset[str]
    leader: str

    @property
    def answering(self) -> int:
        """How many voters answer, this machine included."""
        return sum(self.statuses[each].reachable for each in self.voters if each in self.statuses)

    @property
    def needed(self) -> int:
        """How many voters are a majority; 0 on a standby."""
        return len(self.voters) // 2 + 1 if self.voters else 0

    @property
    def has_majority(self) -> bool:
        """Whether a majority answers."""
        return self.answering >= self.needed

    @property
    def missing(self) -> list[MachineStatus]:
        """The members that do not answer, with or without a vote."""
        return [each for each in self.statuses.values() if not each.reachable]

    @property
    def count(self) -> str:
        """Says how many machines answer and how many are needed."""
        answer = "answers" if self.answering == 1 else "answer"
        need = "is" if self.needed == 1 else "are"
        return f"{self.answering} of {len(self.voters)} machines {answer}; {self.needed} {need} needed"
