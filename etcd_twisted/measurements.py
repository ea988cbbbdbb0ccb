"""
What a machine measures of itself, beside its traffic and its store's counters: how long the disk and a quorum take,
what waits, and how much is kept.

Must never cost a request anything: what takes time is measured once for a whole batch, and all else is read when
somebody asks.
"""

from bisect import bisect_left

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
    """

    commit_index: int = 0
    leader_changes: int = 0
    proposals_pending: int = 0
    proposals_failed: int = 0
    syncs: Durations = attrs.field(factory=Durations)
    commits: Durations = attrs.field(factory=Durations)
    log_bytes: int = 0
    snapshot_bytes: int = 0
