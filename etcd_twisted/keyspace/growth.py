"""
How much larger a command would make the key space. The quota asks before the command is logged.

This module must never be asked about a command from the log: every machine applies that, whatever it adds.
"""

from collections.abc import Iterable
from typing import Final

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.commands import (
    CREATING_COMMANDS,
    Change,
    CompareAndDelete,
    Create,
    CreateInOrder,
    Delete,
    Refresh,
    Set,
    SetOrSwap,
    SetTtl,
)
from etcd_twisted.keyspace.nodes import Directory, File, Node
from etcd_twisted.keyspace.paths import LONGEST_IN_ORDER_NAME, ROOT
from etcd_twisted.keyspace.sizes import NODE_BYTES, text_bytes

_NEVER_GROWING: Final = (Refresh, SetTtl, Delete, CompareAndDelete)

MAX_GROWTH_PER_BYTE = NODE_BYTES // 2 + text_bytes("\u00e9")
"""
How many bytes each byte of a command in the log adds to any key space, at most: a new node takes two bytes of the key
at least, and so does each character that is not ASCII.
"""

MAX_GROWTH_PER_COMMAND = NODE_BYTES + text_bytes(LONGEST_IN_ORDER_NAME)
"""How many bytes a command adds beside that, at most: a node with an in-order name, which is not in the command."""

_CreatingCommand = Set | Create | CreateInOrder | SetOrSwap


def growth(root: Directory, command: Change) -> int:
    """Returns how many bytes a command adds to a tree: 0 when it fails, and less than 0 when the tree shrinks."""
    if isinstance(command, _NEVER_GROWING):
        return 0
    try:
        node, missing = _look_up(root, command.key)
    except EtcdError:
        return 0
    if isinstance(command, CreateInOrder):
        return 0 if isinstance(node, File) else _new_nodes_bytes([*missing, LONGEST_IN_ORDER_NAME[1:]], command)
    if node is None:
        return _new_nodes_bytes(missing, command) if isinstance(command, CREATING_COMMANDS) else 0
    if isinstance(command, Create) or not isinstance(node, File):
        return 0
    if isinstance(command, Set) and command.directory:
        return -text_bytes(node.value)
    return 0 if command.value is None else text_bytes(command.value) - text_bytes(node.value)


def _look_up(root: Directory, key: str) -> tuple[Node | None, list[str]]:
    """
    Returns the node at a key; and if there is none, the names of all nodes that are missing on the path.

    @raise EtcdError: 104 with a file that is on the path.
    """
    if key == ROOT:
        return root, []
    lookup = tree.look_up(root, key)
    return lookup.node, [] if lookup.node is not None else lookup.names[len(lookup.directories) - 1 :]


def _new_nodes_bytes(names: Iterable[str], command: _CreatingCommand) -> int:
    """Returns how many bytes new nodes with these names add, when the last one gets the value."""
    value = 0 if command.directory else text_bytes(command.value)
    return sum(NODE_BYTES + text_bytes(name) for name in names) + value
