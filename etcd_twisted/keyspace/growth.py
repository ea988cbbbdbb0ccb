"""
By how much a command would make the key space larger: what has to be known of it before it is logged.

Must never decide about a command in the log: that is carried out, whatever it adds.
"""

from collections.abc import Iterable
from typing import Final

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.commands import Change, CompareAndSwap, Create, CreateInOrder, Set, Update
from etcd_twisted.keyspace.nodes import Directory, File, Node
from etcd_twisted.keyspace.paths import LONGEST_NAME_IN_ORDER, ROOT
from etcd_twisted.keyspace.sizes import NODE_BYTES, text_bytes

_MAKING: Final = (Set, Create, CreateInOrder)
_KEEPING_THE_NODE: Final = (Update, CompareAndSwap)


def most_growth(command: Change) -> int:
    """The most that a command can add to any key space, in bytes. It does not look at the tree, and costs little."""
    if isinstance(command, _MAKING):
        key, value = command.key, command.value
        if isinstance(command, CreateInOrder):
            key += LONGEST_NAME_IN_ORDER
        text = len(key) + len(value) if key.isascii() and value.isascii() else text_bytes(key) + text_bytes(value)
        return NODE_BYTES * key.count("/") + text
    if isinstance(command, _KEEPING_THE_NODE):
        return text_bytes(command.value or "")
    return 0


def growth(root: Directory, command: Change) -> int:
    """What a command adds to the tree as it is, in bytes: 0 when it fails, and below 0 when the tree gets smaller."""
    try:
        node, missing = _found(root, command.key)
    except EtcdError:
        return 0
    if isinstance(command, CreateInOrder):
        return 0 if isinstance(node, File) else _added([*missing, LONGEST_NAME_IN_ORDER[1:]], command)
    if isinstance(command, Set | Create) and node is None:
        return _added(missing, command)
    if isinstance(command, Set | Update | CompareAndSwap) and isinstance(node, File) and command.value is not None:
        return _value_bytes(command) - text_bytes(node.value)
    return 0


def _found(root: Directory, key: str) -> tuple[Node | None, list[str]]:
    """
    What is at a key; when nothing is, the names of what is missing on the way.

    @raise EtcdError: 104 with a file that is on the way.
    """
    if key == ROOT:
        return root, []
    way = tree.walk(root, key)
    return way.node, [] if way.node is not None else way.names[len(way.directories) - 1 :]


def _added(names: Iterable[str], command: Set | Create | CreateInOrder) -> int:
    """What new nodes add, of which the last one gets the value."""
    return sum(NODE_BYTES + text_bytes(name) for name in names) + _value_bytes(command)


def _value_bytes(command: Set | Create | CreateInOrder | Update | CompareAndSwap) -> int:
    makes_directory = isinstance(command, Set | Create | CreateInOrder) and command.directory
    return 0 if makes_directory or command.value is None else text_bytes(command.value)
