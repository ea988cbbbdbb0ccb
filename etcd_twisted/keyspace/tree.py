"""
Finding, putting and removing nodes in a persistent tree.

Every change returns a new root. Must never change a node that is there, nor recurse: a key may have thousands of
segments.
"""

import immutables
import msgspec

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.nodes import Directory, Node, with_children
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


class Way(msgspec.Struct, frozen=True, gc=False):
    """
    The way to a key that is to be changed: walked once, to see what is there and to change it.

    @ivar names: the segments of C{key}.
    @ivar directories: those that exist, from the root on; each holds, or is to hold, the name beside it.
    @ivar node: what is at the key; C{None} when nothing is.
    """

    key: str
    names: list[str]
    directories: list[Directory]
    node: Node | None


def walk(root: Directory, key: str) -> Way:
    """
    The way to C{key}.

    @raise EtcdError: 104 with a file that is on the way, 107 for the root, which never changes.
    """
    if key == ROOT:
        raise EtcdError(ErrorCode.ROOT_READ_ONLY, ROOT)
    names = segments(key)
    directories: list[Directory] = []
    node: Node | None = root
    for name in names:
        if not isinstance(node, Directory):
            if node is None:
                break
            raise EtcdError(ErrorCode.NOT_A_DIRECTORY, _key(names[: len(directories)]))
        directories.append(node)
        node = node.children.get(name)
    return Way(key, names, directories, node)


def there(way: Way) -> Node:
    """
    The node at the end of the way.

    @raise EtcdError: 100 with the first key on the way that does not exist.
    """
    if way.node is None:
        raise EtcdError(ErrorCode.KEY_NOT_FOUND, _key(way.names[: len(way.directories)]))
    return way.node


def put(way: Way, node: Node, index: int) -> Directory:
    """
    The tree with C{node} at the end of the way, whatever was there before.

    @param index: where missing parents are said to be made.
    """
    names, directories = way.names, way.directories
    for name in reversed(names[len(directories) :]):
        node = Directory(immutables.Map({name: node}), index, index)
    last = directories[-1]
    return _rebuilt(way, with_children(last, last.children.set(names[len(directories) - 1], node)))


def remove(way: Way) -> Directory:
    """The tree without the node at the end of the way, which is there."""
    last = way.directories[-1]
    return _rebuilt(way, with_children(last, last.children.delete(way.names[-1])))


def _rebuilt(way: Way, changed: Directory) -> Directory:
    """The root above C{changed}, which takes the place of the last directory of the way."""
    names, directories = way.names, way.directories
    for depth in range(len(directories) - 2, -1, -1):
        above = directories[depth]
        changed = with_children(above, above.children.set(names[depth], changed))
    return changed
