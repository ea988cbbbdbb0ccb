"""
What a machine that takes part in consensus works with, and whom it reports to.

Must never do anything itself.
"""

from collections.abc import Awaitable, Callable

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from etcd_twisted.consensus.cluster_time import ClusterTime
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.recovery import Storage
from etcd_twisted.consensus.storage.disk_thread import LogWriter
from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces import ITransport
from etcd_twisted.interfaces.cluster import StatusReport
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.interfaces.statistics import Traffic
from etcd_twisted.keyspace.space import KeySpace


@attrs.frozen
class Surroundings:
    """
    See the module.

    @ivar clock: for what is to be done later; never set.
    @ivar time: the time by which keys expire.
    @ivar wall_clock: this machine's clock, in seconds since the epoch.
    @ivar turn: awaited between slices of work.
    @ivar config: what is set for the cluster.
    @ivar report: what this machine says of itself to those that ask.
    @ivar quota_bytes: how large the key space may get; 0 for any size.
    @ivar patience: how long who proposed is kept waiting when the leader is lost, in seconds.
    @ivar changed: called when the role, the leader or the group may have changed.
    @ivar applied: called when entries were applied.
    @ivar failed: called once when it can't go on; returns what to tell those who wait.
    """

    clock: IReactorTime
    time: ClusterTime
    wall_clock: Callable[[], float]
    turn: Callable[[], Awaitable[None]]
    keyspace: KeySpace
    storage: Storage
    writer: LogWriter
    transport: ITransport
    traffic: Traffic
    timing: Timing
    config: Callable[[], ClusterConfig]
    report: Callable[[], StatusReport]
    snapshot_count: int | None
    quota_bytes: int
    patience: float
    changed: Callable[[], None]
    applied: Callable[[], None]
    failed: Callable[[Failure], EtcdError]
