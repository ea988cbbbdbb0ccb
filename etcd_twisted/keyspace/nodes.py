"""
What the tree is made of: files and directories, which must never change once made.

A change makes new nodes along one path and shares all others, so that holding an old root is a consistent
view of the whole key space and costs nothing. The children of a directory are a persistent map for the same reason.

These are C{msgspec.Struct}s that the cyclic collector does not track (C{gc=False}): no node refers to its parent,
so there are no cycles, and a full collection over 100,000 keys would stall the reactor.
"""

import heapq
import itertools
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
    """A node that holds nodes by name; its other fields are L{File}'s."""

    children: immutables.Map[str, "Node"]
    created: int = 0
    modified: int = 0
    expires: int | None = None


Node = File | Directory

EMPTY_ROOT = Directory(immutables.Map())
"""The root of a key space that nothing was written to: without indexes, like every root."""


def empty_directory(index: int, expires: int | None = None) -> Directory:
    """A directory made at C{index}."""
    return Directory(immutables.Map(), index, index, expires)


RUN = 1_024
"""How many names are looked at in one go."""


def in_runs(directory: Directory) -> Iterator[list[str]]:
    """The names in a directory in no order, at most L{RUN} at a time."""
    names = iter(directory.children)
    while run := list(itertools.islice(names, RUN)):
        yield run


def merge(runs: list[list[str]], key: Callable[[str], Any] | None = None) -> Iterator[str]:
    """The names of all runs, each sorted by C{key} already, in the order of C{key}. Takes them out of the runs."""
    emptied = [_emptied(run) for run in runs]
    return heapq.merge(*emptied, key=key) if len(emptied) > 1 else itertools.chain(*emptied)


def _emptied(run: list[str]) -> Iterator[str]:
    # One by one: to let go of 100,000 names at the end takes as long as a whole turn of the reactor may.
    run.reverse()
    while run:
        yield run.pop()
