"""
The settings that all machines of a simulated cluster share. This module must never know what a machine does with them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.storage.write_ahead_log import SEGMENT_BYTES
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.testing.simulation.disk import Disk
from etcd_twisted.testing.simulation.disk_threads import ManualDiskThread, SimulatedDiskThread
from etcd_twisted.testing.simulation.schedule import Process


@attrs.frozen
class Settings:
    """
    The settings that all machines of a simulated cluster share.

    @ivar timing: how often the leader is heard, and after how long a silence another one is elected.
    @ivar defaults: the configuration of the cluster until it is changed.
    @ivar history: how many events are kept for watchers.
    @ivar snapshot_count: how many entries are applied between two snapshots; C{None} for no snapshots.
    @ivar limits: other fields of L{ReplicaSettings} that are not to have their defaults.
    @ivar segment_bytes: the most bytes in a segment of the log, unless one record alone is larger.
    @ivar supervised: whether a process that has ended is started again after a while, as by a supervisor.
    @ivar profile: the version of etcd whose defaults the machines have, but for C{timing}.
    @ivar workers: how many workers each machine has.
    @ivar disk_thread: makes what stands for the disk thread of a process.
    """

    timing: Timing = attrs.field(factory=Timing)
    defaults: ClusterConfig = attrs.field(factory=lambda: ClusterConfig(sync_interval_seconds=1.0))
    history: int = 1_000
    snapshot_count: int | None = 10_000
    limits: Mapping[str, Any] = attrs.field(factory=dict)
    segment_bytes: int = SEGMENT_BYTES
    supervised: bool = False
    profile: str = "etcd04"
    workers: int = 0
    disk_thread: Callable[[Process, Disk], ManualDiskThread] = SimulatedDiskThread
