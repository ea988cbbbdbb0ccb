"""
What machines tell each other about who is in the cluster, and what is set for the cluster as a whole.

Must never know how it is asked or stored.
"""

import msgspec

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.machines import Machine

PROTOCOL_VERSION = 1
"""What machines speak with each other; one of another version is refused."""

CONFIG_KEY = "/_etcd/config"
"""Where L{ClusterConfig} is kept, once somebody has set it."""


class ClusterConfig(msgspec.Struct, frozen=True, rename="camel"):
    """
    What is the same for a whole cluster (api, "Cluster Config").

    @ivar active_size: how many machines take part in consensus; the others are standbys.
    @ivar remove_delay: after how many seconds without a word from it a machine is removed.
    @ivar sync_interval: how often a standby looks whether there is a place for it, in seconds.
    """

    active_size: int = 9
    remove_delay: float = 1800.0
    sync_interval: float = 5.0


_decode = msgspec.json.Decoder(ClusterConfig).decode


def written(config: ClusterConfig) -> str:
    """As it is kept and shown: JSON, whole numbers without a fraction."""
    fields = {name: getattr(config, name) for name in ClusterConfig.__struct_fields__}
    whole = {name: int(value) if value == int(value) else value for name, value in fields.items()}
    return msgspec.json.encode(ClusterConfig(**whole)).decode()


def stored_config(root: Directory) -> ClusterConfig | None:
    """What is kept in a key space; C{None} when nobody has set it, or what is there is none."""
    try:
        node = tree.find_if_any(root, CONFIG_KEY)
        return _decode(node.value) if isinstance(node, File) else None
    except (EtcdError, msgspec.MsgspecError):
        return None


class JoinRequest(msgspec.Struct, frozen=True):
    """A machine that wants to be a member, or one with new addresses."""

    version: int
    machine_id: str
    cluster_id: str
    """Empty for one that is of no cluster yet."""
    name: str
    client_url: str
    peer_url: str


class JoinReply(msgspec.Struct, frozen=True):
    """What a new member has to know."""

    cluster_id: str


class ClusterView(msgspec.Struct, frozen=True):
    """
    A cluster as one of its machines sees it.

    @ivar machines: its members.
    @ivar leader: the name of the one that leads, or empty.
    """

    cluster_id: str
    machines: list[Machine]
    leader: str
    config: ClusterConfig
