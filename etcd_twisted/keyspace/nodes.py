"""
The nodes of the tree: files and directories, which must never change once they are made.

A change makes new nodes on the path to one key and shares all others. So whoever holds an old root has a consistent
view of the whole key space, at no cost. The children of a directory are a persistent map for the same reason.

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


class Directory(msgspec.Struct, frozen=True, gc=False):
    """
    A node that holds other nodes by name. C{created}, C{modified} and C{expires} are as in L{File}.

    @ivar size: the size of all nodes below it, in bytes; see L{etcd_twisted.keyspace.sizes}.
    @ivar files: the number of files below it, at any depth.
    @ivar directories: the number of directories below it, at any depth.
    """

    children: immutables.Map[str, "Node"]
    created: int = 0
    modified: int = 0
    expires: int | None = None
    size: int = 0
    files: int = 0
    directories: int = 0


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


def name_batches(directory: Directory) -> Iterator[list[str]]:
    """Yields the names in a directory in any order, at most L{MAX_BATCH_NAMES} at a time."""
    names = iter(directory.children)
    while batch := list(itertools.islice(names, MAX_BATCH_NAMES)):
        yield batch


def sorted_name_batches(directory: Directory, key: Callable[[str], Any] | None = None) -> Iterator[list[str] | int]:
    """
    Yields the names in a directory in batches, sorted by C{key}, or by themselves. A number in between says how many
    names the last step has processed without a batch to show for it.

    A bucket sort, so that no step has to sort all names of a large directory.
    """
    batches = name_batches(directory)
    batch = next(batches, [])
    yield len(batch)
    batch.sort(key=key)
    if len(batch) < MAX_BATCH_NAMES:
        yield batch
        return
    # A persistent map has its names in the order of their hashes, so the first ones are as good as a random sample.
    bounds = batch[::_SAMPLE_INTERVAL] if key is None else [key(name) for name in batch[::_SAMPLE_INTERVAL]]
    buckets: list[list[str]] = [[] for _ in range(len(bounds) + 1)]
    while batch:
        for name, sort_key in zip(batch, batch if key is None else map(key, batch), strict=True):
            buckets[bisect(bounds, sort_key)].append(name)
        batch = next(batches, [])
        yield len(batch)
    buckets.reverse()
    while buckets:
        batch = buckets.pop()
        batch.sort(key=key)
        yield batch
