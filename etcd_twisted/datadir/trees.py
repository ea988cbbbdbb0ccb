"""
Trees of keys as sequences of nodes, and back. This module must never know what a key means.
"""

from collections.abc import Iterable, Iterator

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.nodes import EMPTY_ROOT, Directory, File, Node
from etcd_twisted.keyspace.paths import ROOT, join


def bare_directory(created: int, modified: int, expires: int | None) -> Directory:
    """Returns a directory without anything in it, with these indexes."""
    return Directory(EMPTY_ROOT.children, created, modified, expires)


def build(nodes: Iterable[tuple[str, Node]]) -> Directory:
    """
    Returns the root of a tree.

    @param nodes: the key of each node, and the node: a directory bare, and before what is in it.
    """
    root, owner = EMPTY_ROOT, object()
    for key, node in nodes:
        root = tree.put(tree.look_up(root, key), node, 0, owner)
    return root


def walk(directory: Directory) -> Iterator[tuple[str, Node]]:
    """
    Yields the key and the node of everything below a directory, as if that were the root: sorted, a directory before
    what is in it, and all of that together.
    """
    pending: list[tuple[str, Node]] = _children(ROOT, directory)
    while pending:
        key, node = pending.pop()
        yield key, node
        if isinstance(node, Directory):
            pending.extend(_children(key, node))


def _children(key: str, directory: Directory) -> list[tuple[str, Node]]:
    return [(join(key, name), node) for name, node in sorted(directory.children.items(), reverse=True)]


def find(root: Directory, key: str) -> Node | None:
    """Returns the node at a key, or C{None} if there is none."""
    try:
        return tree.look_up(root, key).node
    except EtcdError:
        return None


def value_at(root: Directory, key: str) -> str | None:
    """Returns the value at a key, or C{None} if there is no file."""
    node = find(root, key)
    return node.value if isinstance(node, File) else None
