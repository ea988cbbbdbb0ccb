"""
Whose messages this machine takes: those of the members that it knows, and of those that members vouch for.

Must never let a machine that is not of this cluster, or not in it any more, be heard by the core.
"""

from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.interfaces.cluster import Admission, ClusterView, fingerprint

_MOST_VOUCHED_FOR = 64
"""How many machines that are not members here yet are remembered, and how many in doubt: more than a group has."""


class Admissions:
    """One member's."""

    def __init__(self, cluster_id: str, raft: RaftState) -> None:
        self._cluster_id = cluster_id
        self._raft = raft
        self._vouched_for: dict[str, int] = {}
        """By fingerprint: the index of the newest configuration that has the machine, as a member said."""
        self._doubted: dict[str, int] = {}
        """What machines said that were found unconfirmed: the index of their configuration."""

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of the machines whose messages are taken because they are members here."""
        return tuple(sorted(fingerprint(self._cluster_id, each) for each in self._raft.members))

    def takes_from(self, machine_id: str) -> bool:
        """Returns whether messages of a machine are taken."""
        if self._raft.has_member(machine_id):
            return True
        vouched_for = self._vouched_for.get(fingerprint(self._cluster_id, machine_id), 0)
        return vouched_for > self._raft.settled_configuration_index

    def judge(self, machine_id: str, configuration_index: int) -> Admission:
        """See L{etcd_twisted.interfaces.IRaftPeer.admission}."""
        if self.takes_from(machine_id):
            return Admission.MEMBER
        known = configuration_index <= self._raft.settled_configuration_index
        return Admission.STRANGER if known else Admission.UNCONFIRMED

    def doubt(self, machine_id: str, configuration_index: int) -> None:
        """Remember a machine that was found unconfirmed."""
        if len(self._doubted) < _MOST_VOUCHED_FOR:
            self._doubted[machine_id] = configuration_index

    def doubted(self) -> bool:
        """See L{etcd_twisted.interfaces.IRaftPeer.doubted}."""
        doubted, self._doubted = self._doubted, {}
        return any(self.judge(*each) is Admission.UNCONFIRMED for each in doubted.items())

    def vouch(self, view: ClusterView) -> bool:
        """See L{etcd_twisted.interfaces.IRaftPeer.vouch}."""
        settled = self._raft.settled_configuration_index
        if view.cluster_id != self._cluster_id or view.configuration_index <= settled:
            return False
        known = [(each, index) for each, index in self._vouched_for.items() if index > settled]
        known += [(each, view.configuration_index) for each in view.fingerprints]
        self._vouched_for = dict(known[-_MOST_VOUCHED_FOR:])
        return True
