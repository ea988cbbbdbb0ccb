"""
Trees of many shapes, which count how many of their nodes are looked at.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from etcd_twisted.keyspace.nodes import Directory, File, Node
from etcd_twisted.keyspace.sizes import weigh
from etcd_twisted.keyspace.state import KeySpaceState
from etcd_twisted.keyspace.statistics import CommandCounts


class Counting:
    """
    Makes directories that count their nodes as they are looked at.

    @ivar nodes: how many nodes were looked at.
    """

    def __init__(self) -> None:
        self.nodes = 0

    def directory(self, children: dict[str, Node]) -> Directory:
        counted: Any = _Counted(self, children)
        sums = [
            sum(each) for each in zip((0, 0, 0), *(weigh(name, node) for name, node in children.items()), strict=True)
        ]
        return Directory(counted, 1, 1, None, *sums)

    def content(self, children: dict[str, Node]) -> KeySpaceState:
        """Returns a key space with these nodes below its root and no history."""
        return KeySpaceState(self.directory(children), 1, CommandCounts(), (), 0)


class _Counted:
    """The part of a persistent map, or of a mutation that becomes one, that is read in order to list its content."""

    def __init__(self, counting: Counting, children: dict[str, Node]) -> None:
        self._counting = counting
        self._children = children

    def finish(self) -> "_Counted":
        return self

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[str]:
        for name in self._children:
            self._counting.nodes += 1
            yield name

    def __getitem__(self, name: str) -> Node:
        return self._children[name]

    def values(self) -> Iterable[Node]:
        return self._children.values()


def looked_at(counting: Counting, steps: Iterator[bytes]) -> Iterator[int]:
    """Returns how many nodes each step looks at."""
    before = counting.nodes
    for _ in steps:
        yield counting.nodes - before
        before = counting.nodes
    yield counting.nodes - before


def bush(directories: int, files: int, prefix: str = "") -> tuple[Counting, KeySpaceState]:
    """
    Returns that many directories with that many files each.

    @param prefix: what the files' names begin with.
    """
    counting = Counting()
    return counting, counting.content(
        {
            f"{number}": counting.directory({f"{prefix}{name}": File("v", 1, 1) for name in range(files)})
            for number in range(directories)
        }
    )


def chain(depth: int, files: int, prefix: str = "") -> tuple[Counting, KeySpaceState]:
    """
    Returns that many directories, each in the one before, and that many files beside each. The directory comes first.

    @param prefix: what the files' names begin with.
    """
    counting = Counting()
    children: dict[str, Node] = {}
    for _ in range(depth):
        around: dict[str, Node] = {f"{prefix}{name + 1}": File("v", 1, 1) for name in range(files)}
        children = {"0": counting.directory(children), **around}
    return counting, counting.content(children)
