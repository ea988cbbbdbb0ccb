"""
Decides whose messages this machine accepts: those of the members that it knows, and of machines that a member
confirms.

It must never let a message reach the core from a machine that is not in this cluster, or no longer is.
"""

from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.interfaces.cluster import Admission, ClusterView, fingerprint

_MAX_MACHINES = 64
"""The most confirmed machines, and the most unconfirmed ones, that are remembered: more than a group has."""


class Admissions:
    """The admissions of one member; see the module."""

    def __init__(self, cluster_id: str, raft: RaftState) -> None:
        self._cluster_id = cluster_id
        self._raft = raft
        self._confirmed: dict[str, int] = {}
        """By fingerprint: the index of the newest configuration that has the machine, according to a member."""
        self._unconfirmed: dict[str, int] = {}
        """By id: the index of the configuration that the machine claims to be in."""

    def fingerprints(self) -> tuple[str, ...]:
        """
        Returns the fingerprints of the machines that are members, or were until changes that may not be committed.
        """
        return tuple(sorted(fingerprint(self._cluster_id, each) for each in self._raft.members))

    def takes_from(self, machine_id: str) -> bool:
        """Returns whether this machine accepts the messages of another one."""
        if self._raft.has_member(machine_id):
            return True
        confirmed = self._confirmed.get(fingerprint(self._cluster_id, machine_id), 0)
        return confirmed > self._raft.settled_configuration_index

    def admission(self, machine_id: str, configuration_index: int) -> Admission:
        """
        See L{etcd_twisted.interfaces.IRaftPeer.admission}. A machine that no member has confirmed yet is remembered.
        """
        admission = self._judge(machine_id, configuration_index)
        if admission is Admission.UNCONFIRMED and len(self._unconfirmed) < _MAX_MACHINES:
            self._unconfirmed[machine_id] = configuration_index
        return admission

    def _judge(self, machine_id: str, configuration_index: int) -> Admission:
        if self.takes_from(machine_id):
            return Admission.MEMBER
        known = configuration_index <= self._raft.settled_configuration_index
        return Admission.STRANGER if known else Admission.UNCONFIRMED

    def has_unconfirmed(self) -> bool:
        """See L{etcd_twisted.interfaces.IRaftPeer.has_unconfirmed}."""
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        return any(self._judge(*each) is Admission.UNCONFIRMED for each in unconfirmed.items())

    def learn_members(self, view: ClusterView) -> bool:
        """See L{etcd_twisted.interfaces.IRaftPeer.learn_members}."""
        settled = self._raft.settled_configuration_index
        if view.cluster_id != self._cluster_id or view.configuration_index <= settled:
            return False
        known = [(each, index) for each, index in self._confirmed.items() if index > settled]
        known += [(each, view.configuration_index) for each in view.fingerprints]
        self._confirmed = dict(known[-_MAX_MACHINES:])
        return True
