"""
By how much a command would make the key space larger, which has to be known before it is logged.

Must never refuse a command from the log: every machine applies it, whatever it adds.
"""

from collections.abc import Iterable
from typing import Final

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.commands import (
    MAKING,
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
from etcd_twisted.keyspace.paths import LONGEST_NAME_IN_ORDER, ROOT
from etcd_twisted.keyspace.sizes import NODE_BYTES, text_bytes

_ADDING_NOTHING: Final = (Refresh, SetTtl, Delete, CompareAndDelete)

_MOST_A_BYTE = NODE_BYTES // 2 + text_bytes("\u00e9")
"""For a byte of a command: a node takes two of its key at least, and a character that is not ASCII's takes two too."""

_MOST_BESIDE = NODE_BYTES + text_bytes(LONGEST_NAME_IN_ORDER)
"""For a name that the command does not hold."""

_Making = Set | Create | CreateInOrder | SetOrSwap


def most_growth(size: int, count: int = 1) -> int:
    """
    The most that commands can add to any key space, in bytes. It does not look at them, and costs nothing.

    @param size: how many bytes they have in the log, all together.
    @param count: how many they are.
    """
    return _MOST_A_BYTE * size + _MOST_BESIDE * count


def growth(root: Directory, command: Change) -> int:
    """Returns how many bytes a command adds to this tree: 0 when it fails, and below 0 when the tree gets smaller."""
    if isinstance(command, _ADDING_NOTHING):
        return 0
    try:
        node, missing = _found(root, command.key)
    except EtcdError:
        return 0
    if isinstance(command, CreateInOrder):
        return 0 if isinstance(node, File) else _made([*missing, LONGEST_NAME_IN_ORDER[1:]], command)
    if node is None:
        return _made(missing, command) if isinstance(command, MAKING) else 0
    if isinstance(command, Create) or not isinstance(node, File):
        return 0
    if isinstance(command, Set) and command.directory:
        return -text_bytes(node.value)
    return 0 if command.value is None else text_bytes(command.value) - text_bytes(node.value)


def _found(root: Directory, key: str) -> tuple[Node | None, list[str]]:
    """
    What is at a key; when nothing is, the names of what is missing on the way.

    @raise EtcdError: 104 with a file that is on the way.
    """
    if key == ROOT:
        return root, []
    way = tree.walk(root, key)
    return way.node, [] if way.node is not None else way.names[len(way.directories) - 1 :]


def _made(names: Iterable[str], command: _Making) -> int:
    """Returns how many bytes new nodes add, of which the last one gets the value."""
    value = 0 if command.directory else text_bytes(command.value)
    return sum(NODE_BYTES + text_bytes(name) for name in names) + value
