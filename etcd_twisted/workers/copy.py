"""
A worker's copy of the key space while its machine is a member: the same state machine as the machine's own, to which
the same entries are applied, and what waits for them.

It must never let a read proceed before everything is applied that the leader's answer says, nor report an outcome that
is not certain.
"""

import functools

import attrs
from twisted.internet.interfaces import IReactorTime

from etcd_twisted.consensus.background.clearing import Clearing
from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.forwarding.forwarder import Forwarder, RequestCarrier
from etcd_twisted.consensus.proposals.pending import Proposals
from etcd_twisted.consensus.raft.entries import Configuration, Entry, SnapshotMetadata
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.state import KeySpaceState


@attrs.define
class KnownLeader:
    """
    The leader as a worker knows it; see L{etcd_twisted.consensus.forwarding.forwarder.Leadership}.

    @ivar machine_id: of no machine, as a worker has its own machine carry out what that machine leads for, too.
    """

    leader: str | None = None
    machine_id: str = ""


def _error(keyspace: KeySpace, cause: str) -> EtcdError:
    return EtcdError(ErrorCode.RAFT_INTERNAL, cause, keyspace.index)


class Copy:
    """
    The copy; see the module.

    @ivar state_machine: the state machine, to be read only.
    @ivar forwarder: has the leader carry out what only the leader can.
    """

    def __init__(
        self,
        clock: IReactorTime,
        keyspace: KeySpace,
        time: ClusterTime,
        leadership: KnownLeader,
        carrier: RequestCarrier,
        timeout_seconds: float,
    ) -> None:
        """
        @param keyspace: an empty key space.
        @param carrier: takes requests to the machine.
        @param timeout_seconds: how long an outcome is waited for once the leader is lost.
        """
        unknown = functools.partial(
            _error, keyspace, "the leader was asked and has not answered; whether the write was done is unknown"
        )
        too_much = functools.partial(
            _error, keyspace, "the cluster does not keep up with the writes: this one was not made; try again later"
        )
        self._proposals = proposals = Proposals(clock, timeout_seconds, unknown)
        nothing = SnapshotMetadata(0, 0, Configuration(()))
        self.state_machine = machine = StateMachine(keyspace, time, proposals, nothing, 0, logs_changes=False)
        self.forwarder = Forwarder(clock, leadership, carrier, proposals, machine, unknown, too_much, timeout_seconds)
        self._clearing = Clearing(clock, keyspace)
        self._unknown = unknown

    def restore(self, content: KeySpaceState, schedule: ExpirySchedule, snapshot: SnapshotMetadata) -> None:
        """Take over the key space that the machine has."""
        self.state_machine.restore(content, schedule, snapshot)

    def apply(self, entries: tuple[Entry, ...]) -> None:
        """
        Apply the next entries that the machine has applied.

        @raise ValueError: they do not follow the last one.
        """
        machine = self.state_machine
        if entries[0].index != machine.applied_index + 1:
            raise ValueError(f"entry {entries[0].index} has come after entry {machine.applied_index}")
        machine.apply(entries)
        if self.forwarder.applying:
            self.forwarder.applied(machine.applied_index)
        if machine.keyspace.removed_directories.roots:
            self._clearing.schedule()

    def changed(self, leaders_term: int) -> None:
        """
        Follow a change of the leader.

        @param leaders_term: the term of the leader; 0 while no machine leads.
        """
        self._proposals.start_timeout(leaders_term)
        self.forwarder.changed()

    def stop(self, error: Exception) -> None:
        """Apply nothing more, and fail all who wait; with C{error} those whose requests were not sent."""
        self._clearing.stop()
        self.forwarder.stop(error)
        self._proposals.fail(self._unknown())
