"""
What the rooms know of each other: the interfaces that each provides, and the values that go between them.

This package must never do anything.
"""

from etcd_twisted.interfaces.cluster import Forbidden, Health, Machine, MachineStatus
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.interfaces.raft import AnswerQuestion, IRaftPeer, ISnapshotFile, ITransport
from etcd_twisted.interfaces.reactor import IReactor
from etcd_twisted.interfaces.replica import ConfirmationCallback, IReplica, OutcomeCallback
from etcd_twisted.interfaces.statistics import Measurements, Traffic

__all__ = [
    "AnswerQuestion",
    "ClusterConfig",
    "ConfirmationCallback",
    "Forbidden",
    "Health",
    "IRaftPeer",
    "IReactor",
    "IReplica",
    "ISnapshotFile",
    "ITransport",
    "Machine",
    "MachineStatus",
    "Measurements",
    "OutcomeCallback",
    "Traffic",
]
