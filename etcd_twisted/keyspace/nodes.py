"""
What the tree is made of: files and directories, which must never change once made.

A change makes new nodes along one path and shares all others, so that holding an old root is a consistent
view of the whole key space and costs nothing. The children of a directory are a persistent map for the same reason.

These are C{msgspec.Struct}s that the cyclic collector does not track (C{gc=False}): no node refers to its parent,
so there are no cycles, and a full collection over 100,000 keys would stall the reactor.
"""

import itertools
from bisect import bisect
from collections.abc import Callable, Iterator
from typing import Any

import immutables
import msgspec


class File(msgspec.Struct, frozen=True, gc=False):
    """
    A key with a value.

    @ivar created: the index at which it was created.
    @ivar modified: the index at which it was last changed.
    @ivar expires: when its TTL ends, in microseconds since the epoch; C{None} for never.
    """

    value: str
    created: int
    modified: int
    expires: int | None = None


class Directory(msgspec.Struct, frozen=True, gc=False):
    """
    A node that holds nodes by name; its other fields are L{File}'s.

    @ivar size: of all that is below it, in bytes; see L{etcd_twisted.keyspace.sizes}.
    @ivar files: how many files are below it, at any depth.
    @ivar directories: how many directories are.
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
"""The root of a key space that nothing was written to: without indexes, like every root."""


def empty_directory(index: int, expires: int | None = None) -> Directory:
    """A directory made at C{index}."""
    return Directory(immutables.Map(), index, index, expires)


RUN = 1_024
"""How many names are looked at in one go."""
_APART = 4
"""Of how many of those looked at first one is a bound, when the names of a large directory are put in order."""


def in_runs(directory: Directory) -> Iterator[list[str]]:
    """The names in a directory in no order, at most L{RUN} at a time."""
    names = iter(directory.children)
    while run := list(itertools.islice(names, RUN)):
        yield run


def in_order(directory: Directory, key: Callable[[str], Any] | None = None) -> Iterator[list[str] | int]:
    """
    The names in a directory in the order of C{key}, or of themselves, in runs; a number among them says how many were
    looked at.

    Names of a large directory are first put where they belong between some of them, so that no step sorts them all.
    """
    runs = in_runs(directory)
    run = next(runs, [])
    yield len(run)
    run.sort(key=key)
    if len(run) < RUN:
        yield run
        return
    # A persistent map has its names in the order of their hashes: the first ones are as good as a random choice.
    bounds = run[::_APART] if key is None else [key(name) for name in run[::_APART]]
    between: list[list[str]] = [[] for _ in range(len(bounds) + 1)]
    while run:
        for name, place in zip(run, run if key is None else map(key, run), strict=True):
            between[bisect(bounds, place)].append(name)
        run = next(runs, [])
        yield len(run)
    between.reverse()
    while between:
        run = between.pop()
        run.sort(key=key)
        yield run
