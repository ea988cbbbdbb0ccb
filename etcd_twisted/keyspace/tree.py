"""
Finding, putting and removing nodes in a persistent tree.

Every change returns a new root. Must never change a node that is there, nor recurse: a key may have thousands of
segments.
"""

import immutables
import msgspec

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.nodes import Directory, File, Node
from etcd_twisted.keyspace.paths import ROOT, segments
from etcd_twisted.keyspace.sizes import text_bytes, weigh


def _key(names: list[str]) -> str:
    return ROOT + "/".join(names)


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
    names, before = way.names, way.node
    if type(node) is type(before) is File:  # by far the commonest change
        children = way.directories[-1].children.set(names[-1], node)
        return _rebuilt(way, children, text_bytes(node.value) - text_bytes(before.value))
    last = len(way.directories) - 1
    name = names[last]
    for depth in range(len(names) - 1, last, -1):
        children = immutables.Map({names[depth]: node})
        node = Directory(children, index, index, None, *weigh(names[depth], node))
    size, files, directories = weigh(name, node)
    if before is not None:
        lost_size, lost_files, lost_directories = weigh(name, before)
        size, files, directories = size - lost_size, files - lost_files, directories - lost_directories
    return _rebuilt(way, way.directories[last].children.set(name, node), size, files, directories)


def remove(way: Way) -> Directory:
    """The tree without the node at the end of the way, which is there."""
    name = way.names[-1]
    size, files, directories = weigh(name, there(way))
    return _rebuilt(way, way.directories[-1].children.delete(name), -size, -files, -directories)


def _rebuilt(
    way: Way, children: immutables.Map[str, Node], size: int, files: int = 0, directories: int = 0
) -> Directory:
    """
    The tree in which the last directory on the way has other children: its own indexes and TTL stay.

    @param size: by how much that makes it larger; so with the other numbers.
    """
    path, names = way.directories, way.names
    depth = len(path) - 1
    while True:
        here = path[depth]
        changed = Directory(
            children,
            here.created,
            here.modified,
            here.expires,
            here.size + size,
            here.files + files,
            here.directories + directories,
        )
        if depth == 0:
            return changed
        depth -= 1
        children = path[depth].children.set(names[depth], changed)


def find(root: Directory, key: str) -> Node:
    """
    The node at C{key}.

    @raise EtcdError: 100 with the first key on the way that does not exist, 104 with a file that is on the way.
    """
    node: Node = root
    for name in segments(key):
        child = node.children.get(name) if isinstance(node, Directory) else None
        if child is None:
            return there(walk(root, key))  # which tells what is in the way
        node = child
    return node
