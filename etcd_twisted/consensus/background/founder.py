"""
Logs what a new cluster decides for good, before anything else: how in-order keys are named.

Such a decision is the cluster's and not a machine's, as the same log has to give the same tree on every machine. This
module must never change what a cluster has decided, nor decide anything for one that has a command in its log.
"""

from twisted.logger import Logger

from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import EntryKind
from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.keyspace.commands import PadInOrderKeys, encode_command


class Founder:
    """
    The part of one machine in founding its cluster; see the module.

    @ivar is_decided: whether the cluster is known to have decided. It has once it has a command in its log.
    """

    _log = Logger()

    def __init__(
        self, raft: Raft, node: Node, state_machine: StateMachine, time: ClusterTime, pads_in_order_keys: bool
    ) -> None:
        """
        @param raft: the core, to be read only.
        @param pads_in_order_keys: what this machine is configured to decide for a new cluster.
        """
        self.is_decided = False
        self._raft = raft
        self._node = node
        self._state_machine = state_machine
        self._time = time
        self._pads_in_order_keys = pads_in_order_keys

    def changed(self) -> None:
        """
        Log the decision if this machine has begun to lead a new cluster. It takes no proposals of clients yet: it does
        so once an entry of its term is committed.
        """
        raft = self._raft
        begins_to_lead = raft.leads and not raft.accepts_proposals
        if self._pads_in_order_keys and begins_to_lead and not _has_command(raft.log, raft.log.last_index):
            self._node.propose(encode_command(PadInOrderKeys(self._time.now())))

    def applied(self) -> None:
        """See whether the decision is applied, and warn if it is another one than this machine is configured for."""
        self.is_decided = _has_command(self._raft.log, self._state_machine.applied_index)
        decided = self._state_machine.keyspace.pads_in_order_keys
        if self.is_decided and decided != self._pads_in_order_keys:
            self._log.warn(
                "In-order keys are {decided} in this cluster, and stay so, although this machine has"
                " --in-order-keys {configured}",
                decided=_word(decided),
                configured=_word(self._pads_in_order_keys),
            )


def _has_command(log: RaftLog, index: int) -> bool:
    """Returns whether a log has had a command up to an index."""
    return log.snapshot_index > 0 or any(
        entry.kind is EntryKind.COMMAND for entry in log.between(log.first_index, index + 1)
    )


def _word(pads: bool) -> str:
    return "padded" if pads else "plain"
