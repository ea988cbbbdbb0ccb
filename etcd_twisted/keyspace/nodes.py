"""
The nodes of the tree: files and directories.

A file must never change once it is made. Only L{etcd_twisted.keyspace.tree} changes a directory, and only while nobody
else has it: otherwise a change makes new directories on the path to its key, and shares all other nodes. So whoever
holds an old root has a consistent view of the whole key space, at no cost. That is why the children of a directory
are a persistent map.

Nodes are C{msgspec.Struct}s that the cyclic garbage collector does not track (C{gc=False}): a full collection over
100,000 keys would stall the reactor. There are no cycles, since no node refers to its parent.
"""

import itertools
from bisect import bisect
from collections.abc import Callable, Iterator
from typing import Any

import immutables
import msgspec


class File(msgspec.Struct, frozen=True, gc=False):
    """
    A node with a value.

    @ivar created: the index at which it was created.
    @ivar modified: the index at which it was last changed.
    @ivar expires: when its TTL ends, in microseconds since the epoch; C{None} when it has none.
    """

    value: str
    created: int
    modified: int
    expires: int | None = None


class Directory(msgspec.Struct, gc=False, eq=False):
    """
    A node that holds other nodes by name. C{created}, C{modified} and C{expires} are as in L{File}. Only
    L{etcd_twisted.keyspace.tree} may change a directory, and only one that it owns.

    @ivar entries: the children, in the form in which they are kept: a map, or a mutation that becomes one. To look up
        names in; for all else there is L{children}.
    @ivar size: the size of all nodes below it, in bytes; see L{etcd_twisted.keyspace.sizes}.
    @ivar files: the number of files below it, at any depth.
    @ivar directories: the number of directories below it, at any depth.
    @ivar owner: the owner of the tree that may change this directory; C{None} if it must never change again.
    """

    entries: "immutables.Map[str, Node] | immutables.MapMutation[str, Node]"
    created: int = 0
    modified: int = 0
    expires: int | None = None
    size: int = 0
    files: int = 0
    directories: int = 0
    owner: object = None

    @property
    def children(self) -> "immutables.Map[str, Node]":
        """The nodes in it by name. Nobody changes the directory any more once somebody has asked for them."""
        entries = self.entries
        if not isinstance(entries, immutables.Map):
            entries = self.entries = entries.finish()
        self.owner = None
        return entries

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Directory) and self._content() == other._content()

    def __ne__(self, other: object) -> bool:
        return not self == other  # msgspec's compares identities

    __hash__ = None  # type: ignore[assignment]

    def _content(self) -> tuple[object, ...]:
        numbers = self.created, self.modified, self.expires, self.size, self.files, self.directories
        return self.children, *numbers


Node = File | Directory

EMPTY_ROOT = Directory(immutables.Map())
"""The root of a new key space. Its indexes are 0, like those of every root."""


def empty_directory(index: int, expires: int | None = None) -> Directory:
    """Returns a directory that is created at C{index}."""
    return Directory(immutables.Map(), index, index, expires)


MAX_BATCH_NAMES = 1_024
"""How many names of a directory are processed in one step at most."""

_SAMPLE_INTERVAL = 4
"""When the names of a large directory are sorted, every fourth one of the first batch bounds a bucket."""

Batch = tuple[list[str], list[Node]]
"""Some names in a directory, and the nodes that have them, in the same order."""


def node_batches(directory: Directory) -> Iterator[Batch]:
    """Yields the nodes in a directory in any order, at most L{MAX_BATCH_NAMES} at a time."""
    return _batches(directory.children)


def _batches(children: immutables.Map[str, Node]) -> Iterator[Batch]:
    names, nodes = iter(children), iter(children.values())
    while batch := list(itertools.islice(names, MAX_BATCH_NAMES)):
        yield batch, list(itertools.islice(nodes, MAX_BATCH_NAMES))


def sorted_node_batches(directory: Directory, key: Callable[[str], Any] | None = None) -> Iterator[Batch | int]:
    """
    Yields the nodes in a directory in batches, sorted by C{key} of their names, or by the names themselves. A number
    in between says how many names the last step has processed without a batch to show for it.

    A bucket sort, so that no step has to sort all names of a large directory. It holds nothing of the directory but
    the nodes that are still to come: those of a view that no later tree has are freed in as small steps.
    """
    children = directory.children
    del directory
    if len(children) < MAX_BATCH_NAMES:
        names = sorted(children, key=key)
        nodes = list(map(children.__getitem__, names))
        del children
        yield len(names)
        yield names, nodes
        return
    batches = _batches(children)
    del children
    names, nodes = next(batches)
    yield len(names)
    # A persistent map has its names in the order of their hashes, so the first ones are as good as a random sample.
    bounds = sorted(names[::_SAMPLE_INTERVAL] if key is None else map(key, names[::_SAMPLE_INTERVAL]))
    buckets: list[Batch] = [([], []) for _ in range(len(bounds) + 1)]
    while names:
        for name, sort_key, node in zip(names, names if key is None else map(key, names), nodes, strict=True):
            bucket_names, bucket_nodes = buckets[bisect(bounds, sort_key)]
            bucket_names.append(name)
            bucket_nodes.append(node)
        names, nodes = next(batches, ([], []))
        yield len(names)
    buckets.reverse()
    while buckets:
        names, nodes = buckets.pop()
        by_name = dict(zip(names, nodes, strict=True))
        names.sort(key=key)
        yield names, list(map(by_name.__getitem__, names))
