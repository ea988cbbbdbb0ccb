"""
The machines of a cluster, as they are registered in the key space.

Each is the key C{/_etcd/machines/NAME} with the value C{etcd=CLIENT_URL&raft=PEER_URL}, each URL percent-encoded
(spec, section 3, "Joining").
"""

import urllib.parse

import attrs

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.commands import Change, Create, Delete, Set
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.keyspace.paths import join

DIRECTORY = "/_etcd/machines"


@attrs.frozen
class Machine:
    """
    A registered machine.

    @ivar client_url: where it serves clients.
    @ivar peer_url: where it serves other machines and administrators.
    """

    name: str
    client_url: str
    peer_url: str

    @property
    def key(self) -> str:
        """Where it is registered."""
        return join(DIRECTORY, self.name)

    @property
    def value(self) -> str:
        """What its key holds."""
        return urllib.parse.urlencode({"etcd": self.client_url, "raft": self.peer_url})


def registrations(root: Directory, before: list[Machine], after: list[Machine]) -> list[Change]:
    """
    The commands that register a cluster's machines in a key space and take those out that have gone.

    @param before: who was in the cluster.
    """
    staying = {machine.name for machine in after}
    commands: list[Change] = [Delete(each.key, 0) for each in before if each.name not in staying]
    for machine in after:
        try:
            node = tree.walk(root, machine.key).node
        except EtcdError:  # a file stands where a directory should be: the command will say so
            node = None
        if node is None:
            commands.append(Create(machine.key, 0, machine.value))
        elif not isinstance(node, File) or node.value != machine.value:
            commands.append(Set(machine.key, 0, machine.value))
    return commands
