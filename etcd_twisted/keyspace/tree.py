"""
Finding, putting and removing nodes in a persistent tree.

Every change returns a new root. Must never change a node that is there, nor recurse: a key may have thousands of
segments.
"""

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.nodes import Directory, File, Node, empty_directory, with_children
from etcd_twisted.keyspace.paths import ROOT, segments


def _key(names: list[str]) -> str:
    return ROOT + "/".join(names)


def _look(root: Directory, names: list[str]) -> Node | int:
    """
    The node at the end of the way C{names}, or how many of them exist when not all do.

    @raise EtcdError: 104 with a file that is on the way.
    """
    node: Node = root
    for depth, name in enumerate(names):
        if not isinstance(node, Directory):
            raise EtcdError(ErrorCode.NOT_A_DIRECTORY, _key(names[:depth]))
        child = node.children.get(name)
        if child is None:
            return depth
        node = child
    return node


def find(root: Directory, key: str) -> Node:
    """
    The node at C{key}.

    @raise EtcdError: 100 with the first key on the way that does not exist, 104 with a file that is on the way.
    """
    names = segments(key)
    found = _look(root, names)
    if isinstance(found, int):
        raise EtcdError(ErrorCode.KEY_NOT_FOUND, _key(names[: found + 1]))
    return found


def find_if_any(root: Directory, key: str) -> Node | None:
    """
    The node at C{key}, C{None} when there is none.

    @raise EtcdError: 104 with a file that is on the way.
    """
    found = _look(root, segments(key))
    return None if isinstance(found, int) else found


def _way_to(root: Directory, names: list[str], index: int) -> list[Directory]:
    """The directories from the root to the parent of the last of C{names}; the missing ones are made at C{index}."""
    directory = root
    way = [root]
    for depth, name in enumerate(names[:-1]):
        child = directory.children.get(name)
        if child is None:
            child = empty_directory(index)
        elif isinstance(child, File):
            raise EtcdError(ErrorCode.NOT_A_DIRECTORY, _key(names[: depth + 1]))
        directory = child
        way.append(directory)
    return way


def _rebuilt(way: list[Directory], names: list[str], changed: Directory) -> Directory:
    """The root above C{changed}, which takes the place of the last directory of the way."""
    for depth in range(len(way) - 2, -1, -1):
        parent = way[depth]
        changed = with_children(parent, parent.children.set(names[depth], changed))
    return changed


def put(root: Directory, key: str, node: Node, index: int) -> Directory:
    """
    The tree with C{node} at C{key}, whatever was there before. Not for the root.

    @param index: where missing parents are said to be made.
    @raise EtcdError: 104 with a file that is on the way.
    """
    names = segments(key)
    way = _way_to(root, names, index)
    return _rebuilt(way, names, with_children(way[-1], way[-1].children.set(names[-1], node)))


def remove(root: Directory, key: str) -> Directory:
    """The tree without the node at C{key}, which is there and is not the root."""
    names = segments(key)
    way = _way_to(root, names, 0)
    return _rebuilt(way, names, with_children(way[-1], way[-1].children.delete(names[-1])))
