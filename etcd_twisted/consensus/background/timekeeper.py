"""
Keeps the cluster time on a leader, and has the others ask for it.

Must never set it forward while anything has a TTL, or is about to have one.
"""

from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.monitoring.statuses import Statuses
from etcd_twisted.consensus.proposals.pending import Proposals
from etcd_twisted.consensus.proposals.proposer import Throttle
from etcd_twisted.consensus.raft.state import RaftState, Role
from etcd_twisted.consensus.state_machine import StateMachine


class Timekeeper:
    """One machine's. See the module."""

    def __init__(
        self,
        time: ClusterTime,
        raft: RaftState,
        machine: StateMachine,
        proposals: Proposals,
        throttle: Throttle,
        statuses: Statuses,
    ) -> None:
        self._time = time
        self._raft = raft
        self._machine = machine
        self._proposals = proposals
        self._throttle = throttle
        self._statuses = statuses

    def changed(self) -> None:
        """
        The role may have changed: keep the cluster time, or ask for it: ask the leader, or all others if this machine
        may lead soon.
        """
        raft, time = self._raft, self._time
        if raft.leadership is not None:
            time.lead(raft.term)
            return
        time.follow()
        if raft.leader is not None and time.term < raft.term:
            self._statuses.ask(raft.leader)
        elif raft.role is not Role.FOLLOWER and time.term < raft.term:
            for machine_id in raft.configuration.members:
                self._statuses.ask(machine_id)

    def adjust(self) -> None:
        """About a second has passed."""
        machine = self._machine
        all_applied = machine.applied_index == self._raft.last_index  # what is not may have a TTL
        nothing_waits = all_applied and not self._proposals.pending and self._throttle.is_open
        self._time.adjust(nothing_waits and machine.keyspace.next_expiry() is None)

    def stop(self) -> None:
        """This machine does not lead any more."""
        self._time.follow()
