"""
What can be set for a replica. This module must never know where a value comes from.
"""

import attrs

from etcd_twisted.consensus.bounded_wait import RECORDS_IN_A_ROW
from etcd_twisted.consensus.proposals.proposer import MOST_UNAPPLIED_BYTES
from etcd_twisted.consensus.proposals.quota import QUOTA_BYTES
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.consensus.reconfiguration.upkeep import PromotionLimits
from etcd_twisted.consensus.snapshots.taking import SNAPSHOT_BYTES
from etcd_twisted.consensus.state_machine import ENTRIES_PER_TURN
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.history import DEFAULT_HISTORY_BYTES

_PROPOSAL_TIMEOUT_ELECTIONS = 2.0
"""
How many election timeouts a proposer waits for an outcome after the leader is lost. It takes up to two more until that
is noticed, and with etcd's timeout of one second, clients wait for five in all.
"""

_LEAST_PROPOSAL_TIMEOUT_SECONDS = 1.0
"""The least time that a proposer waits then."""


@attrs.frozen
class ReplicaSettings:
    """
    The settings of a replica.

    @ivar history_capacity: how many events are kept for watchers that start from a past index.
    @ivar history_bytes: the most bytes that these events may hold together.
    @ivar snapshot_count: how many entries are applied from one snapshot to the next, at the least, unless they hold
        more than C{snapshot_bytes}; C{None} for no snapshots.
    @ivar quota_bytes: the most bytes that the key space may hold; 0 for any size.
    @ivar pads_in_order_keys: whether a new cluster pads the names of in-order keys.
    @ivar defaults: the cluster's configuration as long as nobody has set one.
    @ivar random_seed: what the election timeouts follow from. It must differ from machine to machine.
    @ivar unapplied_bytes: how many bytes of proposals may wait to be applied before further changes wait.
    @ivar raft_limits: what bounds the log, the messages and the records of the Raft core.
    @ivar promotion: how much a learner may lack when it gets a vote.
    @ivar entries_per_turn: how many entries are applied in one turn of the reactor at most.
    @ivar lone_records: how many records of one entry show that there is one writer, whose records are waited for.
    """

    history_capacity: int = 1_000
    history_bytes: int = DEFAULT_HISTORY_BYTES
    snapshot_count: int | None = None
    quota_bytes: int = QUOTA_BYTES
    timing: Timing = attrs.field(factory=Timing)
    defaults: ClusterConfig = attrs.field(factory=ClusterConfig)
    random_seed: int = 0
    snapshot_bytes: int = SNAPSHOT_BYTES
    unapplied_bytes: int = MOST_UNAPPLIED_BYTES
    raft_limits: RaftLimits = attrs.field(factory=RaftLimits)
    promotion: PromotionLimits = attrs.field(factory=PromotionLimits)
    entries_per_turn: int = ENTRIES_PER_TURN
    pads_in_order_keys: bool = False
    lone_records: int = RECORDS_IN_A_ROW

    @property
    def proposal_timeout_seconds(self) -> float:
        """How long a proposer waits for an outcome after the leader is lost, in seconds."""
        return max(_LEAST_PROPOSAL_TIMEOUT_SECONDS, _PROPOSAL_TIMEOUT_ELECTIONS * self.timing.election_timeout_seconds)
