"""
Finding, putting and removing nodes in a persistent tree.

Each change copies the directories on the path to the key and returns a new root. This module must never change a node
that is in a tree, nor recurse: a key may have thousands of segments.
"""

import immutables
import msgspec

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.nodes import Directory, File, Node
from etcd_twisted.keyspace.paths import ROOT
from etcd_twisted.keyspace.sizes import text_bytes, weigh


def _key(names: list[str]) -> str:
    return ROOT + "/".join(names)


class Lookup(msgspec.Struct, frozen=True, gc=False):
    """
    The path from the root to a key that a command is about. It is walked once, to see what is there and to change it.

    @ivar names: the segments of C{key}.
    @ivar directories: the directories on the path that exist, from the root on. There is at least one, and at most as
        many as there are names; C{directories[i]} holds C{names[i]}, or it is the last one and does not.
    @ivar node: the node at the key, or C{None} while nothing is there.
    """

    key: str
    names: list[str]
    directories: list[Directory]
    node: Node | None


def look_up(root: Directory, key: str) -> Lookup:
    """
    Walk to C{key}.

    @raise EtcdError: 104 with the key of a file that is on the path, or 107 for the root, which never changes.
    """
    if key == ROOT:
        raise EtcdError(ErrorCode.ROOT_READ_ONLY, ROOT)
    names = key[1:].split("/")
    directories: list[Directory] = []
    node: Node | None = root
    for name in names:
        if not isinstance(node, Directory):
            if node is None:
                break
            raise EtcdError(ErrorCode.NOT_A_DIRECTORY, _key(names[: len(directories)]))
        directories.append(node)
        node = node.children.get(name)
    return Lookup(key, names, directories, node)


def existing(lookup: Lookup) -> Node:
    """
    Returns the node at the key.

    @raise EtcdError: 100 with the first key on the path that does not exist.
    """
    if lookup.node is None:
        raise EtcdError(ErrorCode.KEY_NOT_FOUND, _key(lookup.names[: len(lookup.directories)]))
    return lookup.node


def put(lookup: Lookup, node: Node, index: int) -> Directory:
    """
    Returns the root of a tree with C{node} at the key, whatever was there before.

    @param index: the index at which missing directories on the path are created.
    """
    names, before = lookup.names, lookup.node
    if type(node) is type(before) is File:  # by far the most common change
        children = lookup.directories[-1].children.set(names[-1], node)
        value, old_value = node.value, before.value
        if value.isascii() and old_value.isascii():  # as text_bytes counts, without the calls
            return _with_children(lookup, children, len(value) - len(old_value))
        return _with_children(lookup, children, text_bytes(value) - text_bytes(old_value))
    last = len(lookup.directories) - 1
    name = names[last]
    for depth in range(len(names) - 1, last, -1):
        children = immutables.Map({names[depth]: node})
        node = Directory(children, index, index, None, *weigh(names[depth], node))
    size, files, directories = weigh(name, node)
    if before is not None:
        lost_size, lost_files, lost_directories = weigh(name, before)
        size, files, directories = size - lost_size, files - lost_files, directories - lost_directories
    return _with_children(lookup, lookup.directories[last].children.set(name, node), size, files, directories)


def remove(lookup: Lookup) -> Directory:
    """Returns the root of a tree without the node at the key. There has to be one."""
    name = lookup.names[-1]
    size, files, directories = weigh(name, existing(lookup))
    return _with_children(lookup, lookup.directories[-1].children.delete(name), -size, -files, -directories)


def _with_children(
    lookup: Lookup, children: immutables.Map[str, Node], size: int, files: int = 0, directories: int = 0
) -> Directory:
    """
    Returns the root of a tree in which the last directory on the path has other children. The directories keep their
    own indexes and TTLs.

    @param size: the change in size, in bytes. C{files} and C{directories} are changes in number.
    """
    path, names = lookup.directories, lookup.names
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
    Returns the node at C{key}.

    @raise EtcdError: 100 with the first key on the path that does not exist, or 104 with a file that is on the path.
    """
    node: Node = root
    for name in key[1:].split("/") if key != ROOT else ():
        child = node.children.get(name) if isinstance(node, Directory) else None
        if child is None:
            return existing(look_up(root, key))  # raises the error that says what is missing or in the way
        node = child
    return node
