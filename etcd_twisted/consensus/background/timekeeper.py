"""
Keeps the cluster time on a leader, and lets the other machines ask for it.

It must never set the cluster time forward while any key has a TTL, or is about to have one.
"""

from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.monitoring.statuses import Statuses
from etcd_twisted.consensus.proposals.pending import Proposals
from etcd_twisted.consensus.proposals.proposer import Throttle
from etcd_twisted.consensus.raft.state import RaftState, Role
from etcd_twisted.consensus.state_machine import StateMachine


class Timekeeper:
    """The timekeeper of one machine; see the module."""

    def __init__(
        self,
        time: ClusterTime,
        raft: RaftState,
        state_machine: StateMachine,
        proposals: Proposals,
        throttle: Throttle,
        statuses: Statuses,
    ) -> None:
        self._time = time
        self._raft = raft
        self._state_machine = state_machine
        self._proposals = proposals
        self._throttle = throttle
        self._statuses = statuses

    def changed(self) -> None:
        """
        Follow a change of the role: a leader keeps the cluster time, and another machine asks the leader for it, or
        asks all others if it may lead soon.
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
        """Adjust the cluster time. This is called about once a second."""
        state_machine = self._state_machine
        # An entry that is not applied may set a TTL.
        all_applied = state_machine.applied_index == self._raft.last_index
        nothing_waits = all_applied and not self._proposals.count and self._throttle.is_open
        self._time.adjust(nothing_waits and state_machine.keyspace.next_expiry() is None)

    def stop(self) -> None:
        """Stop keeping the time, as this machine no longer leads."""
        self._time.follow()
