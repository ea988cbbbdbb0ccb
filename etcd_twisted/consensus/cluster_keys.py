"""
What the cluster keeps about itself in the key space: its machines, what is set for it, and who is kept out.

Each machine is the key C{/_etcd/machines/NAME} with the value C{etcd=CLIENT_URL&raft=PEER_URL}, each URL
percent-encoded (spec, section 3, "Joining"). Must never change anything: it reads a tree, and says what to log.
"""

import msgspec

from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces.cluster import FORBIDDEN, NAME, Forbidden, Machine
from etcd_twisted.interfaces.cluster_config import ClusterConfig, read_config
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.commands import Change, Create, Delete, Set
from etcd_twisted.keyspace.nodes import Directory, File

CONFIG_KEY = "/_etcd/config"
"""Where L{ClusterConfig} is kept, once somebody has set it."""

_LONGEST_BY = 100
"""How long the address of an administrator may be, in characters."""


def registrations(root: Directory, before: list[Machine], after: list[Machine]) -> list[Change]:
    """
    The commands that register a cluster's machines in a key space and take those out that have gone.

    @param before: who was in the cluster.
    """
    staying = {machine.name for machine in after}
    commands: list[Change] = [Delete(each.key, 0) for each in before if each.name not in staying]
    for machine in after:
        try:
            node = tree.look_up(root, machine.key).node
        except EtcdError:  # a file stands where a directory should be: the command will say so
            node = None
        if node is None:
            commands.append(Create(machine.key, 0, machine.value))
        elif not isinstance(node, File) or node.value != machine.value:
            commands.append(Set(machine.key, 0, machine.value))
    return commands


def stored_config(root: Directory) -> ClusterConfig | None:
    """What is kept in a key space; C{None} when nobody has set it, or what is there is none."""
    try:
        node = tree.look_up(root, CONFIG_KEY).node
        return read_config(node.value, ClusterConfig()) if isinstance(node, File) else None
    except EtcdError:
        return None


def forbidden_machines(root: Directory) -> list[Forbidden]:
    """
    Returns the machines that a key space keeps out, by name. A key that a client has put there counts too, if a
    machine can have that name: what is in it is logged, and is part of a command that people copy from the log.
    """
    try:
        directory = tree.look_up(root, FORBIDDEN).node
    except EtcdError:
        return []
    if not isinstance(directory, Directory):
        return []
    found = sorted(directory.children.items())
    return [_forbidden(name, node.value) for name, node in found if isinstance(node, File) and NAME.fullmatch(name)]


def _forbidden(name: str, value: str) -> Forbidden:
    try:
        found = _decode_forbidden(value)
    except (ValueError, RecursionError):  # msgspec's errors are some
        return Forbidden(name)
    by = found.by if found.by.isprintable() and len(found.by) <= _LONGEST_BY else ""
    return msgspec.structs.replace(found, name=name, by=by)


_decode_forbidden = msgspec.json.Decoder(Forbidden).decode
