"""
What this machine knows of the cluster: its id, its machines, its leader and its configuration.

A member knows them from its log, a standby from what others say, and a machine that is neither yet from its disk or
from the answer to its join request.

This module must never mix what it knows from one of these sources with what it knows from another.
"""

from collections.abc import Mapping

from etcd_twisted.consensus.cluster_keys import member_records, stored_config
from etcd_twisted.consensus.group_state import GroupState
from etcd_twisted.consensus.machines import in_order
from etcd_twisted.interfaces.cluster import ClusterView, Health, Machine, MachineStatus, fingerprinted
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.interfaces.member_records import MemberRecord, shown_members
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.waiters import Observers


class ClusterState:
    """
    The cluster, as one machine knows it; see the module.

    @ivar on_cluster_id: called each time that L{cluster_id} is another one than before.
    @ivar waits: whether this machine waits for others to begin a cluster with.
    @ivar group: the group of which this machine is a member; C{None} while it is not a member.
    @ivar keyspace: this machine's copy of the key space.
    """

    def __init__(self, keyspace: KeySpace, defaults: ClusterConfig) -> None:
        """
        @param defaults: the cluster's configuration as long as nobody has set one.
        """
        self.on_cluster_id: Observers = []
        self.waits = False
        self.group: GroupState | None = None
        self.keyspace = keyspace
        self._defaults = defaults
        self._cluster_id = ""
        self._view: ClusterView | None = None
        self._remembered: dict[str, Machine] = {}
        self._remembered_cluster_id = ""
        self._standby = False
        self._told_cluster_id = ""

    # Events

    @property
    def standby(self) -> bool:
        """Whether this machine stands by, so that it relies on what others say."""
        return self._standby

    @standby.setter
    def standby(self, standby: bool) -> None:
        self._standby = standby
        self._tell_cluster_id()

    def _tell_cluster_id(self) -> None:
        if self.cluster_id != self._told_cluster_id:
            self._told_cluster_id = self.cluster_id
            for tell in self.on_cluster_id:
                tell()

    def remember(self, cluster_id: str, members: Mapping[str, Machine], waits: bool = False) -> None:
        """
        Use these machines as long as there is no better source.

        @param members: the machines by fingerprint.
        @param waits: whether this machine waits for these to begin a cluster with.
        """
        self.waits = waits
        self._remembered_cluster_id = cluster_id
        self._remembered = dict(members)
        self._tell_cluster_id()

    def enter_group(self, group: GroupState) -> None:
        """Rely on this machine's own group, as it is a member from here on."""
        self.group = group
        self._cluster_id = group.cluster_id
        self.standby = self.waits = False

    def leave_group(self) -> None:
        """
        Rely on the group no more, as this machine is leaving it. It still reports its cluster's id until
        L{forget_cluster}.
        """
        self.group = None

    def forget_cluster(self) -> None:
        """Forget the cluster's id, as this machine is no longer a member."""
        self._cluster_id = ""
        self._tell_cluster_id()

    def update_view(self, view: ClusterView) -> None:
        """Take over what the members of the cluster say of it."""
        self._view = view
        self._tell_cluster_id()

    # Questions

    @property
    def view(self) -> ClusterView | None:
        """What others say of the cluster while this machine stands by; otherwise C{None}."""
        return self._view if self.standby else None

    @property
    def cluster_id(self) -> str:
        """The id of this machine's cluster; empty until that is known."""
        if self._cluster_id:
            return self._cluster_id
        return self._remembered_cluster_id if self.view is None else self.view.cluster_id

    def leader(self) -> Machine | None:
        """Returns the leader, or C{None} while none is known."""
        if self.group is not None:
            return self.group.leader()
        if self._view is None:
            return None
        return next((each for each in self._view.machines if each.name == self._view.leader), None)

    def machines(self) -> list[Machine]:
        """Returns the machines of the cluster, sorted by name."""
        if self.view is not None:
            return self.view.machines
        return in_order(self.members() or self._remembered)

    def members(self) -> dict[str, Machine]:
        """Returns the members of the group by id, or nothing while this machine is not a member."""
        return {} if self.group is None else self.group.members()

    def fingerprints(self) -> dict[str, Machine]:
        """Returns the machines of the cluster by fingerprint."""
        if self.view is not None:
            return self.view.members()
        members = self.members()
        return fingerprinted(self.cluster_id, members) if members else self._remembered

    def records(self) -> list[MemberRecord]:
        """Returns the records of members, as far as this machine's copy has them."""
        return member_records(self.keyspace.root)

    def shown_members(self) -> dict[str, Machine]:
        """See L{etcd_twisted.interfaces.IReplica.shown_members}."""
        return self.fingerprints() if self.view is not None else shown_members(self.fingerprints(), self.records())

    def statuses(self) -> dict[str, MachineStatus]:
        """See L{etcd_twisted.interfaces.IReplica.statuses}."""
        return {} if self.group is None else self.group.statuses()

    def health(self) -> Health:
        """See L{etcd_twisted.interfaces.IReplica.health}."""
        if self.group is not None:
            return self.group.health()
        leader = self.leader()
        return Health({}, frozenset(), "" if leader is None else leader.name)

    def config(self) -> ClusterConfig:
        """Returns the cluster's configuration."""
        if self.view is not None:
            return self.view.config
        return stored_config(self.keyspace.root) or self._defaults
