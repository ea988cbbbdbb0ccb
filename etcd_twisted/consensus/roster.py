"""
Who is in the cluster and who leads it, as this machine knows it: a member by its log, a standby by what others say,
and one that is neither yet by what it found on its disk or was told when it joined.

Must never mix what it knows from one of these with what it knows from another.
"""

from collections.abc import Mapping

from etcd_twisted.consensus.cluster_keys import stored_config
from etcd_twisted.consensus.group import Group
from etcd_twisted.consensus.members import in_order
from etcd_twisted.interfaces.cluster import ClusterView, Machine, fingerprinted
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.space import KeySpace


class Roster:
    """
    See the module.

    @ivar standby: whether this machine stands by, so that what others say counts.
    @ivar group: the group that this machine is a member of; C{None} while it is in none.
    @ivar keyspace: this machine's copy.
    """

    def __init__(self, keyspace: KeySpace, defaults: ClusterConfig) -> None:
        """
        @param defaults: what is set for the cluster as long as nobody has set it.
        """
        self.standby = False
        self.group: Group | None = None
        self.keyspace = keyspace
        self._defaults = defaults
        self._cluster_id = ""
        self._view: ClusterView | None = None
        self._recalled: dict[str, Machine] = {}
        self._recalled_cluster_id = ""

    # What it is told

    def recall(self, cluster_id: str, members: Mapping[str, Machine]) -> None:
        """
        These are the machines as long as this one knows no better.

        @param members: by their fingerprints.
        """
        self._recalled_cluster_id = cluster_id
        self._recalled = dict(members)

    def enter(self, group: Group) -> None:
        """This machine is a member from here on."""
        self.standby = False
        self.group = group
        self._cluster_id = group.cluster_id

    def leave(self) -> None:
        """It is about to be a member no longer; until L{left}, it says to others of which cluster."""
        self.group = None

    def left(self) -> None:
        """It is a member no longer."""
        self._cluster_id = ""

    def see(self, view: ClusterView) -> None:
        """This is what others say, who know better."""
        self._view = view

    # What it knows

    @property
    def view(self) -> ClusterView | None:
        """What others say, while this machine stands by; otherwise C{None}."""
        return self._view if self.standby else None

    @property
    def cluster_id(self) -> str:
        """Of which cluster this machine is; empty until that is known."""
        if self._cluster_id:
            return self._cluster_id
        return self._recalled_cluster_id if self.view is None else self.view.cluster_id

    def leader(self) -> Machine | None:
        """Returns the machine that leads, C{None} while none is known."""
        if self.group is not None:
            return self.group.leader()
        if self._view is None:
            return None
        return next((each for each in self._view.machines if each.name == self._view.leader), None)

    def machines(self) -> list[Machine]:
        """Returns the machines of the cluster, in the order of their names."""
        if self.view is not None:
            return self.view.machines
        return in_order(self.members() or self._recalled)

    def members(self) -> dict[str, Machine]:
        """Returns the members of the group by id; none unless this machine is one."""
        return {} if self.group is None else self.group.members()

    def fingerprints(self) -> dict[str, Machine]:
        """Returns the machines of the cluster by fingerprint."""
        if self.view is not None:
            return self.view.members()
        members = self.members()
        return fingerprinted(self.cluster_id, members) if members else self._recalled

    def config(self) -> ClusterConfig:
        """Returns what is set for the cluster."""
        if self.view is not None:
            return self.view.config
        return stored_config(self.keyspace.root) or self._defaults
